"""Compiled evaluations along many noise paths: values of a policy, and gains of clairvoyant best responses."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from structmfg.evaluation._declared import Findings, inspect_declared_along
from structmfg.evaluation._paths import policy_values, rollout, steps
from structmfg.evaluation._tree_sweeps import Flow, Table
from structmfg.games import AggregateState, Game, Noise, NoiseTree, from_vector
from structmfg.parallel import map_over_cores, map_over_paths, shares_of_cores, spread, whole
from structmfg.policies import Policy

_MAX_BATCH = 4  # noise paths that are evaluated side by side
_MAX_BATCH_ENTRIES = 2**25  # entries of the policies on these paths, and on those of all calls at once


def batch_size(game: Game) -> int:
    """The number of noise paths to evaluate side by side."""
    return max(1, min(_MAX_BATCH, _MAX_BATCH_ENTRIES // (game.horizon * game.num_states * game.num_actions)))


def over_cores(game: Game, program: Callable[..., PyTree], *arguments: Any, mapped: Sequence[int]) -> PyTree:
    """What one of these programs returns, from calls for a few paths each; see `parallel.map_over_cores`."""
    return map_over_cores(program, arguments, mapped=mapped, batch_size=batch_size(game), at_once=_at_once(game))


def calls_over_cores(game: Game, num_paths: int) -> tuple[int, int]:
    """For how many paths each call of `over_cores` is, and how many run at once; see `parallel.shares_of_cores`."""
    return shares_of_cores(num_paths, batch_size(game), _at_once(game))


def _at_once(game: Game) -> int:
    return max(1, _MAX_BATCH_ENTRIES // (batch_size(game) * game.horizon * game.num_states * game.num_actions))


@eqx.filter_jit
def path_values(
    game: Game, policy: Policy, noise: Noise
) -> tuple[AggregateState, Float[Array, "paths states"], Findings]:
    """The aggregate states along N noise paths, the values (N, S) of a policy at t = 0, and findings to be checked."""

    def along(path: Noise, policy: Policy) -> tuple[AggregateState, Array, Findings]:
        trajectory = rollout(game, policy, path)
        values = policy_values(game, trajectory.aggregates, trajectory.policy)[0]
        return trajectory.aggregates, values, inspect_declared_along(game, trajectory, policy)

    return whole(map_over_paths(along, noise, policy, batch_size=batch_size(game)))


@eqx.filter_jit
def clairvoyant_gains(
    game: Game, policy: Policy, noise: Noise, at_all_times: bool = False
) -> tuple[AggregateState, Array, Array, Findings]:
    """The aggregate states along noise paths; clairvoyant best values (N, S) at t = 0, gains (N, S), and findings.

    The findings are for `refuse_declared_along`. With `at_all_times` the gains are those from every t = 0..T-1 on,
    (N, T, S).
    """

    def along(path: Noise, policy: Policy) -> tuple[AggregateState, Array, Array, Findings]:
        trajectory = rollout(game, policy, path)
        values, gains, later = _clairvoyant_gains_along(
            game, trajectory.aggregates, trajectory.policy, at_all_times=at_all_times
        )
        declared = inspect_declared_along(game, trajectory, policy)
        return trajectory.aggregates, values, gains if later is None else later, declared

    return whole(map_over_paths(along, noise, policy, batch_size=batch_size(game)))


@eqx.filter_jit
def clairvoyant_gains_on_tree(
    game: Game, tree: NoiseTree, flow: Flow, table: Table, noise: Noise
) -> tuple[Array, Array]:
    """The clairvoyant best values and gains, both (N, S), along every path of a tree."""
    times = jnp.arange(game.horizon + 1)

    def along(path: tuple[Noise, Array], flow: Flow, table: Table) -> tuple[Array, Array]:
        noise, nodes = path
        aggregates = jax.vmap(lambda vector, z, t: from_vector(game, vector, z, t))(flow[nodes], noise, times)
        return _clairvoyant_gains_along(game, aggregates, table[nodes[:-1]])[:2]

    return whole(map_over_paths(along, (noise, tree.nodes.T), flow, table, batch_size=batch_size(game)))


def _clairvoyant_gains_along(
    game: Game,
    aggregates: AggregateState,
    policy: Float[Array, "times states actions"],
    *,
    at_all_times: bool = False,
) -> tuple[Float[Array, " states"], Float[Array, " states"], Float[Array, "times states"] | None]:
    """Best values at t = 0 by v_t = max_a (r_t + gamma P_t v_{t+1}) along one path, and what the policy loses to them.

    With `at_all_times` also what it loses from every t on.
    `constant` is the discounted sum of the greatest rewards, which are subtracted.
    """

    def step(
        carry: tuple[Array, Array, Array], inputs: tuple[AggregateState, AggregateState, Array]
    ) -> tuple[tuple[Array, Array, Array], Array | None]:
        (values, gains, constant), (now, then, probabilities) = carry, inputs
        kernel, rewards = spread(game.kernel(now)), game.reward_of_allowed(now, then)
        greatest = jnp.max(rewards)
        q = rewards - greatest + game.discount * kernel.expect(values)
        best = jnp.max(q, axis=-1)
        losses = jnp.sum(probabilities * (best[:, None] - q), axis=-1)
        gains = losses + game.discount * kernel.under(probabilities).mv(gains)
        return (best, gains, greatest + game.discount * constant), gains if at_all_times else None

    zeros = jnp.zeros_like(aggregates.mean_field[-1])
    start = zeros, zeros, jnp.zeros_like(zeros[0])
    (values, gains, constant), later = jax.lax.scan(step, start, (*steps(aggregates), policy), reverse=True)
    return values + constant, gains, later
