"""Functions of a game, compiled once for all checks of it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg import evaluation
from structmfg.games import AggregateState, Game

kernel_at = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate))


def allowed_rewards(game: Game, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
    """The rewards (S, A) of a step; zero for actions that are not allowed."""
    rewards, allowed = game.reward(aggregate, following.before_acting()), game.allowed(aggregate)
    return rewards if allowed is None else jnp.where(allowed, rewards, 0)


reward_at = eqx.filter_jit(allowed_rewards)
observation_at = eqx.filter_jit(lambda game, aggregate: game.observe(aggregate))
rollout = eqx.filter_jit(evaluation.rollout)
