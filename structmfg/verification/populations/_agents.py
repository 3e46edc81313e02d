"""The statistical checks of agents against operators: where agents land, where a population is, what it earns.

Every check has for value the evidence -log10 p, p being the smallest p-value of its subtests times their number
(Bonferroni, valid however they depend on each other), and for bound the evidence of the level that the caller gives.
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
from structmfg.evaluation import Trajectory, rollout
from structmfg.games import AggregateState, Game, Noise, as_game, count, move
from structmfg.policies import Policy, as_policy
from structmfg.verification._check import check
from structmfg.verification._moments import path_moments
from structmfg.verification.laws import rewards_along
from structmfg.verification.populations._multinomial import expected_counts, multinomial_p_values, worst_cells
from structmfg.verification.populations._population import Population, population

_BATCH = 2**21  # entries of rows, and agents, that are held at a time

# Compiled once for all calls.
_rollout = eqx.filter_jit(rollout)
_moments = eqx.filter_jit(path_moments)


class Independent(NamedTuple):
    """The analytic path of the mean field, and agents who live within it, independent of each other."""

    trajectory: Trajectory
    population: Population

    @property
    def num_agents(self) -> int:
        """N."""
        return len(self.population.returns)

    @property
    def mean_fields(self) -> Float[np.ndarray, "times_and_end states"]:
        """mu_0..mu_T."""
        return np.asarray(self.trajectory.aggregates.mean_field)

    def p_values(self) -> Float[np.ndarray, " times_and_end"]:
        """Of the counts at t = 0..T, each by itself, against N mu_t."""
        return multinomial_p_values(np.asarray(self.population.counts), self.mean_fields, self.num_agents)


def independent(game: Game, policy: Policy, noise: Noise, *, num_agents: int, key: PRNGKeyArray) -> Independent:
    """N agents within the mean field that the operators push along one noise path."""
    game = as_game(game)
    policy = as_policy(game, policy)
    trajectory = _rollout(game, policy, noise)
    agents = population(game, policy, noise, num_agents=num_agents, key=key, within=trajectory.aggregates)
    return Independent(trajectory, agents)


@check("agents moved one by one land where the kernel says, from every state by every action")
def transitions(
    game: Game,
    aggregates: AggregateState,
    *,
    key: PRNGKeyArray,
    level: float,
    num_pairs: int = 2048,
    num_draws: int = 1000,
) -> tuple[float, float, str]:
    """`move_agents` against the rows P(. | s, a), which are `push` of one agent, at given aggregates (leading axis K).

    At each of them every pair (s, a) is tried, or `num_pairs` random ones where there are more, with `num_draws` agents
    in each: a G test a pair, and no agent at all where the probability is zero.
    """
    for name, value in (("num_pairs", num_pairs), ("num_draws", num_draws)):
        check_integer(name, value, at_least=1)
    game, times = as_game(game), np.asarray(aggregates.time)
    found = [
        _transitions_at(game, jax.tree.map(lambda x, i=i: x[i], aggregates), num_pairs, num_draws, k)
        for i, k in enumerate(jax.random.split(key, len(times)))
    ]
    p_values = np.concatenate([p for p, _ in found])
    worst = min(range(len(found)), key=lambda i: found[i][0].min())
    told = f"{found[worst][1]} ({len(p_values)} tests at t = {', '.join(map(str, times))})"
    return bonferroni(p_values), evidence(level), told


def _transitions_at(
    game: Game, aggregate: AggregateState, num_pairs: int, num_draws: int, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, " pairs"], str]:
    """The p-values, and the worst pair in words."""
    choose, draw = jax.random.split(key)
    total = game.num_states * game.num_actions
    pairs = np.asarray(jax.random.choice(choose, total, (min(num_pairs, total),), replace=False))
    size = max(1, min(len(pairs), _BATCH // max(game.num_states, num_draws)))
    batches = np.resize(pairs, (-(-len(pairs) // size), size))  # the last is filled up with pairs already tried
    p_values: list[np.ndarray] = []
    worst = (math.inf, 0.0, "")
    for batch, batch_key in zip(batches, jax.random.split(draw, len(batches)), strict=True):
        drawn = _moves(game, aggregate, jnp.asarray(batch), num_draws, batch_key)
        rows, observed = (np.asarray(x)[: len(pairs) - len(p_values) * size] for x in drawn)
        p_values.append(multinomial_p_values(observed, rows, num_draws))
        expected = expected_counts(rows, num_draws)
        apart = np.abs(observed - expected).sum(-1)
        row = np.lexsort((-apart, p_values[-1]))[0]  # the largest difference among equal p-values
        if (p_values[-1][row], -apart[row]) < worst[:2]:
            state, action = divmod(int(batch[row]), game.num_actions)
            where = _cell(observed[row], expected[row], num_draws, "moved to")
            told = f"state {state}, action {action}, t = {int(aggregate.time)}: {where}"
            worst = (p_values[-1][row], -apart[row], told)
    return np.concatenate(p_values), worst[2]


@eqx.filter_jit
def _moves(
    game: Game, aggregate: AggregateState, pairs: Int[Array, " pairs"], num_draws: int, key: PRNGKeyArray
) -> tuple[Float[Array, "pairs states"], Int[Array, "pairs states"]]:
    """The kernel's rows of pairs s * A + a, and where agents in s who do a went."""
    kernel, size = game.kernel(aggregate), game.num_states
    row = jnp.repeat(jnp.arange(len(pairs)), num_draws)
    moved = move(game, aggregate, *jnp.divmod(pairs[row], game.num_actions), key)
    inside = (moved >= 0) & (moved < size)
    observed = count(jnp.where(inside, row * size + moved, -1), len(pairs) * size).reshape(-1, size)

    def pushed(pair: Array) -> Array:
        agent = jnp.zeros(size * game.num_actions).at[pair].set(1)
        return kernel.push(agent.reshape(size, game.num_actions))

    return jax.lax.map(pushed, pairs), observed


@check("independent agents, moved one by one, are spread as the operators push the mean field, at every t")
def counts(lived: Independent, *, level: float) -> tuple[float, float, str]:
    """A multinomial test against N mu_t at every t = 0..T. Told is the first time rejected, else the worst."""
    p_values = lived.p_values()
    rejected = np.flatnonzero(p_values * len(p_values) < level)
    time = int(rejected[0] if len(rejected) else p_values.argmin())
    expected = expected_counts(lived.mean_fields[time][None], lived.num_agents)[0]
    where = _cell(np.asarray(lived.population.counts[time]), expected, lived.num_agents, "are in")
    first = f", the first of {len(rejected)} times rejected of {len(p_values)}" if len(rejected) else ""
    return bonferroni(p_values), evidence(level), f"t = {time}{first}: {where}"


@check("the mean return of independent agents is mu_0 . v_0, which the operators evaluate")
def returns(game: Game, lived: Independent, *, level: float) -> tuple[float, float, str]:
    """Bernstein's inequality, with the variance that the operators give and the largest returns that there can be.

    It holds for any number of agents, however rare what they earn most by: with d = |mean - expected|, variance V and
    distance b between the least and the largest return, p <= 2 exp(-N d^2 / (2 V + 2 b d / 3)) (Boucheron, Lugosi &
    Massart 2013, theorem 2.10). A difference within 8 T epsilon of the returns' size is put down to rounding.
    """
    trajectory, (_, earned) = lived
    expected, variance = (float(x) for x in _moments(game, trajectory))
    sampled = np.asarray(earned, float)
    size = math.sqrt(max(np.mean(sampled**2), expected**2))
    apart = max(abs(sampled.mean() - expected) - 8 * game.horizon * float(jnp.finfo(earned.dtype).eps) * size, 0)
    rewards = np.asarray(rewards_along(game, trajectory.aggregates), float).reshape(game.horizon, -1)
    width = float(game.discount ** np.arange(game.horizon) @ np.ptp(rewards, axis=1))
    told = f"mean {sampled.mean():.6g} of {len(sampled)} agents, expected {expected:.6g}"
    if not math.isfinite(apart):
        return math.nan, evidence(level), told
    denominator = 2 * max(variance, 0) + 2 * width * apart / 3
    p_value = 2 * math.exp(-len(sampled) * apart**2 / denominator) if denominator > 0 else float(apart == 0)
    error = math.sqrt(max(variance, 0) / len(sampled))
    return bonferroni(np.array([p_value])), evidence(level), f"{told}, standard error {error:.2g}"


def _cell(observed: np.ndarray, expected: np.ndarray, total: int, verb: str) -> str:
    """The cell that differs most, in words."""
    if observed.sum() != total:
        return f"{total - observed.sum()} of {total} agents {verb} no state in 0..{len(observed) - 1}"
    cell = worst_cells(observed[None], expected[None])[0]
    return f"{observed[cell]} of {total} agents {verb} state {cell}, expected {expected[cell]:.6g}"
