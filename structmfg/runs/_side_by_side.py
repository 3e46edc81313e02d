"""Several runs on one page: what they reached, the settings in which they differ, their curves and quantities."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structmfg._checks import check_kind
from structmfg._pages import COLOURS, LINES, STYLE, Picture, number, page, picture
from structmfg._text import display_name
from structmfg.reports import KINDS, trajectories
from structmfg.runs._differences import differing, setting_groups
from structmfg.runs._load import Run
from structmfg.runs._metrics import Curve, read_curve
from structmfg.runs._settings import Settings

_MAX_POINTS = 1000  # of a line
_MAX_QUANTITIES, _MAX_COLUMNS, _MAX_GAMES = 4, 6, 3  # that are drawn
_MARKERS = "osD^vX"


def side_by_side(runs: Sequence[Run]) -> str:
    """One HTML page that puts runs beside each other; it needs nothing else.

    It has a table of what they reached, a table of the settings in which they differ, their learning curves, and the
    aggregate quantities that at least two of the games share, along the noise paths that their reports show. These
    are computed anew from the policies, which takes some seconds a run.

    Args:
        runs: Two runs or more, as `load_run` returns them, of any games and solvers.

    Returns:
        The page. Its figures are of at most 6 runs where there is a column for each, and of at most 4 quantities.

    Raises:
        ValueError: There are fewer than two runs, one is no `Run`, or the metrics of one are damaged.
    """
    runs = list(runs)
    for run in runs:
        check_kind("a run", run, Run)
    if len(runs) < 2:
        raise ValueError(f"side_by_side needs at least two runs, but was given {len(runs)}")
    names = [_name(place, run.settings) for place, run in enumerate(runs, 1)]
    curves = [read_curve(run.path) for run in runs]
    with mpl.rc_context(STYLE):
        pictures = [*_curve_pictures(names, runs, curves), *_quantity_pictures(names, runs)]
    return page(
        "structmfg.runs",
        "side_by_side.html",
        pictures,
        rows=[_row(name, run) for name, run in zip(names, runs, strict=True)],
        kinds=KINDS,
        names=names,
        differing=differing([_all_settings(run.settings) for run in runs]),
    )


def _name(place: int, settings: Settings) -> str:
    return f"{place}: {settings.game}, {display_name(settings.solver)}, seed {settings.seed}"


def _row(name: str, run: Run) -> dict[str, Any]:
    """What the table of results says of a run."""
    result, settings = run.result, run.settings
    values, errors = (result.get(key, {}) for key in ("exploitability", "exploitability_stderr"))
    return {
        "name": name,
        "folder": str(run.path),
        "game": settings.game,
        "solver": display_name(settings.solver),
        "seed": settings.seed,
        "result": result.get("result", "interrupted before its report"),
        "exploitability": [_with_error(values.get(kind), errors.get(kind)) for kind in KINDS],
        "return": _with_error(result.get("return"), result.get("return_stderr")),
        "updates": result.get("iterations"),
        "seconds": result.get("train_seconds"),
    }


def _with_error(value: float | None, error: float | None) -> str:
    return f"{number(value)} ± {error:.2g}" if value is not None and error else number(value)


def _all_settings(settings: Settings) -> dict[str, Mapping[str, Any]]:
    names = ("game", "solver", "preset", "seed", "precision")
    run = {name: getattr(settings, name) for name in names}
    return {"Run": run, **setting_groups(settings), "Versions": settings.versions}


# Learning curves.


def _curve_pictures(names: Sequence[str], runs: Sequence[Run], curves: Sequence[Curve | None]) -> list[Picture]:
    """The exploitability of all runs over the training time, and the return, in a panel for every game."""
    games = list(dict.fromkeys(run.settings.game for run in runs))[:_MAX_GAMES]
    panels = 1 + len(games)
    figure = Figure(figsize=(4.6 * min(panels, 2) + 0.6, 3.7 * -(-panels // 2) + 0.3 * len(runs)), layout="constrained")
    first, *others = figure.subplots(-(-panels // 2), 2, squeeze=False).flat
    said = []
    for place, (name, run, curve) in enumerate(zip(names, runs, curves, strict=True)):
        style = _style(place)
        kind = run.settings.own_kind
        points = np.zeros((0, 2)) if curve is None else curve.exploitability.get(kind, np.zeros((0, 2)))
        if len(points):
            said.append(f"{name}: {kind} exploitability {points[-1, 1]:.4g} after {points[-1, 0]:.4g} s.")
        first.plot(*_thinned(points[points[:, 1] > 0]).T, **style, label=f"{name} ({kind.replace('_', '-')})")
        if curve is not None and run.settings.game in games:
            axes = others[games.index(run.settings.game)]
            axes.plot(*_thinned(curve.returns).T, **style)
    first.set_yscale("log")
    first.set_title("Exploitability (units of the return)")
    for game, axes in zip(games, others, strict=False):
        axes.set_title(f"Return in {game}")
    for axes in (first, *others[: len(games)]):
        axes.set_xlabel("seconds of training")
        axes.grid(color="#e3e6ea", linewidth=0.8)
    for axes in others[len(games) :]:
        axes.set_visible(False)
    figure.legend(loc="outside lower left", fontsize=9)
    caption = (
        "Learning curves over the time of training. Look at which line is lowest at the time that you have. Kinds of "
        "exploitability cannot be compared with each other, and neither can those of different games."
    )
    return [picture("curves", caption, figure, " ".join(said))]


def _style(place: int) -> dict[str, Any]:
    """How the line of a run is drawn, in colours and without."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": LINES[place % len(LINES)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "markersize": 4,
        "markevery": 0.12,
        "linewidth": 1.5,
    }


def _thinned(points: np.ndarray) -> np.ndarray:
    """At most so many of the points as a line needs, evenly, with both ends."""
    kept = np.linspace(0, max(len(points) - 1, 0), min(len(points), _MAX_POINTS)).round().astype(int)
    return points[kept]


# Quantities.


def _quantity_pictures(names: Sequence[str], runs: Sequence[Run]) -> list[Picture]:
    """The quantities that runs share, a row for each, a column for every run; none where they share none."""
    drawn = min(len(runs), _MAX_COLUMNS)
    shown = [trajectories(run.game, run.policy) for run in runs[:drawn]]
    counts: dict[str, int] = {}
    for each in shown:
        for name in each.quantities:
            counts[name] = counts.get(name, 0) + 1
    shared = [name for name, count in counts.items() if count > 1][:_MAX_QUANTITIES]
    if not shared:
        return []
    figure = Figure(figsize=(3.4 * drawn + 0.6, 2.7 * len(shared) + 0.9), layout="constrained")
    panels = figure.subplots(len(shared), drawn, sharey="row", squeeze=False)
    said = []
    for row, column, axes in _cells(panels):
        quantity, each = shared[row], shown[column]
        if quantity not in each.quantities:
            axes.set_visible(False)
            continue
        for i, (label, line) in enumerate(zip(each.labels, each.quantities[quantity], strict=True)):
            axes.plot(line, color=COLOURS[i % len(COLOURS)], linestyle=LINES[i % len(LINES)], label=label)
            said.append(f"{names[column]}, {quantity}, {label}: {line[0]:.4g} at first, {line[-1]:.4g} at the end.")
        axes.set_title(names[column] if row == 0 else "", fontsize=9)
        axes.set_ylabel(quantity if column == 0 else "")
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_xlabel("time (steps)")
        if row == 0:
            axes.legend(fontsize=7)
    left_out = f" Of {len(runs)} runs the first {drawn} are drawn." if drawn < len(runs) else ""
    caption = (
        "Quantities that the games share, by noise path. Each row has one scale: look at where the lines of a run lie "
        f"higher, part earlier or end elsewhere than those of another.{left_out}"
    )
    return [picture("quantities", caption, figure, " ".join(said))]


def _cells(panels: np.ndarray) -> Iterator[tuple[int, int, Axes]]:
    """Every panel with its row and column."""
    for (row, column), axes in np.ndenumerate(panels):
        yield row, column, axes
