"""What the exact solvers reach, and how soon: against the classical iterations, floors, a closed form, and meshes.

This prints as tables, writes to exact.json and draws

- `linear_quadratic`: the exploitability of the exact solver and of the classical iterations by steps and by seconds;
  of every family the best of a few learning rates or dampings, all of which are tabled; and the clairvoyant floors.
- `beach_bar` and `beach_bar_crowded`: the return at the exact equilibrium, and the clairvoyant floor over all paths.
- `carmona_fouque_sun`: the equilibrium's control and variance against the closed form as the time step is refined, and
  how far the control depends on the common noise, which in the closed form it does not.
- `crowd_modelling`: the exploitability of every iteration after 10 and 100 steps.
- the master equation of a small congestion game: how its values converge as the mesh is refined.

Exploitability is non-anticipative unless it is called clairvoyant. Every step is followed by a certificate, whose time
counts (the exact solver's are rarer where agents interact through the whole mean field). Seconds of training are
without compilation, total seconds with it and with whatever else a solve does.

    python -m structmfg.benchmarks.exact --quick
"""

import argparse
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._files import drop_folder, new_folder, write_bytes, write_json
from structmfg.benchmarks._cases import exponent
from structmfg.benchmarks._machine import machine
from structmfg.benchmarks.exact._congestion_game import convergence
from structmfg.benchmarks.exact._figures import figures
from structmfg.benchmarks.exact._tables import tables
from structmfg.evaluation import exploitability, rollout
from structmfg.games import CarmonaFouqueSun, Game, make
from structmfg.policies import Policy
from structmfg.solvers import Solution, TreeSolver
from structmfg.solvers.exact import (
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
    floor,
)
from structmfg.solvers.loop import solve

Row = dict[str, Any]
Families = Mapping[str, Mapping[str, TreeSolver]]
PARTS = ("linear_quadratic", "beach_bar", "carmona_fouque_sun", "crowd_modelling", "master_equation")

_RATES = (0.1, 1.0, 10.0, 100.0)
_DAMPINGS = (0.1, 0.5)
_TEMPERATURES = (0.01, 0.1, 1.0)
_POPULATED = 1e-3  # of the fullest cell: what the maxima are taken over
_CURVE = 150  # points kept of a curve


def families(rates: Sequence[float] = _RATES, dampings: Sequence[float] = _DAMPINGS) -> Families:
    """The best known of the classical iterations, by name and by the value of the parameter that matters."""
    return {
        "damped best responses": {f"damping {x:g}": FixedPoint(damping=x) for x in dampings},
        "fictitious play": {"": FictitiousPlay()},
        "online mirror descent": {f"rate {x:g}": OnlineMirrorDescent(learning_rate=x) for x in rates},
        "Munchausen": {f"rate {x:g}": MunchausenMirrorDescent(learning_rate=x) for x in rates},
    }


def all_families() -> Families:
    """Every classical iteration."""
    return {
        "best responses": {"undamped": FixedPoint()},
        **families(),
        "prior descent": {f"temperature {x:g}": PriorDescent(temperature=x) for x in _TEMPERATURES},
        "policy iteration": {"": PolicyIteration()},
    }


def measure(
    game: Game, solver: TreeSolver, *, max_steps: int, max_seconds: float | None = None
) -> tuple[Solution, Row]:
    """One solve, and a row of its figures with the curve of (step, exploitability)."""
    began = time.perf_counter()
    solution = solve(game, solver, max_steps=max_steps, max_seconds=max_seconds, throw=False)
    total, stats = time.perf_counter() - began, solution.stats
    curve = list(zip(stats["certified"], stats["exploitabilities"], strict=True))
    return solution, {
        "result": solution.result.name,
        "steps": stats["steps"],
        "seconds": stats["train_seconds"],
        "total_seconds": total,
        "exploitability": stats["exploitability"],
        "return": stats["returns"][-1] if stats["returns"] else None,
        "curve": curve,
    }


def after(curve: Sequence[tuple[int, float]], steps: int) -> float | None:
    """The exploitability at a step, or at the last certificate before; None if the curve is over by then, or before."""
    if not curve or curve[-1][0] < steps:
        return None
    return next((value for step, value in reversed(curve) if step <= steps), None)


def thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points of a curve, about evenly in the logarithm of the step."""
    if len(curve) <= _CURVE:
        return list(curve)
    chosen = np.unique(np.geomspace(1, len(curve), _CURVE).astype(int)) - 1
    return [curve[i] for i in chosen]


def best(rows: Iterable[Row]) -> list[Row]:
    """Of every family the row that ends lowest; among equals the one that was there first."""

    def order(row: Row) -> tuple[float, int]:
        reached = row["exploitability"] if np.isfinite(row["exploitability"]) else np.inf
        return reached, next((step for step, value in row["curve"] if value <= reached), row["steps"])

    chosen: dict[str, Row] = {}
    for row in rows:
        if row["solver"] not in chosen or order(row) < order(chosen[row["solver"]]):
            chosen[row["solver"]] = row
    return list(chosen.values())


def compare(
    game: Game,
    others: Families,
    *,
    max_steps: int,
    at: Sequence[int],
    tolerances: Sequence[float] = (1e-4, 1e-6),
) -> dict[str, Any]:
    """The exact solver to every tolerance, and every iteration of every family for so many steps."""
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
        for steps in at:  # where the exact solver's first certificate comes later
            if row in exact and row[f"after_{steps}"] is None and row["result"] == "completed":
                found = measure(game, ExactEquilibrium(tolerance=row["tolerance"]), max_steps=steps)[1]
                row[f"after_{steps}"] = found["exploitability"]
        row["steps_to_zero"] = next((step for step, value in row["curve"] if value == 0), None)
        row["curve"] = thinned(row["curve"])
    return {"max_steps": max_steps, "at": list(at), "exact": exact, "others": rows}


def floors(game: Game, *, tolerance: float = 1e-4, max_steps: int = 2000) -> list[Row]:
    """The clairvoyant exploitability at the exact equilibrium with full and with public information."""
    rows = []
    for information in ("full", "public"):
        began = time.perf_counter()
        found = floor(game, information=information, tolerance=tolerance, max_steps=max_steps)
        seconds = time.perf_counter() - began
        rows.append(
            {"information": information, "floor": found.value, "gap": found.gap, "result": found.result.name}
            | {"total_seconds": seconds}
        )
    return rows


def optimum(name: str, *, tolerance: float = 1e-4, max_steps: int = 4000, **parameters: Any) -> Row:
    """The exact equilibrium of a game with full information, and what foresight is worth at it, over all paths."""
    game = make(name, **parameters)
    solution, row = measure(game, ExactEquilibrium(tolerance=tolerance), max_steps=max_steps)
    paths = game.scenarios()
    assert paths is not None
    row |= {"paths": paths.num_paths, "floor": exploitability(game, solution.policy).value, "tolerance": tolerance}
    return {"game": name, **row, "curve": thinned(row["curve"])}


# The closed form.


def closed_form(sizes: Sequence[int], *, tolerance: float = 1e-6, **parameters: Any) -> dict[str, Any]:
    """Errors by number of time steps, and the order fitted to each: the slope against the time step, in logarithms."""
    rows = [against_closed_form(CarmonaFouqueSun(num_steps=size, **parameters), tolerance) for size in sizes]
    names = ("rms_start", "max_start", "rms_middle", "max_middle", "variance")
    orders = {name: exponent((1 / row["num_steps"], row[name]) for row in rows if row[name]) for name in names}
    return {"rows": rows, "orders": orders}


def against_closed_form(game: CarmonaFouqueSun, tolerance: float = 1e-6) -> Row:
    """The exact equilibrium's mean control against (q + eta_t)(m - x), and its Var(X - m), over all noise paths.

    Root mean squares are over the population; maxima over cells with at least a thousandth of the fullest one's mass.
    `dependence` is the largest difference between noise paths of the control as a function of x - m, at any time, over
    the same cells; `dependence_rms` that over the population. Both should vanish with the tolerance, at any time step.
    """
    with jax.enable_x64(True):
        solution, row = measure(game, ExactEquilibrium(tolerance=tolerance), max_steps=2000)
        scenarios = game.scenarios()
        run = jax.jit(_along, static_argnums=0)
        found = [tuple(map(np.asarray, run(game, solution.policy, noise))) for noise in scenarios.noise]
    actions, mean_fields = (np.array(part) for part in zip(*found, strict=True))
    x, times = game.positions, game.time_step * np.arange(game.num_steps)
    means = mean_fields @ x
    distance = means[:, :-1, None] - x
    controls = actions * (game.spacing / game.time_step) - game.mean_reversion * distance
    errors = controls - (game.incentive + game.eta(times))[:, None] * distance
    here = mean_fields[:, :-1]
    populated = here > _POPULATED * here.max(-1, keepdims=True)
    middle = game.num_steps // 2
    variances = np.einsum("pts,pts->pt", mean_fields, (means[..., None] - x) ** 2)
    offsets = np.rint(means[:, :-1] / game.spacing).astype(int)
    centred = [_rolled(part, offsets) for part in (controls, here, populated)]
    difference = centred[0] - centred[0][:1]
    return {
        "num_steps": game.num_steps,
        "states": game.num_states,
        "actions": game.num_actions,
        **{name: row[name] for name in ("result", "exploitability", "steps", "seconds", "total_seconds")},
        "rms_start": _rms(errors[:, 0], here[:, 0]),
        "max_start": float(np.abs(errors[:, 0])[populated[:, 0]].max()),
        "rms_middle": _rms(errors[:, middle], here[:, middle]),
        "max_middle": float(np.abs(errors[:, middle])[populated[:, middle]].max()),
        "variance": float(np.abs(variances - variance(game, variances[0, 0])).max()),
        "dependence": float(np.abs(np.where(centred[2] & centred[2][:1], difference, 0)).max()),
        "dependence_rms": _rms(difference, centred[1]),
        "profile": {
            "distance": distance[0, 0][populated[0, 0]].tolist(),
            "control": controls[0, 0][populated[0, 0]].tolist(),
            "closed_form": (controls - errors)[0, 0][populated[0, 0]].tolist(),
        },
    }


def variance(game: CarmonaFouqueSun, start: float) -> np.ndarray:
    """Var(X - m) (T+1,) of the closed form from its value at 0, v' = -2 (a + q + eta) v + sigma^2 (1 - rho^2)."""
    finer = 200
    step = game.time_step / finer
    own = game.volatility**2 * (1 - game.correlation**2)
    values = [start]
    for eta in game.eta(step * (np.arange(game.num_steps * finer) + 0.5)):
        decay = -2 * (game.mean_reversion + game.incentive + eta)
        middle = values[-1] + step / 2 * (own + decay * values[-1])
        values.append(values[-1] + step * (own + decay * middle))
    return np.array(values[::finer])


def _along(game: CarmonaFouqueSun, policy: Policy, noise: Array) -> tuple[Array, Array]:
    """Mean displacements (T, S) and mean fields (T+1, S) on a noise path."""
    trajectory = rollout(game, policy, noise)
    return trajectory.policy @ jnp.asarray(game.actions, float), trajectory.aggregates.mean_field


def _rolled(tables: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Tables (paths, T, S) with their cells counted from the mean."""
    return np.array(
        [[np.roll(row, -by) for row, by in zip(*path, strict=True)] for path in zip(tables, offsets, strict=True)]
    )


def _rms(errors: np.ndarray, mean_fields: np.ndarray) -> float:
    """The largest over paths (and times) of the population's root mean square."""
    return float(np.sqrt(np.sum(mean_fields * errors**2, axis=-1)).max())


# All of it.


def part(name: str, quick: bool) -> Any:
    """All figures of one part."""
    if name == "linear_quadratic":
        game, others = make("linear_quadratic"), families((1.0, 100.0), (0.5,)) if quick else families()
        found = compare(game, others, max_steps=400 if quick else 2000, at=(400,) if quick else (400, 2000))
        return {**found, "floors": floors(game)}
    if name == "beach_bar":
        return [optimum("beach_bar"), optimum("beach_bar_crowded", tolerance=1e-3 if quick else 1e-4)]
    if name == "carmona_fouque_sun":
        return closed_form((8, 16, 32) if quick else (8, 16, 32, 64))
    if name == "crowd_modelling":
        return compare(make(name), all_families(), max_steps=100, at=(10, 100), tolerances=(0.0,))
    meshes = {2: (8, 16, 32, 64), 3: (4, 8, 16)} if quick else {2: (8, 16, 32, 64, 128, 256), 3: (4, 8, 16, 32, 64)}
    return {size: convergence(size, mesh) for size, mesh in meshes.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and settings, coarser grids")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", help="the folder to write to; a new one under runs/ unless given")
    given = parser.parse_args(arguments)
    folder = new_folder(given.out, "exact")
    about = {"format": 1, "machine": machine(), "load": os.getloadavg(), "quick": given.quick}
    result: dict[str, Any] = {}
    try:
        for name in given.parts:
            result[name] = part(name, given.quick)
            print(*tables({name: result[name]}), sep="\n\n", end="\n\n", flush=True)
    except BaseException:
        drop_folder(folder)
        raise
    for picture in figures(result):
        write_bytes(folder / f"{picture.name}.png", picture.png)
    write_json(folder / "exact.json", {**about, **result})
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
