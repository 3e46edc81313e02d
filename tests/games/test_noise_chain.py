"""Finite Markov noise: its paths, their probabilities, and AR(1) processes discretised into it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_games import CHAIN

from structmfg.games import NoiseChain, rouwenhorst, tauchen


def stationary(transition):
    return np.linalg.matrix_power(transition, 4096)[0]


def test_paths_by_hand():
    states, probabilities = CHAIN.paths(1)
    np.testing.assert_array_equal(states, [[1, 0], [1, 2], [2, 0], [2, 1], [2, 2]])
    np.testing.assert_allclose(probabilities, [0.08, 0.32, 0.06, 0.36, 0.18])


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_widths_are_the_numbers_of_distinct_histories(horizon):
    states, probabilities = CHAIN.paths(horizon)
    assert CHAIN.widths(horizon) == [
        len({tuple(path[: t + 1]) for path in states.tolist()}) for t in range(horizon + 1)
    ]
    assert probabilities.sum() == pytest.approx(1)
    assert CHAIN.widths(400)[-1] > 2**64  # without overflow


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 2**40]), "whole numbers of the noise chain must fit into 32 bits, but that of state 1"),
        (np.array([0.0, 1e300]), "values of the noise chain must be finite, but that of state 1"),
    ],
)
def test_values_that_single_precision_cannot_hold_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NoiseChain(values, np.full(2, 0.5), np.full((2, 2), 0.5)).validate()


def test_sampling_follows_the_chain(double):
    uniforms = (jnp.arange(1000) + 0.5) / 1000
    first = np.asarray(jax.vmap(CHAIN.first)(uniforms))
    after = np.asarray(jax.vmap(lambda u: CHAIN.following(jnp.array(2.0), u))(uniforms))
    for drawn, row in ((first, CHAIN.initial), (after, CHAIN.transition[2])):
        np.testing.assert_allclose([(drawn == value).mean() for value in CHAIN.values], row, atol=1e-3)


@pytest.mark.parametrize("method", [rouwenhorst, tauchen])
@pytest.mark.parametrize("num_states", [2, 3, 7])
def test_discretised_process(method, num_states):
    """Rows are distributions; the moments are those of the process: exactly (Rouwenhorst), or nearly on a fine grid."""
    points, transition = method(num_states, 0.9, 0.03)
    np.testing.assert_allclose(transition.sum(1), 1)
    assert (transition >= 0).all()
    weights = stationary(transition)
    variance = weights @ points**2
    if method is rouwenhorst:
        np.testing.assert_allclose(transition @ points, 0.9 * points, atol=1e-14)
        np.testing.assert_allclose(variance, 0.03**2 / (1 - 0.9**2))


def test_tauchen_converges():
    points, transition = tauchen(201, 0.6, 0.5, width=6)
    assert stationary(transition) @ points**2 == pytest.approx(0.5**2 / (1 - 0.6**2), rel=1e-3)
    np.testing.assert_allclose((transition @ points)[90:111], 0.6 * points[90:111], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rouwenhorst(1, 0.5, 1), "num_states must be a whole number of at least 2"),
        (lambda: rouwenhorst(3, 1.0, 1), "persistence must lie in"),
        (lambda: tauchen(3, 0.5, 0.0), "deviation must be finite and above 0"),
        (lambda: CHAIN._replace(initial=np.array([0.5, 0.2, 0.2])).validate(), "sum to 1"),
        (lambda: CHAIN._replace(transition=np.full((2, 2), 0.5)).validate(), "must have shape"),
    ],
)
def test_bad_input(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
