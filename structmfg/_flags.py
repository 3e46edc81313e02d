"""JAX's flags and contexts that a user sets for their own code, and which would stop this package's."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


@contextlib.contextmanager
def own_rules() -> Iterator[None]:
    """Set JAX's default rules of promoting types and axes; for a `with`, or as the decorator of a function.

    `jax_debug_infs` is off, too: the logarithm of a probability of zero is infinite, and so is a gap that is not known
    yet. A solve ends with a status of its own where a number should be finite and is not.

    A user's game is called under these rules as well. A user who sets strict rules of promotion has them applied to
    their own calls of the game's methods, and not to the calls that a solve makes.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_infs(False):
        yield


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
