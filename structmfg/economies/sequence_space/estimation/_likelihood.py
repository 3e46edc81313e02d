"""The Gaussian likelihood of aggregate series, given their moving average (Auclert et al. 2021, section 5).

N periods of n series are one Gaussian vector. Its covariance has the block C_{t-t'} of the autocovariances for the
times t and t', plus the variance of measurement errors on its diagonal, and one Cholesky factorisation gives its log
density. With a = Sigma^-1 y its derivative is

    d log p = tr((a a^T - Sigma^-1) dSigma) / 2 - a^T dy,

which costs a few factorisations at any number of parameters.

>>> from structmfg.economies.sequence_space import MovingAverage, autoregressive
>>> average = MovingAverage.from_responses({"output": {"productivity": autoregressive(2.0, 0.5)}})
>>> round(float(log_likelihood(average, {"output": [1.0, -0.5, 0.3]})), 6)
-5.236661
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from structmfg._checks import as_reals, check_kind, check_name, concrete
from structmfg.economies.sequence_space._paths import AnyArray, double_precision, on_host
from structmfg.economies.sequence_space.estimation._moving_average import (
    MovingAverage,
    autocovariances,
)


def log_likelihood(
    moving_average: MovingAverage, data: Any, *, measurement_error: float | AnyArray | Mapping[str, Any] = 0.0
) -> Float[AnyArray, ""]:
    """Compute the log density of data, with its constant, under a moving average of Gaussian shocks.

    All of the data is one Gaussian vector, stationary from its first period on. Inside `jit`, `grad` and `vmap` nothing
    is known of the values, and the result is nan where the covariance is not positive definite to rounding. Time grows
    with the cube of the number of observations, and memory with its square.

    Args:
        moving_average: See `MovingAverage`.
        data: Deviations from the mean: a vector (N,) for each series that is observed, by name, or an array (N, n) of
            all series in their order. nan where there is no observation, in any pattern; the density is that of the
            others.
        measurement_error: The standard deviation of an independent normal error in each observation: one number for
            all series, or numbers by name, 0 for the series without a name.

    Returns:
        The log density, a number in float64. It is differentiable, twice too, in the coefficients, the data and the
        standard deviations.

    Raises:
        ValueError: If the data do not fit the series, hold no observation or an infinite one, if a standard deviation
            is negative, or if the covariance is not positive definite: without measurement error, more series than
            shocks, or one that is a combination of others.
    """
    check_kind("moving_average", moving_average, MovingAverage)
    with double_precision(moving_average, data, measurement_error):
        names, values = _observed(moving_average.series, data)
        errors = _errors(moving_average.series, names, measurement_error)
        num_shocks = len(moving_average.shocks)
        _check_values(names, values, errors, num_shocks)
        rows = np.array([moving_average.series.index(name) for name in names])
        value = _log_likelihood(moving_average.coefficients[:, rows], values, jnp.stack(errors))
        known = concrete(value)
    if known is not None and np.isnan(known):
        raise ValueError(
            f"the covariance of the data must be positive definite, but to rounding it is not, for {len(names)} series "
            f"and {num_shocks} shocks; give a measurement_error, or leave out series that others determine"
        )
    return on_host(value)


def _observed(series: tuple[str, ...], data: Any) -> tuple[tuple[str, ...], Float[Array, "periods series"]]:
    """The names of the series that are observed, and their data."""
    if isinstance(data, Mapping):
        for name in data:
            check_name("series in the data", name, series)
        columns = [as_reals(f"the data of {name!r}", given, float) for name, given in data.items()]
        shapes = sorted({column.shape for column in columns})
        if len(shapes) != 1 or len(shapes[0]) != 1 or not shapes[0][0]:
            raise ValueError(
                f"the data must be vectors (N,) of one length, of one period at least, but have shapes {shapes}"
            )
        return tuple(data), jnp.stack(columns, -1)
    values = as_reals("the data", data, float)
    if values.ndim != 2 or values.shape[1] != len(series) or not len(values):
        raise ValueError(
            f"the data must have shape (N, {len(series)}), periods and the series {list(series)}, or be vectors by "
            f"name, but have shape {values.shape}"
        )
    return series, values


def _errors(series: tuple[str, ...], names: tuple[str, ...], given: Any) -> list[Array]:
    """The standard deviation of the measurement error of each series that is observed."""
    if isinstance(given, Mapping):
        for name in given:
            check_name("series with a measurement_error", name, series)
        errors = [as_reals(f"measurement_error of {name!r}", given.get(name, 0.0), float) for name in names]
    else:
        errors = [as_reals("measurement_error", given, float)] * len(names)
    for name, error in zip(names, errors, strict=True):
        known = concrete(error)
        if error.shape or (known is not None and not 0 <= known < math.inf):
            raise ValueError(
                f"measurement_error must be a number, finite and not negative, for each series, but that of {name!r} "
                f"is {error if known is None else known.tolist()}"
            )
    return errors


def _check_values(names: tuple[str, ...], values: Any, errors: list[Array], num_shocks: int) -> None:
    """Raise `ValueError` if known data cannot have a density."""
    known = concrete(values)
    if known is None:
        return
    if np.isinf(known).any():
        period, column = np.argwhere(np.isinf(known))[0]
        raise ValueError(
            f"data must be finite, or nan where there is no observation, but {names[column]!r} in period {period} is "
            f"{known[period, column]}"
        )
    observed = ~np.isnan(known)
    if not observed.any():
        raise ValueError("the data must have one observation at least, but are nan in all periods")
    exact = np.array([not isinstance(error, jax.core.Tracer) and float(error) == 0 for error in errors])
    most = int((observed & exact).sum(1).max())
    if most > num_shocks:
        raise ValueError(
            f"series without measurement error may be as many as the shocks, {num_shocks}, in one period, but "
            f"{most} are observed in one: give a measurement_error to {most - num_shocks} or more, or leave them out"
        )


@jax.jit
def _log_likelihood(
    coefficients: Float[Array, "horizon series shocks"],
    data: Float[Array, "periods series"],
    errors: Float[Array, " series"],
) -> Float[Array, ""]:
    num_periods, num_series = data.shape
    covariances = autocovariances(coefficients, num_periods)
    covariance = _block_toeplitz(covariances.at[0].add(jnp.diag(errors**2)))
    observed = ~jnp.isnan(data).ravel()
    # What is missing is replaced by an independent standard normal variable that is 0; its density is a constant.
    covariance = jnp.where(observed[:, None] & observed, covariance, jnp.eye(num_periods * num_series))
    density = _log_density(covariance, jnp.where(observed, data.ravel(), 0.0))
    return density - 0.5 * math.log(2 * math.pi) * observed.sum()


def _block_toeplitz(covariances: Float[Array, "periods series series"]) -> Float[Array, "observations observations"]:
    """The covariance matrix of x_0, ..., x_{N-1}, whose block (t, t') is C_{t-t'}, with C_{-l} = C_l^T.

    Row t of its blocks is row 0 moved to the right by t. So the blocks C_0, C_{-1}, ..., C_{1-N}, C_{N-1}, ..., C_1, of
    which there are 2N - 1, are repeated and cut into rows of 2N - 2. That needs no indices, whose derivative is slow.
    """
    num_periods, num_series, _ = covariances.shape
    first = jnp.concatenate([covariances.transpose(0, 2, 1), covariances[:0:-1]])
    length = max(2 * num_periods - 2, 1)
    repeated = jnp.broadcast_to(first, (num_periods, *first.shape)).reshape(-1, num_series, num_series)
    blocks = repeated[: num_periods * length].reshape(num_periods, length, num_series, num_series)[:, :num_periods]
    size = num_periods * num_series
    return blocks.transpose(0, 2, 1, 3).reshape(size, size)


@jax.custom_jvp
def _log_density(covariance: Float[Array, "n n"], deviations: Float[Array, " n"]) -> Float[Array, ""]:
    """-(y^T Sigma^-1 y + log det Sigma) / 2 for a symmetric Sigma; nan if it is not positive definite to rounding."""
    factor = _cholesky(covariance)
    return _from_whitened(factor, solve_triangular(factor, deviations, lower=True))


def _from_whitened(factor: Float[Array, "n n"], whitened: Float[Array, " n"]) -> Float[Array, ""]:
    return -0.5 * whitened @ whitened - jnp.log(jnp.diag(factor)).sum()


def _cholesky(covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The Cholesky factor; nan unless the variance of each entry given those before it has two right digits."""
    factor = jnp.linalg.cholesky(covariance, symmetrize_input=False)
    least = jnp.min(jnp.diag(factor) ** 2 / jnp.diag(covariance))
    return jnp.where(least > 100 * len(factor) * jnp.finfo(factor.dtype).eps, factor, jnp.nan)


@_log_density.defjvp
def _log_density_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """The derivative by Sigma and y; reverse mode transposes two products, and never a factorisation."""
    (covariance, deviations), (by_covariance, by_deviations) = primals, tangents
    factor = _cholesky(covariance)
    whitened = solve_triangular(factor, deviations, lower=True)
    weights = solve_triangular(factor, whitened, lower=True, trans=1)
    inverse = cho_solve((factor, True), jnp.eye(len(factor)))
    slope = 0.5 * (jnp.outer(weights, weights) - inverse)
    tangent = jnp.vdot(slope, by_covariance) - weights @ by_deviations
    return _from_whitened(factor, whitened), tangent
