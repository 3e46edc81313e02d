"""Bounds by information relaxation along noise paths: values on training paths, and the sweeps on fresh paths.

An agent faces the population's mean fields, which it does not change. Let V_t(s) be its best value given the noise so
far, phi_t the features of the aggregate state (`_basis`), and E_t the mean given all that is known at t.

1. On training paths, from t = T-1 to 0: q_t = E_t r_t + gamma P_t (E_t phi_{t+1} . beta_{t+1}), and beta_t holds
   max_a q_t at the states of these paths, between which phi_t interpolates. These values carry no noise. Those of the
   policy are interpolated, too, as a control variate.
2. On fresh paths phi_{t+1} . beta_{t+1} - E_t phi_{t+1} . beta_{t+1} has mean zero given what is known at t. So

       u_t = max_a [q_t + gamma P_t (u_{t+1} - phi_{t+1} . beta_{t+1})]

   has a mean of at least V_t, whatever beta is, as an agent who sees the whole path does no worse than one who does
   not. With the action that is greedy in q_t in place of the maximum it has the mean of a policy that knows only the
   noise so far, which is at most V_t.

References: Rogers 2002, doi:10.1111/1467-9965.02010; Haugh & Kogan 2004, doi:10.1287/opre.1030.0070; Brown, Smith & Sun
2010, doi:10.1287/opre.1090.0796.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from structmfg.evaluation._along_paths import batch_size, over_cores
from structmfg.evaluation._declared import Findings, inspect_declared_along, refuse_declared_along
from structmfg.evaluation._paths import Trajectory, rollout, steps
from structmfg.evaluation.bounds._basis import Basis, DescribeState, describe, interpolation, mean_reward
from structmfg.games import AggregateState, Game, Noise
from structmfg.operators import TransitionKernel
from structmfg.parallel import map_over_paths, whole
from structmfg.policies import Hidden, Policy

_MAX_TABLES = 2**21  # entries of the policies on paths whose bounds are computed side by side


class Positions(NamedTuple):
    """Where a policy leads along N noise paths.

    Attributes:
        aggregates: (N, T+1, ...).
        hidden: The policy's hidden states at which it acts (N, T, ...).
    """

    aggregates: AggregateState
    hidden: Hidden


class FittedValues(NamedTuple):
    """Values at the states of N training paths, at t = 0..T, from which a constant a step has been subtracted.

    Attributes:
        basis: The features, by which these values are multiplied to interpolate between the states.
        best: beta (T+1, N, S), the best values.
        followed: (T+1, N, S), the values of the policy.
        constants: (T,); the reward that was subtracted at every step.
    """

    basis: Basis
    best: Float[Array, "times training_paths states"]
    followed: Float[Array, "times training_paths states"]
    constants: Float[Array, " steps"]


class PathBounds(NamedTuple):
    """What fresh paths give, with a leading axis of paths.

    Attributes:
        lower: (T,); the gain from t on of the population at t, by the policy that is greedy in the fitted values.
        upper: (T,); the same by the relaxed problem.
        clairvoyant: (T,); the same by the best response that knows the path, with the same control variates.
        lower_by_state: (S,); the gain from t = 0 on by individual state.
        upper_by_state: (S,).
        losses: (T,); gamma^t mu_t . (max_a q_t - pi_t . q_t), what the policy loses at t, to fitted values.
        errors: (2, F); the sums over time of phi - E phi and of its square.
    """

    lower: Float[Array, " steps"]
    upper: Float[Array, " steps"]
    clairvoyant: Float[Array, " steps"]
    lower_by_state: Float[Array, " states"]
    upper_by_state: Float[Array, " states"]
    losses: Float[Array, " steps"]
    errors: Float[Array, "2 features"]


def positions(game: Game, policy: Policy, trajectory: Trajectory) -> Positions:
    """Where a policy leads along one noise path; its action probabilities are not kept."""
    now, _ = steps(trajectory.aggregates)
    signals = jax.vmap(policy.signal)(now.as_observed(), trajectory.observations)
    return Positions(trajectory.aggregates, policy.histories(signals))


def played(
    game: Game, policy: Policy, prepared: Any, aggregate: AggregateState, hidden: Hidden
) -> Float[Array, "states actions"]:
    """The action probabilities (S, A) at an aggregate state, computed again from the hidden state."""
    return game.restricted(aggregate, jax.nn.softmax(policy.decode(prepared, hidden)))


def fit(
    game: Game, policy: Policy, degree: int, own: DescribeState | None, noise: Noise, key: PRNGKeyArray
) -> tuple[FittedValues, AggregateState, Float[Array, "paths times numbers"]]:
    """The values at N training paths, leading axes (N, T+1); the aggregate states, and the numbers behind features.

    Args:
        game: The game.
        policy: The policy of the population.
        degree: The degree of the polynomial part of the interpolation.
        own: The user's numbers, or None; see `Basis`.
        noise: The noise of the training paths.
        key: A key of `jax.random`.

    Raises:
        ValueError: If allowed actions or markets are not as they must be along the paths.
    """
    visited, numbers, declared = over_cores(game, _visited, game, policy, own, noise, mapped=(3,))
    visited, numbers = jax.tree.map(jnp.asarray, (visited, numbers))
    refuse_declared_along(game, visited.aggregates, declared, policy)
    basis = interpolation(game, degree, own, numbers)
    return _values(game, policy, basis, visited, key), visited.aggregates, numbers


@eqx.filter_jit
def _visited(
    game: Game, policy: Policy, own: DescribeState | None, noise: Noise
) -> tuple[Positions, Float[Array, "paths times numbers"], Findings]:
    """Where the policy leads along training paths, the numbers that describe it, and findings to be checked."""

    def along(path: Noise, policy: Policy) -> tuple[Positions, Findings]:
        trajectory = rollout(game, policy, path)
        return positions(game, policy, trajectory), inspect_declared_along(game, trajectory, policy)

    visited, declared = map_over_paths(along, noise, policy, batch_size=batch_size(game))
    numbers = jax.vmap(jax.vmap(lambda aggregate: describe(game, own, aggregate)))(visited.aggregates)
    return whole((visited, numbers, declared))


@eqx.filter_jit
def _values(game: Game, policy: Policy, basis: Basis, visited: Positions, key: PRNGKeyArray) -> FittedValues:
    aggregates, hidden = visited
    keys = jax.random.split(key, basis.size)
    prepared, gamma = policy.prepare(), game.discount

    def step(
        carry: tuple[Array, Array], time: Int[Array, ""]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        best, followed = carry
        now, then = (jax.tree.map(lambda x, i=i: x[:, time + i], aggregates) for i in (0, 1))
        now_hidden = jax.tree.map(lambda x: x[:, time], hidden)
        constant = jnp.max(game.reward_of_allowed(*(jax.tree.map(lambda x: x[0], each) for each in (now, then))))

        def targets(path: tuple[AggregateState, AggregateState, Hidden, PRNGKeyArray]) -> tuple[Array, Array]:
            now, then, hidden, key = path
            for_features, for_rewards = jax.random.split(jax.random.fold_in(key, time))
            expected = basis.mean_of_next(now, then.before_acting(), for_features)
            following = jnp.stack([expected @ best, expected @ followed])
            rewards = mean_reward(game, now, then.before_acting(), for_rewards) - constant
            q, q_of_policy = rewards + gamma * jax.vmap(game.kernel(now).expect)(following)
            return jnp.max(q, axis=-1), jnp.sum(played(game, policy, prepared, now, hidden) * q_of_policy, axis=-1)

        side_by_side = 2 * batch_size(game)  # no policies along whole paths are held here
        best, followed = jax.lax.map(targets, (now, then, now_hidden, keys), batch_size=side_by_side)
        return (best, followed), (best, followed, constant)

    zeros = jnp.zeros((basis.size, game.num_states))
    _, (best, followed, constants) = jax.lax.scan(step, (zeros, zeros), jnp.arange(game.horizon), reverse=True)
    best, followed = (jnp.concatenate([each, zeros[None]]) for each in (best, followed))
    return whole(FittedValues(basis, best, followed, constants))


@eqx.filter_jit
def bounds_along(
    game: Game, policy: Policy, fitted: FittedValues, noise: Noise, keys: Key[Array, " paths"]
) -> PathBounds:
    """The sweeps of both bounds and of the clairvoyant best response on fresh paths."""

    def along(path: tuple[Noise, PRNGKeyArray], policy: Policy, fitted: FittedValues) -> PathBounds:
        noise, key = path
        return _along(game, fitted, rollout(game, policy, noise), key)

    side_by_side = max(1, min(batch_size(game), _MAX_TABLES // (game.horizon * game.num_states * game.num_actions)))
    return whole(map_over_paths(along, (noise, keys), policy, fitted, batch_size=side_by_side))


class _Carry(NamedTuple):
    """Values (S,) of the step after: of both bounds, the policy and the clairvoyant response; and its gain."""

    upper: Float[Array, " states"]
    lower: Float[Array, " states"]
    followed: Float[Array, " states"]
    clairvoyant: Float[Array, " states"]
    clairvoyant_gain: Float[Array, ""]


def _along(game: Game, fitted: FittedValues, trajectory: Trajectory, key: PRNGKeyArray) -> PathBounds:
    basis, gamma, aggregates = fitted.basis, game.discount, trajectory.aggregates
    features = jax.vmap(basis)(aggregates)

    def means(now: AggregateState, then: AggregateState, key: PRNGKeyArray) -> tuple[Array, Array]:
        for_features, for_rewards = jax.random.split(key)
        return basis.mean_of_next(now, then, for_features), mean_reward(game, now, then, for_rewards)

    def over(aggregate: AggregateState, values: Array) -> Array:
        return jnp.matmul(values, aggregate.mean_field, precision="highest")

    def step(
        carry: tuple[_Carry, TransitionKernel], inputs: tuple[Any, ...]
    ) -> tuple[tuple[_Carry, TransitionKernel], tuple[Array, ...]]:
        (later, kernel), (preceding, now, then, probabilities, key, feature, best, followed, constant) = carry, inputs
        rewards = game.reward_of_allowed(now, then) - constant
        best, followed = best.astype(float), followed.astype(float)
        # Where means are random, the greedy action is chosen by other draws than those that value it.
        (expected, mean_rewards), (expected_again, rewards_again) = (means(now, then, each) for each in key)
        mean_rewards, rewards_again = mean_rewards - constant, rewards_again - constant
        error = feature - expected
        following = (
            expected @ best,
            later.upper - feature @ best,
            later.lower - (feature - expected_again) @ best,
            later.followed - error @ followed,
            later.clairvoyant,
        )
        # One by one: XLA gathers from five vectors side by side less fast.
        fitted_, upper, lower, own, clairvoyant = (gamma * kernel.expect(values) for values in following)
        q = mean_rewards + fitted_
        greedy = jnp.argmax(q, axis=-1)[:, None]
        known = rewards + clairvoyant
        most = jnp.max(known, axis=-1)
        at = _Carry(
            jnp.max(q + upper, axis=-1),
            jnp.take_along_axis(rewards_again + lower, greedy, axis=-1)[:, 0],
            jnp.sum(probabilities * (mean_rewards + own), axis=-1),
            most,
            # The mean of an expectation under the policy, over the population, is one over the next mean field.
            over(now, jnp.sum(probabilities * (most[:, None] - known), axis=-1))
            + gamma * (later.clairvoyant_gain - over(then, error @ (best - followed))),
        )
        lost = jnp.max(q, axis=-1) - jnp.sum(probabilities * q, axis=-1)
        of_states = jnp.stack([at.lower - at.followed, at.upper - at.followed, lost])
        return (at, game.kernel(preceding)), (*over(now, of_states), at.clairvoyant_gain, error)

    zeros = jnp.zeros(game.num_states)
    now, then = steps(aggregates)
    keys = jax.random.split(key, (game.horizon, 2))
    fitted_then = fitted.best[1:], fitted.followed[1:], fitted.constants
    preceding = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), now)
    last = game.kernel(jax.tree.map(lambda x: x[-1], now))  # the kernel is carried as in `rollout_from`
    inputs = preceding, now, then, trajectory.policy, keys, features[1:], *fitted_then
    end = _Carry(*(zeros,) * 4, zeros[0]), last
    (start, _), (lower, upper, losses, clairvoyant, errors) = jax.lax.scan(step, end, inputs, reverse=True)
    return PathBounds(
        lower,
        upper,
        clairvoyant,
        start.lower - start.followed,
        start.upper - start.followed,
        gamma**now.time * losses,
        jnp.stack([jnp.sum(errors, axis=0), jnp.sum(errors**2, axis=0)]),
    )
