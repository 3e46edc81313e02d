"""How far apart the values of actions are, which says what weight an entropy bonus may have in a game."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg.evaluation import action_values, rollout, steps
from structmfg.games import AggregateState, Game, Noise, noise_paths
from structmfg.policies import uniform

_MOST_PROBABILITIES = 2**22  # of the policy along the path


def action_value_spread(game: Game) -> float:
    """The standard deviation of the action values in a state, under the uniform policy, in units of the return.

    It is the mean over the mean field and the times along one path of the common noise, always the same one. Zero where
    the game is too large for this to be quick, where it is faulty, which a solve tells, and where it is not finite.
    """
    if (game.horizon or 0) * game.num_states * game.num_actions > _MOST_PROBABILITIES:
        return 0.0
    try:
        paths = noise_paths(game, key=jax.random.key(0), num_paths=2)
        spread = float(_spread(game, jax.tree.map(lambda z: z[0], paths.noise)))
    except Exception:  # whatever a user's game raises
        return 0.0
    return spread if 0 < spread < math.inf else 0.0


@eqx.filter_jit
def _spread(game: Game, noise: Noise) -> Float[Array, ""]:
    along = rollout(game, uniform(game), noise)

    def step(
        values: Float[Array, " states"], inputs: tuple[AggregateState, AggregateState, Array]
    ) -> tuple[Float[Array, " states"], Float[Array, ""]]:
        now, then, policy = inputs
        q = jnp.where(policy > 0, action_values(game, now, then, values), 0)
        mean = jnp.sum(policy * q, axis=-1, keepdims=True)
        deviation = jnp.sqrt(jnp.sum(policy * (q - mean) ** 2, axis=-1))
        return mean[:, 0], jnp.sum(now.mean_field * deviation)

    rows = (*steps(along.aggregates), along.policy)
    return jnp.mean(jax.lax.scan(step, jnp.zeros(game.num_states), rows, reverse=True)[1])
