"""Games small enough to enumerate every policy, and every history of an agent."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg.games import AggregateState, Game, NoisePaths
from structmfg.operators import DenseKernel, TransitionKernel

SIGNS = np.array([[-1], [1]])

TILT = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]]])
OTHER = np.array([[[0.1, 0.9], [0.7, 0.3]], [[0.5, 0.5], [0.9, 0.1]]])
REWARDS = np.array([[1.0, 0.3], [-0.2, 0.5]])
SWAYED = np.array([[-1.0, 1.5], [2.0, -0.7]])
AFTER = np.array([[1.4, -1.9], [-1.8, 1.6]])


@dataclasses.dataclass(frozen=True)
class Coin(Game):
    """A game in which the noise z is 0 until time `revealed`, then -1 (probability 0.3) or +1 until the end.

    Kernel and rewards depend on (mu, z, z'). At times in `veiled` nothing is observed, and the kernel's dependence on z
    is multiplied by `tells`.
    """

    revealed: int = 1
    num_states: int = 2
    num_actions: int = 2
    horizon: int = 3
    discount: float = 0.9
    spoiled_at: int | None = None  # the time at which the reward is NaN
    veiled: tuple[int, ...] = ()
    tells: float = 1.0
    crowding: float = 0.5  # how much the kernel depends on the mean field
    stakes: float = 1.0  # how much the reward depends on z
    shows_noise: bool = True  # without it, observations depend on z through the mean field alone

    def _veil(self, aggregate: AggregateState) -> Bool[Array, ""]:
        return jnp.isin(aggregate.time, jnp.array(self.veiled, int))

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        sway = jnp.where(self._veil(aggregate), self.tells, 1.0) * aggregate.noise
        weight = 0.2 + self.crowding * aggregate.mean_field[0] + 0.2 * sway
        return DenseKernel(weight * jnp.asarray(TILT, float) + (1 - weight) * jnp.asarray(OTHER, float))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        crowd = aggregate.mean_field[:, None] * following.mean_field[0]
        base, swayed, after = (jnp.asarray(x, float) for x in (REWARDS, SWAYED, AFTER))
        rewards = base * (1 + aggregate.time) + aggregate.noise * self.stakes * swayed + following.noise * after - crowd
        return jnp.where(aggregate.time == (-1 if self.spoiled_at is None else self.spoiled_at), jnp.nan, rewards)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        shown = jnp.stack([aggregate.mean_field[0], self.shows_noise * aggregate.noise.astype(float)])
        return jnp.where(self._veil(aggregate), 0.0, shown)

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, "2"]:
        return jnp.array([0.35, 0.65])

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return self._coin(uniform) if self.revealed == 0 else jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(time + 1 == self.revealed, self._coin(uniform), noise)

    @staticmethod
    def _coin(uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < 0.3, -1, 1)

    @override
    def scenarios(self) -> NoisePaths:
        shown = np.arange(self.horizon + 1) >= self.revealed
        return NoisePaths(jnp.asarray(SIGNS * shown), jnp.array([0.3, 0.7]))


@dataclasses.dataclass(frozen=True)
class Jammed(Coin):
    """A variant in which transitions fail in a crowd, and agents avoid it so much that every equilibrium is mixed."""

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        stays = 0.1 + 0.8 * aggregate.mean_field
        return DenseKernel(jnp.stack([jnp.stack([stays, 1 - stays], -1), jnp.stack([1 - stays, stays], -1)], axis=1))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        crowd = jnp.array([1.0, 1.5])[:, None] * aggregate.mean_field[:, None]
        return 0.1 * super().reward(aggregate, following) - 3 * crowd


@dataclasses.dataclass(frozen=True)
class Swap(Game):
    """A game in which an agent's own transition reveals the hidden noise; the loss by forgetting it is known.

    z is 1 with probability `chance`, else 0, at all times. In the first step agents change places with probability
    `accuracy` if z is 1 and 1 - `accuracy` if it is 0, whatever they do; half of them start in either state, so neither
    the mean field nor the present state says anything. In the second step action z is rewarded by one.
    """

    chance: float = 0.4
    accuracy: float = 0.8
    shows_noise: bool = False
    discount: float = 0.9

    num_states = 2
    num_actions = 2
    horizon = 2

    @property
    def loss(self) -> float:
        """The loss of the best guess of z without the memory of one's own transition, against that with it."""
        p, q = self.chance, self.accuracy
        remembering = max(p * q, (1 - p) * (1 - q)) + max(p * (1 - q), (1 - p) * q)
        return 0.0 if self.shows_noise else self.discount * (remembering - max(p, 1 - p))

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """See the class; agents stay where they are after the first step."""
        swap = jnp.where(aggregate.noise == 1, self.accuracy, 1 - self.accuracy) * (aggregate.time == 0)
        transition = swap * (1 - jnp.eye(2)) + (1 - swap) * jnp.eye(2)
        return DenseKernel(jnp.stack([transition, transition], axis=1))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        correct = jnp.arange(2) == aggregate.noise
        return jnp.broadcast_to(jnp.where(aggregate.time == 1, correct, 0).astype(float), (2, 2))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        return jnp.stack([aggregate.mean_field[0], (self.shows_noise * aggregate.noise).astype(float)])

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < self.chance, 1, 0)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return noise

    @override
    def scenarios(self) -> NoisePaths:
        return NoisePaths(jnp.array([[0] * 3, [1] * 3]), jnp.array([1 - self.chance, self.chance]))
