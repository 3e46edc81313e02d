"""The memory that a solve needs, estimated before it starts and without any of its arrays.

Every program is traced and compiled for abstract arrays, which have a shape but take no room, and XLA says how much it
needs: arguments, temporaries and results. What is held while a program runs is added by its size. The programs are
those that run later, and JAX keeps them: they are not compiled twice.
"""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from structmfg import evaluation
from structmfg._checks import check_integer
from structmfg._flags import own_rules
from structmfg._memory import memory_left, memory_use
from structmfg.evaluation import Information, TreeProblem, groups, public_sets
from structmfg.games import (
    Game,
    NoiseTree,
    aggregates_are_mean_field,
    as_game,
    noise_paths,
    noise_tree,
    num_entries,
)
from structmfg.policies import Policy
from structmfg.solvers._base import AnySolver, StationarySolver, TrainingSolver, TreeSolver
from structmfg.solvers.gradient import StructuralSolver
from structmfg.solvers.loop._training_run import lower_chunk, start, state_of
from structmfg.solvers.loop._tree_run import evaluate_on_tree, first_state, steps_to_certificate, tree_policy_at

SMALL_PROGRAMS = 2**27  # bytes that operations compiled one by one leave behind, as measured on linear_quadratic
_DENSE_MATRICES = 8  # of Newton's method, with the derivatives in the mean field
_PSEUDOINVERSE_ARRAYS = 10  # of the size of a matrix, held while NumPy computes its pseudoinverse


class MemoryEstimate(NamedTuple):
    """The memory that a solve needs, in bytes. On an accelerator, what the process itself holds counts as nothing.

    Attributes:
        process: What the process holds now, with what small programs are going to add whatever the size of the game.
        peak: The most that the process has held so far.
        arrays: The largest that all arrays held at once will be.
        phase: The phase of the run in which they are so large.
        available: What the process may hold in all.
        compile_seconds: The time that it took to compile the training.
        exact: False where nothing was compiled, because a lower bound of `arrays` is already more than is available.
    """

    process: int
    peak: int
    arrays: int
    phase: str
    available: int
    compile_seconds: float
    exact: bool = True

    @property
    def total(self) -> int:
        """The expected peak, in bytes."""
        return max(self.peak, self.process + self.arrays)

    @property
    def fits(self) -> bool:
        """Whether so much memory is available."""
        return self.total <= self.available


class MemoryProfiler:
    """The most memory that programs need, by phase.

    With `fast_compile` it takes half the time: the programs are of the same size, but not those that run later.
    """

    def __init__(self, *, fast_compile: bool = False) -> None:
        self._options = {"xla_backend_optimization_level": 0} if fast_compile else None
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def record(self, phase: str, *arrays: PyTree, program: int = 0) -> None:
        """Record that arrays, and a program of so many bytes, are held at the same time."""
        self.peaks[phase] = max(self.peaks.get(phase, 0), program + size(arrays))

    def compile(self, phase: str, lowered: Any, held: PyTree = (), at_once: int = 1) -> None:
        """Record what a lowered program needs that is run so often at once, while other arrays are held."""
        began = time.perf_counter()
        used = lowered.lowered.compile(compiler_options=self._options).memory_analysis()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
        program = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        self.record(phase, held, program=at_once * (program - used.alias_size_in_bytes))

    def call(self, phase: str, function: Any, *arguments: Any, held: PyTree = ()) -> Any:
        """Record what a function made by `eqx.filter_jit` needs; its results, as abstract arrays."""
        self.compile(phase, function.lower(*arguments), held)
        return results(function, *arguments)

    def estimate(self, small_programs: int = SMALL_PROGRAMS) -> MemoryEstimate:
        """The estimate of all phases, with so many bytes for programs that are not recorded."""
        phase = max(self.peaks, key=lambda name: self.peaks[name])
        process, peak, available = _held()
        process += 0 if _accelerator_stats() else small_programs
        return MemoryEstimate(process, peak, self.peaks[phase], phase, available, self.seconds.get("training", 0.0))


def _held() -> tuple[int, int, int]:
    """The bytes that the process holds, has held at most, and may hold: on the device where that is an accelerator."""
    if stats := _accelerator_stats():
        return stats["bytes_in_use"], stats["peak_bytes_in_use"], stats["bytes_limit"]
    use = memory_use()
    return use.resident, use.peak, use.resident + memory_left()


def _accelerator_stats() -> dict[str, int] | None:
    device = jax.devices()[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    return stats if stats and "bytes_limit" in stats else None


def size(tree: PyTree) -> int:
    """The bytes of all arrays, abstract ones as well."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf) or isinstance(leaf, np.ndarray)]
    return sum(int(leaf.size) * leaf.dtype.itemsize for leaf in leaves)


def abstract_arrays(tree: PyTree, floats: Any = None) -> PyTree:
    """Arrays that take no room, for shapes and for such arrays; floating-point ones of the type `floats`."""

    def abstract(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct | np.ndarray):
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), leaf.shape)
        changed = floats is not None and jnp.issubdtype(leaf.dtype, jnp.inexact)
        return np.broadcast_to(np.zeros((), floats if changed else leaf.dtype), leaf.shape)

    return jax.tree.map(abstract, tree)


def results(function: Any, *arguments: Any) -> Any:
    """The results of a function, as abstract arrays."""
    return abstract_arrays(eqx.filter_eval_shape(function, *arguments))


@own_rules()
def estimate_memory(game: Game, solver: AnySolver, *, max_steps: int, num_seeds: int | None = None) -> MemoryEstimate:
    """The memory that `solve` needs, without the evaluation of its policy.

    Args:
        game: The game.
        solver: The solver.
        max_steps: The number of planned steps.
        num_seeds: How many trainings run side by side; None for one alone.

    Returns:
        The estimate, in bytes.

    Raises:
        ValueError: A number is out of range, or the solver needs a noise tree and the game has none that fits.
    """
    game, max_steps = as_game(game), check_integer("max_steps", max_steps, at_least=1)
    if num_seeds is not None:
        num_seeds = check_integer("num_seeds", num_seeds, at_least=1)
    if (refused := refuse_at_once(least_bytes(game, solver))) is not None:
        return refused
    profiler = MemoryProfiler()
    if isinstance(solver, StationarySolver):
        profile_stationary_solve(profiler, game)
        return profiler.estimate()
    profile_solve(profiler, game, solver, max_steps, num_seeds)
    return profiler.estimate()


def lower_update(game: Game, solver: TrainingSolver) -> Any:
    """The program of one update for the mesh in use, to be compiled; none of its arrays is made."""
    state = results(solver.init, game, jax.random.key(0))
    program: Any = _update
    with own_rules():
        return program.lower(game, solver, state).lowered


@eqx.filter_jit
def _update(game: Game, solver: TrainingSolver, state: Any) -> Any:
    return solver.step(game, state, 1)


def least_bytes(game: Game, solver: AnySolver, *, evaluated: bool = False) -> int:
    """A lower bound, known before anything is traced: some mean fields, and the policy at one time or at all times.

    The policy at all times is held at once by solvers on trees, and where it is `evaluated`: in double precision where
    the noise is finite.
    """
    on_tree = isinstance(solver, TreeSolver)
    table = game.num_states * game.num_actions
    paths = solver.num_paths if isinstance(solver, StructuralSolver) else 1
    numbers = max(table + paths * game.num_states, table * (game.horizon or 1) if on_tree or evaluated else 0)
    double = on_tree or (evaluated and game.noise_chain() is not None)
    return numbers * (8 if double else jnp.zeros(()).dtype.itemsize)


def refuse_at_once(least: int) -> MemoryEstimate | None:
    """An estimate that does not fit, if already a lower bound does not."""
    process, peak, available = _held()
    estimate = MemoryEstimate(process, peak, least, "at least", available, 0.0, exact=False)
    return None if estimate.fits else estimate


def profile_solve(
    profiler: MemoryProfiler, game: Game, solver: AnySolver, max_steps: int, num_seeds: int | None = None
) -> Policy:
    """Record what a solve needs; the policy that it returns, of abstract arrays."""
    if isinstance(solver, TreeSolver):
        return profile_tree_solve(profiler, game, solver)
    guarded = results(start, game, solver, jax.random.split(jax.random.key(0), num_seeds or 1))
    profiler.compile("training", lower_chunk(game, solver, guarded, max_steps))
    return results(lambda guarded: solver.policy_at(game, state_of(guarded, 0)), guarded)


def profile_stationary_solve(profiler: MemoryProfiler, game: Game) -> None:
    """Record the dense matrices that a Newton step for an infinite horizon holds: the most of all methods."""
    rows, states = game.num_states * game.num_actions, game.num_states
    profiler.record("solving for ever", np.broadcast_to(0.0, (_DENSE_MATRICES, rows + 4 * states, states)))


def profile_tree_solve(
    profiler: MemoryProfiler, game: Game, solver: TreeSolver, phase: str = "solving on the tree"
) -> Policy:
    """Record what an iteration on a tree needs; the policy that it returns, of abstract arrays."""
    with jax.enable_x64(True):
        problem = _abstract_problem(profiler, phase, game, solver.information)
        solver = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)
        state = profiler.call(phase, first_state, solver, problem)
        count = jnp.zeros((), int)
        state, *_ = profiler.call(phase, steps_to_certificate, solver, problem, state, count, held=state)
        policy = profiler.call(phase, tree_policy_at, solver, problem, state)
        held = (state, abstract_arrays(policy, jnp.float32))
        profiler.call(phase, evaluate_on_tree, problem, policy, held=held)
    return abstract_arrays(policy, jnp.zeros(()).dtype)


def _abstract_problem(
    profiler: MemoryProfiler,
    phase: str,
    game: Game,
    information: Information,
    tree: NoiseTree | None = None,
    held: PyTree = (),
) -> TreeProblem:
    """What `TreeProblem.of` returns, without the aggregates' matrix and its pseudoinverse."""
    tree = noise_tree(game, pad_levels=information == "public") if tree is None else tree
    numbers, num_groups = groups(tree, information)
    group = jnp.asarray(numbers)
    if aggregates_are_mean_field(game):
        return results(lambda: TreeProblem(game, tree, None, None, group, information, num_groups))
    mean_field = jax.ShapeDtypeStruct((game.num_states,), float)
    count = jax.eval_shape(lambda mu: jnp.asarray(game.aggregates(mu), float), mean_field).shape[0]
    entries = num_entries(game, jax.tree.map(lambda z: z[0], tree.noise))
    matrix = np.broadcast_to(0.0, (count + entries - game.num_states, entries))
    profiler.record(phase, held, [matrix] * _PSEUDOINVERSE_ARRAYS)
    return results(lambda matrix: TreeProblem(game, tree, matrix, matrix.T, group, information, num_groups), matrix)


def profile_clairvoyant(
    profiler: MemoryProfiler, game: Game, policy: Policy, num_paths: int, phase: str, *, at_all_times: bool = False
) -> None:
    """Record what the clairvoyant exploitability needs, over `num_paths` paths where the noise is continuous.

    With `at_all_times`, path by path, also that gains from every time on are kept.
    """
    paths = game.scenarios()
    if sampled := paths is None:
        paths = noise_paths(game, key=jax.random.key(0), num_paths=num_paths)
    with jax.enable_x64(True):
        double, paths = abstract_arrays(policy, np.float64), evaluation.in_double(paths)
        try:
            tree = None if sampled else evaluation.exploitability_tree(game, paths, pad_levels=None)
        except ValueError:  # it does not fit
            tree = None
        if tree is None:  # path by path
            size, at_once = evaluation.calls_over_cores(game, paths.num_paths)
            given = (game, double, jax.tree.map(lambda z: z[:size], paths.noise), at_all_times)
            program: Any = evaluation.clairvoyant_gains
            found = jax.tree.map(
                lambda x: np.broadcast_to(x[:1], (paths.num_paths, *x.shape[1:])), results(program, *given)
            )
            if size == paths.num_paths:  # one call
                profiler.compile(phase, program.lower(*given), policy)
                return
            profiler.compile(phase, program.lower(*given), (policy, found), at_once)
            profiler.record(phase, policy, found, found)  # of all calls, one by one and joined
        else:
            flow, table = profiler.call(phase, evaluation.compiled_unroll, game, tree, double, held=policy)
            arguments = (game, tree, flow, table, paths.noise)
            profiler.call(phase, evaluation.clairvoyant_gains_on_tree, *arguments, held=(policy, double))


def profile_informed(
    profiler: MemoryProfiler, game: Game, policy: Policy, information: Information, phase: str
) -> None:
    """Record what the exploitability by a best response on the tree needs. `ValueError` where no tree fits."""
    with jax.enable_x64(True):
        double = abstract_arrays(policy, np.float64)
        tree = evaluation.exploitability_tree(game, None, pad_levels=information == "public" or None)
        flow, table = profiler.call(phase, evaluation.compiled_unroll, game, tree, double, held=policy)
        held = (policy, double, flow, table)
        problem = _abstract_problem(profiler, phase, game, information, tree, held)
        values, response, gains, _ = profiler.call(
            phase, evaluation.best_response_on_tree, problem, flow, table, held=(policy, double)
        )
        # The response becomes a policy, operation by operation: its positive entries and their logarithms are tables,
        # and so is, under public information, what is copied to all nodes of a set.
        sets = eqx.filter_eval_shape(public_sets, game, tree, flow) if information == "public" else ()
        profiler.record(phase, held, values, gains, [response] * 3, abstract_arrays(sets))
