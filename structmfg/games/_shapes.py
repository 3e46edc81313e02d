"""Checks of the shapes of what a game's methods return, without compiling anything."""

import contextlib
import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from structmfg._checks import brief, check_shape
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Game
from structmfg.operators import TransitionKernel

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple(f"/{name}/" for name in ("jax", "jaxlib", "equinox", "numpy", "haiku", "jaxtyping", "beartype"))


@contextlib.contextmanager
def naming_method(name: str) -> Iterator[None]:
    """Turn a TypeError from a game's method into a `ValueError` that names the method and the line that failed."""
    try:
        yield
    except TypeError as error:
        message = str(error).partition("\n")[0]
        raise ValueError(f"{name} raised TypeError{_failing_line(error)}: {message}") from error


def _failing_line(error: TypeError) -> str:
    """The innermost line of the traceback that belongs neither to this package nor to a library."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not any(part in file for part in _LIBRARIES) and "<" not in file[:1]:
            line = linecache.getline(file, trace.tb_lineno).strip()
            place = f" in {Path(file).name}, line {trace.tb_lineno}" + (f", `{line}`" if line else "")
        trace = trace.tb_next
    return place


def shapes_of(tree: Any) -> str:
    """The structure of a tree, with the shape and the type of each array, as text."""
    return str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), tree))


def _kinds_of(tree: Any) -> str:
    """The structure of a tree, with the shape of each array and whether its numbers are whole, real or booleans."""
    return str(jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf).kind), tree))


def check_shapes(game: Game, noise: Any, next_noise: Any) -> None:
    """Raise `ValueError` unless mean field, kernel, reward, observation and aggregates have the game's sizes."""
    table = (game.num_states, game.num_actions)
    with naming_method("initial_mean_field"):
        mean_field = eqx.filter_eval_shape(game.initial_mean_field, noise)
    check_shape("initial_mean_field", mean_field, table[:1])

    shares = jax.ShapeDtypeStruct(table, mean_field.dtype)
    aggregate = _declared_shapes(game, mean_field, noise, next_noise, shares)
    time = jax.ShapeDtypeStruct((), int)
    following = _shape_of_state(mean_field, next_noise, time, aggregate.public)
    seen = _shape_of_state(mean_field, noise, time, aggregate.public, None, aggregate.price)
    with naming_method("kernel"):
        kernel = eqx.filter_eval_shape(game.kernel, aggregate)
    check_kernel(game, kernel)
    for name, method, arguments, shape in (
        ("reward", game.reward, (aggregate, following), table),
        ("observe", game.observe, (seen,), (None,)),
        ("aggregates", game.aggregates, (mean_field,), (None,)),
    ):
        with naming_method(name):
            returned = eqx.filter_eval_shape(method, *arguments)
        given = getattr(returned, "shape", None)
        if given is None or len(given) != len(shape) or (None not in shape and given != shape):
            wanted = f"(S, A) = {table}" if name == "reward" else "(n,)"
            raise ValueError(f"{name} must return an array of shape {wanted}, but returned {_describe(returned)}")


def _shape_of_state(*parts: Any) -> AggregateState:
    """The shapes of an aggregate state, from those of its parts."""
    return eqx.filter_eval_shape(AggregateState, *parts)


def _declared_shapes(
    game: Game, mean_field: Any, noise: Any, next_noise: Any, shares: jax.ShapeDtypeStruct
) -> AggregateState:
    """The shapes of the aggregate state with all that the game declares, once agents have acted.

    Raises:
        ValueError: If a method that declares a part of it returns something of another shape.
    """

    def returned(name: str, *arguments: Any) -> Any:
        with naming_method(name):
            return eqx.filter_eval_shape(getattr(game, name), *arguments)

    known = mean_field, noise, jax.ShapeDtypeStruct((), int)
    public = None
    if "public" in game.declared:
        with naming_method("initial_public"):
            public = eqx.filter_eval_shape(game.first_public, noise)
    price = actions = None
    aggregate = _shape_of_state(*known, public)
    if "price" in game.declared:
        bracket = returned("price_bracket", aggregate)
        if not (isinstance(bracket, tuple | list) and [len(getattr(x, "shape", ())) for x in bracket] == [1, 1]):
            raise ValueError(f"price_bracket must return two arrays of shape (markets,), but returned {brief(bracket)}")
        if len({x.shape for x in bracket}) > 1:
            raise ValueError(
                f"the two arrays of price_bracket must have one shape, but have {[x.shape for x in bracket]}"
            )
        if type(game).excess_demand is Game.excess_demand:
            raise ValueError(f"{type(game).__name__} has a price_bracket, and needs excess_demand as well")
        excess = returned("excess_demand", aggregate, bracket[0], shares)
        if getattr(excess, "shape", None) != bracket[0].shape:
            raise ValueError(f"excess_demand must return {bracket[0].shape}, as price_bracket, not {_describe(excess)}")
        price = bracket[0]
        aggregate = _shape_of_state(*known, public, None, price)
    if "allowed" in game.declared:
        allowed = returned("allowed", aggregate)
        if getattr(allowed, "shape", None) != shares.shape or allowed.dtype != bool:
            raise ValueError(f"allowed must return booleans of shape (S, A) = {shares.shape}, not {_describe(allowed)}")
    if "actions" in game.declared:
        actions = returned("action_statistics", aggregate, shares)
        if len(getattr(actions, "shape", ())) != 1:
            raise ValueError(f"action_statistics must return an array of shape (n,), but returned {_describe(actions)}")
        aggregate = _shape_of_state(*known, public, actions, price)
    if public is not None:
        following = returned("next_public", aggregate, next_noise)
        if _kinds_of(following) != _kinds_of(public):
            raise ValueError(
                f"next_public must return a state like initial_public, {shapes_of(public)}, but returned "
                f"{shapes_of(following)}"
            )
    return aggregate


def _describe(returned: Any) -> str:
    """What a method returned instead of an array of the right shape, and how to make it one."""
    shape = getattr(returned, "shape", None)
    if shape is None and not isinstance(returned, bool | int | float):
        return f"a {type(returned).__name__} (jnp.stack makes an array of numbers in a list)"
    hint = "" if shape else " (write [None] behind a scalar, or jnp.stack([...]) around some)"
    return f"{'a number' if shape is None else f'one of shape {shape}'}{hint}"


def check_kernel(game: Game, kernel: Any) -> None:
    """Raise `ValueError` unless `kernel` is a `TransitionKernel` of the game's sizes."""
    if not isinstance(kernel, TransitionKernel):
        kind = "an array" if hasattr(kernel, "shape") else f"a {type(kernel).__name__}"
        raise ValueError(f"kernel must return a TransitionKernel, but returned {kind}")
    sizes, needed = (kernel.num_states, kernel.num_actions), (game.num_states, game.num_actions)
    if sizes != needed:
        raise ValueError(f"kernel must be of (S, A) = {needed}, but is of {sizes}")
