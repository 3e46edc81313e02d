"""`rock_paper_scissors`: what to play next, against a population that plays for ever."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_BEATS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])


@dataclasses.dataclass(frozen=True)
class RockPaperScissors(NoiselessGame):
    """Agents choose between rock, paper and scissors, and meet everybody else, for ever.

    States and actions 0 (rock), 1 (paper), 2 (scissors); the next state is the action.
    Reward: mu(what the state beats) - mu(what beats the state). Observation: the mean field.

    At the equilibrium every state has mass one third. Best responses go round and round: a population that plays one
    state loses 9 = gamma / (1 - gamma) to an agent who plays what beats it. Where pure policies do not leave their
    state, or cycle through all three, there are several stationary distributions, or a period.

    Attributes:
        horizon: Steps; None for infinitely many.
        discount: Weight of the next reward relative to this one.
    """

    horizon: int | None = None
    discount: float = 0.9

    num_states = 3
    num_actions = 3

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Every action leads to the state of its name."""
        targets = jnp.broadcast_to(jnp.arange(3), (3, 3))[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape))

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        return actions

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        in_state = jnp.asarray(_BEATS, float) @ aggregate.mean_field
        return jnp.broadcast_to(in_state[:, None], (3, 3))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def state_axes(self) -> Sequence[tuple[str, Sequence[str]]]:
        return [("state", ["rock", "paper", "scissors"])]
