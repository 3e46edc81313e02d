"""`beach_bar`: where to lie on a beach whose bar may close at half time (Wibault et al. 2026, one-dimensional).

Rewards and transitions do not depend on the mean field, so this is a control problem under common noise. In
`beach_bar_crowded` agents dislike a crowd, as in Perrin et al. 2020, arXiv 2007.03458.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, plain_fields
from structmfg.games._aggregate import Agents, AggregateState, NoisePaths
from structmfg.games._kinds import DisplacementGame
from structmfg.games._noise_chain import MAX_SCENARIOS
from structmfg.games._validate import check_game
from structmfg.operators import LatticeKernel, LatticeNoise, PatchedKernel, TransitionKernel

_NOISE = (-2, -1, 0, 1, 2)
_NOISE_PROBABILITIES = (0.05, 0.1, 0.7, 0.1, 0.05)
_LEAST_MASS = 1e-10  # keeps the reward finite in an empty cell


class BeachNoise(NamedTuple):
    """The cell of the bar, fixed from t = 0, and whether the bar is open (1) or closed (0)."""

    bar: Int[Array, "*times"]
    open: Int[Array, "*times"]


@dataclasses.dataclass(frozen=True)
class BeachBar(DisplacementGame):
    """Agents choose where to lie on a beach whose bar may close at half time.

    Cells 0..S-1, actions -max_action..max_action; the bar is uniform on floor(S/4)..ceil(3S/4)-1.

    The bar is open until time T // 2, when it closes for good or stays open, with probability 1/2 each. Nobody stands
    on it or crosses it: moves clip(s + a), and then noise (+-1 with probability .1, +-2 with .05 each), are clipped
    into the cells on the agent's side.
    Reward: -|b - s| * open - S * 1{|b - s| = 1} * 1{open' = 0} - |a| / S, open' being the flag after the step.
    Observation: (mean position, open, b).

    Attributes:
        num_states: Cells of the beach.
        max_action: Largest move of a step, in cells.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 101
    max_action: int = 5
    horizon: int = 30
    discount: float = 0.99

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("max_action", self.max_action, at_least=1)
        check_integer("num_states", self.num_states, at_least=5)
        check_integer("horizon", self.horizon, at_least=2)  # else the bar would have to close before the first step
        check_game(self)

    @property
    def bars(self) -> np.ndarray:
        """The cells in which the bar may stand."""
        return np.arange(math.floor(0.25 * self.num_states), math.ceil(0.75 * self.num_states))

    @property
    def closing_time(self) -> int:
        """The time at which the bar may be found closed, T // 2."""
        return self.horizon // 2

    @override
    def as_noise(self, noise: Any) -> BeachNoise:
        return BeachNoise(*noise)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """A shift, then noise, with the bar as a barrier; from the bar, which has no mass, all cells are open."""

        def steps(barriers: Array) -> TransitionKernel:
            move = LatticeKernel(self.num_states, self.actions.tolist(), barriers=barriers)
            return move >> LatticeNoise(self.num_states, _NOISE, _NOISE_PROBABILITIES, barriers=barriers)

        bar = aggregate.noise.bar
        return PatchedKernel(steps(bar[None]), steps(jnp.zeros(0, bar.dtype)), bar)

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Move, then noise, each clipped to the cells on the agent's side of the bar."""
        bar = aggregate.noise.bar
        low = jnp.where(states > bar, bar + 1, 0)
        high = jnp.where(states < bar, bar - 1, self.num_states - 1)
        noise = jax.random.choice(key, jnp.asarray(_NOISE), states.shape, p=jnp.asarray(_NOISE_PROBABILITIES))
        return jnp.clip(jnp.clip(states + jnp.asarray(self.actions)[actions], low, high) + noise, low, high)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        distance = jnp.abs(aggregate.noise.bar - jnp.arange(self.num_states))
        closes = (distance == 1) & (following.noise.open == 0)
        state_reward = -distance * aggregate.noise.open - self.num_states * closes
        return state_reward[:, None] - jnp.asarray(np.abs(self.actions) / self.num_states)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        mean = jnp.matmul(aggregate.mean_field, jnp.arange(self.num_states, dtype=float), precision="highest")
        return jnp.stack([mean, aggregate.noise.open.astype(mean.dtype), aggregate.noise.bar.astype(mean.dtype)])

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        sign, scale = jnp.array([-1.0, 1.0, -1.0]), jnp.array([self.num_states, 1.0, self.num_states])
        return jnp.array([1.0, 0.0, 1.0]) + sign * observation / scale

    @override
    def initial_mean_field(self, noise: BeachNoise) -> Float[Array, " states"]:
        return jnp.where(jnp.arange(self.num_states) == noise.bar, 0.0, 1 / (self.num_states - 1))

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        return mean_field[:0]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> BeachNoise:
        index = jnp.minimum((uniform * len(self.bars)).astype(int), len(self.bars) - 1)
        return BeachNoise(index + self.bars[0], jnp.ones_like(index))

    @override
    def next_noise(self, noise: BeachNoise, uniform: Float[Array, ""], time: Int[Array, ""]) -> BeachNoise:
        """The bar closes at T // 2 with probability 1/2."""
        closes = (time + 1 == self.closing_time) & (uniform < 0.5)
        return BeachNoise(noise.bar, jnp.where(closes, 0, noise.open))

    @override
    def scenarios(self) -> NoisePaths | None:
        """Every cell of the bar, open to the end or closing: 102 paths at S = 101; None if they are too many."""
        if 2 * len(self.bars) > MAX_SCENARIOS:
            return None
        closed = np.arange(self.horizon + 1) >= self.closing_time
        flags = np.stack([np.ones_like(closed), ~closed]).astype(int)
        bar = np.repeat(self.bars, 2)[:, None] * np.ones(self.horizon + 1, int)
        count = 2 * len(self.bars)
        return NoisePaths(
            BeachNoise(jnp.asarray(bar), jnp.asarray(np.tile(flags, (len(self.bars), 1)))),
            jnp.full(count, 1 / count),
        )

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        near = jnp.abs(jnp.arange(self.num_states) - aggregate.noise.bar) == 1
        return {"mass next to the bar": jnp.sum(aggregate.mean_field * near)}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "cell", jnp.arange(self.num_states, dtype=float)

    @override
    def noise_label(self, noise: BeachNoise) -> str:
        return f"bar at {int(noise.bar[0])}, {'stays open' if int(noise.open[-1]) else 'closes'}"

    @override
    def captions(self) -> dict[str, str]:
        return {
            "mean_field": "Look at the cells next to the bar just before it may close, and after it has or has not.",
            "quantities": "Look at the time before the bar may close: whoever then lies next to it pays.",
        }


@dataclasses.dataclass(frozen=True)
class BeachBarCrowded(BeachBar):
    """Beach Bar among agents who dislike a crowd: the reward in s has -crowd_aversion * log(mu_t(s) + 1e-10) added.

    Attributes:
        crowd_aversion: Dislike of a crowd, in units of the reward.
    """

    crowd_aversion: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("crowd_aversion", self.crowd_aversion, 0, jnp.inf)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        crowd = jnp.log(aggregate.mean_field + _LEAST_MASS)
        return super().reward(aggregate, following) - self.crowd_aversion * crowd[:, None]

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        return mean_field
