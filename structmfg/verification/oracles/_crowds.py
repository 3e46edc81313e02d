"""More games of crowds, of other libraries, and a random one."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


class CrowdModelling2d(Listed):
    """See `games.CrowdModelling2d`."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.rows, self.columns = game.walls.shape

    def is_open(self, s: int, a: int) -> bool:
        """Whether a step leads into no wall; to stay is always possible."""
        return a == 2 or self.step(s, a) != s

    def allowed(self, mu: Array, z: Any, t: int) -> Array:
        """The steps that lead into no wall."""
        return np.array([[self.is_open(s, a) for a in range(5)] for s in range(self.num_states)])

    def step(self, s: int, a: int) -> int:
        """The cell after a step, if that is no wall."""
        up, right = ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))[a]
        row, column = (s // self.columns + up) % self.rows, (s % self.columns + right) % self.columns
        return s if self.game.walls[row, column] else row * self.columns + column

    def start(self, z: Any) -> Array:
        mu = np.zeros(self.num_states)
        free = [s for s in range(self.num_states) if not self.game.walls[s // self.columns, s % self.columns]]
        for s in free if self.game.layout == "open" else free[:1]:
            mu[s] = 1 / (len(free) if self.game.layout == "open" else 1)
        return mu

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for a in range(5):
                middle = self.step(s, a)
                open_ways = [e for e in range(5) if self.is_open(middle, e)]
                yield s, a, middle, 1 - self.game.noise
                for e in open_ways:
                    yield s, a, self.step(middle, e), self.game.noise / len(open_ways)

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward, half = self.game, np.zeros((self.num_states, 5)), (self.rows // 2, self.columns // 2)
        for s in range(self.num_states):
            far = abs(s // self.columns - half[0]) / half[0] + abs(s % self.columns - half[1]) / half[1]
            for a in range(5):
                later = self.discount / self.rows if a != 2 and t < self.horizon - 1 else 0
                reward[s, a] = g.attraction * (2 - far - later) - g.crowd_aversion * math.log(mu[s] + 1e-25)
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class BuildingEvacuation(Listed):
    """See `games.BuildingEvacuation`."""

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        g = self.game
        for floor in range(g.floors):
            for i in range(g.length):
                for j in range(g.width):
                    below = floor - 1 if (i, j) == (0, 0) and floor > 0 else floor
                    above = floor + 1 if (i, j) == (g.length - 1, g.width - 1) and floor + 1 < g.floors else floor
                    targets = [
                        (floor, min(i + 1, g.length - 1), j),
                        (floor, max(i - 1, 0), j),
                        (floor, i, max(j - 1, 0)),
                        (floor, i, min(j + 1, g.width - 1)),
                        (below, i, j),
                        (above, i, j),
                    ]
                    for a, (to_floor, to_i, to_j) in enumerate(targets):
                        source = (floor * g.length + i) * g.width + j
                        yield source, a, (to_floor * g.length + to_i) * g.width + to_j, 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        g, reward = self.game, np.zeros((self.num_states, 6))
        for s, mass in enumerate(mu):
            escaped = g.escape if s // (g.length * g.width) == 0 else 0
            reward[s] = escaped - g.crowd_aversion * math.log(max(mass, g.least_mass))
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> Array:
        return mu


class Garnet(Listed):
    """See `games.Garnet`."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        draws = np.random.default_rng(game.seed)
        self.targets = draws.integers(0, game.num_states, (game.num_states, game.num_actions, game.branching))
        self.weights = draws.standard_exponential(self.targets.shape)
        self.paid = draws.random((game.num_states, game.num_actions))

    def start(self, z: Any) -> Array:
        return np.full(self.num_states, 1 / self.num_states)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s in range(self.num_states):
            for a in range(self.num_actions):
                total = sum(self.weights[s, a])
                for target, weight in zip(self.targets[s, a], self.weights[s, a], strict=True):
                    yield s, a, int(target), float(weight / total)

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        crowd = [self.game.interaction * math.log(mass + 1e-10) for mass in mu]
        return self.paid - np.array(crowd)[:, None]

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [-sum(mass * math.log(mass + 1e-10) for mass in mu) / math.log(self.num_states)]
