"""Games small enough to enumerate every policy, and every history of an agent."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

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
    """z is 0 until time `revealed`, then -1 (probability 0.3) or +1 for good; all depends on (mu, z, z').

    At times in `veiled` nothing is observed, and the kernel's dependence on z is multiplied by `tells`.
    """

    revealed: int = 1
    num_states: int = 2
    num_actions: int = 2
    horizon: int = 3
    discount: float = 0.9
    spoiled_at: int | None = None  # a time at which the reward is NaN
    veiled: tuple[int, ...] = ()
    tells: float = 1.0
    crowding: float = 0.5  # of the kernel
    stakes: float = 1.0  # of knowing z
    shows_noise: bool = True  # else it is seen through the mean field alone

    def _veil(self, aggregate: AggregateState) -> Bool[Array, ""]:
        return jnp.isin(aggregate.time, jnp.array(self.veiled, int))

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """See the class."""
        sway = jnp.where(self._veil(aggregate), self.tells, 1.0) * aggregate.noise
        weight = 0.2 + self.crowding * aggregate.mean_field[0] + 0.2 * sway
        return DenseKernel(weight * jnp.asarray(TILT, float) + (1 - weight) * jnp.asarray(OTHER, float))

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        """See the class."""
        crowd = aggregate.mean_field[:, None] * following.mean_field[0]
        base, swayed, after = (jnp.asarray(x, float) for x in (REWARDS, SWAYED, AFTER))
        rewards = base * (1 + aggregate.time) + aggregate.noise * self.stakes * swayed + following.noise * after - crowd
        return jnp.where(aggregate.time == (-1 if self.spoiled_at is None else self.spoiled_at), jnp.nan, rewards)

    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        """(mass in state 0, z), but for the veil."""
        seen = jnp.stack([aggregate.mean_field[0], self.shows_noise * aggregate.noise.astype(float)])
        return jnp.where(self._veil(aggregate), 0.0, seen)

    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, "2"]:
        """Always the same."""
        return jnp.array([0.35, 0.65])

    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        """The coin, or 0."""
        return self._coin(uniform) if self.revealed == 0 else jnp.zeros((), int)

    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        """The coin once it is revealed."""
        return jnp.where(time + 1 == self.revealed, self._coin(uniform), noise)

    @staticmethod
    def _coin(uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < 0.3, -1, 1)

    def scenarios(self) -> NoisePaths:
        """Two paths."""
        shown = np.arange(self.horizon + 1) >= self.revealed
        return NoisePaths(jnp.asarray(SIGNS * shown), jnp.array([0.3, 0.7]))


@dataclasses.dataclass(frozen=True)
class Jammed(Coin):
    """Moves that fail in a crowd, and rewards so averse to it that agents mix: no pure equilibrium is near."""

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """See the class."""
        stays = 0.1 + 0.8 * aggregate.mean_field
        return DenseKernel(jnp.stack([jnp.stack([stays, 1 - stays], -1), jnp.stack([1 - stays, stays], -1)], axis=1))

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        """See the class."""
        crowd = jnp.array([1.0, 1.5])[:, None] * aggregate.mean_field[:, None]
        return 0.1 * super().reward(aggregate, following) - 3 * crowd


@dataclasses.dataclass(frozen=True)
class Swap(Game):
    """An agent's own move tells what the public does not see: the loss by forgetting it is known by hand.

    z is 1 with probability `chance`, else 0, for good. In the first step agents change places with probability
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
        """Of the best guess of z without, against that with, the memory of one's own move."""
        p, q = self.chance, self.accuracy
        remembering = max(p * q, (1 - p) * (1 - q)) + max(p * (1 - q), (1 - p) * q)
        return 0.0 if self.shows_noise else self.discount * (remembering - max(p, 1 - p))

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """See the class; after the first step agents stay."""
        swap = jnp.where(aggregate.noise == 1, self.accuracy, 1 - self.accuracy) * (aggregate.time == 0)
        move = swap * (1 - jnp.eye(2)) + (1 - swap) * jnp.eye(2)
        return DenseKernel(jnp.stack([move, move], axis=1))

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "2 2"]:
        """See the class."""
        right = jnp.arange(2) == aggregate.noise
        return jnp.broadcast_to(jnp.where(aggregate.time == 1, right, 0).astype(float), (2, 2))

    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        """(mass in state 0, z if it is shown)."""
        return jnp.stack([aggregate.mean_field[0], (self.shows_noise * aggregate.noise).astype(float)])

    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        """The coin."""
        return jnp.where(uniform < self.chance, 1, 0)

    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        """Fixed."""
        return noise

    def scenarios(self) -> NoisePaths:
        """Two paths."""
        return NoisePaths(jnp.array([[0] * 3, [1] * 3]), jnp.array([1 - self.chance, self.chance]))
