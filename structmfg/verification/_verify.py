"""`verify`: the laws at aggregate states a game can reach, and the game's own functions there."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_integer, check_shape
from structmfg.games import AggregateState, Game, check_game, innovations, noise_path
from structmfg.operators import TransitionKernel
from structmfg.policies import tabular
from structmfg.solvers._evaluation import policy_values, rollout, steps
from structmfg.verification._check import CheckResult, check
from structmfg.verification._report import Report
from structmfg.verification.laws import KERNEL_LAWS, Probe, rounding

# Compiled once for all points.
_rollout = eqx.filter_jit(rollout)
_policy_values = eqx.filter_jit(policy_values)
_kernel = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate))


class _Point(NamedTuple):
    """A path of T+1 aggregates under a random policy, and the kernel at one time of it."""

    aggregates: AggregateState
    policy: Float[Array, "states actions"]
    kernel: TransitionKernel


def verify(game: Game, *, key: PRNGKeyArray | None = None, num_points: int = 3) -> Report:
    """Check a game at `num_points` aggregate states, at times spread over 0..T-1.

    Each is reached along a random noise path under a random policy, with `key` (fixed by default, so that a report can
    be repeated). The laws hold at that kernel for random values and a random mean field without zeros: a pass is
    evidence at these points, not a proof. What a game raises is a failed check.

    Raises `ValueError` if `game` is not a `Game`, or `num_points` is not a whole number of at least one.
    """
    if not isinstance(game, Game):
        raise ValueError(f"game must be a Game (see structmfg.games.make), but is {game!r}")
    num_points = check_integer("num_points", num_points, at_least=1)
    results = [sizes_make_sense(game)]
    if results[0].passed:
        keys = jax.random.split(jax.random.key(0) if key is None else key, num_points)
        for number, point_key in enumerate(keys):
            time = round(number * (game.horizon - 1) / max(num_points - 1, 1))
            where = f" (path {number}, t = {time})"
            results += [result._replace(name=result.name + where) for result in _at(game, point_key, time)]
    return Report(repr(game), tuple(results))


def _at(game: Game, key: PRNGKeyArray, time: int) -> list[CheckResult]:
    """All checks at one point; only the first if the point cannot be reached."""
    path_key, values_key, mass_key = jax.random.split(key, 3)
    reached: list[_Point] = []

    @check("mu_0..mu_T is finite, nonnegative and sums to one along a random path")
    def path_of_distributions() -> tuple[float, float]:
        reached.append(_reach(game, path_key, time))
        mean_field = np.asarray(reached[0].aggregates.mean_field, dtype=np.float64)
        error = np.maximum(np.abs(mean_field.sum(-1) - 1), -mean_field.min(-1)).max()
        return error, (1 + game.horizon) * rounding(_size(game), reached[0])

    results = [path_of_distributions()]
    if not reached:
        return results
    (point,) = reached
    results += [rewards_are_finite(game, point), observations_are_finite(game, point), return_both_ways(game, point)]
    values = jax.random.normal(values_key, (game.num_states,))
    mean_field = jax.random.exponential(mass_key, (game.num_states,))
    return results + [law(point.kernel, Probe(point.policy, values, mean_field)) for law in KERNEL_LAWS]


def _reach(game: Game, key: PRNGKeyArray, time: int) -> _Point:
    noise_key, policy_key = jax.random.split(key)
    noise = noise_path(game, innovations(noise_key, 1, game.horizon + 1, "iid")[0])
    policy = jax.nn.softmax(2 * jax.random.normal(policy_key, (game.num_states, game.num_actions)))
    aggregates = _rollout(game, tabular(game, policy), noise).aggregates
    kernel = _kernel(game, jax.tree.map(lambda x: x[time], aggregates))
    if (kernel.num_states, kernel.num_actions) != (game.num_states, game.num_actions):
        raise ValueError(
            f"the kernel must have the game's {game.num_states} states and {game.num_actions} actions, but has "
            f"{kernel.num_states} and {kernel.num_actions}"
        )
    return _Point(aggregates, policy, kernel)


def _size(game: Game) -> int:
    return game.num_states * game.num_actions


@eqx.filter_jit
def _rewards(game: Game, aggregates: AggregateState) -> Float[Array, "times states actions"]:
    return jax.lax.map(lambda pair: game.reward(*pair), steps(aggregates))


@eqx.filter_jit
def _observations(game: Game, aggregates: AggregateState) -> Float[Array, "times observation"]:
    now, _ = steps(aggregates)
    return jax.lax.map(game.observe, now)


@check("states, actions and horizon are whole numbers, the discount lies in (0, 1]")
def sizes_make_sense(game: Game) -> tuple[float, float]:
    """Zero; raises otherwise."""
    check_game(game)
    return 0, 0


@check("rewards have shape (S, A) and are finite at t = 0..T-1")
def rewards_are_finite(game: Game, point: _Point) -> tuple[float, float]:
    """The number of entries that are not finite."""
    rewards = _rewards(game, point.aggregates)
    check_shape("rewards", rewards[0], (game.num_states, game.num_actions))
    return float(jnp.sum(~jnp.isfinite(rewards))), 0


@check("observations, and as networks see them, have shape (obs_dim,) and are finite at t = 0..T-1")
def observations_are_finite(game: Game, point: _Point) -> tuple[float, float]:
    """The number of entries that are not finite."""
    observations = _observations(game, point.aggregates)
    both = {"observations": observations, "normalised observations": game.normalise(observations)}
    for name, array in both.items():
        check_shape(name, array, (game.horizon, game.observation_size))
    return sum(float(jnp.sum(~jnp.isfinite(array))) for array in both.values()), 0


@check("Horner's return mu_0 . v_0 = sum_t gamma^t mu_t . r_t, relative to the sum of absolute terms")
def return_both_ways(game: Game, point: _Point) -> tuple[float, float]:
    """The relative difference. Errors pass through T operators on either side: T times the bound of a law, twice."""
    policy = jnp.broadcast_to(point.policy, (game.horizon, *point.policy.shape))
    horner = point.aggregates.mean_field[0] @ _policy_values(game, point.aggregates, policy)[0]
    weights = game.discount ** np.arange(game.horizon)[:, None] * np.asarray(point.aggregates.mean_field[:-1], float)
    terms = weights[:, :, None] * np.asarray(point.policy, float) * np.asarray(_rewards(game, point.aggregates), float)
    scale = max(np.abs(terms).sum(), np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):
        error = abs(float(horner) - terms.sum()) / scale
    return error, 2 * game.horizon * rounding(_size(game), point)
