"""A game small enough to enumerate every policy: two states, two actions, three steps, one coin."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from structmfg.games import Game, NoisePaths
from structmfg.operators import DenseKernel

_TILT = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]]])
_OTHER = np.array([[[0.1, 0.9], [0.7, 0.3]], [[0.5, 0.5], [0.9, 0.1]]])
_REWARDS = np.array([[1.0, 0.3], [-0.2, 0.5]])
_SWAYED = np.array([[-1.0, 1.5], [2.0, -0.7]])
_AFTER = np.array([[1.4, -1.9], [-1.8, 1.6]])


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

    def _veil(self, aggregate):
        return jnp.isin(aggregate.time, jnp.array(self.veiled, int))

    def kernel(self, aggregate):
        sway = jnp.where(self._veil(aggregate), self.tells, 1.0) * aggregate.noise
        weight = 0.2 + self.crowding * aggregate.mean_field[0] + 0.2 * sway
        return DenseKernel(weight * jnp.asarray(_TILT, float) + (1 - weight) * jnp.asarray(_OTHER, float))

    def reward(self, aggregate, following):
        crowd = aggregate.mean_field[:, None] * following.mean_field[0]
        base, swayed, after = (jnp.asarray(x, float) for x in (_REWARDS, _SWAYED, _AFTER))
        rewards = base * (1 + aggregate.time) + aggregate.noise * self.stakes * swayed + following.noise * after - crowd
        return jnp.where(aggregate.time == (-1 if self.spoiled_at is None else self.spoiled_at), jnp.nan, rewards)

    def observe(self, aggregate):
        seen = jnp.stack([aggregate.mean_field[0], self.shows_noise * aggregate.noise.astype(float)])
        return jnp.where(self._veil(aggregate), 0.0, seen)

    def initial_mean_field(self, noise):
        return jnp.array([0.35, 0.65])

    def initial_noise(self, uniform):
        return self._coin(uniform) if self.revealed == 0 else jnp.zeros((), int)

    def next_noise(self, noise, uniform, time):
        return jnp.where(time + 1 == self.revealed, self._coin(uniform), noise)

    @staticmethod
    def _coin(uniform):
        return jnp.where(uniform < 0.3, -1, 1)

    def scenarios(self):
        shown = np.arange(self.horizon + 1) >= self.revealed
        return NoisePaths(jnp.asarray(np.array([[-1], [1]]) * shown), jnp.array([0.3, 0.7]))


@dataclasses.dataclass(frozen=True)
class Jammed(Coin):
    """Moves that fail in a crowd, and rewards so averse to it that agents mix: no pure equilibrium is near."""

    def kernel(self, aggregate):
        stays = 0.1 + 0.8 * aggregate.mean_field
        return DenseKernel(jnp.stack([jnp.stack([stays, 1 - stays], -1), jnp.stack([1 - stays, stays], -1)], axis=1))

    def reward(self, aggregate, following):
        crowd = jnp.array([1.0, 1.5])[:, None] * aggregate.mean_field[:, None]
        return 0.1 * super().reward(aggregate, following) - 3 * crowd


class CoinByHand:
    """The same in plain NumPy, as the models of `_numpy_games`."""

    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount

    def start(self, z):
        return np.array([0.35, 0.65])

    def dense(self, mu, z, t):
        sway = z * self.game.tells if t in self.game.veiled else z
        weight = 0.2 + self.game.crowding * mu[0] + 0.2 * sway
        return weight * _TILT + (1 - weight) * _OTHER

    def reward(self, mu, z, t, next_mu, next_z):
        return _REWARDS * (1 + t) + z * self.game.stakes * _SWAYED + next_z * _AFTER - mu[:, None] * next_mu[0]

    def observe(self, mu, z):
        """Without the veil."""
        return [mu[0], z * self.game.shows_noise]
