"""What holds on accelerators, seen without one: no product is rounded, and known values are checked inside jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import JOINT_MASS, KERNELS, MASS, OPERATORS, VALUES

from structmfg import _checks
from structmfg.games import GAMES
from structmfg.operators import DenseKernel


def precisions(jaxpr):
    """The precision of every matrix product in a program, and in the programs within it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    yield from precisions(getattr(inner, "jaxpr", inner))


def assert_full_precision(function, *arguments):
    """GPUs round the factors of a float32 product to 11 bits unless they are asked not to; mass is then lost."""
    found = list(
        precisions(jax.make_jaxpr(jax.vmap(function))(*(jnp.asarray(x, float)[None] for x in arguments)).jaxpr)
    )
    assert all(each == (jax.lax.Precision.HIGHEST,) * 2 for each in found), found
    return len(found)


def test_products_of_kernels_and_operators_are_not_rounded():
    count = 0
    for case in KERNELS.values():
        kernel = case.build()
        states, actions = kernel.num_states, kernel.num_actions
        count += assert_full_precision(kernel.expect, VALUES[:states])
        count += assert_full_precision(kernel.push, JOINT_MASS[:states, :actions])
    for case in OPERATORS.values():
        operator = case.build()
        size = case.twin.shape[1]
        count += assert_full_precision(operator.mv, np.resize(VALUES, size))
        count += assert_full_precision(operator.rmv, np.resize(MASS, case.twin.shape[0]))
    assert count > 4  # or nothing was looked at


@pytest.mark.parametrize("name", sorted(GAMES))
def test_aggregates_of_games_are_not_rounded(name):
    game = GAMES[name]()
    assert_full_precision(game.aggregates, np.full(game.num_states, 1 / game.num_states))


def test_values_on_another_device_are_checked_inside_jit(monkeypatch):
    """There, known values stay arrays of JAX, which operations inside jit would trace."""
    monkeypatch.setattr(_checks, "known_values", lambda values: None if isinstance(values, jax.core.Tracer) else values)
    probabilities = jnp.full((3, 2, 3), 1 / 3)
    pushed = jax.jit(lambda mass: DenseKernel(probabilities).push(mass))(jnp.full((3, 2), 1 / 6))
    np.testing.assert_allclose(pushed, np.full(3, 1 / 3), rtol=1e-6)
    wrong = -probabilities
    with pytest.raises(ValueError, match="sum to 1"):
        jax.jit(lambda mass: DenseKernel(wrong).push(mass))(jnp.full((3, 2), 1 / 6))
    _checks.check_entries("indices", jnp.array([3, 5], jnp.uint8), 0, 500)  # 500 is beyond the type
