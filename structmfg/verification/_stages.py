"""The stages of `verify`: each makes the checks of a task that belong together, with their tables and pictures."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from structmfg._pages import Picture
from structmfg.evaluation import policy_gradient, policy_values, rollout
from structmfg.games import Game, check_game, check_kernel
from structmfg.operators import TransitionKernel
from structmfg.policies import TabularPolicy, uniform
from structmfg.verification import laws, oracles, populations, variance
from structmfg.verification._against_library import library_of, matches_library
from structmfg.verification._against_oracle import matches_oracle
from structmfg.verification._check import CheckResult, check
from structmfg.verification._compiled import kernel_at
from structmfg.verification._figures import population_figures
from structmfg.verification._fuzz import fuzz
from structmfg.verification._private_history import value_of_private_history
from structmfg.verification._report import Stage, Table
from structmfg.verification.laws import rspg_loss_gradient
from structmfg.verification.oracles import PrivateHistory
from structmfg.verification.variance import figures, variance_study

LIBRARY = "The library that the game comes from"


class Methods(NamedTuple):
    """The package's functions that are verified together with a game; the self-test replaces them by faulty ones."""

    rollout: Callable[..., Any] = rollout
    policy_values: Callable[..., Any] = policy_values
    policy_gradient: Callable[..., Any] = policy_gradient
    loss_gradient: Callable[..., Any] = rspg_loss_gradient


class Task(NamedTuple):
    """What is to be verified, and how thoroughly; see `verify` for the fields."""

    game: Game
    key: PRNGKeyArray
    num_points: int = 3
    deep: bool = False
    fuzz: int = 0
    model: oracles.Model | None = None
    level: float = 1e-3
    methods: Methods = Methods()
    samples: populations.SampleSizes | None = None

    @property
    def statistical_level(self) -> float:
        """The nominal level of one statistical check: by Bonferroni's inequality, all together have `level` at most."""
        return (
            self.level
            / populations.LEVEL_INFLATION
            / (populations.NUM_TESTS + (variance.NUM_TESTS if self.deep else 0))
        )


def stage(title: str) -> Callable[[Callable[[Task], Stage]], Callable[[Task], Stage]]:
    """Give a stage its title; an error that it raises (of a game that needs single precision, say) fails a check."""

    def decorate(work: Callable[[Task], Stage]) -> Callable[[Task], Stage]:
        @functools.wraps(work)
        def run(task: Task) -> Stage:
            done: list[Stage] = []

            @check("this part of the verification runs to its end")
            def runs_to_its_end() -> tuple[float, float]:
                done.append(work(task))
                return 0, 0

            failed = runs_to_its_end()
            return done[0]._replace(title=title) if done else Stage((failed,), title)

        return run

    return decorate


def worst_of(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """One result for every name: the first that failed, else the one nearest to its bound."""
    worst: dict[str, CheckResult] = {}
    for result in results:
        known = worst.get(result.name)
        if known is None or (known.passed and (not result.passed or _share(result) > _share(known))):
            worst[result.name] = result
    return tuple(worst.values())


def _share(result: CheckResult) -> float:
    return result.value / result.bound if result.bound else result.value


def _at(place: str, result: CheckResult) -> CheckResult:
    """The result with its place; the law's own words are kept only where it failed."""
    return result._replace(where=place if result.passed else f"{place}: {result.where}")


@check("states, actions and horizon are whole numbers, the discount lies in (0, 1], and the game can be hashed")
def sizes_make_sense(game: Game) -> tuple[float, float]:
    """Return zero, or raise if that is not so."""
    check_game(game)
    hash(game)
    return 0, 0


@stage("Sizes")
def sizes(task: Task) -> Stage:
    """The sizes of the game, which everything else rests on."""
    return Stage((sizes_make_sense(task.game),))


@stage("Laws of kernels and paths")
def kernels_and_paths(task: Task) -> Stage:
    """The laws along random paths, in the default precision, and of the kernels at times spread over 0..T-1."""
    results = [result for number in range(task.num_points) for result in _along_a_path(task, number)]
    return Stage(worst_of(results))


def _along_a_path(task: Task, number: int) -> list[CheckResult]:
    """The laws along one random path; only the first result where the path cannot be followed."""
    game, (path_key, probe_key) = task.game, jax.random.split(jax.random.fold_in(task.key, number))
    time = round(number * (game.horizon - 1) / max(task.num_points - 1, 1))
    followed: list[tuple[laws.AggregatePath, TransitionKernel]] = []

    @check("the mean field can be followed along a random path, by kernels of the game's states and actions")
    def path_can_be_followed() -> tuple[float, float]:
        table = uniform(game).table[0]
        start = eqx.filter_eval_shape(lambda: game.decide(game.initial(path_key), lambda _: (table, None))[0])
        check_kernel(game, eqx.filter_eval_shape(game.kernel, start))
        path = laws.random_path(game, path_key, unroll=task.methods.rollout)
        followed.append((path, kernel_at(game, path.at(time))))
        return 0, 0

    results = [_at(f"path {number}", path_can_be_followed())]
    for path, kernel in followed:
        along = [laws.path_of_distributions(game, path), laws.rows_along_the_path(game, path)]
        along += [laws.rewards_are_finite(game, path), laws.observations_are_finite(game, path)]
        along += [laws.declared_parts_hold(game, path)] if game.declared else []
        along += [laws.noise_is_finite(game, probe_key), laws.aggregates_are_sufficient(game, path, time)]
        results += [_at(f"path {number}", result) for result in along]
        drift = laws.mass_over_many_moves(game, path)
        results.append(drift._replace(where=f"path {number}: {drift.where}"))  # the drift is shown where it passes, too
        at = laws.probe(kernel, probe_key)._replace(policy=path.policy[time])
        results += [
            _at(f"path {number}, t = {time}", law(kernel, at)) for law in (*laws.KERNEL_LAWS, *laws.OPERATOR_LAWS)
        ]
    return results


@stage("Laws of evaluation and gradients, in double precision")
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
            laws.no_gradient_through_the_mean_field(game, keys[1], loss_gradient=methods.loss_gradient),
        )
    return Stage(tuple(result._replace(where="") if result.passed else result for result in results))


@stage("The definition, in plain NumPy with loops")
def definition(task: Task) -> Stage:
    """The game against its definition in plain NumPy, at the first and the last step of a path; of all if deep."""
    assert task.model is not None
    game, results = task.game, []
    for number in range(task.num_points if task.deep else 1):
        path_key, key = jax.random.split(jax.random.fold_in(task.key, 100 + number))
        with jax.enable_x64(True):
            path = laws.random_path(game, path_key)
            for time in {0, game.horizon - 1}:
                compared = matches_oracle(game, task.model, path.at(time), path.at(time + 1), key=key)
                results += [_at(f"path {number}", result) for result in compared]
    return Stage(worst_of(results))


@stage(LIBRARY)
def library(task: Task) -> Stage:
    """Two policies, measured by the library's own code; empty where the game comes from none that measures them."""
    found = library_of(task.game)
    if found is None:
        return Stage(())
    return Stage(worst_of(matches_library(found, jax.random.fold_in(task.key, 400))))


@stage("Monte Carlo populations")
def monte_carlo(task: Task) -> Stage:
    """Populations of agents who move one by one, by the game's own `move_agents` where it has one."""
    game, level = task.game, task.statistical_level
    path_key, key = jax.random.split(jax.random.fold_in(task.key, 200))
    path = laws.random_path(game, path_key)
    samples = task.samples or (populations.DEEP if task.deep else populations.FAST)
    study = populations.study(game, TabularPolicy(path.policy), path.noise, key=key, level=level, samples=samples)
    pictures: list[Picture] = []

    @check("figures of the populations can be drawn")
    def figures_can_be_drawn() -> tuple[float, float]:
        pictures.extend(population_figures(game, study, level))
        return 0, 0

    return Stage((*study.results, figures_can_be_drawn()), pictures=tuple(pictures))


@stage("Laws at points chosen by hypothesis")
def fuzzed(task: Task) -> Stage:
    """The laws at points chosen by hypothesis."""
    seed = int(jax.random.randint(task.key, (), 0, 2**31 - 1))
    return Stage(tuple(fuzz(task.game, task.fuzz, seed=seed)))


@stage("Variance of gradients and returns")
def variance_of_gradients(task: Task) -> Stage:
    """The variance of gradients and returns: exact integrals over states against sampled agents."""
    study = variance_study(task.game, key=jax.random.fold_in(task.key, 300), level=task.statistical_level)
    rows = [
        (
            "as RSPG chooses" if row.sampling == "own" else "independent",
            *(row.num_agents, row.baseline, row.seconds, row.variance.value),
            None if row.ratio is None else row.ratio.value,
        )
        for row in study.gradients
    ]
    header = ("noise paths", "agents on each", "baseline", "seconds", "variance / |mean|^2", "ratio to RSPG's")
    note = "Gradients in the parameters of the game's own network, at random ones; without agents: RSPG."
    table = Table("Variance of a gradient", header, rows, note)
    return Stage(study.results, tables=(table,), pictures=tuple(figures([study])))


@check("the best response that remembers its own states and actions is worth no less than the one that does not")
def memory_does_no_harm(value: PrivateHistory) -> tuple[float, float]:
    """The amount by which it is worth less, relative to its value."""
    return -value.loss / max(abs(value.with_history), 1.0), 1e-10


def history_table(title: str, values: Sequence[tuple[str, str, PrivateHistory]]) -> Table:
    """The table of the value of private history, a row for every game and population."""
    header = ("game", "population plays", "histories", "situations", "best with memory", "without", "lost")
    note = (
        "An agent's own past is a history of states and actions, of which there are exponentially many; a reduced "
        "policy, pi(a | s, o_0..o_t), knows the situation only. What is lost is zero where Assumption 2 of Wibault et "
        "al. 2026 (arXiv 2602.20141) holds for a best response: an agent's own past says nothing that is not public."
    )
    rows = [
        (game, plays, value.histories, value.situations, value.with_history, value.without_history, value.loss)
        for game, plays, value in values
    ]
    return Table(title, header, rows, note)


@stage("What an agent's own past is worth")
def private_history(task: Task) -> Stage:
    """The value of its own past to an agent among others who play at random; empty where it cannot be enumerated."""
    if task.game.scenarios() is None or task.game.declared & {"public", "actions", "price"}:
        return Stage(())
    try:
        value = value_of_private_history(task.game, uniform(task.game))
    except oracles.TooLargeError:
        return Stage(())
    table = history_table("Every individual history enumerated", [(type(task.game).__name__, "uniform", value)])
    return Stage((memory_does_no_harm(value),), tables=(table,))
