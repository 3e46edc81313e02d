"""Draw the figures of a run: exploitability, mean field, quantities, policy."""

from collections.abc import Mapping, Sequence

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg.games import Game
from structmfg.reports._evaluation import ReferenceValues
from structmfg.reports._trajectories import Trajectories
from structmfg.reports._views import UNITS, Axis, action_axis, events, guides, state_axis
from structmfg.solvers import Checkpoint

_KNOWS = {
    "clairvoyant": "the noise",
    "non_anticipative": "the noise so far",
    "public": "the observations so far",
}
_POPULATED = 1e-3  # of all mass at a grid point: below that, the policy is drawn faintly


def figures(
    game: Game,
    solver: str,
    shown: Trajectories,
    curve: Sequence[Checkpoint],
    reference: ReferenceValues,
    *,
    kind: str = "clairvoyant",
) -> list[Picture]:
    """Draw all figures of a run.

    Args:
        game: The game.
        solver: The solver by name.
        shown: What the policy does along some noise paths.
        curve: The exploitability during the solve.
        reference: What it is compared with.
        kind: The kind of that exploitability.
    """
    with mpl.rc_context(STYLE):
        pictures = [
            picture(
                "exploitability",
                f"Exploitability ({_in_words(kind)}) over the solve.",
                draw_exploitability(solver, curve, reference, kind),
            ),
            picture("mean_field", "The mean field over time, by noise path.", draw_mean_field(game, shown)),
        ]
        if shown.quantities:
            caption = "Aggregate quantities over time, by noise path."
            pictures.append(picture("quantities", caption, draw_quantities(game, shown)))
        pictures.append(picture("policy", "The policy at chosen times, by noise path.", draw_policy(game, shown)))
    return pictures


# Exploitability against updates.


def _in_words(kind: str) -> str:
    return kind.replace("_", "-")


def draw_exploitability(solver: str, curve: Sequence[Checkpoint], reference: ReferenceValues, kind: str) -> Figure:
    """Draw the exploitability during the solve, with those of the paper, of the uniform policy, and the floor."""
    floor = reference.floor[kind]
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axes = figure.add_subplot()
    points = np.array([(point.step, point.value, point.stderr) for point in curve if point.value > 0])
    updates, values, errors = points.reshape(-1, 3).T
    if estimate := reference.uniform[kind]:
        value = estimate.value
        _level(axes, value, f"uniform policy: {value:.4g}", GREY, ":")
    if reference.paper and kind == "clairvoyant":
        level, time = reference.paper
        axes.axhspan(0.9 * level, 1.1 * level, color=COLOURS[1], alpha=0.15, linewidth=0)
        text = f"the paper's {solver.upper()}: {level:g} after {time:g} s on an L40S GPU (±10 %)"
        _level(axes, level, text, COLOURS[1], "--")
    if floor:
        _level(axes, floor, f"exact equilibrium, {reference.information} information: {floor:.4g}", COLOURS[2], "-.")
    axes.errorbar(
        updates, values, np.minimum(2 * errors, 0.99 * values) if errors.any() else None,
        color=COLOURS[0], marker="o" if len(values) < 40 else "", markersize=5, capsize=3, elinewidth=1.2, zorder=3,
        label="this run",
    )  # fmt: skip
    if len(values):
        axes.annotate(
            f"{values[-1]:.3g}", (updates[-1], values[-1]), xytext=(0, 9), textcoords="offset points", ha="center",
            color=COLOURS[0], fontweight="bold", zorder=4, path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    axes.set_yscale("log")
    axes.margins(y=0.12)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("updates")
    axes.set_ylabel(f"{_in_words(kind)} exploitability\n(units of the return)")
    bars = "; bars: ±2 standard errors" if len(errors) and errors.any() else ""
    axes.set_title(f"What a best response that knows {_KNOWS[kind]} would gain{bars}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _level(axes: Axes, value: float, text: str, colour: str, style: str) -> None:
    if value > 0:
        axes.axhline(value, color=colour, linestyle=style, linewidth=1.4, label=text)


# The mean field over time.


def draw_mean_field(game: Game, shown: Trajectories) -> Figure:
    """Draw the mean field by time and state, a panel for every noise path."""
    count = len(shown.labels)
    figure, panels = _panels(*_grid(count), height=3.5)
    _heat_maps(figure, panels, game, [(axes, shown, i, shown.labels[i]) for i, axes in enumerate(panels.flat[:count])])
    _label_grid(panels, count, "time (steps)", state_axis(game).label)
    return figure


def draw_mean_fields(game: Game, solved: Mapping[str, Trajectories], *, num_paths: int = 2) -> Figure:
    """Draw mean fields, a row for every named policy and a column for each of the first noise paths."""
    count = min(num_paths, *(len(shown.labels) for shown in solved.values()))
    figure, panels = _panels(len(solved), count, height=2.5)
    maps = [
        (panels[row, i], shown, i, f"{name}, {shown.labels[i]}")
        for row, (name, shown) in enumerate(solved.items())
        for i in range(count)
    ]
    _heat_maps(figure, panels, game, maps)
    _label_grid(panels, panels.size, "time (steps)", state_axis(game).label)
    return figure


def _panels(rows: int, columns: int, *, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(4.3 * columns + 0.9, height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def _heat_maps(
    figure: Figure, panels: np.ndarray, game: Game, maps: Sequence[tuple[Axes, Trajectories, int, str]]
) -> None:
    """Draw the mean field of a noise path in each of the axes, under its title, all on one scale."""
    axis = state_axis(game)
    masses = [axis.collapse(shown.mean_field[i]) for _, shown, i, _ in maps]
    top = float(np.nanquantile(np.stack(masses), 0.998))
    norm = PowerNorm(0.5, vmin=0, vmax=top if top > 0 else 1)
    edges = np.arange(game.horizon + 2) - 0.5
    for (axes, shown, i, title), mass in zip(maps, masses, strict=True):
        image = axes.pcolormesh(edges, _state_edges(axis), mass.T, norm=norm, cmap="cividis", rasterized=True)
        _draw_guides(axes, game, shown, i)
        axes.set_title(title)
        axes.spines[["left", "bottom"]].set_visible(False)
        _scale(axes, axis, "y")
    fullest = max(panels.flat, key=lambda axes: len(axes.get_legend_handles_labels()[0]))
    if fullest.get_legend_handles_labels()[0]:
        legend = fullest.legend(loc="upper right", fontsize=8, labelcolor="white", frameon=True, handlelength=1.6)
        legend.get_frame().set(facecolor="#1b2430", alpha=0.75, edgecolor="none")
    figure.colorbar(image, ax=panels, label="mass per grid point", extend="max", shrink=0.9, pad=0.02)
    figure.suptitle(f"Where the population is: mass by {axis.label} and time", x=0.01, ha="left", fontweight="bold")


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


def _draw_guides(axes: Axes, game: Game, shown: Trajectories, path: int) -> None:
    noise = jax.tree.map(lambda leaf: leaf[path], shown.noise)
    lines = guides(game, noise, {name: values[path] for name, values in shown.quantities.items()})
    for (name, values), style in zip(lines.items(), ("-", ":", "--"), strict=False):
        if np.isfinite(values).any():
            axes.plot(values, color="white", linestyle=style, linewidth=1.6, label=name)
    for name, time in events(game).items():
        axes.axvline(time, color="white", linewidth=0.8, alpha=0.6, label=name)


def _state_edges(axis: Axis) -> np.ndarray:
    """The borders of the cells around the coordinates, halfway between neighbours as the axis shows them."""
    x = axis.coordinates if axis.shift is None else np.log(axis.coordinates + axis.shift)
    middle = (x[1:] + x[:-1]) / 2
    edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return edges if axis.shift is None else np.exp(edges) - axis.shift


def _scale(axes: Axes, axis: Axis, which: str) -> None:
    """Make an axis logarithmic where its `shift` is given, with ticks at round numbers."""
    shift = axis.shift
    if shift is None:
        return
    functions = (lambda x: np.log(np.maximum(x + shift, 1e-9)), lambda y: np.exp(y) - shift)
    top = axis.coordinates[-1]
    ticks = [x for x in (0, 0.3, 1, 3, 10, 30, 100, 300, 1000) if x <= 1.05 * top]
    set_scale, side = (axes.set_yscale, axes.yaxis) if which == "y" else (axes.set_xscale, axes.xaxis)
    set_scale("function", functions=functions)
    side.set_major_locator(FixedLocator(ticks))
    side.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    side.set_minor_locator(NullLocator())
    edges = _state_edges(axis)
    (axes.set_ylim if which == "y" else axes.set_xlim)(edges[0], edges[-1])


# Quantities and policy.


def draw_quantities(game: Game, shown: Trajectories) -> Figure:
    """Draw every quantity over time, a line for each noise path."""
    names = list(shown.quantities)
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5.2 * columns + (2 if columns == 1 else 0), 3.1 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        for i, values in enumerate(shown.quantities[name]):
            style = "-" if i % 2 == 0 else (0, (4, 1.5))
            axes.plot(values, color=COLOURS[i % len(COLOURS)], linestyle=style, label=shown.labels[i])
        for event, time in events(game).items():
            axes.axvline(time, color=GREY, linewidth=1, linestyle=":")
            axes.annotate(
                event, (time, 1), xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points",
                color=GREY, fontsize=8.5, ha="center",
            )  # fmt: skip
        axes.set_title(name)
        axes.set_ylabel(UNITS.get(name, ""))
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_xlim(0, game.horizon)
    for axes in panels[-1]:
        axes.set_xlabel("time (steps)")
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) > 3 else len(labels))
    return figure


def draw_policy(game: Game, shown: Trajectories) -> Figure:
    """Draw the mean action over states at chosen times, but not at the last step, whose action moves nobody."""
    axis, action = state_axis(game), action_axis(game)
    chosen = _chosen_times(shown.policy_times, game.horizon)
    times = shown.policy_times[chosen]
    mean_action = shown.policy[:, chosen][:, :, axis.pick] @ action.values
    populated = axis.collapse(shown.mean_field)[:, times] > _POPULATED
    count = len(shown.labels)
    rows, columns = _grid(count)
    figure = Figure(figsize=(4.3 * columns + 0.9, 3.3 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.92, len(times)))
    for i, axes in enumerate(panels.flat[:count]):
        for curve, here, colour in zip(mean_action[i], populated[i], colours, strict=True):
            axes.plot(axis.coordinates, curve, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(axis.coordinates, np.where(here, curve, np.nan), color=colour, linewidth=2.2)
        if action.signed:
            axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_title(shown.labels[i])
        axes.grid(color="#e3e6ea", linewidth=0.8)
        _scale(axes, axis, "x")
    _label_grid(panels, count, axis.label, action.label)
    borders = BoundaryNorm(np.arange(len(times) + 1) - 0.5, len(times))
    scale = ScalarMappable(borders, ListedColormap(colours))
    bar = figure.colorbar(scale, ax=panels, ticks=np.arange(len(times)), label="time (steps)", shrink=0.9, pad=0.02)
    bar.ax.set_yticklabels([str(time) for time in times])
    where = f" at {axis.picked}" if axis.picked else ""
    title = f"What the policy does{where} (faint: where hardly anybody is)"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _chosen_times(times: np.ndarray, horizon: int) -> np.ndarray:
    """The places of at most seven of the times, closer together near the end, where policies change most."""
    wanted = {0, horizon // 4, horizon // 2, 3 * horizon // 4, horizon - 8, horizon - 4, horizon - 2}
    return np.unique([np.abs(times - time).argmin() for time in wanted if 0 <= time <= max(horizon - 2, 0)])
