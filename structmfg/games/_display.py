"""What a game may define for its figures; `examples/own_figure.py` shows how it is used."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg.games._aggregate import AggregateState, Noise
from structmfg.operators import Grid


@functools.partial(jax.jit, static_argnums=0)
def midpoints(count: int) -> Float[Array, " bins"]:
    """The midpoints of `count` equal bins of [0, 1]."""
    edges = jnp.linspace(0.0, 1.0, count + 1)
    return (edges[1:] + edges[:-1]) / 2


def evenly_spaced(count: int) -> Float[Array, " points"]:
    """The numbers of `jnp.linspace(-1, 1, count)`, but for the last point not joined to the others.

    Where states are spread over devices, joining would gather them all.
    """
    index = jnp.arange(count)
    share = index / max(count - 1, 1)
    return jnp.where(index == count - 1, 1.0, share - (1 - share)) if count > 1 else -jnp.ones(1)


class Displayed:
    """The names, axes and captions of a game's figures, with their defaults."""

    if TYPE_CHECKING:

        @property
        def num_states(self) -> int: ...
        @property
        def num_actions(self) -> int: ...

    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """Named scalars to be drawn over time (prices, for instance), from (mu_t, z_t, t); none by default."""
        return {}

    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        """The name and the coordinate (S,) of the states in figures; the index by default."""
        return "state", jnp.arange(self.num_states, dtype=float)

    def state_axes(self) -> Sequence[tuple[str, Float[Array | np.ndarray, " points"] | Grid | Sequence[str]]]:
        """The name and the coordinates of every factor of a product state; the one of `state_axis` by default.

        The index of a state is row-major over the factors: that of the last factor runs fastest. A grid stands for its
        points, and figures show a `GeometricGrid` on a logarithmic axis. A factor without coordinates has a list of
        the names of its points.
        """
        return [self.state_axis()]

    def action_axis(self) -> tuple[str, Float[Array | np.ndarray, " actions"]]:
        """The name of the mean action in figures, and the number (A,) that stands for each; the index by default."""
        return "mean action (index)", np.arange(self.num_actions, dtype=float)

    def noise_label(self, noise: Noise) -> str:
        """A short name of a whole noise path z_0..z_T in figures; none by default."""
        return ""

    def captions(self) -> dict[str, str]:
        """What a reader should look at in a figure, by its name (mean_field, policy, ...); none by default."""
        return {}
