"""Draw what happens by individual state: the mean field, the policy, the gains of best responses.

States that are a product of factors are shown factor by factor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from structmfg._pages import COLOURS, GREY, LINES
from structmfg.evaluation import GainsOverTime
from structmfg.games import Game
from structmfg.reports._trajectories import Trajectories
from structmfg.reports._views import Axis, action_axis, events, guides, levels, marginal, state_axes

_POPULATED = 1e-3  # of all mass at a level that is at a grid point: below that, the policy is drawn faintly
_MAX_NAMES = 12  # of points beside an axis
Share: TypeAlias = Literal["row"] | bool
_MAPPED = "cividis"  # grows lighter throughout, so that it can be read in black and white


# The mean field over time.


def draw_mean_field(game: Game, shown: Trajectories) -> Figure:
    """Draw the mean field by time and state, a panel for every noise path and, of product states, every factor."""
    if game.horizon is None:
        return _draw_standing(game, shown)
    axes, count = state_axes(game), len(shown.labels)
    rows, columns = _grid(count) if len(axes) == 1 else (len(axes), count)
    share: Share = True if len(axes) == 1 else "row"
    figure, panels = _panels(rows, columns, height=3.5 if len(axes) == 1 else 2.7, sharey=share)
    if len(axes) == 1:
        _heat_maps(figure, panels, game, 0, [(panels.flat[i], shown, i, shown.labels[i]) for i in range(count)])
        _label_grid(panels, count, "time (steps)", axes[0].label)
        return figure
    for factor, axis in enumerate(axes):
        titles = shown.labels if factor == 0 else [""] * count
        _heat_maps(figure, panels[factor : factor + 1], game, factor, [
            (panels[factor, i], shown, i, titles[i]) for i in range(count)
        ])  # fmt: skip
        panels[factor, 0].set_ylabel(axis.label)
    for panel in panels[-1]:
        panel.set_xlabel("time (steps)")
    _title(figure, "Where the population is: mass by time and each part of the state, summed over the others")
    return figure


def _draw_standing(game: Game, shown: Trajectories) -> Figure:
    """Draw a mean field that does not change, a panel for every factor of the states."""
    axes = state_axes(game)
    figure = Figure(figsize=(4.3 * len(axes) + 0.9, 3.9), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)
    for factor, (panel, axis) in enumerate(zip(panels.flat, axes, strict=True)):
        panel.stairs(marginal(axes, shown.mean_field[0, 0], factor), _state_edges(axis), fill=True, color=COLOURS[0])
        panel.set_xlabel(axis.label)
        _scale(panel, axis, "x")
    panels[0, 0].set_ylabel("mass per grid point")
    _title(figure, "Where the population is, for ever")
    return figure


def draw_mean_fields(game: Game, solved: Mapping[str, Trajectories], *, num_paths: int = 2) -> Figure:
    """Draw mean fields, a row for every named policy and a column for each of the first noise paths.

    Of product states the first factor is shown.
    """
    count = min(num_paths, *(len(shown.labels) for shown in solved.values()))
    figure, panels = _panels(len(solved), count, height=2.5)
    maps = [
        (panels[row, i], shown, i, f"{name}, {shown.labels[i]}")
        for row, (name, shown) in enumerate(solved.items())
        for i in range(count)
    ]
    _heat_maps(figure, panels, game, 0, maps)
    _label_grid(panels, panels.size, "time (steps)", state_axes(game)[0].label)
    return figure


def _panels(
    rows: int, columns: int, *, height: float, width: float = 4.3, sharey: Share = True
) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width * columns + 0.9, height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontweight="bold")


def _heat_maps(
    figure: Figure, panels: np.ndarray, game: Game, factor: int, maps: Sequence[tuple[Axes, Trajectories, int, str]]
) -> None:
    """Draw the mass at the points of a factor along a noise path in each of the axes, all on one scale."""
    factors = state_axes(game)
    axis = factors[factor]
    masses = [marginal(factors, shown.mean_field[i], factor) for _, shown, i, _ in maps]
    top = float(np.nanquantile(np.stack(masses), 0.998))
    norm = PowerNorm(0.5, vmin=0, vmax=top if top > 0 else 1)
    edges = np.arange(masses[0].shape[0] + 1) - 0.5
    for (axes, shown, i, title), mass in zip(maps, masses, strict=True):
        image = axes.pcolormesh(edges, _state_edges(axis), mass.T, norm=norm, cmap=_MAPPED, rasterized=True)
        _draw_guides(axes, game, shown, i, "" if len(factors) == 1 else f"mean {axis.label}")
        if len(factors) == 1:
            _draw_blocks(axes, game, axis)
        axes.set_title(title)
        axes.spines[["left", "bottom"]].set_visible(False)
        _scale(axes, axis, "y")
    fullest = max(panels.flat, key=lambda axes: len(axes.get_legend_handles_labels()[0]))
    if fullest.get_legend_handles_labels()[0]:
        legend = fullest.legend(loc="upper right", fontsize=8, labelcolor="white", frameon=True, handlelength=1.6)
        legend.get_frame().set(facecolor="#1b2430", alpha=0.75, edgecolor="none")
    figure.colorbar(image, ax=panels, label="mass per grid point", extend="max", shrink=0.9, pad=0.02)
    _title(figure, f"Where the population is: mass by {axis.label} and time")


def _draw_blocks(axes: Axes, game: Game, axis: Axis) -> None:
    """Draw the borders of several populations on the axis of the states, and their names."""
    if not game.populations or (np.diff(axis.coordinates) <= 0).any():
        return
    edges = _state_edges(axis)
    for each in game.populations:
        if each.states.start:
            axes.axhline(edges[each.states.start], color="white", linewidth=1)
        axes.annotate(
            each.name, (0, edges[each.states.stop]), xycoords=("axes fraction", "data"), xytext=(4, -4),
            textcoords="offset points", color="white", fontsize=8.5, va="top",
            path_effects=[withStroke(linewidth=2, foreground="#1b2430")],
        )  # fmt: skip


def _grid(count: int) -> tuple[int, int]:
    """The numbers of rows and columns for so many panels."""
    columns = count if count <= 3 else 2
    return -(-count // columns), columns


def _label_grid(panels: np.ndarray, count: int, xlabel: str, ylabel: str) -> None:
    """Label the outer panels only, and hide the panels beyond `count`."""
    for axes in panels[-1]:
        axes.set_xlabel(xlabel)
    for axes in panels[:, 0]:
        axes.set_ylabel(ylabel)
    for axes in panels.flat[count:]:
        axes.set_visible(False)


def _draw_guides(axes: Axes, game: Game, shown: Trajectories, path: int, only: str = "") -> None:
    """Draw the lines that belong to a mean field and the times that are marked; with `only`, the line of that name."""
    noise = jax.tree.map(lambda leaf: leaf[path], shown.noise)
    lines = guides(game, noise, {name: values[path] for name, values in shown.quantities.items()})
    if only:
        lines = {name: values for name, values in lines.items() if name == only}
    for (name, values), style in zip(lines.items(), ("-", ":", "--"), strict=False):
        if np.isfinite(values).any():
            axes.plot(values, color="white", linestyle=style, linewidth=1.6, label=name)
    for name, time in events(game).items():
        axes.axvline(time, color="white", linewidth=0.8, alpha=0.6, label=name)


def _state_edges(axis: Axis) -> np.ndarray:
    """The borders of the cells around the coordinates, halfway between neighbours as the axis shows them."""
    x = axis.coordinates if axis.shift is None else np.log(axis.coordinates + axis.shift)
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return edges if axis.shift is None else np.exp(edges) - axis.shift


def _scale(axes: Axes, axis: Axis, which: str) -> None:
    """Make an axis logarithmic where its `shift` is given, with ticks at round numbers; put names at its points."""
    shift = axis.shift
    if axis.names is not None:
        shown = slice(None, None, -(-len(axis.names) // _MAX_NAMES))
        (axes.set_yticks if which == "y" else axes.set_xticks)(axis.coordinates[shown], axis.names[shown])
    if shift is None:
        return
    functions = (lambda x: np.log(np.maximum(x + shift, 1e-9)), lambda y: np.exp(y) - shift)
    low, top = axis.coordinates[[0, -1]]
    ticks = [x for x in (0, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if 0.95 * low <= x <= 1.05 * top]
    if low == 0:
        ticks.remove(0.1)  # too close to zero to stand beside it
    set_scale, side = (axes.set_yscale, axes.yaxis) if which == "y" else (axes.set_xscale, axes.xaxis)
    set_scale("function", functions=functions)
    side.set_major_locator(FixedLocator(ticks))
    side.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    side.set_minor_locator(NullLocator())
    edges = _state_edges(axis)
    (axes.set_ylim if which == "y" else axes.set_xlim)(edges[0], edges[-1])


# The policy.


def draw_policy(game: Game, shown: Trajectories) -> Figure:
    """Draw the mean action over states at chosen times, but not at the last step, whose action moves nobody.

    Of product states it is drawn over the first factor, in a row of panels for each of a few points of the second.
    """
    factors, action = state_axes(game), action_axis(game)
    axis, rows_of_states = factors[0], levels(factors)
    chosen = chosen_times(shown.policy_times, game.horizon or 1)
    times = shown.policy_times[chosen]
    count = len(shown.labels)
    product = len(factors) > 1
    rows, columns = (len(rows_of_states), count) if product else _grid(count)
    figure, panels = _panels(rows, columns, height=2.1 if product else 3.3, width=3.6 if product else 4.3)
    places = [(level, i) for level in rows_of_states for i in range(count)]
    for axes, (level, i) in zip(panels.flat, places, strict=False):
        mean_action = shown.policy[i, chosen][:, level.states] @ action.values
        _draw_mean_action(axes, axis, times, mean_action, shown.mean_field[i, times][:, level.states])
        if action.signed:
            axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_title(", ".join(filter(None, (level.label, shown.labels[i]))), fontsize=9 if product else None)
        axes.grid(color="#e3e6ea", linewidth=0.8)
        _scale(axes, axis, "x")
    _label_grid(panels, len(places), axis.label, "" if product else action.label)
    if product:
        figure.supylabel(action.label, fontsize=10)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    if game.horizon is not None:
        figure.legend(handles, labels, loc="outside right upper", title="time (steps)", handlelength=3)
    _title(figure, "What the policy does (faint: where hardly anybody is)")
    return figure


def _draw_mean_action(axes: Axes, axis: Axis, times: np.ndarray, mean_action: np.ndarray, mass: np.ndarray) -> None:
    """Draw a line for every time, lighter the later it is, and faint where hardly anybody is."""
    populated = mass > _POPULATED * mass.sum(-1, keepdims=True)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.8, len(times)))
    for place, (time, curve, here) in enumerate(zip(times, mean_action, populated, strict=True)):
        style: dict[str, Any] = {"color": colours[place], "linestyle": LINES[place % len(LINES)]}
        axes.plot(axis.coordinates, curve, **style, linewidth=0.8, alpha=0.35)
        axes.plot(axis.coordinates, np.where(here, curve, np.nan), **style, linewidth=2, label=f"{time}")


def chosen_times(times: np.ndarray, horizon: int) -> np.ndarray:
    """The places of at most seven of the times, closer together near the end, where policies change most."""
    wanted = {0, horizon // 4, horizon // 2, 3 * horizon // 4, horizon - 8, horizon - 4, horizon - 2}
    return np.unique([np.abs(times - time).argmin() for time in wanted if 0 <= time <= max(horizon - 2, 0)])


# What a best response would gain.


def draw_gains(game: Game, gains: GainsOverTime, kind: str) -> Figure:
    """Draw the gain of a best response of a kind by state and time, under its mean over the population.

    Of product states it is drawn over the first factor, in a panel for each of a few points of the second.
    """
    factors = state_axes(game)
    axis, rows = factors[0], levels(factors)
    figure = Figure(figsize=(7.6, 2.6 + (3.2 if len(rows) == 1 else 2.2 * len(rows))), layout="constrained")
    ratios = [1.2, *[1.9 if len(rows) == 1 else 1.3] * len(rows)]
    panels = figure.subplots(1 + len(rows), 1, sharex=True, height_ratios=ratios)
    panels[0].plot(np.arange(game.horizon), gains.total, color="black", marker="o", markersize=2.5, linewidth=1.2)
    panels[0].set_title(
        f"Mean over the population; {gains.total[0]:.4g} at time 0: the {kind} exploitability", fontsize=10
    )
    panels[0].set_ylabel("gain (units\nof the return)")
    panels[0].grid(color="#e3e6ea", linewidth=0.8)
    shown = [gains.by_state[:, level.states] for level in rows]
    top = float(np.nanquantile(np.stack(shown), 0.998))
    norm = PowerNorm(0.5, vmin=0, vmax=top if top > 0 else 1)
    edges = np.arange(game.horizon + 1) - 0.5
    for axes, level, values in zip(panels[1:], rows, shown, strict=True):
        axes.pcolormesh(edges, _state_edges(axis), values.T, norm=norm, cmap=_MAPPED, rasterized=True)
        if len(factors) == 1:
            _draw_blocks(axes, game, axis)
        axes.set_title(level.label, fontsize=9)
        axes.set_ylabel(axis.label)
        _scale(axes, axis, "y")
    panels[-1].set_xlabel("time from which the best response is played (steps)")
    scale = ScalarMappable(norm, _MAPPED)
    figure.colorbar(scale, ax=list(panels[1:]), label="gain (units of the return)", extend="max", pad=0.02)
    _title(figure, "What a best response would gain, by state and time")
    return figure
