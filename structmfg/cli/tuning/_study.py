"""The study of a search in its folder: an Optuna study in study.db, which goes on after an interruption.

Every trial has a sampler of its own, made of the seed and the trial's number, so that a search that was interrupted
suggests what it would have suggested without.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from structmfg._text import printable
from structmfg.cli.tuning._spaces import Choices, Space
from structmfg.cli.tuning._trial import Outcome, TrialFailed

FILE = "study.db"
_NAME, _OUTCOME, _TOML = "structmfg", "outcome", "toml"
_ASKED = "fixed_params"  # Optuna's name for the settings that a trial was asked to have
_FEWEST_FOR_IMPORTANCES = 4
_RANDOM = 8  # trials before the sampler learns from what it has seen
_SAMPLER_STEP = 1_000_003


class Trial(NamedTuple):
    """A trial as the report has it.

    Attributes:
        number: Its number, from 1; that of the preset's settings is 1.
        settings: What it was searched with.
        value: Its exploitability; None where it failed.
        kind: The kind of exploitability.
        result: How the solve ended, or "failed".
        steps: Updates made.
        train_seconds: Seconds of training.
        compile_seconds: Seconds of compilation.
        message: Why it failed.
    """

    number: int
    settings: dict[str, Any]
    value: float | None
    kind: str = ""
    result: str = "failed"
    steps: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    message: str = ""


def import_optuna() -> ModuleType:
    """Optuna, which says nothing but errors. `ValueError` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError("tune needs Optuna: pip install 'structmfg[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Study:
    """The trials of a search, and what is to be tried next."""

    def __init__(self, folder: Path, spaces: Mapping[str, Space], start: Mapping[str, Any], seed: int) -> None:
        """Open the study in a folder, or make one whose first trial has the settings `start`."""
        self._optuna = import_optuna()
        self._spaces, self._seed = dict(spaces), seed
        path = folder.resolve() / FILE
        try:
            self._study = self._optuna.create_study(storage=f"sqlite:///{path}", study_name=_NAME, load_if_exists=True)
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite
            raise ValueError(f"{path} cannot be used: {' '.join(str(error).split())[:300]}") from error
        known = self._study.get_trials(deepcopy=False)
        if not known:
            self._study.enqueue_trial(dict(start))
        states = self._optuna.trial.TrialState
        waiting = [trial.system_attrs.get(_ASKED) for trial in known if trial.state == states.WAITING]
        for trial in known:
            if trial.state != states.RUNNING:
                continue
            if "value" in trial.user_attrs.get(_OUTCOME, {}):  # a process was killed when the trial had ended
                self._finish(trial.number, trial.user_attrs[_OUTCOME]["value"])
            else:  # or in the midst of it: the same settings again
                again = {**trial.system_attrs.get(_ASKED, {}), **trial.params}
                if again not in waiting:
                    self._study.enqueue_trial(again)
                self._study.tell(trial.number, state=states.FAIL)

    def trials(self) -> list[Trial]:
        """The trials that have ended, in order; those that were interrupted are made again, and left out."""
        found: list[Trial] = []
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            if trial.state.is_finished() and _OUTCOME in attributes:
                outcome = {"value": trial.value, **attributes[_OUTCOME]}  # an earlier version wrote no value
                found.append(Trial(len(found) + 1, dict(trial.params), **outcome))
        return found

    @property
    def importances(self) -> dict[str, float]:
        """How much each setting matters for being among the best (PED-ANOVA); none where trials are too few."""
        if sum(trial.value is not None for trial in self.trials()) < _FEWEST_FOR_IMPORTANCES:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it was experimental in Optuna 4
                evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
                found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all values are the same
            return {}
        return {name: float(share) for name, share in found.items()}

    @property
    def best_toml(self) -> str | None:
        """The settings of the best trial as TOML; None where every trial failed."""
        trials = self._study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.value is not None]
        return min(ended, key=lambda trial: trial.value).user_attrs[_TOML] if ended else None

    def try_next(self, run: Callable[[dict[str, Any]], Outcome]) -> Trial:
        """Make one more trial, and return it. One that fails is recorded as failed.

        An interruption leaves it as it is: it is made again when the study is opened the next time.
        """
        done = len(self.trials())
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=(self._seed * _SAMPLER_STEP + done) % 2**32, n_startup_trials=_RANDOM
        )
        trial = self._study.ask()
        settings = {name: _suggest(trial, name, space) for name, space in self._spaces.items()}
        try:
            outcome = run(settings)
        except TrialFailed as error:
            self._tell(trial, None, {"message": printable(str(error))})
            return self.trials()[-1]
        kept = {
            name: getattr(outcome, name) for name in ("kind", "result", "steps", "train_seconds", "compile_seconds")
        }
        trial.set_user_attr(_TOML, outcome.toml)
        self._tell(trial, outcome.value, kept)
        return self.trials()[-1]

    def _tell(self, trial: Any, value: float | None, outcome: dict[str, Any]) -> None:
        trial.set_user_attr(_OUTCOME, {"value": value, **outcome})
        self._finish(trial, value)

    def _finish(self, trial: Any, value: float | None) -> None:
        self._study.tell(trial, value, self._optuna.trial.TrialState.FAIL if value is None else None)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the least exploitability; among equal ones the first."""
    measured = [trial for trial in trials if trial.value is not None]
    return min(measured, key=lambda trial: trial.value, default=None)  # type: ignore[arg-type, return-value]


def _suggest(trial: Any, name: str, space: Space) -> Any:
    if isinstance(space, Choices):
        return trial.suggest_categorical(name, list(space.values))
    if space.whole:
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)
