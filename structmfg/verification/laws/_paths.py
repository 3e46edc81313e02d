"""The laws of a game along a path of aggregates, and of policy evaluation there.

A path starts at t = 0 and follows random noise under a random policy that differs from time to time, so that code that
takes time t + 1 for t, or one policy for the next, fails. Laws are measured in the precision of the path: whether
values are finite matters in that of the solvers, identities of algebra are sharper in double precision.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg._checks import check_shape
from structmfg.evaluation import check_declared, policy_values, rollout, steps
from structmfg.games import AggregateState, Game, Noise, innovations, noise_path
from structmfg.policies import Policy, TabularPolicy
from structmfg.verification._check import Measured, check
from structmfg.verification._compiled import allowed_rewards, kernel_at
from structmfg.verification.laws._probe import host, rounding, worst

_MAX_MOVES = 100_000  # steps of the mean field after which its mass is compared with one
_MAX_MOVED_PAIRS = 5 * 10**7  # state-action pairs in all of these steps

Rollout = Callable[..., Any]
Evaluation = Callable[..., Array]


class AggregatePath(NamedTuple):
    """Noise z_0..z_T, aggregates at t = 0..T and the policy (T, S, A) that leads from one to the next."""

    noise: Noise
    aggregates: AggregateState
    policy: Float[Array, "times states actions"]

    def at(self, time: int) -> AggregateState:
        """The aggregate at t."""
        return jax.tree.map(lambda x: x[time], self.aggregates)


@eqx.filter_jit
def _unrolled(unroll: Rollout, game: Game, policy: Policy, noise: Noise) -> Any:
    return unroll(game, policy, noise)


def random_path(game: Game, key: PRNGKeyArray, *, unroll: Rollout = rollout) -> AggregatePath:
    """A path along random noise under a random policy, by `rollout` or a function with the same arguments."""
    noise_key, policy_key = jax.random.split(key)
    noise = noise_path(game, innovations(noise_key, 1, game.horizon + 1, "iid")[0])
    logits = 2 * jax.random.normal(policy_key, (game.horizon, game.num_states, game.num_actions))
    policy = TabularPolicy(jax.nn.softmax(logits))
    followed = _unrolled(unroll, game, policy, noise)
    return AggregatePath(noise, followed.aggregates, followed.policy if game.declared else policy.table)


def _bound(game: Game, path: AggregatePath) -> float:
    """The rounding bound of one operator on a vector of scale 1; in single precision where the game's arrays are."""
    pieces = jax.eval_shape(lambda pair: (game.kernel(pair[0]), allowed_rewards(game, *pair)), (path.at(0), path.at(1)))
    return rounding(game.num_states * game.num_actions, path.aggregates.mean_field, pieces)


@eqx.filter_jit
def rewards_along(game: Game, aggregates: AggregateState) -> Float[Array, "times states actions"]:
    """The rewards at t = 0..T-1; zero for actions that are not allowed."""
    return jax.lax.map(lambda pair: allowed_rewards(game, *pair), steps(aggregates))


@eqx.filter_jit
def _observations(game: Game, aggregates: AggregateState) -> tuple[Array, Array]:
    """The observations at t = 0..T-1, and as networks see them."""
    now, _ = steps(aggregates)
    observations = jax.lax.map(game.observe, now.as_observed())
    return observations, game.normalise(observations)


@check("mu_0..mu_T is finite, nonnegative and sums to one")
def path_of_distributions(game: Game, path: AggregatePath) -> Measured:
    """The largest error of the sum, or depth below zero; bounds grow with t. `where` is the first time beyond them."""
    mean_fields = host(path.aggregates.mean_field)
    sums = mean_fields.sum(-1)
    errors = np.maximum(np.abs(sums - 1), -mean_fields.min(-1))
    bounds = (1 + np.arange(game.horizon + 1)) * _bound(game, path)
    broken = np.flatnonzero(~(errors <= bounds))
    if not len(broken):
        return errors.max(), bounds[-1]
    first = broken[0]
    where = f"first at t = {first}: it sums to {sums[first]:.7g}, its least entry is {mean_fields[first].min():.3g}"
    return errors[first], bounds[first], where


@check(
    "every market clears at its price, some action is allowed in every state, and public state and actions are finite"
)
def declared_parts_hold(game: Game, path: AggregatePath) -> Measured:
    """The number of entries of public state and statistics of actions that are not finite, or an error."""
    now, _ = steps(path.aggregates)
    check_declared(game, now, path.policy)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((now.public, now.actions))]
    return sum(int((~np.isfinite(leaf)).sum()) for leaf in leaves), 0


@eqx.filter_jit
def _after_many_moves(game: Game, path: AggregatePath, count: Int[Array, ""]) -> Array:
    """mu_0 after `count` steps by A_0, A_1, ..., A_{T-1}, A_0, ..."""

    def step(i: Array, mean_field: Array) -> Array:
        now = jax.tree.map(lambda x: x[i % game.horizon], path.aggregates)
        return game.kernel(now).under(path.policy[i % game.horizon]).move(mean_field)

    return jax.lax.fori_loop(0, count, step, path.aggregates.mean_field[0])


@check(
    "mass stays one over up to 1e5 moves of the mean field, the path's again and again: a drift of at most 1e-5 in "
    "single precision, 1e-12 in double"
)
def mass_over_many_moves(game: Game, path: AggregatePath) -> Measured:
    """|sum mu - 1| at the end; large games make fewer moves, but at least T."""
    count = max(game.horizon, min(_MAX_MOVES, _MAX_MOVED_PAIRS // (game.num_states * game.num_actions)))
    bound = 1e-5 if _bound(game, path) > 1e-9 else 1e-12
    drift = host(_after_many_moves(game, path, jnp.asarray(count))).sum() - 1
    return abs(drift), bound, f"after {count} moves the mass has changed by {drift:.3g}"


@eqx.filter_jit
def _rows_along(game: Game, path: AggregatePath) -> tuple[Array, Array]:
    """The sums of all rows, and the least probability of each, at t = 0..T-1."""

    def at(aggregate: AggregateState) -> tuple[Array, Array]:
        kernel = game.kernel(aggregate)
        return kernel.expect(jnp.ones(game.num_states)), jnp.min(kernel.successors().probabilities, axis=-1)

    now, _ = steps(path.aggregates)
    return jax.lax.map(at, now)


@check("at every time of the path, the probabilities of every state and action are nonnegative and sum to one")
def rows_along_the_path(game: Game, path: AggregatePath) -> Measured:
    """The largest error of a sum, or depth below zero; `where` is the first time beyond the bound."""
    sums, least = map(host, _rows_along(game, path))
    errors, bound = np.maximum(np.abs(sums - 1), -least), _bound(game, path)
    value, _ = worst(errors, ("t =", "state", "action"))
    broken = np.argwhere(~(errors <= bound))
    if not len(broken):
        return value, bound
    t = broken[0][0]
    value, place = worst(errors[t], ("state", "action"))
    entry = np.unravel_index(np.nan_to_num(errors[t], nan=np.inf).argmax(), errors[t].shape)
    return value, bound, f"t = {t}, {place}: they sum to {sums[t][entry]:.7g}, the least is {least[t][entry]:.3g}"


@eqx.filter_jit
def _sampled_noise(game: Game, uniforms: Float[Array, "paths length"]) -> Noise:
    return jax.vmap(lambda u: noise_path(game, u))(uniforms)


@check("the common noise is finite, on 1000 sampled paths")
def noise_is_finite(game: Game, key: PRNGKeyArray) -> Measured:
    """The number of entries that are not finite."""
    sampled = _sampled_noise(game, innovations(key, 1000, game.horizon + 1, "iid"))
    count, where = 0, ""
    for leaf in jax.tree.leaves(sampled):
        wrong = ~np.isfinite(np.asarray(leaf, float)).reshape(1000, game.horizon + 1, -1).all(-1)
        if wrong.any() and not count:
            where = f"first at t = {wrong.any(0).argmax()}, on {wrong.any(1).sum()} paths of 1000"
        count += int(wrong.sum())
    return count, 0, where


@check("rewards have shape (S, A) and are finite at t = 0..T-1")
def rewards_are_finite(game: Game, path: AggregatePath) -> Measured:
    """The number of entries that are not finite."""
    rewards = host(rewards_along(game, path.aggregates))
    check_shape("rewards", rewards[0], (game.num_states, game.num_actions))
    wrong = ~np.isfinite(rewards)
    _, place = worst(wrong.astype(float), ("t =", "state", "action"))
    return int(wrong.sum()), 0, f"first at {place}: {rewards[wrong][0]:g}" if wrong.any() else ""


@check("observations, and as networks see them, have shape (obs_dim,) and are finite at t = 0..T-1")
def observations_are_finite(game: Game, path: AggregatePath) -> Measured:
    """The number of entries that are not finite."""
    count, where = 0, ""
    for name, array in zip(("observe", "normalise"), _observations(game, path.aggregates), strict=True):
        check_shape(name, array, (game.horizon, game.observation_size))
        wrong = ~np.isfinite(host(array))
        if wrong.any() and not count:
            where = f"{name}, first at {worst(wrong.astype(float), ('t =', 'entry'))[1]}"
        count += int(wrong.sum())
    return count, 0, where


@eqx.filter_jit
def _horner(evaluate: Callable[..., Array], game: Game, path: AggregatePath) -> Array:
    return evaluate(game, path.aggregates, path.policy)


@check("mu_0 . v_0 by Horner's rule backward = sum_t gamma^t mu_t . r_t forward, relative to the absolute terms")
def return_both_ways(game: Game, path: AggregatePath, *, evaluate: Evaluation = policy_values) -> Measured:
    """The relative difference; both sides have the rounding errors of T operators."""
    mean_fields, policy, rewards = map(
        host, (path.aggregates.mean_field, path.policy, rewards_along(game, path.aggregates))
    )
    horner = mean_fields[0] @ host(_horner(evaluate, game, path)[0])
    discounts = game.discount ** np.arange(game.horizon)[:, None, None]
    terms = discounts * mean_fields[:-1, :, None] * policy * rewards
    scale = max(np.abs(terms).sum(), np.finfo(float).tiny)
    return abs(horner - terms.sum()) / scale, 2 * game.horizon * _bound(game, path)


@check("v_0 by Horner's rule = sum_t gamma^t A_0 A_1 ... A_{t-1} r_t, term by term in double precision")
def values_are_sums_of_products(game: Game, path: AggregatePath, *, evaluate: Evaluation = policy_values) -> Measured:
    """The largest difference at a state, relative to the largest sum of absolute terms."""
    rewards = (host(path.policy) * host(rewards_along(game, path.aggregates))).sum(-1)
    operators: list[Any] = []
    total, scale = np.zeros(game.num_states), np.zeros(game.num_states)
    for t, row in enumerate(rewards):
        term = game.discount**t * row
        for operator in reversed(operators):
            term = operator @ term
        total, scale = total + term, scale + np.abs(term)
        operators.append(kernel_at(game, path.at(t)).under(path.policy[t]).as_scipy().astype(np.float64))
    value, place = worst(host(_horner(evaluate, game, path)[0]) - total, ("state",))
    size = max(scale.max(), np.finfo(float).tiny)
    return value / size, 2 * game.horizon * _bound(game, path), f"{place}, t = 0: v is off by {value:.3g}"


@eqx.filter_jit
def _in_form(game: Game, path: AggregatePath, form: Any) -> Array:
    return rollout(game, TabularPolicy(path.policy), path.noise, form=form).aggregates.mean_field


@check("explicit matrices (BCOO) at every step and the matrix-free form give the same mean fields")
def forms_agree_along_the_path(game: Game, path: AggregatePath) -> Measured:
    """The largest 1-norm of the difference over t; both sides have the rounding errors of T operators."""
    explicit = host(_in_form(game, path, "explicit"))
    value, place = worst(np.abs(explicit - host(path.aggregates.mean_field)).sum(-1), ("t =",))
    return value, 2 * game.horizon * _bound(game, path), place


@eqx.filter_jit
def _side_by_side(game: Game, path: AggregatePath) -> Array:
    twice = jax.tree.map(lambda z: jnp.stack([z, z]), path.noise)
    return jax.vmap(lambda noise: rollout(game, TabularPolicy(path.policy), noise).aggregates.mean_field)(twice)


@check("several noise paths at once (vmap) give what each gives alone")
def paths_side_by_side(game: Game, path: AggregatePath) -> Measured:
    """The largest 1-norm of the difference over t."""
    both = host(_side_by_side(game, path))
    value, place = worst(np.abs(both - host(path.aggregates.mean_field)).sum(-1), ("path", "t ="))
    return value, 2 * game.horizon * _bound(game, path), place
