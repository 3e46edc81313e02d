"""`routing`: drivers choose their way through a road network whose links take longer the more cars are on them.

This is the mean field routing game of Cabannes et al. 2022 (Solving N-player dynamic routing games with congestion: a
mean field approach, arXiv 2110.11943). With `rounding` "down" it is OpenSpiel's (`python_mfg_dynamic_routing`), with
two differences. A car leaves the network at its own destination only, while there it may end in a dead end at any node
that has one, which only mistaken policies do. And a travel time that misses a whole number of steps by less than 1e-4
of a step counts as that number, so that rounding errors do not decide how long a link takes. By default, travel times
are whole numbers of steps in a lottery, so that their means are exact and do not jump with the volumes. The incident,
which is off by default, is ours.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_name, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import MAX_HORIZON, Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.games.models.traffic._network import NETWORKS, Demand, Link, Network, as_network
from structmfg.operators import SuccessorKernel, TransitionKernel

_ROUNDING = 1e-4  # of a step: what a travel time may miss a whole number of steps by
_NONE, _INCIDENT, _OVER = range(3)


class _States(NamedTuple):
    """The states one by one, S in all, and what each action leads to; L stands for no link, and for no choice.

    For every destination there is a block of states: for each link one for each number of steps to wait, then for each
    origin one for each number of steps until departure, and at last one for those who have arrived.
    """

    link: np.ndarray  # (S,) the link that a car is on
    wait: np.ndarray  # (S,) steps until it can choose
    destination: np.ndarray  # (S,) number of the destination
    arrived: np.ndarray  # (S,)
    choice: np.ndarray  # (S, A) the link that an action enters
    leaves: np.ndarray  # (S, A) whether an action leaves the network, at the destination
    allowed: np.ndarray  # (S, A)
    block: int  # states of one destination
    first: np.ndarray  # (L,) the first state of a link within a block
    most: np.ndarray  # (L,) the longest travel time, in steps
    origin: np.ndarray  # (demands,) the state of each demand at t = 0


@dataclasses.dataclass(frozen=True)
class Routing(Game):
    """Drivers choose their way through a road network whose links take longer the more cars are on them.

    A state is a link with the number of steps to wait on it, or an origin with the number of steps to departure, or
    arrival, each for every destination. While a car waits its number falls by one a step, and only action 0 is allowed.
    At 0 it chooses: action i = 1, 2, ... enters the i-th link that begins where the car is, and action 0 leaves the
    network, which is allowed at the destination only (and where no link begins, where action 0 stays).

    A car that enters a link at t is there for max(1, k) steps, k being the link's travel time in steps, rounded down,
    at the volume at t + 1: the cars that are on the link after everybody has chosen. With `rounding` "lottery" it is k
    or k + 1 steps, at random, so that the travel time is right in the mean.

    Reward: -dt for each step before the one in which a car leaves the network, and at the end another -dt for whoever
    has not left. So the return is minus the time of arrival. Statistics of actions: the volumes of all links.
    Common noise, where `incident_link` names a link: an incident begins with probability `incident_start` in every
    step until there has been one, and divides the capacity of that link by `incident_loss` until it ends, with
    probability `incident_end` in every step.
    Observation: the travel times of the links that cars make longer, at the volumes now, up to the horizon.

    Attributes:
        network: "braess", "line" or "sioux_falls", or a `Network`.
        time_step: dt, in the network's units of time.
        rounding: "down" or "lottery", see above.
        incident_link: The link that the incident is on, such as "A->B"; none if empty.
        incident_start: Probability that the incident begins in a step.
        incident_end: Probability that it ends in a step.
        incident_loss: What the capacity is divided by.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    network: str | tuple[Any, ...] = "braess"
    time_step: float = 0.25
    rounding: str = "lottery"
    incident_link: str = ""
    incident_start: float = 0.05
    incident_end: float = 0.05
    incident_loss: float = 2.0
    horizon: int = 20
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        network = as_network(self.network)
        if not isinstance(self.network, str):
            object.__setattr__(self, "network", network)
        check_positive("time_step", self.time_step)
        check_name("rounding", self.rounding, ("down", "lottery"))
        check_integer("horizon", self.horizon, at_least=1, at_most=MAX_HORIZON)
        if not isinstance(self.incident_link, str) or self.incident_link:
            check_name("incident_link", self.incident_link, [link.name for link in network.links])
        for name in ("incident_start", "incident_end"):
            check_between(name, getattr(self, name), 0, 1, open_low=True)
        check_between("incident_loss", self.incident_loss, 1, 1e6)
        check_game(self)

    @property
    def roads(self) -> Network:
        """The network, also where it was given by its name."""
        return NETWORKS[self.network]() if isinstance(self.network, str) else Network(*self.network)

    @property
    @override
    def num_states(self) -> int:
        return len(self._states.link)

    @property
    @override
    def num_actions(self) -> int:
        starts = [link.start for link in self.roads.links]
        return 1 + max(starts.count(node) for node in set(starts))

    @property
    def _states(self) -> _States:
        loss = self.incident_loss if self.incident_link else 1.0
        most = tuple(self._longest(link, loss if link.name == self.incident_link else 1.0) for link in self.roads.links)
        return _list_states(self.roads, most, self.time_step, self.horizon)

    def _longest(self, link: Link, loss: float) -> int:
        """The steps that a link takes with all cars on it; at most the horizon, as nobody would leave it before."""
        time = link.free_flow * (1 + link.coefficient * (self.roads.cars * loss / link.capacity) ** link.power)
        steps = min(time / self.time_step + _ROUNDING, self.horizon)
        return max(int(steps) + (self.rounding == "lottery" and steps < self.horizon), 1)

    def travel_times(self, volume: Float[Array, " links"], noise: Int[Array, ""]) -> Float[Array, " links"]:
        """The travel times (L,), in units of time, with so many cars on each link, and with the incident if it is."""
        links = self.roads.links
        free, coefficient, power, capacity = (
            jnp.asarray([getattr(link, name) for link in links], float)
            for name in ("free_flow", "coefficient", "power", "capacity")
        )
        hit = jnp.asarray([link.name == self.incident_link for link in links])
        capacity = jnp.where(hit & (noise == _INCIDENT), capacity / self.incident_loss, capacity)
        return free * (1 + coefficient * (volume / capacity) ** power)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        assert aggregate.actions is not None
        states = self._states
        steps = self.travel_times(aggregate.actions, aggregate.noise) / self.time_step + _ROUNDING
        most = jnp.asarray(states.most, float)
        whole = jnp.minimum(jnp.maximum(jnp.floor(steps), 1.0), most)
        entry = jnp.append(jnp.asarray(states.first, int) + whole.astype(int) - 1, 0)
        blocks = jnp.asarray(states.destination * states.block, int)[:, None]
        index = jnp.arange(self.num_states)
        onward = jnp.where(jnp.asarray(states.wait, int) > 0, index - 1, index)[:, None]
        arrived = blocks + states.block - 1
        choice = jnp.asarray(states.choice, int)
        targets = jnp.where(choice < len(self.roads.links), blocks + entry[choice], onward)
        targets = jnp.where(jnp.asarray(states.leaves), arrived, targets)[:, :, None]
        if self.rounding == "down":
            return SuccessorKernel(targets, jnp.ones(targets.shape), checks=False)
        longer = jnp.append(jnp.where(whole < most, jnp.clip(steps - _ROUNDING - whole, 0, 1), 0), 0)[choice]
        late = jnp.where(longer > 0, targets[:, :, 0] + 1, targets[:, :, 0])
        indices = jnp.stack([targets[:, :, 0], late], axis=-1)
        return SuccessorKernel(indices, jnp.stack([1 - longer, longer], axis=-1), checks=False)

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"]:
        return jnp.asarray(self._states.allowed)

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The cars (L,) that are on every link after all have chosen."""
        states, links = self._states, len(self.roads.links)
        stays = np.where(states.wait > 0, states.link, links)[:, None]
        on = jnp.asarray(np.where(states.choice < links, states.choice, stays))
        return self.roads.cars * jnp.zeros(links + 1, joint.dtype).at[on].add(joint)[:links]

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        states = self._states
        under_way = jnp.asarray(~states.arrived[:, None] & ~states.leaves)
        return -self.time_step * under_way * jnp.where(self.is_last(aggregate), 2.0, 1.0)

    def volumes(self, mean_field: Float[Array, " states"]) -> Float[Array, " links"]:
        """The cars (L,) on every link."""
        links = len(self.roads.links)
        return (
            self.roads.cars
            * jnp.zeros(links + 1, mean_field.dtype).at[jnp.asarray(self._states.link, int)].add(mean_field)[:links]
        )

    @property
    def _congested(self) -> np.ndarray:
        """The links whose travel time depends on the cars, or the first one if none does."""
        found = np.flatnonzero([link.coefficient * link.free_flow * link.power > 0 for link in self.roads.links])
        return found if found.size else np.zeros(1, int)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        times = self.travel_times(self.volumes(aggregate.mean_field), aggregate.noise)[self._congested]
        return jnp.minimum(times, self.horizon * self.time_step)

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        free = jnp.asarray([self.roads.links[i].free_flow for i in self._congested], float)
        return jnp.log1p(observation) - jnp.log1p(free)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: cars meet through the volumes alone, which are statistics of actions."""
        return mean_field[:0]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        if not self.incident_link:
            return noise
        moves = jnp.asarray([self.incident_start, self.incident_end, 0.0])[noise]
        return noise + (uniform < moves)

    @override
    def noise_chain(self) -> NoiseChain:
        if not self.incident_link:
            return NoiseChain(np.zeros(1, int), np.ones(1), np.ones((1, 1)))
        start, end = self.incident_start, self.incident_end
        transition = np.array([[1 - start, start, 0], [0, 1 - end, end], [0, 0, 1]])
        return NoiseChain(np.arange(3), np.array([1.0, 0, 0]), transition)

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        """Everybody at the origin, with the steps to departure rounded down."""
        mass = np.zeros(self.num_states)
        np.add.at(mass, self._states.origin, [demand.cars / self.roads.cars for demand in self.roads.demands])
        return jnp.asarray(mass, float)

    @override
    def state_features(self) -> Float[Array, "states features"]:
        """Where a car is (a link or an origin, one number each), how long it waits, and where it goes."""
        states, links = self._states, len(self.roads.links)
        place = np.where(states.link < links, states.link, links + 1)
        place[states.arrived] = links
        if (origins := place == links + 1).any():
            rank = np.unique((np.arange(len(place)) - states.wait)[origins] % states.block, return_inverse=True)[1]
            place[origins] += rank
        shown = [np.eye(place.max() + 1)[place], states.wait[:, None] / self.horizon]
        if len(self.roads.destinations) > 1:
            shown.append(np.eye(len(self.roads.destinations))[states.destination])
        return jnp.asarray(np.concatenate(shown, axis=1), float)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        arrived = jnp.asarray(self._states.arrived)
        shown = {"share that has arrived": jnp.sum(jnp.where(arrived, aggregate.mean_field, 0))}
        times = self.travel_times(self.volumes(aggregate.mean_field), aggregate.noise)
        for i in self._congested[:4]:
            shown[f"travel time {self.roads.links[i].name}"] = times[i]
        return shown

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "state (destination, link, wait)", jnp.arange(self.num_states, dtype=float)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean number of the link that is entered (0 none)", np.arange(float(self.num_actions))

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        steps = int(np.sum(np.asarray(noise) == _INCIDENT))
        return f"incident for {steps} steps" if steps else "no incident"


@functools.lru_cache(maxsize=16)
def _list_states(network: Network, most: tuple[int, ...], time_step: float, horizon: int) -> _States:
    """The states of a network whose links take at most so many steps."""
    links, destinations = network.links, network.destinations
    first = np.concatenate([[0], np.cumsum(most)[:-1]])
    place = [(number, links[number].end, left) for number, longest in enumerate(most) for left in range(longest)]
    starts = {}
    for node in dict.fromkeys(demand.origin for demand in network.demands):
        starts[node] = len(place)
        latest = max(_departure(demand, time_step, horizon) for demand in network.demands if demand.origin == node)
        place += [(len(links), node, left) for left in range(latest + 1)]
    block = len(place) + 1
    number_of = {destination: number for number, destination in enumerate(destinations)}
    origin = np.array(
        [
            number_of[demand.destination] * block + starts[demand.origin] + _departure(demand, time_step, horizon)
            for demand in network.demands
        ]
    )
    onward = {node: [i for i, link in enumerate(links) if link.start == node] for node in network.nodes}
    width = 1 + max(map(len, onward.values()))
    none = len(links)
    choice = np.full((block, width), none)
    for index, (_, node, steps) in enumerate(place):
        if steps == 0:
            choice[index, 1 : 1 + len(onward[node])] = onward[node]
    nodes = [node for _, node, _ in place]
    wait = np.array([*(wait for *_, wait in place), 0])
    there = np.array([[*(node == destination for node in nodes), False] for destination in destinations])
    leaves = np.zeros((len(destinations), block, width), bool)
    leaves[:, :, 0] = there & (wait == 0)
    entered = choice < none
    nothing_else = ~entered.any(1)
    allowed = np.broadcast_to(entered, leaves.shape).copy()
    allowed[:, :, 0] = leaves[:, :, 0] | nothing_else
    count = len(destinations)
    return _States(
        link=np.tile([*(link for link, *_ in place), none], count),
        wait=np.tile(wait, count),
        destination=np.repeat(np.arange(count), block),
        arrived=np.tile(np.arange(block) == block - 1, count),
        choice=np.tile(choice, (count, 1)),
        leaves=leaves.reshape(-1, width),
        allowed=allowed.reshape(-1, width),
        block=block,
        first=first,
        most=np.array(most),
        origin=origin,
    )


def _departure(demand: Demand, time_step: float, horizon: int) -> int:
    """Steps until a car sets out; at most the horizon, at which it never does."""
    return int(min(demand.departure / time_step + _ROUNDING, horizon))
