"""The one driver loop: compile once, run updates in jitted chunks, keep the clock, stop for a stated reason.

What it drives is a `Run`: the training of a network or a table, in JAX's default precision, or an iteration on a noise
tree, in double precision.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg._flags import own_rules
from structmfg.evaluation import Estimate, check_game_along, describe_nonfinite, sampled_steps
from structmfg.games import Game, as_game, check_definition, check_game
from structmfg.policies import ParametricPolicy, Policy
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution
from structmfg.solvers._training import TrainingSolver
from structmfg.solvers._tree_solver import TreeSolver
from structmfg.solvers.loop._run import Run
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._training_run import TrainingRun
from structmfg.solvers.loop._tree_run import TreeRun

AnySolver = TypeVar("AnySolver", bound=TrainingSolver | TreeSolver)

_LOOKED_AT = 2**22  # transition probabilities that are looked at before a training
_CHUNK_SECONDS = 0.5  # about so long a chunk, so that progress and limits are seen


class Progress(NamedTuple):
    """Where a solve stands, for callbacks."""

    step: int
    max_steps: int
    train_seconds: float
    mean_return: float
    checkpoint: Checkpoint | None
    exploitability: float | None = None  # by the latest certificate, where the solver gives them


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
    snapshots: Snapshots | None = None,
    throw: bool = True,
) -> Solution:
    """Improve a policy by at most `max_steps` updates of a solver: one that trains a network, or one on a noise tree.

    Those that train a network need a `key`, on which alone their numbers depend. The others start from the uniform
    policy and stop where the exploitability is at most their tolerance. `max_seconds` stops the solve there, on a clock
    that counts neither compilation nor evaluation. `evaluate` is called on the policy at `evaluations` equally spaced
    steps, or at the steps given and the last. `callback` is called after every chunk of updates; a KeyboardInterrupt
    ends the solve with the policy reached.

    `snapshots` keeps the state on disk from time to time and at the end; where there is one of this same solve, it goes
    on from there, to the same numbers as if it had not been interrupted.

    Where a number is not finite, training steps back to the last state known to be good and goes on with a quarter of
    the learning rates, at most five times in a solve; then, and on trees at once, the solve ends with the last good
    policy.

    `stats` holds `steps`, `train_seconds`, `compile_seconds`, `returns`, `checkpoints` (a list of `Checkpoint`),
    `clock` (pairs of steps and seconds of training) and `failure` (None, or when and where a number was not finite).
    Those that train add `gradient_norms` and `retreats`, the updates at which it stepped back; returns and norms have
    one entry an update. On trees `returns` and `exploitabilities` have one for each of the updates `certified`, of the
    table reached, by the solver's own kind of information. The last of them are those of the policy returned, after its
    conversion to JAX's default precision, and so is `exploitability`: `converged` says that it is at most the
    tolerance.

    Raises `ValueError` on a number out of range, a missing key, a noise tree that does not fit, snapshots of another
    solve, or a game that is not one under the uniform policy (masses, rows of kernels, public observations), and
    `RuntimeError` on a number that is not finite, or a game that is not one under the policy reached, unless `throw` is
    False.
    """
    game, solver = _settled(game, solver)
    steps = _checked(game, solver, max_steps, max_seconds, evaluate, evaluations, snapshots)
    max_steps = steps[-1]
    if isinstance(solver, TreeSolver):
        loop: Run = TreeRun(game, solver)
    elif key is None:
        raise ValueError("this solver is random: it needs a key")
    else:
        key = _typed("key", key, 0)
        loop = TrainingRun(game, solver, key, max_steps)
    described = _description(game, solver, key, max_steps)
    (solution,) = _drive(loop, steps, max_seconds, evaluate, callback, snapshots, described)
    if solution.result is RESULTS.nonfinite and isinstance(loop, TrainingRun):
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
    snapshots: Snapshots | None = None,
) -> list[Solution]:
    """Train a policy from each of the `keys` (K,), all in one program; otherwise as `solve`, with `throw` False.

    The numbers are those of K solves up to rounding, which training may amplify. The clock is that of all together.

    Raises `ValueError` as `solve` does, on a solver that does not train, and on keys of another shape.
    """
    check_kind("solver", solver, TrainingSolver)
    game, solver = _settled(game, solver)
    keys = _typed("keys", keys, 1)
    steps = _checked(game, solver, max_steps, max_seconds, evaluate, evaluations, snapshots)
    max_steps = steps[-1]
    described = _description(game, solver, keys, max_steps)
    loop = TrainingRun(game, solver, keys, max_steps)
    return _drive(loop, steps, max_seconds, evaluate, callback, snapshots, described)


def _settled(game: Game, solver: AnySolver) -> tuple[Game, AnySolver]:
    """Both as they are now, should the game have changed since it was first used."""
    check_kind("game", game, Game)
    check_kind("solver", solver, TrainingSolver | TreeSolver)
    if not isinstance(solver, TrainingSolver):
        return as_game(game), solver
    policy = solver.policy.with_current_game()
    return as_game(game), solver if policy is solver.policy else dataclasses.replace(solver, policy=policy)


def _checked(
    game: Game,
    solver: TrainingSolver | TreeSolver,
    max_steps: int,
    max_seconds: float | None,
    evaluate: Callable[[Policy], Estimate] | None,
    evaluations: int | Sequence[int],
    snapshots: Snapshots | None,
) -> list[int]:
    """The steps at which a policy is measured, the last one `max_steps`, as plain numbers."""
    if isinstance(solver, TrainingSolver):
        check_definition(game, sampled=True)
        check_game_along(game, sampled_steps(game), max_checked=_LOOKED_AT)
    else:
        check_game(game)  # what its methods return is looked at on the tree
    max_steps = check_integer("max_steps", max_steps, at_least=1)
    if max_seconds is not None:
        check_positive("max_seconds", max_seconds)
    if snapshots is not None:
        check_kind("snapshots", snapshots, Snapshots)
    return _stops(max_steps, evaluations) if evaluate else [max_steps]


def _drive(
    loop: Run,
    stops: Sequence[int],
    max_seconds: float | None,
    evaluate: Callable[[Policy], Estimate] | None,
    callback: Callable[[Progress], None] | None,
    snapshots: Snapshots | None,
    described: dict[str, Any],
) -> list[Solution]:
    """To the last of the stops, or to another end."""
    max_steps = stops[-1]
    if snapshots:
        loop.restore(snapshots, described)
    result = loop.planned_end
    try:
        while True:
            if evaluate and loop.step in stops:
                loop.measure(evaluate)
            if snapshots and snapshots.due:
                loop.save(snapshots, described)
            if callback and loop.step:
                callback(_progress(loop, max_steps))
            if (ended := loop.ended) is not None:
                result = ended
                break
            if loop.step == max_steps:
                break
            room = np.inf if max_seconds is None else max_seconds - loop.train_seconds
            if room <= 0:
                result = RESULTS.time_limit
                break
            loop.advance(next(stop for stop in stops if stop > loop.step), min(room, _CHUNK_SECONDS))
    except KeyboardInterrupt:
        result = RESULTS.interrupted
    if snapshots:
        loop.save(snapshots, described)
    return loop.solutions(result)


def _typed(name: str, keys: Any, ndim: int) -> Key[Array, "*keys"]:
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


def _progress(loop: Run, max_steps: int) -> Progress:
    return Progress(loop.step, max_steps, loop.train_seconds, loop.mean_return, loop.measured(), loop.exploitability)


def _description(
    game: Game, solver: TrainingSolver | TreeSolver, keys: Key[Array, "*keys"] | None, max_steps: int
) -> dict[str, Any]:
    """What the numbers of a solve depend on, as JSON."""
    fields = {
        f"{kind} {field.name}": repr(getattr(of, field.name))
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
        "network": repr(policy.settings) if isinstance(policy, ParametricPolicy) else None,
        "key": None if keys is None else np.asarray(jax.random.key_data(keys)).tolist(),
        "max_steps": max_steps,
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
    }


def _stops(max_steps: int, evaluations: int | Sequence[int]) -> list[int]:
    """The steps at which a policy is measured, in order."""
    if isinstance(evaluations, Sequence | np.ndarray | jax.Array) and np.ndim(evaluations):
        steps = {check_integer("evaluations", step, at_least=1) for step in evaluations}
        return sorted({step for step in steps if step < max_steps} | {max_steps})
    evaluations = check_integer("evaluations", evaluations, at_least=1)
    return sorted({round(max_steps * (i + 1) / evaluations) for i in range(evaluations)})
