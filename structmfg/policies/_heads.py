"""From what a policy computes for a state to the logits of its actions."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Head = Literal["categorical", "ordered"]


def ordered_logits(
    out: Float[Array, "states 2"], positions: Float[Array, " actions"]
) -> Float[Array, "states actions"]:
    """log of the density of Beta(a, b), a, b >= 1, at the positions of the actions, up to a constant."""
    shape = jax.nn.softplus(out)
    return shape[..., :1] * jnp.log(positions) + shape[..., 1:] * jnp.log1p(-positions)
