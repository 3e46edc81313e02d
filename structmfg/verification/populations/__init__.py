"""Monte Carlo populations: agents who are drawn, act and move one by one, compared with what the operators compute."""

from structmfg.verification.populations._agents import (
    IndependentAgents,
    counts,
    returns,
    simulate_independent_agents,
    transitions,
)
from structmfg.verification.populations._noise import noise
from structmfg.verification.populations._population import SimulatedPopulation, simulate_population
from structmfg.verification.populations._rate import Rate, rate_is_one_half, rate_of_convergence
from structmfg.verification.populations._study import (
    DEEP,
    FAST,
    LEVEL_INFLATION,
    NUM_TESTS,
    SampleSizes,
    Spread,
    Study,
    study,
)

__all__ = [
    "DEEP",
    "FAST",
    "LEVEL_INFLATION",
    "NUM_TESTS",
    "IndependentAgents",
    "Rate",
    "SampleSizes",
    "SimulatedPopulation",
    "Spread",
    "Study",
    "counts",
    "noise",
    "rate_is_one_half",
    "rate_of_convergence",
    "returns",
    "simulate_independent_agents",
    "simulate_population",
    "study",
    "transitions",
]
