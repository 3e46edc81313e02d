"""How the variance of a mean return splits: the part of the common noise, and the part of the agents' own.

The mean return over M noise paths with N agents each has variance V_common / M + V_idiosyncratic / (M N): agents who
share a path share its noise, so more of them do not help beyond V_common / M. The structure gives both parts without
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

TOGETHER = 100  # agents of a path in one simulation: smaller numbers of agents are some of them
LEAST = 16  # of a mean return, at least, of which a variance is told


class ReturnPoint(NamedTuple):
    """The variance of the mean return over `num_paths` noise paths x `num_agents` agents, over replicates of it."""

    num_paths: int
    num_agents: int
    variance: Interval


class ReturnSpread(NamedTuple):
    """Mean return and its variance components: by the structure, and (`sampled_*`) from agents; squared units of it.

    The structural ones are exact where the noise is finite (`exact`), else means over `num_paths` sampled noise paths.
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
        """V_common / M + V_idiosyncratic / (M N), by the structure."""
        return (self.common + self.idiosyncratic / num_agents) / num_paths


class PathReturns(NamedTuple):
    """Along P paths: the mean and the variance of an agent's return by the structure (P,), and N agents' (P, N)."""

    means: Float[np.ndarray, " paths"]
    variances: Float[np.ndarray, " paths"]
    agents: Float[np.ndarray, "paths agents"]


@eqx.filter_jit
def _along(game: Game, policy: Policy, paths: NoisePaths, key: PRNGKeyArray, num_agents: int) -> tuple[Array, ...]:
    def one(path: tuple[Array, PRNGKeyArray]) -> tuple[Array, ...]:
        noise, path_key = path
        trajectory = rollout(game, policy, noise)
        agents = sample_agents(game, trajectory, num_agents, path_key)
        return *path_moments(game, trajectory), rewards_to_go(game, agents.rewards)[0]

    return jax.lax.map(one, (paths.noise, jax.random.split(key, paths.num_paths)))


def path_returns(game: Game, policy: Policy, paths: NoisePaths, key: PRNGKeyArray, *, num_agents: int) -> PathReturns:
    """The returns of N agents along every path, and what the structure says of them."""
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

    sample = simulate(0, TOGETHER)
    points = []
    for number, agents in enumerate(num_agents, 1):
        if max_agents // agents < LEAST:
            continue
        found = sample if agents <= TOGETHER else simulate(number, agents)
        means = found.agents[:, :agents].mean(axis=1)
        points += [point for paths in num_paths if (point := _point(means, paths, agents))]
    scenarios = game.scenarios()
    if scenarios is None:
        means, variances, weights = sample.means, sample.variances, np.full(len(sample.means), 1 / len(sample.means))
    else:
        means, variances, _ = path_returns(game, policy, scenarios, keys[0], num_agents=1)
        weights = np.asarray(scenarios.probabilities, np.float64)
    mean, used = weights @ means, len(weights)
    unbiased = 1 if scenarios is not None else used / (used - 1)
    sampled = _components(sample.agents)
    spread = ReturnSpread(
        scenarios is not None,
        used,
        float(mean),
        float(weights @ (means - mean) ** 2 * unbiased),
        float(weights @ variances),
        *sampled,
        tuple(points),
    )
    return spread, sample


def _components(agents: Float[np.ndarray, "paths agents"]) -> tuple[Interval, Interval, Interval]:
    """Mean, variance between paths without what the agents' own noise adds to it, and variance within them."""
    means, within = agents.mean(axis=1), agents.var(axis=1, ddof=1)
    between = squared_deviations(means[:, None]) - within / agents.shape[1]
    return bootstrap_interval(means), bootstrap_interval(between), bootstrap_interval(within)


def _point(means: Float[np.ndarray, " paths"], num_paths: int, num_agents: int) -> ReturnPoint | None:
    count = len(means) // num_paths
    if count < LEAST:
        return None
    replicates = means[: count * num_paths].reshape(count, num_paths).mean(axis=1)
    return ReturnPoint(num_paths, num_agents, bootstrap_interval(squared_deviations(replicates[:, None])))
