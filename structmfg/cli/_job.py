"""What `structmfg solve` is to do: a solve that starts in a new folder, or one that goes on in the folder of a run.

A run has one folder. Several seeds have one each, within a folder that lists them in seeds.json.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
from jaxtyping import Array, Key

from structmfg import solvers
from structmfg._checks import check_integer, check_name, check_positive, check_seed
from structmfg._files import check_no_link, new_folder, read_json, write_json
from structmfg.cli._early import COMMAND, Early, saved_command
from structmfg.cli._parser import parse
from structmfg.games import Game, make
from structmfg.runs import Precision, Settings, load_run, load_settings, save_settings, versions

_SEEDS = "seeds.json"
_MAY_GO_ON = ("interrupted", "time_limit")  # results of which more can come


class Job(NamedTuple):
    """`runs`: the folder and the settings of every seed; `many`: whether seeds were asked for, be it one.

    `new`: whether it begins; `made`: whether its folder was made for it.
    """

    folder: Path
    game: Game
    solver: solvers.TrainingSolver | solvers.TreeSolver
    runs: list[tuple[Path, Settings]]
    many: bool
    new: bool
    made: bool

    @property
    def settings(self) -> Settings:
        """Which all have in common but for the seed."""
        return self.runs[0][1]

    @property
    def keys(self) -> Key[Array, "*seeds"]:
        """One key, or one for each seed."""
        keys = [jax.random.key(settings.seed) for _, settings in self.runs]
        return jax.numpy.stack(keys) if self.many else keys[0]

    def finished(self) -> list[dict[str, Any]]:
        """The results, if there is nothing left to do."""
        if not all((path / "result.json").exists() for path, _ in self.runs):
            return []
        results = [
            {**load_run(path).result, "out": str(path), "report": str(path / "report.html")} for path, _ in self.runs
        ]
        return [] if any(result["result"] in _MAY_GO_ON for result in results) else results

    @property
    def has_policies(self) -> bool:
        """Whether something was learned that must not be lost."""
        return any((path / "policy.npz").exists() for path, _ in self.runs)

    def clean(self) -> None:
        """Without snapshots that will not be needed."""
        shutil.rmtree(self.folder / "snapshots")

    def abandon(self) -> None:
        """Nothing is left in a folder that was empty when the job began, nor of the folder if it was made for it."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        if self.made:
            self.folder.rmdir()


def anew(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments; of --resume for a folder in which no solve has begun, those that it was made for."""
    if arguments.resume is None or (command := saved_command(folder := Path(arguments.resume))) is None:
        return arguments
    with blamed(folder / COMMAND):
        asked = parse(command)
    for name in ("json", "quiet", "snapshot_seconds"):
        setattr(asked, name, getattr(arguments, name))
    if arguments.max_seconds is not None:
        asked.max_seconds = arguments.max_seconds
    asked.early = Early(folder, False, None)
    if not (asked.quiet or asked.json):
        print("no solve has begun there: beginning anew")
    return asked


def precision(arguments: argparse.Namespace) -> str:
    """That of the numbers, which is chosen before anything is computed."""
    if arguments.resume is None:
        check_name("precision", arguments.precision, get_args(Precision))
        return str(arguments.precision)
    return load_settings(_folders(Path(arguments.resume))[0], policy=False).precision


def begin(arguments: argparse.Namespace) -> Job:
    """In a new folder, with the settings written. `ValueError` on bad settings, with nothing left behind."""
    game = make(arguments.game, **arguments.game_parameters)
    chosen = solvers.preset(game, arguments.solver, arguments.preset, **arguments.overrides)
    steps = chosen.max_steps
    if arguments.iterations is not None:
        steps = check_integer("iterations", arguments.iterations, at_least=1)
    many = arguments.seeds is not None
    seeds = range(arguments.seed, arguments.seed + (check_integer("seeds", arguments.seeds, at_least=1) if many else 1))
    if many and not isinstance(chosen.solver, solvers.TrainingSolver):
        raise ValueError(f"{arguments.solver} draws nothing at random: --seeds is for solvers that train")
    settings = [
        Settings.of(
            game,
            chosen.solver,
            name=arguments.solver,
            preset=arguments.preset,
            overrides=arguments.overrides,
            max_steps=steps,
            max_seconds=arguments.max_seconds,
            seed=check_seed(seed),
        )
        for seed in seeds
    ]
    named = f"seeds-{seeds[0]}-{seeds[-1]}" if many else str(arguments.seed)
    if arguments.early is not None:
        made, folder = arguments.early.made, arguments.early.folder
    else:
        made = arguments.out is None or not Path(arguments.out).exists()
        folder = new_folder(arguments.out, f"{arguments.game}-{arguments.solver}-{named}")
    runs = [(folder / f"seed-{one.seed}" if many else folder, one) for one in settings]
    for path, one in runs:
        path.mkdir(exist_ok=True)
        save_settings(path, one)
    if many:
        write_json(folder / _SEEDS, {"seeds": list(seeds)})
    (folder / COMMAND).unlink(missing_ok=True)  # from here on there are the settings
    return Job(folder, game, chosen.solver, runs, many, new=True, made=made)


def resume(arguments: argparse.Namespace) -> Job:
    """From the folder of a run. `ValueError` where it is not one, or where more is asked for than can be changed."""
    folder = Path(arguments.resume)
    runs = [(path, load_settings(path, policy=False)) for path in _folders(folder)]
    settings = runs[0][1]
    if any(one._replace(seed=settings.seed) != settings for _, one in runs):
        raise ValueError(f"the runs in {folder} differ in more than the seed")
    check_no_link(folder / "snapshots")
    if arguments.max_seconds is not None:
        check_positive("max_seconds", arguments.max_seconds)
        runs = [(path, one._replace(max_seconds=arguments.max_seconds)) for path, one in runs]
    game = settings.build_game()
    if settings.versions != versions():
        print(f"structmfg: begun with {settings.versions}: numbers may differ in rounding", file=sys.stderr)
    many = (folder / _SEEDS).is_file()
    return Job(folder, game, settings.build_solver(game), runs, many, new=False, made=False)


def _folders(folder: Path) -> list[Path]:
    """That of the run itself, or those of its seeds."""
    if not (folder / _SEEDS).is_file():
        return [folder]
    seeds = read_json(folder / _SEEDS).get("seeds")
    if not isinstance(seeds, list) or not seeds or len({*map(str, seeds)}) < len(seeds):
        raise ValueError(f"{folder / _SEEDS} must list the seeds, each once")
    paths = [folder / f"seed-{check_seed(seed)}" for seed in seeds]
    for path in paths:
        check_no_link(path)
    return paths
