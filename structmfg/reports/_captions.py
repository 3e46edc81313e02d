"""What is said of each figure: what to look at, and, for those who do not see it, its main numbers."""

from collections.abc import Sequence

import numpy as np

from structmfg.evaluation import ExploitabilityBounds, GainsOverTime
from structmfg.games import Game
from structmfg.reports._trajectories import Trajectories
from structmfg.reports._views import Axis, action_axis, levels, marginal, state_axes
from structmfg.solvers import Checkpoint

_SHOWS = {
    "exploitability": "Exploitability ({kind}) over the solve.",
    "mean_field": "The mean field over time, by noise path.",
    "quantities": "Aggregate quantities over time, by noise path.",
    "policy": "The policy at chosen times, by noise path.",
    "gains": "The gain of a best response ({kind}) for an agent in a state, by the time from which it is played.",
    "losses": "What the policy loses at every time, discounted to t = 0, and the sum of this up to every time.",
}
_LOOK_AT = {
    "exploitability": "Look at how far the line falls below the uniform policy, and at whether it has become level.",
    "mean_field": "Light is where many are. Look at where the population gathers, and at when the panels begin to "
    "differ: until then agents could not tell the noise paths apart, or they had no reason to act on it.",
    "quantities": "Look at when the lines part, which is when the common noise makes a difference.",
    "policy": "Look at the thick parts, where the population is, and at how they change with time.",
    "gains": "Look at light places: there the policy leaves most to be gained. Few or no agents may be there; the line "
    "at the top counts all agents where they are.",
    "losses": "Look at when the policy loses most. Losses are relative to action values fitted on sampled paths, so "
    "that their sum is near the exploitability, which lies between the bounds up to their errors.",
}
_FOR_EVER = {  # of a game that goes on for ever
    "mean_field": "The stationary mean field of the policy. Look at where the population is: it stays so for ever.",
    "policy": "The policy, which is the same at all times. Look at the thick parts, where the population is.",
}


def in_words(kind: str) -> str:
    """The name of a kind of exploitability in a sentence."""
    return kind.replace("_", "-")


def caption(game: Game, name: str, kind: str = "") -> str:
    """What a figure shows and what to look at, in the words of the game where it has some."""
    look = game.captions().get(name)
    if game.horizon is None and name in _FOR_EVER:
        return _FOR_EVER[name] if look is None else look
    return f"{_SHOWS[name].format(kind=in_words(kind))} {_LOOK_AT[name] if look is None else look}"


def exploitability_text(curve: Sequence[Checkpoint]) -> str:
    """The first and the last point of the exploitability."""
    known = [point for point in curve if np.isfinite(point.value)]
    if not known:
        return "No exploitability is known."
    first, last = known[0], known[-1]
    return f"It is {first.value:.4g} at update {first.step} and {last.value:.4g} at update {last.step}."


def mean_field_text(game: Game, shown: Trajectories) -> str:
    """Where the middle half of the population is at the start and at the end of every path, by factor."""
    axes, sentences = state_axes(game), []
    for i, label in enumerate(shown.labels):
        for factor, axis in enumerate(axes):
            mass = marginal(axes, shown.mean_field[i], factor)
            start, end = (_middle_half(axis, mass[time]) for time in (0, -1))
            who = "half of the population has" if axis.names is None else "the largest share has"
            sentences.append(f"{label}: {who} {axis.label} {start} at first, {end} at the end.")
    return " ".join(sentences)


def _middle_half(axis: Axis, mass: np.ndarray) -> str:
    """The quartiles of a distribution over the points of an axis, or the fullest of points with names, in words."""
    if not np.isfinite(mass).all() or mass.sum() <= 0:
        return "unknown"
    if axis.names is not None:
        return f"{axis.point(mass.argmax())} ({mass.max() / mass.sum():.2g})"
    below = np.cumsum(mass) / mass.sum()
    low, high = axis.coordinates[np.minimum(np.searchsorted(below, [0.25, 0.75]), len(mass) - 1)]
    return f"{low:.4g} to {high:.4g}"


def quantities_text(shown: Trajectories) -> str:
    """First and last value of every quantity on every path."""
    return " ".join(
        f"{name}, {label}: {line[0]:.4g} at first, {line[-1]:.4g} at the end."
        for name, lines in shown.quantities.items()
        for label, line in zip(shown.labels, lines, strict=True)
    )


def policy_text(game: Game, shown: Trajectories) -> str:
    """The mean action of the population at the start, half way, and before the last step, by path."""
    if game.horizon is None:
        mean = float(shown.mean_field[0, 0] @ shown.mean_action[0, 0])
        return f"{action_axis(game).label} over the population: {mean:.4g}."
    times = sorted({0, game.horizon // 2, max(game.horizon - 2, 0)})
    means = np.sum(shown.mean_field[:, times] * shown.mean_action[:, times], axis=-1)
    told = [
        f"{label}: {', '.join(f'{mean:.4g} at time {time}' for time, mean in zip(times, path, strict=True))}."
        for label, path in zip(shown.labels, means, strict=True)
    ]
    return f"{action_axis(game).label} over the population: {' '.join(told)}"


def gains_text(game: Game, gains: GainsOverTime) -> str:
    """The gain of the population at the start and in the middle, and the largest gain that is shown."""
    axes = state_axes(game)
    states = np.concatenate([level.states for level in levels(axes)])
    time, place = np.unravel_index(np.nanargmax(gains.by_state[:, states]), (game.horizon, len(states)))
    point = axes[0].point(place % len(axes[0].coordinates))
    middle = game.horizon // 2
    return (
        f"Over the population it is {gains.total[0]:.4g} at time 0 and {gains.total[middle]:.4g} at time {middle}. The "
        f"largest that is shown is {gains.by_state[time, states[place]]:.4g}, at time {time} and {axes[0].label} "
        f"{point}."
    )


def losses_text(bounds: ExploitabilityBounds) -> str:
    """The time of the largest loss, and until when half of all is lost."""
    sums = np.cumsum(bounds.losses)
    largest, half = int(np.argmax(bounds.losses)), int(np.searchsorted(sums, 0.5 * sums[-1]))
    return (
        f"The largest loss is {bounds.losses[largest]:.3g}, at time {largest}; half of all is lost up to time {half}. "
        f"The bounds are {bounds}."
    )
