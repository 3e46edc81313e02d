"""The mode of a posterior density over a few parameters, with standard errors from its curvature.

The limited-memory BFGS method (Liu & Nocedal 1989, doi:10.1007/BF01589116) climbs in coordinates without bounds: the
logarithm of the distance from a bound, or the logit between two. Far out, the density of the parameters does not change
with these coordinates, and a step that is too long would end there. So a first search is for the mode of the density of
the coordinates, which vanishes far out. A second one, from there, is for that of the parameters themselves.

Whether the end of the search is a mode is judged in the parameters, by gradient g and Hessian H there: if -H is
positive definite, the nearest maximum is about sqrt(g^T (-H)^-1 g) standard errors away, in any units.

>>> import jax.numpy as jnp
>>> def gamma(p):
...     return -p["size"] / 2 + 3 * jnp.log(p["size"])
>>> found = posterior_mode(gamma, {"size": 1.0}, bounds={"size": (0, jnp.inf)})
>>> round(found.parameters["size"], 3), round(found.standard_errors["size"], 3)  # 6, and 6 / sqrt(3)
(6.0, 3.464)
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_name, check_positive
from structmfg._results import RESULTS

_MIN_CURVATURE = 1e-10  # least eigenvalue of -H, scaled to a unit diagonal, that is more than rounding


class PosteriorMode(NamedTuple):
    """The result of `posterior_mode`.

    Attributes:
        parameters: The mode, by name.
        log_density: The log density there, as the user's function gives it.
        standard_errors: By name, from the inverse of the negative Hessian; nan where the end is no strict maximum.
        covariance: That inverse (p, p), in the order of `parameters`; nan where the end is no strict maximum.
        result: A member of `RESULTS`.
        stats: See `posterior_mode`.
    """

    parameters: dict[str, float]
    log_density: float
    standard_errors: dict[str, float]
    covariance: Float[np.ndarray, "parameters parameters"]
    result: RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether this is a mode, within the tolerance."""
        return self.result.succeeded


def posterior_mode(
    log_density: Callable[[dict[str, Array]], Any],
    start: Mapping[str, float],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 500,
) -> PosteriorMode:
    """Find a local maximum of a log density, in double precision.

    Args:
        log_density: A function of a dict of parameters, numbers by name, that JAX can trace and differentiate twice:
            the log likelihood, say, plus the log density of a prior. Where it is nan or minus infinity, the search
            turns back.
        start: Where the search starts, strictly within the bounds.
        bounds: The interval of each parameter, such as (0, inf) or (0, 1); all numbers, for one without a name here.
        tolerance: The largest distance from the mode, in standard errors, to second order.
        max_steps: The most steps of the search.

    Returns:
        `result` is `converged` if the Hessian is negative definite and the distance within the tolerance; `no_maximum`
        if the search came to rest where that is not so; `max_steps` or `nonfinite` otherwise. `stats`: `distance` from
        the mode in standard errors, infinite where the Hessian is not negative definite; `gradient` by name; `steps`.

    Raises:
        ValueError: If there is no parameter, a start or bound is of no use, or the density is not one finite number at
            the start.
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    intervals = _intervals(start, bounds or {})
    with jax.enable_x64(True):
        return _search(log_density, {name: float(x) for name, x in start.items()}, intervals, tolerance, max_steps)


def _intervals(start: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The interval of every parameter, as Python's numbers."""
    if not start:
        raise ValueError("start must name one parameter at least, but is empty")
    for name in bounds:
        check_name("parameter in bounds", name, start)
    intervals = {}
    for name, value in start.items():
        given = bounds.get(name, (-math.inf, math.inf))
        low, high = (float(end) for end in given) if np.shape(given) == (2,) else (math.nan, math.nan)
        if not low < high:
            raise ValueError(f"bounds of {name!r} must be two numbers, the first below the second, but are {given!r}")
        if np.shape(value) or not (math.isfinite(value) and low < value < high):
            raise ValueError(f"start must be finite and lie within ({low:g}, {high:g}) for {name!r}, but is {value!r}")
        intervals[name] = low, high
    return intervals


def _bounded(free: Any, low: float, high: float) -> Any:
    """The parameter at a coordinate without bounds."""
    if low > -math.inf and high < math.inf:
        return low + (high - low) * jax.nn.sigmoid(free)
    if low > -math.inf:
        return low + jnp.exp(free)
    return high - jnp.exp(-free) if high < math.inf else free


def _free(value: float, low: float, high: float) -> float:
    """The inverse of `_bounded`."""
    if low > -math.inf and high < math.inf:
        return math.log((value - low) / (high - value))
    if low > -math.inf:
        return math.log(value - low)
    return -math.log(high - value) if high < math.inf else value


def _slopes(parameters: Callable[[Array], Array], free: Float[Array, " parameters"]) -> Float[Array, " parameters"]:
    """The derivative of each parameter by its own coordinate, which is above zero."""
    return jax.jvp(parameters, (free,), (jnp.ones_like(free),))[1]


def _search(
    log_density: Callable[[dict[str, Array]], Any],
    start: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    tolerance: float,
    max_steps: int,
) -> PosteriorMode:
    names = list(start)

    def density(vector: Float[Array, " parameters"]) -> Any:
        return log_density(dict(zip(names, vector, strict=True)))

    def parameters(free: Float[Array, " parameters"]) -> Float[Array, " parameters"]:
        return jnp.stack([_bounded(each, *intervals[name]) for name, each in zip(names, free, strict=True)])

    initial = jnp.array([start[name] for name in names])
    shape = jax.eval_shape(density, initial)
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"log_density must return one real number, but returns {shape}")
    curvature = jax.jit(lambda vector: _curvature(density, vector))

    @jax.jit
    def climb(free: Any, hessian: Any, steps: Any, weight: float) -> tuple[Any, Any, Any]:
        """The search in units in which the density has a curvature of about one in each coordinate."""
        slopes = _slopes(parameters, free)
        units = 1 / (jnp.sqrt(jnp.abs(jnp.diag(hessian))) * slopes)
        units = jnp.where(jnp.isfinite(units), jnp.minimum(units, most), 1.0)

        def objective(moved: Float[Array, " parameters"]) -> Any:
            at = free + units * moved
            return density(parameters(at)) + weight * jnp.log(_slopes(parameters, at)).sum()

        moved, taken = _climb(objective, jnp.zeros_like(free), steps, tolerance**2 / 200)
        end = free + units * moved
        return end, parameters(end), taken

    free = jnp.array([_free(start[name], *intervals[name]) for name in names])
    most = jnp.array([jnp.inf if interval == (-math.inf, math.inf) else 1.0 for interval in intervals.values()])
    vector, steps, taken, weight = parameters(free), 0, 0, 1.0
    while True:
        value, gradient, hessian = (np.asarray(each) for each in curvature(vector))
        if not steps and not np.isfinite(value):
            raise ValueError(f"log_density must be finite at the start, but is {float(value)} at {start}")
        covariance = _inverse(-hessian)
        distance = math.inf if covariance is None else float(np.sqrt(gradient @ covariance @ gradient))
        # A search that starts anew knows no curvature of places far away; one step says that it came to rest.
        if distance <= tolerance or steps >= max_steps or taken == 1:
            break
        free, vector, count = climb(free, hessian, max_steps - steps, weight)
        steps += int(count)
        taken, weight = (0 if weight else int(count)), 0.0
    result = _result(value, gradient, distance <= tolerance, steps >= max_steps)
    covariance = np.full_like(hessian, np.nan) if covariance is None else covariance
    return PosteriorMode(
        parameters=dict(zip(names, np.asarray(vector).tolist(), strict=True)),
        log_density=float(value),
        standard_errors=dict(zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True)),
        covariance=covariance,
        result=result,
        stats={"distance": distance, "gradient": dict(zip(names, gradient.tolist(), strict=True)), "steps": steps},
    )


def _result(value: np.ndarray, gradient: np.ndarray, near: bool, ended: bool) -> RESULTS:
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        return RESULTS.nonfinite
    if near:
        return RESULTS.converged
    return RESULTS.max_steps if ended else RESULTS.no_maximum


def _inverse(matrix: np.ndarray) -> np.ndarray | None:
    """The inverse of a symmetric matrix, or None if it is not positive definite, to rounding, in any units."""
    diagonal = np.diag(matrix)
    if not (np.isfinite(matrix).all() and (diagonal > 0).all()):
        return None
    scale = np.sqrt(np.outer(diagonal, diagonal))
    values, vectors = np.linalg.eigh(matrix / scale)
    return (vectors / values) @ vectors.T / scale if values[0] > _MIN_CURVATURE else None


def _curvature(density: Callable[[Array], Any], vector: Float[Array, " parameters"]) -> tuple[Array, Array, Array]:
    """Value, gradient and Hessian, a column at a time, so that memory does not grow with the parameters."""
    (value, gradient), derivative = jax.linearize(jax.value_and_grad(density), vector)
    return value, gradient, jax.lax.map(lambda direction: derivative(direction)[1], jnp.eye(len(vector)))


def _climb(
    density: Callable[[Array], Any], free: Float[Array, " parameters"], max_steps: Any, least_rise: float
) -> tuple[Float[Array, " parameters"], Any]:
    """The end of a search that stops when a step raises the density by less than `least_rise`, and its steps."""
    import optax

    def loss(x: Array) -> Any:
        value = density(x)
        return jnp.where(jnp.isnan(value), jnp.inf, -value)

    method = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def is_unfinished(carry: tuple[Any, ...]) -> Any:
        _, _, rise, steps = carry
        return (rise >= least_rise) & (steps < max_steps)

    def step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        x, state, _, steps = carry
        before, gradient = value_and_grad(x, state=state)
        change, state = method.update(gradient, state, x, value=before, grad=gradient, value_fn=loss)
        return x + change, state, before - optax.tree.get(state, "value"), steps + 1

    end, _, _, steps = jax.lax.while_loop(is_unfinished, step, (free, method.init(free), jnp.inf, 0))
    return end, steps
