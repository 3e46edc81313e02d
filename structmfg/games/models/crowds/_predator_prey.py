"""`predator_prey`: two or three populations on a torus, each of which chases one and flees one (Perolat et al. 2021).

The game of section 5.4 of "Scaling up mean field games with online mirror descent" (arXiv 2103.00623), as OpenSpiel
writes it down (`python_mfg_predator_prey` with the geometry of a torus).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, plain_fields
from structmfg.games._aggregate import Agents, AggregateState, Noise, Population
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel, direct_sum

_MOVES = np.array([(0, 0), (1, 0), (0, 1), (0, -1), (-1, 0)])  # (rows, columns) of every action, and of the noise
_LEAST_MASS = 1e-25  # keeps the reward finite in an empty cell
_NAMES = {2: ("predators", "prey"), 3: ("red", "green", "blue")}
# Row i: how much an agent of population i likes the mean fields of all populations in its cell.
_LIKES = {2: np.array([[0, 1], [-1, 0]]), 3: np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])}


@dataclasses.dataclass(frozen=True)
class PredatorPrey(NoiselessGame):
    """Two or three populations on a torus pursue each other, and keep away from their own crowd.

    State (population, row, column), row-major. Each population starts in a corner, and all have the same mass and the
    same moves: an action stays or goes to one of the four neighbours; then, with probability `noise`, chance moves the
    agent on to one of the four neighbours there.

    Reward of population i in cell x at t = 0..T-1, with the mean field mu_j of population j alone, which sums to one:
    -congestion log(mu_i(x) + 1e-25) + attraction sum_j C_ij mu_j(x). Of three populations, red likes blue and avoids
    green, green likes red and avoids blue, blue likes green and avoids red; of two, predators like prey, and prey avoid
    predators. Observation: the mean field.

    Attributes:
        size: Rows, and columns, of the torus.
        num_populations: Two or three.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
        noise: The probability that chance moves an agent after its action.
        congestion: The weight of the population's own crowd.
        attraction: The weight of the other populations.
    """

    size: int = 5
    num_populations: int = 3
    horizon: int = 10
    discount: float = 1.0
    noise: float = 0.8
    congestion: float = 1.0
    attraction: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("size", self.size, at_least=2)
        check_integer("num_populations", self.num_populations, at_least=2, at_most=3)
        check_between("noise", self.noise, 0, 1)
        for name in ("congestion", "attraction"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_game(self)

    @property
    def num_cells(self) -> int:
        """The number of cells of the torus."""
        return self.size**2

    @property
    @override
    def num_states(self) -> int:
        return self.num_populations * self.num_cells

    @property
    @override
    def num_actions(self) -> int:
        return len(_MOVES)

    @property
    @override
    def populations(self) -> tuple[Population, ...]:
        count = self.num_populations
        blocks = [slice(i * self.num_cells, (i + 1) * self.num_cells) for i in range(count)]
        return tuple(Population(name, block, 1 / count) for name, block in zip(_NAMES[count], blocks, strict=True))

    @override
    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        """Each population in a corner of its own."""
        count, cells = self.num_populations, self.num_cells
        corners = jnp.asarray([0, self.size - 1, cells - self.size][:count])
        return jnp.zeros(self.num_states).at[jnp.arange(count) * cells + corners].set(1 / count)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """A step of each population, then chance: 5 + 5 successors a cell instead of 25."""
        row, column = jnp.divmod(jnp.arange(self.num_cells)[:, None], self.size)
        targets = (row + _MOVES[:, 0]) % self.size * self.size + (column + _MOVES[:, 1]) % self.size
        step = SuccessorKernel(targets[:, :, None], jnp.ones((*targets.shape, 1)))
        moved = jnp.asarray([1 - self.noise] + 4 * [self.noise / 4], float)
        alone = step >> step.under(jnp.broadcast_to(moved, targets.shape))
        return direct_sum(*[alone] * self.num_populations)

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """The chosen step and, with probability `noise`, one to a random neighbour, round the torus."""
        moves, (whether, where) = jnp.asarray(_MOVES, int), jax.random.split(key)
        goes = jax.random.uniform(whether, states.shape) < self.noise
        chance = jnp.where(goes, jax.random.randint(where, states.shape, 1, len(_MOVES)), 0)
        shift = moves[actions] + moves[chance]
        population, cell = jnp.divmod(states, self.num_cells)
        row, column = jnp.divmod(cell, self.size)
        row, column = (row + shift[:, 0]) % self.size, (column + shift[:, 1]) % self.size
        return population * self.num_cells + row * self.size + column

    def densities(self, mean_field: Float[Array, " states"]) -> Float[Array, "populations cells"]:
        """The mean field of every population alone, which sums to one."""
        return self.num_populations * mean_field.reshape(self.num_populations, self.num_cells)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        each = self.densities(aggregate.mean_field)
        others = jnp.einsum("ij,jx->ix", jnp.asarray(_LIKES[self.num_populations], float), each, precision="highest")
        in_state = -self.congestion * jnp.log(each + _LEAST_MASS) + self.attraction * others
        return jnp.broadcast_to(in_state.reshape(-1, 1), (self.num_states, self.num_actions))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def state_features(self) -> Float[Array, "states features"]:
        """Which population, and the place on the torus as angles."""
        population, cell = jnp.divmod(jnp.arange(self.num_states), self.num_cells)
        angles = 2 * jnp.pi * jnp.stack(jnp.divmod(cell, self.size), axis=1) / self.size
        which = population[:, None] == jnp.arange(self.num_populations)
        return jnp.concatenate([which, jnp.cos(angles), jnp.sin(angles)], axis=1)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """How often a random agent of each population meets another population in its cell, relative to even spread."""
        each, likes = self.densities(aggregate.mean_field), _LIKES[self.num_populations]
        names = _NAMES[self.num_populations]
        return {
            f"{names[i]} near {names[j]}": self.num_cells * jnp.sum(each[i] * each[j])
            for i, j in zip(*np.nonzero(likes > 0), strict=True)
        }

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "cell", jnp.arange(self.num_states, dtype=float)
