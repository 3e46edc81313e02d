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
    policy: Float[Array, "times states actions"]


def rollout(game: Game, policy: Policy, noise: Noise, *, form: Form = "matrix_free") -> Trajectory:
    """The deterministic path of the mean field under a policy along one noise path z_0..z_T.

    A step's kernel is made at the end of the step before it and carried over, which makes XLA store it once instead of
    computing its entries again inside every gather and scatter that uses them.
    """
    prepared = policy.prepare()
    first, later = jax.tree.map(lambda z: z[0], noise), jax.tree.map(lambda z: z[1:], noise)

    def step(
        carry: tuple[AggregateState, TransitionKernel, Hidden], next_noise: Noise
    ) -> tuple[tuple[AggregateState, TransitionKernel, Hidden], tuple[AggregateState, Array, Array]]:
        aggregate, kernel, hidden = carry
        observation = game.observe(aggregate)
        hidden = policy.update(hidden, policy.sees(aggregate, observation), aggregate.time)
        probabilities = jax.nn.softmax(policy.decode(prepared, hidden))
        operator: TransitionOperator = kernel.under(probabilities)
        if form == "explicit":
            operator = operator.explicit()
        following = AggregateState(operator.T.mv(aggregate.mean_field), next_noise, aggregate.time + 1)
        return (following, game.kernel(following), hidden), (aggregate, observation, probabilities)

    start = game.aggregate(mean_field=game.initial_mean_field(first), noise=first, time=0)
    carry = (start, game.kernel(start), policy.start())
    (last, _, _), (aggregates, observations, probabilities) = jax.lax.scan(step, carry, later)
    aggregates = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), aggregates, last)
    return Trajectory(aggregates, observations, probabilities)


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
    logits: Float[Array, "times states actions"],
    temperature: Float[Array, ""],
    *,
    discount: float | None = None,
    form: Form = "matrix_free",
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, "times states actions"]]:
    """The return mu_0 . v_0, the same with the entropy bonus, and the latter's gradient in the logits, in one pass.

    With the aggregates held fixed, reverse-mode differentiation of Horner's rule carries the vector
    gamma^t (A_0 ... A_{t-1})^T mu_0, which is gamma^t mu_t: the mean field itself. So the gradient in the logits of
    pi = softmax(logits) is

        gamma^t mu_t(s) pi_t(a | s) (q_t(s, a) - temperature * log pi_t(a | s) - v_t(s)),

    the policy gradient theorem with exact advantages (Sutton et al. 1999), without a second pass through the operators.
    The aggregates must be those of this policy. `discount` replaces gamma in the factor gamma^t (not in the values):
    at 1 every step counts alike, as is usual in practice (Thomas 2014, Bias in natural actor-critic algorithms), and
    the last steps of a long horizon are learned too.
    """
    end = Backward(jnp.zeros_like(aggregates.mean_field[-1]), jnp.zeros(()))
    start, gradient = gradient_along(game, aggregates, logits, temperature, end, discount=discount, form=form)
    soft_return = aggregates.mean_field[0] @ start.soft_values
    return soft_return - temperature * start.entropy, soft_return, gradient


class Backward(NamedTuple):
    """What Horner's rule carries back from a time t: values with the entropy bonus, and the discounted mean entropy."""

    soft_values: Float[Array, " states"]
    entropy: Float[Array, ""]


def gradient_along(
    game: Game,
    aggregates: AggregateState,
    logits: Float[Array, "times states actions"],
    temperature: Float[Array, ""],
    end: Backward,
    *,
    discount: float | None = None,
    form: Form = "matrix_free",
) -> tuple[Backward, Float[Array, "times states actions"]]:
    """`policy_gradient` over a part of the path, from what its `end` carries to what its start does.

    The aggregates (one more than logits) and the gradient are those of the part.
    """
    weighting = game.discount if discount is None else discount

    def step(
        carry: tuple[Backward, TransitionKernel],
        inputs: tuple[AggregateState, AggregateState, AggregateState, Array],
    ) -> tuple[tuple[Backward, TransitionKernel], Array]:
        (soft_values, entropy), kernel = carry
        preceding, aggregate, following, row = inputs
        log_policy = jax.nn.log_softmax(row)
        probabilities = jnp.exp(log_policy)
        if form == "explicit":
            kernel = kernel.explicit()
        soft = game.reward(aggregate, following) + game.discount * kernel.expect(soft_values) - temperature * log_policy
        soft_values = jnp.sum(probabilities * soft, axis=-1)
        bonus = -aggregate.mean_field @ jnp.sum(probabilities * log_policy, axis=-1)
        entropy = bonus + game.discount * entropy
        weight = weighting**aggregate.time * aggregate.mean_field
        gradient = weight[:, None] * probabilities * (soft - soft_values[:, None])
        return (Backward(soft_values, entropy), game.kernel(preceding)), gradient

    now, following = steps(aggregates)
    preceding = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), now)
    last = game.kernel(jax.tree.map(lambda x: x[-1], now))  # the kernel is carried as in `rollout`
    (start, _), gradient = jax.lax.scan(step, (end, last), (preceding, now, following, logits), reverse=True)
    return start, gradient
