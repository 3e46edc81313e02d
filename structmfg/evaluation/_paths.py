"""Policy evaluation along a noise path: forward by A^T, backward by Horner's rule.

Given a noise path z_0..z_T, a policy propagates the mean field by mu_{t+1} = A_t^T mu_t. The value of a small agent who
follows the policy is

    v_t = r_t + gamma A_t r_{t+1} + gamma^2 A_t A_{t+1} r_{t+2} + ...  =  r_t + gamma A_t v_{t+1},    v_T = 0,

with r_t(s) = sum_a pi_t(a | s) r_t(s, a). The return is mu_0 . v_0. `form` chooses between operators that are
matrix-free, and explicit BCOO matrices built at every step.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg._flags import steps_written_out
from structmfg.games import AggregateState, Game, Noise
from structmfg.operators import TransitionKernel, TransitionOperator
from structmfg.parallel import over_states, spread
from structmfg.policies import Critic, Hidden, Policy

Form = Literal["matrix_free", "explicit"]
_ROW = 4  # steps that are written out on an accelerator
FORBIDDEN_LOGIT = -1e9  # its exponential is zero, and zero times it is zero


class Trajectory(NamedTuple):
    """What a policy does along one noise path z_0..z_T, or along T steps of a longer one.

    Attributes:
        aggregates: The aggregate states, leading axis T+1. Actions and price at T are NaN: nobody acts there.
        observations: (T, O); the public observations.
        policy: (T, S, A); the action probabilities.
    """

    aggregates: AggregateState
    observations: Float[Array, "times observation"]
    policy: Float[Array, "times states actions"]


class Position(NamedTuple):
    """A point of a path: the aggregate state, and the policy's hidden state before the observation of that state."""

    aggregate: AggregateState
    hidden: Hidden


def initial_position(game: Game, policy: Policy | Critic, noise: Noise) -> Position:
    """The position at t = 0 of a policy, or a critic, on a noise path."""
    first = jax.tree.map(lambda z: z[0], noise)
    return Position(
        game.at_start(first),
        policy.start(),
    )


def rollout(game: Game, policy: Policy, noise: Noise, *, form: Form = "matrix_free") -> Trajectory:
    """Propagate the mean field under a policy along one noise path.

    Args:
        game: The game.
        policy: The policy.
        noise: z_0..z_T, leading axis T+1.
        form: Whether operators are "matrix_free" or "explicit".

    Returns:
        The trajectory, which is deterministic given the noise.
    """
    later = jax.tree.map(lambda z: z[1:], noise)
    return rollout_from(game, policy, initial_position(game, policy, noise), later, form=form)[0]


def rollout_from(
    game: Game, policy: Policy, position: Position, noise: Noise, *, form: Form = "matrix_free"
) -> tuple[Trajectory, Position]:
    """Propagate the mean field from a position on a path.

    A step's kernel is made at the end of the step before it and carried over, which makes XLA store it once instead of
    computing its entries again inside every gather and scatter that uses them. Where the kernel may depend on actions
    or prices it is made within the step.

    Args:
        game: The game.
        policy: The policy.
        position: The position at some t.
        noise: z_{t+1}..z_{t+K}, leading axis K.
        form: As of `rollout`.

    Returns:
        The trajectory of these K steps, and the position at t + K.
    """
    prepared = policy.prepare()
    kernel_comes_first = not game.declared & {"actions", "price"}

    def step(
        carry: tuple[AggregateState, TransitionKernel | None, Hidden], next_noise: Noise
    ) -> tuple[tuple[AggregateState, TransitionKernel | None, Hidden], tuple[Any, Array, Array]]:
        aggregate, kernel, before = carry

        def respond(aggregate: AggregateState) -> tuple[Array, tuple[Array, Hidden]]:
            observation = game.observe(aggregate)
            hidden = policy.update(before, policy.signal(aggregate, observation), aggregate.time)
            return over_states(jax.nn.softmax(policy.decode(prepared, hidden))), (observation, hidden)

        aggregate, probabilities, (observation, hidden) = game.decide(aggregate, respond)
        kernel = spread(game.kernel(aggregate)) if kernel is None else kernel
        operator: TransitionOperator = kernel.under(probabilities)
        if form == "explicit":
            operator = operator.explicit()
        following = game.advance(aggregate, operator.move(aggregate.mean_field), next_noise)
        next_kernel = spread(game.kernel(following)) if kernel_comes_first else None
        found = aggregate.mean_field, aggregate.public, (aggregate.actions, aggregate.price)
        return (following, next_kernel, hidden), (found, observation, probabilities)

    carry = (
        position.aggregate.before_acting(),
        spread(game.kernel(position.aggregate)) if kernel_comes_first else None,
        position.hidden,
    )
    row = steps_written_out(_ROW)
    (last, _, hidden), (found, observations, probabilities) = jax.lax.scan(step, carry, noise, unroll=row)
    unknown = jax.tree.map(lambda x: jnp.full_like(x[0], jnp.nan), found[2])
    mean_field, public, acted = jax.tree.map(
        lambda x, y: jnp.concatenate([x, y[None]]), found, (last.mean_field, last.public, unknown)
    )
    first = position.aggregate
    path = jax.tree.map(lambda z, later: jnp.concatenate([z[None], later]), first.noise, noise)
    times = first.time + jnp.arange(observations.shape[0] + 1, dtype=first.time.dtype)
    aggregates = AggregateState(mean_field, path, times, public, *acted)
    return Trajectory(aggregates, observations, probabilities), Position(last, hidden)


def steps(aggregates: AggregateState) -> tuple[AggregateState, AggregateState]:
    """The aggregate states at the beginning and at the end of each of T steps, from the T+1 along a path.

    Those at the end have neither actions nor price, which follow from what happens in the next step.
    """
    return jax.tree.map(lambda x: x[:-1], aggregates), jax.tree.map(lambda x: x[1:], aggregates.before_acting())


def policy_values(
    game: Game,
    aggregates: AggregateState,
    policy: Float[Array, "times states actions"],
    *,
    form: Form = "matrix_free",
) -> Float[Array, "times_and_end states"]:
    """The values of a policy against given aggregate states, by Horner's rule.

    Differentiable in the policy; the aggregate states are data.

    Args:
        game: The game.
        aggregates: The aggregate states at t = 0..T.
        policy: Action probabilities (T, S, A).
        form: As of `rollout`.

    Returns:
        v_0..v_T (T+1, S). The return is `aggregates.mean_field[0] @ values[0]`.
    """

    def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array]) -> tuple[Array, Array]:
        aggregate, following, probabilities = inputs
        rewards = jnp.sum(probabilities * game.reward_of_allowed(aggregate, following), axis=-1)
        operator: TransitionOperator = spread(game.kernel(aggregate)).under(probabilities)
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
    """The return of a policy, and the gradient in its logits of the return with an entropy bonus, in one backward pass.

    With the aggregates held fixed, reverse-mode differentiation of Horner's rule carries the vector
    gamma^t (A_0 ... A_{t-1})^T mu_0, which is gamma^t mu_t: the mean field itself. So the gradient in the logits of
    pi = softmax(logits) is

        gamma^t mu_t(s) pi_t(a | s) (q_t(s, a) - temperature * log pi_t(a | s) - v_t(s)),

    the policy gradient theorem with exact advantages (Sutton et al. 1999), without a second pass through the operators.

    Args:
        game: The game.
        aggregates: The aggregate states at t = 0..T under this policy.
        logits: (T, S, A).
        temperature: The weight of the entropy.
        discount: Replaces gamma in the factor gamma^t (not in the values). At 1 every step counts alike, as is usual in
            practice (Thomas 2014, Bias in natural actor-critic algorithms), and the last steps of a long horizon are
            learned too.
        form: As of `rollout`.

    Returns:
        The return mu_0 . v_0, the return with the entropy bonus, and the gradient (T, S, A) of the latter.
    """
    end = Backward(jnp.zeros_like(aggregates.mean_field[-1]), jnp.zeros(()))
    start, gradient, _ = gradient_along(game, aggregates, logits, temperature, end, discount=discount, form=form)
    soft_return = jnp.matmul(aggregates.mean_field[0], start.soft_values, precision="highest")
    return start.mean_return, soft_return, gradient


def allowed_logits(
    game: Game, aggregate: AggregateState, logits: Float[Array, "states actions"]
) -> Float[Array, "states actions"]:
    """Logits (S, A) with a large finite loss for every action that is not allowed."""
    allowed = game.allowed(aggregate)
    return logits if allowed is None else jnp.where(allowed, logits, FORBIDDEN_LOGIT)


class Backward(NamedTuple):
    """The carry of the backward pass at a time t: values with the entropy bonus, and the return without it."""

    soft_values: Float[Array, " states"]
    mean_return: Float[Array, ""]


def gradient_along(
    game: Game,
    aggregates: AggregateState,
    logits: Float[Array, "times states actions"],
    temperature: Float[Array, ""],
    end: Backward,
    *,
    critic: Float[Array, "times states"] | None = None,
    gae_lambda: float | Float[Array, ""] = 1.0,
    discount: float | None = None,
    exponent: float | None = None,
    form: Form = "matrix_free",
) -> tuple[Backward, Float[Array, "times states actions"], Float[Array, "times states"]]:
    """The backward pass of `policy_gradient` over K steps of a path.

    Given the values V of a critic, the values G are the lambda-returns over all states and actions,

        G_t(s) = sum_a pi_t(a | s) q_t(s, a),    q_t = r_t + gamma P_t [(1 - lambda) V_{t+1} + lambda G_{t+1}],

    with the entropy bonus in r_t, and the advantages are q_t - G_t (Schulman et al. 2016, arXiv 1506.02438, there along
    sampled paths). At lambda = 1 the critic enters only through `end`.

    With `exponent` p the direction in place of the gradient is

        gamma^t mu_t(s) (g_t(s, a) - pi_t(a | s) sum_b g_t(s, b)),    g_t = pi_t^p (q_t - G_t).

    It is the gradient at p = 1. For p < 1 it weighs the advantages of actions that are rarely played more, and both are
    zero at the same logits. It is no gradient: its product with the gradient may be negative. With the mean of g over
    the actions in place of the second term the product would not be, but that has not trained as well.

    Args:
        game: The game.
        aggregates: The K+1 aggregate states.
        logits: (K, S, A).
        temperature: The weight of the entropy.
        end: The carry at the end of the last step.
        critic: V (K, S), the critic's values at the end of each step.
        gae_lambda: lambda.
        discount: As of `policy_gradient`.
        exponent: p; None for the gradient.
        form: As of `rollout`.

    Returns:
        The carry at the start, the gradient (K, S, A), and G (K, S).
    """
    weighting = game.discount if discount is None else discount

    def step(
        carry: tuple[Backward, TransitionKernel],
        inputs: tuple[AggregateState, AggregateState, AggregateState, Array, Array | None],
    ) -> tuple[tuple[Backward, TransitionKernel], tuple[Array, Array]]:
        (next_values, mean_return), kernel = carry
        preceding, aggregate, following, step_logits, critic_values = inputs
        if critic_values is not None:
            next_values = (1 - gae_lambda) * critic_values + gae_lambda * next_values
        log_policy = jax.nn.log_softmax(allowed_logits(game, aggregate, step_logits))
        probabilities = jnp.exp(log_policy)
        if form == "explicit":
            kernel = kernel.explicit()
        rewards = game.reward_of_allowed(aggregate, following)
        soft_q = rewards + game.discount * kernel.expect(next_values) - temperature * log_policy
        soft_values = jnp.sum(probabilities * soft_q, axis=-1)
        of_state = jnp.sum(probabilities * rewards, axis=-1)
        mean_reward = jnp.matmul(aggregate.mean_field, of_state, precision="highest")
        weight = weighting**aggregate.time * aggregate.mean_field
        advantages = soft_q - soft_values[:, None]
        if exponent is None:
            gradient = probabilities * advantages
        else:
            power = jnp.sqrt(probabilities) if exponent == 0.5 else jnp.exp(exponent * log_policy)  # a root is cheaper
            gradient = power * jnp.where(log_policy > FORBIDDEN_LOGIT / 2, advantages, 0.0)
            gradient = gradient - probabilities * jnp.sum(gradient, axis=-1, keepdims=True)
        start = Backward(soft_values, mean_reward + game.discount * mean_return)
        return (start, spread(game.kernel(preceding))), (weight[:, None] * gradient, soft_values)

    now, following = steps(aggregates)
    preceding = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), now)
    last = spread(game.kernel(jax.tree.map(lambda x: x[-1], now)))  # the kernel is carried as in `rollout_from`
    inputs = (preceding, now, following, logits, critic)
    row = steps_written_out(_ROW)
    (start, _), (gradient, values) = jax.lax.scan(step, (end, last), inputs, reverse=True, unroll=row)
    return start, gradient, values
