"""Aggregates as moving averages of Gaussian shocks: their second moments and simulated paths.

The linear response of aggregates to shocks that nobody foresees is a moving average (Boppart, Krusell & Mitman 2018,
doi:10.1016/j.jedc.2018.01.002; Auclert, Bardoczy, Rognlie & Straub 2021, doi:10.3982/ECTA17434, section 5)

    x_t = sum_{s=0}^{T-1} Psi_s eps_{t-s},   eps_t independent and standard normal,

whose coefficients Psi_s are the impulse responses after s periods. x_t are deviations from the stationary equilibrium.

>>> from structmfg.economies.sequence_space import autoregressive
>>> responses = {"output": {"productivity": autoregressive(0.01, 0.9, 400)}}
>>> moments = second_moments(MovingAverage.from_responses(responses), 3)
>>> round(float(moments.standard_deviations[0]), 5)  # 0.01 / sqrt(1 - 0.9^2)
0.02294
>>> [round(float(each), 4) for each in moments.correlations[:, 0, 0]]
[1.0, 0.9, 0.81]
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import as_reals, check_integer, check_key, check_kind, check_name, concrete
from structmfg.economies.sequence_space._linear import LinearEconomy
from structmfg.economies.sequence_space._paths import AnyArray, double_precision, on_host


def _as_coefficients(values: Any) -> jax.Array:
    with double_precision(values):
        return as_reals("coefficients", values, float)


class MovingAverage(eqx.Module):
    """A moving average x_t = sum_s Psi_s eps_{t-s} of independent standard normal shocks, in float64.

    Attributes:
        coefficients: Psi (T, series, shocks): the response of each series, s = 0, ..., T - 1 periods after an
            innovation of one standard deviation. Responses after T periods count as zero.
        series: The names of the series.
        shocks: The names of the shocks.

    Raises:
        ValueError: If the names do not fit the shape, are not distinct, or a known coefficient is not finite.
    """

    coefficients: Float[Array, "horizon series shocks"] = eqx.field(converter=_as_coefficients)
    series: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    shocks: tuple[str, ...] = eqx.field(static=True, converter=tuple)

    def __check_init__(self) -> None:
        shape, counts = self.coefficients.shape, (len(self.series), len(self.shocks))
        if len(shape) != 3 or not shape[0] or shape[1:] != counts or not all(counts):
            raise ValueError(
                f"coefficients must have shape (T, {counts[0]}, {counts[1]}), T periods and the numbers of series and "
                f"shocks, none of them zero, but have shape {shape}"
            )
        for kind, names in (("series", self.series), ("shocks", self.shocks)):
            if len(set(names)) < len(names):
                raise ValueError(f"names of {kind} must be distinct, but are {list(names)}")
        known = concrete(self.coefficients)
        if known is not None and not np.isfinite(known).all():
            s, i, j = np.argwhere(~np.isfinite(known))[0]
            raise ValueError(
                f"responses must be finite, but that of {self.series[i]!r} to {self.shocks[j]!r} after {s} periods is "
                f"{known[s, i, j]}"
            )

    @classmethod
    def of_economy(cls, economy: LinearEconomy, shocks: Mapping[str, Any], series: Sequence[str]) -> "MovingAverage":
        """Build the moving average of paths of an economy to first order.

        Args:
            economy: See `linearise`.
            shocks: By exogenous path, its change (T,) after an innovation of one standard deviation, such as
                `autoregressive(0.01, 0.8, T)`.
            series: Names of paths of the economy.

        Raises:
            ValueError: If a name is unknown, or a change is not of the economy's horizon.
        """
        by_shock = {name: economy.response({name: path}) for name, path in shocks.items()}
        known = (*economy.exogenous, *economy.unknowns, *economy.reported)
        for name in series:
            check_name("series of the economy", name, known)
        return cls.from_responses({one: {name: by_shock[name][one] for name in shocks} for one in series})

    @classmethod
    def from_responses(cls, responses: Mapping[str, Mapping[str, Any]]) -> "MovingAverage":
        """Build the moving average whose coefficients are impulse responses.

        Args:
            responses: By series, and then by shock, the response (T,) to an innovation of one standard deviation at
                time 0 that nobody foresaw. Every series has one to every shock, of zeros where it does not respond.

        Raises:
            ValueError: If a response is missing, or responses differ in length.
        """
        check_kind("responses", responses, Mapping)
        if not responses:
            raise ValueError("responses must have one series at least, but have none")
        for name, given in responses.items():
            check_kind(f"responses[{name!r}]", given, Mapping)
        shocks = list(next(iter(responses.values())))
        for name, given in responses.items():
            if set(given) != set(shocks):
                raise ValueError(
                    f"every series needs a response to the same shocks, zeros where there is none, but {name!r} has "
                    f"{sorted(given)} and another has {sorted(shocks)}"
                )
        with double_precision(dict(responses)):
            rows = [
                [as_reals(f"the response of {name!r} to {shock!r}", given[shock], float) for shock in shocks]
                for name, given in responses.items()
            ]
            shapes = sorted({response.shape for row in rows for response in row})
            if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
                raise ValueError(f"responses must be vectors (T,) of one length, but have shapes {shapes}")
            coefficients = jnp.stack([jnp.stack(row, -1) for row in rows], 1)
        return cls(coefficients, tuple(responses), tuple(shocks))


class SecondMoments(NamedTuple):
    """The result of `second_moments`, in float64; what has no variance has no correlation and no shares (nan).

    Attributes:
        autocovariances: C (L, n, n): `C[l, i, j]` is the covariance of x_i at time t + l with x_j at time t.
        correlations: The same, divided by the standard deviations of the two series.
        standard_deviations: (n,).
        variance_shares: (n, m): the share of each shock in the variance of each series.
    """

    autocovariances: Float[AnyArray, "lags series series"]
    correlations: Float[AnyArray, "lags series series"]
    standard_deviations: Float[AnyArray, " series"]
    variance_shares: Float[AnyArray, "series shocks"]


def second_moments(moving_average: MovingAverage, num_lags: int = 1) -> SecondMoments:
    """Compute the second moments of a moving average, exactly but for rounding: C_l = sum_s Psi_{s+l} Psi_s^T.

    Args:
        moving_average: See `MovingAverage`.
        num_lags: L; lags 0, ..., L - 1 are computed.

    Raises:
        ValueError: If `num_lags` is not a whole number of at least 1.
    """
    check_kind("moving_average", moving_average, MovingAverage)
    lags = check_integer("num_lags", num_lags, at_least=1)
    with double_precision(moving_average):
        return on_host(_second_moments(moving_average.coefficients, lags))


@functools.partial(jax.jit, static_argnums=1)
def _second_moments(coefficients: Float[Array, "horizon series shocks"], num_lags: int) -> SecondMoments:
    covariances = autocovariances(coefficients, num_lags)
    by_shock = (coefficients**2).sum(0)
    variances = by_shock.sum(-1)
    deviations = jnp.sqrt(variances)
    correlations = covariances / (deviations[:, None] * deviations)
    return SecondMoments(covariances, correlations, deviations, by_shock / variances[:, None])


def autocovariances(
    coefficients: Float[Array, "horizon series shocks"], num_lags: int
) -> Float[Array, "lags series series"]:
    """Return C_l = sum_s Psi_{s+l} Psi_s^T for l = 0, ..., num_lags - 1, by a fast Fourier transform.

    Zeros behind the coefficients keep the ends of the sums apart.
    """
    horizon = len(coefficients)
    kept = min(horizon, num_lags)
    length = _fast_length(horizon + kept - 1)
    transformed = jnp.fft.rfft(coefficients, length, axis=0)
    spectrum = jnp.einsum("fik,fjk->fij", transformed, transformed.conj())
    covariances = jnp.fft.irfft(spectrum, length, axis=0)[:kept]
    return jnp.pad(covariances, ((0, num_lags - kept), (0, 0), (0, 0)))


def _fast_length(least: int) -> int:
    """A length of at least `least` for which fast Fourier transforms are fast."""
    return 1 << (least - 1).bit_length()


def simulate(moving_average: MovingAverage, key: Any, num_periods: int) -> dict[str, Float[AnyArray, " periods"]]:
    """Draw a path of the series, stationary from its first period on.

    T - 1 innovations before the first period take part, so that the path has the moments of `second_moments` in every
    period.

    Args:
        moving_average: See `MovingAverage`.
        key: A random key of JAX.
        num_periods: N.

    Returns:
        A path (N,) for each series, by name.

    Raises:
        ValueError: If `key` is no random key, or `num_periods` not a whole number of at least 1.
    """
    check_kind("moving_average", moving_average, MovingAverage)
    check_key(key)
    periods = check_integer("num_periods", num_periods, at_least=1)
    with double_precision(moving_average):
        paths = on_host(_simulate(moving_average.coefficients, key, periods))
    return dict(zip(moving_average.series, paths, strict=True))


@functools.partial(jax.jit, static_argnums=2)
def _simulate(
    coefficients: Float[Array, "horizon series shocks"], key: Any, num_periods: int
) -> tuple[Float[Array, " periods"], ...]:
    horizon, _, num_shocks = coefficients.shape
    innovations = jax.random.normal(key, (horizon - 1 + num_periods, num_shocks), float)
    length = _fast_length(len(innovations))
    transformed = (jnp.fft.rfft(each, length, axis=0) for each in (coefficients, innovations))
    products = jnp.einsum("fik,fk->fi", *transformed)
    # The convolution is circular, but only its first T - 1 terms, which are left out, meet innovations of the end.
    paths = jnp.fft.irfft(products, length, axis=0)[horizon - 1 : len(innovations)]
    return tuple(paths.T)
