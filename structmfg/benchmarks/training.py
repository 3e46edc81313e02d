"""Training time to exploitability: the default settings against the algorithm as published, in one run.

For every game and seed this trains

- the default settings of `structmfg solve` (RSPG), to the end;
- the `paper` preset (joint network, independent paths, no entropy bonus, Adam 1e-3) for 200 updates, the yardstick;
- the default settings again, on a short schedule (`SHORT` updates), to see when they first reach the exploitability at
  which the yardstick ended (between two checkpoints, the logarithm of exploitability is taken as linear in time);
- SPG, the memoryless counterpart, with the default settings,

prints medians over the seeds, and writes training.json. The yardstick is slow: it and its comparison are run for the
first `--paper-seeds` seeds only. Seconds are of training: neither compilation nor evaluation is counted.
Exploitability is clairvoyant, over all noise paths where they are finite, else over 32 held-out paths. With
`--scheduler`, several runs are made at a time, which changes the seconds of each.

    python -m structmfg.benchmarks.training --games linear_quadratic beach_bar macro --seeds 3 --out runs/training
"""

import statistics
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from structmfg import parallel
from structmfg._files import output_folder
from structmfg._statistics import time_to
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._training_run import SHORT, train
from structmfg.games import make

KINDS: dict[str, dict[str, Any]] = {
    "rspg": {"evaluations": 4},
    "spg": {"evaluations": 1, "solver": "spg"},
    "paper": {"evaluations": 1, "name": "paper"},
    "short": {"evaluations": 15},
}


def train_kind(name: str, kind: str, seed: int) -> dict[str, Any]:
    """One run of a game by name."""
    return train(make(name), seed, steps=SHORT[name] if kind == "short" else 0, **KINDS[kind])


def compare(name: str, seeds: int, paper_seeds: int, executor: Executor | None = None) -> dict[str, Any]:
    """All runs of one game, by kind, and the speed-ups over the yardstick."""
    tasks = [(name, kind, seed) for seed in range(seeds) for kind in ("rspg", "spg")]
    tasks += [(name, kind, seed) for seed in range(paper_seeds) for kind in ("paper", "short")]
    trained: dict[tuple[str, int], dict[str, Any]] = {}
    for place, outcome in parallel.outcomes(executor, train_kind, tasks):
        _, kind, seed = tasks[place]
        trained[kind, seed] = outcome()
        print(f"{name} seed {seed}: {line([trained[kind, seed]], kind)}", flush=True)
    runs = {kind: [run for (of, _), run in sorted(trained.items()) if of == kind] for kind in KINDS}
    pairs = list(zip(runs["short"], runs["paper"], strict=True))
    seconds = [time_to(short["curve"], paper["exploitability"]) for short, paper in pairs]
    speed_ups = [paper["seconds"] / time for (_, paper), time in zip(pairs, seconds, strict=True)]
    print(f"{name} medians: {'; '.join(line(runs[kind], kind) for kind in runs if runs[kind])}", flush=True)
    if speed_ups:
        print(
            f"{name}: rspg reaches the paper preset's level in {statistics.median(seconds):.2f} s, "
            f"{statistics.median(speed_ups):.0f} times sooner",
            flush=True,
        )
    return {"game": name, "runs": runs, "seconds_to_paper": seconds, "speed_ups": speed_ups}


def line(runs: list[dict[str, Any]], kind: str) -> str:
    """The medians of runs of one kind, in words."""
    value, seconds, steps = (statistics.median(run[f] for run in runs) for f in ("exploitability", "seconds", "steps"))
    return f"{kind} {value:.4g} in {seconds:.1f} s ({steps:.0f} updates, {len(runs)} seeds)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--games", nargs="+", choices=sorted(SHORT), default=sorted(SHORT))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-seeds", type=int, default=1)
    parser.add_argument("--scheduler", help="N workers of this machine, or the address of a dask scheduler")
    options = parser.parse_args(arguments)
    with parallel.open_executor(options.scheduler) as executor, output_folder(options.out, "training") as folder:
        games = [compare(name, options.seeds, options.paper_seeds, executor) for name in options.games]
        write_results(folder, "training", games=games)


if __name__ == "__main__":
    main()
