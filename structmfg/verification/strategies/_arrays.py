"""Policies, mean fields, values and noise paths, from small whole numbers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Array, ArrayLike, Float

from structmfg.games import Game, NoisePaths, noise_path

_INNOVATIONS = (0.5, 0.25, 0.75, 0.01, 0.99)  # the first is the median, to which the others shrink


def shares(weights: ArrayLike | Sequence[Any]) -> np.ndarray:
    """`normalised` in NumPy and double precision."""
    weights = np.asarray(weights, float)
    weights = np.where(weights.sum(-1, keepdims=True) > 0, weights, 1)
    return weights / weights.sum(-1, keepdims=True)


def normalised(weights: ArrayLike | Sequence[Any]) -> Float[Array, "*rows n"]:
    """Distributions along the last axis, in proportion to weights >= 0; uniform where all of them are zero."""
    return jnp.asarray(shares(weights), float)


def deterministic(choices: ArrayLike | Sequence[Any], count: int) -> Float[Array, "*rows n"]:
    """Distributions with all mass at one of `count` places, the last axis: a pure policy, or mass in one state."""
    return jnp.asarray(np.eye(count)[np.asarray(choices)], float)


def reals(numbers: ArrayLike | Sequence[Any]) -> Float[Array, "*shape"]:
    """Whole numbers in JAX's default float."""
    return jnp.asarray(numbers, float)


def whole(shape: int | tuple[int, ...], low: int, high: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of whole numbers low..high."""
    return arrays(int, shape, elements=st.integers(low, high))


def distributions(*shape: int) -> st.SearchStrategy[Array]:
    """Distributions along the last axis, with zeros in them; the simplest are uniform."""
    return whole(shape, 0, 3).map(normalised)


def policies(sizes: Game | tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Random policy tables, mixed and pure, of a shape (S, A) or (T, S, A), or of either shape for a game.

    The simplest one is uniform.
    """
    if isinstance(sizes, Game):
        table = (sizes.num_states, sizes.num_actions)
        return policies(table) | policies((sizes.horizon, *table))
    *rows, count = sizes
    pure = st.builds(deterministic, whole(tuple(rows), 0, count - 1), st.just(count))
    return distributions(*sizes) | pure


def mean_fields(num_states: int) -> st.SearchStrategy[Array]:
    """Random distributions (S,): uniform, mixed, with few states occupied, and with all mass in one state."""
    corners = st.builds(deterministic, st.integers(0, num_states - 1), st.just(num_states))
    return distributions(num_states) | corners


def values(num_states: int) -> st.SearchStrategy[Array]:
    """Random values (S,) in -3..3, not all zero."""
    return whole(num_states, -3, 3).filter(np.any).map(reals)


def _scenario(index: int, scenarios: NoisePaths) -> Any:
    return jax.tree.map(lambda z: z[index], scenarios.noise)


def noise_paths(game: Game) -> st.SearchStrategy[Any]:
    """Random paths z_0..z_T of a game's common noise: a scenario, or made of innovations where it is not finite.

    The simplest is the first scenario, or the path of median innovations.
    """
    scenarios = game.scenarios()
    if scenarios is not None:
        return st.integers(0, scenarios.num_paths - 1).map(lambda index: _scenario(index, scenarios))
    innovations = arrays(float, game.horizon + 1, elements=st.sampled_from(_INNOVATIONS))
    return innovations.map(lambda uniforms: noise_path(game, jnp.asarray(uniforms, float)))
