"""The result of a run as one JSON object: what `--json` prints and result.json holds."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from structmfg.evaluation import Estimate, ExploitabilityBounds
from structmfg.reports import Evaluation, ReferenceValues
from structmfg.runs._settings import Settings
from structmfg.solvers import Solution


def result_object(
    settings: Settings,
    solution: Solution,
    evaluation: Evaluation,
    reference: ReferenceValues,
    *,
    out: str,
    report: str,
) -> dict[str, Any]:
    """The result of a run: what was reached, its exploitability by kind, and the values to compare it with.

    Args:
        settings: What the solve was asked for.
        solution: What the solver returned.
        evaluation: What was measured of its policy.
        reference: What to compare that with.
        out: The folder of the run.
        report: The path of its report.
    """
    stats = solution.stats
    return {
        "game": settings.game,
        "solver": settings.solver,
        "preset": settings.preset,
        "seed": settings.seed,
        "iterations": stats["steps"],
        "train_seconds": stats["train_seconds"],
        "compile_seconds": stats["compile_seconds"],
        **measures(evaluation),
        "result": solution.result.name,
        "certificate": _certificate(settings, solution),
        "retreats": stats.get("rollbacks", []),
        **({"excesses": _excesses(stats)} if "excesses" in stats else {}),
        "message": _message(solution),
        "anchors": reference_object(reference),
        "memory": stats.get("memory"),
        "precision": settings.precision,
        "device": jax.devices()[0].platform,
        "versions": settings.versions,
        "out": out,
        "report": report,
    }


def _message(solution: Solution) -> str:
    stats = solution.stats
    steps = ", ".join(str(step) for step in stats.get("rollbacks", ()))
    back = f"Numbers were not finite: stepped back at update {steps}, each time to a quarter of the learning rates."
    failure = stats["failure"] and f"{stats['failure']}."
    parts = (solution.result.value, failure, back if steps else None, _last_excess(stats))
    return " ".join(part for part in parts if part)


def _excesses(stats: Mapping[str, Any]) -> list[tuple[int, float | None]]:
    """The steps at which the excess was measured, with the excess; None where it could not be."""
    return [(step, value if math.isfinite(value) else None) for step, value in stats["excesses"]]


def _last_excess(stats: Mapping[str, Any]) -> str | None:
    if reason := stats.get("no_excess"):
        return f"The excess could not be measured: {reason}."
    return f"The last excess measured is {stats['excesses'][-1][1]:.4g}." if stats.get("excesses") else None


def _certificate(settings: Settings, solution: Solution) -> dict[str, Any] | None:
    """The solver's own exploitability of its policy, with kind and tolerance; None where it gives none."""
    if "exploitability" not in solution.stats:
        return None
    tolerance = settings.hyper_parameters["tolerance"]
    certificate = {"kind": settings.own_kind, "exploitability": solution.stats["exploitability"]}
    others = {"residual": "residual", "exploitability_by_population": "by_population"}
    told = {name: solution.stats[stat] for stat, name in others.items() if stat in solution.stats}
    return {**certificate, **told, "tolerance": tolerance}


def measures(evaluation: Evaluation) -> dict[str, Any]:
    """Return and exploitability as in result.json, with their standard errors: 0 where exact, None where undefined."""
    errors = {kind: estimate.stderr if estimate else None for kind, estimate in evaluation.exploitability.items()}
    return {
        "return": evaluation.mean_return.value,
        "return_stderr": evaluation.mean_return.stderr,
        "exploitability": _values(evaluation.exploitability),
        "exploitability_stderr": errors,
        "evaluation": {"noise_paths": evaluation.num_paths, "exact": evaluation.exact, "seed": evaluation.seed},
        **({"populations": _by_population(evaluation)} if evaluation.populations else {}),
        **({"bounds": bounds_object(evaluation.bounds)} if evaluation.bounds else {}),
        **({"no_bounds": evaluation.no_bounds} if evaluation.no_bounds else {}),
    }


def bounds_object(bounds: ExploitabilityBounds) -> dict[str, Any]:
    """Bounds of the non-anticipative exploitability as in result.json, with what foresight is worth at least.

    Those of `public` are told where they are known and differ.
    """
    estimates = {name: getattr(bounds, name) for name in ("lower", "upper", "foresight")}
    if bounds.public and not bounds.reveals_noise:
        estimates.update(public_lower=bounds.public[0], public_upper=bounds.public[1])
    return {
        **{name: estimate.value for name, estimate in estimates.items()},
        **{f"{name}_stderr": estimate.stderr for name, estimate in estimates.items()},
        "interval": list(bounds.interval),
        "informative": bounds.informative,
        "for_public": bounds.reveals_noise,
        "loss_over_time": bounds.losses.tolist(),
        "training_paths": bounds.num_training_paths,
        "features": bounds.num_features,
    }


def _by_population(evaluation: Evaluation) -> dict[str, Any]:
    """Mass, return and exploitability by kind of each of several populations."""
    return {
        name: {
            "mass": each.mass,
            "return": each.mean_return.value,
            "return_stderr": each.mean_return.stderr,
            "exploitability": {kind: estimate.value for kind, estimate in each.exploitability.items()},
            "exploitability_stderr": {kind: estimate.stderr for kind, estimate in each.exploitability.items()},
        }
        for name, each in evaluation.populations.items()
    }


def reference_object(reference: ReferenceValues) -> dict[str, Any]:
    """The reference values as in result.json, under "anchors": None where a value is not known."""
    paper = reference.paper
    return {
        "uniform": _values(reference.uniform),
        "floor": reference.floor,
        "floor_information": reference.information,
        "missing": dict(reference.missing),
        "paper": {"clairvoyant": paper.exploitability, "train_seconds": paper.seconds} if paper else None,
    }


def _values(estimates: Mapping[str, Estimate | None]) -> dict[str, float | None]:
    return {kind: estimate.value if estimate else None for kind, estimate in estimates.items()}
