"""Traffic: drivers who choose their way through a road network."""

from structmfg.games.models.traffic._network import Demand, Link, Network
from structmfg.games.models.traffic._routing import Routing

__all__ = ["Demand", "Link", "Network", "Routing"]
