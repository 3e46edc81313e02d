"""More games of contagion."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move


class SusceptibleInfected(Listed):
    """See `games.SusceptibleInfected`."""

    def start(self, z: Any) -> Array:
        return np.array([1 - self.game.infected, self.game.infected])

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        infection = self.game.contagion * mu[1]
        yield 0, 0, 1, infection
        yield 0, 0, 0, 1 - infection
        yield 0, 1, 0, 1.0
        for a in (0, 1):
            yield 1, a, 0, self.game.recovery
            yield 1, a, 1, 1 - self.game.recovery

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        ill, away = self.game.illness, self.game.distancing
        return np.array([[0.0, -away], [-ill, -ill - away]])

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [mu[1]]


class Botnet(Listed):
    """See `games.Botnet`; states by (is defended, is infected)."""

    names = ((True, True), (True, False), (False, True), (False, False))

    def start(self, z: Any) -> Array:
        return np.array(self.game.start)

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        g = self.game
        infected_defended = sum(mu[s] for s, (defended, infected) in enumerate(self.names) if defended and infected)
        infected_not = sum(mu[s] for s, (defended, infected) in enumerate(self.names) if infected and not defended)
        for s, (defended, infected) in enumerate(self.names):
            kind = 0 if defended else 1
            if infected:
                rate = g.recovery[kind]
            else:
                rate = g.effort[z] * g.attack[kind] + g.from_defended[kind] * infected_defended
                rate += g.from_undefended[kind] * infected_not
            for a in (0, 1):
                switch = a * g.switching * g.time_step
                yield s, a, self.names.index((defended, not infected)), rate * g.time_step
                yield s, a, self.names.index((not defended, infected)), switch
                yield s, a, s, 1 - rate * g.time_step - switch

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        reward = np.zeros((4, 2))
        for s, (defended, infected) in enumerate(self.names):
            reward[s] = -self.game.time_step * (self.game.defence * defended + self.game.damage * infected)
        return reward

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        return [mu[0] + mu[2]]
