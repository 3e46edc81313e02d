"""A sweep over seeds on several workers against the same runs one after the other.

This runs `structmfg solve GAME --sweep seed=...` in one process, and again with `--scheduler WORKERS`, after a run that
fills the cache of compiled programs for both. It prints how the seconds compare with those of one process divided by
the number of workers, writes sweeps.json, and ends with an error where a run is missing or its return is another. With
`--kill`, one worker is killed as soon as a quarter of the runs have ended. Seconds mean something on a quiet machine
only: the load of the machine before each sweep, and the seconds of all processors together, are told as well.

    python -m structmfg.benchmarks.sweeps --game linear_quadratic --iterations 200 --kill --out runs/sweeps
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results


def worker_processes(parent: int) -> list[int]:
    """The worker processes that a command with `--scheduler N` has started, on Linux."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def run(words: Sequence[str], folder: Path, *, kill_after: int = 0) -> dict[str, Any]:
    """Run a solve in a process of its own; with `kill_after`, kill a worker once so many runs have ended."""
    command = [sys.executable, "-m", "structmfg", "solve", *words, "--out", str(folder)]
    load, before, began = os.getloadavg()[0], _processor_seconds(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if kill_after and line.startswith(f"{kill_after} of "):
                os.kill(worker_processes(process.pid)[0], signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    seconds = time.perf_counter() - began
    result = json.loads((folder / "result.json").read_text())
    returns = [each["return"] for each in result.get("runs", [])]
    return {"seconds": seconds, "processor": _processor_seconds() - before, "load": load, "returns": returns}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--game", default="linear_quadratic")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="kill one worker on the way")
    options = parser.parse_args(arguments)
    words = [options.game, "--iterations", str(options.iterations)]
    sweep = [*words, "--sweep", f"seed=0..{options.runs - 1}"]
    with output_folder(options.out, "sweeps") as folder:
        run([*words, "--seed", str(options.runs)], folder / "warm")
        alone = run(sweep, folder / "one")
        kill_after = options.runs // 4 if options.kill else 0
        spread = run([*sweep, "--scheduler", str(options.workers)], folder / "several", kill_after=kill_after)
        if len(spread["returns"]) != options.runs or len(alone["returns"]) != options.runs:
            raise RuntimeError(f"there are {len(spread['returns'])} results of {options.runs} runs")
        apart = max(abs(a - b) for a, b in zip(alone["returns"], spread["returns"], strict=True))
        ratio = spread["seconds"] * options.workers / alone["seconds"]
        for name, each in (("one process", alone), (f"{options.workers} workers", spread)):
            print(f"{name}: {each['seconds']:.1f} s, {each['processor']:.1f} s of processors, load {each['load']:.1f}")
        print(
            f"{ratio:.2f} of 1/{options.workers} of the seconds of one process; returns differ by at most {apart:.2g}"
        )
        write_results(folder, "sweeps", settings=vars(options), alone=alone, spread=spread, ratio=ratio, apart=apart)


if __name__ == "__main__":
    main()
