"""`variance_study`: what integrating over the individual states, instead of sampling them, does to variance."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_kind
from structmfg.evaluation import Trajectory, rollout
from structmfg.games import Game, NoisePaths, as_game, check_game
from structmfg.policies import NetworkPolicy
from structmfg.solvers import preset
from structmfg.solvers.gradient import StructuralPolicyGradient
from structmfg.verification._check import CheckResult, check, evidence
from structmfg.verification.variance._gradients import Baseline, InLogits, gradients, over_paths, reinforce, structural
from structmfg.verification.variance._returns import LEAST, TOGETHER, PathReturns, ReturnSpread, return_spread
from structmfg.verification.variance._statistics import Interval, against_zero, interval, squares

BASELINES: tuple[Baseline, ...] = ("none", "mean", "values")
NUM_TESTS = 3  # with a level each
_FEWEST = 2  # agents: with one there is no mean of the others

Sampled = Literal["iid", "own"]


class GradientRow(NamedTuple):
    """One estimator of the gradient, with `num_paths` noise paths: independent ones, or as RSPG draws its own.

    `variance` is the trace of the covariance over the squared norm of the mean gradient; `ratio` is to RSPG's with the
    same noise paths, None where that is zero. `num_agents` and `baseline` are None for RSPG. `seconds` are those of one
    gradient, the mean field's included, None where not measured.
    """

    sampling: Sampled
    num_agents: int | None
    baseline: Baseline | None
    seconds: float | None
    variance: Interval
    ratio: Interval | None


class VarianceStudy(NamedTuple):
    """What `variance_study` found.

    `equal_agents` is the number of agents at which REINFORCE (baseline `mean`) takes as long as RSPG if the mean field,
    `mean_field_seconds`, is given to it for free. `results` are checks that sampled agents and structure agree.
    """

    label: str
    game: str
    num_parameters: int
    num_paths: int
    draws: int
    equal_agents: int
    mean_field_seconds: float
    gradients: tuple[GradientRow, ...]
    returns: ReturnSpread
    results: tuple[CheckResult, ...]

    def row(self, sampling: Sampled, num_agents: int | None = None, baseline: Baseline | None = None) -> GradientRow:
        """The row of one estimator."""
        wanted = (sampling, num_agents, baseline)
        return next(row for row in self.gradients if (row.sampling, row.num_agents, row.baseline) == wanted)


def variance_study(
    game: Game,
    policy: NetworkPolicy | None = None,
    *,
    key: PRNGKeyArray,
    label: str | None = None,
    num_paths: int | None = None,
    num_agents: Sequence[int] = (16, 1024),
    draws: int = 64,
    rounds: int = 21,
    return_paths: Sequence[int] = (1, 8, 64),
    return_agents: Sequence[int] = (1, 10, 100, 1000, 10_000),
    max_paths: int = 1024,
    max_agents: int = 400_000,
    level: float = 1e-6,
) -> VarianceStudy:
    """The variance of gradients and of mean returns: individual states integrated exactly, against sampled agents.

    - `policy`: the network of `solvers.preset` unless given; at random parameters if it has none.
    - `num_paths`: noise paths of one gradient; the preset's unless given.
    - `num_agents`: of REINFORCE on every path, beside the number that takes as long as RSPG.
    - `draws`: independent replicates of every gradient, each with noise paths of its own. `rounds`: of timing.
    - `return_paths`, `return_agents`: M and N of the mean returns, as far as `max_paths` noise paths and `max_agents`
      agents on all of them leave replicates.
    - `level`: of each of the three checks that sampled agents and structure agree.

    Seconds are medians of compiled calls in turns, compilation excluded; on CPU they are the processor's. The default
    takes one to three minutes for the games of the paper, most of it compilation. Raises `ValueError` on a number out
    of range.
    """
    game = as_game(game)
    check_game(game)
    if policy is None or num_paths is None:
        solver, _ = preset(game)
        assert isinstance(solver, StructuralPolicyGradient)
        assert isinstance(solver.policy, NetworkPolicy)
        policy, num_paths = (
            solver.policy if policy is None else policy,
            solver.num_paths if num_paths is None else num_paths,
        )
    check_kind("policy", policy, NetworkPolicy)
    check_integer("num_paths", num_paths, at_least=1)
    check_integer("draws", draws, at_least=8)
    check_integer("rounds", rounds, at_least=1)
    sizes = [check_integer("num_agents", count, at_least=_FEWEST) for count in num_agents]
    if not sizes:
        raise ValueError("num_agents must name at least one number of agents, but is empty")
    for name, counts in {"return_paths": return_paths, "return_agents": return_agents}.items():
        for count in counts:
            check_integer(name, count, at_least=1)
    check_between("level", level, 0, 1, open_low=True)
    check_integer("max_paths", max_paths, at_least=LEAST)
    check_integer("max_agents", max_agents, at_least=LEAST * TOGETHER)
    init_key, draw_key, return_key = jax.random.split(key, 3)
    if policy.parameters is None:
        policy = policy.initialised(init_key)
    bench = _Bench(game, policy, num_paths, draws, draw_key)
    seconds = bench.seconds(sizes, rounds)
    equal = _equal(sizes, seconds)
    if equal not in sizes:
        sizes = sorted([*sizes, equal])
        seconds |= bench.seconds([equal], rounds, only=True)
    rows, agreement = bench.rows(sizes, equal, seconds)
    spread, sample = return_spread(
        game,
        policy,
        return_key,
        num_paths=return_paths,
        num_agents=return_agents,
        max_paths=max_paths,
        max_agents=max_agents,
    )
    results = (gradients_agree(agreement, level), returns_agree(sample, level), spreads_agree(sample, level))
    return VarianceStudy(
        label or type(game).__name__,
        repr(game),
        bench.num_parameters,
        num_paths,
        draws,
        equal,
        seconds["mean field"],
        tuple(rows),
        spread,
        results,
    )


@check("REINFORCE and the exact gradient agree on average, along the direction of the latter (t-test)")
def gradients_agree(differences: Float[np.ndarray, " draws"], level: float) -> tuple[float, float]:
    """The evidence against a mean of zero, of differences on the same noise paths."""
    return against_zero(differences), evidence(level)


@check("agents' mean returns agree with the exact returns, path by path (t-test)")
def returns_agree(sample: PathReturns, level: float) -> tuple[float, float]:
    """The evidence against it."""
    size = float(np.abs(sample.agents).max())
    return against_zero(sample.agents.mean(axis=1) - sample.means, size), evidence(level)


@check("the variance of agents' returns agrees with the exact variance, path by path (t-test)")
def spreads_agree(sample: PathReturns, level: float) -> tuple[float, float]:
    """The evidence against it."""
    size = float(np.abs(sample.agents).max() ** 2)
    return against_zero(sample.agents.var(axis=1, ddof=1) - sample.variances, size), evidence(level)


class _Bench:
    """Compiled gradients of one game and policy."""

    def __init__(self, game: Game, policy: NetworkPolicy, num_paths: int, draws: int, key: PRNGKeyArray) -> None:
        self.game, self.policy, self.draws = game, policy, draws
        self.num_parameters = sum(leaf.size for leaf in jax.tree.leaves(policy.parameters))
        noise_key, self.key = jax.random.split(key)
        keys = jax.random.split(noise_key, draws)
        samplings: dict[Sampled, Literal["iid"] | None] = {"iid": "iid", "own": None}
        self.paths: dict[Sampled, NoisePaths] = {}
        for name, sampling in samplings.items():
            solver = StructuralPolicyGradient(policy, num_paths=num_paths, sampling=sampling)
            self.paths[name] = jax.jit(jax.vmap(lambda k, solver=solver: solver.draw_noise_paths(game, k)))(keys)

    def _one(self, estimators: Sequence[InLogits]) -> Callable[[PyTree[Array], NoisePaths, PRNGKeyArray], Array]:
        """One draw of gradients, (estimators, parameters)."""
        return lambda parameters, paths, key: gradients(
            self.game, self.policy.with_parameters(parameters), paths, key, estimators
        )

    def _draws(self, estimators: Sequence[InLogits]) -> Callable[[Sampled], Float[np.ndarray, "draws some parameters"]]:
        """All draws, one after the other, by the way of sampling: one program where the numbers of paths agree."""
        one, keys = self._one(estimators), jax.random.split(self.key, self.draws)
        every = jax.jit(lambda parameters, inputs: jax.lax.map(lambda one_: one(parameters, *one_), inputs))
        return lambda sampling: np.asarray(every(self.policy.parameters, (self.paths[sampling], keys)), np.float64)

    def seconds(self, sizes: Sequence[int], rounds: int, *, only: bool = False) -> dict[Any, float]:
        """Of one gradient: by number of agents, RSPG's (None), and those of the mean field alone, timed in turns."""

        def mean_field(parameters: PyTree[Array], paths: NoisePaths, key: PRNGKeyArray) -> Trajectory:
            policy = self.policy.with_parameters(parameters)
            return over_paths(self.game, lambda noise: rollout(self.game, policy, noise), paths.noise)

        timed: dict[Any, Callable[..., Any]] = {size: self._one([reinforce(self.game, size)]) for size in sizes}
        if not only:
            timed |= {None: self._one([structural(self.game)]), "mean field": mean_field}
        arguments = (self.policy.parameters, jax.tree.map(lambda x: x[0], self.paths["iid"]), self.key)
        compiled = {name: jax.jit(one).lower(*arguments).compile() for name, one in timed.items()}
        # On CPU the processor's time, which does not count what else the machine does.
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        clocks: dict[Any, list[float]] = {name: [] for name in compiled}
        for _ in range(rounds + 1):  # the first warms up
            for name, run in compiled.items():
                began = clock()
                jax.block_until_ready(run(*arguments))
                clocks[name].append(clock() - began)
        return {name: statistics.median(found[1:]) for name, found in clocks.items()}

    def rows(
        self, sizes: Sequence[int], equal: int, seconds: dict[Any, float]
    ) -> tuple[list[GradientRow], Float[np.ndarray, " draws"]]:
        """All rows; and of REINFORCE with most agents the differences from RSPG along its mean, over its length."""
        structure = self._draws([structural(self.game)])
        exact = {sampling: structure(sampling)[:, 0] for sampling in self.paths}
        spread = {sampling: squares(found) for sampling, found in exact.items()}
        scale = self._squared_norm(exact["own"], spread["own"])
        rows = []
        for sampling, base in spread.items():
            ratio = Interval(1.0, 1.0, 1.0) if base.any() else None
            rows.append(GradientRow(sampling, None, None, seconds[None], interval(base / scale), ratio))
        for size in sizes:
            agents = self._draws([reinforce(self.game, size, BASELINES)])
            for sampling, base in spread.items():
                if sampling == "own" and size != equal:
                    continue
                drawn = agents(sampling)
                for i, baseline in enumerate(BASELINES):
                    found = squares(drawn[:, i])
                    ratio = interval(found, base) if base.any() else None
                    timed = seconds[size] if baseline == "mean" else None
                    rows.append(GradientRow(sampling, size, baseline, timed, interval(found / scale), ratio))
                if sampling == "iid":  # of the most agents in the end
                    mean = exact["iid"].mean(axis=0)
                    differences = (drawn[:, BASELINES.index("mean")] - exact["iid"]) @ mean / (mean @ mean)
        return rows, differences

    def _squared_norm(self, exact: Float[np.ndarray, "draws parameters"], spread: Float[np.ndarray, " draws"]) -> float:
        """Of the mean gradient: over all paths where they are finite, else from the draws, without their variance."""
        scenarios = self.game.scenarios()
        if scenarios is None:
            mean = exact.mean(axis=0)
            return float(mean @ mean - spread.mean() / len(exact))
        one = jax.jit(self._one([structural(self.game)]))
        mean = np.asarray(one(self.policy.parameters, scenarios, self.key)[0], np.float64)
        return float(mean @ mean)


def _equal(sizes: Sequence[int], seconds: dict[Any, float]) -> int:
    """The number of agents for RSPG's seconds, on the line through the times of the fewest and of the most agents.

    The mean field is REINFORCE's for free.
    """
    few, most = min(sizes), max(sizes)
    room = seconds[None] + seconds["mean field"] - seconds[few]
    if few == most:
        return few
    each = max((seconds[most] - seconds[few]) / (most - few), np.finfo(float).tiny)
    return max(_FEWEST, round(few + room / each))
