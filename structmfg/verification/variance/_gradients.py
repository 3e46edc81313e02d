"""Two estimators of one vector: the gradient of the expected return of a small agent in the policy's parameters.

Mean field, prices and observations are held fixed: no gradient passes through them. Both estimators sample the common
noise and run the mean field along it; given the path,

- the structural one (RSPG) integrates over the individual states, exactly (`solvers.policy_gradient`);
- REINFORCE (Williams 1992, doi:10.1007/BF00992696) follows N agents, and takes
  1/N sum_i sum_t gamma^t (G_t^i - b) grad log pi_t(a_t^i | s_t^i) with G_t^i the agent's reward to go.

Both are unbiased for the same vector whatever the baseline b below, since none depends on the agent's own action. The
parts that the two share (mean field, network, its reverse pass) are the same code, so their costs can be compared.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from structmfg._checks import check_integer, check_name
from structmfg.evaluation import Trajectory, policy_gradient, policy_values, rollout
from structmfg.games import Game, NoisePaths
from structmfg.policies import NetworkPolicy
from structmfg.solvers.gradient import MAX_PAIRS_SIDE_BY_SIDE
from structmfg.verification.variance._agents import Agents, rewards_to_go, sample_agents

Baseline = Literal["none", "mean", "values"]
InLogits: TypeAlias = Callable[[Trajectory, Array, PRNGKeyArray], Float[Array, "estimators times states actions"]]


def structural(game: Game) -> InLogits:
    """The estimator that is exact, given the path: the gradient of the return in the logits."""

    def gradient(trajectory: Trajectory, logits: Array, key: PRNGKeyArray) -> Array:
        return policy_gradient(game, trajectory.aggregates, logits, jnp.zeros(()))[2][None]

    return gradient


def reinforce(game: Game, num_agents: int, baselines: Sequence[Baseline] = ("mean",)) -> InLogits:
    """The estimator from N agents, once for every baseline, from the same agents.

    - `none`: b = 0.
    - `mean`: the mean reward to go, at the same time, of the other agents (so N >= 2).
    - `values`: the exact v_t(s), which no estimator without the structure has; it costs as much as RSPG.
    """
    check_integer("num_agents", num_agents, at_least=2 if "mean" in baselines else 1)
    for baseline in baselines:
        check_name("baseline", baseline, get_args(Baseline))

    def gradient(trajectory: Trajectory, logits: Array, key: PRNGKeyArray) -> Array:
        agents = sample_agents(game, trajectory, num_agents, key)
        to_go = rewards_to_go(game, agents.rewards)
        return jnp.stack(
            [score(game, trajectory, agents, _advantages(game, trajectory, agents, to_go, b)) for b in baselines]
        )

    return gradient


def _advantages(
    game: Game, trajectory: Trajectory, agents: Agents, to_go: Float[Array, "times agents"], baseline: Baseline
) -> Float[Array, "times agents"]:
    if baseline == "mean":
        count = to_go.shape[1]
        return (to_go - jnp.mean(to_go, axis=1, keepdims=True)) * (count / (count - 1))
    if baseline == "values":
        values = policy_values(game, trajectory.aggregates, trajectory.policy)[:-1]
        return to_go - jnp.take_along_axis(values, agents.states, axis=1)
    return to_go


def score(
    game: Game, trajectory: Trajectory, agents: Agents, advantages: Float[Array, "times agents"]
) -> Float[Array, "times states actions"]:
    """1/N sum_i gamma^t advantage_t^i grad log pi_t(a_t^i | s_t^i) in the logits, of which pi is the softmax.

    Agents who share a state share its row: what the network does costs no more for many agents than for one.
    """
    times = jnp.arange(game.horizon)[:, None]
    weights = game.discount**times / advantages.shape[1]
    taken = jnp.zeros_like(trajectory.policy).at[times, agents.states, agents.actions].add(weights * advantages)
    return taken - trajectory.policy * jnp.sum(taken, axis=-1, keepdims=True)


def gradients(
    game: Game, policy: NetworkPolicy, paths: NoisePaths, key: PRNGKeyArray, in_logits: Sequence[InLogits]
) -> Float[Array, "estimators parameters"]:
    """The gradients in the parameters by all estimators, along the same noise paths."""

    def unroll(parameters: PyTree[Array]) -> Array:
        return jax.vmap(policy.with_parameters(parameters).unroll)(trajectories.observations)

    def along(path: tuple[Trajectory, Array, PRNGKeyArray]) -> Array:
        return jnp.concatenate([estimate(*path) for estimate in in_logits])

    trajectories: Trajectory = over_paths(game, lambda noise: rollout(game, policy, noise), paths.noise)
    logits, back = jax.vjp(unroll, policy.parameters)
    keys = jax.random.split(key, paths.num_paths)
    weighted = over_paths(game, along, (trajectories, logits, keys)) * paths.probabilities[:, None, None, None, None]
    return jnp.stack([ravel_pytree(back(weighted[:, i])[0])[0] for i in range(weighted.shape[1])])


def over_paths(game: Game, function: Callable[[Any], Any], paths: Any) -> Any:
    """Map a function over paths as RSPG does: side by side in a small game, one after the other in a large one."""
    if game.num_states * game.num_actions <= MAX_PAIRS_SIDE_BY_SIDE:
        return jax.vmap(function)(paths)
    return jax.lax.map(function, paths)
