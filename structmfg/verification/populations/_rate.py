"""How fast the empirical mean field of an interacting population approaches the mean field: N^(-1/2).

The error of a replicate is ||mu_hat_t - mu_t||_2, root mean square over t = 0..T. For large N its square is 1 / N times
a random variable whose law no longer depends on N, so all sizes share one relative variance c^2 of the squared error;
the log of the root mean square over R replicates has the variance c^2 / (4 R), and the slope follows by regression of
it on log N with weights R. (For independent agents the mean of N ||.||^2 is 1 - ||mu_t||^2 exactly.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_integer
from structmfg._statistics import student_margin
from structmfg.evaluation import rollout
from structmfg.games import Game, Noise, as_game
from structmfg.policies import Policy, as_policy
from structmfg.verification._check import check
from structmfg.verification.populations._population import population

_rollout = eqx.filter_jit(rollout)


MAX_REPEATS = 100
_ROUNDING = 1e-6  # an error that is none: far below that of a million agents


class Rate(NamedTuple):
    """Errors fall as N^-`rate`, known to within `stderr`; (`low`, `high`) is its 95 % confidence interval.

    `errors` has the errors of all replicates for every size, `rms` their root mean squares.
    """

    sizes: tuple[int, ...]
    errors: tuple[Float[np.ndarray, " replicates"], ...]
    rms: Float[np.ndarray, " sizes"]
    rate: float
    stderr: float
    low: float
    high: float


def rate_of_convergence(
    game: Game,
    policy: Policy,
    noise: Noise,
    *,
    key: PRNGKeyArray,
    sizes: Sequence[int] = (100, 1000, 10**4),
    replicates: Sequence[int] = (32, 16, 8),
    stderr: float = 0.01,
) -> Rate:
    """The rate for one noise path z_0..z_T, from so many replicates of each size, or a multiple of them.

    Where the rate's standard error is above `stderr`, as for games of few states and steps, they are repeated, up to
    `MAX_REPEATS` times, as often as makes it that small.

    `ValueError` unless there are two sizes or more, each with at least two replicates.
    """
    game = as_game(game)
    policy = as_policy(game, policy)
    sizes = tuple(check_integer("every size", size, at_least=1) for size in sizes)
    replicates = tuple(check_integer("every number of replicates", count, at_least=2) for count in replicates)
    if len(set(sizes)) < 2 or len(sizes) != len(replicates):
        raise ValueError(
            f"a rate needs two or more sizes and a number of replicates for each, but has sizes {sizes} and replicates "
            f"{replicates}"
        )
    mean_fields = _rollout(game, policy, noise).aggregates.mean_field

    def repeat(number: int) -> list[np.ndarray]:
        runs = zip(sizes, replicates, jax.random.split(jax.random.fold_in(key, number), len(sizes)), strict=True)
        return [
            np.asarray(_squared_errors(game, policy, noise, mean_fields, size, count, k), float)
            for size, count, k in runs
        ]

    squares = repeat(0)
    wanted = (_fit(sizes, squares).stderr / stderr) ** 2
    more = [repeat(number) for number in range(1, int(np.ceil(np.nan_to_num(min(wanted, MAX_REPEATS), nan=1))))]
    return _fit(sizes, [np.concatenate(one) for one in zip(squares, *more, strict=True)])


@check(
    "the empirical mean field of N interacting agents approaches the mean field as N^(-1/2); it need not where kernel "
    "or policy jump with the mean field"
)
def rate_is_one_half(rate: Rate) -> tuple[float, float, str]:
    """|rate - 1/2| <= 0.05."""
    if (rate.rms <= _ROUNDING).all():
        return 0, 0.05, f"no error at any N: under this policy nothing is left to chance, N = {rate.sizes}"
    told = f"rate {rate.rate:.4f}, 95 % confidence interval ({rate.low:.4f}, {rate.high:.4f}), N = {rate.sizes}"
    return abs(rate.rate - 0.5), 0.05, told


@eqx.filter_jit
def _squared_errors(
    game: Game, policy: Policy, noise: Noise, mean_fields: Array, num_agents: int, replicates: int, key: PRNGKeyArray
) -> Float[Array, " replicates"]:
    """The mean over t of ||mu_hat_t - mu_t||^2, of one replicate after the other."""

    def one(key: PRNGKeyArray) -> Array:
        counts = population(game, policy, noise, num_agents=num_agents, key=key).counts
        return jnp.mean(jnp.sum((counts / num_agents - mean_fields) ** 2, axis=-1))

    return jax.lax.map(one, jax.random.split(key, replicates))


def _fit(sizes: tuple[int, ...], squares: list[np.ndarray]) -> Rate:
    replicates = np.array([len(square) for square in squares])
    means = np.array([square.mean() for square in squares])
    freedom = int((replicates - 1).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = sum(((square / mean - 1) ** 2).sum() for square, mean in zip(squares, means, strict=True)) / freedom
        x, y = np.log(sizes), np.log(means) / 2
    centred = x - np.average(x, weights=replicates)
    spread = (replicates * centred**2).sum()
    rate = -float((replicates * centred * y).sum() / spread)
    stderr = float(np.sqrt(variance / 4 / spread))
    margin = float(student_margin(stderr, freedom))
    return Rate(sizes, tuple(np.sqrt(s) for s in squares), np.sqrt(means), rate, stderr, rate - margin, rate + margin)
