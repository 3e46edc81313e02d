"""`fuzz`: the laws at points that hypothesis chooses, at a game's edges too, and the simplest that breaks one."""

import contextlib
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from structmfg._checks import check_integer, check_seed, check_shape
from structmfg.games import AggregateState, Game, as_game, check_game
from structmfg.operators import TransitionKernel
from structmfg.verification._check import CheckResult, check
from structmfg.verification.laws import KERNEL_LAWS, Probe, rounding

if TYPE_CHECKING:  # hypothesis is imported by the first call
    from structmfg.verification._points import Point

_SHRINKS = 150  # points tried to make the counter-example of one law simpler

# Compiled once for all points.
_kernel = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate))
_moved = eqx.filter_jit(lambda kernel, policy, mean_field: kernel.under(policy).T.mv(mean_field))
_reward = eqx.filter_jit(lambda game, aggregate, following: game.reward(aggregate, following))
_observe = eqx.filter_jit(lambda game, aggregate: game.observe(aggregate))


class _Place(NamedTuple):
    """What there is at a point."""

    game: Game
    aggregate: AggregateState
    following: AggregateState
    kernel: TransitionKernel
    probe: Probe


def fuzz(game: Game, num_examples: int = 100, *, seed: int = 0) -> list[CheckResult]:
    """Check a game at up to `num_examples` points (time, noise path, mean field, policy) chosen by hypothesis.

    The mean field is any, reached by a policy or not: uniform, random, or all mass in one or two states; policies are
    mixed or pure; noise paths are scenarios, or have innovations far out. At every point the laws of kernels hold for
    random vectors, the mean field one step later is a distribution, and rewards and observations are finite.

    One result a check, with the worst value over all points. Where a check fails, `where` tells the simplest point at
    which it does: hypothesis takes simpler ones for as long as they fail too. The same seed gives the same points.
    Nothing the game raises gets out. Raises `ValueError` on bad arguments.
    """
    game = as_game(game)
    check_game(game)
    num_examples, seed = check_integer("num_examples", num_examples, at_least=1), check_seed(seed)
    worst: dict[str, tuple[CheckResult, Point]] = {}
    seen: dict[tuple[str, Point], CheckResult] = {}

    def look(point: "Point") -> bool:
        for result in _results(game, point):
            seen[result.name, point] = result
            if result.name not in worst or _severity(result) > _severity(worst[result.name][0]):
                worst[result.name] = (result, point)
        return False

    drawn = points_can_be_drawn(game, lambda: _search(game, look, num_examples, seed))
    if not drawn.passed:
        return [drawn]
    found = []
    for name, (result, point) in worst.items():
        if result.passed:
            found.append(result._replace(where=_told(game, result, point)))
        else:
            simplest = _simplest(game, name, num_examples, seed, seen) or point
            told = f"simplest point found: {_told(game, seen[name, simplest], simplest)}"
            found.append(result._replace(where=told))
    return found


@check("points can be drawn: the game tells whether its noise is finite")
def points_can_be_drawn(game: Game, draw: Callable[[], object]) -> tuple[float, float]:
    """Zero; raises otherwise."""
    draw()
    return 0, 0


def _simplest(
    game: Game, name: str, num_examples: int, seed: int, seen: dict[tuple[str, "Point"], CheckResult]
) -> "Point | None":
    """The simplest point at which a check fails, within `_SHRINKS` points that were not seen before."""
    left = _SHRINKS

    def fails(point: "Point") -> bool:
        nonlocal left
        if (name, point) not in seen and left:
            left -= 1
            for result in _results(game, point):
                if result.name == name:
                    seen[name, point] = result
                    break
        return (name, point) in seen and not seen[name, point].passed

    return _search(game, fails, num_examples, seed)


def _search(game: Game, condition: Callable[["Point"], bool], num_examples: int, seed: int) -> "Point | None":
    """The simplest point hypothesis finds that fulfils a condition, None if there was none; quietly."""
    import hypothesis
    from hypothesis.errors import NoSuchExample

    from structmfg.verification._points import points

    settings = hypothesis.settings(
        max_examples=num_examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    with _no_folder():
        try:
            return hypothesis.find(points(game), condition, settings=settings, random=random.Random(seed))
        except NoSuchExample:
            return None


@contextlib.contextmanager
def _no_folder() -> Iterator[None]:
    """What hypothesis keeps goes to a temporary folder instead of .hypothesis in the current one."""
    from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

    before = storage_directory(intent_to_write=False).home_directory
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(before)


def _severity(result: CheckResult) -> tuple[bool, float]:
    """By which results of one check are compared: failed before passed, then by the share of the bound."""
    share = result.value / result.bound if result.bound else result.value
    return not result.passed, math.inf if math.isnan(share) else share


def _told(game: Game, result: CheckResult, point: "Point") -> str:
    said = f"; {result.where}" if result.where else ""
    return f"{point.words(game)}: {result.value:.2e}{said}"


def _results(game: Game, point: "Point") -> Iterator[CheckResult]:
    """All checks at a point, made as they are asked for; only the first where there is no kernel."""
    reached: list[_Place] = []

    @check("a kernel of the game's size can be made at every point")
    def kernels_can_be_made() -> tuple[float, float]:
        reached.append(_place(game, point))
        return 0, 0

    yield kernels_can_be_made()
    for place in reached:
        yield from (law(place.kernel, place.probe) for law in KERNEL_LAWS)
        yield from (check(place) for check in (following_is_a_distribution, rewards_are_finite, observation_is_finite))


def _place(game: Game, point: "Point") -> _Place:
    now, later = point.noise(game)
    aggregate = game.aggregate(mean_field=point.mean_field(game), noise=now, time=point.time)
    kernel = _kernel(game, aggregate)
    if (kernel.num_states, kernel.num_actions) != (game.num_states, game.num_actions):
        raise ValueError(
            f"the kernel must have the game's {game.num_states} states and {game.num_actions} actions, but has "
            f"{kernel.num_states} and {kernel.num_actions}"
        )
    probe = point.probe(game)
    moved = _moved(kernel, probe.policy, aggregate.mean_field)
    return _Place(game, aggregate, AggregateState(moved, later, aggregate.time + 1), kernel, probe)


@check("mu' = (A^pi)^T mu is finite, nonnegative and sums to one")
def following_is_a_distribution(place: _Place) -> tuple[float, float]:
    """The distance of the sum from one, or the depth below zero."""
    mean_field = np.asarray(place.following.mean_field, np.float64)
    bound = rounding(place.game.num_states * place.game.num_actions, place.kernel, place.probe, place.following)
    return np.maximum(abs(mean_field.sum() - 1), -mean_field.min()), bound


@check("rewards have shape (S, A) and are finite")
def rewards_are_finite(place: _Place) -> tuple[float, float, str]:
    """The number of entries that are not."""
    rewards = _reward(place.game, place.aggregate, place.following)
    check_shape("rewards", rewards, (place.game.num_states, place.game.num_actions))
    wrong = np.argwhere(~np.isfinite(rewards))
    return len(wrong), 0, f"state {wrong[0][0]}, action {wrong[0][1]}" if len(wrong) else ""


@check("the observation, and as networks see it, has shape (obs_dim,) and is finite")
def observation_is_finite(place: _Place) -> tuple[float, float]:
    """The number of entries that are not."""
    observation = _observe(place.game, place.aggregate)
    both = {"the observation": observation, "the normalised observation": place.game.normalise(observation)}
    for name, array in both.items():
        check_shape(name, array, (place.game.observation_size,))
    return sum(float(jnp.sum(~jnp.isfinite(array))) for array in both.values()), 0
