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


def players_object(found: Sequence[PlayersEvaluation]) -> dict[str, Any]:
    """By N, and the slope of `gain_rate` with its standard error; null where the gains allow no fit."""
    rows = [
        {
            "num_players": one.num_players,
            "return": one.mean_return.value,
            "return_stderr": one.mean_return.stderr,
            "mean_field_return": one.mean_field_return,
            "gain": one.gain.value,
            "gain_stderr": one.gain.stderr,
            "mean_field_gain": one.mean_field_gain,
            "deviator": one.deviator,
            "games": one.num_games,
            "neglected": list(one.neglected),
        }
        for one in found
    ]
    slope = gain_rate(found)
    return {
        "players": rows,
        "gain_rate": None if slope is None else slope.value,
        "gain_rate_stderr": None if slope is None else slope.stderr,
    }


def players_basis(found: Sequence[PlayersEvaluation]) -> str:
    """What the deviator knows, what was left out, and the rate."""
    first = found[0]
    words = [f"who deviates knows {_KNOWS[first.deviator]}"]
    if first.deviator != "full":
        below = "" if first.neglected else ", hence from below"
        words.append(f"gains: of a response learned on other games{below}; ± one standard error")
    if first.neglected:
        words.append(f"neglected, of order 1/N: {', '.join(first.neglected)}")
    slope = gain_rate(found)
    return "; ".join([*words, *([] if slope is None else [_rate(slope)])])


def draw_players(title: str, found: Sequence[PlayersEvaluation]) -> Picture:
    """The return, and the gain of one player who deviates, against N, with what they are in the mean field."""
    found = sorted(found, key=lambda one: one.num_players)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_returns(left, found)
        _draw_gains(right, found)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlabel("players N")
            axes.grid(color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.legend(fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return picture("players", "The policy in games of N players.", figure)


def _draw_returns(axes: Axes, found: Sequence[PlayersEvaluation]) -> None:
    level = found[-1].mean_field_return
    axes.axhline(level, color=GREY, linestyle="--", linewidth=1.4, label=f"in the mean field: {level:.4g}")
    _bars(axes, found, [one.mean_return for one in found], "all N play the policy")
    axes.set_ylabel("return of a player")
    axes.set_title("The return approaches that of the mean field")


def _draw_gains(axes: Axes, found: Sequence[PlayersEvaluation]) -> None:
    """Logarithmic, but for gains that are zero or, by chance, below: these are told of in words."""
    shown = [one for one in found if one.gain.value > 0]
    level, slope = found[-1].mean_field_gain, gain_rate(found)
    if shown:
        _bars(axes, shown, [one.gain for one in shown], f"knows {_KNOWS[found[0].deviator]}")
        axes.set_yscale("log")
    least = min((one.gain.value for one in shown), default=0)
    if level > 0.1 * least > 0:  # else far below what is shown
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.4, label=f"in the mean field: {level:.4g}")
    if slope is not None:
        fitted = [one for one in found if is_fitted(one)]
        sizes = np.array([one.num_players for one in fitted], float)
        centre = np.mean([np.log(one.gain.value - level) for one in fitted]) - slope.value * np.mean(np.log(sizes))
        sizes = np.geomspace(sizes[0], sizes[-1])
        drawn = level + np.exp(centre) * sizes**slope.value
        axes.plot(sizes, drawn, color=COLOURS[1], linewidth=1.2, label=_rate(slope))
    if missing := [str(one.num_players) for one in found if one.gain.value <= 0]:
        axes.plot([], [], " ", label=f"no gain found at N = {', '.join(missing)}")
    axes.set_ylabel("gain of one player (units of the return)")
    axes.set_title("What one player gains who deviates")


def _bars(axes: Axes, found: Sequence[PlayersEvaluation], estimates: Sequence[Estimate], words: str) -> None:
    """Estimates with their 95 % confidence intervals."""
    values = np.array([estimate.value for estimate in estimates])
    low, high = np.array([estimate.interval for estimate in estimates]).T
    label = f"{words} (bars: 95 %)" if np.any(high > low) else words
    axes.errorbar(
        [one.num_players for one in found], values, yerr=[values - low, high - values], color=COLOURS[0], marker="o",
        markersize=4, linestyle="", capsize=2, elinewidth=1.2, label=label,
    )  # fmt: skip


def _rate(slope: Estimate) -> str:
    return f"gain less its limit ∝ N^({slope.value:.3f} ± {slope.stderr:.2g})"
