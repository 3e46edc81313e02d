"""The figures of a comparison: the learning curves, and where each solver's policy leads the population."""

import statistics
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from structmfg import reports, runs
from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg._statistics import band
from structmfg.benchmarks.comparison._runs import ClockedRun
from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.runs import display_name

Runs = dict[str, list[ClockedRun]]


def figures(game: Game, runs: Runs, reference: reports.ReferenceValues) -> list[Picture]:
    """The learning curves and the mean fields."""
    shown = {
        display_name(solver): reports.trajectories(game, _policy_of(game, median_run(of)))
        for solver, of in runs.items()
    }
    with mpl.rc_context(STYLE):
        return [
            picture("comparison", "Exploitability against seconds of training.", draw_comparison(runs, reference)),
            picture(
                "mean_fields",
                "The mean field under the policy of each solver's median seed, along the same noise paths.",
                reports.draw_mean_fields(game, shown),
            ),
        ]


def _policy_of(game: Game, clocked: ClockedRun) -> Policy:
    """The policy of a run; raises `ValueError` where its folder has a run of another game."""
    run = runs.load_run(clocked.folder)
    if run.game != game:
        raise ValueError(f"{clocked.folder} holds a run of another game: {run.game!r}, not {game!r}")
    return run.policy


def median_run(runs: Sequence[ClockedRun]) -> ClockedRun:
    """The run of the median exploitability (the lower one of two)."""
    middle = statistics.median_low(run.exploitability for run in runs)
    return next(run for run in runs if run.exploitability == middle)


def draw_comparison(runs: Runs, reference: reports.ReferenceValues) -> Figure:
    """A line and a band for every solver, on a logarithmic scale, above the floor where it is known."""
    figure = Figure(figsize=(7.6, 4.9), layout="constrained")
    axes = figure.add_subplot()
    values = [value for of in runs.values() for run in of for _, value, _ in run.curve if value > 0]
    least = min(values, default=1e-12)
    for i, (solver, of) in enumerate(runs.items()):
        drawn, colour = band([run.curve for run in of]), COLOURS[i % len(COLOURS)]
        style = ("-", "--", ":")[i // len(COLOURS) % 3]
        positive = np.where(drawn.mean > 0, drawn.mean, np.nan)
        axes.plot(drawn.seconds, positive, color=colour, linestyle=style, label=display_name(solver))
        for run in of if len(of) > 1 else ():
            axes.plot(*np.array(run.curve)[:, :2].T, color=colour, linestyle=style, linewidth=0.7, alpha=0.4)
        if len(of) > 1:
            axes.fill_between(
                drawn.seconds, np.maximum(drawn.low, least / 2), drawn.high, color=colour, alpha=0.18, linewidth=0
            )
    uniform = reference.uniform["clairvoyant"]
    levels = {"uniform policy": uniform.value if uniform else None, "floor": reference.floor["clairvoyant"]}
    for (name, value), style in zip(levels.items(), (":", "-."), strict=True):
        if value:
            axes.axhline(value, color=GREY, linestyle=style, linewidth=1.3, label=f"{name}: {value:.4g}")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("time (seconds of training, without compilation and evaluation)")
    axes.set_ylabel("clairvoyant exploitability\n(units of the return)")
    seeds = max(len(of) for of in runs.values())
    many = f"mean of {seeds} seeds, 95 % band" if seeds > 1 else "one seed"
    axes.set_title(f"What a best response that knows the noise gains ({many})")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    return figure
