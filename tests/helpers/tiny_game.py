"""The package's tiny games, and one of them in plain NumPy."""

import numpy as np

from structmfg.verification._tiny import AFTER, OTHER, REWARDS, SWAYED, TILT, Coin, Jammed, Swap

__all__ = ["Coin", "CoinByHand", "Jammed", "Swap"]


class CoinByHand:
    """The same in plain NumPy, as the models of `structmfg.verification.oracles`."""

    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount

    def start(self, z):
        return np.array([0.35, 0.65])

    def dense(self, mu, z, t):
        sway = z * self.game.tells if t in self.game.veiled else z
        weight = 0.2 + self.game.crowding * mu[0] + 0.2 * sway
        return weight * TILT + (1 - weight) * OTHER

    def reward(self, mu, z, t, next_mu, next_z):
        return REWARDS * (1 + t) + z * self.game.stakes * SWAYED + next_z * AFTER - mu[:, None] * next_mu[0]

    def observe(self, mu, z, t):
        return [0.0, 0.0] if t in self.game.veiled else [mu[0], z * self.game.shows_noise]
