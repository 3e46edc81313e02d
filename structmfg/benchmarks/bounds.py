"""What bounds of the exploitability cost, how close they are, and how often they hold.

For `macro` under a policy trained by the default settings of each of `--solvers`, this prints the bracket by seed, its
width over the lower bound, and its processor seconds over those of a clairvoyant evaluation on as many paths, after
compilation. For small games with a finite chain it prints in how many of `--draws` draws the interval holds the exact
value.

    python -m structmfg.benchmarks.bounds --out runs/bounds
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.evaluation import exploitability, exploitability_bounds
from structmfg.games import Game, Macro, make
from structmfg.policies import Policy, recurrent
from structmfg.solvers import preset
from structmfg.solvers.loop import solve

_SMALL: dict[str, Any] = {"num_wealth": 8, "num_income": 2, "num_actions": 4}
CHAINS: tuple[dict[str, Any], ...] = (
    {"horizon": 7, "noise_states": 3},
    {"horizon": 7, "noise_states": 3, "deviation": 0.3},
    {"horizon": 9, "noise_states": 2},
    {"horizon": 6, "noise_states": 5, "persistence": 0.5},
)
_BRACKETS = {
    "policy": "policy", "seed": "seed", "lower": "lower", "upper": "upper", "stderr": "standard error",
    "clairvoyant": "clairvoyant", "width": "width / lower", "cost": "cost / clairvoyant evaluation",
}  # fmt: skip
_HITS = {"game": "game", "exact": "exact", "held": "draws that hold it", "draws": "of", "width": "mean width / exact"}


def brackets(game: Game, label: str, policy: Policy, seeds: Sequence[int], **settings: Any) -> list[dict[str, Any]]:
    """The bracket of a policy for every seed, with its cost."""
    rows = []
    for seed in seeds:
        key = jax.random.key(seed)
        ours = _processor_seconds(exploitability_bounds, game, policy, key=key, **settings)
        theirs = _processor_seconds(exploitability, game, policy, key=key)
        found = exploitability_bounds(game, policy, key=key, **settings)
        rows.append({
            "policy": label, "seed": seed, "lower": found.lower.value, "upper": found.upper.value,
            "stderr": found.upper.stderr, "clairvoyant": found.clairvoyant.value,
            "width": found.width / found.lower.value, "cost": ours / theirs,
        })  # fmt: skip
    return rows


def held(parameters: dict[str, Any], draws: int) -> dict[str, Any]:
    """In how many draws the interval holds the exact value of a network with random parameters."""
    game = Macro(**_SMALL, **parameters)
    policy = recurrent(game, head="ordered", hidden=4, width=8, depth=1, rank=2).initialised(jax.random.key(0))
    exact, count, widths = exploitability(game, policy, kind="non_anticipative").value, 0, 0.0
    for seed in range(draws):
        found = exploitability_bounds(game, policy, key=jax.random.key(seed))
        low, high = found.interval
        slack = 1e-9 * abs(exact)
        count += low - slack <= exact <= high + slack
        widths += found.width / exact / draws
    name = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return {"game": name, "exact": exact, "held": count, "draws": draws, "width": widths}


def _processor_seconds(function: Callable[..., Any], *arguments: Any, **settings: Any) -> float:
    """The processor seconds of a call whose programs have been compiled: the smaller of two."""
    function(*arguments, **settings)
    seconds = []
    for _ in range(2):
        began = time.process_time()
        function(*arguments, **settings)
        seconds.append(time.process_time() - began)
    return min(seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--solvers", nargs="*", default=["rspg", "spg"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--updates", type=int, help="updates of the training; those of the preset unless given")
    options = parser.parse_args(arguments)
    game, rows, hits = make("macro"), [], []
    with output_folder(options.out, "bounds") as folder:
        for name in options.solvers:
            solver, max_steps = preset(game, name)
            policy = solve(game, solver, key=jax.random.key(0), max_steps=options.updates or max_steps).policy
            rows += brackets(game, name, policy, options.seeds)
            print(table("macro", _BRACKETS, rows), flush=True)
        if options.draws:
            hits = [held(parameters, options.draws) for parameters in CHAINS]
            print(table("macro with a finite chain", _HITS, hits))
        write_results(folder, "bounds", brackets=rows, held=hits)


if __name__ == "__main__":
    main()
