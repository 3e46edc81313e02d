"""`sis`: how much company to keep while an infection goes round (susceptible, infected, susceptible)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import DenseKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class SISEpidemic(NoiselessGame):
    """Agents choose how much company to keep while an infection goes round, for ever.

    States 0 (susceptible) and 1 (infected); action i is the contact level a = i / (num_levels - 1). A susceptible is
    infected with probability contagion a mu(1), rounded to a multiple of 1 / resolution (half down); an infected
    recovers with probability recovery. Half of all are infected at the start.
    Reward: a - cost_of_infection 1{s = 1}. Observation: the share of infected.

    Free of disease, all keep company: mu = (1, 0) is stationary, and an equilibrium, but unstable without rounding:
    whoever plays that policy from the start ends with 1 - recovery / contagion infected. So an equilibrium is a pair of
    policy and mean field. Without rounding there is a second one, with the disease, in which susceptibles are
    indifferent between all levels:
    mu(1) = (1 - gamma (1 - recovery)) / (contagion gamma (cost_of_infection - 1)), .0293 at the parameters below.

    Attributes:
        num_levels: Contact levels.
        contagion: Probability of an infection by full contact with infected.
        recovery: Probability of a recovery.
        cost_of_infection: Cost of each step of being infected.
        resolution: Probabilities of infection are rounded to its inverse, as in the source; None for no rounding.
        horizon: Steps; None for infinitely many.
        discount: Weight of the next reward relative to this one.
    """

    num_levels: int = 5
    contagion: float = 0.8
    recovery: float = 0.1
    cost_of_infection: float = 10.0
    resolution: int | None = 100
    horizon: int | None = None
    discount: float = 0.9

    num_states = 2

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_levels", self.num_levels, at_least=2)
        check_game(self)
        check_between("contagion", self.contagion, 0, 1)
        check_between("recovery", self.recovery, 0, 1)
        check_between("cost_of_infection", self.cost_of_infection, 0, 1e6)
        if self.resolution is not None:
            check_integer("resolution", self.resolution, at_least=1)

    @property
    @override
    def num_actions(self) -> int:
        return self.num_levels

    @property
    def levels(self) -> np.ndarray:
        """The contact level (A,) of every action."""
        return np.linspace(0, 1, self.num_levels)

    def _infection(self, aggregate: AggregateState) -> Float[Array, " actions"]:
        chance = self.contagion * jnp.asarray(self.levels, float) * aggregate.mean_field[1]
        if self.resolution is None:
            return chance
        return jnp.clip(jnp.ceil(chance * self.resolution - 0.5), 0, self.resolution) / self.resolution

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        falls_ill = self._infection(aggregate)
        stays_ill = jnp.full(self.num_levels, 1 - self.recovery)
        ill = jnp.stack([falls_ill, stays_ill])
        return DenseKernel(jnp.stack([1 - ill, ill], axis=-1), checks=False)

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        ill = jnp.where(states == 1, 1 - self.recovery, self._infection(aggregate)[actions])
        return (jax.random.uniform(key, states.shape) < ill).astype(states.dtype)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        return jnp.asarray(self.levels, float) - self.cost_of_infection * jnp.arange(2.0)[:, None]

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return aggregate.mean_field[1:]

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean contact level", self.levels

    @override
    def state_axes(self) -> Sequence[tuple[str, Sequence[str]]]:
        return [("state", ["susceptible", "infected"])]
