"""A congestion game with two or three places, whose master equation is solved on finer and finer meshes."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.games import AggregateState, Game, NoiseChain
from structmfg.operators import DenseKernel, TransitionKernel
from structmfg.solvers.master import MasterSolution, master_equation


@dataclasses.dataclass(frozen=True)
class Places(Game):
    """An action names a place, which is reached with probability .8, or .5 in bad weather (z = 1), else any place.

    Places cost their share of the visitors, when left and when reached, so the game is monotone.
    """

    num_states: int = 2

    horizon = 3
    discount = 0.9

    @property
    def num_actions(self) -> int:
        """One for every place."""
        return self.num_states

    def _moves(self, weather: Array) -> Float[Array, "states actions states"]:
        success, size = 0.8 - 0.3 * weather, self.num_states
        return jnp.broadcast_to(success * jnp.eye(size) + (1 - success) / size, (size, size, size))

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """See the class."""
        return DenseKernel(self._moves(aggregate.noise))

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """Later places are the pleasanter, but in bad weather; moving costs a little."""
        place = jnp.arange(self.num_states)
        here = 0.3 * place * (1 - 1.5 * aggregate.noise) - aggregate.mean_field
        reached = self._moves(aggregate.noise) @ -following.mean_field
        return here[:, None] + reached - 0.1 * (place[:, None] != place)

    def noise_chain(self) -> NoiseChain:
        """The weather."""
        return NoiseChain(np.array([0.0, 1.0]), np.array([0.6, 0.4]), np.array([[0.8, 0.2], [0.3, 0.7]]))

    def initial_noise(self, uniform: Float[Array, ""]) -> Float[Array, ""]:
        """Of the chain."""
        return self.noise_chain().first(uniform)

    def next_noise(self, noise: Float[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Float[Array, ""]:
        """Of the chain."""
        return self.noise_chain().following(noise, uniform)

    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        """All."""
        return jnp.append(aggregate.mean_field, aggregate.noise)


def convergence(num_states: int, meshes: Sequence[int], *, temperature: float = 0.2) -> list[dict[str, Any]]:
    """For every mesh but the last: the largest difference of V from that on the next mesh, the order, and seconds."""
    solutions = [master_equation(Places(num_states), mesh=mesh, temperature=temperature) for mesh in meshes]
    errors = [_difference(coarse, fine) for coarse, fine in itertools.pairwise(solutions)]
    orders = [None, *(math.log(a / b) / math.log(2) for a, b in itertools.pairwise(errors))]
    return [
        {"mesh": solution.mesh, "points": len(solution.points), "difference": error, "order": order}
        | {"steps": solution.stats["steps"], "total_seconds": solution.stats["seconds"]}
        for solution, error, order in zip(solutions, errors, orders, strict=False)
    ]


def _difference(coarse: MasterSolution, fine: MasterSolution) -> float:
    """On the points of the coarse mesh, which are points of the fine one."""
    place = {tuple(row): i for i, row in enumerate(np.rint(fine.points * fine.mesh).astype(int))}
    shared = [place[tuple(row)] for row in np.rint(coarse.points * fine.mesh).astype(int)]
    return float(np.abs(coarse.values - fine.values[..., shared, :]).max())
