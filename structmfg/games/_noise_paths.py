"""Paths of the common noise: enumerated, independent, antithetic or stratified."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_integer, check_key, check_name, finite_horizon
from structmfg._flags import own_rules
from structmfg.games._aggregate import Noise, NoisePaths
from structmfg.games._base import Game
from structmfg.games._sampling import inside_unit_interval
from structmfg.games._validate import as_game, check_game

Sampling = Literal["enumerate", "iid", "antithetic", "stratified"]


@own_rules()
def innovations(key: PRNGKeyArray, num_paths: int, length: int, sampling: Sampling) -> Float[Array, "paths length"]:
    """Draw uniform innovations in (0, 1).

    Args:
        key: A key of `jax.random`.
        num_paths: N.
        length: The number of innovations a path.
        sampling: "iid": independent. "antithetic": pairs u, 1 - u, with N even. "stratified": at every time one in each
            of N equal cells, in an independent random order (Latin hypercube; McKay, Beckman & Conover 1979,
            doi:10.1080/00401706.1979.10489755).

    Returns:
        Innovations (N, length).

    Raises:
        ValueError: If `sampling` is none of these, or a number is not whole or below one.
    """
    check_key(key)
    check_name("sampling", sampling, [name for name in get_args(Sampling) if name != "enumerate"])
    num_paths = check_integer("num_paths", num_paths, at_least=1)
    length = check_integer("length", length, at_least=1)
    if sampling == "antithetic":
        if num_paths % 2:
            raise ValueError(f"antithetic paths come in pairs, so num_paths must be even, but is {num_paths}")
        half = jax.random.uniform(key, (num_paths // 2, length))
        draws = jnp.concatenate([half, 1 - half])
    elif sampling == "stratified":
        within, order = jax.random.split(key)
        cells = jnp.broadcast_to(jnp.arange(num_paths)[:, None], (num_paths, length))
        cells = jax.random.permutation(order, cells, axis=0, independent=True)
        draws = (cells + jax.random.uniform(within, (num_paths, length))) / num_paths
    else:
        draws = jax.random.uniform(key, (num_paths, length))
    return inside_unit_interval(draws)


def noise_path(game: Game, uniforms: Float[Array, " length"]) -> Noise:
    """The noise path z_0..z_T that T+1 innovations drive."""

    def step(noise: Noise, inputs: tuple[Array, Array]) -> tuple[Noise, Noise]:
        uniform, time = inputs
        following = game.next_noise(noise, uniform, time)
        return following, following

    first = game.initial_noise(uniforms[0])
    _, later = jax.lax.scan(step, first, (uniforms[1:], jnp.arange(finite_horizon(game))))
    return jax.tree.map(lambda z0, z: jnp.concatenate([jnp.asarray(z0)[None], z]), first, later)


@own_rules()
def noise_paths(
    game: Game, *, key: PRNGKeyArray | None = None, num_paths: int | None = None, sampling: Sampling = "iid"
) -> NoisePaths:
    """Enumerate or draw paths of a game's common noise.

    Args:
        game: The game.
        key: A key of `jax.random`, unless paths are enumerated.
        num_paths: The number of paths to draw.
        sampling: "enumerate" lists all paths of finite noise with their probabilities; the others draw `num_paths`
            equally likely ones (see `innovations`).

    Returns:
        The paths.

    Raises:
        ValueError: If `sampling` is unknown, `num_paths` is below one, a key is missing, or noise to be enumerated is
            not finite.
    """
    game = as_game(game)
    check_game(game)
    check_name("sampling", sampling, get_args(Sampling))
    if sampling == "enumerate":
        scenarios = game.scenarios()
        if scenarios is None:
            raise ValueError("this game's common noise is not finite: sample it (iid, antithetic or stratified)")
        return scenarios
    if key is None or num_paths is None:
        raise ValueError(f"sampling {sampling!r} needs a key and num_paths")
    num_paths = check_integer("num_paths", num_paths, at_least=1)
    uniforms = innovations(key, num_paths, finite_horizon(game) + 1, sampling)
    return NoisePaths(_driven(game, uniforms), jnp.full(num_paths, 1 / num_paths))


@eqx.filter_jit
def _driven(game: Game, uniforms: Float[Array, "paths length"]) -> Noise:
    """The noise paths that these innovations drive, by one program for each game and size."""
    return jax.vmap(lambda row: noise_path(game, row))(uniforms)
