"""The statistical checks of agents against operators: transitions, counts of a population, and returns.

The value of every check is the evidence -log10 p, p being the smallest p-value of its subtests times their number
(Bonferroni); the bound is the evidence of the level that the caller gives.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer
from structmfg._statistics import bonferroni, evidence
from structmfg.evaluation import Trajectory
from structmfg.games import AggregateState, Game, Noise, as_game, count_agents, sample_next_states
from structmfg.policies import Policy, as_policy
from structmfg.verification._check import check
from structmfg.verification._compiled import rollout
from structmfg.verification._moments import path_moments
from structmfg.verification.laws import rewards_along
from structmfg.verification.populations._multinomial import expected_counts, multinomial_p_values, worst_cells
from structmfg.verification.populations._population import SimulatedPopulation, simulate_population

_MAX_BATCH = 2**21  # entries of rows, and agents, in memory at a time

_moments = eqx.filter_jit(path_moments)


class IndependentAgents(NamedTuple):
    """Agents in the mean field that the operators compute, independent of each other.

    Attributes:
        trajectory: The path of the mean field.
        population: The agents.
    """

    trajectory: Trajectory
    population: SimulatedPopulation

    @property
    def num_agents(self) -> int:
        """The number of agents N."""
        return len(self.population.returns)

    @property
    def mean_fields(self) -> Float[np.ndarray, "times_and_end states"]:
        """The mean fields mu_0..mu_T."""
        return np.asarray(self.trajectory.aggregates.mean_field)

    def p_values(self) -> Float[np.ndarray, " times_and_end"]:
        """The p-values of the counts at t = 0..T against N mu_t, each by itself."""
        return multinomial_p_values(np.asarray(self.population.counts), self.mean_fields, self.num_agents)


def simulate_independent_agents(
    game: Game, policy: Policy, noise: Noise, *, num_agents: int, key: PRNGKeyArray
) -> IndependentAgents:
    """Simulate agents in the mean field that the operators push along one noise path.

    Args:
        game: The game.
        policy: The policy of all agents.
        noise: The noise path z_0..z_T.
        num_agents: The number of agents N.
        key: Random key.
    """
    game = as_game(game)
    policy = as_policy(game, policy)
    trajectory = rollout(game, policy, noise)
    agents = simulate_population(game, policy, noise, num_agents=num_agents, key=key, within=trajectory.aggregates)
    return IndependentAgents(trajectory, agents)


@check("agents who move one by one arrive where the kernel says, from every state by every action")
def transitions(
    game: Game,
    aggregates: AggregateState,
    *,
    key: PRNGKeyArray,
    level: float,
    num_pairs: int = 2048,
    num_draws: int = 1000,
) -> tuple[float, float, str]:
    """Test `move_agents` against the rows P(. | s, a), which are `push` of one agent.

    For every pair (s, a) there is a G test, and no agent may go where the probability is zero.

    Args:
        game: The game.
        aggregates: K aggregate states, along a leading axis.
        key: Random key.
        level: The level of the check.
        num_pairs: The number of random pairs (s, a) at each aggregate state; all pairs where there are fewer.
        num_draws: The number of agents that move from each pair.
    """
    for name, value in (("num_pairs", num_pairs), ("num_draws", num_draws)):
        check_integer(name, value, at_least=1)
    game, times = as_game(game), np.asarray(aggregates.time)
    tests = [
        _transitions_at(game, jax.tree.map(lambda x, i=i: x[i], aggregates), num_pairs, num_draws, k)
        for i, k in enumerate(jax.random.split(key, len(times)))
    ]
    p_values = np.concatenate([p for p, _ in tests])
    worst = min(range(len(tests)), key=lambda i: tests[i][0].min())
    where = f"{tests[worst][1]} ({len(p_values)} tests at t = {', '.join(map(str, times))})"
    return bonferroni(p_values), evidence(level), where


def _transitions_at(
    game: Game, aggregate: AggregateState, num_pairs: int, num_draws: int, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, " pairs"], str]:
    """The p-values, and the worst pair in words."""
    choose, draw = jax.random.split(key)
    total = game.num_states * game.num_actions
    pairs = np.asarray(jax.random.choice(choose, total, (min(num_pairs, total),), replace=False))
    size = max(1, min(len(pairs), _MAX_BATCH // max(game.num_states, num_draws)))
    batches = np.resize(pairs, (-(-len(pairs) // size), size))  # the last is filled with pairs already tried
    p_values: list[np.ndarray] = []
    worst = (math.inf, 0.0, "")
    for batch, batch_key in zip(batches, jax.random.split(draw, len(batches)), strict=True):
        drawn = _rows_and_counts(game, aggregate, jnp.asarray(batch), num_draws, batch_key)
        rows, observed = (np.asarray(x)[: len(pairs) - len(p_values) * size] for x in drawn)
        p_values.append(multinomial_p_values(observed, rows, num_draws))
        expected = expected_counts(rows, num_draws)
        difference = np.abs(observed - expected).sum(-1)
        row = np.lexsort((-difference, p_values[-1]))[0]  # the largest difference among equal p-values
        if (p_values[-1][row], -difference[row]) < worst[:2]:
            state, action = divmod(int(batch[row]), game.num_actions)
            where = _cell(observed[row], expected[row], num_draws, "moved to")
            place = f"state {state}, action {action}, t = {int(aggregate.time)}"
            worst = (p_values[-1][row], -difference[row], f"{place}: {where}")
    return np.concatenate(p_values), worst[2]


@eqx.filter_jit
def _rows_and_counts(
    game: Game, aggregate: AggregateState, pairs: Int[Array, " pairs"], num_draws: int, key: PRNGKeyArray
) -> tuple[Float[Array, "pairs states"], Int[Array, "pairs states"]]:
    """The kernel's rows of pairs s * A + a, and the counts of next states of agents in s who take a."""
    kernel, size = game.kernel(aggregate), game.num_states
    row = jnp.repeat(jnp.arange(len(pairs)), num_draws)
    arrived = sample_next_states(game, aggregate, *jnp.divmod(pairs[row], game.num_actions), key)
    inside = (arrived >= 0) & (arrived < size)
    observed = count_agents(jnp.where(inside, row * size + arrived, -1), len(pairs) * size).reshape(-1, size)

    def pushed(pair: Array) -> Array:
        agent = jnp.zeros(size * game.num_actions).at[pair].set(1)
        return kernel.push(agent.reshape(size, game.num_actions))

    return jax.lax.map(pushed, pairs), observed


@check("independent agents, who move one by one, are distributed as the operators push the mean field, at every t")
def counts(agents: IndependentAgents, *, level: float) -> tuple[float, float, str]:
    """Test the counts against N mu_t at every t = 0..T; `where` is the first time that is rejected, else the worst."""
    p_values = agents.p_values()
    rejected = np.flatnonzero(p_values * len(p_values) < level)
    time = int(rejected[0] if len(rejected) else p_values.argmin())
    expected = expected_counts(agents.mean_fields[time][None], agents.num_agents)[0]
    where = _cell(np.asarray(agents.population.counts[time]), expected, agents.num_agents, "are in")
    first = f", the first of {len(rejected)} times rejected of {len(p_values)}" if len(rejected) else ""
    return bonferroni(p_values), evidence(level), f"t = {time}{first}: {where}"


@check("the mean return of independent agents is mu_0 . v_0, which the operators evaluate")
def returns(game: Game, agents: IndependentAgents, *, level: float) -> tuple[float, float, str]:
    """Test the mean return by Bernstein's inequality, with the variance that the operators give.

    It holds for any number of agents, however rare large returns are: with d = |mean - expected|, variance V and
    distance b between the least and the largest possible return, p <= 2 exp(-N d^2 / (2 V + 2 b d / 3)) (Boucheron,
    Lugosi & Massart 2013, theorem 2.10). A difference within 8 T epsilon of the returns' size counts as rounding.
    """
    trajectory, (_, totals) = agents
    expected, variance = (float(x) for x in _moments(game, trajectory))
    sampled = np.asarray(totals, float)
    size = math.sqrt(max(np.mean(sampled**2), expected**2))
    excess = max(abs(sampled.mean() - expected) - 8 * game.horizon * float(jnp.finfo(totals.dtype).eps) * size, 0)
    rewards = np.asarray(rewards_along(game, trajectory.aggregates), float).reshape(game.horizon, -1)
    width = float(game.discount ** np.arange(game.horizon) @ np.ptp(rewards, axis=1))
    where = f"mean {sampled.mean():.6g} of {len(sampled)} agents, expected {expected:.6g}"
    if not math.isfinite(excess):
        return math.nan, evidence(level), where
    denominator = 2 * max(variance, 0) + 2 * width * excess / 3
    p_value = 2 * math.exp(-len(sampled) * excess**2 / denominator) if denominator > 0 else float(excess == 0)
    error = math.sqrt(max(variance, 0) / len(sampled))
    return bonferroni(np.array([p_value])), evidence(level), f"{where}, standard error {error:.2g}"


def _cell(observed: np.ndarray, expected: np.ndarray, total: int, verb: str) -> str:
    """The cell whose count differs most from what is expected, in words."""
    if observed.sum() != total:
        return f"{total - observed.sum()} of {total} agents {verb} no state in 0..{len(observed) - 1}"
    cell = worst_cells(observed[None], expected[None])[0]
    return f"{observed[cell]} of {total} agents {verb} state {cell}, expected {expected[cell]:.6g}"
