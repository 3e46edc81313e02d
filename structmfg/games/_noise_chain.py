"""Finite Markov chains of common noise, and AR(1) processes discretised into them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtr

from structmfg._checks import check_between, check_integer, check_positive, check_rows, check_shape, concrete

MAX_SCENARIOS = 2**14  # `Game.scenarios` lists no more paths than this
_MAX_STATES = 2**10  # of a discretised process: its matrix is built in some seconds


class NoiseChain(NamedTuple):
    """Common noise as a Markov chain of n states.

    Attributes:
        values: The noise in each state, leading axis n.
        initial: The probability (n,) of each state at t = 0.
        transition: The probability (n, n) of each next state (second axis) given the state (first axis).
    """

    values: Any
    initial: Float[np.ndarray, " n"]
    transition: Float[np.ndarray, "n n"]

    @property
    def num_states(self) -> int:
        """n, the number of states."""
        return len(self.initial)

    def validate(self) -> "NoiseChain":
        """The chain as arrays, with every row of probabilities divided by its sum.

        Raises:
            ValueError: If the probabilities are no distributions, sizes differ, or values are not finite or not
                different from each other in JAX's default float: `following` finds a state by its value, so of two
                equal ones it would always take the first.
        """
        count = self.num_states
        chain = NoiseChain(jax.tree.map(np.asarray, self.values), np.asarray(self.initial), np.asarray(self.transition))
        check_shape("initial probabilities of the noise chain", chain.initial, (count,))
        check_shape("transition matrix of the noise chain", chain.transition, (count, count))
        check_rows("initial probabilities of the noise chain", chain.initial[None])
        check_rows("transition probabilities of the noise chain", chain.transition)
        for leaf in jax.tree.leaves(chain.values):
            check_shape("values of the noise chain", leaf, (count, *leaf.shape[1:]))
        self._check_values(chain.values)
        return chain._replace(initial=_divided_by_sum(chain.initial), transition=_divided_by_sum(chain.transition))

    def _check_values(self, values: Any) -> None:
        rows = [[np.ravel(leaf[state]) for leaf in jax.tree.leaves(values)] for state in range(self.num_states)]
        first: dict[bytes, int] = {}
        for state, row in enumerate(rows):
            with np.errstate(over="ignore"):
                rounded = [part.astype(jax.dtypes.canonicalize_dtype(part.dtype)) + 0 for part in row]
            if not all(np.isfinite(part).all() for part in rounded):
                raise ValueError(
                    f"values of the noise chain must be finite, but that of state {state} is {_shown(row)}"
                )
            if any(part.dtype.kind in "iu" and (part != whole).any() for part, whole in zip(rounded, row, strict=True)):
                raise ValueError(
                    f"whole numbers of the noise chain must fit into 32 bits, but that of state {state} is "
                    f"{_shown(row)}"
                )
            other = first.setdefault(b"".join(part.tobytes() for part in rounded), state)
            if other != state:
                raise ValueError(
                    f"the states of the noise chain must have different values, but states {other} and {state} have "
                    f"{_shown(rows[other])} and {_shown(row)}, which are equal in JAX's default precision: give each a "
                    "value of its own, for instance its index beside it"
                )

    def widths(self, horizon: int) -> list[int]:
        """The number of histories z_0..z_t of positive probability, for t = 0..T."""
        possible = (np.asarray(self.transition) > 0).astype(object)  # Python's integers, which do not overflow
        counts = (np.asarray(self.initial) > 0).astype(object)
        widths = [int(counts.sum())]
        for _ in range(horizon):
            counts = counts @ possible
            widths.append(int(counts.sum()))
        return widths

    def paths(self, horizon: int) -> tuple[np.ndarray, Float[np.ndarray, " paths"]]:
        """The states (N, T+1) of all paths of positive probability, sorted, and their probabilities (N,)."""
        transition = np.asarray(self.transition, float)
        starts = np.flatnonzero(self.initial)
        states, probabilities = starts[:, None], np.asarray(self.initial, float)[starts]
        for _ in range(horizon):
            path, following = np.nonzero(transition[states[:, -1]])
            probabilities = probabilities[path] * transition[states[path, -1], following]
            states = np.column_stack([states[path], following])
        return states, probabilities

    def first(self, uniform: Float[Array, ""]) -> Any:
        """The noise z_0 that an innovation in (0, 1) leads to."""
        return self._value(_draw_by_inversion(jnp.asarray(_divided_by_sum(self.initial)), uniform))

    def following(self, noise: Any, uniform: Float[Array, ""]) -> Any:
        """The noise z_{t+1} that follows z_t, one of the values, by an innovation in (0, 1)."""
        return self._value(
            _draw_by_inversion(jnp.asarray(_divided_by_sum(self.transition))[self.state_of(noise)], uniform)
        )

    def state_of(self, noise: Any) -> Array:
        """The state whose value is nearest to `noise`."""
        distances = jax.tree.map(lambda values, z: abs(_as_array(values) - z), self.values, noise)
        flat = [distance.reshape(self.num_states, -1).sum(1) for distance in jax.tree.leaves(distances)]
        return jnp.argmin(sum(flat))

    def _value(self, state: Array) -> Any:
        return jax.tree.map(lambda values: _as_array(values)[state], self.values)


def _as_array(values: Any) -> Array:
    """The values in JAX's default precision now: without a dtype, JAX may give what they were in another precision."""
    return jnp.asarray(values, jax.dtypes.canonicalize_dtype(np.result_type(values)))


def _divided_by_sum(rows: Any) -> Any:
    """Every row divided by its sum, where the values are known."""
    known = concrete(rows)
    return rows if known is None else known / known.sum(-1, keepdims=True, dtype=float)


def _shown(row: list[np.ndarray]) -> str:
    parts = [float(part[0]) if part.size == 1 else part.tolist() for part in row]
    return f"{parts[0] if len(parts) == 1 else parts!r:.60}"


def _draw_by_inversion(probabilities: Float[Array, " n"], uniform: Float[Array, ""]) -> Array:
    """The state that an innovation leads to; never one of probability zero."""
    last = jnp.max(jnp.where(probabilities > 0, jnp.arange(probabilities.shape[0]), 0))
    return jnp.minimum(jnp.sum(uniform >= jnp.cumsum(probabilities)), last)


def rouwenhorst(num_states: int, persistence: float, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Discretise the process z' = persistence * z + deviation * N(0, 1) by the method of Rouwenhorst (1995).

    Mean, variance and autocorrelation of the stationary chain are exactly those of the process (Kopecky & Suen 2010,
    doi:10.1016/j.red.2010.02.002).

    Args:
        num_states: n, from 2 to 1024.
        persistence: In (-1, 1).
        deviation: The standard deviation of an innovation.

    Returns:
        Points (n,) and the transition matrix (n, n).

    Raises:
        ValueError: If a parameter is out of range.
    """
    _check_process(num_states, persistence, deviation)
    p = (1 + persistence) / 2
    transition = np.array([[p, 1 - p], [1 - p, p]])
    for size in range(3, num_states + 1):
        larger = np.zeros((size, size))
        for (row, column), weight in {(0, 0): p, (0, 1): 1 - p, (1, 0): 1 - p, (1, 1): p}.items():
            larger[row : row + size - 1, column : column + size - 1] += weight * transition
        larger[1:-1] /= 2  # the rows between the ends were counted twice
        transition = larger
    spread = deviation * math.sqrt((num_states - 1) / (1 - persistence**2))
    return np.linspace(-spread, spread, num_states), transition


def tauchen(num_states: int, persistence: float, deviation: float, width: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Discretise the process of `rouwenhorst` by the method of Tauchen (1986, doi:10.1016/0165-1765(86)90168-0).

    The points are equally spaced, and the normal distribution gives the probability of the cell around each.

    Args:
        num_states: n, from 2 to 1024.
        persistence: In (-1, 1).
        deviation: The standard deviation of an innovation.
        width: The last point, in stationary standard deviations of the process.

    Returns:
        Points (n,) and the transition matrix (n, n).

    Raises:
        ValueError: If a parameter is out of range.
    """
    _check_process(num_states, persistence, deviation)
    check_positive("width", width)
    spread = width * deviation / math.sqrt(1 - persistence**2)
    points = np.linspace(-spread, spread, num_states)
    borders = (points[1:] + points[:-1]) / 2
    below = ndtr((borders - persistence * points[:, None]) / deviation)
    return points, np.diff(below, axis=1, prepend=0, append=1)


def _check_process(num_states: int, persistence: float, deviation: float) -> None:
    check_between("num_states", check_integer("num_states", num_states, at_least=2), 2, _MAX_STATES)
    check_between("persistence", persistence, -math.nextafter(1, 0), math.nextafter(1, 0))
    check_positive("deviation", deviation)
