"""Noise paths over the cores of a processor: the same numbers whatever their number is, under the caller's settings."""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.evaluation import clairvoyant_response, evaluate_paths, exploitability_bounds
from structmfg.games import Macro, noise_paths
from structmfg.parallel import _cores, map_over_cores, shares_of_cores
from structmfg.policies import uniform

GAME = Macro(num_wealth=12, num_income=2, num_actions=3, horizon=5)


@pytest.fixture(params=[1, 3])
def num_cores(request, monkeypatch):
    monkeypatch.setattr(_cores, "own_cores", lambda: list(range(request.param)))
    return request.param


@pytest.mark.parametrize("count", [1, 4, 7, 12])
def test_every_path_once_and_in_order(num_cores, count):
    """Seven paths make two calls for four, of which the last one has a path to spare."""
    calls = []

    def program(factor, x, key):
        calls.append(len(x))
        return {"sum": factor * jnp.sum(x, axis=1), "drawn": jax.vmap(jax.random.uniform)(key)}

    x, keys = np.arange(2.0 * count).reshape(count, 2), jax.random.split(jax.random.key(0), count)
    found = map_over_cores(program, (3.0, x, keys), mapped=(1, 2), batch_size=4, at_once=8)
    np.testing.assert_array_equal(found["sum"], 3 * x.sum(1))
    np.testing.assert_array_equal(found["drawn"], jax.vmap(jax.random.uniform)(keys))
    assert calls == [min(count, 4)] * -(-count // 4)
    assert shares_of_cores(count, 4, 8) == (min(count, 4), min(num_cores, len(calls)))


def test_at_most_so_many_calls_at_once(monkeypatch):
    monkeypatch.setattr(_cores, "own_cores", lambda: list(range(8)))
    names = set()

    def program(x):
        names.add(threading.current_thread().name)
        return x

    map_over_cores(program, (np.arange(20),), mapped=(0,), batch_size=1, at_once=2)
    assert len(names - {threading.main_thread().name}) in (1, 2)


def test_compiled_once(monkeypatch):
    monkeypatch.setattr(_cores, "own_cores", lambda: list(range(4)))
    traced = []

    @eqx.filter_jit
    def program(x):
        traced.append(x)
        return 2 * x

    for count in (32, 16, 8):
        found = map_over_cores(program, (np.arange(1.0 * count),), mapped=(0,), batch_size=4, at_once=4)
        np.testing.assert_array_equal(found, 2 * np.arange(count))
    assert len(traced) == 1


def test_settings_of_the_caller_hold_in_threads(monkeypatch):
    monkeypatch.setattr(_cores, "own_cores", lambda: list(range(2)))

    def program(x):
        precision = jax.config.jax_default_matmul_precision
        return np.repeat([[jnp.ones(1).dtype.itemsize, precision == "tensorfloat32"]], len(x), axis=0)

    def seen():
        return map_over_cores(program, (np.arange(8),), mapped=(0,), batch_size=1, at_once=2)

    with jax.enable_x64(True), jax.default_matmul_precision("tensorfloat32"):
        np.testing.assert_array_equal(seen(), [[8, True]] * 8)
    with jax.enable_x64(False):
        np.testing.assert_array_equal(seen(), [[4, False]] * 8)


def test_faults_reach_the_caller(num_cores):
    def program(x):
        if x[0] >= 4:
            raise ValueError(f"fault at {x[0]}")
        return x

    with pytest.raises(ValueError, match="fault at 4"):
        map_over_cores(program, (np.arange(8),), mapped=(0,), batch_size=2, at_once=2)


def test_called_once_inside_jit():
    def program(x):
        assert x.shape == (6,)
        return 2 * x

    traced = jax.jit(lambda x: map_over_cores(program, (x,), mapped=(0,), batch_size=2, at_once=2))
    np.testing.assert_array_equal(traced(np.arange(6)), 2 * np.arange(6))


def test_number_of_cores_changes_no_bit(monkeypatch):
    policy, key = uniform(GAME), jax.random.key(3)
    paths = noise_paths(GAME, key=key, num_paths=10)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(_cores, "own_cores", lambda count=count: list(range(count)))
        response = clairvoyant_response(GAME, policy, paths, over_time=True)
        bounds = exploitability_bounds(GAME, policy, key=key, num_paths=8, num_training_paths=9)
        found.append([response.gains, response.over_time.by_state, bounds.lower_by_path, bounds.upper_by_path])
    for other in found[1:]:
        for expected, numbers in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(numbers, expected)


def test_constants_inside_jit():
    """A call inside `jit` whose arguments are known is part of the program, too."""
    policy, noise = uniform(GAME), noise_paths(GAME, key=jax.random.key(0), num_paths=6).noise
    traced = jax.jit(lambda x: x * evaluate_paths(GAME, policy, noise).returns)(2.0)
    np.testing.assert_allclose(traced, 2 * evaluate_paths(GAME, policy, noise).returns, rtol=1e-5)


def test_paths_of_different_numbers(num_cores):
    program = eqx.filter_jit(lambda x, y: jax.vmap(jnp.add)(x, y))
    with pytest.raises(ValueError, match="inconsistent sizes"):
        map_over_cores(program, (np.arange(6), np.arange(9)), mapped=(0, 1), batch_size=4, at_once=2)


def test_the_way_of_drawing_holds_in_threads(monkeypatch):
    monkeypatch.setattr(_cores, "own_cores", lambda: list(range(3)))

    @eqx.filter_jit
    def program(x):
        return x + jax.random.normal(jax.random.PRNGKey(0), (4,))[0]

    for context in (jax.threefry_partitionable(False), jax.default_prng_impl("rbg")):
        with context:
            found = map_over_cores(program, (np.zeros(9),), mapped=(0,), batch_size=1, at_once=3)
            np.testing.assert_array_equal(found, program(np.zeros(9)))
