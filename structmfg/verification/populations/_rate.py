"""The rate at which the empirical mean field of an interacting population approaches the mean field: N^(-1/2).

The error of a replicate is ||mu_hat_t - mu_t||_2, root mean square over t = 0..T. For large N its square is 1 / N times
a random variable whose law no longer depends on N, so all sizes share one relative variance c^2 of the squared error;
the log of the root mean square over R replicates has the variance c^2 / (4 R), and the slope follows by regression of
it on log N with weights R. (For independent agents the mean of N ||.||^2 is 1 - ||mu_t||^2 exactly.)

"Large" depends on the game. Where a handful of agents matters, such as the first infected of an epidemic, a hundred
agents are few: the law above is that of a game linearised at the mean field, and what is left out bends the line at its
lower end. So where the fitted rate is not 1/2, it is fitted anew at sizes that are ten times as large. An error that
does not vanish, or falls at another rate, shows the more at larger N.
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
from structmfg.games import Game, Noise, as_game
from structmfg.policies import Policy, as_policy
from structmfg.verification._check import check
from structmfg.verification._compiled import rollout
from structmfg.verification.populations._population import simulate_population

MAX_REPEATS = 100
TOLERANCE = 0.05
_ZERO_ERROR = 1e-6  # errors below count as rounding: far less than that of a million agents


class Rate(NamedTuple):
    """The fitted rate: errors fall as N^-`rate`.

    Attributes:
        sizes: The numbers of agents N.
        errors: The errors of all replicates, for every size.
        rms: The root mean squares of the errors, for every size.
        rate: The fitted rate.
        stderr: Its standard error.
        low: The lower end of its 95 % confidence interval.
        high: The upper end.
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
    largest: int = 10**5,
) -> Rate:
    """Fit the rate for one noise path, at larger sizes where it is not 1/2 at the given ones.

    Args:
        game: The game.
        policy: The policy of all agents.
        noise: The noise path z_0..z_T.
        key: Random key.
        sizes: The numbers of agents N.
        replicates: The number of replicates of each size.
        stderr: The standard error of the rate that is wanted. Where it is larger, as for games of few states and steps,
            the replicates are repeated, up to `MAX_REPEATS` times.
        largest: While the rate is not 1/2 within 0.05, it is fitted at sizes ten times as large, as long as two of them
            have no more than so many agents, or than the largest of `sizes`.

    Raises:
        ValueError: If there are not two different sizes, each with at least two replicates.
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
    mean_fields = rollout(game, policy, noise).aggregates.mean_field

    def repeat(number: int) -> list[np.ndarray]:
        runs = zip(sizes, replicates, jax.random.split(jax.random.fold_in(key, number), len(sizes)), strict=True)
        return [
            np.asarray(_squared_errors(game, policy, noise, mean_fields, size, count, k), float)
            for size, count, k in runs
        ]

    largest = max(largest, *sizes)
    while True:
        squares = repeat(0)
        wanted = (_fit(sizes, squares).stderr / stderr) ** 2
        more = [repeat(number) for number in range(1, int(np.ceil(np.nan_to_num(min(wanted, MAX_REPEATS), nan=1))))]
        rate = _fit(sizes, [np.concatenate(repeats) for repeats in zip(squares, *more, strict=True)])
        larger = [(10 * size, count) for size, count in zip(sizes, replicates, strict=True) if 10 * size <= largest]
        if not abs(rate.rate - 0.5) > TOLERANCE or len(larger) < 2:
            return rate
        sizes, replicates = zip(*larger, strict=True)


@check(
    "the empirical mean field of N interacting agents approaches the mean field as N^(-1/2); it need not where kernel "
    "or policy jump with the mean field"
)
def rate_is_one_half(rate: Rate) -> tuple[float, float, str]:
    """|rate - 1/2| <= 0.05."""
    if (rate.rms <= _ZERO_ERROR).all():
        return 0, TOLERANCE, f"no error at any N: nothing is random under this policy, N = {rate.sizes}"
    where = f"rate {rate.rate:.4f}, 95 % confidence interval ({rate.low:.4f}, {rate.high:.4f}), N = {rate.sizes}"
    return abs(rate.rate - 0.5), TOLERANCE, where


@eqx.filter_jit
def _squared_errors(
    game: Game, policy: Policy, noise: Noise, mean_fields: Array, num_agents: int, replicates: int, key: PRNGKeyArray
) -> Float[Array, " replicates"]:
    """The mean over t of ||mu_hat_t - mu_t||^2, for one replicate after the other."""

    def squared_error(key: PRNGKeyArray) -> Array:
        counts = simulate_population(game, policy, noise, num_agents=num_agents, key=key).counts
        return jnp.mean(jnp.sum((counts / num_agents - mean_fields) ** 2, axis=-1))

    return jax.lax.map(squared_error, jax.random.split(key, replicates))


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
