"""More games of markets; z is a `Common`."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


class EquilibriumPrice(Listed):
    """See `games.EquilibriumPrice`; n[0] is the mean output."""

    def actions(self) -> list[tuple[int, int]]:
        """(output, order) of every action."""
        return [(q, h) for q in range(self.game.max_output + 1) for h in range(self.game.max_order + 1)]

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for a, (q, h) in enumerate(self.actions()):
                yield s, a, min(s - min(q, s) + h, self.game.max_inventory), 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, self.num_actions))
        price = math.pow(g.demand / (z.actions[0] + g.outside_supply), 1 / g.elasticity)
        for s in range(self.num_states):
            for a, (q, h) in enumerate(self.actions()):
                short = q - s if q > s else 0
                costs = g.cost_of_haste * q * q + g.cost_of_order * h + g.cost_of_storage * s
                costs += (g.cost_of_order + g.cost_of_shortage) * short
                reward[s, a] = (price - g.cost_of_output) * q - costs
        return reward

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """The mean output."""
        return [sum(joint[s, a] * q for s in range(self.num_states) for a, (q, _) in enumerate(self.actions()))]

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [sum(s * mass for s, mass in enumerate(mu))]


class ElectricityStorage(Listed):
    """See `games.ElectricityStorage`; the public state is the last price, n[0] the energy sold per battery."""

    def sold(self, a: int) -> float:
        """The energy that an action sells."""
        return float((self.game.efficiency, 0.0, -1.0)[a])

    def price(self, t: int, supply: float, traded: float) -> float:
        """The price."""
        demand = 1 + self.game.swing * math.sin(2 * math.pi * t / self.game.period)
        return float((demand / (supply + self.game.capacity * traded)) ** (1 / self.game.elasticity))

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for a in range(3):
                yield s, a, min(max(s + a - 1, 0), self.num_states - 1), 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        reward, price = np.zeros((self.num_states, 3)), self.price(t, self.game.supply[z.noise], z.actions[0])
        for a in range(3):
            reward[:, a] = price * self.sold(a) - (self.game.wear if a != 1 else 0)
        return reward

    def allowed(self, mu: Array, z: Any, t: int) -> Array:
        """Levels stay between empty and full."""
        return np.array([[0 <= s + a - 1 < self.num_states for a in range(3)] for s in range(self.num_states)])

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """The energy sold per battery."""
        return [sum(joint[s, a] * self.sold(a) for s in range(self.num_states) for a in range(3))]

    def public(self, z: Any) -> float:
        """The price without batteries."""
        return self.price(0, self.game.supply[getattr(z, "noise", z)], 0.0)

    def next_public(self, mu: Array, z: Any, t: int, next_z: Any) -> float:
        """The price of this step."""
        return self.price(t, self.game.supply[z.noise], z.actions[0])

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [z.public]


class BankRun(Listed):
    """See `games.BankRun`; the public state is what is left of the assets."""

    def start(self, z: Any) -> Array:
        return np.array([1.0, 0.0, 0.0])

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        yield 0, 0, 0, 1 - self.game.need
        yield 0, 0, 1, self.game.need
        yield 1, 0, 1, 1.0  # not allowed
        for s in (0, 1):
            yield s, 1, 2, 1.0
        for a in (0, 1):
            yield 2, a, 2, 1.0

    def left(self, z: Any) -> float:
        """The assets after the withdrawals."""
        return float(max(0.0, z.public - self.game.promise * z.actions[0]))

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        withdrawn, waiting = z.actions
        paid = self.game.promise
        if withdrawn * paid > z.public:
            paid = z.public / withdrawn
        late = 0.0
        if t == self.horizon - 1:
            fundamental = getattr(next_z, "noise", next_z) // 2
            share = 1.0 if waiting <= 0 and self.left(z) > 0 else self.left(z) / max(waiting, 1e-12)
            late = self.game.returns[fundamental] * min(share, 1.0)
        return np.array([[late, paid], [0.0, paid], [0.0, 0.0]])

    def allowed(self, mu: Array, z: Any, t: int) -> Array:
        """The patient choose, the needy withdraw, those who have left wait."""
        return np.array([[True, True], [False, True], [True, False]])

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """Who withdraws, and who is patient and waits."""
        return [joint[0, 1] + joint[1, 1], joint[0, 0]]

    def public(self, z: Any) -> float:
        """All assets."""
        return 1.0

    def next_public(self, mu: Array, z: Any, t: int, next_z: Any) -> float:
        """What is left."""
        return self.left(z)

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [z.noise % 2, z.public]
