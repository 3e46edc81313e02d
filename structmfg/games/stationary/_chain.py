"""`lasry_lions` and `two_beach_bars`: a chain of cells, with a crowd to be avoided or to be joined."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_whole, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_STEPS = np.array([-1, 0, 1])  # the actions, and the values of the noise
_NOISE = np.array([0.025, 0.95, 0.025])


class _Chain(NoiselessGame):
    """The cells, actions and moves that `LasryLionsChain` describes. Observation: the mean field."""

    num_actions = len(_STEPS)

    @abc.abstractmethod
    def in_state(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        """The reward (S,) of being in a state."""

    @property
    @abc.abstractmethod
    def moving(self) -> float:
        """The cost of a step to the left or to the right."""

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        targets = np.arange(self.num_states)[:, None, None] + _STEPS[:, None] + _STEPS
        probabilities = jnp.broadcast_to(jnp.asarray(_NOISE, float), targets.shape)
        return SuccessorKernel(jnp.asarray(np.clip(targets, 0, self.num_states - 1)), probabilities)

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """The chosen step and a random one, and then the walls."""
        noise = jax.random.choice(key, jnp.asarray(_STEPS), states.shape, p=jnp.asarray(_NOISE))
        return jnp.clip(states + jnp.asarray(_STEPS)[actions] + noise, 0, self.num_states - 1)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        return self.in_state(aggregate.mean_field)[:, None] - self.moving * jnp.abs(jnp.asarray(_STEPS))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean displacement (cells per step)", _STEPS.astype(float)

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "cell", jnp.arange(self.num_states, dtype=float)


@dataclasses.dataclass(frozen=True)
class LasryLionsChain(_Chain):
    """Agents on a chain are drawn to its middle and avoid the crowd there, for ever.

    Cells 0..S-1, actions -1, 0, 1; the next cell is clip(s + a + e), e = -1, 0, 1 with probability .025, .95, .025.
    Reward: -movement_cost |a| - attraction (s - c)^2 - crowd_aversion mu(s), with c = S // 2. Observation: mu.

    Rewards fall in mu(s) and moves do not depend on mu: the game is monotone (Lasry & Lions 2007,
    doi:10.1007/s11537-007-0657-8), so its equilibrium mean field is the only one. Agents mix in some cells, so
    that no iteration of pure best responses finds it.

    Attributes:
        num_states: Cells of the chain.
        movement_cost: Cost of a step to the left or right.
        attraction: Cost of the squared distance from the middle.
        crowd_aversion: Cost of mass in the cell.
        horizon: Steps; None for infinitely many.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 7
    movement_cost: float = 2.0
    attraction: float = 3.0
    crowd_aversion: float = 40.0
    horizon: int | None = None
    discount: float = 0.9

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)
        for name in ("movement_cost", "attraction", "crowd_aversion"):
            check_between(name, getattr(self, name), 0, 1e6)

    @property
    @override
    def moving(self) -> float:
        return self.movement_cost

    @override
    def in_state(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        distance = jnp.asarray(np.arange(self.num_states) - self.num_states // 2, float)
        return -self.attraction * distance**2 - self.crowd_aversion * mean_field


@dataclasses.dataclass(frozen=True)
class TwoBeachBars(_Chain):
    """Agents on a beach are drawn to the nearer of two bars, and to company, for ever.

    Cells, actions and moves are those of `LasryLionsChain`.
    Reward: -movement_cost |a| - attraction min(|s - left|, |s - right|) + company mu(s).

    Rewards grow with mu(s), so there are several equilibria: everybody at either bar, and a mixture of both that no
    iteration holds. Which one a solver finds follows from its start and from how it breaks ties: of equally good
    actions the package takes the one nearest to the middle of the list, and then the first, so the left bar wins.

    Attributes:
        num_states: Cells of the beach.
        left: Cell of the left bar.
        right: Cell of the right bar.
        movement_cost: Cost of a step to the left or right.
        attraction: Cost of the distance from the nearer bar.
        company: Reward of mass in the cell.
        horizon: Steps; None for infinitely many.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 7
    left: int = 2
    right: int = 4
    movement_cost: float = 4.0
    attraction: float = 20.0
    company: float = 5.0
    horizon: int | None = None
    discount: float = 0.9

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)
        for name in ("left", "right"):
            check_whole(name, check_integer(name, getattr(self, name), at_least=0), 0, self.num_states - 1)
        for name in ("movement_cost", "attraction", "company"):
            check_between(name, getattr(self, name), 0, 1e6)

    @property
    @override
    def moving(self) -> float:
        return self.movement_cost

    @override
    def in_state(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        cells = np.arange(self.num_states)
        distance = np.minimum(np.abs(cells - self.left), np.abs(cells - self.right))
        return -self.attraction * jnp.asarray(distance, float) + self.company * mean_field
