"""`fuzz`: the laws at points that hypothesis chooses, and the simplest point at which a law fails."""

import contextlib
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from structmfg._checks import check_integer, check_seed, check_shape
from structmfg.games import AggregateState, Game, as_game, check_game, truncated
from structmfg.operators import TransitionKernel
from structmfg.verification._check import CheckResult, check
from structmfg.verification._compiled import kernel_at, observation_at, reward_at
from structmfg.verification._points import Point
from structmfg.verification.laws import KERNEL_LAWS, Probe, rounding

_MAX_SHRINKS = 150  # points that are tried to make the counter-example of one law simpler

# Compiled once for all points.
_propagate = eqx.filter_jit(lambda kernel, policy, mean_field: kernel.under(policy).T.mv(mean_field))


class _Evaluated(NamedTuple):
    """What the checks need of a game at a point."""

    game: Game
    aggregate: AggregateState
    following: AggregateState
    kernel: TransitionKernel
    probe: Probe


def fuzz(game: Game, num_examples: int = 100, *, seed: int = 0) -> list[CheckResult]:
    """Check a game at points (time, noise path, mean field, policy) that hypothesis chooses, also at the game's edges.

    The mean field need not be one that a policy reaches: it is uniform, random, or has all mass in one or two states.
    Policies are mixed or pure. Noise paths are scenarios, or have innovations far in the tails. At every point the laws
    of kernels must hold for random vectors, the mean field one step later must be a distribution, and rewards and
    observations must be finite.

    Args:
        game: The game.
        num_examples: The largest number of points.
        seed: The same seed gives the same points.

    Returns:
        One result for every check, with the worst value over all points. Where a check fails, `where` names the
        simplest point at which it does: hypothesis looks for simpler points for as long as they fail too. An error
        that the game raises is a failed check.

    Raises:
        ValueError: If `game` is not a `Game`, or a number is out of range.
    """
    game = as_game(game)
    check_game(game)
    game = truncated(game, 1) if game.horizon is None else game  # it is the same at all times
    num_examples, seed = check_integer("num_examples", num_examples, at_least=1), check_seed(seed)
    worst: dict[str, tuple[CheckResult, Point]] = {}
    known: dict[tuple[str, Point], CheckResult] = {}

    def measure(point: Point) -> bool:
        for result in _results(game, point):
            known[result.name, point] = result
            if result.name not in worst or _severity(result) > _severity(worst[result.name][0]):
                worst[result.name] = (result, point)
        return False

    drawn = points_can_be_drawn(game, lambda: _search(game, measure, num_examples, seed))
    if not drawn.passed:
        return [drawn]
    results = []
    for name, (result, point) in worst.items():
        if result.passed:
            where = _describe(game, result, point)
        else:
            simplest = _simplest(game, name, num_examples, seed, known) or point
            where = f"simplest point found: {_describe(game, known[name, simplest], simplest)}"
        results.append(result._replace(where=where))
    return results


@check("points can be drawn: the game says whether its noise is finite")
def points_can_be_drawn(game: Game, draw: Callable[[], object]) -> tuple[float, float]:
    """Zero; it raises where no point can be drawn."""
    draw()
    return 0, 0


def _simplest(
    game: Game, name: str, num_examples: int, seed: int, known: dict[tuple[str, Point], CheckResult]
) -> Point | None:
    """The simplest point at which a check fails, within `_MAX_SHRINKS` new points."""
    left = _MAX_SHRINKS

    def fails(point: Point) -> bool:
        nonlocal left
        if (name, point) not in known and left:
            left -= 1
            for result in _results(game, point):
                if result.name == name:
                    known[name, point] = result
                    break
        return (name, point) in known and not known[name, point].passed

    return _search(game, fails, num_examples, seed)


def _search(game: Game, condition: Callable[[Point], bool], num_examples: int, seed: int) -> Point | None:
    """The simplest point hypothesis finds that fulfils a condition; None where it finds none."""
    import hypothesis
    from hypothesis.errors import NoSuchExample

    from structmfg.verification._point_strategy import points

    settings = hypothesis.settings(
        max_examples=num_examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    with _temporary_home():
        try:
            return hypothesis.find(points(game), condition, settings=settings, random=random.Random(seed))
        except NoSuchExample:
            return None


@contextlib.contextmanager
def _temporary_home() -> Iterator[None]:
    """Let hypothesis write to a temporary folder instead of .hypothesis in the current one."""
    from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

    before = storage_directory(intent_to_write=False).home_directory
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(before)


def _severity(result: CheckResult) -> tuple[bool, float]:
    """The order of the results of one check: failed before passed, then by the share of the bound."""
    share = result.value / result.bound if result.bound else result.value
    return not result.passed, math.inf if math.isnan(share) else share


def _describe(game: Game, result: CheckResult, point: Point) -> str:
    where = f"; {result.where}" if result.where else ""
    return f"{point.words(game)}: {result.value:.2e}{where}"


def _results(game: Game, point: Point) -> Iterator[CheckResult]:
    """All checks at a point, made one by one; only the first where there is no kernel."""
    evaluated: list[_Evaluated] = []

    @check("a kernel of the game's size can be made at every point")
    def kernels_can_be_made() -> tuple[float, float]:
        evaluated.append(_evaluate(game, point))
        return 0, 0

    yield kernels_can_be_made()
    for place in evaluated:
        yield from (law(place.kernel, place.probe) for law in KERNEL_LAWS)
        yield from (check(place) for check in (following_is_a_distribution, rewards_are_finite, observation_is_finite))


def _evaluate(game: Game, point: Point) -> _Evaluated:
    now, later = point.noise(game)
    aggregate = game.aggregate(mean_field=point.mean_field(game), noise=now, time=point.time)
    probe = point.probe(game)
    if game.declared:
        aggregate, policy, _ = game.decide(aggregate, lambda _: (probe.policy, None))
        probe = probe._replace(policy=policy)
    kernel = kernel_at(game, aggregate)
    if (kernel.num_states, kernel.num_actions) != (game.num_states, game.num_actions):
        raise ValueError(
            f"the kernel must have the game's {game.num_states} states and {game.num_actions} actions, but has "
            f"{kernel.num_states} and {kernel.num_actions}"
        )
    following = game.advance(aggregate, _propagate(kernel, probe.policy, aggregate.mean_field), later)
    return _Evaluated(game, aggregate, following, kernel, probe)


@check("mu' = (A^pi)^T mu is finite, nonnegative and sums to one")
def following_is_a_distribution(place: _Evaluated) -> tuple[float, float]:
    """The distance of the sum from one, or the depth below zero."""
    mean_field = np.asarray(place.following.mean_field, np.float64)
    bound = rounding(place.game.num_states * place.game.num_actions, place.kernel, place.probe, place.following)
    return np.maximum(abs(mean_field.sum() - 1), -mean_field.min()), bound


@check("rewards have shape (S, A) and are finite")
def rewards_are_finite(place: _Evaluated) -> tuple[float, float, str]:
    """The number of entries that are not finite."""
    rewards = reward_at(place.game, place.aggregate, place.following)
    check_shape("rewards", rewards, (place.game.num_states, place.game.num_actions))
    wrong = np.argwhere(~np.isfinite(rewards))
    return len(wrong), 0, f"state {wrong[0][0]}, action {wrong[0][1]}" if len(wrong) else ""


@check("the observation, and as networks see it, has shape (obs_dim,) and is finite")
def observation_is_finite(place: _Evaluated) -> tuple[float, float]:
    """The number of entries that are not finite."""
    observation = observation_at(place.game, place.aggregate.as_observed())
    both = {"the observation": observation, "the normalised observation": place.game.normalise(observation)}
    for name, array in both.items():
        check_shape(name, array, (place.game.observation_size,))
    return sum(float(jnp.sum(~jnp.isfinite(array))) for array in both.values()), 0
