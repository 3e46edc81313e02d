"""What solvers that train networks share: the pair of a policy and its critic, Adam, and the schedules."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg.policies import Critic, NetworkPolicy, critic

Schedule = Literal["cosine", "linear"]
Rate = float | Float[Array, ""]


class ActorCritic(NamedTuple):
    """One object of the policy and one of its critic: parameters, gradients, hidden states or optimiser states."""

    policy: Any
    critic: Any


def initial_parameters(policy: NetworkPolicy, policy_key: PRNGKeyArray, critic_key: PRNGKeyArray) -> ActorCritic:
    """Random parameters of a policy and of a critic of the same shape."""
    return ActorCritic(
        policy.initialised(policy_key).parameters,
        critic(policy).initialised(critic_key).parameters,
    )


def bind(policy: NetworkPolicy, parameters: ActorCritic) -> tuple[NetworkPolicy, Critic]:
    """The policy and its critic with these parameters."""
    return policy.with_parameters(parameters.policy), critic(policy).with_parameters(parameters.critic)


def adam(
    learning_rate: Rate, num_steps: int, *, clip: Rate, schedule: Schedule = "linear", final_rate: Rate = 0.0
) -> optax.GradientTransformation:
    """Adam on clipped gradients, whose learning rate falls to `final_rate` times its start over `num_steps` steps."""
    rates = {
        "cosine": optax.cosine_decay_schedule(learning_rate, num_steps, final_rate),
        "linear": optax.linear_schedule(learning_rate, learning_rate * final_rate, num_steps),
    }
    return optax.chain(
        optax.clip_by_global_norm(clip), optax.scale_by_adam(), optax.scale_by_learning_rate(rates[schedule])
    )


def descend(
    optimiser: optax.GradientTransformation, gradient: PyTree[Array], state: optax.OptState, parameters: PyTree[Array]
) -> tuple[PyTree[Array], optax.OptState]:
    """The parameters and the optimiser's state after one step down the gradient."""
    change, state = optimiser.update(gradient, state, parameters)
    return optax.apply_updates(parameters, change), state


def progress(step: Int[Array, ""], num_steps: float) -> Float[Array, ""]:
    """The share of `num_steps` steps that are made, at most one."""
    return jnp.minimum(step / num_steps, 1.0)
