"""`variance_study`: the variance of estimators that integrate over the individual states, or sample them."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_kind
from structmfg._statistics import (
    Interval,
    bootstrap_interval,
    evidence,
    evidence_against_zero_mean,
    squared_deviations,
)
from structmfg.evaluation import Trajectory, rollout
from structmfg.games import Game, NoisePaths, as_game, check_game
from structmfg.policies import NetworkPolicy
from structmfg.solvers import preset
from structmfg.solvers.gradient import StructuralPolicyGradient
from structmfg.verification._check import CheckResult, check
from structmfg.verification.variance._gradients import Baseline, InLogits, gradients, over_paths, reinforce, structural
from structmfg.verification.variance._returns import (
    AGENTS_PER_PATH,
    MIN_REPLICATES,
    PathReturns,
    ReturnSpread,
    return_spread,
)

BASELINES: tuple[Baseline, ...] = ("none", "mean", "values")
NUM_TESTS = 3  # checks that have a level
_MIN_AGENTS = 2  # with one agent there is no mean of the others

Sampled = Literal["iid", "own"]


class GradientRow(NamedTuple):
    """One estimator of the gradient.

    Attributes:
        sampling: How noise paths are drawn: "iid", or "own", as RSPG draws them.
        num_agents: Agents on each noise path; None for RSPG.
        baseline: The baseline of REINFORCE; None for RSPG.
        seconds: The seconds of one gradient, the mean field included; None where not measured.
        variance: The trace of the covariance over the squared norm of the mean gradient.
        ratio: The variance over that of RSPG with the same noise paths; None where that is zero.
    """

    sampling: Sampled
    num_agents: int | None
    baseline: Baseline | None
    seconds: float | None
    variance: Interval
    ratio: Interval | None


class VarianceStudy(NamedTuple):
    """The result of `variance_study`.

    Attributes:
        label: The title of the study.
        game: The repr of the game.
        num_parameters: The number of parameters of the policy.
        num_paths: The noise paths of one gradient.
        draws: The independent replicates of every gradient.
        equal_agents: The number of agents at which REINFORCE (baseline `mean`) takes as long as RSPG, if the time of
            the mean field is not counted.
        mean_field_seconds: The seconds of the mean field.
        gradients: The estimators of the gradient.
        returns: The variance of mean returns.
        results: Checks that sampled agents and exact integrals agree.
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

    Seconds are medians of compiled calls in turns, without compilation; on CPU they are the processor's. The default
    takes one to three minutes for the games of the paper, most of it compilation.

    Args:
        game: The game.
        policy: The network; by default that of `solvers.preset`. Its parameters are random if it has none.
        key: Random key.
        label: The title of the study; by default the game's class.
        num_paths: The noise paths of one gradient; by default the preset's.
        num_agents: The numbers of agents of REINFORCE on every path; the number that takes as long as RSPG is added.
        draws: The number of independent replicates of every gradient, each with its own noise paths; at least 8.
        rounds: The number of timed calls.
        return_paths: The numbers M of noise paths of a mean return.
        return_agents: The numbers N of agents of a mean return.
        max_paths: The most noise paths that are simulated for one N; at least 16.
        max_agents: The most agents on all noise paths; at least 1600. Mean returns with fewer than 16 replicates are
            left out.
        level: The level of each of the three checks that sampled agents and exact integrals agree.

    Raises:
        ValueError: If an argument is out of range, or `policy` is not a network.
    """
    game = as_game(game)
    check_game(game)
    if policy is None or num_paths is None:
        solver, _ = preset(game, "rspg")
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
    sizes = [check_integer("num_agents", count, at_least=_MIN_AGENTS) for count in num_agents]
    if not sizes:
        raise ValueError("num_agents must name at least one number of agents, but is empty")
    for name, counts in {"return_paths": return_paths, "return_agents": return_agents}.items():
        for count in counts:
            check_integer(name, count, at_least=1)
    check_between("level", level, 0, 1, open_low=True)
    check_integer("max_paths", max_paths, at_least=MIN_REPLICATES)
    check_integer("max_agents", max_agents, at_least=MIN_REPLICATES * AGENTS_PER_PATH)
    init_key, draw_key, return_key = jax.random.split(key, 3)
    if policy.parameters is None:
        policy = policy.initialised(init_key)
    bench = _GradientBenchmark(game, policy, num_paths, draws, draw_key)
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
    return evidence_against_zero_mean(differences), evidence(level)


@check("agents' mean returns agree with the exact returns, path by path (t-test)")
def returns_agree(sample: PathReturns, level: float) -> tuple[float, float]:
    """The evidence against a mean difference of zero."""
    size = float(np.abs(sample.agents).max())
    return evidence_against_zero_mean(sample.agents.mean(axis=1) - sample.means, size), evidence(level)


@check("the variance of agents' returns agrees with the exact variance, path by path (t-test)")
def spreads_agree(sample: PathReturns, level: float) -> tuple[float, float]:
    """The evidence against a mean difference of zero."""
    size = float(np.abs(sample.agents).max() ** 2)
    return evidence_against_zero_mean(sample.agents.var(axis=1, ddof=1) - sample.variances, size), evidence(level)


class _GradientBenchmark:
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

    def _single(self, estimators: Sequence[InLogits]) -> Callable[[PyTree[Array], NoisePaths, PRNGKeyArray], Array]:
        """One draw of gradients, (estimators, parameters)."""
        return lambda parameters, paths, key: gradients(
            self.game, self.policy.with_parameters(parameters), paths, key, estimators
        )

    def _draws(self, estimators: Sequence[InLogits]) -> Callable[[Sampled], Float[np.ndarray, "draws some parameters"]]:
        """All draws, one after the other, by sampling: one program where the numbers of paths agree."""
        single, keys = self._single(estimators), jax.random.split(self.key, self.draws)
        every = jax.jit(lambda parameters, inputs: jax.lax.map(lambda draw: single(parameters, *draw), inputs))
        return lambda sampling: np.asarray(every(self.policy.parameters, (self.paths[sampling], keys)), np.float64)

    def seconds(self, sizes: Sequence[int], rounds: int, *, only: bool = False) -> dict[Any, float]:
        """The seconds of one gradient by number of agents (None: RSPG), and of the mean field alone, timed in turns."""

        def mean_field(parameters: PyTree[Array], paths: NoisePaths, key: PRNGKeyArray) -> Trajectory:
            policy = self.policy.with_parameters(parameters)
            return over_paths(self.game, lambda noise: rollout(self.game, policy, noise), paths.noise)

        timed: dict[Any, Callable[..., Any]] = {size: self._single([reinforce(self.game, size)]) for size in sizes}
        if not only:
            timed |= {None: self._single([structural(self.game)]), "mean field": mean_field}
        arguments = (self.policy.parameters, jax.tree.map(lambda x: x[0], self.paths["iid"]), self.key)
        compiled = {name: jax.jit(call).lower(*arguments).compile() for name, call in timed.items()}
        # On CPU the processor's time, which does not include other processes.
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        clocks: dict[Any, list[float]] = {name: [] for name in compiled}
        for _ in range(rounds + 1):  # the first warms up
            for name, run in compiled.items():
                began = clock()
                jax.block_until_ready(run(*arguments))
                clocks[name].append(clock() - began)
        return {name: statistics.median(times[1:]) for name, times in clocks.items()}

    def rows(
        self, sizes: Sequence[int], equal: int, seconds: dict[Any, float]
    ) -> tuple[list[GradientRow], Float[np.ndarray, " draws"]]:
        """All rows; and the differences of REINFORCE with most agents from RSPG, along RSPG's mean, over its length."""
        draw_exact = self._draws([structural(self.game)])
        exact = {sampling: draw_exact(sampling)[:, 0] for sampling in self.paths}
        spread = {sampling: squared_deviations(replicates) for sampling, replicates in exact.items()}
        scale = self._squared_norm(exact["own"], spread["own"])
        rows = []
        for sampling, base in spread.items():
            ratio = Interval(1.0, 1.0, 1.0) if base.any() else None
            rows.append(GradientRow(sampling, None, None, seconds[None], bootstrap_interval(base / scale), ratio))
        for size in sizes:
            draw_agents = self._draws([reinforce(self.game, size, BASELINES)])
            for sampling, base in spread.items():
                if sampling == "own" and size != equal:
                    continue
                drawn = draw_agents(sampling)
                for i, baseline in enumerate(BASELINES):
                    deviations = squared_deviations(drawn[:, i])
                    ratio = bootstrap_interval(deviations, base) if base.any() else None
                    timed = seconds[size] if baseline == "mean" else None
                    rows.append(
                        GradientRow(sampling, size, baseline, timed, bootstrap_interval(deviations / scale), ratio)
                    )
                if sampling == "iid":  # of the most agents in the end
                    mean = exact["iid"].mean(axis=0)
                    differences = (drawn[:, BASELINES.index("mean")] - exact["iid"]) @ mean / (mean @ mean)
        return rows, differences

    def _squared_norm(self, exact: Float[np.ndarray, "draws parameters"], spread: Float[np.ndarray, " draws"]) -> float:
        """The squared norm of the mean gradient: over all paths if they are finite, else from the draws, unbiased."""
        scenarios = self.game.scenarios()
        if scenarios is None:
            mean = exact.mean(axis=0)
            return float(mean @ mean - spread.mean() / len(exact))
        single = jax.jit(self._single([structural(self.game)]))
        mean = np.asarray(single(self.policy.parameters, scenarios, self.key)[0], np.float64)
        return float(mean @ mean)


def _equal(sizes: Sequence[int], seconds: dict[Any, float]) -> int:
    """The number of agents that takes as long as RSPG, by interpolation between the fewest and the most agents.

    The time of the mean field is not counted for REINFORCE.
    """
    few, most = min(sizes), max(sizes)
    room = seconds[None] + seconds["mean field"] - seconds[few]
    if few == most:
        return few
    each = max((seconds[most] - seconds[few]) / (most - few), np.finfo(float).tiny)
    return max(_MIN_AGENTS, round(few + room / each))
