"""Where a solve stands, as callbacks see it."""

from typing import NamedTuple

from structmfg.solvers._base import Checkpoint


class Progress(NamedTuple):
    """Where a solve stands, for callbacks.

    Attributes:
        step, max_steps: Steps made, and planned.
        train_seconds: The seconds that the steps took.
        mean_return: The latest mean return; the mean over seeds.
        checkpoint: The exploitability that was measured at this step, or None.
        exploitability: The exploitability by the latest certificate, where the solver computes them.
    """

    step: int
    max_steps: int
    train_seconds: float
    mean_return: float
    checkpoint: Checkpoint | None
    exploitability: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers by name: "train_seconds", "return" and, where it is known, "exploitability" with its error."""
        numbers = {"train_seconds": self.train_seconds, "return": self.mean_return}
        if self.checkpoint is not None:
            return {
                **numbers,
                "exploitability": self.checkpoint.value,
                "exploitability_stderr": self.checkpoint.stderr,
            }
        return numbers if self.exploitability is None else {**numbers, "exploitability": self.exploitability}
