"""Checks of the law of the common noise that bounds use, and of what observations tell of the noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg.evaluation.bounds._basis import SHIFTED_POINTS, Basis, next_noise_points, noise_chain
from structmfg.games import AggregateState, Game, Noise, noise_paths

_MOST_DEVIATIONS = 5.0  # of the mean of phi - E phi from zero, in standard errors: a rare event where E phi is right
_RULE_TOLERANCE = 5e-3  # of a mean of features over 256 innovations, whose deviations are one
_CHECKED_TIMES = 16  # at which the law of the noise is compared with its draws
_ROUNDING = 1e-6  # of a feature of order one, whose noise is drawn in single precision
_DISTINGUISHABLE = 1e-9  # observations that differ by less, relative to their size, count as equal


def check_law(game: Game, key: PRNGKeyArray) -> None:
    """Raise `ValueError` where the law of z_{t+1} is not known and its draws are discrete."""
    if noise_chain(game) is not None or game.innovation_quadrature() is not None:
        return
    rows = np.asarray(_draws(game, key))
    for time, points in enumerate(rows):
        distinct = len(np.unique(points, axis=0))
        if 1 < distinct <= SHIFTED_POINTS // 2:
            raise ValueError(
                f"bounds need the law of the common noise, but at time {time} it takes {distinct} values in "
                f"{SHIFTED_POINTS} draws and the game has no noise_chain; where the noise tree fits, "
                "exploitability(kind='non_anticipative') is exact"
            )


@eqx.filter_jit
def _draws(game: Game, key: PRNGKeyArray) -> Float[Array, "times points numbers"]:
    """Points of z_{t+1} given z_t along one noise path, at every t."""
    path = noise_paths(game, key=key, num_paths=1).noise

    def at(time: Array) -> Array:
        noise = jax.tree.map(lambda z: z[0, time], path)
        aggregate = AggregateState(jnp.zeros(game.num_states), noise, time)
        points, _ = next_noise_points(game, aggregate, key, SHIFTED_POINTS)
        return _as_rows(points)

    return jax.vmap(at)(jnp.arange(game.horizon))


def _as_rows(points: Noise) -> Float[Array, "points numbers"]:
    return jnp.concatenate([leaf.reshape(len(leaf), -1).astype(float) for leaf in jax.tree.leaves(points)], axis=-1)


def check_rule(basis: Basis, aggregates: AggregateState, key: PRNGKeyArray) -> None:
    """Raise `ValueError` if the stated law gives other means of the features than innovations of `next_noise` do."""
    differences = np.asarray(_rule_differences(basis, aggregates, key)).reshape(-1, basis.size)
    mean, error = differences.mean(0), differences.std(0) / np.sqrt(len(differences))
    faults = np.abs(mean) > _MOST_DEVIATIONS * error + _RULE_TOLERANCE
    if faults.any():
        worst = int(np.abs(mean).argmax())
        raise ValueError(
            f"the law of the common noise does not fit its draws: the mean of feature {worst} is {mean[worst]:.3g} "
            "standard deviations off; look at innovation_quadrature, which smooth features need with enough nodes, or "
            "at noise_chain"
        )


@eqx.filter_jit
def _rule_differences(
    basis: Basis, aggregates: AggregateState, key: PRNGKeyArray
) -> Float[Array, "paths steps features"]:
    """Conditional means of the features by the stated law less those by shifted innovations, at some times."""
    game = basis.game
    times = _checked_times(game.horizon)
    now, then = (jax.tree.map(lambda x, t=t: x[:, times + t], aggregates) for t in (0, 1))

    def difference(now: AggregateState, then: AggregateState, key: PRNGKeyArray) -> Array:
        noise, weights = next_noise_points(game, now, key, SHIFTED_POINTS, drawn=True)
        drawn = jax.vmap(lambda z: basis(game.advance(now, then.mean_field, z)))(noise)
        return basis.mean_of_next(now, then, key) - weights @ drawn

    keys = jax.random.split(key, now.time.shape)
    return jax.lax.map(lambda path: jax.vmap(difference)(*path), (now, then, keys))


def check_means(errors: Float[np.ndarray, "paths 2 features"], horizon: int) -> None:
    """Raise `ValueError` if phi - E phi, whose mean must be zero, has another one."""
    total, squares = np.abs(errors[:, 0].sum(0)), errors[:, 1].sum(0)
    total = np.maximum(total - _ROUNDING * len(errors) * horizon, 0)
    deviations = np.divide(total, np.sqrt(squares), out=np.zeros_like(total), where=squares > 0)
    worst = int(deviations.argmax())
    if deviations[worst] > _MOST_DEVIATIONS:
        raise ValueError(
            f"the law of the common noise does not fit its draws: the mean of feature {worst} less its conditional "
            f"mean is {deviations[worst]:.1f} standard errors from zero; look at innovation_quadrature, which smooth "
            "features need with enough nodes, or at noise_chain"
        )


@eqx.filter_jit
def reveals_noise(game: Game, aggregates: AggregateState, key: PRNGKeyArray) -> Bool[Array, ""]:
    """Whether observations tell the possible values of the noise apart, at t = 0 and at some times of N paths."""
    if "price" in game.declared:  # the price is known only when agents act
        return jnp.asarray(False)
    chain = noise_chain(game)

    def at(aggregate: AggregateState, mean_field: Array) -> Array:
        points, weights = next_noise_points(game, aggregate, key, SHIFTED_POINTS)
        seen = jax.vmap(lambda z: game.observe(game.advance(aggregate, mean_field, z)))(points)
        return _told_apart(points, seen, None if chain is None else weights > 0)

    if chain is None:
        uniforms = (jnp.arange(SHIFTED_POINTS) + 0.5) / SHIFTED_POINTS
        first, possible = jax.vmap(game.initial_noise)(uniforms), None
    else:
        first, possible = jax.tree.map(jnp.asarray, chain.values), jnp.asarray(chain.initial > 0)
    at_start = _told_apart(first, jax.vmap(lambda z: game.observe(game.at_start(z)))(first), possible)
    times = _checked_times(game.horizon - 1)
    before = jax.tree.map(lambda x: x[:, times], aggregates)
    along = jax.lax.map(lambda path: jax.vmap(at)(*path), (before, aggregates.mean_field[:, times + 1]))
    return at_start & jnp.all(along)


def _checked_times(end: int) -> Int[np.ndarray, " times"]:
    """Equally spaced times before `end` at which the law of the noise is checked."""
    return np.unique(np.linspace(0, end - 1, min(end, _CHECKED_TIMES)).astype(int)) if end else np.zeros(0, int)


def _told_apart(
    points: Noise, seen: Float[Array, "points observation"], possible: Bool[Array, " points"] | None
) -> Bool[Array, ""]:
    """Whether observations at points of the noise differ.

    At finitely many `possible` points any two must differ. Else points are a sample of continuous noise, in order: some
    entry of the observation must be strictly monotone in them, or the noise the same at all of them.
    """
    slack = _DISTINGUISHABLE * jnp.max(jnp.abs(seen), axis=0)
    if possible is not None:
        apart = jnp.any(jnp.abs(seen[:, None] - seen[None]) > slack, axis=-1)
        return jnp.all(apart | ~(possible[:, None] & possible[None] & ~jnp.eye(len(possible), dtype=bool)))
    steps = jnp.diff(seen, axis=0)
    monotone = jnp.all(steps > slack, axis=0) | jnp.all(steps < -slack, axis=0)
    return jnp.any(monotone) | jnp.all(jnp.ptp(_as_rows(points), axis=0) == 0)
