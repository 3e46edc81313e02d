"""JAX's debugging flags, which a user sets for their own code and which would stop this package's."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def own_rules() -> Iterator[None]:
    """Promotion of types and of axes as JAX has it by default; for a `with`, or as the decorator of a function.

    `jax_debug_infs` is off, too: the logarithm of a probability of zero is infinite, and so is a gap that is not known
    yet. A number that should be finite and is not ends a solve with a status of its own.

    Methods of the user's game are called within: under a strict `jax_numpy_dtype_promotion`, or with
    `jax_numpy_rank_promotion` at "raise", their own calls of them are judged, not those that a solve makes.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_infs(False):
        yield
