"""Where prices and rewards are extreme: all mass in one state, and common noise as far out as it can be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_games import SMALL, acted

from structmfg.evaluation import policy_gradient, policy_values
from structmfg.games import AggregateState, make, noise_path

PRICED = ("macro", "crowd_modelling")  # prices, and the logarithm of a crowd


def edge_paths(game):
    """Noise paths by the smallest, the largest and the middle innovation."""
    edge = jnp.finfo(jnp.zeros(()).dtype).eps
    return [noise_path(game, jnp.full(game.horizon + 1, u)) for u in (edge, 1 - edge, 0.5)]


def corner(game, state, noise, time):
    """All mass in one state."""
    mean_field = jnp.zeros(game.num_states).at[state].set(1.0)
    return AggregateState(mean_field, noise, time, game.initial_public(noise))


def assert_finite(found):
    wrong = [name for name, value in found.items() if not np.isfinite(np.asarray(value, float)).all()]
    assert not wrong


@pytest.mark.parametrize("name", SMALL)
def test_every_quantity_is_finite_in_every_corner(name, precision):
    game = make(name, **SMALL[name])
    uniform = jnp.full((game.num_states, game.num_actions), 1 / game.num_actions)

    def look(state, time, noise, following):
        now = corner(game, state, noise, time)
        then, seen = game.follow(now, uniform, following), now
        now = acted(game, now)
        kernel = game.kernel(now)
        return {
            "mean field": then.mean_field,
            "values": kernel.expect(jnp.ones(game.num_states)),
            "successors": kernel.successors().probabilities,
            "reward": game.reward(now, then),
            "observation": game.observe(seen),
            "normalised": game.normalise(game.observe(seen)),
            "aggregates": game.aggregates(now.mean_field),
            **game.quantities(now),
        }

    each = jax.jit(jax.vmap(look, in_axes=(0, None, None, None)))
    for path in edge_paths(game):
        for time in (0, game.horizon - 1):
            now, following = (jax.tree.map(lambda z, t=t: z[t], path) for t in (time, time + 1))
            found = each(jnp.arange(game.num_states), jnp.asarray(time), now, following)
            assert_finite(found)
            np.testing.assert_allclose(found["mean field"].sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "name", [name if name in PRICED else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_gradients_of_the_return_are_finite_from_every_corner(name, precision):
    """By the package's own formula and by differentiation of Horner's rule, at soft and at saturated policies."""
    game = make(name, **SMALL[name])
    logits = jax.random.normal(jax.random.key(0), (game.horizon, game.num_states, game.num_actions))

    def gradients(state, scale, path):
        policy = jax.nn.softmax(scale * logits)

        def step(now, inputs):
            page, following = inputs
            return game.follow(now, page, following), game.decide(now, lambda _: (page, None))[0]

        first = corner(game, state, jax.tree.map(lambda z: z[0], path), jnp.zeros((), int))
        last, aggregates = jax.lax.scan(step, first, (policy, jax.tree.map(lambda z: z[1:], path)))
        aggregates = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), aggregates, acted(game, last))

        def mean_return(policy):
            return aggregates.mean_field[0] @ policy_values(game, aggregates, policy)[0]

        gained, soft, gradient = policy_gradient(game, aggregates, scale * logits, jnp.asarray(0.1))
        return {"return": gained, "soft": soft, "formula": gradient, "derivative": jax.grad(mean_return)(policy)}

    each = jax.jit(jax.vmap(gradients, in_axes=(0, None, None)))
    for path in edge_paths(game):
        for scale in (1.0, 1e3):
            assert_finite(each(jnp.arange(game.num_states), jnp.asarray(scale), path))
