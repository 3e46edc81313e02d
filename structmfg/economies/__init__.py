"""Economies of households that choose how much to save: Huggett, Aiyagari, Krusell and Smith, and their equilibria.

Their choices are continuous, so that they are no `Game`. `sequence_space` has their responses to shocks.
"""

from structmfg._results import RESULTS
from structmfg.economies._aiyagari import Aiyagari, AiyagariCalibration
from structmfg.economies._economy import Economy, Household, Income, SavingEconomy
from structmfg.economies._forecasting_equilibrium import (
    ForecastingEquilibrium,
    forecasting_equilibrium,
)
from structmfg.economies._huggett import Huggett
from structmfg.economies._inequality import LorenzCurve, gini, lorenz_curve
from structmfg.economies._krusell_smith import KrusellSmith
from structmfg.economies._optimal_saving import SavingSolution, optimal_saving
from structmfg.economies._stationary_equilibrium import (
    StationaryEquilibrium,
    stationary_equilibrium,
)
from structmfg.economies.sequence_space import (
    SequenceEconomy,
    autoregressive,
    impulse_response,
    jacobian,
    steady_state,
    transition_path,
)

EQUILIBRIUM_RESULTS = FORECASTING_RESULTS = RESULTS

__all__ = [
    "EQUILIBRIUM_RESULTS",
    "FORECASTING_RESULTS",
    "Aiyagari",
    "AiyagariCalibration",
    "Economy",
    "ForecastingEquilibrium",
    "Household",
    "Huggett",
    "Income",
    "KrusellSmith",
    "LorenzCurve",
    "SavingEconomy",
    "SavingSolution",
    "SequenceEconomy",
    "StationaryEquilibrium",
    "autoregressive",
    "forecasting_equilibrium",
    "gini",
    "impulse_response",
    "jacobian",
    "lorenz_curve",
    "optimal_saving",
    "stationary_equilibrium",
    "steady_state",
    "transition_path",
]
