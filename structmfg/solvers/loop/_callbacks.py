"""Callbacks for `solve`: follow a solve in a log, a CSV file, TensorBoard, or Weights & Biases."""

import csv
import importlib
import logging
from pathlib import Path
from typing import Any

from structmfg.solvers.loop._progress import Progress

_LOGGER = logging.getLogger("structmfg")


class LogCallback:
    """Log a line after every chunk of steps, by Python's `logging`: for terminals, notebooks and log files alike."""

    def __init__(self, logger: logging.Logger = _LOGGER, level: int = logging.INFO) -> None:
        """Log to this logger, by default "structmfg", at this level."""
        self._logger, self._level = logger, level

    def __call__(self, progress: Progress) -> None:
        """Log step, seconds and metrics."""
        numbers = ", ".join(f"{name} {value:.5g}" for name, value in progress.metrics.items())
        self._logger.log(self._level, "step %d of %d: %s", progress.step, progress.max_steps, numbers)


class CSVCallback:
    """Append a row to a CSV file after every chunk of steps; what was not measured is an empty field."""

    _COLUMNS = ("step", "train_seconds", "return", "exploitability", "exploitability_stderr")

    def __init__(self, path: str | Path) -> None:
        """Write to a new file, or go on with one of a solve that is resumed."""
        self._path = Path(path)

    def __call__(self, progress: Progress) -> None:
        """Append a row."""
        with self._path.open("a", newline="") as file:
            rows = csv.DictWriter(file, self._COLUMNS)
            if file.tell() == 0:
                rows.writeheader()
            rows.writerow({"step": progress.step, **progress.metrics})


class TensorBoardCallback:
    """Write the metrics as scalars for TensorBoard; needs tensorboardX."""

    def __init__(self, folder: str | Path) -> None:
        """Write into this folder. `ImportError` where tensorboardX is not installed."""
        self._writer = _module("tensorboardX").SummaryWriter(str(folder))

    def __call__(self, progress: Progress) -> None:
        """Write the metrics at this step."""
        for name, value in progress.metrics.items():
            self._writer.add_scalar(name, value, progress.step)
        self._writer.flush()


class WandbCallback:
    """Log the metrics as a run of Weights & Biases, offline unless `mode` says otherwise; needs wandb."""

    def __init__(self, project: str = "structmfg", *, mode: str = "offline", **options: Any) -> None:
        """Start a run; `options` are those of `wandb.init`. `ImportError` where wandb is not installed."""
        self._run = _module("wandb").init(project=project, mode=mode, **options)

    def __call__(self, progress: Progress) -> None:
        """Log the metrics at this step; after the last one, the run is finished."""
        self._run.log(progress.metrics, step=progress.step)
        if progress.step >= progress.max_steps:
            self._run.finish()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this callback needs {name}: pip install 'structmfg[callbacks]', or {name} alone") from error
