"""A game against an oracle: the same pieces, told independently in plain NumPy, at one aggregate state."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, PRNGKeyArray

from structmfg._checks import check_kind
from structmfg.games import AggregateState, Game, Noise, as_game
from structmfg.verification._check import CheckResult, Measured, check
from structmfg.verification.laws import host
from structmfg.verification.oracles import Model, moves

# Of the largest number compared: rounding, with room for what magnifies it.
_SINGLE, _DOUBLE = 1e-5, 1e-12
_UNIFORMS = (0.1, 0.5, 0.9)  # innovations of the z_0 at which the start is compared


class _Point:
    """A game and a model at an aggregate state and the one that follows, in the same numbers."""

    def __init__(
        self, game: Game, model: Model, aggregate: AggregateState, following: AggregateState, key: PRNGKeyArray
    ) -> None:
        self.game, self.model, self.time, self.key = game, model, int(aggregate.time), key
        self.shape = (game.num_states, game.num_actions)
        self.mean_field, self.next_mean_field = (host(x.mean_field) for x in (aggregate, following))
        self.noise, self.next_noise = (_plain(x.noise) for x in (aggregate, following))
        self.aggregate = game.aggregate(mean_field=self.mean_field, noise=self.noise, time=self.time)
        self.following = game.aggregate(mean_field=self.next_mean_field, noise=self.next_noise, time=self.time + 1)

    @functools.cached_property
    def told(self) -> scipy.sparse.csr_array:
        """The model's probabilities (S*A, S)."""
        found = moves(self.model, self.mean_field, self.noise, self.time)
        state, action, target, probability = (np.array(column) for column in zip(*found, strict=True))
        size, actions = self.shape
        for name, column, end in (
            ("from state", state, size),
            ("by action", action, actions),
            ("to state", target, size),
        ):
            if column.min() < 0 or column.max() >= end:
                raise ValueError(f"the oracle moves {name} {column.max()}, but there are {end}")
        return scipy.sparse.coo_array((probability, (state * actions + action, target)), (size * actions, size)).tocsr()


@eqx.filter_jit
def _pieces(game: Game, aggregate: AggregateState, values: Array, mass: Array) -> tuple[Array, Array, Array, Array]:
    """P v and P^T m, and the kernel's entries with their places."""
    kernel = game.kernel(aggregate)
    matrix = kernel.as_bcoo()
    return kernel.expect(values), kernel.push(mass), matrix.data, matrix.indices


def matches_oracle(
    game: Game,
    model: Model,
    aggregate: AggregateState,
    following: AggregateState,
    *,
    key: PRNGKeyArray | None = None,
) -> tuple[CheckResult, ...]:
    """Whether kernel, reward, observation and start of a game are those of a model (see `oracles`), at one point.

    The reward is that of the step from `aggregate` to `following`; products are taken at random vectors, observations
    at a random mean field too, drawn with `key` (fixed by default). All is computed in double precision. Differences
    are relative to the largest number of the oracle's, and may be 1e-12, or 1e-5 where the game gives single precision.

    Raises `ValueError` if `game` is not a `Game`, or `model` lacks a method of `oracles.Model`.
    """
    game = as_game(game)
    check_kind("model", model, Model)
    checks = (start_matches_oracle, transitions_match_oracle, products_match_oracle)
    with jax.enable_x64(True):
        point = _Point(game, model, aggregate, following, jax.random.key(0) if key is None else key)
        return tuple(measure(point) for measure in (*checks, reward_matches_oracle, observation_matches_oracle))


@check("mu_0 is the oracle's, for several z_0")
def start_matches_oracle(point: _Point) -> Measured:
    """The largest relative difference."""
    found = []
    for uniform in _UNIFORMS:
        noise: Noise = point.game.initial_noise(jnp.asarray(uniform))
        told = np.asarray(point.model.start(_plain(noise)), float)
        found.append(_compare(point.game.initial_mean_field(noise), told, f"z_0 = {_plain(noise)}, ", ("state",)))
    return max(found)


@check("the probability of every state, action and next state is the oracle's")
def transitions_match_oracle(point: _Point) -> Measured:
    """The largest difference of the explicit kernel's entries, relative to the largest."""
    size, actions = point.shape
    _, _, data, places = _pieces(point.game, point.aggregate, jnp.ones(size), jnp.ones(point.shape))
    entries, index = host(data), np.asarray(places)
    held = entries != 0  # merged duplicates leave empty entries beyond the matrix
    own = scipy.sparse.coo_array((entries[held], tuple(index[held].T)), (size * actions, size)).tocsr()
    apart = abs(own - point.told).tocoo()
    if not np.isfinite(apart.data).all() or not apart.nnz:
        return (float("nan") if apart.nnz else 0.0), _bound(data), ""
    worst = int(np.argmax(apart.data))
    row, target = (int(coordinate[worst]) for coordinate in apart.coords)
    state, action = divmod(row, actions)
    place = f"state {state}, action {action}, t = {point.time}, to state {target}: "
    place += f"{own[row, target]:.8g}, but the oracle has {point.told[row, target]:.8g}"
    return float(apart.data[worst] / abs(point.told).max()), _bound(data), place


@check("P v and P^T m are the oracle's, for random values v and masses m")
def products_match_oracle(point: _Point) -> Measured:
    """The largest relative difference of the matrix-free products."""
    keys = jax.random.split(point.key)
    values = jax.random.normal(keys[0], (point.shape[0],))
    mass = jax.random.exponential(keys[1], point.shape)
    mass = mass / jnp.sum(mass)
    expected, pushed, _, _ = _pieces(point.game, point.aggregate, values, mass)
    when = f"t = {point.time}, "
    told = (point.told @ host(values)).reshape(point.shape)
    backward = _compare(expected, told, when + "expected values in ", ("state", "action"))
    forward = _compare(pushed, point.told.T @ host(mass).ravel(), when + "mass that arrives in ", ("state",))
    return max(backward, forward)


@check("the reward of every state and action is the oracle's")
def reward_matches_oracle(point: _Point) -> Measured:
    """The largest relative difference."""
    step = (point.mean_field, point.noise, point.time, point.next_mean_field, point.next_noise)
    told = np.asarray(point.model.reward(*step), float)
    own = point.game.reward(point.aggregate, point.following)
    return _compare(own, told, f"t = {point.time}, ", ("state", "action"))


@check("the public observation is the oracle's")
def observation_matches_oracle(point: _Point) -> Measured:
    """The largest relative difference, at the mean field and at a random one."""
    drawn = np.random.default_rng(np.asarray(jax.random.key_data(point.key))).exponential(size=point.shape[0]) ** 4
    mean_fields = (point.mean_field, drawn / drawn.sum())
    told = [np.asarray(point.model.observe(mu, point.noise, point.time), float) for mu in mean_fields]
    drawn_at = point.game.aggregate(mean_field=mean_fields[1], noise=point.noise, time=point.time)
    own = [point.game.observe(aggregate) for aggregate in (point.aggregate, drawn_at)]
    return _compare(jnp.stack(own), np.stack(told), f"t = {point.time}, ", ("mean field", "entry"))


def _compare(own: Array, told: np.ndarray, where: str, axes: tuple[str, ...]) -> Measured:
    """The largest difference relative to the largest number told, its bound, and its place in words."""
    if np.shape(own) != told.shape:
        raise ValueError(f"the game gives an array of shape {np.shape(own)}, the oracle one of shape {told.shape}")
    if not told.size:
        return 0.0, _bound(own), ""
    apart = np.nan_to_num(np.abs(host(own) - told), nan=np.inf)
    worst = np.unravel_index(int(np.argmax(apart)), apart.shape)
    where += ", ".join(f"{axis} {index}" for axis, index in zip(axes, worst, strict=True))
    where += f": {host(own)[worst]:.8g}, but the oracle has {told[worst]:.8g}"
    return float(apart[worst] / max(np.abs(told).max(), np.finfo(float).tiny)), _bound(own), where


def _bound(array: Array) -> float:
    return _SINGLE if jnp.finfo(array.dtype).eps > 1e-10 else _DOUBLE


def _plain(noise: Noise) -> Any:
    """Noise in Python's numbers."""

    def plain(z: Any) -> Any:
        array = np.asarray(z, float) if jnp.issubdtype(jnp.result_type(z), jnp.floating) else np.asarray(z)
        return array if array.ndim else array.item()

    return jax.tree.map(plain, noise)
