"""What holds on accelerators, seen without one: no product is rounded, and known values are checked inside jit.

There loops are written out and paths run side by side, which changes no result.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import JOINT_MASS, KERNELS, MASS, OPERATORS, VALUES
from helpers.small_games import SMALL

from structmfg import _checks, _flags, evaluation, policies, solvers
from structmfg.games import GAMES, make, noise_paths
from structmfg.operators import DenseKernel
from structmfg.parallel import program_cost
from structmfg.solvers.gradient import _structural
from structmfg.solvers.loop import lower_update


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


def small_solver(name):
    game = make(name, **SMALL[name])
    network = policies.recurrent(game, hidden=4, width=4, rank=2, frequencies=1)
    return game, solvers.RSPG(network, num_paths=2, sampling="iid", temperature=0.1, final_temperature=0.1)


def products(game, solver):
    """The matrix products in the program of an update, those of the network included."""
    text = lower_update(game, solver).as_text()
    return [line for line in text.splitlines() if "stablehlo.dot_general" in line]


@pytest.mark.parametrize("name", ["linear_quadratic", "macro"])
def test_no_product_of_an_update_is_rounded(name):
    found = products(*small_solver(name))
    assert len(found) > 10
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in found)


def test_the_precision_that_a_user_has_chosen_is_kept():
    with jax.default_matmul_precision("tensorfloat32"):
        found = products(*small_solver("beach_bar"))
    assert any("precision = [HIGH, HIGH]" in line for line in found)  # of the network
    assert any("precision = [HIGHEST, HIGHEST]" in line for line in found)  # of the mean field


@pytest.mark.parametrize("name", sorted(GAMES))
def test_observations_of_games_are_not_rounded(name):
    game = GAMES[name]()
    aggregate = game.initial(jax.random.key(0))
    found = [*precisions(jax.make_jaxpr(game.observe)(aggregate).jaxpr)]
    assert all(each == (jax.lax.Precision.HIGHEST,) * 2 for each in found), found


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("linear_quadratic", "beach_bar")]


@pytest.mark.parametrize("name", ["macro", *SLOW])
def test_an_accelerator_computes_the_same_with_fewer_kernels(name, monkeypatch, double):
    game, solver = small_solver(name)
    state = solver.init(game, jax.random.key(0))
    results, kernels = [], []
    monkeypatch.setattr(_structural, "MAX_PAIRS_SIDE_BY_SIDE", 1)  # as of a large game
    for on_processor in (True, False):
        for module in (_flags, _structural):
            monkeypatch.setattr(module, "on_processor", lambda answer=on_processor: answer)
        compiled = jax.jit(lambda state: solver.step(game, state, 100)).lower(state).compile()
        results.append(compiled(state))
        kernels.append(program_cost(compiled.as_text()).kernels)
    (one, one_metrics), (other, other_metrics) = results
    np.testing.assert_allclose(one_metrics, other_metrics, rtol=1e-10)
    for here, there in zip(jax.tree.leaves(one.parameters), jax.tree.leaves(other.parameters), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-9)
    assert kernels[1] < kernels[0]


def test_rollouts_store_noise_and_times_as_the_game_has_them():
    """They are put together after the loop."""
    game = make("macro", **SMALL["macro"])
    noise = jax.tree.map(lambda z: z[0], noise_paths(game, key=jax.random.key(1), num_paths=1).noise)
    path = evaluation.rollout(game, policies.uniform(game), noise).aggregates
    for kept, given in zip(jax.tree.leaves(path.noise), jax.tree.leaves(noise), strict=True):
        np.testing.assert_array_equal(kept, given)
    np.testing.assert_array_equal(path.time, np.arange(game.horizon + 1))
