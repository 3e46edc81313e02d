"""How far apart the values of actions are, which says what weight an entropy bonus may have in a game."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg.evaluation import action_values, rollout, steps
from structmfg.games import AggregateState, Game, Noise, noise_paths
from structmfg.policies import uniform

_TEMPERATURES = "temperature", "final_temperature"
_OF_SPREAD, _LAST_OF_FIRST = 0.5, 1e-3
_MOST_PROBABILITIES = 2**22  # of the policy along the path


def entropy_bonus(game: Game, overrides: dict[str, Any]) -> dict[str, float]:
    """The weights of the entropy bonus, by name, in a game without settings of its own; some may be given.

    They are in proportion to the spread of action values, which suits the games that have settings but for economies.
    """
    try:
        first, last = (None if (given := overrides.get(name)) is None else float(given) for name in _TEMPERATURES)
    except (TypeError, ValueError):  # no number, which the solver says
        return {}
    if first is None:
        measured = float(f"{_OF_SPREAD * action_value_spread(game):.1g}") if last != 0 else 0.0
        first = measured if last is None else max(measured, last)
    return dict(zip(_TEMPERATURES, (first, _LAST_OF_FIRST * first), strict=True))


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
        largest = jnp.max(jnp.abs(q - mean)) + jnp.finfo(q.dtype).tiny  # squares must neither overflow nor vanish
        deviation = largest * jnp.sqrt(jnp.sum(policy * ((q - mean) / largest) ** 2, axis=-1))
        return mean[:, 0], jnp.sum(now.mean_field * deviation)

    rows = (*steps(along.aggregates), along.policy)
    return jnp.mean(jax.lax.scan(step, jnp.zeros(game.num_states), rows, reverse=True)[1])
