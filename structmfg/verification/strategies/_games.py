"""Random small games, made of whole numbers, whose repr can be run."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_name, check_shape
from structmfg.games import AggregateState, Game, NoiseChain, check_game
from structmfg.operators import DenseKernel, TransitionKernel
from structmfg.verification.strategies._arrays import normalised, shares, whole

Observed = Literal["nothing", "noise", "crowd", "both"]
Row = tuple[int, ...]
Table = tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class RandomGame(Game):
    """A game made of whole numbers, over S states, A actions and n states z = 0..n-1 of the common noise.

    Move: action a leads from s to `targets[s][a]` with weight 1, and with weight pull[z][s'] + crowding * mu(s') to
    any s'; fatigue * t is the weight of staying. Weights are divided by their sum.
    Reward: rewards[s][a] * luck[z'] - aversion * mu(s) + company * mu'(targets[s][a]).
    Noise: z_0 with weights `first` (n,), z' with weights `transition` (n, n). mu_0 has weights start[z_0].
    Observation: (mu(0), z), of which `observed` is seen, the rest 0. Weights that are all zero mean uniform.
    """

    targets: Table
    pull: Table
    start: Table
    transition: Table
    rewards: Table
    first: Row
    luck: Row
    crowding: int = 0
    fatigue: int = 0
    aversion: int = 0
    company: int = 0
    observed: Observed = "nothing"
    horizon: int = 1
    discount: float = 1.0

    def __post_init__(self) -> None:
        check_game(self)
        check_name("observed", self.observed, get_args(Observed))
        states, actions, noises = self.num_states, self.num_actions, len(self.first)
        shapes: dict[str, tuple[int, ...]] = {
            "targets": (states, actions),
            "rewards": (states, actions),
            "pull": (noises, states),
            "start": (noises, states),
            "transition": (noises, noises),
            "luck": (noises,),
        }
        for name, shape in shapes.items():
            check_shape(name, np.array(getattr(self, name)), shape)

    @property
    @override
    def num_states(self) -> int:
        return len(self.targets)

    @property
    @override
    def num_actions(self) -> int:
        return len(self.targets[0])

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        identity = jnp.eye(self.num_states)
        swept = jnp.asarray(self.pull, float)[aggregate.noise] + self.crowding * aggregate.mean_field
        stay = self.fatigue * aggregate.time * identity[:, None]
        weights = identity[jnp.asarray(self.targets)] + swept + stay
        return DenseKernel(weights / jnp.sum(weights, axis=-1, keepdims=True))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        lucky = jnp.asarray(self.rewards, float) * jnp.asarray(self.luck)[following.noise]
        there = following.mean_field[jnp.asarray(self.targets)]
        return lucky - self.aversion * aggregate.mean_field[:, None] + self.company * there

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        shown = jnp.asarray([self.observed in ("crowd", "both"), self.observed in ("noise", "both")])
        return jnp.where(shown, jnp.stack([aggregate.mean_field[0], aggregate.noise.astype(float)]), 0)

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return normalised(self.start)[noise]

    @override
    def noise_chain(self) -> NoiseChain:
        return NoiseChain(np.arange(len(self.first)), shares(self.first), shares(self.transition))

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().first(uniform)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().following(noise, uniform)


def nested(array: np.ndarray) -> tuple[int | Row, ...]:
    """An array as nested tuples, which can be hashed."""
    return tuple(tuple(row.tolist()) if row.ndim else int(row) for row in array)


@st.composite
def games(draw: Callable[..., Any]) -> RandomGame:
    """Random games of 2..6 states, 1..3 actions, 1..4 steps and 1..3 states of the noise, whose repr can be run."""
    states, actions, noises = draw(st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(1, 3)))
    small = st.integers(0, 2)

    def numbers(shape: tuple[int, ...], low: int, high: int) -> st.SearchStrategy[tuple[int | Row, ...]]:
        return whole(shape, low, high).map(nested)

    return draw(
        st.builds(
            RandomGame,
            targets=numbers((states, actions), 0, states - 1),
            pull=numbers((noises, states), 0, 2),
            start=numbers((noises, states), 0, 2),
            transition=numbers((noises, noises), 0, 2),
            rewards=numbers((states, actions), -3, 3),
            first=numbers((noises,), 0, 2),
            luck=numbers((noises,), -2, 2),
            crowding=small,
            fatigue=small,
            aversion=st.integers(-2, 2),
            company=st.integers(-2, 2),
            observed=st.sampled_from(get_args(Observed)),
            horizon=st.integers(1, 4),
            discount=st.sampled_from((1.0, 0.9, 0.5)),
        )
    )
