"""The exact solvers against the classical iterations, floors, a closed form, and meshes.

This prints tables of the following, writes exact.json and draws figures:

- `linear_quadratic`: the exploitability of the exact solver and of the classical iterations by steps and by seconds;
  for every family the best of a few learning rates or dampings (the table has all); and the clairvoyant floors.
- `beach_bar` and `beach_bar_crowded`: the return at the exact equilibrium, and the clairvoyant floor over all paths.
- `carmona_fouque_sun`: the equilibrium's control and variance against the closed form as the time step is refined, and
  how far the control depends on the common noise, which in the closed form it does not.
- `crowd_modelling`: the exploitability of every iteration after 10 and 100 steps.
- `equal_seconds`: what every solver reaches in the same time, on four games, at the best of a few settings.
- the master equation of a small congestion game: how its values converge as the mesh is refined.

Exploitability is non-anticipative unless it is called clairvoyant. Every step is followed by a certificate, whose time
counts (the exact solver's are rarer where agents interact through the whole mean field). Seconds of training are
without compilation, total seconds with it and with whatever else a solve does.

    python -m structmfg.benchmarks.exact --quick
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_pictures, write_results
from structmfg.benchmarks.exact._closed_form import closed_form
from structmfg.benchmarks.exact._congestion_game import convergence
from structmfg.benchmarks.exact._figures import figures
from structmfg.benchmarks.exact._measure import Row, after, best, measure, thinned
from structmfg.benchmarks.exact._rock_paper_scissors import OneRound
from structmfg.benchmarks.exact._tables import tables
from structmfg.evaluation import exploitability
from structmfg.games import Game, make
from structmfg.solvers import TreeSolver
from structmfg.solvers.exact import (
    AcceleratedMirrorDescent,
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OccupationInclusion,
    OccupationMeasureOptimisation,
    OnlineMirrorDescent,
    Parameterisation,
    PolicyIteration,
    PriorDescent,
    floor,
)

Families = Mapping[str, Mapping[str, TreeSolver]]
PARTS = ("linear_quadratic", "beach_bar", "carmona_fouque_sun", "crowd_modelling", "equal_seconds", "master_equation")

_RATES = (0.1, 1.0, 10.0, 100.0)
_DAMPINGS = (0.1, 0.5)
_TEMPERATURES = (0.01, 0.1, 1.0)
_PARAMETERISATIONS: tuple[Parameterisation, ...] = ("projection", "softmax")
_SMALL_RATES = (0.003, 0.03, 0.3)
_MOST_STEPS = 10**6  # the clock ends before


def families(rates: Sequence[float] = _RATES, dampings: Sequence[float] = _DAMPINGS) -> Families:
    """The best known classical iterations, by name and by the value of their main parameter."""
    return {
        "damped best responses": {f"damping {x:g}": FixedPoint(damping=x) for x in dampings},
        "fictitious play": {"": FictitiousPlay()},
        "online mirror descent": {f"rate {x:g}": OnlineMirrorDescent(learning_rate=x) for x in rates},
        "Munchausen": {f"rate {x:g}": MunchausenMirrorDescent(learning_rate=x) for x in rates},
    }


def all_families() -> Families:
    """All classical iterations."""
    return {
        "best responses": {"undamped": FixedPoint()},
        **families(),
        "prior descent": {f"temperature {x:g}": PriorDescent(temperature=x) for x in _TEMPERATURES},
        "policy iteration": {"": PolicyIteration()},
    }


def families_on_a_clock() -> Families:
    """All iterations, with fewer settings, and the exact solver."""
    return {
        "exact": {"": ExactEquilibrium(tolerance=1e-12)},
        **all_families(),
        "mirror descent, adaptive": {"": OnlineMirrorDescent(learning_rate=0.1, adaptive=True)},
        "mirror descent, accelerated": {"": AcceleratedMirrorDescent(tolerance=1e-12)},
        "occupation inclusion": {f"rate {x:g}": OccupationInclusion(learning_rate=x) for x in _SMALL_RATES},
        "MF-OMO": {
            f"{how}, rate {x:g}": OccupationMeasureOptimisation(learning_rate=x, parameterisation=how)
            for how in _PARAMETERISATIONS
            for x in _SMALL_RATES
        },
    }


def equal_seconds(seconds: float) -> list[Row]:
    """For every game and family, the setting that is lowest after so many seconds without compilation."""
    games = {"crowd_modelling": make("crowd_modelling"), "left_right": make("left_right")}
    games["linear_quadratic"] = make("linear_quadratic", num_states=21, horizon=10)
    games["one round of rock, paper, scissors"] = OneRound()
    rows = []
    for name, game in games.items():
        measured = [
            {"solver": family, "setting": setting}
            | measure(game, solver, max_steps=_MOST_STEPS, max_seconds=seconds)[1]
            for family, settings in families_on_a_clock().items()
            for setting, solver in settings.items()
        ]
        for row in best(measured):
            least = min((value for _, value in row["curve"]), default=row["exploitability"])
            rows.append({"game": name, **row, "least": least, "curve": thinned(row["curve"])})
    return rows


def compare(
    game: Game,
    others: Families,
    *,
    max_steps: int,
    at: Sequence[int],
    tolerances: Sequence[float] = (1e-4, 1e-6),
) -> dict[str, Any]:
    """Measure the exact solver to every tolerance, and every iteration of every family."""
    exact = []
    for tolerance in tolerances:
        row = measure(game, ExactEquilibrium(tolerance=tolerance), max_steps=max_steps)[1]
        exact.append({"solver": "exact", "setting": f"tolerance {tolerance:g}", "tolerance": tolerance, **row})
    rows = []
    for name, family in others.items():
        for setting, solver in family.items():
            row = {"solver": name, "setting": setting, **measure(game, solver, max_steps=max_steps)[1]}
            rows.append(row)
    chosen = best(rows)
    for row in rows:
        row["best"] = row in chosen
    for row in [*exact, *rows]:
        row |= {f"after_{steps}": after(row["curve"], steps) for steps in at}
        for steps in at:  # the exact solver's first certificate may come later
            if row in exact and row[f"after_{steps}"] is None and row["result"] == "completed":
                shorter = measure(game, ExactEquilibrium(tolerance=row["tolerance"]), max_steps=steps)[1]
                row[f"after_{steps}"] = shorter["exploitability"]
        row["steps_to_zero"] = next((step for step, value in row["curve"] if value == 0), None)
        row["curve"] = thinned(row["curve"])
    return {"max_steps": max_steps, "at": list(at), "exact": exact, "others": rows}


def floors(game: Game, *, tolerance: float = 1e-4, max_steps: int = 2000) -> list[Row]:
    """The clairvoyant exploitability at the exact equilibrium with full and with public information."""
    rows = []
    for information in ("full", "public"):
        began = time.perf_counter()
        lower = floor(game, information=information, tolerance=tolerance, max_steps=max_steps)
        seconds = time.perf_counter() - began
        rows.append(
            {"information": information, "floor": lower.value, "gap": lower.gap, "result": lower.result.name}
            | {"total_seconds": seconds}
        )
    return rows


def optimum(name: str, *, tolerance: float = 1e-4, max_steps: int = 4000, **parameters: Any) -> Row:
    """The exact equilibrium of a game with full information, and its clairvoyant exploitability over all paths."""
    game = make(name, **parameters)
    solution, row = measure(game, ExactEquilibrium(tolerance=tolerance), max_steps=max_steps)
    paths = game.scenarios()
    assert paths is not None
    row |= {"paths": paths.num_paths, "floor": exploitability(game, solution.policy).value, "tolerance": tolerance}
    return {"game": name, **row, "curve": thinned(row["curve"])}


def part(name: str, quick: bool) -> Any:
    """Measure one part."""
    if name == "linear_quadratic":
        game, others = make("linear_quadratic"), families((1.0, 100.0), (0.5,)) if quick else families()
        compared = compare(game, others, max_steps=400 if quick else 2000, at=(400,) if quick else (400, 2000))
        return {**compared, "floors": floors(game)}
    if name == "beach_bar":
        return [optimum("beach_bar"), optimum("beach_bar_crowded", tolerance=1e-3 if quick else 1e-4)]
    if name == "carmona_fouque_sun":
        return closed_form((8, 16, 32) if quick else (8, 16, 32, 64))
    if name == "crowd_modelling":
        return compare(make(name), all_families(), max_steps=100, at=(10, 100), tolerances=(0.0,))
    if name == "equal_seconds":
        return equal_seconds(0.5 if quick else 3.0)
    meshes = {2: (8, 16, 32, 64), 3: (4, 8, 16)} if quick else {2: (8, 16, 32, 64, 128, 256), 3: (4, 8, 16, 32, 64)}
    return {size: convergence(size, mesh) for size, mesh in meshes.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and settings, coarser grids")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args(arguments)
    load, result = os.getloadavg(), {}
    with output_folder(options.out, "exact") as folder:
        for name in options.parts:
            result[name] = part(name, options.quick)
            print(*tables({name: result[name]}), sep="\n\n", end="\n\n", flush=True)
        write_pictures(folder, figures(result))
        write_results(folder, "exact", load=load, quick=options.quick, **result)


if __name__ == "__main__":
    main()
