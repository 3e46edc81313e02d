"""The stages of `verify`: each turns a task into checks, with what the report draws of them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from structmfg.games import Game, check_game
from structmfg.operators import TransitionKernel
from structmfg.solvers._evaluation import policy_gradient, policy_values, rollout
from structmfg.verification import laws
from structmfg.verification._check import CheckResult, check
from structmfg.verification._report import Stage
from structmfg.verification.laws._gradients import rspg_descent

_kernel = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate))


class Methods(NamedTuple):
    """The package's own functions verified beside a game; the self-test puts faulty ones in their place."""

    rollout: Callable[..., Any] = rollout
    policy_values: Callable[..., Any] = policy_values
    policy_gradient: Callable[..., Any] = policy_gradient
    descent: Callable[..., Any] = rspg_descent


class Task(NamedTuple):
    """What is to be verified, and how much of it."""

    game: Game
    key: PRNGKeyArray
    num_points: int
    methods: Methods


def worst_of(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """One result for every name: that which failed first, else that which came nearest to its bound."""
    kept: dict[str, CheckResult] = {}
    for result in results:
        known = kept.get(result.name)
        if known is None or (known.passed and (not result.passed or _share(result) > _share(known))):
            kept[result.name] = result
    return tuple(kept.values())


def _share(result: CheckResult) -> float:
    return result.value / result.bound if result.bound else result.value


def _at(place: str, result: CheckResult) -> CheckResult:
    return result._replace(where=f"{place}: {result.where}" if result.where else place)


@check("states, actions and horizon are whole numbers, the discount lies in (0, 1], and the game can be hashed")
def sizes_make_sense(game: Game) -> tuple[float, float]:
    """Zero; raises otherwise."""
    check_game(game)
    hash(game)
    return 0, 0


def sizes(task: Task) -> Stage:
    """What everything else rests on."""
    return Stage("Sizes", (sizes_make_sense(task.game),))


def kernels_and_paths(task: Task) -> Stage:
    """The laws along random paths, in the default precision, and of the kernels at times spread over 0..T-1."""
    results = [result for number in range(task.num_points) for result in _along_a_path(task, number)]
    return Stage("Laws of kernels and paths", worst_of(results))


def _along_a_path(task: Task, number: int) -> list[CheckResult]:
    """Only the first result where the path cannot be followed."""
    game, (path_key, probe_key) = task.game, jax.random.split(jax.random.fold_in(task.key, number))
    time = round(number * (game.horizon - 1) / max(task.num_points - 1, 1))
    reached: list[tuple[laws.Path, TransitionKernel]] = []

    @check("the mean field can be followed along a random path, by kernels of the game's states and actions")
    def path_can_be_followed() -> tuple[float, float]:
        path = laws.random_path(game, path_key, unroll=task.methods.rollout)
        kernel = _kernel(game, path.at(time))
        sizes, needed = (kernel.num_states, kernel.num_actions), (game.num_states, game.num_actions)
        if sizes != needed:
            raise ValueError(f"the kernel must have the game's (states, actions) = {needed}, but has {sizes}")
        reached.append((path, kernel))
        return 0, 0

    results = [_at(f"path {number}", path_can_be_followed())]
    for path, kernel in reached:
        along = [law(game, path) for law in (laws.path_of_distributions, laws.rewards_are_finite)]
        along += [laws.observations_are_finite(game, path), laws.aggregates_tell_all(game, path, time)]
        results += [_at(f"path {number}", result) for result in along]
        at = laws.probe(kernel, probe_key)._replace(policy=path.policy[time])
        results += [
            _at(f"path {number}, t = {time}", law(kernel, at)) for law in (*laws.KERNEL_LAWS, *laws.OPERATOR_LAWS)
        ]
    return results


def evaluation(task: Task) -> Stage:
    """The laws of policy evaluation and of gradients, in double precision."""
    game, methods = task.game, task.methods
    with jax.enable_x64(True):
        path_key, *keys = jax.random.split(task.key, 3)
        path = laws.random_path(game, path_key, unroll=methods.rollout)
        results = (
            laws.return_both_ways(game, path, evaluate=methods.policy_values),
            laws.values_are_sums_of_products(game, path, evaluate=methods.policy_values),
            laws.forms_agree_along_the_path(game, path),
            laws.paths_side_by_side(game, path),
            laws.gradient_is_a_difference_quotient(game, keys[0], gradient=methods.policy_gradient),
            laws.no_gradient_through_the_mean_field(game, keys[1], descent=methods.descent),
        )
    return Stage("Laws of evaluation and gradients, in double precision", results)
