"""The process of a case, `... -m structmfg.benchmarks.suite._worker CASE PLATFORM`: prints a JSON object for every row.

PLATFORM is that of the device that is to be measured, as JAX calls it.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

import jax

from structmfg._files import to_json
from structmfg.benchmarks.suite._bandwidth import copy_bandwidth
from structmfg.benchmarks.suite._cases import FAILED, NOT_RUN, OK, Case, NotRun, Row
from structmfg.benchmarks.suite._correctness import check_forms
from structmfg.benchmarks.suite._forms import operator_forms
from structmfg.benchmarks.suite._peers import peer_update
from structmfg.benchmarks.suite._updates import training_curve, update_time, updates_by_paths

KINDS: dict[str, Callable[..., Callable[..., dict[str, Any]]]] = {
    "copy": copy_bandwidth,
    "check": check_forms,
    "operator": operator_forms,
    "update": update_time,
    "paths": updates_by_paths,
    "training": training_curve,
    "peer": peer_update,
}


def run(case: Case, out: TextIO) -> None:
    """Measure all keys of a case; where one fails, the others are measured nevertheless."""
    measure = KINDS[case.kind](**case.arguments)
    for key in case.keys:
        print(to_json(case.row(key, _outcome(measure, key))), file=out, flush=True)


def _outcome(measure: Callable[..., dict[str, Any]], key: dict[str, Any]) -> Row:
    try:
        return {"status": OK, **measure(**key)}
    except NotRun as reason:
        return {"status": NOT_RUN, "reason": str(reason)}
    except Exception as error:  # every error becomes a row
        return {"status": FAILED, "reason": " ".join(f"{type(error).__name__}: {error}".split())[:500]}


def check_platform(name: str) -> None:
    """End the process where JAX computes elsewhere: it takes the processor where a GPU cannot be reached."""
    if (found := jax.devices()[0].platform) != name:
        raise SystemExit(f"JAX computes on a {found} here, and not on a {name}")


def main() -> None:
    """Print rows to standard output, and send what libraries print there to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    check_platform(sys.argv[2])
    run(Case(**json.loads(sys.argv[1])), out)


if __name__ == "__main__":
    main()
