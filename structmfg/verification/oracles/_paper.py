"""The three games of Wibault et al. 2026 (arXiv 2602.20141)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


def mean(mu: Array) -> float:
    """The mean position of a mean field on 0..S-1."""
    return float(sum(s * mass for s, mass in enumerate(mu.tolist())))


class LinearQuadratic(Listed):
    """See `games.LinearQuadratic`; the positions are in single precision, as the game is defined."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.actions = range(-game.max_action, game.max_action + 1)

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def common(self, z: Any, t: int) -> float:
        """The common shock eps(t)."""
        if t < self.game.first:
            return float(-self.game.push * z)
        return float(self.game.push * z) if t > self.game.last else 0.0

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        # `round` is to nearest, ties to even.
        g, top, one = self.game, self.num_states - 1, np.float32
        weights = [math.exp(-k * k / 2) for k in range(-3, 4)]
        drift, scale = (
            one(g.volatility * g.correlation * self.common(z, t)),
            one(g.volatility * math.sqrt(1 - g.correlation**2)),
        )
        for s in range(self.num_states):
            for i, a in enumerate(self.actions):
                x = int(min(max(float(one(s + a) + drift), 0.0), float(top)))
                for k, weight in zip(range(-3, 4), weights, strict=True):
                    target = min(max(round(float(one(x) + scale * one(k))), 0), top)
                    yield s, i, target, weight / sum(weights)

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # Against the next mean, from the present position.
        g, reward, next_mean = self.game, np.zeros((self.num_states, self.num_actions)), mean(next_mu)
        for s in range(self.num_states):
            d = next_mean - s
            for i, a in enumerate(self.actions):
                running = -0.5 * a**2 + g.coupling * a * d - 0.25 * d**2
                reward[s, i] = -g.terminal_weight * d**2 if t == g.horizon - 1 else running
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [mean(mu)]


class BeachBar(Listed):
    """See `games.BeachBar`; z is (bar, open)."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.actions = range(-game.max_action, game.max_action + 1)

    def start(self, z: Any) -> Array:
        # Uniform on all cells but the bar's.
        mu = np.full(self.num_states, 1 / (self.num_states - 1))
        mu[z[0]] = 0
        return mu

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        # From the bar's own cell an agent may go to either side.
        size, bar = self.num_states, z[0]
        for s in range(size):
            low = bar + 1 if s > bar else 0
            high = bar - 1 if s < bar else size - 1
            for i, a in enumerate(self.actions):
                x = min(max(s + a, low), high)
                for e, probability in ((-2, 0.05), (-1, 0.1), (0, 0.7), (1, 0.1), (2, 0.05)):
                    yield s, i, min(max(x + e, low), high), probability

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # It counts whether the bar is open before the step, and whether it has closed after it.
        size, (bar, is_open) = self.num_states, z
        reward = np.zeros((size, self.num_actions))
        for s in range(size):
            for i, a in enumerate(self.actions):
                reward[s, i] = -abs(bar - s) * is_open - abs(a) / size
                if abs(bar - s) == 1 and next_z[1] == 0:
                    reward[s, i] -= size
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [mean(mu), z[1], z[0]]


class Macro(Listed):
    """See `games.Macro`; z is log productivity."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.wealth = self._grid(0.0, game.max_wealth, game.num_wealth)
        self.income = self._grid(game.min_income, game.max_income, game.num_income)
        self.shares = [(i + 0.5) / game.num_actions for i in range(game.num_actions)]

    @staticmethod
    def _grid(lower: float, upper: float, count: int) -> list[float]:
        pivot = max(abs(lower), 0.25)
        ratio = (upper + pivot) / (lower + pivot)
        return [max((lower + pivot) * ratio ** (i / (count - 1)) - pivot, 0.0) for i in range(count)]

    def _split(self, s: int) -> tuple[int, int]:
        return divmod(s, int(self.game.num_income))

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def prices(self, mu: Array, z: Any) -> tuple[float, float]:
        """Interest rate and wage."""
        alpha, masses = self.game.capital_share, mu.tolist()
        capital = sum(mass * self.wealth[self._split(s)[0]] for s, mass in enumerate(masses))
        labour = sum(mass * self.income[self._split(s)[1]] for s, mass in enumerate(masses))
        interest = math.exp(z) * alpha * (labour / (capital + 1e-6)) ** (1 - alpha)
        return interest, math.exp(z) * (1 - alpha) * (capital / (labour + 1e-6)) ** alpha

    def cash(self, mu: Array, z: Any) -> list[float]:
        """Cash on hand in every state."""
        interest, wage = self.prices(mu, z)
        places = [self._split(s) for s in range(self.num_states)]
        return [(1 + interest) * self.wealth[w] + wage * self.income[y] for w, y in places]

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        # A lottery between grid points of wealth, and an independent step of income.
        g, grid = self.game, self.wealth
        chances = ((-1, g.income_move), (0, 1 - 2 * g.income_move), (1, g.income_move))
        for s, cash in enumerate(self.cash(mu, z)):
            for a, share in enumerate(self.shares):
                savings = min(max(cash * (1 - share), grid[0]), grid[-1])
                left = 0
                while left < g.num_wealth - 2 and grid[left + 1] <= savings:
                    left += 1
                upper = (savings - grid[left]) / (grid[left + 1] - grid[left])
                for w, lottery in ((left, 1 - upper), (left + 1, upper)):
                    for step, chance in chances:
                        income = min(max(self._split(s)[1] + step, 0), g.num_income - 1)
                        yield s, a, w * g.num_income + income, lottery * chance

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # The utility of consumption; at the end all cash is consumed.
        g, sigma = self.game, self.game.risk_aversion
        reward = np.zeros((self.num_states, self.num_actions))
        for s, cash in enumerate(self.cash(mu, z)):
            for a, share in enumerate(self.shares):
                consumption = cash * (1.0 if t == g.horizon - 1 else share)
                reward[s, a] = consumption ** (1 - sigma) / (1 - sigma)
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> tuple[float, float]:
        return self.prices(mu, z)
