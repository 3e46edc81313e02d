"""The process of a case, `python -m structmfg.benchmarks.suite._worker CASE`: prints a JSON object for every row."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from structmfg._files import to_json
from structmfg.benchmarks.suite._bandwidth import copy_bandwidth
from structmfg.benchmarks.suite._cases import FAILED, NOT_RUN, OK, Case, NotRun, Row
from structmfg.benchmarks.suite._forms import operator_forms
from structmfg.benchmarks.suite._peers import peer_update
from structmfg.benchmarks.suite._updates import training_curve, update_time

KINDS: dict[str, Callable[..., Callable[..., dict[str, Any]]]] = {
    "copy": copy_bandwidth,
    "operator": operator_forms,
    "update": update_time,
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


def main() -> None:
    """Print rows to standard output, and send what libraries print there to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run(Case(**json.loads(sys.argv[1])), out)


if __name__ == "__main__":
    main()
