"""Noise paths over the cores of a processor: one thread for each core runs a compiled program for some of the paths.

XLA shares the entries of one array among cores. That helps little where a program has many operations one after
another, each of them small, as those along a noise path are.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from structmfg._flags import on_processor, own_rules
from structmfg.parallel._mesh import PATHS, STATES, axis_size

# Settings on which numbers depend: names of `jax.NAME(value)`, a context, and `jax.config.jax_NAME`.
_CONTEXTS = ("enable_x64", "default_device", "default_matmul_precision", "threefry_partitionable", "default_prng_impl")
_compiled: set[int] = set()  # hashes of what was run before, so that threads need not compile


def own_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def map_over_cores(
    program: Callable[..., PyTree], arguments: Sequence[Any], *, mapped: Sequence[int], batch_size: int, at_once: int
) -> PyTree:
    """What a compiled program returns for N noise paths, from calls for a few of them on several cores of a processor.

    The number of cores changes no bit of the result. On an accelerator, over a mesh of several devices, and inside
    `jit`, the program is called once, for all paths.

    Args:
        program: A function compiled by `equinox.filter_jit`, from `arguments` to a tree of arrays with the leading axis
            of paths.
        arguments: Its arguments.
        mapped: The positions of those with the leading axis N.
        batch_size: For how many paths it is called at most.
        at_once: How many calls at most run at the same time.

    Returns:
        The tree, of NumPy's arrays if the program was called for some paths each.
    """
    counts = {len(leaf) for leaf in jax.tree.leaves([arguments[place] for place in mapped])}
    traced = isinstance(jnp.zeros(()), jax.core.Tracer)  # as all arrays are that are made inside `jit`
    if traced or len(counts) != 1 or counts == {0} or not _over_cores():
        return program(*arguments)  # which refuses what does not fit together
    count = counts.pop()
    size, at_once = shares_of_cores(count, batch_size, at_once)

    def some(first: int) -> list[Any]:
        taken = np.minimum(np.arange(first, first + size), count - 1)
        return [
            jax.tree.map(lambda x: _take(x, taken), each) if place in mapped else each
            for place, each in enumerate(arguments)
        ]

    def call(first: int) -> PyTree:
        with _settings(values):
            return jax.tree.map(np.asarray, program(*some(first)))

    config: Any = jax.config
    values, starts = [getattr(config, f"jax_{name}") for name in _CONTEXTS], range(0, count, size)
    if config.jax_disable_jit or config.jax_debug_nans:  # where users look for an error, in the order of the calls
        at_once = 1
    known = hash((program, *values, *map(_signature, some(0))))
    alone = 0 if known in _compiled else 1
    results = [call(first) for first in starts[:alone]]
    _compiled.add(known)
    if at_once > 1:
        with ThreadPoolExecutor(at_once) as pool:
            results += pool.map(call, starts[alone:])
    else:
        results += map(call, starts[alone:])
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def shares_of_cores(count: int, batch_size: int, at_once: int) -> tuple[int, int]:
    """For how many of so many paths `map_over_cores` calls a program, and how many of these calls run at once.

    All calls are for equally many paths, so that one program does for all.
    """
    if not _over_cores():
        return count, 1
    calls = max(1, -(-count // batch_size))
    return -(-count // calls), min(len(own_cores()), at_once, calls)


def _over_cores() -> bool:
    """Whether paths are shared among cores: on a processor that JAX does not take for several devices."""
    return on_processor() and axis_size(PATHS) * axis_size(STATES) == 1


@contextmanager
def _settings(values: Sequence[Any]) -> Iterator[None]:
    """JAX's settings of `_CONTEXTS`, which hold for one thread, with the values that they have in another one."""
    with ExitStack() as stack:
        for name, value in zip(_CONTEXTS, values, strict=True):
            stack.enter_context(getattr(jax, name)(value))
        stack.enter_context(own_rules())
        yield


def _take(array: Any, index: np.ndarray) -> Any:
    """These rows of an array; by NumPy, which compiles nothing, unless they are keys."""
    return array[index] if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else np.asarray(array)[index]


def _signature(tree: PyTree) -> tuple[Any, ...]:
    """What `equinox.filter_jit` compiles a program for: the shapes of arrays, and all else."""
    arrays, others = eqx.partition(tree, eqx.is_array)
    shapes = [(array.shape, array.dtype) for array in jax.tree.leaves(arrays)]
    return jax.tree.structure(arrays), tuple(shapes), jax.tree.structure(others), tuple(jax.tree.leaves(others))
