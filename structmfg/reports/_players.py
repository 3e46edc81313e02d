"""A policy in games of N players: as JSON, in words, and as a figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg.evaluation import Estimate
from structmfg.solvers.n_players import Deviator, PlayersEvaluation, gain_rate, is_fitted

_KNOWS: dict[Deviator, str] = {
    "non_anticipative": "its own state and the noise so far",
    "clairvoyant": "its own state and the whole noise path",
    "full": "everything so far",
}


def players_object(evaluations: Sequence[PlayersEvaluation]) -> dict[str, Any]:
    """The evaluations as JSON, with the slope of `gain_rate` and its error: None where no line can be fitted."""
    rows = [
        {
            "num_players": evaluation.num_players,
            "return": evaluation.mean_return.value,
            "return_stderr": evaluation.mean_return.stderr,
            "mean_field_return": evaluation.mean_field_return,
            "gain": evaluation.gain.value,
            "gain_stderr": evaluation.gain.stderr,
            "mean_field_gain": evaluation.mean_field_gain,
            "deviator": evaluation.deviator,
            "games": evaluation.num_games,
            "neglected": list(evaluation.neglected),
        }
        for evaluation in evaluations
    ]
    slope = gain_rate(evaluations)
    return {
        "players": rows,
        "gain_rate": None if slope is None else slope.value,
        "gain_rate_stderr": None if slope is None else slope.stderr,
    }


def players_basis(evaluations: Sequence[PlayersEvaluation]) -> str:
    """What the deviator knows, what was left out, and the rate at which the gain falls, in words."""
    first = evaluations[0]
    words = [f"the player who deviates knows {_KNOWS[first.deviator]}"]
    if first.deviator != "full":
        below = "" if first.neglected else ", hence from below"
        words.append(f"gains: of a response learned on other games{below}; ± one standard error")
    if first.neglected:
        words.append(f"neglected, of order 1/N: {', '.join(first.neglected)}")
    slope = gain_rate(evaluations)
    return "; ".join([*words, *([] if slope is None else [_rate(slope)])])


def draw_players(title: str, evaluations: Sequence[PlayersEvaluation]) -> Picture:
    """Draw the return and the gain of one player who deviates against N, with their values in the mean field."""
    evaluations = sorted(evaluations, key=lambda evaluation: evaluation.num_players)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_returns(left, evaluations)
        _draw_gains(right, evaluations)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlabel("players N")
            axes.grid(color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.legend(fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return picture("players", "The policy in games of N players.", figure)


def _draw_returns(axes: Axes, evaluations: Sequence[PlayersEvaluation]) -> None:
    level = evaluations[-1].mean_field_return
    axes.axhline(level, color=GREY, linestyle="--", linewidth=1.4, label=f"in the mean field: {level:.4g}")
    _bars(axes, evaluations, [evaluation.mean_return for evaluation in evaluations], "all N play the policy")
    axes.set_ylabel("return of a player")
    axes.set_title("The return approaches that of the mean field")


def _draw_gains(axes: Axes, evaluations: Sequence[PlayersEvaluation]) -> None:
    """Draw the gains on a logarithmic scale; a label names those that are zero or, by chance, below."""
    shown = [evaluation for evaluation in evaluations if evaluation.gain.value > 0]
    level, slope = evaluations[-1].mean_field_gain, gain_rate(evaluations)
    if shown:
        _bars(axes, shown, [evaluation.gain for evaluation in shown], f"knows {_KNOWS[evaluations[0].deviator]}")
        axes.set_yscale("log")
    least = min((evaluation.gain.value for evaluation in shown), default=0)
    if level > 0.1 * least > 0:  # else far below what is shown
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.4, label=f"in the mean field: {level:.4g}")
    if slope is not None:
        fitted = [evaluation for evaluation in evaluations if is_fitted(evaluation)]
        sizes = np.array([evaluation.num_players for evaluation in fitted], float)
        centre = np.mean([np.log(evaluation.gain.value - level) for evaluation in fitted]) - slope.value * np.mean(
            np.log(sizes)
        )
        sizes = np.geomspace(sizes[0], sizes[-1])
        drawn = level + np.exp(centre) * sizes**slope.value
        axes.plot(sizes, drawn, color=COLOURS[1], linewidth=1.2, label=_rate(slope))
    if missing := [str(evaluation.num_players) for evaluation in evaluations if evaluation.gain.value <= 0]:
        axes.plot([], [], " ", label=f"no gain found at N = {', '.join(missing)}")
    axes.set_ylabel("gain of one player (units of the return)")
    axes.set_title("What one player gains who deviates")


def _bars(axes: Axes, evaluations: Sequence[PlayersEvaluation], estimates: Sequence[Estimate], words: str) -> None:
    """Draw estimates with their 95 % confidence intervals."""
    sizes = [evaluation.num_players for evaluation in evaluations]
    values = np.array([estimate.value for estimate in estimates])
    low, high = np.array([estimate.interval for estimate in estimates]).T
    label = f"{words} (bars: 95 %)" if np.any(high > low) else words
    axes.errorbar(
        sizes, values, yerr=[values - low, high - values], color=COLOURS[0], marker="o", markersize=4, linestyle="",
        capsize=2, elinewidth=1.2, label=label,
    )  # fmt: skip


def _rate(slope: Estimate) -> str:
    return f"gain less its limit ∝ N^({slope.value:.3f} ± {slope.stderr:.2g})"
