"""What a solve takes of memory, found before it starts and without any of its arrays.

Every program is traced and compiled for stand-ins, arrays of the right shape that take no room, and XLA says what it
takes: arguments, temporaries and results. What lives beside a program is added by size. The programs are those that are
run later, and JAX keeps them: they are not compiled twice.
"""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from structmfg._checks import check_integer
from structmfg._flags import own_rules
from structmfg._memory import memory_left, peak_memory, resident_memory
from structmfg.evaluation import Information, TreeProblem, groups, public_sets
from structmfg.evaluation import _exploitability as evaluation
from structmfg.games import Game, NoiseTree, as_game, noise_paths, noise_tree
from structmfg.policies import Policy
from structmfg.solvers._training import TrainingSolver
from structmfg.solvers._tree_solver import TreeSolver
from structmfg.solvers.gradient import StructuralSolver
from structmfg.solvers.loop import _training_run as training_run
from structmfg.solvers.loop import _tree_run as tree_run

ONE_BY_ONE = 2**27  # what is compiled operation by operation leaves behind, as measured on linear_quadratic
_DECOMPOSED = 10  # arrays of its size that NumPy's pseudoinverse of a matrix holds: copies, factors and work space


class MemoryEstimate(NamedTuple):
    """In bytes: what the `process` holds, its programs among it, and the most it held; the largest `arrays` to come.

    They are those of the `phase` named. `available`: what the process may hold in all. On an accelerator all but the
    arrays of the process counts as nothing, as they are on the host. `compile_seconds`: of the training. `exact`: False
    where compilation was spared, as a lower bound of the arrays is more than what there is. `process` has in it what
    small programs are going to add, whatever the size of the game.
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
        """The peak that is expected."""
        return max(self.peak, self.process + self.arrays)

    @property
    def fits(self) -> bool:
        """Whether there is so much."""
        return self.total <= self.available


class Meter:
    """The peaks of what is run, by phase.

    A `draft` takes half the time to compile: its programs are of the same size, but not those that are run later.
    """

    def __init__(self, *, draft: bool = False) -> None:
        self._options = {"xla_backend_optimization_level": 0} if draft else {}
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def note(self, phase: str, *arrays: PyTree) -> None:
        """That these were held at once."""
        self.peaks[phase] = max(self.peaks.get(phase, 0), size(arrays))

    def run(self, phase: str, function: Any, *arguments: Any, beside: PyTree = ()) -> Any:
        """Stand-ins for what a function returns, which `eqx.filter_jit` has made; what is held `beside` is added."""
        self.compile(phase, function.lower(*arguments), beside)
        return results(function, *arguments)

    def compile(self, phase: str, lowered: Any, beside: PyTree = ()) -> None:
        """A program that has been lowered."""
        began = time.perf_counter()
        used = lowered.lowered.compile(compiler_options=self._options or None).memory_analysis()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
        own = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        total = own - used.alias_size_in_bytes + size(beside)
        self.peaks[phase] = max(self.peaks.get(phase, 0), total)

    def estimate(self, small: int = ONE_BY_ONE) -> MemoryEstimate:
        """Of what was run, with so much for `small` programs."""
        phase = max(self.peaks, key=lambda name: self.peaks[name])
        process, peak, available = _held()
        process += 0 if _on_device() else small
        return MemoryEstimate(process, peak, self.peaks[phase], phase, available, self.seconds.get("training", 0.0))


def _held() -> tuple[int, int, int]:
    """What the process holds, has held at most, and may hold: on the device where that is an accelerator."""
    if stats := _on_device():
        return stats["bytes_in_use"], stats["peak_bytes_in_use"], stats["bytes_limit"]
    held = resident_memory()
    return held, peak_memory(), held + memory_left()


def _on_device() -> dict[str, int] | None:
    """What an accelerator tells of its memory, where there is one that does."""
    device = jax.devices()[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    return stats if stats and "bytes_limit" in stats else None


def size(tree: PyTree) -> int:
    """The bytes of all arrays, stand-ins as well."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf) or isinstance(leaf, np.ndarray)]
    return sum(int(leaf.size) * leaf.dtype.itemsize for leaf in leaves)


def stand_ins(tree: PyTree) -> PyTree:
    """Arrays that take no room for shapes, in floats of double precision inside `jax.enable_x64`."""

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), leaf.shape)
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)

    return jax.tree.map(of, tree)


def results(function: Any, *arguments: Any) -> Any:
    """Stand-ins for what a function returns."""
    return stand_ins(eqx.filter_eval_shape(function, *arguments))


def _as(tree: PyTree, dtype: Any) -> PyTree:
    """Stand-ins of another precision."""

    def of(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and np.issubdtype(leaf.dtype, np.inexact):
            return np.broadcast_to(np.zeros((), dtype), leaf.shape)
        return leaf

    return jax.tree.map(of, tree)


@own_rules()
def estimate_memory(
    game: Game, solver: TrainingSolver | TreeSolver, *, max_steps: int, num_seeds: int | None = None
) -> MemoryEstimate:
    """Of `solve`, without what evaluates its policy; `num_seeds` trainings side by side, None for one alone.

    Raises `ValueError` where the game's noise has no tree that fits, and the solver needs one.
    """
    game, max_steps = as_game(game), check_integer("max_steps", max_steps, at_least=1)
    if num_seeds is not None:
        num_seeds = check_integer("num_seeds", num_seeds, at_least=1)
    least = least_bytes(game, solver)
    if (refused := too_much(least)) is not None:
        return refused
    meter = Meter()
    meter_solve(meter, game, solver, max_steps, num_seeds)
    return meter.estimate()


def least_bytes(game: Game, solver: TrainingSolver | TreeSolver, *, evaluated: bool = False) -> int:
    """A lower bound, before anything is traced: some mean fields and a page of the policy, or its pages at all times.

    The latter are held at once by solvers on trees, and where a policy is `evaluated`: in double precision where the
    noise is finite.
    """
    on_tree = isinstance(solver, TreeSolver)
    page = game.num_states * game.num_actions
    paths = solver.num_paths if isinstance(solver, StructuralSolver) else 1
    numbers = max(page + paths * game.num_states, page * game.horizon if on_tree or evaluated else 0)
    double = on_tree or (evaluated and game.noise_chain() is not None)
    return numbers * (8 if double else jnp.zeros(()).dtype.itemsize)


def too_much(least: int) -> MemoryEstimate | None:
    """An estimate that does not fit, if already a lower bound does not."""
    process, peak, available = _held()
    found = MemoryEstimate(process, peak, least, "at least", available, 0.0, exact=False)
    return None if found.fits else found


def meter_solve(
    meter: Meter, game: Game, solver: TrainingSolver | TreeSolver, max_steps: int, num_seeds: int | None = None
) -> Policy:
    """Measure a solve; the policy that it returns, of stand-ins."""
    if isinstance(solver, TreeSolver):
        return meter_tree_solve(meter, game, solver)
    keys = jax.random.key(0) if num_seeds is None else jax.random.split(jax.random.key(0), num_seeds)
    attempt = results(training_run.start, game, solver, keys)
    meter.compile("training", training_run.lowered(game, solver, attempt, max_steps))
    return results(lambda state: solver.policy_at(game, training_run.of_one(state, keys)), attempt.state)


def meter_tree_solve(meter: Meter, game: Game, solver: TreeSolver, phase: str = "solving on the tree") -> Policy:
    """Measure an iteration on a tree; the policy that it returns, of stand-ins in single precision."""
    with jax.enable_x64(True):
        problem = _problem(meter, phase, game, solver.information)
        plain = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)
        state = meter.run(phase, tree_run._first, plain, problem)
        state, _ = meter.run(phase, tree_run._round, plain, problem, state, jnp.zeros((), int), beside=state)
        found = meter.run(phase, tree_run._tree_policy, plain, problem, state)
        meter.run(phase, tree_run._evaluate, problem, found, beside=(state, _as(found, jnp.float32)))
    return _as(found, jnp.zeros(()).dtype)


def _problem(
    meter: Meter, phase: str, game: Game, information: Information, tree: NoiseTree | None = None, beside: PyTree = ()
) -> TreeProblem:
    """As `TreeProblem.of`, without the aggregates' matrix and its pseudoinverse."""
    tree = noise_tree(game, whole_levels=information == "public") if tree is None else tree
    mean_field = jax.ShapeDtypeStruct((game.num_states,), float)
    count = jax.eval_shape(lambda mu: jnp.asarray(game.aggregates(mu), float), mean_field).shape[0]
    functions = np.broadcast_to(0.0, (count, game.num_states))
    meter.note(phase, beside, [functions] * _DECOMPOSED)
    found, number = groups(tree, information)
    group = jnp.asarray(found)
    return results(lambda matrix: TreeProblem(game, tree, matrix, matrix.T, group, information, number), functions)


def meter_clairvoyant(meter: Meter, game: Game, policy: Policy, num_paths: int, phase: str) -> None:
    """Measure the clairvoyant exploitability, over `num_paths` paths where the noise is continuous."""
    if game.scenarios() is None:
        noise = noise_paths(game, key=jax.random.key(0), num_paths=num_paths).noise
        with jax.enable_x64(True):
            double, noise = _as(policy, np.float64), evaluation.in_double(noise)
            meter.run(phase, evaluation._gains, game, double, noise, beside=policy)
        return
    with jax.enable_x64(True):
        double, paths = _as(policy, np.float64), evaluation.in_double(game.scenarios())
        try:
            tree = evaluation._tree(game, paths, whole_levels=None)
        except ValueError:  # it does not fit: path by path
            meter.run(phase, evaluation._gains, game, double, paths.noise, beside=policy)
        else:
            flow, table = meter.run(phase, evaluation._unroll, game, tree, double, beside=policy)
            held = (policy, double)
            meter.run(phase, evaluation._gains_on_tree, game, tree, flow, table, paths.noise, beside=held)


def meter_informed(meter: Meter, game: Game, policy: Policy, information: Information, phase: str) -> None:
    """Measure the exploitability by a best response on the tree. `ValueError` where there is no tree that fits."""
    with jax.enable_x64(True):
        double, tree = (
            _as(policy, np.float64),
            evaluation._tree(game, None, whole_levels=information == "public" or None),
        )
        flow, table = meter.run(phase, evaluation._unroll, game, tree, double, beside=policy)
        held = (policy, double, flow, table)
        problem = _problem(meter, phase, game, information, tree, beside=held)
        values, response, gains, _ = meter.run(
            phase, evaluation._best_values, problem, flow, table, beside=(policy, double)
        )
        # The response becomes a policy, operation by operation: what is kept from zero and its logarithm are tables,
        # and of the public so is what is copied to all nodes of a set.
        sets = eqx.filter_eval_shape(public_sets, game, tree, flow) if information == "public" else ()
        meter.note(phase, held, values, gains, [response] * 3, stand_ins(sets))
