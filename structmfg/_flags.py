"""JAX's flags, contexts and cache of programs, as this package needs them."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


@contextlib.contextmanager
def own_rules() -> Iterator[None]:
    """Set JAX's default rules of promoting types and axes; for a `with`, or as the decorator of a function.

    Matrix products are in full precision unless the user has chosen another one (`jax_default_matmul_precision`): GPUs
    would round the numbers of a product to 11 bits (TF32), those of a policy's network included.

    `jax_debug_infs` is off, too: the logarithm of a probability of zero is infinite, and so is a gap that is not known
    yet. A solve ends with a status of its own where a number should be finite and is not.

    A user's game is called under these rules as well. A user who sets strict rules of promotion has them applied to
    their own calls of the game's methods, and not to the calls that a solve makes.
    """
    precision = jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "highest")  # type: ignore[attr-defined]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_infs(False), precision:
        yield


_for_accelerator = jax.make_user_context(False)  # JAX keeps traced programs apart by its value


@contextlib.contextmanager
def for_accelerator() -> Iterator[None]:
    """Trace programs as they are for an accelerator, wherever JAX computes: to count what they do there."""
    with _for_accelerator(True):
        yield


def on_processor() -> bool:
    """Whether JAX computes on a processor by default, and not on a GPU or another accelerator."""
    if _for_accelerator.value:
        return False
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]  # a device, the name of a platform, or None
    return (getattr(chosen, "platform", chosen) or jax.default_backend()) == "cpu"


def steps_written_out(count: int) -> int:
    """How many steps of a loop are written out one after the other: `count` on an accelerator, else one.

    On an accelerator every operation has to be started, which takes longer than a small one itself, and XLA joins
    operations of several steps. On a processor the program would only take longer to compile.
    """
    return 1 if on_processor() else count


@contextlib.contextmanager
def known_at_once() -> Iterator[None]:
    """Compute the operations within at once, also inside `jit`, and on one device, also inside `shard_map`."""
    with jax.ensure_compile_time_eval(), jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        yield


def constants(compute: Callable[[], Any]) -> Any:
    """The tree of arrays that a function returns, computed at once, as constants that any program can take.

    While a mesh is in use, what JAX computes at once belongs to all of its devices, and a program for some of them
    (`shard_map`) refuses it.
    """
    with known_at_once():
        return jax.tree.map(lambda array: jax.device_put(np.asarray(array)), compute())


def keep_compiled_programs() -> None:
    """Keep them in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; where neither works, nowhere.

    JAX finds a program by its code, its options and the machine, so a stale program is never used. A program that a
    killed process has written in part, or for which the disk has no room, is compiled again, without JAX's warning.
    """
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return  # the user has chosen, by that variable or otherwise
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (home if home.is_absolute() else Path.home() / ".cache") / "structmfg" / "programs"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written to
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # A solve compiles hundreds of small programs, which together take longer than the large ones.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
