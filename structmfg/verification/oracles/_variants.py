"""The games that are not of the paper."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move
from structmfg.verification.oracles._paper import BeachBar


class BeachBarCrowded(BeachBar):
    """See `games.BeachBarCrowded`."""

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        reward = super().reward(mu, z, t, next_mu, next_z)
        for s, mass in enumerate(mu):
            reward[s] -= self.game.crowd_aversion * math.log(mass + 1e-10)
        return reward


class CrowdModelling(Listed):
    """See `games.CrowdModelling`."""

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for i, a in enumerate((-1, 0, 1)):
                for e in (-1, 0, 1):
                    yield s, i, (s + a + e) % self.num_states, 1 / 3

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # The cost of the action is paid on arrival, at t + 1.
        size = self.num_states
        reward = np.zeros((size, 3))
        for s in range(size):
            for i, a in enumerate((-1, 0, 1)):
                reward[s, i] = 1 - abs(s - size // 2) / (size // 2) - math.log(mu[s] + 1e-25)
                if t < self.horizon - 1:
                    reward[s, i] -= self.discount * abs(a) / 10
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class LeftRight(Listed):
    """See `games.LeftRight`."""

    def start(self, z: Any) -> Array:
        return np.array([1.0, 0.0, 0.0])

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(3):
            yield s, 0, 1, 1.0
            yield s, 1, 2, 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # Of the mean field after the step.
        return np.array([[-next_mu[1], -2 * next_mu[2]]] * 3)

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [mu[1], mu[2]]


class CarmonaFouqueSun(Listed):
    """See `games.CarmonaFouqueSun`; z is the sign of the shift."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.step = game.final_time / game.num_steps
        self.spacing = game.granularity * self.step**2
        self.half = game.num_states // 2
        self.actions = range(-(game.num_actions // 2), game.num_actions // 2 + 1)
        self.own = game.volatility**2 * (1 - game.correlation**2) * self.step

    def start(self, z: Any) -> Array:
        inside = [abs(i - self.half) * self.spacing <= self.game.spread + 1e-9 for i in range(self.num_states)]
        return np.array(inside) / sum(inside)

    def mean(self, mu: Array) -> float:
        """The mean position."""
        return float(sum((i - self.half) * self.spacing * mass for i, mass in enumerate(mu)))

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        # Action, shift and noise, all in whole cells.
        g, top = self.game, self.num_states - 1
        shift = z * round(g.volatility * g.correlation * math.sqrt(g.final_time / max(g.num_shocks, 1)) / self.spacing)
        cells = 1
        while (cells * self.spacing) ** 2 < self.own:
            cells += 1
        out = self.own / (2 * (cells * self.spacing) ** 2)
        for s in range(self.num_states):
            for i, k in enumerate(self.actions):
                x = min(max(s + k + shift, 0), top)
                for e, probability in ((-cells, out), (0, 1 - 2 * out), (cells, out)):
                    yield s, i, min(max(x + e, 0), top), probability

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # Minus the running cost, and at the end minus the expected terminal cost after the step.
        g, m = self.game, self.mean(mu)
        reward = np.zeros((self.num_states, len(self.actions)))
        for s in range(self.num_states):
            distance = m - (s - self.half) * self.spacing
            for i, k in enumerate(self.actions):
                alpha = k * self.spacing / self.step - g.mean_reversion * distance
                cost = alpha**2 / 2 - g.incentive * alpha * distance + g.tracking / 2 * distance**2
                reward[s, i] = -self.step * cost
        if t == self.horizon - 1:
            next_mean = self.mean(next_mu)
            for s, a, target, probability in self.moves(mu, z, t):
                missed = next_mean - (target - self.half) * self.spacing
                reward[s, a] -= g.terminal_weight / 2 * probability * missed**2
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [self.mean(mu)]


class PredatorPrey(Listed):
    """See `games.PredatorPrey`."""

    def start(self, z: Any) -> Array:
        g, cells = self.game, self.game.size**2
        mass = np.zeros(self.num_states)
        for i, corner in enumerate([(0, 0), (0, g.size - 1), (g.size - 1, 0)][: g.num_populations]):
            mass[i * cells + corner[0] * g.size + corner[1]] = 1 / g.num_populations
        return mass

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        n, noise = self.game.size, self.game.noise
        steps = ((0, 0), (1, 0), (0, 1), (0, -1), (-1, 0))
        for i in range(self.game.num_populations):
            for r in range(n):
                for c in range(n):
                    for a, (dr, dc) in enumerate(steps):
                        for e, (er, ec) in enumerate(steps):
                            target = i * n * n + (r + dr + er) % n * n + (c + dc + ec) % n
                            yield i * n * n + r * n + c, a, target, noise / 4 if e else 1 - noise

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, cells = self.game, self.game.size**2
        pairs = ((0, 1),) if g.num_populations == 2 else ((0, 2), (1, 0), (2, 1))  # who likes whom, who avoids them
        reward = np.zeros((self.num_states, 5))
        for i in range(g.num_populations):
            for cell in range(cells):
                share = [g.num_populations * mu[j * cells + cell] for j in range(g.num_populations)]
                paid = -g.congestion * math.log(share[i] + 1e-25)
                for hunter, hunted in pairs:
                    paid += g.attraction * share[hunted] if i == hunter else 0
                    paid -= g.attraction * share[hunter] if i == hunted else 0
                reward[i * cells + cell] = paid
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu
