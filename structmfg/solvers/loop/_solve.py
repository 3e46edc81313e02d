"""The one loop that drives every solver: it compiles once, runs compiled chunks of steps, keeps the clock, and stops.

It drives a `Run`: the training of a network or a table, in JAX's default precision, or an iteration on a noise tree,
in double precision.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg._flags import own_rules
from structmfg._results import RESULTS
from structmfg.evaluation import Estimate, check_game_along, describe_nonfinite, sampled_steps
from structmfg.games import Game, as_game, check_definition, check_game
from structmfg.parallel import any_process, check_same, in_use, wait_for_all
from structmfg.policies import ParametricPolicy, Policy
from structmfg.solvers._base import (
    AnySolver,
    Solution,
    StationarySolver,
    TrainingSolver,
    TreeSolver,
    check_horizon,
)
from structmfg.solvers.loop._progress import Progress
from structmfg.solvers.loop._run import Run
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._stationary_run import StationaryRun
from structmfg.solvers.loop._training_run import TrainingRun
from structmfg.solvers.loop._tree_run import TreeRun

SomeSolver = TypeVar("SomeSolver", bound=AnySolver)

_MAX_CHECKED = 2**22  # transition probabilities that are checked before a training
_CHUNK_SECONDS = 0.5  # the length of a chunk, so that progress is reported and limits are kept


class LoopOptions(NamedTuple):
    """How long a solve goes on, and what happens on the way; see `solve` for the fields."""

    max_steps: int
    max_seconds: float
    evaluate: Callable[[Policy], Estimate] | None
    evaluation_steps: list[int]
    callbacks: tuple[Callable[[Progress], None], ...]
    snapshots: Snapshots | None


@own_rules()
def solve(
    game: Game,
    solver: TrainingSolver | TreeSolver,
    *,
    key: PRNGKeyArray | None = None,
    max_steps: int,
    max_seconds: float | None = None,
    evaluate: Callable[[Policy], Estimate] | None = None,
    evaluations: int | Sequence[int] = 10,
    callback: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
    snapshots: Snapshots | None = None,
    mesh: jax.sharding.Mesh | None = None,
    throw: bool = True,
) -> Solution:
    """Improve a policy by at most `max_steps` steps of a solver.

    A `TrainingSolver` starts from random parameters. Where a number is not finite, training goes back to the last state
    known to be finite, and goes on with a quarter of the learning rates, at most five times in a solve; then the solve
    ends. A solver with `until_excess` stops where the measured excess, of every seed, is at most that. A `TreeSolver`
    starts from the uniform policy, and stops where the exploitability is at most its tolerance, or at once where a
    number is not finite. Either way the policy returned is the last good one.

    Args:
        game: The game.
        solver: A solver that trains a policy, or one on the noise tree.
        key: A random key, which a solver that trains needs; its numbers depend on nothing else.
        max_steps: The number of planned steps.
        max_seconds: The time after which the solve stops, on a clock that counts neither compilation nor evaluation.
        evaluate: Measures a policy on the way, as `exploitability` does.
        evaluations: How often, at equally spaced steps; or the steps, to which the last one is added. The excess is
            measured at these steps, too, where the solver has `until_excess`.
        callback: Called after every chunk of steps. A KeyboardInterrupt ends the solve with the policy reached.
        callbacks: Several of these, called one after the other: `LogCallback`, `CSVCallback`, `TensorBoardCallback`,
            `WandbCallback`, or your own.
        snapshots: Keeps the state on disk from time to time and at the end. Where it holds a snapshot of this same
            solve, the solve goes on from there, to the same numbers as without an interruption.
        mesh: Devices that share the noise paths and the states (`parallel.make_mesh`), of one process or of several
            that all call `solve` alike.
        throw: Whether to raise `RuntimeError` where a number is not finite, or the game is not one under the policy
            reached.

    Returns:
        The policy, the result and `stats`:

        - `solver`: the solver, for `structmfg.save`.
        - `steps`, `train_seconds`, `compile_seconds`, `returns`; `checkpoints`, a list of `Checkpoint`; `clock`, pairs
          of steps and seconds; `failure`: None, or when and where a number was not finite.
        - of solvers that train: `gradient_norms` and `returns` for every step, and `rollbacks`, the steps at which
          training went back; with `until_excess` also `excesses`, pairs of a step and the excess after it
          (infinite where it could not be measured), and `no_excess`, why it last could not be.
        - of an infinite horizon: as on trees, and `residual`, ||(A^pi)^T mu - mu||_1 of the policy's mean field.
        - on trees: `returns` and `exploitabilities` for every step in `certified`, of the table reached, by the
          solver's own kind of information. The last of them are those of the policy returned, in JAX's default
          precision, and so is `exploitability`. `converged` says that it is at most the tolerance. Of several
          populations, `exploitability_by_population` is what an agent of each gains, and each is at most that.

    Raises:
        ValueError: A number is out of range, a key is missing, the noise tree does not fit, the snapshots are of
            another solve, or the game is not one under the uniform policy (masses, rows of kernels, observations).
        RuntimeError: See `throw`.
    """
    game, solver = _checked(game, solver)
    options = _options(solver, max_steps, max_seconds, evaluate, evaluations, _all(callback, callbacks), snapshots)
    keys = None if key is None else _checked_keys("key", key, 0)[None]
    (solution,) = _on_mesh(mesh, game, solver, keys, options)
    if solution.result is RESULTS.nonfinite and isinstance(solver, TrainingSolver):
        fault = describe_nonfinite(game, sampled_steps(game))
        solution.stats["failure"] += f": {fault}" if fault else ""
    if throw and solution.result in (RESULTS.nonfinite, RESULTS.invalid):
        raise RuntimeError(f"{solution.result.value} {solution.stats['failure']}")
    return solution


@own_rules()
def solve_seeds(
    game: Game,
    solver: TrainingSolver,
    *,
    keys: Key[Array, " keys"],
    max_steps: int,
    max_seconds: float | None = None,
    evaluate: Callable[[Policy], Estimate] | None = None,
    evaluations: int | Sequence[int] = 10,
    callback: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
    snapshots: Snapshots | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> list[Solution]:
    """Train a policy from each of the `keys` (K,), all in one program.

    The numbers are those of K solves up to rounding, which training may amplify. The clock is that of all together.

    Args:
        game: The game.
        solver: A solver that trains a policy.
        keys: A vector of random keys.
        max_steps: See `solve` for this and all others.
        max_seconds: See `solve`.
        evaluate: See `solve`.
        evaluations: See `solve`.
        callback: See `solve`.
        callbacks: See `solve`.
        snapshots: See `solve`.
        mesh: See `solve`.

    Returns:
        A solution for each of the keys, as of `solve` with `throw` False.

    Raises:
        ValueError: As of `solve`; and where the solver does not train, or the keys are not a vector.
    """
    check_kind("solver", solver, TrainingSolver)
    game, solver = _checked(game, solver)
    keys = _checked_keys("keys", keys, 1)
    options = _options(solver, max_steps, max_seconds, evaluate, evaluations, _all(callback, callbacks), snapshots)
    return _on_mesh(mesh, game, solver, keys, options)


def _on_mesh(
    mesh: jax.sharding.Mesh | None,
    game: Game,
    solver: AnySolver,
    keys: Key[Array, " keys"] | None,
    options: LoopOptions,
) -> list[Solution]:
    """The solutions, whose policies belong to no mesh."""
    _check_mesh(solver, mesh)
    with in_use(mesh):
        found = _drive(game, solver, keys, options)
    if mesh is None:
        return found
    return [solution._replace(policy=jax.tree.map(_on_one_device, solution.policy)) for solution in found]


def _on_one_device(leaf: Any) -> Any:
    return jax.numpy.asarray(np.asarray(leaf)) if isinstance(leaf, jax.Array) else leaf


def _checked(game: Game, solver: SomeSolver) -> tuple[Game, SomeSolver]:
    """Both as they are now, should the game have changed since it was first used. `ValueError` where it is no game."""
    check_kind("game", game, Game)
    check_kind("solver", solver, TrainingSolver | TreeSolver)
    game = as_game(game)
    check_horizon(game, type(solver).__name__, type(solver))
    if not isinstance(solver, TrainingSolver):
        check_game(game)  # what its methods return is inspected on the tree
        solver.check_suits(game)
        return game, solver
    policy = solver.policy.with_current_game()
    if policy is not solver.policy:
        solver = dataclasses.replace(solver, policy=policy)
    check_definition(game, sampled=True)
    check_game_along(game, sampled_steps(game), max_checked=_MAX_CHECKED)
    return game, solver


def _check_mesh(solver: AnySolver, mesh: jax.sharding.Mesh | None) -> None:
    """Raise `ValueError` where several devices are to share a solve of which they cannot."""
    if mesh is not None and mesh.size > 1 and not (isinstance(solver, TrainingSolver) and solver.on_mesh):
        raise ValueError(
            f"{type(solver).__name__} runs on one device: give no mesh (--devices, --distributed), or take RSPG, SPG "
            "or TabularSPG, whose noise paths are shared among devices"
        )


def _all(
    callback: Callable[[Progress], None] | None, callbacks: Sequence[Callable[[Progress], None]]
) -> tuple[Callable[[Progress], None], ...]:
    """All callbacks. `ValueError` where one cannot be called."""
    given = (*(() if callback is None else (callback,)), *callbacks)
    for each in given:
        if not callable(each):
            raise ValueError(f"a callback must be a function of Progress, but is {each!r:.60}")
    return given


def _options(
    solver: AnySolver,
    max_steps: int,
    max_seconds: float | None,
    evaluate: Callable[[Policy], Estimate] | None,
    evaluations: int | Sequence[int],
    callbacks: tuple[Callable[[Progress], None], ...],
    snapshots: Snapshots | None,
) -> LoopOptions:
    """The options, once they are checked."""
    measures = evaluate is not None or getattr(solver, "until_excess", None) is not None
    max_steps = check_integer("max_steps", max_steps, at_least=1)
    max_seconds = np.inf if max_seconds is None else check_positive("max_seconds", max_seconds)
    if snapshots is not None:
        check_kind("snapshots", snapshots, Snapshots)
    steps: set[int] = set()
    if measures and isinstance(evaluations, Sequence | np.ndarray | jax.Array) and np.ndim(evaluations):
        given = {check_integer("evaluations", step, at_least=1) for step in evaluations}
        steps = {step for step in given if step < max_steps} | {max_steps}
    elif measures:
        count = check_integer("evaluations", evaluations, at_least=1)
        steps = {round(max_steps * (i + 1) / count) for i in range(count)}
    return LoopOptions(max_steps, max_seconds, evaluate, sorted(steps), callbacks, snapshots)


def _drive(game: Game, solver: AnySolver, keys: Key[Array, " keys"] | None, options: LoopOptions) -> list[Solution]:
    """Make all planned steps, unless the solve ends in another way."""
    described = _description(game, solver, keys, options.max_steps)
    check_same("the solve", {**described, "max_seconds": options.max_seconds, "evaluations": options.evaluation_steps})
    if isinstance(solver, StationarySolver):
        run: Run = StationaryRun(game, solver)
    elif isinstance(solver, TreeSolver):
        run = TreeRun(game, solver)
    elif keys is None:
        raise ValueError("this solver is random: it needs a key")
    else:
        run = TrainingRun(game, solver, keys, options.max_steps)
    if options.snapshots:
        run.restore(options.snapshots, described)
    wait_for_all()
    try:
        while (result := _pause(run, options, described)) is None:
            stop = next((step for step in options.evaluation_steps if step > run.step), options.max_steps)
            run.advance(stop, min(options.max_seconds - run.train_seconds, _CHUNK_SECONDS))
    except KeyboardInterrupt:
        result = RESULTS.interrupted
    if options.snapshots:
        run.save(options.snapshots, described)
    solutions = run.solutions(result)
    for solution in solutions:
        solution.stats["solver"] = solver
    return solutions


def _pause(run: Run, options: LoopOptions, described: dict[str, Any]) -> RESULTS | None:
    """Measure, save and report between two chunks; the result, if there is to be no other chunk."""
    if run.step in options.evaluation_steps:
        if options.evaluate:
            run.measure(options.evaluate)
        if run.measures_excess:
            run.measure_excess()
    if options.snapshots and options.snapshots.due:
        run.save(options.snapshots, described)
    if options.callbacks and run.step and any_process(_is_interrupted(run, options)):
        return RESULTS.interrupted
    if (ended := run.ended) is not None:
        return ended
    if run.step == options.max_steps:
        return run.planned_end
    return RESULTS.time_limit if run.train_seconds >= options.max_seconds else None


def _is_interrupted(run: Run, options: LoopOptions) -> bool:
    """Call the callbacks; whether one of them asked for an end."""
    now = (run.train_seconds, run.mean_return, run.measured(), run.exploitability)
    try:
        for callback in options.callbacks:
            callback(Progress(run.step, options.max_steps, *now))
    except KeyboardInterrupt:
        return True
    return False


def _checked_keys(name: str, keys: Any, ndim: int) -> Key[Array, "*keys"]:
    """Random keys, also those of the older kind that are plain integers."""
    dtype = getattr(keys, "dtype", np.dtype(object))
    if dtype == np.uint32:
        keys = jax.random.wrap_key_data(keys)
    elif not jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(f"{name} must be made by jax.random.key, but is {keys!r}")
    if keys.ndim != ndim or not keys.size:
        wanted = "a vector of keys, as of jax.random.split(key, 3)" if ndim else "one key"
        raise ValueError(f"{name} must be {wanted}, but has shape {keys.shape}")
    return keys


def _description(game: Game, solver: AnySolver, keys: Key[Array, " keys"] | None, max_steps: int) -> dict[str, Any]:
    """What the numbers of a solve depend on, as JSON."""
    fields = {
        f"{kind} {field.name}": _text(getattr(of, field.name))
        for kind, of in (("game", game), ("solver", solver))
        if dataclasses.is_dataclass(of)
        for field in dataclasses.fields(of)
        if field.name != "policy"
    }
    policy = getattr(solver, "policy", None)
    return {
        "game": f"{type(game).__module__}.{type(game).__qualname__}",
        "solver": type(solver).__name__,
        **fields,
        "network": _text(policy.settings) if isinstance(policy, ParametricPolicy) else None,
        "key": None if keys is None else np.asarray(jax.random.key_data(keys)).tolist(),
        "max_steps": max_steps,
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
    }


def _text(value: Any) -> str:
    """The repr, without the addresses of functions, which are others in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
