"""Policy evaluation along a noise path: forward by A^T, backward by Horner's rule.

Given a noise path z_0..z_T, a policy moves the mean field by mu_{t+1} = A_t^T mu_t, and the value of a small agent who
follows it is

    v_t = r_t + gamma A_t r_{t+1} + gamma^2 A_t A_{t+1} r_{t+2} + ...  =  r_t + gamma A_t v_{t+1},    v_T = 0,

with r_t(s) = sum_a pi_t(a | s) r_t(s, a). The return is mu_0 . v_0. `form` chooses the operators: matrix-free, or
explicit BCOO matrices built at every step.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg.games import AggregateState, Game, Noise
from structmfg.operators import TransitionKernel, TransitionOperator
from structmfg.policies import Hidden, Policy

Form = Literal["matrix_free", "explicit"]


class Trajectory(NamedTuple):
    """One noise path under a policy: aggregates have a leading axis T+1, the rest T."""

    aggregates: AggregateState
    observations: Float[Array, "times observation"]
    log_policy: Float[Array, "times states actions"]


def transition(game: Game, aggregate: AggregateState, form: Form) -> TransitionKernel:
    """The game's kernel in the chosen form."""
    kernel = game.kernel(aggregate)
    return kernel.explicit() if form == "explicit" else kernel


def rollout(game: Game, policy: Policy, noise: Noise, *, form: Form = "matrix_free") -> Trajectory:
    """The deterministic path of the mean field under a policy along one noise path z_0..z_T."""
    prepared = policy.prepare()
    first, later = jax.tree.map(lambda z: z[0], noise), jax.tree.map(lambda z: z[1:], noise)

    def step(
        carry: tuple[AggregateState, Hidden], next_noise: Noise
    ) -> tuple[tuple[AggregateState, Hidden], tuple[AggregateState, Array, Array]]:
        aggregate, hidden = carry
        observation = game.observe(aggregate)
        hidden = policy.update(hidden, observation, aggregate.time)
        log_policy = policy.decode(prepared, hidden)
        operator = game.kernel(aggregate).under(jnp.exp(log_policy))
        mean_field = (operator.explicit() if form == "explicit" else operator).T.mv(aggregate.mean_field)
        following = AggregateState(mean_field, next_noise, aggregate.time + 1)
        return (following, hidden), (aggregate, observation, log_policy)

    start = game.aggregate(mean_field=game.initial_mean_field(first), noise=first, time=0)
    (last, _), (aggregates, observations, log_policy) = jax.lax.scan(step, (start, policy.start()), later)
    aggregates = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), aggregates, last)
    return Trajectory(aggregates, observations, log_policy)


def steps(aggregates: AggregateState) -> tuple[AggregateState, AggregateState]:
    """The aggregates at t = 0..T-1, and those that follow them."""
    return jax.tree.map(lambda x: x[:-1], aggregates), jax.tree.map(lambda x: x[1:], aggregates)


def policy_values(
    game: Game,
    aggregates: AggregateState,
    policy: Float[Array, "times states actions"],
    *,
    form: Form = "matrix_free",
) -> Float[Array, "times_and_end states"]:
    """v_0..v_T of a policy (T, S, A) against given aggregates, by Horner's rule.

    Differentiable in the policy; the aggregates are data. The return is `aggregates.mean_field[0] @ values[0]`.
    """

    def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array]) -> tuple[Array, Array]:
        aggregate, following, probabilities = inputs
        rewards = jnp.sum(probabilities * game.reward(aggregate, following), axis=-1)
        operator: TransitionOperator = game.kernel(aggregate).under(probabilities)
        if form == "explicit":
            operator = operator.explicit()
        values = rewards + game.discount * operator.mv(values)
        return values, values

    end = jnp.zeros_like(aggregates.mean_field[-1])
    _, values = jax.lax.scan(step, end, (*steps(aggregates), policy), reverse=True)
    return jnp.concatenate([values, end[None]])


def policy_gradient(
    game: Game,
    aggregates: AggregateState,
    log_policy: Float[Array, "times states actions"],
    temperature: Float[Array, ""],
    *,
    form: Form = "matrix_free",
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, "times states actions"]]:
    """The return mu_0 . v_0, the same with the entropy bonus, and the latter's gradient in log_policy, in one pass.

    With the aggregates held fixed, reverse-mode differentiation of Horner's rule carries
    gamma^t (A_0 ... A_{t-1})^T mu_0, which is gamma^t mu_t: the mean field itself. So the gradient (on the simplex, up
    to a constant in every row) is

        gamma^t mu_t(s) pi_t(a | s) (q_t(s, a) - temperature * log pi_t(a | s) - v_t(s)),

    the policy gradient theorem with exact advantages (Sutton et al. 1999), without a second pass through the operators.
    """

    def step(
        carry: tuple[Array, Array], inputs: tuple[AggregateState, AggregateState, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        soft_values, entropy = carry
        aggregate, following, log_pi = inputs
        probabilities = jnp.exp(log_pi)
        kernel = transition(game, aggregate, form)
        action_values = game.reward(aggregate, following) + game.discount * kernel.expect(soft_values)
        soft = action_values - temperature * log_pi
        soft_values = jnp.sum(probabilities * soft, axis=-1)
        weight = game.discount**aggregate.time * aggregate.mean_field
        entropy = entropy - weight @ jnp.sum(probabilities * log_pi, axis=-1)
        return (soft_values, entropy), weight[:, None] * probabilities * (soft - soft_values[:, None])

    end = (jnp.zeros_like(aggregates.mean_field[-1]), jnp.zeros(()))
    (soft_values, entropy), gradient = jax.lax.scan(step, end, (*steps(aggregates), log_policy), reverse=True)
    soft_return = aggregates.mean_field[0] @ soft_values
    return soft_return - temperature * entropy, soft_return, gradient
