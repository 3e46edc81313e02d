"""A solve under way: what the driver of `solve` needs of it."""

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from structmfg._results import RESULTS
from structmfg.evaluation import Estimate
from structmfg.policies import Policy
from structmfg.solvers._solution import Checkpoint, Solution
from structmfg.solvers.loop._snapshots import Shapes, Snapshot, Snapshots


class Reached(NamedTuple):
    """What the jitted calls change, the updates made so far, and the seconds they took."""

    state: PyTree[Array]
    step: int
    train_seconds: float


class Run(abc.ABC):
    """The state of a solve between jitted calls: of one policy, or of several that are trained side by side.

    `reached` is replaced as a whole, after all else: histories may be ahead of it if there was an interrupt, and are
    cut back by `trim`. `clock`: (step, seconds of training) after every chunk of updates. By policy `checkpoints`, and
    `failures`: when and where a number was not finite, or None.
    """

    planned_end = RESULTS.completed

    def __init__(self, num_policies: int) -> None:
        self.reached = Reached(None, 0, 0.0)
        self.compile_seconds = 0.0
        self.clock: list[tuple[int, float]] = []
        self.checkpoints: list[list[Checkpoint]] = [[] for _ in range(num_policies)]
        self.failures: list[str | None] = [None for _ in range(num_policies)]

    @property
    def step(self) -> int:
        """Updates made."""
        return self.reached.step

    @property
    def train_seconds(self) -> float:
        """Without compilation and evaluation."""
        return self.reached.train_seconds

    @property
    def ended(self) -> RESULTS | None:
        """How, if no more updates are to be made."""
        return RESULTS.nonfinite if all(self.failures) else None

    @abc.abstractmethod
    def advance(self, until: int, seconds: float) -> None:
        """Make updates up to the step `until`, or about as many as fit."""

    @abc.abstractmethod
    def policies(self) -> Sequence[Policy]:
        """Those reached."""

    @abc.abstractmethod
    def solutions(self, result: RESULTS) -> list[Solution]:
        """See `solve`, for each of the policies."""

    @property
    @abc.abstractmethod
    def mean_return(self) -> float:
        """The latest, over the policies."""

    @property
    def exploitability(self) -> float | None:
        """By the latest certificate, where the solver gives them."""
        return None

    def measure(self, evaluate: Callable[[Policy], Estimate]) -> None:
        """Measure the policies reached, outside the clock, unless they were."""
        for policy, measured in zip(self.policies(), self.checkpoints, strict=True):
            if not measured or measured[-1].step < self.step:
                measured.append(Checkpoint(self.step, self.train_seconds, *evaluate(policy)))

    def measured(self) -> Checkpoint | None:
        """At this step; the mean over the policies."""
        now = [of[-1] for of in self.checkpoints if of and of[-1].step == self.step]
        if len(now) < len(self.checkpoints):
            return None
        values, errors = (np.array([getattr(point, name) for point in now]) for name in ("value", "stderr"))
        error = float(np.sqrt(np.sum(errors**2)) / len(now))
        return Checkpoint(self.step, self.train_seconds, float(np.mean(values)), error)

    def stats(self, policy: int = 0) -> dict[str, Any]:
        """What all solves have in common in `stats`."""
        return {
            "steps": self.step,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "clock": self.clock,
            "checkpoints": self.checkpoints[policy],
            "failure": self.failures[policy],
        }

    # Snapshots.

    @property
    @abc.abstractmethod
    def histories(self) -> dict[str, list[Any]]:
        """Numbers that grow with the steps, by name."""

    @abc.abstractmethod
    def trim(self) -> None:
        """Forget what is beyond the step reached."""

    @abc.abstractmethod
    def thaw(self, leaves: Sequence[np.ndarray]) -> PyTree[Array]:
        """A state from the leaves that `frozen` made of it."""

    def save(self, snapshots: Snapshots, solve: dict[str, Any]) -> None:
        """All that `restore` needs."""
        self.trim()
        leaves = {f"state {i}": leaf for i, leaf in enumerate(frozen(self.reached.state))}
        grown = {name: np.asarray(history) for name, history in {**self.histories, "clock": self.clock}.items()}
        record = {
            "solve": solve,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "checkpoints": self.checkpoints,
            "failures": self.failures,
            "histories": {name: (array.dtype.name, array.shape) for name, array in grown.items()},
        }
        snapshots.save(Snapshot(self.step, {**leaves, **grown}, record))

    def restore(self, snapshots: Snapshots, solve: dict[str, Any]) -> None:
        """Go on from the latest snapshot, if there is one."""
        leaves = {f"state {i}": _like(leaf) for i, leaf in enumerate(frozen(self.reached.state))}
        names = {*self.histories, "clock"}

        def shapes(record: Mapping[str, Any]) -> Shapes:
            grown = record["histories"]
            if grown.keys() != names or any(math.prod(shape) > 2 * solve["max_steps"] for _, shape in grown.values()):
                raise ValueError("it holds other histories")
            return leaves | {name: jax.ShapeDtypeStruct(tuple(shape), dtype) for name, (dtype, shape) in grown.items()}

        found = snapshots.latest(solve, shapes)
        if found is None:
            return
        state = self.thaw([found.arrays[name] for name in leaves])
        self.reached = Reached(state, found.step, found.record["train_seconds"])
        for name, history in self.histories.items():
            history[:] = found.arrays[name].tolist()
        self.clock = [(int(step), seconds) for step, seconds in found.arrays["clock"].reshape(-1, 2).tolist()]
        self.checkpoints = [[Checkpoint(*point) for point in of] for of in found.record["checkpoints"]]
        self.failures = found.record["failures"]
        self.compile_seconds += found.record["compile_seconds"]


def _like(array: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def frozen(state: PyTree[Array]) -> list[np.ndarray]:
    """Leaves as plain arrays, keys as their data."""
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(state)]


def is_key(leaf: Array) -> bool:
    """Whether it holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
