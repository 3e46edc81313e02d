"""The games that declare more than (mu, z, t); z is a `Common`."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


class Epidemic(Listed):
    """See `games.Epidemic`; the public state is the report, n[0] the contact of the infected."""

    def level(self, s: int, a: int) -> int:
        """The level of contact after an action."""
        return min(max(s % self.game.num_levels + a - 1, 0), self.game.num_levels - 1)

    def contact(self, s: int, a: int) -> float:
        """The contact after an action."""
        g = self.game
        return float(g.least_contact + (1 - g.least_contact) * self.level(s, a) / (g.num_levels - 1))

    def start(self, z: Any) -> Array:
        mu, size = np.zeros(self.num_states), self.game.num_levels
        mu[size - 1], mu[2 * size - 1] = 1 - self.game.infected, self.game.infected
        return mu

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        g = self.game
        for s in range(self.num_states):
            compartment = s // g.num_levels
            for a in range(3):
                if compartment == 0:
                    leave = 1 - math.exp(-g.contagion[z.noise] * self.contact(s, a) * z.actions[0])
                else:
                    leave = g.recovery if compartment == 1 else g.waning
                yield s, a, compartment * g.num_levels + self.level(s, a), 1 - leave
                yield s, a, (compartment + 1) % 3 * g.num_levels + self.level(s, a), leave

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, 3))
        for s in range(self.num_states):
            for a in range(3):
                c = self.contact(s, a)
                reward[s, a] = math.log(c) - c + 1
                if s // g.num_levels == 1:
                    reward[s, a] -= g.illness
                if self.level(s, a) != s % g.num_levels:
                    reward[s, a] -= g.adjustment
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [z.public]

    def public(self, z: Any) -> float:
        """The first report: the prevalence at t = 0."""
        return float(self.game.infected)

    def next_public(self, mu: Array, z: Any, t: int, next_z: Any) -> float:
        """The report of the prevalence at t."""
        size = self.game.num_levels
        return float(sum(mu[s] for s in range(size, 2 * size)))

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """The contact of the infected, and of all."""
        infected = total = 0.0
        for s in range(self.num_states):
            for a in range(3):
                total += joint[s, a] * self.contact(s, a)
                if s // self.game.num_levels == 1:
                    infected += joint[s, a] * self.contact(s, a)
        return [infected, total]


class TradeCrowding(Listed):
    """See `games.TradeCrowding`; n[0] is the mean rate of trading."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.dt, self.cell = game.final_time / game.horizon, 1.5 * game.largest / (game.num_states - 1)
        self.trades = range(-game.max_action, game.max_action + 1)

    def inventory(self, s: int) -> float:
        """q in state s."""
        return float(-self.game.largest / 2 + s * self.cell)

    def after(self, s: int, k: int) -> int:
        """The state after a trade of k cells."""
        return min(max(s + k, 0), self.num_states - 1)

    def start(self, z: Any) -> Array:
        g = self.game
        hill = [1 - ((self.inventory(s) - g.mean_inventory) / (g.largest / 4)) ** 2 for s in range(self.num_states)]
        mass = np.array([max(x, 0.0) for x in hill])
        return mass / sum(mass)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for a, k in enumerate(self.trades):
                yield s, a, self.after(s, k), 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, len(self.trades)))
        for s in range(self.num_states):
            q = self.inventory(s)
            for a, k in enumerate(self.trades):
                then = self.inventory(self.after(s, k))
                rate = (then - q) / self.dt
                gain = q * (g.impact * z.actions[0] + g.drift * z.noise)
                reward[s, a] = self.dt * (gain - g.trading_cost * rate**2 - g.holding_cost * q**2)
                if t == self.horizon - 1:
                    reward[s, a] -= g.terminal_cost * then**2
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        mean = sum(mass * self.inventory(s) for s, mass in enumerate(mu))
        return [mean, self.game.drift * z.noise]

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """The mean rate of trading."""
        total = 0.0
        for s in range(self.num_states):
            for a, k in enumerate(self.trades):
                total += joint[s, a] * (self.inventory(self.after(s, k)) - self.inventory(s)) / self.dt
        return [total]
