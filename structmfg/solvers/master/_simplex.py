"""A regular triangular grid over the simplex of distributions, and piecewise linear interpolation on it.

In the coordinates y_k = n (mu_{k+1} + ... + mu_S), k = 1..S-1, the simplex is n >= y_1 >= ... >= y_{S-1} >= 0, and its
points with coordinates i/n are those with whole y. Freudenthal's (Kuhn's) triangulation cuts every unit cube along the
orders of the fractional parts, and the simplex is a union of its cells. So each mu lies between S grid points: their
weights are one row of a sparse, row-stochastic interpolation matrix.
"""

import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from structmfg._checks import check_integer


class Barycentric(NamedTuple):
    """The grid points around a distribution, and their weights, which are nonnegative and sum to one."""

    indices: Int[Array, " states"]
    weights: Float[Array, " states"]

    def interpolate(self, table: Float[Array | np.ndarray, "points *rest"]) -> Float[Array, "*rest"]:
        """The value at the distribution of a function that is given at the grid points."""
        return jnp.tensordot(self.weights, jnp.asarray(table)[self.indices], axes=1)


def simplex_grid(num_states: int, mesh: int) -> Float[np.ndarray, "points states"]:
    """The distributions over S states whose entries are multiples of 1/n, in the order that `barycentric` counts.

    Args:
        num_states: S, at least 2.
        mesh: n, at least 1.

    Returns:
        The grid points (binomial(n + S - 1, S - 1), S).

    Raises:
        ValueError: A number is too small, or is not whole.
    """
    check_integer("num_states", num_states, at_least=2)
    check_integer("mesh", mesh, at_least=1)
    whole = sorted(itertools.combinations_with_replacement(range(mesh, -1, -1), num_states - 1))
    return -np.diff(whole, axis=1, prepend=mesh, append=0) / mesh


def barycentric(mean_field: ArrayLike, mesh: int) -> Barycentric:
    """The S grid points around a distribution and their weights; linear functions of mu are interpolated exactly.

    The weights are continuous in mu, and differentiable inside each cell. Grid points at the border may be named with
    weight zero, but none outside the grid is.

    Args:
        mean_field: mu (S,), nonnegative with sum one.
        mesh: n.

    Returns:
        Indices (S,) into `simplex_grid(S, n)`, and weights (S,).
    """
    mu = jnp.asarray(mean_field, float)
    size = mu.shape[0] - 1
    y = jnp.clip(mesh * jnp.flip(jnp.cumsum(jnp.flip(mu)))[1:], 0, mesh)
    y = jnp.stack([jnp.min(y[: k + 1]) for k in range(size)])  # rounding may not disorder them
    base = jnp.minimum(jnp.floor(y), mesh - 1)
    fraction = y - base
    ahead = fraction[:, None] > fraction
    earlier = (fraction[:, None] == fraction) & (np.arange(size)[:, None] < np.arange(size))
    rank = jnp.sum(ahead | earlier, axis=0)
    falling = jnp.sum(jnp.where(rank == np.arange(size)[:, None], fraction, 0), axis=1)
    weights = -jnp.diff(falling, prepend=1, append=0)
    vertices = base.astype(int) + (rank < np.arange(size + 1)[:, None])
    # Before y in lexicographic order are all with a smaller y_1, then those with the same y_1 and a smaller y_2, ...
    indices = jnp.zeros(size + 1, int)
    for k, length in enumerate(range(size, 0, -1)):
        indices += math.prod(vertices[:, k] + i for i in range(length)) // math.factorial(length)
    return Barycentric(indices, weights)
