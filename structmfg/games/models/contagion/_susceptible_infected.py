"""`susceptible_infected`: whether to go out while an infection goes round (MFGLib's game of this name).

It is the SIS game of Cui & Koeppl 2021 (arXiv 2102.01585). MFGLib's T is the last time at which agents act and are
paid, so its T = 50 is `horizon=51` here. Its `exploitability_score` of the uniform policy, in double precision, is
5.466873913228518.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import DenseKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class SusceptibleInfected(NoiselessGame):
    """Agents choose whether to go out or to keep their distance while an infection goes round.

    States 0 (susceptible) and 1 (infected); actions 0 (go out) and 1 (keep distance). A susceptible who goes out is
    infected with probability contagion * mu(1), one who keeps distance is not; an infected recovers with probability
    recovery. Reward: -illness while infected, -distancing for keeping distance. Observation: the share of infected.

    Attributes:
        contagion: Probability of an infection if all others are infected.
        recovery: Probability of a recovery in a step.
        illness: Cost of a step of illness.
        distancing: Cost of a step of keeping distance.
        infected: Share of infected at t = 0.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    contagion: float = 0.81
    recovery: float = 0.3
    illness: float = 1.0
    distancing: float = 0.5
    infected: float = 0.6
    horizon: int = 51
    discount: float = 1.0

    num_states = 2
    num_actions = 2

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("contagion", "recovery", "infected"):
            check_between(name, getattr(self, name), 0, 1)
        for name in ("illness", "distancing"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_game(self)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        falls_ill = jnp.stack([self.contagion * aggregate.mean_field[1], jnp.zeros(())])
        ill = jnp.stack([falls_ill, jnp.full(2, 1 - self.recovery)])
        return DenseKernel(jnp.stack([1 - ill, ill], axis=-1), checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        return -self.illness * jnp.arange(2.0)[:, None] - self.distancing * jnp.arange(2.0)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return aggregate.mean_field[1:]

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "1"]:
        return mean_field[1:]

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.array([1 - self.infected, self.infected])

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"share of infected": aggregate.mean_field[1]}

    @override
    def state_axes(self) -> Sequence[tuple[str, Sequence[str]]]:
        return [("state", ["susceptible", "infected"])]
