"""Monte Carlo populations: agents drawn, acting and moving one by one, held against what the operators compute."""

from structmfg.verification.populations._agents import Independent, counts, independent, returns, transitions
from structmfg.verification.populations._noise import noise
from structmfg.verification.populations._population import Population, population
from structmfg.verification.populations._rate import Rate, rate_is_one_half, rate_of_convergence
from structmfg.verification.populations._study import DEEP, FAST, NUM_TESTS, SPARE, Effort, Spread, Study, study

__all__ = [
    "DEEP",
    "FAST",
    "NUM_TESTS",
    "SPARE",
    "Effort",
    "Independent",
    "Population",
    "Rate",
    "Spread",
    "Study",
    "counts",
    "independent",
    "noise",
    "population",
    "rate_is_one_half",
    "rate_of_convergence",
    "returns",
    "study",
    "transitions",
]
