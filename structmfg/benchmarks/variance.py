"""The variance of policy gradients: exact integrals over individual states against agents sampled one by one.

For every game, at random parameters and after `--updates` updates on a schedule of that length, this prints

- the variance of the policy gradient, relative to the squared norm of its mean: RSPG against REINFORCE, with the same
  numbers of noise paths, by number of agents, among them as many as take as long as RSPG;
- the variance of the mean return, split into the parts of the common noise and of the agents' own,

and writes variance.json and the figures. See `verification.variance_study`. Seconds are the processor's, on CPU.

    python -m structmfg.benchmarks.variance --games linear_quadratic beach_bar macro --out runs/variance
"""

from collections.abc import Sequence
from typing import Any

import jax

from structmfg._files import output_folder
from structmfg._statistics import Interval
from structmfg.benchmarks._script import script_parser, write_pictures, write_results
from structmfg.benchmarks._tables import table
from structmfg.benchmarks._training_run import SHORT
from structmfg.games import make
from structmfg.policies import NetworkPolicy, Policy
from structmfg.solvers import preset
from structmfg.solvers.gradient import StructuralPolicyGradient
from structmfg.solvers.loop import solve
from structmfg.verification.variance import VarianceStudy, figures, variance_study

_GRADIENTS = {
    "estimator": "estimator", "sampling": "noise paths", "num_agents": "agents", "baseline": "baseline",
    "milliseconds": "ms", "variance": "variance", "variance_interval": "95 %", "ratio": "over RSPG's",
    "ratio_interval": "95 %",
}  # fmt: skip
_RETURNS = {"part": "mean return", "structure": "structure", "agents": "agents", "interval": "95 %"}


def study(name: str, updates: int, seed: int, **settings: Any) -> VarianceStudy:
    """The variance study of the network of a game's preset after so many updates."""
    game = make(name)
    solver, _ = preset(game, "rspg")
    assert isinstance(solver, StructuralPolicyGradient)
    policy: Policy = solver.policy
    if updates:
        policy = solve(game, solver, key=jax.random.key(seed), max_steps=updates).policy
    assert isinstance(policy, NetworkPolicy)
    label = f"{name}, after {updates} updates" if updates else f"{name}, at the start"
    return variance_study(game, policy, key=jax.random.key(seed + 1), label=label, **settings)


def tables(study: VarianceStudy) -> list[str]:
    """The tables of one study."""
    rows = [
        {
            **row._asdict(),
            "estimator": "REINFORCE" if row.baseline else "RSPG",
            "milliseconds": None if row.seconds is None else 1e3 * row.seconds,
            "variance": row.variance.value,
            "variance_interval": _ends(row.variance),
            "ratio": row.ratio.value if row.ratio else None,
            "ratio_interval": _ends(row.ratio) if row.ratio and row.baseline else None,
        }
        for row in study.gradients
    ]
    title = (
        f"{study.label}: variance of the gradient over its squared norm, {study.num_paths} noise paths, {study.draws} "
        f"draws; as long as RSPG: {study.equal_agents} agents, the mean field ({1e3 * study.mean_field_seconds:.3g} "
        "ms) not counted"
    )
    spread = study.returns
    parts = [
        {"part": words, "structure": exact, "agents": sampled.value, "interval": _ends(sampled)}
        for words, exact, sampled in (
            ("mean", spread.mean, spread.sampled_mean),
            ("variance: common noise", spread.common, spread.sampled_common),
            ("variance: agents' own", spread.idiosyncratic, spread.sampled_idiosyncratic),
        )
    ]
    exact = "exact" if spread.exact else f"over {spread.num_paths} sampled noise paths"
    checks = [f"  {'ok' if r.passed else 'FAILED'}  {r.meaning}: {r.value:.2g} <= {r.bound:g}" for r in study.results]
    return [
        table(title, _GRADIENTS, rows),
        table(f"{study.label}: the return of an agent ({exact})", _RETURNS, parts),
        "\n".join(checks),
    ]


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3g} to {interval.high:.3g}"


def plain(value: Any) -> Any:
    """Named tuples as dictionaries, at all depths."""
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--games", nargs="+", choices=sorted(SHORT), default=list(SHORT))
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    studies = []
    with output_folder(options.out, "variance") as folder:
        for updates in (0, options.updates) if options.updates else (0,):
            for name in options.games:
                studies.append(study(name, updates, options.seed, draws=options.draws))
                print(*tables(studies[-1]), sep="\n\n", end="\n\n", flush=True)
        write_pictures(folder, figures(studies))
        write_results(folder, "variance", studies=plain(tuple(studies)))


if __name__ == "__main__":
    main()
