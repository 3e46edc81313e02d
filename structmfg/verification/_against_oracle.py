"""A game against an oracle, the same game written independently in plain NumPy, at one aggregate state."""

import dataclasses
import functools
from collections.abc import Callable
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
from structmfg.verification._compiled import allowed_rewards
from structmfg.verification.laws import host
from structmfg.verification.oracles import Common, Model, moves

# The largest differences that pass, relative to the largest number compared: rounding, and what magnifies it.
_SINGLE_BOUND, _DOUBLE_BOUND = 1e-5, 1e-12
_UNIFORMS = (0.1, 0.5, 0.9)  # innovations of the z_0 at which the start is compared


class _Comparison:
    """A game and a model at an aggregate state and at the following one, with the same numbers."""

    def __init__(
        self, game: Game, model: Model, aggregate: AggregateState, following: AggregateState, key: PRNGKeyArray
    ) -> None:
        self.game, self.model, self.time, self.key = game, model, int(aggregate.time), key
        self.shape = (game.num_states, game.num_actions)
        self.mean_field, self.next_mean_field = (host(x.mean_field) for x in (aggregate, following))
        aggregate, following = _acted(game, aggregate), following.before_acting()
        self.noise, self.next_noise = (_in_common(game, x) for x in (aggregate, following))
        self.aggregate = _rebuilt(game, aggregate, self.mean_field)
        self.following = _rebuilt(game, following, self.next_mean_field)

    @functools.cached_property
    def expected_matrix(self) -> scipy.sparse.csr_array:
        """The model's probabilities, (S*A, S)."""
        listed = moves(self.model, self.mean_field, self.noise, self.time)
        state, action, target, probability = (np.array(column) for column in zip(*listed, strict=True))
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
    """Check that kernel, reward, observation and start of a game are those of a model, at one aggregate state.

    All is computed in double precision. Differences are relative to the oracle's largest number, and may be 1e-12, or
    1e-5 where the game's own arrays are in single precision.

    Args:
        game: The game.
        model: The same game in plain NumPy; see `oracles.Model`.
        aggregate: The aggregate state (mu, z, t); what else the game declares is that under the uniform policy, unless
            it is given.
        following: The aggregate state after the step, of which the reward is.
        key: Random key of the vectors at which products are compared, and of a second mean field for the observation;
            a fixed one by default.

    Returns:
        Five checks: start, transitions, products, reward and observation; and one of what the game declares.

    Raises:
        ValueError: If `game` is not a `Game`, or `model` lacks a method of `oracles.Model`.
    """
    game = as_game(game)
    check_kind("model", model, Model)
    checks: tuple[Callable[[_Comparison], CheckResult], ...] = (
        start_matches_oracle,
        transitions_match_oracle,
        products_match_oracle,
    )
    with jax.enable_x64(True):
        point = _Comparison(game, model, aggregate, following, jax.random.key(0) if key is None else key)
        checks += (reward_matches_oracle, observation_matches_oracle)
        return tuple(
            measure(point) for measure in (*checks, *((declared_parts_match_oracle,) if game.declared else ()))
        )


@check("mu_0 is the oracle's, for several z_0")
def start_matches_oracle(point: _Comparison) -> Measured:
    """The largest relative difference of mu_0."""
    differences = []
    for uniform in _UNIFORMS:
        noise: Noise = point.game.initial_noise(jnp.asarray(uniform))
        expected, where = np.asarray(point.model.start(_plain(noise)), float), f"z_0 = {_plain(noise)}, "
        differences.append(_compare(point.game.initial_mean_field(noise), expected, where, ("state",)))
    return max(differences)


@check("the probability of every state, action and next state is the oracle's")
def transitions_match_oracle(point: _Comparison) -> Measured:
    """The largest difference of the explicit kernel's entries, relative to the largest."""
    size, actions = point.shape
    _, _, data, places = _pieces(point.game, point.aggregate, jnp.ones(size), jnp.ones(point.shape))
    entries, index = host(data), np.asarray(places)
    stored = entries != 0  # merged duplicates leave empty entries beyond the matrix
    own = scipy.sparse.coo_array((entries[stored], tuple(index[stored].T)), (size * actions, size)).tocsr()
    difference = abs(own - point.expected_matrix).tocoo()
    if not np.isfinite(difference.data).all() or not difference.nnz:
        return (float("nan") if difference.nnz else 0.0), _bound(data), ""
    worst = int(np.argmax(difference.data))
    row, target = (int(coordinate[worst]) for coordinate in difference.coords)
    state, action = divmod(row, actions)
    place = f"state {state}, action {action}, t = {point.time}, to state {target}: "
    place += f"{own[row, target]:.8g}, but the oracle has {point.expected_matrix[row, target]:.8g}"
    return float(difference.data[worst] / abs(point.expected_matrix).max()), _bound(data), place


@check("P v and P^T m are the oracle's, for random values v and masses m")
def products_match_oracle(point: _Comparison) -> Measured:
    """The largest relative difference of the matrix-free products."""
    keys = jax.random.split(point.key)
    values = jax.random.normal(keys[0], (point.shape[0],))
    mass = jax.random.exponential(keys[1], point.shape)
    mass = mass / jnp.sum(mass)
    expected, pushed, _, _ = _pieces(point.game, point.aggregate, values, mass)
    when = f"t = {point.time}, "
    oracle_values = (point.expected_matrix @ host(values)).reshape(point.shape)
    backward = _compare(expected, oracle_values, when + "expected values in ", ("state", "action"))
    forward = _compare(pushed, point.expected_matrix.T @ host(mass).ravel(), when + "mass that arrives in ", ("state",))
    return max(backward, forward)


@check("the reward of every state and action is the oracle's")
def reward_matches_oracle(point: _Comparison) -> Measured:
    """The largest relative difference of mu_0."""
    step = (point.mean_field, point.noise, point.time, point.next_mean_field, point.next_noise)
    expected = np.asarray(point.model.reward(*step), float)
    own = allowed_rewards(point.game, point.aggregate, point.following)
    if (allowed := point.game.allowed(point.aggregate)) is not None:
        expected = np.where(np.asarray(allowed), expected, 0)
    return _compare(own, expected, f"t = {point.time}, ", ("state", "action"))


@check("the public observation is the oracle's")
def observation_matches_oracle(point: _Comparison) -> Measured:
    """The largest relative difference, at the mean field and at a random one."""
    drawn = np.random.default_rng(np.asarray(jax.random.key_data(point.key))).exponential(size=point.shape[0]) ** 4
    mean_fields = (point.mean_field, drawn / drawn.sum())
    expected = [np.asarray(point.model.observe(mu, point.noise, point.time), float) for mu in mean_fields]
    seen = point.aggregate.as_observed()
    own = [point.game.observe(dataclasses.replace(seen, mean_field=jnp.asarray(mu))) for mu in mean_fields]
    return _compare(jnp.stack(own), np.stack(expected), f"t = {point.time}, ", ("mean field", "entry"))


@check("public state, statistics of actions, excess demand and allowed actions are the oracle's")
def declared_parts_match_oracle(point: _Comparison) -> Measured:
    """The largest relative difference of what the game declares."""
    game, model, here, z = point.game, point.model, point.aggregate, point.noise
    before, when = here.before_acting(), f"t = {point.time}, "
    weights = np.random.default_rng(0).uniform(size=point.shape)
    joint = point.mean_field[:, None] * weights / weights.sum(-1, keepdims=True)
    pairs: list[tuple[str, Any, Any]] = []
    if "public" in game.declared:
        first = _plain(here.noise)
        pairs.append(("x_0", game.initial_public(here.noise), model.public(first)))  # type: ignore[attr-defined]
        own = game.next_public(here, point.following.noise)
        next_z = point.next_noise.noise
        pairs.append(("x'", own, model.next_public(point.mean_field, z, point.time, next_z)))  # type: ignore[attr-defined]
    if "price" in game.declared:
        assert here.price is not None
        price = here.price + 0.01
        expected = model.excess(point.mean_field, z, point.time, host(price), joint)  # type: ignore[attr-defined]
        pairs.append(("excess demand", game.excess_demand(before, price, jnp.asarray(joint)), expected))
    if "actions" in game.declared:
        at = dataclasses.replace(here, actions=None)
        expected = model.statistics(point.mean_field, z, point.time, joint)  # type: ignore[attr-defined]
        pairs.append(("statistics of actions", game.action_statistics(at, jnp.asarray(joint)), expected))
    if "allowed" in game.declared:
        expected = model.allowed(point.mean_field, z, point.time)  # type: ignore[attr-defined]
        pairs.append(("allowed actions", game.allowed(here), expected))
    measured = []
    for name, own, expected in pairs:
        known = expected if name.startswith("x") else np.asarray(expected)  # a public state is a tree
        for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(known), strict=True):
            number = np.atleast_1d(np.asarray(other, float))
            own_number = jnp.atleast_1d(jnp.asarray(one, float))
            measured.append(_compare(own_number, number, f"{when}{name}, ", ("entry",) * number.ndim))
    return max(measured)


def _acted(game: Game, aggregate: AggregateState) -> AggregateState:
    """The aggregate state with actions and price; where they are missing, those of the uniform policy."""
    declared, known = game.declared, aggregate
    if ("actions" in declared and known.actions is None) or ("price" in declared and known.price is None):
        known, *_ = game.decide(
            known.before_acting(), lambda _: (jnp.full((game.num_states, game.num_actions), 1 / game.num_actions), None)
        )
    return known


def _in_common(game: Game, aggregate: AggregateState) -> Any:
    """What a model is given for z: the noise in plain numbers, with all that the game declares behind it."""
    noise = _plain(aggregate.noise)
    if not game.declared:
        return noise
    return Common(noise, *(_plain(x) for x in (aggregate.public, aggregate.actions, aggregate.price)))


def _rebuilt(game: Game, aggregate: AggregateState, mean_field: np.ndarray) -> AggregateState:
    """The aggregate state made again from plain numbers, in double precision."""
    return game.aggregate(
        mean_field=mean_field,
        noise=_plain(aggregate.noise),
        time=aggregate.time,
        public=aggregate.public,
        actions=aggregate.actions,
        price=aggregate.price,
    )


def _compare(own: Array, expected: np.ndarray, where: str, axes: tuple[str, ...]) -> Measured:
    """The largest difference relative to the largest number expected, its bound, and its place in words."""
    if np.shape(own) != expected.shape:
        raise ValueError(f"the game gives an array of shape {np.shape(own)}, the oracle one of shape {expected.shape}")
    if not expected.size:
        return 0.0, _bound(own), ""
    difference = np.nan_to_num(np.abs(host(own) - expected), nan=np.inf)
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    where += ", ".join(f"{axis} {index}" for axis, index in zip(axes, worst, strict=True))
    where += f": {host(own)[worst]:.8g}, but the oracle has {expected[worst]:.8g}"
    return float(difference[worst] / max(np.abs(expected).max(), np.finfo(float).tiny)), _bound(own), where


def _bound(array: Array) -> float:
    return _SINGLE_BOUND if jnp.finfo(array.dtype).eps > 1e-10 else _DOUBLE_BOUND


def _plain(noise: Noise) -> Any:
    """Noise as Python's numbers."""

    def plain(z: Any) -> Any:
        array = np.asarray(z, float) if jnp.issubdtype(jnp.result_type(z), jnp.floating) else np.asarray(z)
        return array if array.ndim else array.item()

    return jax.tree.map(plain, noise)
