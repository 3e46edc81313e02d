"""Moving averages of shocks against dense matrices, closed forms of time series, and recursions in plain NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from structmfg.economies.sequence_space import (
    MovingAverage,
    autoregressive,
    log_likelihood,
    posterior_mode,
    second_moments,
    simulate,
)
from structmfg.solvers import RESULTS

pytestmark = pytest.mark.usefixtures("double")
RANDOM = np.random.default_rng(3)
PSI = RANDOM.normal(size=(6, 3, 2)) * 0.8 ** np.arange(6)[:, None, None]
AVERAGE = MovingAverage(PSI, ("output", "hours", "rate"), ("productivity", "policy"))
ERRORS = {"output": 0.4, "hours": 0.3, "rate": 0.2}
DATA = RANDOM.normal(size=(5, 3))
GAPS = DATA.copy()
GAPS[[0, 2, 2, 4], [1, 0, 1, 2]] = np.nan
GAPS[3] = np.nan


def dense(psi, num_periods):
    """The covariance of x_0, ..., x_{N-1}, by the matrix that makes them of all innovations that take part."""
    horizon, n, m = psi.shape
    matrix = np.zeros((num_periods, n, num_periods + horizon - 1, m))
    for t in range(num_periods):
        for s in range(horizon):
            matrix[t, :, t + horizon - 1 - s] = psi[s]
    flat = matrix.reshape(num_periods * n, -1)
    return flat @ flat.T


def reference(psi, data, errors):
    """The log density by SciPy, of the observations that there are."""
    covariance = dense(np.asarray(psi), len(data)) + np.diag(np.tile(np.square(errors), len(data)))
    kept = ~np.isnan(data.ravel())
    normal = scipy.stats.multivariate_normal(np.zeros(kept.sum()), covariance[np.ix_(kept, kept)])
    return normal.logpdf(data.ravel()[kept])


def ar1(horizon, persistence, size):
    return autoregressive(size, persistence, horizon)


def single(response):
    return MovingAverage.from_responses({"x": {"e": response}})


def arma(horizon, phi, theta, size):
    """Responses of x_t = phi x_{t-1} + e_t + theta e_{t-1}."""
    path = size * (phi + theta) * phi ** (np.arange(horizon) - 1.0)
    path[0] = size
    return path


def test_second_moments_are_those_of_the_dense_covariance():
    moments = second_moments(AVERAGE, 8)
    covariance = dense(PSI, 8).reshape(8, 3, 8, 3)
    np.testing.assert_allclose(moments.autocovariances, covariance[:, :, 0], atol=1e-14)
    assert not np.asarray(moments.autocovariances[6:]).any()  # no innovation takes part in both
    deviations = np.sqrt(np.diag(covariance[0, :, 0]))
    np.testing.assert_allclose(moments.standard_deviations, deviations, rtol=1e-14)
    np.testing.assert_allclose(moments.correlations, covariance[:, :, 0] / np.outer(deviations, deviations), atol=1e-14)
    one = MovingAverage(PSI[:, :, :1], AVERAGE.series, ("productivity",))  # only the first of the shocks
    np.testing.assert_allclose(
        moments.variance_shares[:, 0], second_moments(one).standard_deviations ** 2 / deviations**2, rtol=1e-14
    )
    np.testing.assert_allclose(moments.variance_shares.sum(1), 1, rtol=1e-14)


def test_second_moments_of_arma_in_closed_form():
    phi, theta, size = 0.7, -0.3, 0.02
    found = second_moments(single(arma(200, phi, theta, size)), 4).autocovariances[:, 0, 0]
    start = size**2 * (1 + 2 * phi * theta + theta**2) / (1 - phi**2)
    first = size**2 * (phi + theta) * (1 + phi * theta) / (1 - phi**2)
    np.testing.assert_allclose(found, [start, first, phi * first, phi**2 * first], rtol=1e-13)
    found = second_moments(single(ar1(200, phi, size)), 3).autocovariances[:, 0, 0]
    np.testing.assert_allclose(found, size**2 / (1 - phi**2) * phi ** np.arange(3), rtol=1e-13)


def test_responses_have_their_places():
    responses = {name: {s: PSI[:, i, j] for j, s in enumerate(AVERAGE.shocks)} for i, name in enumerate(ERRORS)}
    responses["hours"] = dict(reversed(responses["hours"].items()))  # the order of names is that of the first
    made = MovingAverage.from_responses(responses)
    assert (made.series, made.shocks) == (AVERAGE.series, AVERAGE.shocks)
    np.testing.assert_array_equal(made.coefficients, PSI)
    assert made.coefficients.dtype == np.float64


def test_path_of_ar1_and_its_derivative():
    np.testing.assert_allclose(ar1(4, 0.5, 2.0), [2, 1, 0.5, 0.25], rtol=1e-15)
    np.testing.assert_array_equal(jax.jacobian(lambda rho: ar1(4, rho, 2.0))(0.0), [0, 2, 0, 0])
    np.testing.assert_array_equal(jax.hessian(lambda rho: ar1(4, rho, 2.0))(0.0), [0, 0, 4, 0])
    np.testing.assert_allclose(jax.jacobian(lambda size: ar1(3, 0.5, size))(2.0), [1, 0.5, 0.25])


@pytest.mark.parametrize("data", [DATA, GAPS], ids=["complete", "gaps"])
def test_likelihood_is_that_of_one_normal_vector(data):
    found = log_likelihood(AVERAGE, data, measurement_error=ERRORS)
    np.testing.assert_allclose(found, reference(PSI, data, list(ERRORS.values())), rtol=1e-12)


def test_likelihood_of_some_series_in_any_order():
    data = {"rate": DATA[:, 2], "output": GAPS[:, 0].tolist()}
    expected = reference(PSI[:, [2, 0]], np.stack(list(data.values()), -1), [0.0, 0.4])
    np.testing.assert_allclose(log_likelihood(AVERAGE, data, measurement_error={"output": 0.4}), expected, rtol=1e-12)
    expected = reference(PSI[:, [2, 0]], np.stack(list(data.values()), -1), [0.4, 0.4])
    np.testing.assert_allclose(log_likelihood(AVERAGE, data, measurement_error=0.4), expected, rtol=1e-12)


@pytest.mark.parametrize("missing", [[], [0, 3, 4, 9]], ids=["complete", "gaps"])
def test_likelihood_of_ar1_by_prediction_errors(missing):
    rho, size = 0.8, 0.3
    x = np.random.default_rng(0).normal(size=10)
    x[missing] = np.nan
    mean, variance, expected = 0.0, size**2 / (1 - rho**2), 0.0
    for value in x:
        if not math.isnan(value):
            expected += scipy.stats.norm.logpdf(value, mean, math.sqrt(variance))
            mean, variance = value, 0.0
        mean, variance = rho * mean, rho**2 * variance + size**2
    found = log_likelihood(single(ar1(300, rho, size)), x[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def likelihood_of(vector):
    """The log likelihood as a function of one coefficient, two observations, a measurement error and an AR(1) path."""
    coefficients = jnp.asarray(PSI).at[2, 0, 1].set(vector[0]).at[:, 1, 0].add(ar1(6, vector[4], 0.5))
    average = MovingAverage(coefficients, AVERAGE.series, AVERAGE.shocks)
    data = jnp.asarray(GAPS).at[1, 2].set(vector[1]).at[4, 0].set(vector[2])
    return log_likelihood(average, data, measurement_error={"output": 0.4, "hours": 0.3, "rate": vector[3]})


def test_derivatives_against_central_differences():
    at, step = jnp.array([0.7, -0.4, 1.1, 0.5, 0.3]), 1e-5
    value, gradient = jax.jit(jax.value_and_grad(likelihood_of))(at)
    hessian = jax.jit(jax.hessian(likelihood_of))(at)
    shifted = at + step * jnp.stack([jnp.eye(5), -jnp.eye(5)])
    values, gradients = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(likelihood_of))))(shifted)
    np.testing.assert_allclose(gradient, (values[0] - values[1]) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(hessian, (gradients[0] - gradients[1]) / (2 * step), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10)
    psi, data = PSI.copy(), GAPS.copy()
    psi[2, 0, 1], data[1, 2], data[4, 0] = at[:3]
    psi[:, 1, 0] += ar1(6, 0.3, 0.5)
    np.testing.assert_allclose(value, reference(psi, data, [0.4, 0.3, 0.5]), rtol=1e-12)


def test_simulated_paths_are_stationary_with_the_moments():
    """Autocovariances between the first period and the last, and in each of them, within 5 standard errors."""
    keys = jax.random.split(jax.random.key(5), 20_000)
    paths = jax.jit(jax.vmap(lambda key: simulate(AVERAGE, key, 3)))(keys)
    x = np.stack([paths[name] for name in AVERAGE.series], -1)
    covariances = np.asarray(second_moments(AVERAGE, 3).autocovariances)
    deviations = np.sqrt(np.diag(covariances[0]))
    assert np.abs(x.mean(0) / deviations).max() < 5 / math.sqrt(len(x))
    for late, early in ((0, 0), (1, 0), (2, 2), (2, 0)):
        expected = covariances[late - early]
        error = np.sqrt((np.outer(deviations, deviations) ** 2 + expected**2) / len(x))
        found = x[:, late].T @ x[:, early] / len(x)
        assert np.abs((found - expected) / error).max() < 5


def test_path_is_the_sum_over_past_innovations():
    """An average that passes on one innovation after two periods is another one, moved by two periods."""
    key, psi = jax.random.key(0), np.zeros((3, 2, 1))
    psi[0, 0], psi[2, 1] = 1.0, -3.0
    path = simulate(MovingAverage(psi, ("now", "later"), ("e",)), key, 9)
    np.testing.assert_allclose(path["later"][2:], -3 * path["now"][:-2], atol=1e-14)
    assert np.abs(path["later"][:2]).min() > 1e-3  # of innovations before the first period
    assert {each.dtype for each in path.values()} == {np.dtype(np.float64)}


def test_singular_covariance_inside_jit_is_nan():
    psi = np.random.default_rng(4).normal(size=(6, 3, 3))
    psi[:, 2] = psi[:, 0] + psi[:, 1] + 1e-7 * psi[:, 2]  # so that Cholesky's method ends, without a right digit
    average = MovingAverage(psi, tuple("xyz"), tuple("abc"))
    value, slope = jax.jit(jax.value_and_grad(lambda x: log_likelihood(average, x)))(jnp.asarray(DATA))
    assert np.isnan(value)
    assert np.isnan(slope).all()
    with pytest.raises(ValueError, match="positive definite, but to rounding it is not, for 3 series and 3 shocks"):
        log_likelihood(average, DATA)
    assert np.isfinite(log_likelihood(average, DATA, measurement_error={"z": 0.1}))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MovingAverage(PSI, ("x",), ("e",)), r"must have shape \(T, 1, 1\).*have shape \(6, 3, 2\)"),
        (lambda: MovingAverage(PSI[:0], tuple("xyz"), tuple("ab")), "none of them zero"),
        (lambda: MovingAverage(PSI, ("x", "y", "x"), ("a", "b")), "names of series must be distinct"),
        (lambda: single([0.0, np.nan]), "that of 'x' to 'e' after 1 periods is nan"),
        (lambda: single([[0.0]]), r"vectors \(T,\) of one length, but have shapes"),
        (lambda: MovingAverage.from_responses({}), "must have one series at least"),
        (lambda: MovingAverage.from_responses({"x": [1.0]}), r"responses\['x'\] must be a Mapping, but is a list"),
        (lambda: MovingAverage.from_responses({"x": {"a": [1.0]}, "y": {"b": [1.0]}}), r"'y' has \['b'\] and another"),
        (lambda: MovingAverage.from_responses({"x": {"a": "no"}}), "the response of 'x' to 'a' must be an array of"),
        (lambda: second_moments(AVERAGE, 0), "num_lags must be a whole number of at least 1"),
        (lambda: simulate(AVERAGE, 3, 2), "key must be one of jax.random.key"),
        (lambda: log_likelihood(AVERAGE, {"wages": [1.0]}), "unknown series in the data 'wages'"),
        (lambda: log_likelihood(AVERAGE, {"rate": [1.0], "hours": [1.0, 2.0]}), r"vectors \(N,\) of one length"),
        (lambda: log_likelihood(AVERAGE, {"rate": []}), "of one period at least"),
        (lambda: log_likelihood(AVERAGE, {}), "of one period at least"),
        (lambda: log_likelihood(AVERAGE, DATA[:, :2]), r"must have shape \(N, 3\).*have shape \(5, 2\)"),
        (lambda: log_likelihood(AVERAGE, DATA * np.nan), "nan in all periods"),
        (lambda: log_likelihood(AVERAGE, {"rate": [0.0, np.inf]}), "but 'rate' in period 1 is inf"),
        (lambda: log_likelihood(AVERAGE, DATA), "as many as the shocks, 2, in one period, but 3 are observed in one"),
        (lambda: log_likelihood(AVERAGE, DATA, measurement_error=-1.0), "that of 'output' is -1.0"),
        (lambda: log_likelihood(AVERAGE, DATA, measurement_error={"wages": 1.0}), "measurement_error 'wages'"),
        (lambda: log_likelihood(PSI, DATA), "moving_average must be a MovingAverage"),
        (lambda: posterior_mode(lambda p: 0.0, {}), "start must name one parameter at least"),
        (lambda: posterior_mode(lambda p: p["a"], {"a": 1.0}, bounds={"b": (0, 1)}), "parameter in bounds 'b'"),
        (lambda: posterior_mode(lambda p: p["a"], {"a": 1.0}, bounds={"a": (1, 0)}), "the first below the second"),
        (lambda: posterior_mode(lambda p: p["a"], {"a": 1.0}, bounds={"a": (0, 1)}), r"lie within \(0, 1\) for 'a'"),
        (lambda: posterior_mode(lambda p: jnp.ones(2), {"a": 1.0}), "one real number, but returns"),
        (lambda: posterior_mode(lambda p: jnp.log(p["a"]), {"a": -1.0}), "finite at the start, but is nan at"),
    ],
)
def test_bad_input_gets_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_single_precision():
    """Values are in double precision all the same; what is traced would be transposed in single precision."""
    with jax.enable_x64(False):
        found = jax.jit(lambda: log_likelihood(AVERAGE, GAPS, measurement_error=0.5))()
        np.testing.assert_allclose(found, reference(PSI, GAPS, [0.5] * 3), rtol=1e-12)
        with pytest.raises(ValueError, match=r"within jax.enable_x64\(True\), or set jax_enable_x64"):
            jax.grad(lambda rho: second_moments(single(ar1(3, rho, 1.0))).standard_deviations[0])(0.5)
        with pytest.raises(ValueError, match="sequence space needs double precision"):
            jax.grad(lambda e: log_likelihood(AVERAGE, GAPS, measurement_error=e))(0.5)


def test_mode_of_a_normal_density_in_any_units():
    """The mode and the covariance are those of the normal distribution, whatever the bounds."""
    mean, scale = np.array([1e4, 0.2, 3.0, -2.0]), np.array([200.0, 0.006, 0.3, 0.4])
    correlation = np.array([[1, 0.5, 0, 0.2], [0.5, 1, 0, 0], [0, 0, 1, -0.3], [0.2, 0, -0.3, 1]])
    precision = np.linalg.inv(correlation)

    def density(p):
        away = jnp.stack([p[name] for name in ("level", "share", "above", "below")]) - mean
        away = away / scale
        return -0.5 * away @ precision @ away

    start = {"level": 1.0, "share": 0.5, "above": 1.5, "below": -1.0}
    bounds = {"share": (0, 1), "above": (1, math.inf), "below": (-math.inf, 0)}
    found = posterior_mode(density, start, bounds=bounds)
    assert found.result is RESULTS.converged
    np.testing.assert_allclose((np.array(list(found.parameters.values())) - mean) / scale, 0, atol=1e-3)
    np.testing.assert_allclose(found.covariance / np.outer(scale, scale), correlation, atol=1e-9)
    np.testing.assert_allclose(list(found.standard_errors.values()), scale, rtol=1e-9)
    assert found.stats["distance"] <= 1e-3


def test_search_from_the_mode_stays_there():
    start = {"free": 0.3, "share": 0.7, "above": 5.5, "below": -4.0}
    bounds = {"share": (0, 1), "above": (2, math.inf), "below": (-math.inf, 3)}
    found = posterior_mode(lambda p: -sum((p[n] - start[n]) ** 2 for n in start), start, bounds=bounds)
    assert (found.result, found.stats["steps"]) == (RESULTS.converged, 0)
    np.testing.assert_allclose(list(found.parameters.values()), list(start.values()), rtol=1e-14)


@pytest.mark.parametrize(
    ("density", "bounds", "steps", "result"),
    [
        (lambda p: -p["a"] - p["b"] ** 2, {"a": (0, math.inf)}, 500, RESULTS.no_maximum),  # rises towards a bound
        (lambda p: -((p["a"] + p["b"]) ** 2), {}, 500, RESULTS.no_maximum),  # only the sum is identified
        (lambda p: -((1 - p["a"]) ** 2) - 100 * (p["b"] - p["a"] ** 2) ** 2, {}, 3, RESULTS.max_steps),
        (lambda p: -jnp.sqrt(0 * p["a"]) - p["b"] ** 2, {}, 500, RESULTS.nonfinite),  # its derivative is nan
    ],
)
def test_what_is_no_mode_is_not_called_one(density, bounds, steps, result):
    found = posterior_mode(density, {"a": 0.5, "b": 1.0}, bounds=bounds, max_steps=steps)
    assert (found.result, found.succeeded) == (result, False)
    assert np.isnan(list(found.standard_errors.values())).all()


@pytest.mark.slow
def test_posterior_mode_recovers_the_parameters_of_a_system_of_two_shocks():
    horizon, periods = 80, 150
    lags = np.subtract.outer(np.arange(horizon), np.arange(horizon))
    jacobian = np.where(lags >= 0, 0.7 ** np.maximum(lags, 0), 0.3 ** np.maximum(-lags, 0))  # foreseen inputs matter

    def average(p):
        productivity, policy = (ar1(horizon, p[f"rho_{s}"], p[f"size_{s}"]) for s in ("z", "r"))
        return MovingAverage.from_responses(
            {
                "output": {"z": productivity + 0.5 * jacobian @ productivity, "r": -jacobian @ policy},
                "inflation": {"z": -0.3 * productivity, "r": -0.2 * policy},
                "hours": {"z": 0.2 * jacobian @ productivity, "r": -jacobian @ policy},
            }
        )

    truth = {"rho_z": 0.9, "size_z": 0.01, "rho_r": 0.5, "size_r": 0.0025, "error": 0.002}
    data = simulate(average(truth), jax.random.key(2), periods)
    noise = truth["error"] * np.random.default_rng(4).normal(size=(3, periods))
    data = {name: np.asarray(x) + e for (name, x), e in zip(data.items(), noise, strict=True)}
    found = posterior_mode(
        lambda p: log_likelihood(average(p), data, measurement_error=p["error"]),
        {"rho_z": 0.5, "size_z": 0.1, "rho_r": 0.1, "size_r": 0.1, "error": 0.1},
        bounds={"rho_z": (0, 1), "rho_r": (-1, 1)} | dict.fromkeys(("size_z", "size_r", "error"), (0, math.inf)),
    )
    assert found.result is RESULTS.converged
    for name, value in truth.items():
        assert abs(found.parameters[name] - value) < 3 * found.standard_errors[name], name
        assert found.standard_errors[name] < 0.25 * value, name  # the data say something about each
