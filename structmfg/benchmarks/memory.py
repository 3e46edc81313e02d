"""The estimated memory of a run against the measured peak, at three sizes of every game.

Every run is `structmfg solve` in a process of its own, with few updates and few steps of the search for the floor, as
all of them take the same memory. `base` is the memory of such a process after all imports; `beyond` is the ratio of
estimate and measured peak, both less `base`. This prints a table and writes memory.json.

    python -m structmfg.benchmarks.memory --games linear_quadratic macro --out runs/memory
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.games import GAMES

SIZES: dict[str, tuple[dict[str, Any], ...]] = {
    "bank_run": ({}, {"num_paths": 512}, {"num_paths": 2048}),
    "electricity_storage": ({}, {"num_levels": 1000}, {"num_levels": 3000}),
    "botnet": ({}, {"horizon": 200}, {"horizon": 800}),
    "garnet": ({}, {"num_states": 10_000}, {"num_states": 30_000}),
    "equilibrium_price": ({}, {"max_inventory": 1000}, {"max_inventory": 3000}),
    "susceptible_infected": ({}, {"horizon": 500}, {"horizon": 2000}),
    "building_evacuation": ({}, {"floors": 20}, {"floors": 50}),
    "crowd_modelling_2d": ({}, {"size": 40}, {"size": 80}),
    "routing": ({}, {"time_step": 0.025, "horizon": 200}, {"time_step": 0.0125, "horizon": 400}),
    "beach_bar": ({}, {"num_states": 151}, {"num_states": 201}),
    # Two steps of its exact solver end without a report.
    "beach_bar_crowded": tuple({"solver": "rspg", "num_states": states} for states in (101, 151, 201)),
    "carmona_fouque_sun": ({}, {"num_steps": 32}, {"num_steps": 48}),
    "crowd_modelling": ({}, {"num_states": 1000}, {"num_states": 2000}),
    "epidemic": ({}, {"num_levels": 1000}, {"num_levels": 3000}),
    "huggett_shocks": ({}, {"num_assets": 400}, {"num_assets": 800}),
    "krusell_smith": ({}, {"num_assets": 400}, {"num_assets": 1000}),
    # This game has one size: the number of agents of its solver grows instead.
    "left_right": (
        {},
        {"solver": "ippo", "num_agents": 20_000, "num_populations": 8},
        {"solver": "ippo", "num_agents": 100_000, "num_populations": 8},
    ),
    "linear_quadratic": ({}, {"num_states": 30_000}, {"num_states": 100_000}),
    "macro": ({}, {"num_wealth": 1000}, {"num_wealth": 3000}),
    "predator_prey": ({}, {"size": 20}, {"size": 30}),
    "trade_crowding": ({}, {"num_states": 10_000}, {"num_states": 30_000}),
}
_COLUMNS = {
    "game": "game", "size": "size", "base": "base, MiB", "estimate": "estimate, MiB",
    "measured": "measured, MiB", "ratio": "ratio", "beyond": "beyond base", "phase": "largest",
}  # fmt: skip

_CHILD = """
import json, sys
import structmfg.cli._solve
from structmfg import runs
from structmfg._memory import peak_memory
from structmfg.cli import main
from structmfg.reports import _evaluation
_evaluation._FLOOR_MAX_STEPS, _evaluation._FLOOR_ACCEPTED = 2, float("inf")
base, check, estimates = peak_memory(), runs.check_memory, []
def keep(*arguments, **options):
    estimates.append(check(*arguments, **options))
    return estimates[-1]
runs.check_memory = keep
code = main(sys.argv[1:])
estimate = estimates[0]
print(json.dumps({
    "base": base, "estimate": estimate.total, "arrays": estimate.arrays, "phase": estimate.phase,
    "measured": peak_memory(), "code": code,
}))
"""


def measure(game: str, settings: dict[str, Any], timeout: float = 900.0) -> dict[str, Any]:
    """The estimated and measured bytes of one run, in a process of its own."""
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with TemporaryDirectory() as folder:
        options += ["--iterations", "2", "--out", str(Path(folder) / "run"), "--quiet"]
        command = [sys.executable, "-c", _CHILD, "solve", game, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{game} with {settings} failed: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(game: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The row of a run, in MiB."""
    measured = measure(game, settings)
    ratio = measured["estimate"] / measured["measured"]
    beyond = (measured["estimate"] - measured["base"]) / (measured["measured"] - measured["base"])
    size = " ".join(f"{name}={value}" for name, value in settings.items()) or "default"
    measured |= {name: measured[name] // 2**20 for name in ("base", "estimate", "arrays", "measured")}
    return {"game": game, "size": size, **measured, "ratio": ratio, "beyond": beyond}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--games", nargs="+", choices=sorted(GAMES), default=sorted(GAMES), metavar="GAME")
    options = parser.parse_args(arguments)
    rows = []
    with output_folder(options.out, "memory") as folder:
        for game in options.games:
            for settings in SIZES[game]:
                rows.append(row(game, settings))
                print(rows[-1], flush=True)
        print(table("memory", _COLUMNS, rows))
        write_results(folder, "memory", rows=rows)


if __name__ == "__main__":
    main()
