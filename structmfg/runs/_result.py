"""The result of a run as one JSON object: what `--json` prints and result.json holds."""

from collections.abc import Mapping
from typing import Any

import jax

from structmfg.evaluation import Estimate
from structmfg.reports import Anchors, Evaluation
from structmfg.runs._settings import Settings
from structmfg.solvers import Solution


def result_object(
    settings: Settings, solution: Solution, evaluation: Evaluation, beside: Anchors, *, out: str, report: str
) -> dict[str, Any]:
    """What was reached, with the exploitabilities by kind (null where undefined), and what to hold them against."""
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
        "certificate": certificate(settings, solution),
        "rollbacks": stats.get("rollbacks", []),
        "message": _message(solution),
        "anchors": anchors_object(beside),
        "memory": stats.get("memory"),
        "precision": settings.precision,
        "device": jax.devices()[0].platform,
        "versions": settings.versions,
        "out": out,
        "report": report,
    }


def _message(solution: Solution) -> str:
    stats = solution.stats
    rollbacks = ", ".join(str(step) for step in stats.get("rollbacks", ()))
    back = f"Numbers were not finite: stepped back at update {rollbacks}, each time to a quarter of the learning rates."
    failure = stats["failure"] and f"{stats['failure']}."
    return " ".join(part for part in (solution.result.value, failure, back if rollbacks else None) if part)


def certificate(settings: Settings, solution: Solution) -> dict[str, Any] | None:
    """The solver's own exploitability of its policy, with the kind and the tolerance; null where there is none."""
    if "exploitability" not in solution.stats:
        return None
    tolerance = settings.hyper_parameters["tolerance"]
    return {"kind": settings.own_kind, "exploitability": solution.stats["exploitability"], "tolerance": tolerance}


def measures(evaluation: Evaluation) -> dict[str, Any]:
    """The return and the exploitabilities, each with its standard error (zero where exact)."""
    return {
        "return": evaluation.mean_return.value,
        "return_stderr": evaluation.mean_return.stderr,
        "exploitability": _values(evaluation.exploitability),
        "exploitability_stderr": {
            kind: estimate.stderr if estimate else None for kind, estimate in evaluation.exploitability.items()
        },
        "evaluation": {"noise_paths": evaluation.num_paths, "exact": evaluation.exact, "seed": evaluation.seed},
    }


def anchors_object(beside: Anchors) -> dict[str, Any]:
    """By kind the exploitabilities of the uniform policy and of the exact equilibrium (the floor), the paper's figure.

    Null where unknown.
    """
    return {
        "uniform": _values(beside.uniform),
        "floor": beside.floor,
        "floor_information": beside.information,
        "paper": {"clairvoyant": beside.paper.exploitability, "train_seconds": beside.paper.seconds}
        if beside.paper
        else None,
    }


def _values(estimates: Mapping[str, Estimate | None]) -> dict[str, float | None]:
    return {kind: estimate.value if estimate else None for kind, estimate in estimates.items()}
