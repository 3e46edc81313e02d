"""What the two games of saving share: assets on a grid, three states of work or income, shares of cash to consume."""

import abc
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg.games._base import Game
from structmfg.operators import GeometricGrid

_SHIFT = 0.25  # of the logarithm on which grid points are equally spaced


class SavingGame(Game):
    """A household's state is its assets on a grid, and one of three states of work or income, which runs fastest."""

    if TYPE_CHECKING:

        @property
        def num_assets(self) -> int: ...
        @property
        def max_assets(self) -> float: ...

    @property
    def asset_grid(self) -> GeometricGrid:
        """The grid of assets, from 0 to max_assets."""
        return GeometricGrid(self.num_assets, 0.0, self.max_assets, _SHIFT)

    @abc.abstractmethod
    def shares(self) -> Float[Array, " actions"]:
        """The share of cash on hand that each action consumes."""

    def gamma_assets(self, mean: float, shape: float) -> Float[np.ndarray, " assets"]:
        """The masses of a gamma distribution of assets on the grid, but for rounding with the given mean."""
        points = np.geomspace(_SHIFT, self.max_assets + _SHIFT, self.num_assets) - _SHIFT
        points[0] = 0.0
        mass = (points / mean) ** (shape - 1) * np.exp(-shape * points / mean) * np.gradient(points)
        return np.asarray(mass / mass.sum())

    def draw_assets(self, wanted: Float[Array, " agents"], key: PRNGKeyArray) -> Int[Array, " agents"]:
        """A grid point beside the assets that each agent wants, up or down at random such that their mean is kept."""
        grid = self.asset_grid.points()
        held = jnp.clip(wanted, grid[0], grid[-1])
        below = jnp.clip(jnp.searchsorted(grid, held, side="right") - 1, 0, self.num_assets - 2)
        drawn = jax.random.uniform(key, wanted.shape) * (grid[below + 1] - grid[below])
        return below + (drawn < held - grid[below])

    @override
    def state_features(self) -> Float[Array, "states features"]:
        index = jnp.arange(self.num_states)
        return jnp.stack([2 * (index // 3) / (self.num_assets - 1) - 1, index % 3 - 1.0], axis=-1)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean share of cash on hand consumed", np.asarray(self.shares())

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "assets", jnp.repeat(self.asset_grid.points(), 3)
