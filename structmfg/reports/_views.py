"""How a game is shown: which noise paths, axes and lines. A game that is not registered here gets a plain view."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg.games import (
    BeachBar,
    BeachNoise,
    Game,
    Macro,
    Noise,
    NoisePaths,
    noise_paths,
)

Curve = Float[np.ndarray, " times"]


class Axis(NamedTuple):
    """The axis of individual states in a figure, with M points."""

    label: str
    coordinates: Float[np.ndarray, " points"]
    collapse: Callable[[np.ndarray], np.ndarray]  # maps mean fields (..., S) to the mass at the points (..., M)
    pick: np.ndarray  # the states (M,) at which a policy is shown
    picked: str = ""  # which these are, in words
    shift: float | None = None  # if it is given, the axis is that of log(x + shift)


class Action(NamedTuple):
    """The number that stands for every action (A,) in a figure."""

    label: str
    values: Float[np.ndarray, " actions"]
    signed: bool


class Shown(NamedTuple):
    """Noise paths for figures, with their names."""

    paths: NoisePaths
    labels: list[str]


@functools.singledispatch
def shown_paths(game: Game) -> Shown:
    """Noise paths for figures: by default at most four of finitely many paths, or three sampled ones."""
    scenarios = game.scenarios()
    if scenarios is None:
        paths = noise_paths(game, key=jax.random.key(1), num_paths=3)
    else:
        paths = _select(scenarios, np.unique(np.linspace(0, scenarios.num_paths - 1, 4).astype(int)))
    return Shown(paths, _labels(game, paths))


def _select(paths: NoisePaths, chosen: np.ndarray) -> NoisePaths:
    return jax.tree.map(lambda leaf: leaf[jnp.asarray(chosen)], paths)


def _labels(game: Game, paths: NoisePaths) -> list[str]:
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], paths.noise) for i in range(paths.num_paths)]
    return [game.noise_label(noise) or f"noise path {i + 1}" for i, noise in enumerate(each)]


@shown_paths.register
def _(game: BeachBar) -> Shown:
    """A bar in the middle and one off-centre; each stays open and closes."""
    scenarios = game.scenarios()
    if scenarios is None:
        return shown_paths.dispatch(object)(game)  # as of any game
    middle, aside = len(game.bars) // 2, len(game.bars) // 8
    paths = _select(scenarios, np.array([2 * middle, 2 * middle + 1, 2 * aside, 2 * aside + 1]))
    return Shown(paths, _labels(game, paths))


@shown_paths.register
def _(game: Macro) -> Shown:
    """Of 32 sampled paths those of lowest, median and highest mean productivity."""
    paths = noise_paths(game, key=jax.random.key(1), num_paths=32)
    order = np.argsort(np.asarray(paths.noise).mean(axis=1))
    return Shown(_select(paths, order[[0, 16, 31]]), ["low productivity", "typical productivity", "high productivity"])


@functools.singledispatch
def state_axis(game: Game) -> Axis:
    """The axis of individual states: by default the coordinate that the game names."""
    name, coordinates = game.state_axis()
    return Axis(name, np.asarray(coordinates), lambda mean_field: mean_field, np.arange(game.num_states))


@state_axis.register
def _(game: Macro) -> Axis:
    """Wealth, summed over incomes; policies are shown at the middle income."""
    wealth, income = np.asarray(game.wealth_grid.points()), np.asarray(game.income_grid.points())
    middle = game.num_income // 2

    def collapse(mean_field: np.ndarray) -> np.ndarray:
        return mean_field.reshape(*mean_field.shape[:-1], game.num_wealth, game.num_income).sum(-1)

    return Axis(
        "wealth",
        wealth,
        collapse,
        np.arange(game.num_wealth) * game.num_income + middle,
        picked=f"income {income[middle]:.2f}",
        shift=0.25,
    )


def action_axis(game: Game) -> Action:
    """The numbers that a game gives its actions, signed where some are below zero."""
    name, values = game.action_axis()
    return Action(name, np.asarray(values), bool(np.min(values) < 0))


@functools.singledispatch
def noise_series(game: Game, noise: Noise) -> dict[str, Array]:
    """Series of the noise itself, drawn with the quantities; none by default."""
    return {}


@noise_series.register
def _(game: Macro, noise: Noise) -> dict[str, Array]:
    """The series of productivity."""
    return {"productivity": jnp.exp(noise)}


@functools.singledispatch
def guides(game: Game, noise: Noise, quantities: dict[str, Curve]) -> dict[str, Curve]:
    """Lines over a heat map of the mean field, NaN where there is none: by default the means that a game reports."""
    return {name: values for name, values in quantities.items() if name.startswith("mean ")}


@guides.register
def _(game: BeachBar, noise: BeachNoise, quantities: dict[str, Curve]) -> dict[str, Curve]:
    """The bar, while it is open and while it is closed."""
    bar, is_open = np.asarray(noise.bar, float), np.asarray(noise.open, bool)
    return {"bar, open": np.where(is_open, bar, np.nan), "bar, closed": np.where(is_open, np.nan, bar)}


@functools.singledispatch
def events(game: Game) -> dict[str, float]:
    """Times that are marked, with their names; none by default."""
    return {}


@events.register
def _(game: BeachBar) -> dict[str, float]:
    """The time at which the bar may close."""
    return {"the bar may close": game.closing_time}


UNITS = {
    "mean position": "cells",
    "mass next to the bar": "share of the population",
    "mass at the centre": "share of the population",
    "mass on the left": "share of the population",
    "mass on the right": "share of the population",
    "mean wealth": "units of the good",
    "interest rate": "per step",
    "wage": "units of the good per unit of income",
    "productivity": "relative to the start",
}
