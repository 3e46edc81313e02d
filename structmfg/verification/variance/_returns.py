"""The variance of a mean return: the part of the common noise, and the part of the agents' own.

The mean return over M noise paths with N agents each has variance V_common / M + V_idiosyncratic / (M N): agents who
share a path share its noise, so more of them do not help beyond V_common / M. The operators give both parts without
agents: the expected return of a path by Horner's rule, and the variance about it by the same recursion for variances.
From agents they are estimated by a one-way analysis of variance (Searle, Casella & McCulloch 1992).
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._statistics import Interval, bootstrap_interval, squared_deviations
from structmfg.evaluation import rollout
from structmfg.games import Game, NoisePaths, noise_paths
from structmfg.policies import Policy
from structmfg.verification._moments import path_moments
from structmfg.verification.variance._agents import rewards_to_go, sample_agents

AGENTS_PER_PATH = 100  # agents on a path in one simulation; a mean over fewer agents uses some of them
MIN_REPLICATES = 16  # the fewest mean returns of which a variance is reported


class ReturnPoint(NamedTuple):
    """The variance of the mean return over `num_paths` noise paths x `num_agents` agents, from replicates of it."""

    num_paths: int
    num_agents: int
    variance: Interval


class ReturnSpread(NamedTuple):
    """The mean return and its variance components, by the operators and (`sampled_*`) from agents.

    Attributes:
        exact: Whether the components by the operators are exact, as the noise is finite; else they are means over
            sampled noise paths.
        num_paths: The number of noise paths of the operators.
        mean: The mean return.
        common: The variance by the common noise, in squared units of the return.
        idiosyncratic: The variance by the agents' own noise, in squared units of the return.
        sampled_mean: The mean return of agents.
        sampled_common: The same as `common`, from agents.
        sampled_idiosyncratic: The same as `idiosyncratic`, from agents.
        points: Variances of mean returns, by numbers of noise paths and agents.
    """

    exact: bool
    num_paths: int
    mean: float
    common: float
    idiosyncratic: float
    sampled_mean: Interval
    sampled_common: Interval
    sampled_idiosyncratic: Interval
    points: tuple[ReturnPoint, ...]

    def variance(self, num_paths: float, num_agents: float) -> float:
        """The variance of the mean return, V_common / M + V_idiosyncratic / (M N), by the operators."""
        return (self.common + self.idiosyncratic / num_agents) / num_paths


class PathReturns(NamedTuple):
    """Along P paths: mean and variance of a return by the operators, (P,), and the returns of N agents, (P, N)."""

    means: Float[np.ndarray, " paths"]
    variances: Float[np.ndarray, " paths"]
    agents: Float[np.ndarray, "paths agents"]


@eqx.filter_jit
def _along(game: Game, policy: Policy, paths: NoisePaths, key: PRNGKeyArray, num_agents: int) -> tuple[Array, ...]:
    def along(path: tuple[Array, PRNGKeyArray]) -> tuple[Array, ...]:
        noise, path_key = path
        trajectory = rollout(game, policy, noise)
        agents = sample_agents(game, trajectory, num_agents, path_key)
        return *path_moments(game, trajectory), rewards_to_go(game, agents.rewards)[0]

    return jax.lax.map(along, (paths.noise, jax.random.split(key, paths.num_paths)))


def path_returns(game: Game, policy: Policy, paths: NoisePaths, key: PRNGKeyArray, *, num_agents: int) -> PathReturns:
    """The returns of N agents along every path, and their mean and variance by the operators."""
    return PathReturns(*(np.asarray(x, np.float64) for x in _along(game, policy, paths, key, num_agents)))


def return_spread(
    game: Game,
    policy: Policy,
    key: PRNGKeyArray,
    *,
    num_paths: Sequence[int],
    num_agents: Sequence[int],
    max_paths: int,
    max_agents: int,
) -> tuple[ReturnSpread, PathReturns]:
    """The components, the variance at every M and N that leaves enough replicates, and the sample of the components.

    At most `max_paths` paths are simulated for one N, and `max_agents` agents on all of them.
    """
    keys = jax.random.split(key, 2 * len(num_agents) + 2)

    def simulate(number: int, agents: int) -> PathReturns:
        count = min(max_paths, max_agents // agents)
        paths = noise_paths(game, key=keys[2 * number], num_paths=count)
        return path_returns(game, policy, paths, keys[2 * number + 1], num_agents=agents)

    sample = simulate(0, AGENTS_PER_PATH)
    points = []
    for number, agents in enumerate(num_agents, 1):
        if max_agents // agents < MIN_REPLICATES:
            continue
        returns = sample if agents <= AGENTS_PER_PATH else simulate(number, agents)
        means = returns.agents[:, :agents].mean(axis=1)
        points += [point for paths in num_paths if (point := _point(means, paths, agents))]
    scenarios = game.scenarios()
    if scenarios is None:
        means, variances, weights = sample.means, sample.variances, np.full(len(sample.means), 1 / len(sample.means))
    else:
        means, variances, _ = path_returns(game, policy, scenarios, keys[0], num_agents=1)
        weights = np.asarray(scenarios.probabilities, np.float64)
    mean, count = weights @ means, len(weights)
    unbiased = 1 if scenarios is not None else count / (count - 1)
    sampled = _components(sample.agents)
    spread = ReturnSpread(
        scenarios is not None,
        count,
        float(mean),
        float(weights @ (means - mean) ** 2 * unbiased),
        float(weights @ variances),
        *sampled,
        tuple(points),
    )
    return spread, sample


def _components(agents: Float[np.ndarray, "paths agents"]) -> tuple[Interval, Interval, Interval]:
    """The mean, the variance between paths less what the agents' own noise adds, and the variance within paths."""
    means, within = agents.mean(axis=1), agents.var(axis=1, ddof=1)
    between = squared_deviations(means[:, None]) - within / agents.shape[1]
    return bootstrap_interval(means), bootstrap_interval(between), bootstrap_interval(within)


def _point(means: Float[np.ndarray, " paths"], num_paths: int, num_agents: int) -> ReturnPoint | None:
    count = len(means) // num_paths
    if count < MIN_REPLICATES:
        return None
    replicates = means[: count * num_paths].reshape(count, num_paths).mean(axis=1)
    return ReturnPoint(num_paths, num_agents, bootstrap_interval(squared_deviations(replicates[:, None])))
