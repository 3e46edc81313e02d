"""All statistical checks of a game along one noise path, and the data of their figures."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from structmfg.games import Game, Noise
from structmfg.policies import Policy
from structmfg.verification._check import CheckResult, check
from structmfg.verification.populations._agents import (
    IndependentAgents,
    counts,
    returns,
    simulate_independent_agents,
    transitions,
)
from structmfg.verification.populations._noise import noise as noise_check
from structmfg.verification.populations._rate import Rate, rate_is_one_half, rate_of_convergence


class SampleSizes(NamedTuple):
    """How much is sampled.

    Attributes:
        num_agents: Agents of a population.
        num_pairs: Pairs (s, a) from which agents move.
        num_draws: Agents that move from each pair.
        num_times: Times at which they do.
        num_paths: Noise paths.
        rate_sizes: Numbers of agents N to which the rate is fitted; without any, the rate is left out.
        rate_replicates: Replicates of each of these.
    """

    num_agents: int
    num_pairs: int
    num_draws: int
    num_times: int
    num_paths: int
    rate_sizes: tuple[int, ...]
    rate_replicates: tuple[int, ...]


FAST = SampleSizes(3 * 10**5, 2048, 4000, 3, 10**4, (100, 1000, 10**4), (32, 16, 8))
DEEP = SampleSizes(10**6, 2**14, 10**4, 4, 10**5, (100, 1000, 10**4, 10**5, 10**6), (64, 32, 16, 8, 4))


class Spread(NamedTuple):
    """The numbers of agents in every state at one time, and the numbers that the operators expect."""

    time: int
    observed: Int[np.ndarray, " states"]
    expected: Float[np.ndarray, " states"]


class Study(NamedTuple):
    """The checks that could be made, and the data of their figures.

    Attributes:
        results: The checks.
        p_values: The p-values of the counts at t = 0..T, (T+1,); None where the game raised.
        spread: The agents over the states at the time of the least p-value; None where the game raised.
        rate: The fitted rate; None where it was not measured.
    """

    results: tuple[CheckResult, ...]
    p_values: Float[np.ndarray, " times_and_end"] | None = None
    spread: Spread | None = None
    rate: Rate | None = None


NUM_TESTS = 4  # the checks that have a level; the rate has none
LEVEL_INFLATION = 4  # a G test of three cells may reject at up to so many times its level (see `_multinomial`)


def study(
    game: Game, policy: Policy, noise: Noise, *, key: PRNGKeyArray, level: float = 1e-6, samples: SampleSizes = FAST
) -> Study:
    """Check noise, transitions, counts, returns and the rate of a game along one noise path.

    Args:
        game: The game; an error that it raises is a failed check.
        policy: The policy of all agents.
        noise: The noise path z_0..z_T.
        key: Random key.
        level: The level of each statistical check; that of the rate has none.
        samples: How much is sampled.
    """
    agents_key, transitions_key, noise_key, rate_key = jax.random.split(key, 4)
    simulated: list[IndependentAgents] = []
    rate: list[Rate] = []

    @check("agents can be drawn, act and move one by one along a noise path")
    def agents_live() -> tuple[float, float]:
        simulated.append(
            simulate_independent_agents(game, policy, noise, num_agents=samples.num_agents, key=agents_key)
        )
        return 0, 0

    @check("populations of all sizes can be drawn")
    def rate_is_measured() -> tuple[float, float]:
        sizes, replicates = samples.rate_sizes, samples.rate_replicates
        rate.append(rate_of_convergence(game, policy, noise, key=rate_key, sizes=sizes, replicates=replicates))
        return 0, 0

    noise_result = noise_check(game, key=noise_key, level=level, num_paths=samples.num_paths)
    results = [] if noise_result is None else [noise_result]
    failed = agents_live()
    if not simulated:
        return Study((*results, failed))
    (agents,) = simulated
    times = np.unique(np.linspace(0, game.horizon - 1, samples.num_times).round().astype(int))
    aggregates = jax.tree.map(lambda x: x[times], agents.trajectory.aggregates)
    pairs, draws = samples.num_pairs, samples.num_draws
    results.append(transitions(game, aggregates, key=transitions_key, level=level, num_pairs=pairs, num_draws=draws))
    results += [counts(agents, level=level), returns(game, agents, level=level)]
    if samples.rate_sizes:
        failed = rate_is_measured()
        results.append(rate_is_one_half(rate[0]) if rate else failed)
    return Study(tuple(results), agents.p_values(), _spread(agents), rate[0] if rate else None)


def _spread(agents: IndependentAgents) -> Spread:
    """The agents at the time of the least p-value."""
    time = int(agents.p_values().argmin())
    expected = agents.num_agents * agents.mean_fields[time].astype(float)
    return Spread(time, np.asarray(agents.population.counts[time]), expected)
