"""Economies in sequence space beside those of the package sequence-jacobian, on equal grids; and what Jacobians cost.

For the economy of Krusell and Smith and for the one-asset New Keynesian one, this prints the largest differences of
steady states, household Jacobians, responses and log-likelihoods, and the ratio of processor seconds for the household
Jacobians after compilation. sequence-jacobian finds the derivative of a household's choice by differences; its
two-sided ones are taken with each step of `--steps`, and timed are its defaults. Then it prints processor seconds by
grid and horizon, with the exponents fitted, and the peak memory at `--memory-horizon`. Where sequence-jacobian is not
installed, it says so and prints the part that needs none.

    python -m structmfg.benchmarks.sequence_space --out runs/sequence_space
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.benchmarks.sequence_space import _cost as cost
from structmfg.benchmarks.sequence_space import _peer as peer
from structmfg.economies import AiyagariCalibration, stationary_equilibrium
from structmfg.economies.sequence_space import (
    HouseholdSteadyState,
    MovingAverage,
    SequenceSteadyState,
    autoregressive,
    impulse_response,
    in_sequence_space,
    jacobian,
    linearise,
    log_likelihood,
    one_asset_hank,
    simulate,
)

_SHOCKS = {  # size and persistence; there are as many series in the likelihood, of which the data are
    "krusell_smith": {"productivity": (0.01, 0.8)},
    "one_asset_hank": {"monetary": (0.0025, 0.6), "productivity": (0.01, 0.8)},
}
_SERIES = {"krusell_smith": ("output",), "one_asset_hank": ("output", "inflation")}
_PERIODS = 200  # of data
_INPUTS = {
    "krusell_smith": ("interest", "wage", "discount"),
    "one_asset_hank": ("interest", "wage", "transfer", "discount", "disutility"),
}
_STEADY = {"economy": "economy", "what": "what", "ours": "here", "difference": "difference there"}
_JACOBIANS = {
    "economy": "economy", "step": "differences", "difference": "largest difference", "relative": "over largest entry",
}  # fmt: skip
_SECONDS = {"economy": "economy", "ours": "seconds here", "theirs": "there", "ratio": "ratio"}
_RESPONSES = {
    "economy": "economy",
    "shock": "shock",
    "kind": "kind",
    "path": "path",
    "largest": "largest",
    "difference": "difference there",
}
_LIKELIHOODS = {"economy": "economy", "ours": "here", "difference": "difference there"}
_COSTS = {"states": "states", "horizon": "T", "seconds": "processor seconds"}
_MEMORY = {"what": "what", "states": "states", "horizon": "T", "base": "before, MiB", "peak": "peak, MiB"}


class Pair(NamedTuple):
    """An economy, here and there."""

    name: str
    ours: SequenceSteadyState
    theirs: peer.PeerEconomy

    @property
    def household(self) -> HouseholdSteadyState:
        """Our household."""
        return self.ours.households["household"]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the household that both have."""
        return _INPUTS[self.name]


def ours(name: str, num_assets: int) -> SequenceSteadyState:
    """Our economy of this name."""
    if name == "one_asset_hank":
        return one_asset_hank(num_assets=num_assets)
    calibration = AiyagariCalibration(num_assets=num_assets)
    return in_sequence_space(calibration, stationary_equilibrium(calibration))


def steady_states(pair: Pair) -> list[dict[str, Any]]:
    """The calibrated numbers, the policy and the mean field."""
    known = pair.theirs.steady
    found: dict[str, tuple[Any, Any]] = {"discount": (pair.ours.aggregates["discount"], known["beta"])}
    if "disutility" in pair.inputs:
        found["disutility"] = pair.ours.aggregates["disutility"], known["vphi"]
    choice = pair.household.choice
    savings = np.asarray(choice.savings if "disutility" in pair.inputs else choice)
    rows = [
        {"economy": pair.name, "what": name, "ours": float(here), "difference": float(there - here)}
        for name, (here, there) in found.items()
    ]
    gap = np.abs(savings - pair.theirs.savings)
    moved = np.abs(pair.household.mean_field - pair.theirs.mean_field).sum()
    rows.append({"economy": pair.name, "what": "savings, largest", "ours": None, "difference": float(gap.max())})
    rows.append({"economy": pair.name, "what": "mean field, L1", "ours": None, "difference": float(moved)})
    return rows


def jacobians(pair: Pair, steps: Sequence[float], horizon: int) -> list[dict[str, Any]]:
    """The largest difference of any entry of any household Jacobian, by the step of the differences there."""
    outputs = pair.household.block.outputs
    here = jacobian(pair.ours.economy, pair.ours, inputs=pair.inputs, horizon=horizon)
    rows = []
    settings: list[dict[str, Any]] = [{"h": 1e-4, "twosided": False}, *({"h": h, "twosided": True} for h in steps)]
    for differences in settings:
        there = pair.theirs.household_jacobian(pair.inputs, outputs, horizon, **differences)
        gaps = {(o, i): np.abs(here[o][i] - there[o][i]).max() for o in outputs for i in pair.inputs}
        sides = "two-sided" if differences["twosided"] else "one-sided, its default"
        rows.append({
            "economy": pair.name, "step": f"{sides}, {differences['h']:g}", "difference": float(max(gaps.values())),
            "relative": float(max(gap / np.abs(here[o][i]).max() for (o, i), gap in gaps.items())),
            "by_pair": {f"{o}/{i}": float(gap) for (o, i), gap in gaps.items()},
        })  # fmt: skip
    return rows


def seconds(pair: Pair, horizon: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of the household Jacobians here and there, in turn, after compilation."""
    outputs = pair.household.block.outputs
    here, there = cost.processor_seconds(
        [
            lambda: jacobian(pair.ours.economy, pair.ours, inputs=pair.inputs, horizon=horizon),
            lambda: pair.theirs.household_jacobian(pair.inputs, outputs, horizon),
        ],
        rounds,
    )
    return {"economy": pair.name, "ours": here, "theirs": there, "ratio": here / there}


def responses(pair: Pair, step: float, horizon: int) -> list[dict[str, Any]]:
    """Linear and nonlinear responses to each shock of the economy."""
    rows = []
    for name, process in _SHOCKS[pair.name].items():
        shocks = {name: autoregressive(*process, horizon)}
        for linear in (True, False):
            options: dict[str, Any] = {} if linear else {"tolerance": 1e-10}
            found = impulse_response(pair.ours.economy, pair.ours, shocks, linear=linear, throw=False, **options)
            here = found.paths
            there = pair.theirs.response(shocks, linear=linear, h=step, twosided=True)
            rows += [
                {
                    "economy": pair.name, "shock": name, "kind": "linear" if linear else "nonlinear", "path": path,
                    "result": found.result.name,
                    "largest": float(np.abs(here[path]).max()),
                    "difference": float(np.abs(here[path] - change).max()),
                }
                for path, change in there.items() if path != name
            ]  # fmt: skip
    return rows


def likelihood(pair: Pair, step: float, horizon: int) -> dict[str, Any]:
    """The log-likelihood of data that our economy generates, here and there."""
    series = _SERIES[pair.name]
    shocks = {name: autoregressive(*process, horizon) for name, process in _SHOCKS[pair.name].items()}
    linear = linearise(pair.ours.economy, pair.ours, horizon=horizon)
    here = {name: linear.response({name: path}) for name, path in shocks.items()}
    there = [pair.theirs.response({name: path}, linear=True, h=step, twosided=True) for name, path in shocks.items()]
    other = np.stack([[paths[name] for name in series] for paths in there]).T
    moving_average = MovingAverage.from_responses(
        {name: {shock: paths[name] for shock, paths in here.items()} for name in series}
    )
    paths = simulate(moving_average, jax.random.key(0), _PERIODS)
    data = np.stack([paths[name] for name in series], axis=-1)
    found = float(log_likelihood(moving_average, data)), peer.log_likelihood(other, data)
    return {"economy": pair.name, "ours": found[0], "difference": found[1] - found[0]}


def compare(
    names: Sequence[str], *, num_assets: int, horizon: int, steps: Sequence[float], rounds: int
) -> dict[str, Any]:
    """Print and return all comparisons with sequence-jacobian."""
    found: dict[str, list[dict[str, Any]]] = {
        "steady": [],
        "jacobians": [],
        "seconds": [],
        "responses": [],
        "likelihood": [],
    }
    for name in names:
        pair = Pair(name, ours(name, num_assets), getattr(peer, name)(num_assets))
        found["steady"] += steady_states(pair)
        found["jacobians"] += jacobians(pair, steps, horizon)
        found["seconds"].append(seconds(pair, horizon, rounds))
        best = min(steps, key=lambda h: next(
            row["difference"] for row in found["jacobians"]
            if row["economy"] == name and row["step"] == f"two-sided, {h:g}"
        ))  # fmt: skip
        found["responses"] += responses(pair, best, horizon)
        found["likelihood"].append(likelihood(pair, best, horizon))
    titles = {
        "steady": ("steady state", _STEADY),
        "jacobians": (f"household Jacobians, T = {horizon}", _JACOBIANS),
        "seconds": (f"processor seconds to the household Jacobians, T = {horizon}", _SECONDS),
        "responses": (f"responses, T = {horizon}", _RESPONSES),
        "likelihood": (f"log-likelihood of {_PERIODS} periods", _LIKELIHOODS),
    }
    for key, (title, columns) in titles.items():
        print(table(title, columns, found[key]), flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--economies", nargs="*", choices=list(_SHOCKS), default=list(_SHOCKS))
    parser.add_argument("--num-assets", type=int, default=500, help="points of the asset grid, with 7 income states")
    parser.add_argument("--horizon", type=int, default=300, help="T")
    parser.add_argument("--steps", type=float, nargs="+", default=[1e-5, 1e-6, 1e-7, 1e-8])
    parser.add_argument("--rounds", type=int, default=5, help="calls of each kind that are timed; the fastest counts")
    parser.add_argument(
        "--grids", type=int, nargs="+", default=[250, 500, 1000, 2000], help="asset grids that are timed"
    )
    parser.add_argument(
        "--horizons", type=int, nargs="+", default=[125, 250, 500, 1000], help="horizons that are timed"
    )
    parser.add_argument("--memory-horizon", type=int, default=1000, help="T of the peak memory; 0 for none")
    options = parser.parse_args(arguments)
    installed = peer.version()
    with output_folder(options.out, "sequence_space") as folder:
        compared: dict[str, Any] = {}
        if installed is None:
            print(f"sequence-jacobian is not installed ({peer.CURE}), so that nothing is compared with it")
        else:
            compared = compare(
                options.economies, num_assets=options.num_assets, horizon=options.horizon, steps=options.steps,
                rounds=options.rounds,
            )  # fmt: skip
        rows, exponents = cost.costs(options.grids, options.horizons, rounds=options.rounds)
        print(table("household Jacobians of the one-asset economy", _COSTS, rows))
        print(f"seconds grow with the power {exponents['states']:.2f} of states, {exponents['horizon']:.2f} of T")
        memory = cost.memory(options.num_assets, options.memory_horizon) if options.memory_horizon else []
        if memory:
            print(table("memory of Jacobians of a household, and of the linear economy", _MEMORY, memory))
        write_results(
            folder, "sequence_space", sequence_jacobian=installed, **compared, costs=rows, exponents=exponents,
            memory=memory,
        )  # fmt: skip


if __name__ == "__main__":
    main()
