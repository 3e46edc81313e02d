"""Call a function of NumPy arrays from within compiled programs, in whichever precision they run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def call_on_host(
    function: Callable[..., np.ndarray], shape: tuple[int, ...], *arguments: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The values (of a shape) that a function of arrays of real numbers returns, in JAX's default precision.

    JAX runs callbacks in a thread of their own, in which `jax.enable_x64` of the caller is not in force, and would cut
    numbers in double precision down to single. So their bits travel as pairs of whole numbers.
    """
    double = jnp.asarray(0.0).dtype == np.float64
    kind = np.dtype(np.float64 if double else np.float32)

    def call(*bits: Array) -> np.ndarray:
        given = [_whole(np.asarray(each).view(kind), double) for each in bits]
        values = np.ascontiguousarray(function(*given), kind)
        if values.shape != shape:
            raise ValueError(f"a function of the game must return shape {shape}, but returned {values.shape}")
        return values[..., None].view(np.uint32) if double else values.view(np.uint32)

    sent = [jax.lax.bitcast_convert_type(jnp.asarray(each, kind), jnp.uint32) for each in arguments]
    kept = jax.ShapeDtypeStruct((*shape, 2) if double else shape, jnp.uint32)
    return jax.lax.bitcast_convert_type(jax.pure_callback(call, kept, *sent, vmap_method="sequential"), kind)


def _whole(array: np.ndarray, double: bool) -> np.ndarray:
    """The array without the axis of its pairs."""
    return array[..., 0] if double else array
