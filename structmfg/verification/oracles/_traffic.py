"""The games of traffic; z is a `Common`."""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from structmfg.verification.oracles._model import Array, Listed, Move

Place: TypeAlias = tuple[str, str, Any, int]  # destination, kind, link or node, steps to wait


class Routing(Listed):
    """See `games.Routing`; n[i] is the number of cars on link i after all have chosen."""

    def __init__(self, game: Any) -> None:
        super().__init__(game)
        self.links, self.demands = game.roads.links, game.roads.demands
        self.cars = sum(demand.cars for demand in self.demands)
        self.places: list[Place] = []
        goals: list[str] = []
        for demand in self.demands:
            if demand.destination not in goals:
                goals.append(demand.destination)
        for goal in goals:
            for i in range(len(self.links)):
                self.places += [(goal, "link", i, wait) for wait in range(self.most(i))]
            for node in dict.fromkeys(demand.origin for demand in self.demands):
                latest = max(self.departure(demand) for demand in self.demands if demand.origin == node)
                self.places += [(goal, "origin", node, wait) for wait in range(latest + 1)]
            self.places.append((goal, "arrived", None, 0))
        self.number = {place: s for s, place in enumerate(self.places)}

    def departure(self, demand: Any) -> int:
        """Steps to the departure."""
        return min(math.floor(demand.departure / self.game.time_step + 1e-4), self.horizon)

    def steps(self, i: int, volume: float, hit: bool) -> float:
        """The travel time of a link, in steps that need not be whole."""
        link = self.links[i]
        capacity = link.capacity / self.game.incident_loss if hit else link.capacity
        time = link.free_flow * (1 + link.coefficient * (volume / capacity) ** link.power)
        return float(time / self.game.time_step)

    def most(self, i: int) -> int:
        """The longest that a link can take."""
        steps = self.steps(i, self.cars, self.links[i].name == self.game.incident_link)
        most = math.floor(min(steps, 1e6) + 1e-4) + (self.game.rounding == "lottery")
        return max(1, min(most, self.horizon))

    def node(self, place: Place) -> str:
        """Where a car that waits no longer can choose."""
        return str(self.links[place[2]].end) if place[1] == "link" else str(place[2])

    def entered(self, s: int, a: int) -> int | None:
        """The link that an action enters, or None."""
        place = self.places[s]
        if a == 0 or place[1] == "arrived" or place[3] > 0:
            return None
        onward = [i for i, link in enumerate(self.links) if link.start == self.node(place)]
        return onward[a - 1] if a <= len(onward) else None

    def leaves(self, s: int, a: int) -> bool:
        """Whether an action leaves the network."""
        place = self.places[s]
        return a == 0 and place[1] != "arrived" and place[3] == 0 and self.node(place) == place[0]

    def allowed(self, mu: Array, z: Any, t: int) -> Array:
        """The links that begin where a car is; 0 where it leaves, or has no choice."""
        found = np.zeros((self.num_states, self.num_actions), bool)
        for s in range(self.num_states):
            found[s] = [self.entered(s, a) is not None or self.leaves(s, a) for a in range(self.num_actions)]
            if not found[s, 1:].any():
                found[s, 0] = True
        return found

    def start(self, z: Any) -> Array:
        mu = np.zeros(self.num_states)
        for demand in self.demands:
            place = (demand.destination, "origin", demand.origin, self.departure(demand))
            mu[self.number[place]] += demand.cars / self.cars
        return mu

    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        for s, (goal, kind, where, wait) in enumerate(self.places):
            for a in range(self.num_actions):
                link = self.entered(s, a)
                if self.leaves(s, a):
                    yield s, a, self.number[goal, "arrived", None, 0], 1.0
                elif link is not None:
                    hit = self.links[link].name == self.game.incident_link and z.noise == 1
                    steps = self.steps(link, z.actions[link], hit)
                    whole = min(max(math.floor(steps + 1e-4), 1), self.most(link))
                    later = 0.0
                    if self.game.rounding == "lottery" and whole < self.most(link):
                        later = min(max(steps - whole, 0.0), 1.0)
                    yield s, a, self.number[goal, "link", link, whole - 1], 1 - later
                    if later:
                        yield s, a, self.number[goal, "link", link, whole], later
                else:
                    yield s, a, self.number[goal, kind, where, max(wait - 1, 0)], 1.0

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        reward = np.zeros((self.num_states, self.num_actions))
        for s, place in enumerate(self.places):
            for a in range(self.num_actions):
                if place[1] != "arrived" and not self.leaves(s, a):
                    reward[s, a] = -self.game.time_step * (2 if t == self.horizon - 1 else 1)
        return reward

    def statistics(self, mu: Array, z: Any, t: int, joint: Array) -> list[float]:
        """The cars on each link."""
        volume = [0.0] * len(self.links)
        for s, place in enumerate(self.places):
            for a in range(self.num_actions):
                link = self.entered(s, a)
                if link is not None:
                    volume[link] += self.cars * joint[s, a]
                elif place[1] == "link" and place[3] > 0:
                    volume[place[2]] += self.cars * joint[s, a]
        return volume

    def observe(self, mu: Array, z: Any, t: int) -> list[float]:
        board = []
        for i, link in enumerate(self.links):
            if link.coefficient * link.free_flow * link.power > 0:
                cars = self.cars * sum(mu[s] for s, place in enumerate(self.places) if place[1:3] == ("link", i))
                hit = link.name == self.game.incident_link and z.noise == 1
                board.append(min(self.steps(i, cars, hit), self.horizon) * self.game.time_step)
        return board or [min(self.links[0].free_flow, self.horizon * self.game.time_step)]
