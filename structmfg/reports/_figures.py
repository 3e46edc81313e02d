"""Draw the figures of a run: exploitability, mean field, quantities, policy."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from structmfg._pages import COLOURS, GREY, LINES, STYLE, Picture, picture
from structmfg.evaluation import ExploitabilityBounds, GainsOverTime
from structmfg.games import Game
from structmfg.reports._captions import (
    caption,
    exploitability_text,
    gains_text,
    in_words,
    losses_text,
    mean_field_text,
    policy_text,
    quantities_text,
)
from structmfg.reports._evaluation import ReferenceValues
from structmfg.reports._state_figures import draw_gains, draw_mean_field, draw_policy
from structmfg.reports._trajectories import Trajectories
from structmfg.reports._views import UNITS, events
from structmfg.solvers import Checkpoint

_KNOWS = {
    "clairvoyant": "the noise",
    "non_anticipative": "the noise so far",
    "public": "the observations so far",
}


def figures(
    game: Game,
    solver: str,
    shown: Trajectories,
    curve: Sequence[Checkpoint],
    reference: ReferenceValues,
    *,
    kind: str = "clairvoyant",
    gains: Mapping[str, GainsOverTime] | None = None,
    bounds: ExploitabilityBounds | None = None,
) -> list[Picture]:
    """Draw all figures of a run.

    Args:
        game: The game.
        solver: The solver by name.
        shown: What the policy does along some noise paths.
        curve: The exploitability during the solve.
        reference: What it is compared with.
        kind: The kind of that exploitability.
        gains: By kind, what a best response gains by state and time, as `reports.evaluate` returns it. The figure
            shows that of `kind` if it is there, else one that does not know the future, else any.
        bounds: Bounds of the non-anticipative exploitability, for the figure of the losses over time.

    Returns:
        The figures exploitability, mean_field, quantities (if the game has some), policy, and gains and losses (if
        given).
    """
    gains = gains or {}
    with mpl.rc_context(STYLE):
        drawn = {
            "exploitability": (draw_exploitability(solver, curve, reference, kind), exploitability_text(curve)),
            "mean_field": (draw_mean_field(game, shown), mean_field_text(game, shown)),
        }
        if shown.quantities and game.horizon is not None:
            drawn["quantities"] = draw_quantities(game, shown), quantities_text(shown)
        drawn["policy"] = draw_policy(game, shown), policy_text(game, shown)
        pictures = [picture(name, caption(game, name, kind), figure, text) for name, (figure, text) in drawn.items()]
        if chosen := next((each for each in (kind, "non_anticipative", *gains) if each in gains), None):
            figure, text = draw_gains(game, gains[chosen], in_words(chosen)), gains_text(game, gains[chosen])
            pictures.append(picture("gains", caption(game, "gains", chosen), figure, text))
        if bounds:
            figure, text = draw_losses(bounds), losses_text(bounds)
            pictures.append(picture("losses", caption(game, "losses"), figure, text))
    return pictures


# Exploitability against updates.


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
    axes.set_ylabel(f"{in_words(kind)} exploitability\n(units of the return)")
    bars = "; bars: ±2 standard errors" if len(errors) and errors.any() else ""
    axes.set_title(f"What a best response that knows {_KNOWS[kind]} would gain{bars}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _level(axes: Axes, value: float, text: str, colour: str, style: str) -> None:
    if value > 0:
        axes.axhline(value, color=colour, linestyle=style, linewidth=1.4, label=text)


# Losses.


def draw_losses(bounds: ExploitabilityBounds) -> Figure:
    """Draw what the policy loses at every time, to action values fitted on sampled paths, and their running sum."""
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    each, total = figure.subplots(1, 2)
    times = np.arange(len(bounds.losses))
    each.bar(times, bounds.losses, width=0.9, color=COLOURS[0])
    each.set_ylabel("loss at this time\n(units of the return)")
    total.plot(times, np.cumsum(bounds.losses), color=COLOURS[0])
    total.axhspan(bounds.lower.value, bounds.upper.value, color=COLOURS[1], alpha=0.35, label="lower to upper bound")
    total.set_ylabel("losses up to this time")
    total.set_ylim(bottom=0)
    total.legend(loc="lower right", fontsize=9)
    for axes in (each, total):
        axes.set_xlabel("time")
    return figure


# Quantities.


def draw_quantities(game: Game, shown: Trajectories) -> Figure:
    """Draw every quantity over time, a line for each noise path."""
    names = list(shown.quantities)
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5.2 * columns + (2 if columns == 1 else 0), 3.1 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        for i, values in enumerate(shown.quantities[name]):
            style, marker = LINES[i % len(LINES)], "osD^"[i % 4]
            every = max(len(values) // 8, 1)
            axes.plot(
                values, color=COLOURS[i % len(COLOURS)], linestyle=style, label=shown.labels[i], marker=marker,
                markersize=4, markevery=(i * every // 4, every),
            )  # fmt: skip
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
