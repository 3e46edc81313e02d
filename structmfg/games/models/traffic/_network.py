"""Road networks: links with travel times that depend on the cars on them, and who wants to go where."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._checks import check_between, check_name, check_positive

_MOST_CARS = 1e9


class Link(NamedTuple):
    """A one-way road.

    Its travel time with V cars on it is `free_flow * (1 + coefficient * (V / capacity) ** power)`, the function of the
    U.S. Bureau of Public Roads.

    Attributes:
        start: The node where it begins.
        end: The node where it ends.
        free_flow: Travel time of the empty link, in units of time.
        coefficient: How much longer it takes, relative to the empty link, with `capacity` cars on it.
        power: How steeply the travel time rises with the cars.
        capacity: Cars.
    """

    start: str
    end: str
    free_flow: float = 1.0
    coefficient: float = 0.0
    power: float = 1.0
    capacity: float = 1.0

    @property
    def name(self) -> str:
        """The nodes, with an arrow between them."""
        return f"{self.start}->{self.end}"


class Demand(NamedTuple):
    """Cars that leave one node for another.

    Attributes:
        origin: The node where they are at t = 0.
        destination: The node where they want to be.
        cars: How many they are.
        departure: When they set out, in units of time.
    """

    origin: str
    destination: str
    cars: float
    departure: float = 0.0


class Network(NamedTuple):
    """A road network and the demand for trips on it.

    Attributes:
        links: The links, each a `Link` or a tuple of its fields.
        demands: The demands, each a `Demand` or a tuple of its fields.
    """

    links: tuple[Link, ...]
    demands: tuple[Demand, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes, in the order in which the links name them."""
        return tuple(dict.fromkeys(node for link in self.links for node in (link.start, link.end)))

    @property
    def cars(self) -> float:
        """All cars."""
        return sum(demand.cars for demand in self.demands)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The nodes where somebody wants to be."""
        return tuple(dict.fromkeys(demand.destination for demand in self.demands))


def as_network(given: Any) -> Network:
    """The network of this name, or the network that is given, checked.

    Raises:
        ValueError: There is no network of this name; a number is out of range; two links join the same nodes; or
            a demand cannot be met.
    """
    if isinstance(given, str):
        check_name("network", given, NETWORKS)
        return NETWORKS[given]()
    try:
        links, demands = given
        network = Network(tuple(Link(*link) for link in links), tuple(Demand(*demand) for demand in demands))
    except (TypeError, ValueError):
        raise ValueError(
            f"network must be one of {', '.join(NETWORKS)}, or a Network of links and demands, but is {given!r:.60}"
        ) from None
    if not network.links or not network.demands:
        raise ValueError("network must have at least one link and one demand")
    for link in network.links:
        for name in ("free_flow", "coefficient", "power"):
            check_between(f"{name} of link {link.name}", getattr(link, name), 0, 1e9)
        check_positive(f"capacity of link {link.name}", link.capacity)
    names = [link.name for link in network.links]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"network must join two nodes by at most one link each way, but has {twice[0]} twice")
    for demand in network.demands:
        _check_demand(network, demand)
    return network


def _check_demand(network: Network, demand: Demand) -> None:
    what = f"from {demand.origin} to {demand.destination}"
    check_between(f"cars {what}", demand.cars, 0, _MOST_CARS, open_low=True)
    check_between(f"departure {what}", demand.departure, 0, 1e9)
    reached, new = {demand.origin}, {demand.origin}
    while new:
        new = {link.end for link in network.links if link.start in new} - reached
        reached |= new
    if demand.destination == demand.origin or demand.destination not in reached:
        raise ValueError(f"network must have a way for each demand, but has none {what}")


def _line() -> Network:
    """One way from O by A to D, one unit of time a link, without congestion."""
    return Network((Link("O", "A"), Link("A", "D")), (Demand("O", "D", 100.0),))


def _braess() -> Network:
    """The paradox of Braess 1968 (doi:10.1007/BF01918335), with the numbers of OpenSpiel's game."""
    links = (
        Link("A", "B", 1.0, 1.0, 1.0, 5.0),
        Link("A", "C", 2.0),
        Link("B", "C", 0.25),
        Link("B", "D", 2.0),
        Link("C", "D", 1.0, 1.0, 1.0, 5.0),
    )
    return Network(links, (Demand("A", "D", 5.0),))


@functools.cache
def _sioux_falls() -> Network:
    """Sioux Falls: 24 nodes, 76 links, 528 demands (LeBlanc, Morlok & Pierskalla 1975)."""
    data = json.loads((Path(__file__).parent / "sioux_falls.json").read_text(encoding="utf-8"))
    links = tuple(Link(str(start), str(end), time, size * 1e-18, 4.0) for start, end, time, size in data["links"])
    return Network(links, tuple(Demand(str(start), str(end), cars) for start, end, cars in data["demands"]))


NETWORKS: dict[str, Callable[[], Network]] = {"line": _line, "braess": _braess, "sioux_falls": _sioux_falls}
