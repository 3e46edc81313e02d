"""The games that go on for ever."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


class _Chain(Listed):
    """A chain of cells."""

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        # Step and noise are added up before the walls.
        for s in range(self.num_states):
            for i, a in enumerate((-1, 0, 1)):
                for e, probability in ((-1, 0.025), (0, 0.95), (1, 0.025)):
                    yield s, i, min(max(s + a + e, 0), self.num_states - 1), probability

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class LasryLionsChain(_Chain):
    """See `games.LasryLionsChain`."""

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, 3))
        for s in range(self.num_states):
            for i, a in enumerate((-1, 0, 1)):
                away = s - self.num_states // 2
                reward[s, i] = -g.movement_cost * abs(a) - g.attraction * away**2 - g.crowd_aversion * mu[s]
        return reward


class TwoBeachBars(_Chain):
    """See `games.TwoBeachBars`."""

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, 3))
        for s in range(self.num_states):
            for i, a in enumerate((-1, 0, 1)):
                away = min(abs(s - g.left), abs(s - g.right))
                reward[s, i] = -g.movement_cost * abs(a) - g.attraction * away + g.company * mu[s]
        return reward


class RockPaperScissors(Listed):
    """See `games.RockPaperScissors`."""

    def start(self, z: Any) -> Array:
        return np.full(3, 1 / 3)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(3):
            for a in range(3):
                yield s, a, a, 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        # Paper (1) beats rock (0), scissors (2) beat paper, rock beats scissors.
        return np.array([[mu[(s - 1) % 3] - mu[(s + 1) % 3]] * 3 for s in range(3)])

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class FourRooms(Listed):
    """See `games.FourRooms`."""

    steps = ((1, 0), (0, 1), (-1, 0), (0, -1), (0, 0))

    @staticmethod
    def wall(row: int, column: int) -> bool:
        """Whether a cell is a wall, or outside."""
        if not (0 <= row <= 10 and 0 <= column <= 10):
            return True
        return 5 in (row, column) and (row, column) not in {(2, 5), (8, 5), (5, 8), (5, 2)}

    def start(self, z: Any) -> Array:
        free = np.array([not self.wall(s // 11, s % 11) for s in range(121)])
        return free / free.sum()

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(121):
            for i, (up, right) in enumerate(self.steps):
                for more_up, more_right in self.steps:
                    row, column = s // 11 + up + more_up, s % 11 + right + more_right
                    yield s, i, s if self.wall(row, column) else 11 * row + column, 0.2

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        return np.array([[-self.game.crowd_aversion * math.log(max(mass, 1e-12))] * 5 for mass in mu])

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class SISEpidemic(Listed):
    """See `games.SISEpidemic`."""

    def start(self, z: Any) -> Array:
        return np.array([0.5, 0.5])

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        g = self.game
        for i in range(g.num_levels):
            chance = g.contagion * i / (g.num_levels - 1) * mu[1]
            if g.resolution is not None:  # the share of rolls (n + 1/2) / resolution that lie below it
                rolls = (n for n in range(g.resolution) if (n + 0.5) / g.resolution < chance)
                chance = sum(1 for _ in rolls) / g.resolution
            yield 0, i, 1, chance
            yield 0, i, 0, 1 - chance
            yield 1, i, 0, g.recovery
            yield 1, i, 1, 1 - g.recovery

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        levels = [i / (self.game.num_levels - 1) for i in range(self.game.num_levels)]
        return np.array([levels, [level - self.game.cost_of_infection for level in levels]])

    def observe(self, mu: Array, z: Any, t: int) -> Sequence[float]:
        return [float(mu[1])]
