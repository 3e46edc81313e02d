"""All statistical checks of a game along one noise path, with what figures of them need."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from structmfg.games import Game, Noise
from structmfg.policies import Policy
from structmfg.verification._check import CheckResult, check
from structmfg.verification.populations._agents import Independent, counts, independent, returns, transitions
from structmfg.verification.populations._noise import noise as noise_check
from structmfg.verification.populations._rate import Rate, rate_is_one_half, rate_of_convergence


class Effort(NamedTuple):
    """How much is sampled: agents of a population, pairs (s, a), draws of each, noise paths, and for the rate.

    The rate is left out where there are no `sizes`.
    """

    num_agents: int
    num_pairs: int
    num_draws: int
    num_times: int
    num_paths: int
    sizes: tuple[int, ...]
    replicates: tuple[int, ...]


FAST = Effort(3 * 10**5, 2048, 4000, 3, 10**4, (100, 1000, 10**4), (32, 16, 8))
DEEP = Effort(10**6, 2**14, 10**4, 4, 10**5, (100, 1000, 10**4, 10**5, 10**6), (64, 32, 16, 8, 4))


class Spread(NamedTuple):
    """Agents over the states at one time: how many there are, and how many the operators expect."""

    time: int
    observed: Int[np.ndarray, " states"]
    expected: Float[np.ndarray, " states"]


class Study(NamedTuple):
    """The checks, those that could be made; what they are drawn from is None where the game raised."""

    results: tuple[CheckResult, ...]
    p_values: Float[np.ndarray, " times_and_end"] | None = None
    spread: Spread | None = None
    rate: Rate | None = None


NUM_TESTS = 4  # those with a level, among which a caller divides a family's: the rate has none
SPARE = 4  # times its level at which a G test may reject where cells are few (see `_multinomial`)


def study(
    game: Game, policy: Policy, noise: Noise, *, key: PRNGKeyArray, level: float = 1e-6, effort: Effort = FAST
) -> Study:
    """The checks of noise, transitions, counts, returns and the rate; each that has one at this level.

    What the game raises is a failed check.
    """
    lives, moves, paths, rates = jax.random.split(key, 4)
    made: list[Independent] = []
    rate: list[Rate] = []

    @check("agents can be drawn, act and move one by one along a noise path")
    def agents_live() -> tuple[float, float]:
        made.append(independent(game, policy, noise, num_agents=effort.num_agents, key=lives))
        return 0, 0

    @check("populations of all sizes can be drawn")
    def rate_is_measured() -> tuple[float, float]:
        sizes, replicates = effort.sizes, effort.replicates
        rate.append(rate_of_convergence(game, policy, noise, key=rates, sizes=sizes, replicates=replicates))
        return 0, 0

    about_noise = noise_check(game, key=paths, level=level, num_paths=effort.num_paths)
    results = [] if about_noise is None else [about_noise]
    failed = agents_live()
    if not made:
        return Study((*results, failed))
    (lived,) = made
    times = np.unique(np.linspace(0, game.horizon - 1, effort.num_times).round().astype(int))
    some = jax.tree.map(lambda x: x[times], lived.trajectory.aggregates)
    pairs, draws = effort.num_pairs, effort.num_draws
    results.append(transitions(game, some, key=moves, level=level, num_pairs=pairs, num_draws=draws))
    results += [counts(lived, level=level), returns(game, lived, level=level)]
    if effort.sizes:
        failed = rate_is_measured()
        results.append(rate_is_one_half(rate[0]) if rate else failed)
    return Study(tuple(results), lived.p_values(), _spread(lived), rate[0] if rate else None)


def _spread(lived: Independent) -> Spread:
    """Where the p-value is least, which is where there is most to see."""
    time = int(lived.p_values().argmin())
    expected = lived.num_agents * lived.mean_fields[time].astype(float)
    return Spread(time, np.asarray(lived.population.counts[time]), expected)
