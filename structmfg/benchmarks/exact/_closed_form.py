"""The exact equilibrium of the game of Carmona, Fouque and Sun against its closed form in continuous time."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._statistics import log_log_slope
from structmfg.benchmarks.exact._measure import Row, measure
from structmfg.evaluation import rollout
from structmfg.games import CarmonaFouqueSun
from structmfg.policies import Policy
from structmfg.solvers.exact import ExactEquilibrium

_POPULATED = 1e-3  # maxima are over cells with at least this share of the fullest cell's mass


def closed_form(sizes: Sequence[int], *, tolerance: float = 1e-6, **parameters: Any) -> dict[str, Any]:
    """Errors by number of time steps, and the order fitted to each: the slope against the time step, in logarithms."""
    rows = [against_closed_form(CarmonaFouqueSun(num_steps=size, **parameters), tolerance) for size in sizes]
    names = ("rms_start", "max_start", "rms_middle", "max_middle", "variance")
    orders = {name: log_log_slope((1 / row["num_steps"], row[name]) for row in rows if row[name]) for name in names}
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
        by_path = [tuple(map(np.asarray, run(game, solution.policy, noise))) for noise in scenarios.noise]
    actions, mean_fields = (np.array(part) for part in zip(*by_path, strict=True))
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
    """Tables (paths, T, S) with cells counted from the mean."""
    return np.array(
        [[np.roll(row, -by) for row, by in zip(*path, strict=True)] for path in zip(tables, offsets, strict=True)]
    )


def _rms(errors: np.ndarray, mean_fields: np.ndarray) -> float:
    """The largest over paths (and times) of the population's root mean square."""
    return float(np.sqrt(np.sum(mean_fields * errors**2, axis=-1)).max())
