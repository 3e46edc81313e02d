"""While a solve runs: a progress bar, and Ctrl-C that loses nothing."""

import signal
import threading
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from structmfg import parallel, solvers
from structmfg.cli._early import Terminated


class Display:
    """A bar with update, return, latest exploitability and time left; it is shown on terminals only."""

    def __init__(self, *, quiet: bool, max_seconds: float | None) -> None:
        screen = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=screen,
            transient=True,
            disable=quiet or not screen.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=None, numbers="")
        self._max_seconds, self._exploitability = max_seconds, ""

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._bar.disable:  # before rich 14 an end of line would be printed
            self._bar.stop()

    def stage(self, description: str) -> None:
        """Show that something of unknown length is done now."""
        self._bar.update(self._task, description=description, total=None, numbers="")

    def training(self, progress: solvers.Progress, description: str = "training") -> None:
        """Show the progress after a chunk of updates."""
        if progress.checkpoint:
            self._exploitability = f"clairvoyant exploitability {progress.checkpoint.value:.4g}"
        elif progress.exploitability is not None:
            self._exploitability = f"exploitability {progress.exploitability:.4g}"
        left = seconds_left(progress, self._max_seconds)
        numbers = (
            f"{progress.step}/{progress.max_steps}  {left:.0f} s left\n"
            f"return {progress.mean_return:.5g}  {self._exploitability}"
        )
        done = share_done(progress, self._max_seconds)
        self._bar.update(self._task, description=description, completed=done, total=1.0, numbers=numbers)


def share_done(progress: solvers.Progress, max_seconds: float | None) -> float:
    """The share of the updates that are made, or that of the seconds that are over, whichever is greater."""
    of_updates = progress.step / progress.max_steps
    return of_updates if max_seconds is None else min(max(of_updates, progress.train_seconds / max_seconds), 1.0)


def seconds_left(progress: solvers.Progress, max_seconds: float | None) -> float:
    """The seconds of training that are left, at the pace so far and within the limit."""
    left = (progress.max_steps - progress.step) * progress.train_seconds / max(progress.step, 1)
    return left if max_seconds is None else min(left, max(max_seconds - progress.train_seconds, 0.0))


class Interrupt:
    """Delay the first Ctrl-C until `check` is called between two updates; a second Ctrl-C takes effect at once.

    An interrupt in the midst of an update would lose that update, and one in the midst of saving would lose the run.
    SIGTERM is delayed while there are updates to be made (`updating`), and takes effect at once at other times. With
    `at_once` so does the first Ctrl-C. A task of an executor that is to stop is treated as terminated.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.requested, self.terminated, self.updating = at_once, False, False
        self._in_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Interrupt":
        if self._in_main:
            self._previous = {
                number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *error: object) -> None:
        if self._in_main:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.terminated = True
            if not self.updating:
                raise Terminated
        elif self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self, progress: solvers.Progress) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C, SIGTERM or the end of an executor came and there is training left."""
        if parallel.stopping():
            self.requested = self.terminated = True
        self.updating = progress.step < progress.max_steps
        if self.requested and self.updating:
            raise KeyboardInterrupt
