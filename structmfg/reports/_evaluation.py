"""Measure a policy: its return, its exploitability of every kind, and the reference values to compare it with."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_integer, check_name, check_positive, check_seed
from structmfg.evaluation import (
    BestResponse,
    Estimate,
    ExploitabilityBounds,
    GainsOverTime,
    Information,
    Kind,
    best_response,
    clairvoyant_response,
    evaluate_paths,
    exploitability,
    exploitability_bounds,
)
from structmfg.games import Game, NoisePaths, check_definition, noise_paths, noise_tree
from structmfg.policies import Policy, TreePolicy, uniform
from structmfg.reports._published import Published, published
from structmfg.solvers import RESULTS, Solution
from structmfg.solvers.exact import ExactEquilibrium
from structmfg.solvers.loop import Progress, solve

KINDS: tuple[str, ...] = get_args(Kind)

HELD_OUT_PATHS = 32
TRAINING_PATHS = 8  # held-out paths at a checkpoint, and for the uniform policy, where the noise is continuous
_MAX_GAINS = 2**26  # numbers in double precision, half a GiB
_FLOOR_TOLERANCE = 1e-8  # of the exact equilibrium, relative to the uniform policy's exploitability
_FLOOR_ACCEPTED = 1e-6  # the largest exploitability at which it still serves as the floor, relative to the same
_FLOOR_MAX_STEPS = 2000
_FLOOR_PATIENCE = 10.0  # seconds after which the search is given up where it will not get there in its time
_FLOOR_WORK = 3e9  # at most so many steps times nodes times states times actions, which take some seconds
_HELD_OUT_SEED = 0x68656C64  # of the held-out keys; a training key is key(seed) itself


class OfPopulation(NamedTuple):
    """What was measured of the agents of one of several populations.

    Attributes:
        mass: The share of all agents.
        mean_return: The mean return of its agents.
        exploitability: By kind, what one of them gains; only those that were measured.
    """

    mass: float
    mean_return: Estimate
    exploitability: dict[str, Estimate]


class Evaluation(NamedTuple):
    """What was measured of a policy.

    Attributes:
        mean_return: The mean return, with its standard error (0 where exact).
        exploitability: By kind; None where it was not asked for or is not defined.
        num_paths: The number of noise paths.
        exact: Whether these are all paths.
        seed: The seed of the held-out paths.
        gains: By kind, the gains of best responses by state and time, where they come with the exploitability.
        populations: What was measured of each of several populations, by name; else empty.
        bounds: Bounds of the non-anticipative exploitability, where the noise is not finite; else None.
        no_bounds: Why there are none although the noise is not finite; else empty.
    """

    mean_return: Estimate
    exploitability: dict[str, Estimate | None]
    num_paths: int
    exact: bool
    seed: int
    gains: Mapping[str, GainsOverTime] = MappingProxyType({})
    populations: Mapping[str, OfPopulation] = MappingProxyType({})
    bounds: ExploitabilityBounds | None = None
    no_bounds: str = ""

    @property
    def non_anticipative(self) -> tuple[float, float] | None:
        """Lower and upper bound of the non-anticipative exploitability, equal where it is exact; None if not known."""
        if estimate := self.exploitability["non_anticipative"]:
            return estimate.value, estimate.value
        return (self.bounds.lower.value, self.bounds.upper.value) if self.bounds else None


class ReferenceValues(NamedTuple):
    """What the exploitability of a policy is compared with.

    Attributes:
        uniform: The exploitability of the uniform policy by kind; None where it is not known.
        floor: The exploitability of the exact equilibrium by kind; None where it is not known.
        information: What that equilibrium knows, which is what the run's policy knows.
        paper: The figure of the paper, or None.
        missing: Why a value is missing, by "uniform KIND" or "floor KIND", or "floor" for all kinds.
    """

    uniform: dict[str, Estimate | None]
    floor: dict[str, float | None]
    information: Information
    paper: Published | None
    missing: Mapping[str, str] = MappingProxyType({})


def held_out_key(seed: int = 0) -> PRNGKeyArray:
    """The key of the held-out noise paths, which are the same for all runs unless another `seed` is chosen."""
    return jax.random.fold_in(jax.random.key(_HELD_OUT_SEED), check_seed(seed))


def evaluate(
    game: Game, policy: Policy, *, kinds: Sequence[str] | None = None, num_paths: int = HELD_OUT_PATHS, seed: int = 0
) -> Evaluation:
    """Measure return and exploitability: exactly where the noise is finite, else over held-out noise paths.

    Where the noise is not finite, the non-anticipative exploitability is bounded (`evaluation.exploitability_bounds`).

    Args:
        game: The game.
        policy: The policy.
        kinds: The kinds of exploitability; None for all that are defined for the game.
        num_paths: The number of held-out paths.
        seed: The seed of the held-out paths.

    Raises:
        ValueError: A kind is unknown or not defined for the game, or there are fewer than two paths.
    """
    num_paths = check_integer("num_paths", num_paths, at_least=2)
    check_seed(seed)
    for kind in kinds or ():
        check_name("kind of exploitability", kind, KINDS)
    if game.horizon is None:  # nothing is random for all, so all kinds are one
        response = best_response(game, policy)
        measured = dict.fromkeys(kinds or KINDS, Estimate(response.exploitability, 0.0))
        return Evaluation(Estimate(response.mean_return, 0.0), dict.fromkeys(KINDS) | measured, 1, True, seed)
    scenarios = game.scenarios()
    if scenarios is not None:
        return _evaluate_exactly(game, policy, kinds, scenarios.num_paths, seed)
    return _evaluate_sampled(game, policy, kinds, num_paths, seed)


def _evaluate_sampled(game: Game, policy: Policy, kinds: Sequence[str] | None, num_paths: int, seed: int) -> Evaluation:
    key = held_out_key(seed)
    sampled: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    response: BestResponse | None = None
    bounds, no_bounds = None, ""
    for kind in ("clairvoyant", "non_anticipative") if kinds is None else kinds:
        if kind == "non_anticipative":
            try:
                bounds = exploitability_bounds(game, policy, key=key, num_paths=num_paths)
            except ValueError as error:
                if kinds is not None:
                    raise
                no_bounds = str(error)
        elif kind == "clairvoyant":
            response = _clairvoyant(game, policy, _held_out_paths(game, key, num_paths))
            sampled[kind] = Estimate.of(response.by_path)
        else:
            sampled[kind] = _exploitability(game, policy, kind, key, num_paths)
    gains: dict[str, GainsOverTime] = {}
    if response is not None:  # of the same paths, so that they need not be followed again
        returns, by_population = response.returns, response.returns_by_population_and_path
        gained = {"clairvoyant": response.by_population_and_path}
        if response.over_time is not None:
            gains["clairvoyant"] = response.over_time
    else:
        along = evaluate_paths(game, policy, noise_paths(game, key=key, num_paths=num_paths).noise)
        returns, by_population = jax.tree.map(np.asarray, (along.returns, along.by_population))
        gained = {}
    populations = {
        each.name: OfPopulation(
            each.mass,
            Estimate.of(by_population[each.name]),
            {kind: Estimate.of(by_name[each.name]) for kind, by_name in gained.items()},
        )
        for each in game.populations
    }
    return Evaluation(Estimate.of(returns), sampled, num_paths, False, seed, gains, populations, bounds, no_bounds)


def keeps_gains(game: Game, num_paths: int) -> bool:
    """Whether the gains from every time on, along so many sampled noise paths, are few enough to be kept."""
    return num_paths * game.horizon * game.num_states <= _MAX_GAINS


def _held_out_paths(game: Game, key: PRNGKeyArray, num_paths: int) -> NoisePaths:
    check_definition(game, sampled=False)
    return noise_paths(game, key=key, num_paths=num_paths, sampling="iid")


def _clairvoyant(game: Game, policy: Policy, paths: NoisePaths) -> BestResponse:
    """The clairvoyant best response on sampled paths, as of `exploitability`, with gains over time if they fit."""
    return clairvoyant_response(game, policy, paths, over_time=keeps_gains(game, paths.num_paths))


def _evaluate_exactly(game: Game, policy: Policy, kinds: Sequence[str] | None, num_paths: int, seed: int) -> Evaluation:
    measured: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    gains: dict[str, GainsOverTime] = {}
    responses: dict[str, BestResponse] = {}
    informed = isinstance(policy, TreePolicy) and policy.informed
    default = [kind for kind in KINDS if not (informed and kind == "public")]  # an informed policy knows more
    for kind in default if kinds is None else kinds:
        try:
            response = best_response(game, policy, kind=kind)  # type: ignore[arg-type]
        except ValueError:  # no perfect recall
            if kinds is not None:
                raise
        else:
            measured[kind], responses[kind] = Estimate(response.exploitability, 0.0), response
            if response.over_time is not None:
                gains[kind] = response.over_time
    populations = {
        each.name: OfPopulation(
            each.mass,
            Estimate(response.returns_by_population[each.name], 0.0),
            {kind: Estimate(found.by_population[each.name], 0.0) for kind, found in responses.items()},
        )
        for each in game.populations
    }
    return Evaluation(Estimate(response.mean_return, 0.0), measured, num_paths, True, seed, gains, populations)


def _exploitability(
    game: Game, policy: Policy, kind: str, key: PRNGKeyArray | None = None, num_paths: int = HELD_OUT_PATHS
) -> Estimate:
    return exploitability(game, policy, kind=kind, key=key, num_paths=num_paths)  # type: ignore[arg-type]


def checkpoint_evaluation(game: Game) -> Callable[[Policy], Estimate]:
    """A function that measures clairvoyant exploitability during training, on few paths where noise is continuous."""
    key = held_out_key()
    if game.horizon is None or game.scenarios() is not None:
        return lambda policy: _exploitability(game, policy, "clairvoyant", key, TRAINING_PATHS)
    paths = _held_out_paths(game, key, TRAINING_PATHS)
    # By the program of `evaluate`, so that it is compiled once.
    return lambda policy: Estimate.of(_clairvoyant(game, policy, paths).by_path)


def reference_values(
    game: Game,
    solver: str,
    *,
    kinds: Sequence[str],
    information: Information = "public",
    max_seconds: float | None = 60.0,
    log: Callable[[str], None] | None = None,
    found: Solution | None = None,
) -> ReferenceValues:
    """Measure what to compare exploitabilities of these kinds with; `missing` says why a value is not there.

    Args:
        game: The game.
        solver: The solver by name, for the figure of the paper.
        kinds: The kinds of exploitability; one that is not defined for the game is left out.
        information: What the exact equilibrium knows, whose exploitability is the floor.
        max_seconds: The time limit of the search for it, without compilation; None leaves only the limit of its steps.
        log: Called with a sentence before every part that may take long.
        found: What a solver on the noise tree found with this information: where it is near enough to the exact
            equilibrium it is taken for that, and none is searched.

    Raises:
        ValueError: A kind is unknown, or a number is out of range.
    """
    for kind in kinds:
        check_name("kind of exploitability", kind, KINDS)
    if max_seconds is not None:
        max_seconds = check_positive("max_seconds", max_seconds)
    log = log or (lambda message: None)
    policy, key = uniform(game), held_out_key()
    missing: dict[str, str] = {}
    measured: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    for kind in kinds:
        log(f"measuring the uniform policy: {kind}")
        try:
            measured[kind] = _exploitability(game, policy, kind, key, TRAINING_PATHS)
        except ValueError as error:  # not defined for this game
            missing[f"uniform {kind}"] = str(error)
    scale = max((estimate.value for estimate in measured.values() if estimate), default=1.0)
    floor: dict[str, float | None] = dict.fromkeys(KINDS)
    try:
        floor |= _floor(game, kinds, information, scale, max_seconds, log, found)
    except ValueError as error:
        missing["floor"] = str(error)
    else:
        missing |= {f"floor {kind}": f"{kind} is not defined for this game" for kind in kinds if floor[kind] is None}
    return ReferenceValues(measured, floor, information, published(game, solver), missing)


def _floor(
    game: Game,
    kinds: Sequence[str],
    information: Information,
    scale: float,
    max_seconds: float | None,
    log: Callable[[str], None],
    found: Solution | None,
) -> dict[str, float | None]:
    """The exploitability of the exact equilibrium by kind. `ValueError` where it is not found well enough."""
    if game.horizon is None:
        raise ValueError("no floor is sought where nothing is random for all: every equilibrium has exploitability 0")
    accepted = _FLOOR_ACCEPTED * scale
    if found is None or _certified(found) > accepted:
        found = _search(game, information, scale, accepted, max_seconds, log)
    if found.result is RESULTS.uncertified:
        raise ValueError(f"the exact equilibrium is not certified: {found.result.value}")
    if (reached := _certified(found)) > accepted:
        got = f"{reached:.3g}" if math.isfinite(reached) else "nothing finite"
        raise ValueError(
            f"the exact equilibrium was not found: its exploitability must be at most {accepted:.3g}, but after "
            f"{found.stats['steps']} steps and {found.stats['train_seconds']:.0f} s it is {got}"
        )
    floor: dict[str, float | None] = {}
    own_kind = "public" if information == "public" else "non_anticipative"
    for kind in kinds:
        if kind == own_kind:
            floor[kind] = 0.0
            continue
        log(f"measuring the floor: {kind}")
        try:
            floor[kind] = _exploitability(game, found.policy, kind).value
        except ValueError:  # not defined for this game
            floor[kind] = None
    return floor


def _certified(solution: Solution) -> float:
    """The exploitability that a solver on the noise tree certifies; infinite where it certifies none."""
    reached = solution.stats.get("exploitability")
    nothing = solution.result in (RESULTS.uncertified, RESULTS.nonfinite, RESULTS.invalid)
    return math.inf if nothing or reached is None or not reached >= 0 else float(reached)


def _search(
    game: Game,
    information: Information,
    scale: float,
    accepted: float,
    max_seconds: float | None,
    log: Callable[[str], None],
) -> Solution:
    """The exact equilibrium, or how near to it the search came in its time, or until it is hopeless to be accepted."""
    solver = ExactEquilibrium(tolerance=max(_FLOOR_TOLERANCE * scale, 1e-12), information=information)
    log("compiling the search for the floor")
    tree = noise_tree(game, pad_levels=information == "public")
    steps = int(_FLOOR_WORK / (tree.num_decisions * game.num_states * game.num_actions))
    steps = min(max(steps, 1), _FLOOR_MAX_STEPS)

    seen = list[tuple[float, float]]()

    def follow(progress: Progress) -> None:
        log(f"searching the floor: {progress.step}/{progress.max_steps}, exploitability {progress.exploitability:.3g}")
        now = progress.train_seconds
        left = now * (progress.max_steps - progress.step) / max(progress.step, 1)
        left = left if max_seconds is None else min(left, max_seconds - now)
        seen.append((now, float(progress.exploitability or 0.0)))
        if now >= _FLOOR_PATIENCE and is_hopeless(seen, accepted, left):
            raise KeyboardInterrupt  # which ends the search alone

    return solve(game, solver, max_steps=steps, max_seconds=max_seconds, callback=follow, throw=False)


def is_hopeless(seen: Sequence[tuple[float, float]], wanted: float, left: float) -> bool:
    """Whether a search will not reach a level, not even if its logarithm falls twice as fast as since half of the time.

    Args:
        seen: Pairs of the seconds since the beginning and the level then, in order of time.
        wanted: The level that is wanted.
        left: The seconds that are left.
    """
    seconds, level = seen[-1]
    before = next((value for time, value in reversed(seen) if time <= seconds / 2), None)
    if before is None or level <= wanted:
        return False
    pace = min(level / before, 1.0)
    return bool(level * pace ** (2 * left / (seconds / 2)) > wanted)
