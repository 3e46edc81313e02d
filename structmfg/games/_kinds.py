"""Base classes for two common kinds of game: without common noise, and with displacements for actions."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import finite_horizon
from structmfg.games._aggregate import NoisePaths
from structmfg.games._base import Game


class NoiselessGame(Game):
    """A game without common noise: z is 0 at all times, and there is one noise path."""

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return noise

    @override
    def scenarios(self) -> NoisePaths:
        return NoisePaths(jnp.zeros((1, finite_horizon(self) + 1), int), jnp.ones(1))

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return "no common noise"


class DisplacementGame(Game):
    """A game on a line whose actions are displacements by -max_action..max_action cells."""

    if TYPE_CHECKING:

        @property
        def max_action(self) -> int: ...

    @property
    @override
    def num_actions(self) -> int:
        return 2 * self.max_action + 1

    @property
    def actions(self) -> np.ndarray:
        """The displacement (A,) of every action."""
        return np.arange(-self.max_action, self.max_action + 1)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean displacement (cells per step)", self.actions.astype(float)
