"""The law of `Game.aggregates`: kernel and reward depend on the mean field through them alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg.games import AggregateState, Game
from structmfg.verification._check import Measured, check
from structmfg.verification._compiled import allowed_rewards
from structmfg.verification.laws._paths import AggregatePath
from structmfg.verification.laws._probe import host, largest, rounding, worst


@eqx.filter_jit
def _pieces(game: Game, aggregate: AggregateState, following: AggregateState, values: Array) -> tuple[Array, Array]:
    return game.kernel(aggregate).expect(values), allowed_rewards(game, aggregate, following)


def _with_mass(aggregate: AggregateState, mean_field: np.ndarray) -> AggregateState:
    dtype = aggregate.mean_field.dtype
    return eqx.tree_at(lambda a: a.mean_field, aggregate, jnp.asarray(mean_field, dtype))


@check("`aggregates` is linear, and the mean field enters kernel and reward through it alone")
def aggregates_are_sufficient(game: Game, path: AggregatePath, time: int) -> Measured:
    """The relative change of P v and of the rewards when mass is moved without changing the aggregates.

    Rounding changes the aggregates, and so what depends on them, by a little: the bound is 100 times that of a law.
    """
    here, following = path.at(time), path.at(time + 1)
    size = game.num_states
    bound = 100 * rounding(size * game.num_actions, here.mean_field)
    mean_field = host(here.mean_field)
    matrix = host(jax.jacobian(game.aggregates)(here.mean_field)).reshape(-1, size)
    scale = max(np.abs(matrix).max(initial=0.0), np.finfo(float).tiny)
    corner = np.eye(size)[size // 2]
    computed = [host(game.aggregates(jnp.asarray(mu, here.mean_field.dtype))) for mu in (mean_field, corner)]
    nonlinearity = np.abs(computed - np.stack([mean_field, corner]) @ matrix.T).max(initial=0.0) / scale
    if not nonlinearity <= bound or len(matrix) >= size:  # with as many aggregates as states nothing can move
        return nonlinearity, bound, f"at t = {time} they are not linear in the mean field"
    random = np.random.default_rng(0).normal(size=size) * mean_field
    conserved = np.vstack([matrix / scale, np.ones(size)])  # the aggregates and the mass
    change = random - conserved.T @ np.linalg.lstsq(conserved.T, random, rcond=None)[0]
    room = np.where(change < 0, mean_field / np.maximum(-change, 1e-300), np.inf).min()
    moved = mean_field + min(0.9 * room, 1.0) * change
    values = jnp.asarray(np.cos(np.arange(size)), here.mean_field.dtype)
    changes = []
    for new in ((_with_mass(here, moved), following), (here, _with_mass(following, moved))):
        old = (here, following) if new[1] is following else (here, _with_mass(following, mean_field))
        pairs = zip(_pieces(game, *new, values), _pieces(game, *old, values), strict=True)
        for name, (x, y) in zip(("P v", "the reward"), pairs, strict=True):
            off, place = worst(host(x) - host(y), ("state", "action"))
            changes.append((off / max(np.abs(host(y)).max(), np.finfo(float).tiny), f"{name} at {place}, t = {time}"))
    value, place = largest(changes)
    return value, bound, f"{place}, changes with the mean field while its aggregates do not"
