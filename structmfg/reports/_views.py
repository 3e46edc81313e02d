"""How a game is shown: which noise paths, axes and lines. A game that is not registered here gets a plain view."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg.games import (
    AggregateState,
    BeachBar,
    BeachNoise,
    Game,
    Macro,
    Noise,
    NoisePaths,
    checked_state_axes,
    noise_paths,
)
from structmfg.operators import GeometricGrid, Grid

Curve = Float[np.ndarray, " times"]


class Axis(NamedTuple):
    """The axis of a factor of the states in a figure, with M points.

    Attributes:
        label: The name of the factor.
        coordinates: The points (M,); 0..M-1 where they have names.
        shift: The axis is that of log(x + shift) where this is given.
        names: The names of the points, where the game gives names.
    """

    label: str
    coordinates: Float[np.ndarray, " points"]
    shift: float | None = None
    names: tuple[str, ...] | None = None

    def point(self, place: SupportsIndex, digits: int = 4) -> str:
        """The name of a point, or its coordinate in so many digits."""
        return f"{self.coordinates[place]:.{digits}g}" if self.names is None else self.names[place]


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
    """The names of the paths; those that a game gives to several of them are numbered."""
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], paths.noise) for i in range(paths.num_paths)]
    labels = [game.noise_label(noise) or f"noise path {i + 1}" for i, noise in enumerate(each)]
    return [
        f"{label} ({labels[: i + 1].count(label)})" if labels.count(label) > 1 else label
        for i, label in enumerate(labels)
    ]


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


def state_axes(game: Game) -> list[Axis]:
    """The axes of the factors of individual states: one, unless the game has product states."""
    return [_axis(name, grid) for name, grid in checked_state_axes(game)]


def _axis(name: str, grid: Any) -> Axis:
    points = np.asarray(grid.points() if isinstance(grid, Grid) else grid)
    if points.dtype.kind == "U":
        return Axis(name, np.arange(len(points), dtype=float), names=tuple(points.tolist()))
    return Axis(name, points.astype(float), grid.shift if isinstance(grid, GeometricGrid) else None)


def marginal(axes: Sequence[Axis], mass: np.ndarray, factor: int) -> np.ndarray:
    """The mass (..., M) at the points of one factor, from that of the states (..., S): summed over the others."""
    by_factor = mass.reshape(*mass.shape[:-1], *(len(axis.coordinates) for axis in axes))
    lead = mass.ndim - 1
    return by_factor.sum(tuple(lead + other for other in range(len(axes)) if other != factor))


class Level(NamedTuple):
    """The states (M,) that differ in the first factor only, and what they have in common, in words."""

    states: np.ndarray
    label: str


def levels(axes: Sequence[Axis], at_most: int = 4) -> list[Level]:
    """States along the first factor, at a few points of the second one, and at the middle of all others."""
    sizes = [len(axis.coordinates) for axis in axes]
    index = np.arange(np.prod(sizes)).reshape(sizes)
    middle = [size // 2 for size in sizes[2:]]
    rest = [f"{axis.label} {axis.point(place, 3)}" for axis, place in zip(axes[2:], middle, strict=True)]
    if len(axes) == 1:
        return [Level(index, "")]
    shown = np.unique(np.linspace(0, sizes[1] - 1, at_most).round().astype(int))
    second = axes[1]
    return [
        Level(index[(slice(None), place, *middle)], ", ".join([f"{second.label} {second.point(place, 3)}", *rest]))
        for place in shown
    ]


class StateView(NamedTuple):
    """States as they are shown along the first factor: all of them, or those at one point of the second factor.

    Attributes:
        axis: The axis of the first factor, with M points.
        label: What the states have in common, in words; empty where these are all states.
        states: The states (M, K) that belong to every point.
    """

    axis: Axis
    label: str
    states: np.ndarray

    def mass(self, by_state: np.ndarray) -> np.ndarray:
        """Sums (..., M) of numbers by state (..., S) over the states of every point."""
        return by_state[..., self.states].sum(-1)


def state_views(game: Game) -> list[StateView]:
    """All states along the first factor and, of product states, those at a few points of the second one."""
    axes = state_axes(game)
    everywhere = StateView(axes[0], "", np.arange(game.num_states).reshape(len(axes[0].coordinates), -1))
    if len(axes) == 1:
        return [everywhere]
    return [everywhere, *(StateView(axes[0], level.label, level.states[:, None]) for level in levels(axes))]


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


def declared_series(game: Game, aggregates: AggregateState) -> dict[str, Array]:
    """Prices, statistics of actions and scalars of the public state (T+1,), where a game names no quantities itself."""
    if type(game).quantities is not Game.quantities or not game.declared:
        return {}
    series: dict[str, Array] = {}
    for name, vectors in (("price", aggregates.price), ("action statistic", aggregates.actions)):
        if vectors is not None:
            count = vectors.shape[-1]
            series |= {name if count == 1 else f"{name} {i}": vectors[:, i] for i in range(count)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(aggregates.public):
        if leaf.ndim == 1:
            series[f"public state {jax.tree_util.keystr(path, simple=True, separator=' ')}".rstrip()] = leaf * 1.0
    return series


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
