"""What solvers that train networks share: the pair of a policy and its critic, Adam, and the schedules."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.policies import Critic, NetworkPolicy, critic

Schedule = Literal["cosine", "linear"]
Rate = float | Float[Array, ""]
Optimiser = Callable[[optax.Schedule], optax.GradientTransformation]


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


def clipped(
    learning_rate: Rate,
    num_steps: int,
    *,
    clip: Rate,
    schedule: Schedule = "linear",
    final_rate: Rate = 0.0,
    optimiser: Optimiser | None = None,
    b2: Rate = 0.999,
) -> optax.GradientTransformation:
    """Adam on clipped gradients, or another optimiser of the learning rate.

    That rate falls to `final_rate` times its start over `num_steps` steps. `b2` is the decay of Adam's mean of squares.
    """
    rates = {
        "cosine": optax.cosine_decay_schedule(learning_rate, num_steps, final_rate),
        "linear": optax.linear_schedule(learning_rate, learning_rate * final_rate, num_steps),
    }
    rate = rates[schedule]
    steps = [optimiser(rate)] if optimiser else [optax.scale_by_adam(b2=b2), optax.scale_by_learning_rate(rate)]
    return optax.chain(optax.clip_by_global_norm(clip), *steps)


def check_optimiser(optimiser: Any) -> None:
    """Raise `ValueError` unless this is a function that makes an Optax optimiser of a learning rate."""
    if not callable(optimiser):
        raise ValueError(f"optimiser must be a function of the learning rate, but is {optimiser!r:.80}")
    try:
        made = optimiser(optax.constant_schedule(1e-3))
    except Exception as error:  # the function is the user's own
        got = f"raised {type(error).__name__}: {error}"
        raise ValueError(f"optimiser must make an Optax optimiser of a learning rate, but {got}") from error
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"optimiser must make an Optax optimiser of a learning rate, but made {made!r:.80}")


def descend(
    optimiser: optax.GradientTransformation, gradient: PyTree[Array], state: optax.OptState, parameters: PyTree[Array]
) -> tuple[PyTree[Array], optax.OptState]:
    """The parameters and the optimiser's state after one step down the gradient."""
    change, state = optimiser.update(gradient, state, parameters)
    return optax.apply_updates(parameters, change), state


def progress(step: Int[Array, ""], num_steps: float) -> Float[Array, ""]:
    """The share of `num_steps` steps that are made, at most one."""
    return jnp.minimum(step / num_steps, 1.0)


_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "counts": functools.partial(check_integer, at_least=1),
    "positive": check_positive,
    "nonnegative": functools.partial(check_between, low=0, high=math.inf),
    "shares": functools.partial(check_between, low=0, high=1),
    "positive_shares": functools.partial(check_between, low=0, high=1, open_low=True),
}


def check_settings(solver: Any, **fields: str) -> None:
    """Raise `ValueError` unless the fields are in range: `check_settings(solver, positive="learning_rate clip")`."""
    for kind, names in fields.items():
        for name in names.split():
            _CHECKS[kind](name, getattr(solver, name))
