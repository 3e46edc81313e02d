"""Checks of a game's definition: sizes, signatures, and what its methods return, before anything is solved."""

import contextlib
import copy
import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import (
    brief,
    check_between,
    check_integer,
    check_kind,
    check_rows,
    finite_horizon,
    plain,
)
from structmfg.games._aggregate import (
    AggregateState,
    Noise,
    NoisePaths,
    check_block_masses,
    check_blocks_closed,
    check_populations,
    kept_in_blocks,
)
from structmfg.games._base import MAX_HORIZON, Game
from structmfg.games._content import current_version
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._noise_tree import NoiseTree
from structmfg.games._shapes import check_shapes, naming_method, shapes_of
from structmfg.operators import Grid

MAX_PAIRS = 2**31 - 1  # pairs of a state and an action: JAX counts no further in 32 bits

_SIGNATURES = {  # the arguments that each method is called with, by position
    "kernel": ("aggregate",),
    "reward": ("aggregate", "following"),
    "observe": ("aggregate",),
    "initial_noise": ("uniform",),
    "next_noise": ("noise", "uniform", "time"),
    "initial_mean_field": ("noise",),
    "move_agents": ("aggregate", "states", "actions", "key"),
    "noise_chain": (),
    "scenarios": (),
    "aggregates": ("mean_field",),
    "state_features": (),
    "action_positions": (),
    "normalise": ("observation",),
    "quantities": ("aggregate",),
    "state_axis": (),
    "state_axes": (),
    "action_axis": (),
    "noise_label": ("noise",),
    "captions": (),
    "as_noise": ("noise",),
    "initial_public": ("noise",),
    "next_public": ("aggregate", "next_noise"),
    "action_statistics": ("aggregate", "joint"),
    "price_bracket": ("aggregate",),
    "excess_demand": ("aggregate", "price", "joint"),
    "allowed": ("aggregate",),
}
AnyGame = TypeVar("AnyGame", bound=Game)
_DRAW_NOISE = ("initial_noise", "next_noise")
_LIST_NOISE = ("noise_chain", "scenarios")


def truncated(game: AnyGame, horizon: int) -> AnyGame:
    """The same game, but for its horizon: of a game that goes on for ever, the one that ends after so many steps.

    Args:
        game: The game.
        horizon: The number of steps T.

    Raises:
        ValueError: If the horizon is no whole number of at least 1, or one that the game's class does not let us set.
    """
    shorter = copy.copy(game)
    try:
        object.__setattr__(shorter, "horizon", check_integer("horizon", horizon, at_least=1, at_most=MAX_HORIZON))
    except AttributeError:
        raise ValueError(f"the horizon of {type(game).__name__} is a property, which cannot be set") from None
    return shorter


def as_game(game: Any) -> Game:
    """The game as it is now: itself, or a copy if it has changed since compiled programs first met it.

    Raises:
        ValueError: If `game` is no `Game`.
    """
    check_kind("game", game, Game)
    _make_sizes_plain(game)
    return current_version(game)


def _make_sizes_plain(game: Game) -> None:
    """Turn sizes that are numbers of NumPy or JAX into Python's: programs need them while they are compiled."""
    for name in ("num_states", "num_actions", "horizon", "discount"):
        if (number := plain(given := getattr(game, name))) is not given:
            with contextlib.suppress(AttributeError):  # a property cannot be set
                object.__setattr__(game, name, number)


def check_game(game: Game) -> None:
    """Check the sizes, the horizon, the discount and the signatures of a game's methods.

    Raises:
        ValueError: If one of them makes no sense.
    """
    _make_sizes_plain(game)
    states = check_integer("num_states", game.num_states, at_least=2)
    actions = check_integer("num_actions", game.num_actions, at_least=1)
    if states * actions > MAX_PAIRS:
        raise ValueError(
            f"a game may have at most {MAX_PAIRS} pairs of a state and an action, but {brief(states)} states and "
            f"{brief(actions)} actions make {brief(states * actions)}"
        )
    check_between("discount", game.discount, 0, 1, open_low=True)
    if game.horizon is None:
        if game.discount == 1:
            raise ValueError("an infinite horizon (horizon None) needs a discount below 1, but it is 1")
    else:
        check_integer("horizon", game.horizon, at_least=1, at_most=MAX_HORIZON)
    if game.populations != ():
        check_populations(game.populations, states)
    _check_signatures(game)


def _check_signatures(game: Game) -> None:
    """Raise `ValueError` if a method cannot be called with the arguments that this package gives it.

    Where a game lists its noise, the methods that draw noise may never be called, and are not checked.
    """
    lists_noise = any("structmfg.games._base" not in getattr(type(game), name).__module__ for name in _LIST_NOISE)
    for name, arguments in _SIGNATURES.items():
        if lists_noise and name in _DRAW_NOISE:
            continue
        method = getattr(game, name)
        if not callable(method):
            raise ValueError(f"{name} must be a method {name}({', '.join(arguments)}), but is {method!r:.60}")
        try:
            signature = inspect.signature(method)
        except (TypeError, ValueError):  # a builtin may have none
            continue
        try:
            signature.bind(*arguments)
        except TypeError as error:
            parameters = ", ".join(str(parameter).partition(":")[0] for parameter in signature.parameters.values())
            raise ValueError(
                f"{name} is called as {name}({', '.join(arguments)}), but is defined to take ({parameters}): {error}"
            ) from None


def check_definition(game: Game, *, sampled: bool) -> None:
    """Check sizes and the shapes of what a game's methods return, without compiling anything.

    Args:
        game: The game.
        sampled: Whether its noise is going to be drawn. If not, the noise of its scenarios is used, where it has some.

    Raises:
        ValueError: If a size makes no sense, a method returns something of another shape, or the probabilities of the
            game's scenarios are not a distribution.
    """
    check_game(game)
    finite_horizon(game)
    if type(game).state_axes is not Game.state_axes:
        checked_state_axes(game)
    scenarios = game.scenarios()
    if scenarios is not None:
        check_kind("what scenarios returns", scenarios, NoisePaths)
        scenarios.validate()
    if not sampled and scenarios is not None:
        check_shapes(game, *(jax.tree.map(lambda z, t=t: jnp.asarray(z)[0, t], scenarios.noise) for t in (0, 1)))
        return

    def draw_noise() -> tuple[Any, Any]:
        half, start = jnp.asarray(0.5), jnp.asarray(0)
        first = _noise_from("initial_noise", lambda: game.initial_noise(half))
        return first, _noise_from("next_noise", lambda: game.next_noise(first, half, start))

    noise, next_noise = jax.eval_shape(draw_noise)
    if (given := shapes_of(next_noise)) != (wanted := shapes_of(noise)):
        raise ValueError(f"next_noise must return noise like initial_noise, {wanted}, but returned {given}")
    check_shapes(game, noise, next_noise)


def _noise_from(name: str, method: Callable[[], Any]) -> Any:
    """The noise that a method returns, as arrays."""
    with naming_method(name):
        noise = method()
    for leaf in jax.tree.leaves(noise) or [noise]:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
            raise ValueError(f"{name} must return arrays, but returned {leaf!r:.60}, a {type(leaf).__name__}")
    return jax.tree.map(jnp.asarray, noise)


def checked_state_axes(game: Game) -> list[tuple[str, Any]]:
    """The names of the factors of a game's states, with the points, the names of the points, or the grid of each.

    Raises:
        ValueError: If `state_axes` does not list them, or their sizes do not multiply to the number of states.
    """
    axes = game.state_axes()
    rule = "state_axes must return a list of pairs of a name and coordinates of shape (points,)"
    if not isinstance(axes, list | tuple) or not axes:
        raise ValueError(f"{rule}, but returned {axes!r:.60}")
    for axis in axes:
        if not (isinstance(axis, tuple | list) and len(axis) == 2 and isinstance(axis[0], str)):
            raise ValueError(f"{rule}, but one entry is {axis!r:.60}")
        if not isinstance(axis[1], Grid) and len(shape := np.shape(axis[1])) != 1:
            raise ValueError(f"{rule}, but those of {axis[0]!r:.60} have shape {shape}")
    sizes = [grid.num_points if isinstance(grid, Grid) else len(grid) for _, grid in axes]
    if math.prod(sizes) != game.num_states:
        product = " * ".join(map(str, sizes))
        raise ValueError(f"the sizes of state_axes must multiply to num_states, {game.num_states}, but are {product}")
    return [(name, grid) for name, grid in axes]


def check_game_at_start(game: Game, tree: NoiseTree) -> None:
    """Check shapes, the initial mean field and the kernel at one node of the tree at t = 0.

    `verification.verify` checks values at many points.

    Raises:
        ValueError: If a method returns something of another shape, or mass or rows do not sum to one.
    """
    noise, next_noise = (
        jax.tree.map(lambda z, i=i: jnp.asarray(np.asarray(z)[i]), tree.noise) for i in (0, tree.children[0, 0])
    )
    check_shapes(game, noise, next_noise)
    masses, sums, kept = jax.tree.map(np.asarray, _masses_and_row_sums(game, noise))
    check_rows("initial_mean_field", masses[None])
    check_block_masses(game.populations, masses, "by initial_mean_field")
    if not (np.abs(sums - 1) <= 1e-5).all():
        raise ValueError(f"the rows of kernel must sum to 1, but one sums to {sums.flat[np.abs(sums - 1).argmax()]:g}")
    if kept is not None:
        check_blocks_closed(game.populations, kept, "")


@eqx.filter_jit
def _masses_and_row_sums(game: Game, noise: Noise) -> tuple[Array, Array, Array | None]:
    """The initial mean field, the sums (S, A) of the kernel's rows at t = 0, and the parts of them within blocks."""
    mean_field = game.initial_mean_field(noise)
    aggregate = game.at_start(noise)
    if (bracket := game.price_bracket(aggregate)) is not None:  # any price: no policy is known that would clear markets
        aggregate = dataclasses.replace(aggregate, price=(jnp.asarray(bracket[0]) + jnp.asarray(bracket[1])) / 2)
    uniform = jnp.full((game.num_states, game.num_actions), 1 / game.num_actions)
    joint = mean_field[:, None] * game.restricted(aggregate, uniform)
    if (actions := game.action_statistics(aggregate, joint)) is not None:
        aggregate = dataclasses.replace(aggregate, actions=actions)
    kernel = game.kernel(aggregate)
    return mean_field, kernel.expect(jnp.ones(game.num_states)), kept_in_blocks(game.populations, kernel)


def aggregate_functions(game: Game) -> Float[Array, "aggregates states"] | None:
    """The matrix (K, S) of a game's aggregates, which are linear functions of the mean field.

    None stands for the identity, where the aggregates are the whole mean field: a matrix would hold S^2 numbers.

    Raises:
        ValueError: If they are not linear.
    """
    if aggregates_are_mean_field(game):
        return None
    matrix, worst = _linear_part(game)
    if not worst <= 1e-6 * (1 + np.max(np.abs(matrix), initial=0)):
        raise ValueError(
            f"aggregates must be linear in the mean field, but they are off by {float(worst):g}; return the whole "
            "mean field where agents interact through something else"
        )
    return matrix


def aggregates_are_mean_field(game: Game) -> bool:
    """Whether `game.aggregates` returns the mean field as it is."""
    program = jax.make_jaxpr(game.aggregates)(jnp.zeros(game.num_states)).jaxpr
    return program.outvars == program.invars


@eqx.filter_jit
def _linear_part(game: Game) -> tuple[Array, Array]:
    """The derivative of the aggregates at one mean field, and by how much they differ from it at another."""
    uniform = jnp.full(game.num_states, 1 / game.num_states)
    other = jnp.linspace(0.3, 1.7, game.num_states) ** 2 / game.num_states
    matrix = jax.jacobian(lambda mean_field: jnp.asarray(game.aggregates(mean_field), float))(uniform)
    return matrix, jnp.max(jnp.abs(game.aggregates(other) - matrix @ other), initial=0)


def check_noise_is_distinguishable(tree: NoiseTree) -> None:
    """Check that a policy that observes the noise, in JAX's default precision, can tell all nodes apart.

    Call it outside `enable_x64`, where policies run.

    Raises:
        ValueError: If two nodes with the same parent have equal noise after rounding.
    """
    decisions = tree.num_decisions
    leaves = [np.asarray(leaf)[:decisions].reshape(decisions, -1) for leaf in jax.tree.leaves(tree.noise)]
    noise = np.concatenate([leaf.astype(float) for leaf in [np.zeros((decisions, 0)), *leaves]], axis=1)
    rounded = noise.astype(jnp.zeros(()).dtype)
    if (rounded == noise).all():
        return
    parent = np.where(np.asarray(tree.slot_time) == 0, -1, np.asarray(tree.parent))[:decisions]
    nodes = np.flatnonzero(np.asarray(tree.probability)[:decisions] > 0)
    rows = np.column_stack([parent[nodes], rounded[nodes] + 0.0])
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(nodes):
        return
    second = int(np.argmax(first[group.ravel()] != np.arange(len(nodes))))
    pair = nodes[first[group.ravel()[second]]], nodes[second]
    one, other = (", ".join(f"{x:.17g}" for x in noise[node][:4]) for node in pair)
    raise ValueError(
        f"common noise at time {int(np.asarray(tree.slot_time)[pair[0]])} is either {one} or {other}, which are equal "
        f"in {rounded.dtype.name}, so that no policy can tell them apart: enable jax_enable_x64, or give other values"
    )


def check_stationary(game: Game) -> Noise:
    """Check that a game goes on for ever and has one noise point, which does not move; return that point.

    Noise that the game draws is looked at for some innovations.

    Raises:
        ValueError: If the horizon is finite, or the noise takes several values.
    """
    check_game(game)
    if game.horizon is not None:
        raise ValueError(
            "stationary solvers need an infinite horizon (horizon None), but the game's horizon is "
            f"{game.horizon}: take a solver for finite horizons, such as solvers.ExactEquilibrium"
        )
    if game.declared:
        raise ValueError(
            "stationary solvers need games whose aggregate state is the mean field alone, but "
            f"{type(game).__name__} declares {', '.join(sorted(game.declared))}"
        )
    if (chain := game.noise_chain()) is not None:
        check_kind("what noise_chain returns", chain, NoiseChain)
        points, moved = chain.values, chain.values
    else:
        uniforms = jnp.linspace(0.05, 0.95, 10)
        points = jax.vmap(game.initial_noise)(uniforms)
        first = jax.tree.map(lambda z: z[0], points)
        moved = jax.vmap(lambda u: game.next_noise(first, u, jnp.asarray(0)))(uniforms)
    point = jax.tree.map(lambda z: jnp.asarray(z)[0], points)
    for leaf in jax.tree.leaves((points, moved)):
        if len(values := np.unique(np.asarray(leaf), axis=0)) > 1:
            raise ValueError(
                "a game that goes on for ever (horizon None) may have no common noise, but its noise takes at least "
                f"{len(values)} values: give it a finite horizon, or see solvers.master_equation"
            )
    check_shapes(game, point, point)
    first, later = (jax.tree.map(np.asarray, _pieces_at(game, point, jnp.asarray(t))) for t in (0, 3))
    for name, one, other in zip(("kernel", "reward"), first, later, strict=True):
        if not np.array_equal(one, other, equal_nan=True):
            raise ValueError(f"a game that goes on for ever may not read the time, but its {name} is another at t = 3")
    return point


@eqx.filter_jit
def _pieces_at(game: Game, noise: Noise, time: Array) -> tuple[Array, Array]:
    """Expectations of two functions of the next state, and rewards, at the initial mean field."""
    mean_field, states = game.initial_mean_field(noise), jnp.arange(game.num_states)
    now, then = (AggregateState(mean_field, noise, t) for t in (time, time + 1))
    kernel = game.kernel(now)
    return jnp.stack([kernel.expect(states * 1.0), kernel.expect(jnp.cos(states**2.0))]), game.reward(now, then)
