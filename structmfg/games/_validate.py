"""Whether a definition of a game is one: what its methods return, before anything is solved."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._checks import check_kind, check_rows, check_shape
from structmfg.games._base import AggregateState, Game, Noise, NoisePaths, check_game
from structmfg.games._methods import told
from structmfg.games._noise_tree import NoiseTree
from structmfg.operators import TransitionKernel


def check_kernel(game: Game, kernel: Any) -> None:
    """Raise `ValueError` unless what a game gave is a kernel of its sizes."""
    if not isinstance(kernel, TransitionKernel):
        what = "an array" if hasattr(kernel, "shape") else f"a {type(kernel).__name__}"
        raise ValueError(f"kernel must return a TransitionKernel, but returned {what}")
    sizes, needed = (kernel.num_states, kernel.num_actions), (game.num_states, game.num_actions)
    if sizes != needed:
        raise ValueError(f"kernel must be of (S, A) = {needed}, but is of {sizes}")


def check_game_at_start(game: Game, tree: NoiseTree) -> None:
    """Raise `ValueError` unless what the game's methods return has the right shapes, and masses and rows sum to one.

    Values are checked at one node at t = 0 only; `verification.verify` looks further.
    """
    noise, then = (
        jax.tree.map(lambda z, i=i: jnp.asarray(np.asarray(z)[i]), tree.noise) for i in (0, tree.children[0, 0])
    )
    check_shapes(game, noise, then)

    masses, sums = map(np.asarray, _masses_and_sums(game, noise))
    check_rows("initial_mean_field", masses[None])
    if not (np.abs(sums - 1) <= 1e-5).all():
        raise ValueError(f"the rows of kernel must sum to 1, but one sums to {sums.flat[np.abs(sums - 1).argmax()]:g}")


@eqx.filter_jit
def _masses_and_sums(game: Game, noise: Noise) -> tuple[Array, Array]:
    mean_field = game.initial_mean_field(noise)
    now = AggregateState(mean_field, noise, jnp.asarray(0))
    return mean_field, game.kernel(now).expect(jnp.ones(game.num_states))


def check_definition(game: Game, *, sampled: bool) -> None:
    """Raise `ValueError` unless sizes make sense and the game's methods return what they must; nothing is compiled.

    Its scenarios, where it has some, must have probabilities.

    `sampled`: whether noise is going to be drawn; else it is that of the game's scenarios, if these are not too many.
    """
    check_game(game)
    scenarios = game.scenarios()
    if scenarios is not None:
        check_kind("what scenarios returns", scenarios, NoisePaths)
        scenarios.validate()
    if not sampled and scenarios is not None:
        check_shapes(game, *(jax.tree.map(lambda z, t=t: jnp.asarray(z)[0, t], scenarios.noise) for t in (0, 1)))
        return

    def noises() -> tuple[Any, Any]:
        half, start = jnp.asarray(0.5), jnp.asarray(0)
        first = _noise("initial_noise", lambda: game.initial_noise(half))
        return first, _noise("next_noise", lambda: game.next_noise(first, half, start))

    noise, then = jax.eval_shape(noises)
    if (given := _shapes(then)) != (wanted := _shapes(noise)):
        raise ValueError(f"next_noise must return noise like initial_noise, {wanted}, but returned {given}")
    check_shapes(game, noise, then)


def _noise(name: str, method: Callable[[], Any]) -> Any:
    """What the method gives, as arrays."""
    with told(name):
        given = method()
    for leaf in jax.tree.leaves(given):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
            raise ValueError(f"{name} must return arrays, but returned {leaf!r:.60}, a {type(leaf).__name__}")
    return jax.tree.map(jnp.asarray, given)


def _shapes(tree: Any) -> str:
    """Structure, shapes and types of its arrays."""
    return str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), tree))


def check_shapes(game: Game, noise: Any, then: Any) -> None:
    """Raise `ValueError` unless mean field, kernel, reward, observation and aggregates are of the game's sizes."""
    page = (game.num_states, game.num_actions)
    with told("initial_mean_field"):
        mean_field = eqx.filter_eval_shape(game.initial_mean_field, noise)
    check_shape("initial_mean_field", mean_field, page[:1])

    def at(mean_field: Any, noise: Any, time: int) -> AggregateState:
        return AggregateState(mean_field, noise, jnp.asarray(time))

    with told("kernel"):
        kernel = eqx.filter_eval_shape(lambda mu, z: game.kernel(at(mu, z, 0)), mean_field, noise)
    check_kernel(game, kernel)
    for name, method, shape in (
        ("reward", lambda mu, z, later: game.reward(at(mu, z, 0), at(mu, later, 1)), page),
        ("observe", lambda mu, z, _: game.observe(at(mu, z, 0)), (None,)),
        ("aggregates", lambda mu, *_: game.aggregates(mu), (None,)),
    ):
        with told(name):
            found = eqx.filter_eval_shape(method, mean_field, noise, then)
        given = getattr(found, "shape", None)
        if given is None or len(given) != len(shape) or (None not in shape and given != shape):
            wanted = f"(S, A) = {page}" if name == "reward" else "(n,)"
            raise ValueError(f"{name} must return an array of shape {wanted}, but returned {_returned(found)}")


def _returned(found: Any) -> str:
    """What a method returned instead of an array of the right shape, and how to make it one."""
    shape = getattr(found, "shape", None)
    if shape is None and not isinstance(found, bool | int | float):
        return f"a {type(found).__name__} (jnp.stack makes an array of numbers in a list)"
    hint = "" if shape else " (write [None] behind a scalar, or jnp.stack([...]) around some)"
    return f"{'a number' if shape is None else f'one of shape {shape}'}{hint}"


def check_noise_is_distinguishable(tree: NoiseTree) -> None:
    """Raise `ValueError` unless a policy that follows the noise, in JAX's default precision, finds every node.

    To be called outside `enable_x64`, as the policy is.
    """
    decisions = tree.num_decisions
    noise = [np.asarray(leaf)[:decisions].reshape(decisions, -1) for leaf in jax.tree.leaves(tree.noise)]
    given = np.concatenate([leaf.astype(float) for leaf in [np.zeros((decisions, 0)), *noise]], axis=1)
    kept = given.astype(jnp.zeros(()).dtype)
    if (kept == given).all():
        return  # nothing was rounded
    parent = np.where(np.asarray(tree.slot_time) == 0, -1, np.asarray(tree.parent))[:decisions]
    nodes = np.flatnonzero(np.asarray(tree.probability)[:decisions] > 0)
    rows = np.column_stack([parent[nodes], kept[nodes] + 0.0])
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(nodes):
        return
    twin = int(np.argmax(first[group.ravel()] != np.arange(len(nodes))))
    pair = nodes[first[group.ravel()[twin]]], nodes[twin]
    one, other = (", ".join(f"{x:.17g}" for x in given[node][:4]) for node in pair)
    raise ValueError(
        f"common noise at time {int(np.asarray(tree.slot_time)[pair[0]])} is either {one} or {other}, which are equal "
        f"in {kept.dtype.name}, so that no policy can tell them apart: enable jax_enable_x64, or give other values"
    )
