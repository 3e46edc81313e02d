"""The games of economists: saving under shocks, with a market that clears, and with capital."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


def geometric_grid(upper: float, count: int, pivot: float = 0.25) -> list[float]:
    """Points from 0 to `upper`, geometric when the pivot is added."""
    ratio = (upper + pivot) / pivot
    return [max(pivot * ratio ** (i / (count - 1)) - pivot, 0.0) for i in range(count)]


def neighbours(grid: list[float], position: float) -> list[tuple[int, float]]:
    """The grid points around a position, which is first moved onto the grid, with weights that keep it as the mean."""
    position = min(max(position, grid[0]), grid[-1])
    left = 0
    while left < len(grid) - 2 and grid[left + 1] <= position:
        left += 1
    upper = (position - grid[left]) / (grid[left + 1] - grid[left])
    return [(left, 1 - upper), (left + 1, upper)]


def stationary(chain: list[list[float]]) -> Array:
    """The stationary distribution of a chain, by moving a distribution until it stays."""
    rows = np.array([np.array(row) / sum(row) for row in chain])
    mass = np.full(len(rows), 1 / len(rows))
    for _ in range(20_000):
        mass = mass @ rows
        mass /= mass.sum()
    return mass


class HuggettShocks(Listed):
    """See `games.HuggettShocks`; z is productivity, and comes with the interest rate."""

    chain = ((0.6460, 0.3539, 0.0001), (0.0304, 0.9392, 0.0304), (0.0001, 0.3539, 0.6460))

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.assets = geometric_grid(game.max_assets, game.num_assets)
        raw, self.long_run = (0.5488, 1.0, 1.8221), stationary([list(row) for row in self.chain])
        mean = sum(p * e for p, e in zip(self.long_run, raw, strict=True))
        self.income = [e / mean for e in raw]
        last = max(game.num_actions - 1, 1)
        growth = game.max_share / game.min_share
        self.shares = [game.min_share * growth ** (i / last) for i in range(game.num_actions)]

    def start(self, z: Any) -> Array:
        # Gamma with shape 1.3: the density at a point times half the distance between its neighbours.
        grid, supply, mass = self.assets, self.game.bond_supply, []
        widths = np.gradient(grid)
        for a, width in zip(grid, widths, strict=True):
            mass.append(a**0.3 * math.exp(-1.3 * a / supply) * width)
        return np.array([m / sum(mass) * p for m in mass for p in self.long_run])

    def cash(self, z: float) -> list[float]:
        """Assets and income in every state."""
        return [a + z * e for a in self.assets for e in self.income]

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s, cash in enumerate(self.cash(z.noise)):
            for i, share in enumerate(self.shares):
                for a, lottery in neighbours(self.assets, (1 + z.price[0]) * (cash - share * cash)):
                    for e, chance in enumerate(self.chain[s % 3]):
                        yield s, i, 3 * a + e, lottery * chance

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        reward = np.array([[math.log(share * cash) for share in self.shares] for cash in self.cash(z.noise)])
        if t == self.horizon - 1:
            patience = 1 - self.discount
            for s, i, target, probability in self.moves(mu, z, t):
                after = math.log(1 + patience * self.assets[target // 3]) / patience
                reward[s, i] += self.discount * probability * after
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [z.price[0], z.noise]

    def excess(self, mu: Array, z: Any, t: int, price: Array, joint: Array) -> list[float]:
        """Bonds bought less their supply."""
        bought = 0.0
        for s, cash in enumerate(self.cash(z.noise)):
            for i, share in enumerate(self.shares):
                bought += joint[s, i] * (1 - share) * cash * (1 + price[0])
        return [bought - self.game.bond_supply]


class KrusellSmithGame(Listed):
    """See `games.KrusellSmithGame`; z is the phase, 0 bad and 1 good.

    Here the next phase is drawn first, as in the economy, and the joint law of the work in both phases follows.
    """

    productivity, unemployment = (0.99, 1.01), (0.10, 0.04)

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.assets = geometric_grid(game.max_assets, game.num_assets)
        last = max(game.num_actions - 1, 1)
        self.shares = [game.min_share ** (1 - i / last) for i in range(game.num_actions)]
        if game.num_actions == 1:
            self.shares = [game.min_share]

    def out_of_work(self, z: int, later: int, employed: bool) -> float:
        """The probability of having no work in the next phase."""
        staying = (1 - 1 / 2.5, 1 - 1 / 1.5)[later]
        if z != later:
            staying *= (1.25, 0.75)[later]
        before = self.unemployment[z]
        return (self.unemployment[later] - before * staying) / (1 - before) if employed else staying

    def prices(self, mu: Array, z: int) -> tuple[float, float]:
        """Interest rate and wage."""
        g, labour = self.game, self.game.hours * (1 - self.unemployment[z])
        capital = 1e-6 + sum(mass * self.assets[s // 3] for s, mass in enumerate(mu.tolist()))
        interest = g.capital_share * self.productivity[z] * (labour / capital) ** (1 - g.capital_share)
        wage = (1 - g.capital_share) * self.productivity[z] * (capital / labour) ** g.capital_share
        return interest - g.depreciation, wage

    def cash(self, mu: Array, z: int) -> list[float]:
        """Cash on hand in every state: the employed work, and pay for the benefits."""
        g, (interest, wage), rate = self.game, self.prices(mu, z), self.unemployment[z]
        earned = {False: g.benefit, True: g.hours - g.benefit * rate / (1 - rate)}
        return [(1 + interest) * a + wage * earned[u + z >= 2] for a in self.assets for u in range(3)]

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s, cash in enumerate(self.cash(mu, z)):
            bad, good = (self.out_of_work(z, later, s % 3 + z >= 2) for later in (0, 1))
            for i, share in enumerate(self.shares):
                for a, lottery in neighbours(self.assets, cash * (1 - share)):
                    for u, chance in enumerate((good, bad - good, 1 - bad)):
                        yield s, i, 3 * a + u, lottery * chance

    def start(self, z: Any) -> Array:
        g, grid = self.game, self.assets
        labour = g.hours * (1 - sum(self.unemployment) / 2)
        cost = 1 / g.discount - 1 + g.depreciation
        mean = g.initial_capital * labour * (g.capital_share / cost) ** (1 / (1 - g.capital_share))
        widths, bad, good = np.gradient(grid), *self.unemployment
        mass = [(a / mean) ** 3 * math.exp(-4 * a / mean) * width for a, width in zip(grid, widths, strict=True)]
        return np.array([m / sum(mass) * p for m in mass for p in (good, bad - good, 1 - bad)])

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g = self.game
        reward = np.array([[math.log(share * cash) for share in self.shares] for cash in self.cash(mu, z)])
        if t == self.horizon - 1:
            rate, labour = 1 / g.discount - 1, g.hours * (1 - sum(self.unemployment) / 2)
            ratio = (g.capital_share / (rate + g.depreciation)) ** (1 / (1 - g.capital_share))
            income = (1 - g.capital_share) * ratio**g.capital_share * labour
            for s, i, target, probability in self.moves(mu, z, t):
                after = math.log(income + rate * self.assets[target // 3]) / (1 - g.discount)
                reward[s, i] += g.discount * probability * after
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> tuple[float, float]:
        return self.prices(mu, z)
