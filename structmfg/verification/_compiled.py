"""Functions of a game, compiled once for all checks of it."""

import equinox as eqx

from structmfg import evaluation

kernel_at = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate))
reward_at = eqx.filter_jit(lambda game, aggregate, following: game.reward(aggregate, following))
observation_at = eqx.filter_jit(lambda game, aggregate: game.observe(aggregate))
rollout = eqx.filter_jit(evaluation.rollout)
