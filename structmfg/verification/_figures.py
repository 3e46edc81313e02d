"""The figures of a verification report, drawn off screen."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg.games import Game
from structmfg.verification.populations import Rate, Spread, Study


def population_figures(game: Game, study: Study, level: float) -> tuple[Picture, ...]:
    """Pictures of what a study measured: the agents and the mean field, p-values over time, and the rate."""
    pictures = []
    with mpl.rc_context(STYLE):
        if study.spread is not None:
            caption = "Agents drawn and moved one by one, and the mean field that the operators compute."
            pictures.append(picture("population", caption, _draw_spread(game, study.spread)))
        if study.p_values is not None:
            caption = "A p-value for every time; a small one speaks against the operators."
            pictures.append(picture("p_values", caption, _draw_p_values(study.p_values, level)))
        if study.rate is not None:
            caption = "The distance of finite, interacting populations from the mean field, against their size."
            pictures.append(picture("rate", caption, _draw_rate(study.rate)))
    return tuple(pictures)


def _draw_spread(game: Game, spread: Spread) -> Figure:
    """A histogram under a line, over the coordinate of the states, which several states may share."""
    name, coordinate = game.state_axis()
    order, groups = np.unique(np.asarray(coordinate), return_inverse=True)
    observed, expected = (np.bincount(groups.ravel(), weights=x) for x in (spread.observed, spread.expected))
    total = observed.sum()
    figure = Figure(figsize=(7.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(order))
    label = f"{total:,.0f} agents one by one"
    axes.bar(place, observed / total, width=1.0, color=COLOURS[5], alpha=0.7, label=label)
    axes.plot(
        place,
        expected / total,
        color=COLOURS[0],
        label="mean field by the operators",
        linewidth=1.4,
        marker="o",
        markersize=2,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    error = 2 * np.sqrt(expected * (1 - expected / total)) / total
    axes.fill_between(
        place, expected / total - error, expected / total + error, color=COLOURS[0], alpha=0.2, linewidth=0
    )
    axes.set_xlabel(f"{name} (grid points in order)")
    axes.set_ylabel("share of the population")
    axes.set_title(f"The mean field and a population at t = {spread.time}, where they differ most (shade: ±2 s.e.)")
    axes.legend()
    return figure


def _draw_p_values(p_values: np.ndarray, level: float) -> Figure:
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    least = max(min(p_values.min(), level), 1e-30)
    axes.plot(np.arange(len(p_values)), np.maximum(p_values, least), "o", color=GREY, markersize=5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axhline(level / len(p_values), color=COLOURS[1], linestyle="--")
    axes.annotate("rejected below", (0, level / len(p_values)), xytext=(0, 4), textcoords="offset points")
    axes.set_yscale("log")
    axes.set_ylim(0.3 * min(least, level / len(p_values)), 2)
    axes.set_xlabel("time (steps)")
    axes.set_ylabel("p-value")
    axes.set_title("Counts of agents against the mean field, at every time")
    return figure


def _draw_rate(rate: Rate) -> Figure:
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for size, errors in zip(rate.sizes, rate.errors, strict=True):
        axes.plot(np.full(len(errors), size), errors, "o", color=COLOURS[5], markersize=3.5, alpha=0.6)
    sizes = np.asarray(rate.sizes, float)
    axes.plot(sizes, rate.rms, "D", color=COLOURS[0], label="root mean square over replicates")
    middle = np.exp(np.log(rate.rms).mean() - rate.rate * (np.log(sizes) - np.log(sizes).mean()))
    label = f"fit: N^-{rate.rate:.3f}, 95 % in [{rate.low:.3f}, {rate.high:.3f}]"
    axes.plot(sizes, middle, color=COLOURS[1], label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("agents N")
    axes.set_ylabel("distance from the mean field\n(2-norm, over all times)")
    axes.set_title(f"How fast finite, interacting populations approach the mean field: N^-{rate.rate:.2f}")
    axes.legend()
    return figure


def mutation_figure(mutations: Sequence[str], checks: Sequence[str], finds: np.ndarray) -> Picture:
    """The picture of which check (column) finds which fault (row)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 + 0.26 * len(checks), 2.6 + 0.2 * len(mutations)), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(finds, cmap=ListedColormap(["#eef1f4", COLOURS[0]]), aspect="auto", vmin=0, vmax=1)
        axes.set_xticks(range(len(checks)), checks, rotation=90, fontsize=8)
        axes.set_yticks(range(len(mutations)), mutations, fontsize=8)
        axes.set_xticks(np.arange(len(checks)) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(mutations)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_title("Faults put in on purpose (rows) and the checks that find them (columns)")
        return picture("mutations", "Faults put in on purpose, and the checks that find them.", figure)
