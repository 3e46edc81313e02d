"""JAX's debugging flags, which a user sets for their own code and which would stop this package's."""

import contextlib
from collections.abc import Iterator

import jax


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
