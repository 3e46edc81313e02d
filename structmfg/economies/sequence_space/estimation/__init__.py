"""Aggregates of an economy as moving averages of Gaussian shocks: moments, simulation, likelihood and its mode."""

from structmfg.economies.sequence_space.estimation._likelihood import log_likelihood
from structmfg.economies.sequence_space.estimation._moving_average import (
    MovingAverage,
    SecondMoments,
    second_moments,
    simulate,
)
from structmfg.economies.sequence_space.estimation._posterior_mode import PosteriorMode, posterior_mode

__all__ = [
    "MovingAverage",
    "PosteriorMode",
    "SecondMoments",
    "log_likelihood",
    "posterior_mode",
    "second_moments",
    "simulate",
]
