"""The laws of gradients, against difference quotients in double precision.

Gradients flow through the policy, in the rewards and in A^pi, never through the mean field, prices or observations: so
the quotients are of the return of one small agent, with the aggregates of the path held fixed.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg.evaluation import Trajectory, policy_gradient, policy_values, rollout, steps
from structmfg.games import AggregateState, Game, NoisePaths, noise_paths
from structmfg.policies import NetworkPolicy, recurrent
from structmfg.solvers.gradient import RSPG
from structmfg.verification._check import Measured, check
from structmfg.verification.laws._paths import random_path, rewards_along

_STEP = 1e-3  # of the difference quotients
_TOLERANCE = 1e-6  # relative to the absolute terms: the error of a quotient is O(step^4), and rounding / step


def _quotient(function: Callable[[Array], Array]) -> float:
    """The derivative at zero, by Richardson's extrapolation of central differences."""

    def central(step: float) -> float:
        return float(function(jnp.asarray(step)) - function(jnp.asarray(-step))) / (2 * step)

    return (4 * central(_STEP / 2) - central(_STEP)) / 3


def _compare(gradient: Any, direction: Any, quotient: float, size: float) -> tuple[float, str]:
    """The error of a gradient along a direction, relative to its absolute terms, and both numbers in words.

    The quotient is of returns that sum absolute terms of this size, so its rounding error is epsilon * size / step.
    """
    flat = [np.asarray(x * y).ravel() for x, y in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)]
    terms = np.concatenate(flat)
    rounding = 100 * np.finfo(float).eps * size / _STEP
    scale = np.abs(terms).sum() + abs(quotient) + rounding / _TOLERANCE + np.finfo(float).tiny
    return abs(terms.sum() - quotient) / scale, f"{terms.sum():.8g}, but the quotient is {quotient:.8g}"


def _size(game: Game, aggregates: AggregateState, policy: Float[Array, "times states actions"]) -> float:
    """The sum of the absolute terms of a return, and of its entropy bonus at temperature one."""
    absolute = jnp.sum(policy * jnp.abs(rewards_along(game, aggregates)), axis=-1)
    return float(jnp.sum(aggregates.mean_field[:-1] * absolute)) + game.horizon * np.log(game.num_actions + 1)


@check("the gradient of the return with its entropy bonus in the logits, at all times, is a difference quotient")
def gradient_is_a_difference_quotient(
    game: Game, key: PRNGKeyArray, *, gradient: Callable[..., Any] = policy_gradient
) -> Measured:
    """The error along a random direction in float64, relative to the sum of the absolute terms of the gradient.

    The return that comes with the gradient is compared with Horner's rule as well.
    """
    with jax.enable_x64(True):
        path_key, direction_key = jax.random.split(key)
        path = random_path(game, path_key)
        logits = jnp.log(path.policy)
        direction = jax.random.normal(direction_key, logits.shape)

        @eqx.filter_jit
        def at(step: Array) -> Any:
            return gradient(game, path.aggregates, logits + step * direction, jnp.asarray(1.0))

        plain, _, computed = at(jnp.asarray(0.0))
        value = path.aggregates.mean_field[0] @ policy_values(game, path.aggregates, path.policy)[0]
        quotient = _quotient(lambda step: at(step)[1])
        size = _size(game, path.aggregates, path.policy)
        error, words = _compare(computed, direction, quotient, size)
        difference = abs(float(plain) - float(value)) / size
        if difference > _TOLERANCE >= error:
            return difference, _TOLERANCE, f"its return is {float(plain):.8g}, but by Horner's rule {float(value):.8g}"
        return error, _TOLERANCE, f"{words}, along a random direction"


LossGradient = Callable[[RSPG, Game, Any, Trajectory, NoisePaths], Any]


def rspg_loss_gradient(solver: RSPG, game: Game, parameters: Any, trajectories: Trajectory, paths: NoisePaths) -> Any:
    """The gradient of minus the mean return in the network's parameters, as RSPG computes it."""
    return solver.returns_and_loss_gradient(game, parameters, trajectories, paths, jnp.asarray(0.0))[1]


def _small_network(game: Game) -> NetworkPolicy:
    return recurrent(game, hidden=4, width=4, depth=1, rank=2)


@check("RSPG ascends the return of one agent: no gradient through mean field, prices, noise or observations")
def no_gradient_through_the_mean_field(
    game: Game, key: PRNGKeyArray, *, loss_gradient: LossGradient = rspg_loss_gradient, num_paths: int = 2
) -> Measured:
    """The error along a random direction of a small recurrent network's parameters, in float64.

    The quotient changes the parameters, while aggregates and observations stay those of the initial policy.
    """
    with jax.enable_x64(True):
        policy_key, noise_key, direction_key = jax.random.split(key, 3)
        network = _small_network(game).initialised(policy_key)
        paths = noise_paths(game, key=noise_key, num_paths=num_paths, sampling="iid")
        leaves, structure = jax.tree.flatten(network.parameters)
        keys = jax.random.split(direction_key, len(leaves))
        direction = jax.tree.unflatten(
            structure, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
        )

        @eqx.filter_jit
        def measured() -> tuple[Trajectory, Any]:
            trajectories = jax.vmap(lambda noise: rollout(game, network, noise))(paths.noise)
            return trajectories, loss_gradient(RSPG(network), game, network.parameters, trajectories, paths)

        trajectories, of_loss = measured()

        @eqx.filter_jit
        def mean_return(step: Array) -> Float[Array, ""]:
            changed = network.with_parameters(jax.tree.map(lambda x, d: x + step * d, network.parameters, direction))

            def along(path: Trajectory) -> Float[Array, ""]:
                policy = jax.nn.softmax(changed.unroll(path.observations))
                if "allowed" in game.declared:
                    policy = jax.vmap(game.restricted)(steps(path.aggregates)[0], policy)
                return path.aggregates.mean_field[0] @ policy_values(game, path.aggregates, policy)[0]

            return paths.probabilities @ jax.vmap(along)(trajectories)

        quotient = _quotient(mean_return)
        gradient = jax.tree.map(jnp.negative, of_loss)
        first = jax.tree.map(lambda x: x[0], trajectories)
        size = _size(game, first.aggregates, first.policy)
        error, words = _compare(gradient, direction, quotient, size)
        return error, _TOLERANCE, f"{words}, with the aggregates held fixed"
