"""A solve between compiled calls: where it stands, what it measured on the way, and how snapshots keep both."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from structmfg._files import check_types
from structmfg._results import RESULTS
from structmfg.evaluation import Estimate
from structmfg.policies import Policy
from structmfg.solvers._base import Checkpoint, Solution
from structmfg.solvers.loop._snapshots import Snapshot, Snapshots

# What the record of a snapshot must hold.
_RECORD_TYPES: dict[str, Any] = {"solve": dict[str, Any], "train_seconds": float, "compile_seconds": float}
_RECORD_TYPES |= {"checkpoints": list[list[list[float | None]]], "failures": list[str | None]}


class LoopState(NamedTuple):
    """What compiled calls change, the steps made so far, and the seconds that these took."""

    state: PyTree[Array]
    step: int
    train_seconds: float


class Run(abc.ABC):
    """A solve of one policy, or of several that are trained side by side.

    Attributes:
        reached: Where the solve stands. It is replaced as a whole and after all else, so that after an interrupt the
            histories may be longer; `trim` cuts them.
        histories: The lists of numbers that grow with the steps, by name.
        clock: (step, seconds of training) after every chunk of steps.
        checkpoints: By policy, the exploitabilities that were measured on the way.
        failures: By policy, when and where a number was not finite, or None.
        planned_end: How the solve ends if all planned steps are made.
        measures_excess: Whether `measure_excess` is to be called at the evaluations.
    """

    planned_end = RESULTS.completed
    measures_excess = False

    def __init__(self, num_policies: int) -> None:
        self.reached = LoopState(None, 0, 0.0)
        self.compile_seconds = 0.0
        self.histories: dict[str, list[Any]] = {}
        self.clock: list[tuple[int, float]] = []
        self.checkpoints: list[list[Checkpoint]] = [[] for _ in range(num_policies)]
        self.failures: list[str | None] = [None for _ in range(num_policies)]

    @property
    def step(self) -> int:
        """The number of steps made."""
        return self.reached.step

    @property
    def train_seconds(self) -> float:
        """The seconds that the steps took, without compilation and evaluation."""
        return self.reached.train_seconds

    @property
    def ended(self) -> RESULTS | None:
        """How the solve has ended, if no more steps are to be made."""
        return RESULTS.nonfinite if all(self.failures) else None

    @property
    def exploitability(self) -> float | None:
        """The exploitability by the latest certificate, where the solver computes them."""
        return None

    @property
    @abc.abstractmethod
    def mean_return(self) -> float:
        """The latest mean return, averaged over the policies."""

    @abc.abstractmethod
    def advance(self, until: int, seconds: float) -> None:
        """Make steps up to the step `until`, or about as many as fit into the seconds."""

    @abc.abstractmethod
    def policies(self) -> Sequence[Policy]:
        """The policies reached."""

    @abc.abstractmethod
    def solutions(self, result: RESULTS) -> list[Solution]:
        """What `solve` returns, for each of the policies."""

    @abc.abstractmethod
    def trim(self) -> None:
        """Cut the histories back to the step reached."""

    def measure(self, evaluate: Callable[[Policy], Estimate]) -> None:
        """Evaluate the policies reached, outside the clock, unless that was done at this step."""
        for policy, measured in zip(self.policies(), self.checkpoints, strict=True):
            if not measured or measured[-1].step < self.step:
                measured.append(Checkpoint(self.step, self.train_seconds, *evaluate(policy)))

    def measure_excess(self) -> None:
        """Measure the excess of the policies reached, outside the clock; only where `measures_excess`."""
        raise NotImplementedError(f"{type(self).__name__} has no measure of the excess")

    def measured(self) -> Checkpoint | None:
        """The mean over the policies of what was measured at this step."""
        now = [points[-1] for points in self.checkpoints if points and points[-1].step == self.step]
        if len(now) < len(self.checkpoints):
            return None
        values, errors = (np.array([getattr(point, name) for point in now]) for name in ("value", "stderr"))
        error = float(np.sqrt(np.sum(errors**2)) / len(now))
        return Checkpoint(self.step, self.train_seconds, float(np.mean(values)), error)

    def stats(self, policy: int) -> dict[str, Any]:
        """The `stats` that all solves have."""
        return {
            "steps": self.step,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "clock": self.clock,
            "checkpoints": self.checkpoints[policy],
            "failure": self.failures[policy],
        }

    def save(self, snapshots: Snapshots, solve: dict[str, Any]) -> None:
        """Write all that `restore` needs; `solve` describes what the numbers depend on."""
        self.trim()
        arrays = {f"state {i}": leaf for i, leaf in enumerate(serialise(self.reached.state))}
        arrays |= {name: np.asarray(history) for name, history in {**self.histories, "clock": self.clock}.items()}
        record = {
            "solve": solve,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "checkpoints": self.checkpoints,
            "failures": self.failures,
        }
        snapshots.save(Snapshot(self.step, arrays, record))

    def restore(self, snapshots: Snapshots, solve: dict[str, Any]) -> None:
        """Go on from the latest snapshot of this solve, if there is one."""
        leaves = {f"state {i}": leaf for i, leaf in enumerate(serialise(self.reached.state))}
        histories = {*self.histories, "clock"}

        def check(snapshot: Snapshot) -> None:
            arrays = snapshot.arrays
            check_types(snapshot.record, _RECORD_TYPES, required=_RECORD_TYPES)
            same = arrays.keys() == leaves.keys() | histories and all(
                (arrays[name].shape, arrays[name].dtype) == (leaf.shape, leaf.dtype) for name, leaf in leaves.items()
            )
            if not same or max(arrays[name].size for name in histories) > 2 * solve["max_steps"]:
                raise ValueError("it holds other arrays, as those of another version do")

        size = sum(leaf.nbytes for leaf in leaves.values()) + 32 * len(histories) * solve["max_steps"] + 2**25
        found = snapshots.latest(solve, check, max_bytes=size)
        if found is None:
            return
        state = deserialise([found.arrays[name] for name in leaves], self.reached.state)
        self.reached = LoopState(state, found.step, found.record["train_seconds"])
        for name, history in self.histories.items():
            history[:] = found.arrays[name].tolist()
        self.clock = [(int(step), seconds) for step, seconds in found.arrays["clock"].reshape(-1, 2).tolist()]
        self.checkpoints = [[Checkpoint(*point) for point in points] for points in found.record["checkpoints"]]
        self.failures = found.record["failures"]
        self.compile_seconds += found.record["compile_seconds"]


def serialise(state: PyTree[Array | np.ndarray]) -> list[np.ndarray]:
    """The leaves of a state as plain arrays; random keys become their data."""
    return [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in jax.tree.leaves(state)]


def deserialise(arrays: Sequence[np.ndarray], like: PyTree[Array | np.ndarray]) -> PyTree[Array]:
    """The state, of the same kind as `like`, that `serialise` made these arrays of."""
    leaves, structure = jax.tree.flatten(like)
    with jax.enable_x64(True):  # which lets arrays of double precision be, and changes no others
        restored = [
            jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else jnp.asarray(array)
            for array, leaf in zip(arrays, leaves, strict=True)
        ]
    return jax.tree.unflatten(structure, restored)


def _is_key(leaf: Array | np.ndarray) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
