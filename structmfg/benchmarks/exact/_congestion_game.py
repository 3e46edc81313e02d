"""A congestion game with two or three places, and the convergence of its master equation as the mesh is refined."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

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
    @override
    def num_actions(self) -> int:
        return self.num_states

    def _moves(self, weather: Array) -> Float[Array, "states actions states"]:
        success, size = 0.8 - 0.3 * weather, self.num_states
        return jnp.broadcast_to(success * jnp.eye(size) + (1 - success) / size, (size, size, size))

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        return DenseKernel(self._moves(aggregate.noise))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """Reward later places more, but less in bad weather; moving costs a little."""
        place = jnp.arange(self.num_states)
        here = 0.3 * place * (1 - 1.5 * aggregate.noise) - aggregate.mean_field
        reached = self._moves(aggregate.noise) @ -following.mean_field
        return here[:, None] + reached - 0.1 * (place[:, None] != place)

    @override
    def noise_chain(self) -> NoiseChain:
        return NoiseChain(np.array([0.0, 1.0]), np.array([0.6, 0.4]), np.array([[0.8, 0.2], [0.3, 0.7]]))

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Float[Array, ""]:
        return self.noise_chain().first(uniform)

    @override
    def next_noise(self, noise: Float[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Float[Array, ""]:
        return self.noise_chain().following(noise, uniform)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
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
    """The largest difference of the values on the points of the coarse mesh, which are points of the fine one."""
    place = {tuple(row): i for i, row in enumerate(np.rint(fine.points * fine.mesh).astype(int))}
    shared = [place[tuple(row)] for row in np.rint(coarse.points * fine.mesh).astype(int)]
    return float(np.abs(coarse.values - fine.values[..., shared, :]).max())
