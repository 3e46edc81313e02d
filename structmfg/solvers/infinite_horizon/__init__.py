"""Equilibria of games that go on for ever."""

from structmfg.solvers.infinite_horizon._equilibrium import StationaryMeanFieldEquilibrium, StationaryMethod

__all__ = ["StationaryMeanFieldEquilibrium", "StationaryMethod"]
