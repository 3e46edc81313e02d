"""Random choices by inversion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def draw_categorical(key: PRNGKeyArray, weights: Float[Array, "*batch choices"]) -> Int[Array, "*batch"]:
    """The number of a choice in every row, with probability proportional to its weight, by one uniform number each."""
    below = jnp.cumsum(weights, axis=-1)
    uniform = jax.random.uniform(key, (*weights.shape[:-1], 1), below.dtype) * below[..., -1:]
    return jnp.minimum(jnp.sum(uniform >= below, axis=-1), weights.shape[-1] - 1)
