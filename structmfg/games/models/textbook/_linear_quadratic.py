"""`linear_quadratic`: agents on a line track the mean, which a common shock pushes (Wibault et al. 2026).

The push is revealed only through the mean position: an agent must infer it.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, plain_fields
from structmfg.games._aggregate import Agents, AggregateState, NoisePaths
from structmfg.games._kinds import DisplacementGame
from structmfg.games._validate import check_game
from structmfg.operators import (
    LatticeKernel,
    LatticeNoise,
    SuccessorKernel,
    TransitionKernel,
    TransitionOperator,
)

_LONG = 2**20  # positions to which single precision adds the noise with an error of less than a tenth of a cell
_PIECE = 2**20  # positions looked at at once


def _pieces(first: int, end: int) -> Iterator[Int[np.ndarray, " places"]]:
    """The whole numbers first..end - 1, some at a time."""
    return (np.arange(start, min(start + _PIECE, end)) for start in range(first, end, _PIECE))


@dataclasses.dataclass(frozen=True)
class LinearQuadratic(DisplacementGame):
    """Agents on a line track their mean, which a common shock pushes.

    Positions 0..S-1, actions -max_action..max_action; z = -1 or +1, a fair coin drawn at t = 0.

    Move: x = clip(s + a + volatility * correlation * eps), truncated, with eps = -push * z for t < first, 0 for
    first <= t <= last, +push * z for t > last. Noise: clip(round(x + volatility * sqrt(1 - correlation^2) * k)),
    k = -3..3 with probability proportional to exp(-k^2 / 2).
    Reward: -a^2 / 2 + coupling * a * d - d^2 / 4 with d = m' - s and m' the next mean position; on the last step
    -terminal_weight * d^2. Observation: the mean position.

    Attributes:
        num_states: Positions.
        max_action: Largest move of a step, in cells.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
        volatility: Standard deviation of all noise in a step, in cells.
        correlation: Correlation of an agent's noise with the common shock.
        push: Common shock, in standard deviations.
        first: Time until which the shock pushes one way.
        last: Time after which it pushes the other way.
        coupling: Reward of a move towards the mean.
        terminal_weight: Cost of the squared distance from the mean at the end.
    """

    num_states: int = 99
    max_action: int = 3
    horizon: int = 30
    discount: float = 0.99
    volatility: float = 1.0
    correlation: float = 0.5
    push: float = 10.0
    first: int = 8
    last: int = 20
    coupling: float = 0.1
    terminal_weight: float = 0.5

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("max_action", self.max_action, at_least=1)
        check_game(self)
        check_between("volatility", self.volatility, 0, math.inf)
        check_between("correlation", self.correlation, 0, 1)
        check_between("push", self.push, 0, math.inf)

    @property
    def _real(self) -> type[np.floating]:
        """The precision of positions: single, as the game is defined, but on lines too long for it."""
        return np.float32 if self.num_states <= _LONG else np.float64

    def _moved(self, places: Int[np.ndarray, "*shape"], sign: int) -> Int[np.ndarray, "*shape"]:
        """Where the move ends from s + a = `places`, for eps = `sign` * push."""
        drift = sign * self._real(self.volatility * self.correlation * self.push)
        return np.clip(places.astype(self._real) + drift, 0, self.num_states - 1).astype(np.int64)

    def _scattered(self, places: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape 7"]:
        """Where the idiosyncratic noise leads from `places`, for every k."""
        targets = places[..., None].astype(self._real) + self._noise_scale * np.arange(-3, 4).astype(self._real)
        return np.clip(np.round(targets), 0, self.num_states - 1).astype(np.int64)

    @functools.cached_property
    def _noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets (S, 7) and probabilities (7,) of the idiosyncratic noise."""
        return self._scattered(np.arange(self.num_states)), self._noise_probabilities

    @property
    def _noise_probabilities(self) -> Float[np.ndarray, "7"]:
        weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
        return weights / weights.sum()

    @property
    def _noise_scale(self) -> Any:
        return self._real(self.volatility * math.sqrt(1 - self.correlation**2))

    @functools.cached_property
    def _shifts(self) -> tuple[int, ...] | None:
        """The common displacement for eps = -push, 0, +push where the move is a shift with walls, else None."""
        drift = self.volatility * self.correlation * self.push
        shifts = tuple(math.floor(round(sign * drift, 6)) for sign in (-1, 0, 1))
        fits = (
            (np.clip(places + shift, 0, self.num_states - 1) == self._moved(places, sign)).all()
            for places in _pieces(-self.max_action, self.num_states + self.max_action)
            for sign, shift in zip((-1, 0, 1), shifts, strict=True)
        )
        return shifts if all(fits) else None

    @functools.cached_property
    def _noise_offsets(self) -> tuple[int, ...] | None:
        """The displacements by the noise where they are the same for all states, else None."""
        offsets = np.round(self._noise_scale * np.arange(-3, 4)).astype(int)
        fits = (
            (np.clip(places[:, None] + offsets, 0, self.num_states - 1) == self._scattered(places)).all()
            for places in _pieces(0, self.num_states)
        )
        return tuple(offsets.tolist()) if all(fits) else None

    def _idiosyncratic(self) -> TransitionOperator:
        if self._noise_offsets is not None:
            return LatticeNoise(self.num_states, self._noise_offsets, self._noise_probabilities)
        # Ties round to even, so the displacement depends on the parity of the position.
        targets, probabilities = self._noise
        kernel = SuccessorKernel(jnp.asarray(targets)[:, :, None], jnp.ones((*targets.shape, 1)))
        return kernel.under(jnp.broadcast_to(jnp.asarray(probabilities), targets.shape))

    def _direction(self, aggregate: AggregateState) -> Int[Array, ""]:
        """The sign of eps."""
        sign = jnp.where(aggregate.time < self.first, -1, jnp.where(aggregate.time > self.last, 1, 0))
        return sign * aggregate.noise

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """A shift with walls, then a stencil with walls."""
        which = self._direction(aggregate) + 1
        move: TransitionKernel
        if self._shifts is None:
            places = np.arange(self.num_states)[:, None] + self.actions
            targets = jnp.asarray(np.stack([self._moved(places, sign) for sign in (-1, 0, 1)]))[which]
            move = SuccessorKernel(targets[:, :, None], jnp.ones((*targets.shape, 1)))
        else:
            move = LatticeKernel(
                self.num_states,
                self.actions.tolist(),
                shift=jnp.asarray(self._shifts)[which],
                max_shift=max(abs(shift) for shift in self._shifts),
            )
        return move >> self._idiosyncratic()

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Clip the move, truncate, add noise, round and clip, in single precision, as the game is defined."""
        top, k = self.num_states - 1, np.arange(-3, 4)
        drift = jnp.float32(self.volatility * self.correlation * self.push) * aggregate.noise
        eps = jnp.where(aggregate.time < self.first, -drift, jnp.where(aggregate.time > self.last, drift, 0))
        noise = np.float32(self.volatility * math.sqrt(1 - self.correlation**2)) * k.astype(np.float32)
        drawn = jax.random.choice(key, jnp.asarray(noise), states.shape, p=jnp.exp(-(jnp.asarray(k) ** 2) / 2))
        x = jnp.trunc(jnp.clip(states + jnp.asarray(self.actions)[actions] + eps, 0, top))
        return jnp.clip(jnp.round(x + drawn), 0, top).astype(states.dtype)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        a = jnp.asarray(self.actions, float)
        d = (self._mean(following) - jnp.arange(self.num_states))[:, None]
        running = -0.5 * a**2 + self.coupling * a * d - 0.25 * d**2
        return jnp.where(self.is_last(aggregate), -self.terminal_weight * d**2, running)

    def _mean(self, aggregate: AggregateState) -> Float[Array, ""]:
        return jnp.matmul(aggregate.mean_field, jnp.arange(self.num_states, dtype=float), precision="highest")

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        return self._mean(aggregate)[None]

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation / self.num_states

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "1"]:
        return jnp.matmul(mean_field, jnp.arange(self.num_states, dtype=float), precision="highest")[None]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < 0.5, -1, 1)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return noise

    @override
    def scenarios(self) -> NoisePaths:
        return NoisePaths(jnp.repeat(jnp.array([[-1], [1]]), self.horizon + 1, axis=1), jnp.full(2, 0.5))

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"mean position": self._mean(aggregate)}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "position", jnp.arange(self.num_states, dtype=float)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return f"z = {int(noise[0]):+d}"
