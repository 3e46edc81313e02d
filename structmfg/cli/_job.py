"""What `structmfg solve` is to do: start a solve in a new folder, or go on with one in the folder of a run.

A run has one folder. Several seeds have one each, within a folder that lists them in seeds.json.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from structmfg import solvers
from structmfg._checks import check_integer, check_positive, check_seed
from structmfg._files import check_no_link, check_types, file_error_context, new_folder, read_json, write_json
from structmfg._flags import keep_compiled_programs
from structmfg._import import import_object
from structmfg.cli._early import COMMAND, STARTS_NO_RUN, EarlyFolder
from structmfg.cli.arguments import Arguments, parse
from structmfg.cli.arguments.fields import import_own
from structmfg.games import Game, make
from structmfg.runs import POLICY_FILE, Settings, load_run, load_settings, save_settings, versions

_SEEDS = "seeds.json"
_MAY_GO_ON = ("interrupted", "time_limit")  # results of which more can come

SeedRun = tuple[Path, Settings]


class Job(NamedTuple):
    """A solve with its folder."""

    folder: Path  # of the run, or of the runs of all seeds
    game: Game
    solver: solvers.TrainingSolver | solvers.TreeSolver
    runs: list[SeedRun]
    many: bool  # whether --seeds was given, be it for one seed
    new: bool  # whether the solve starts now
    made: bool  # whether the folder was made for it

    @property
    def settings(self) -> Settings:
        """The settings, which all seeds have in common but for the seed itself."""
        return self.runs[0][1]

    @property
    def keys(self) -> Key[Array, "*seeds"]:
        """One key, or one for each seed."""
        keys = [jax.random.key(settings.seed) for _, settings in self.runs]
        return jax.numpy.stack(keys) if self.many else keys[0]

    def results_if_finished(self) -> list[dict[str, Any]]:
        """The result of every seed, or none where there is something left to do."""
        if not all((path / "result.json").exists() for path, _ in self.runs):
            return []
        results = []
        for path, settings in self.runs:
            run = load_run(path, settings=settings)
            results.append({**run.result, "out": str(path), "report": str(path / "report.html")})
        return [] if any(result["result"] in _MAY_GO_ON for result in results) else results

    @property
    def has_policies(self) -> bool:
        """Whether something was learned that must not be lost."""
        return any((path / POLICY_FILE).exists() for path, _ in self.runs)

    def remove_snapshots(self) -> None:
        """Remove the snapshots, if there are any: they are not needed after the end."""
        shutil.rmtree(self.folder / "snapshots", ignore_errors=True)

    def abandon(self) -> None:
        """Empty the folder of a new solve, and remove it if it was made for the solve."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        if self.made:
            self.folder.rmdir()


def original_arguments(arguments: Arguments) -> Arguments:
    """The arguments; for --resume in a folder where no solve has started, those that the folder was made for."""
    if arguments.resume is None or (command := _saved_command(folder := Path(arguments.resume))) is None:
        return arguments
    with file_error_context(folder / COMMAND, "does not describe a run"):
        original = parse(command)
    for name in ("json", "quiet", "snapshot_seconds", "devices", "distributed", "mesh"):
        setattr(original, name, getattr(arguments, name))
    if arguments.max_seconds is not None:
        original.max_seconds = arguments.max_seconds
    original.early = EarlyFolder(folder, False, None)
    if not (original.quiet or original.json):
        print("no solve has begun there: beginning anew")
    return original


def _saved_command(folder: Path) -> list[str] | None:
    """The command that a folder was made for, if no solve has started there. `ValueError` unless it starts a solve."""
    path = folder / COMMAND
    if not os.path.lexists(path):
        return None
    saved = read_json(path)
    with file_error_context(path, "must hold the command that the folder was made for"):
        check_types(saved, {"command": list[str]}, required=["command"])
        command: list[str] = saved["command"]
        if command[:1] != ["solve"] or any(word.partition("=")[0] in STARTS_NO_RUN for word in command):
            raise ValueError("this command starts no run")
        if any(":" in word for word in command):
            raise ValueError("this command imports code: give it again")
    return command


def begin(arguments: Arguments) -> Job:
    """Start in a new folder, with the settings written. `ValueError` on bad settings, with nothing left behind."""
    game = make(arguments.game, **arguments.game_parameters)
    policy, functions = user_functions(arguments)
    chosen = solvers.preset(game, arguments.solver, arguments.preset, policy=policy, **functions, **arguments.overrides)
    steps = chosen.max_steps
    if arguments.iterations is not None:
        steps = check_integer("iterations", arguments.iterations, at_least=1)
    many = arguments.seeds is not None
    seeds = range(arguments.seed, arguments.seed + (check_integer("seeds", arguments.seeds, at_least=1) if many else 1))
    if many and not isinstance(chosen.solver, solvers.TrainingSolver):
        raise ValueError(
            f"the solver {arguments.solver} draws nothing at random: --seeds is for solvers that train, such as "
            "--solver rspg"
        )
    all_settings = [
        Settings.of(
            game,
            chosen.solver,
            name=arguments.solver,
            preset=arguments.preset,
            overrides=arguments.overrides,
            max_steps=steps,
            max_seconds=arguments.max_seconds,
            seed=check_seed(seed),
            policy=policy,
        )
        for seed in seeds
    ]
    if arguments.early is not None:
        made, folder = arguments.early.made, arguments.early.folder
    else:
        made = arguments.out is None or not Path(arguments.out).exists()
        seed_name = f"seeds-{seeds[0]}-{seeds[-1]}" if many else str(arguments.seed)
        names = "-".join(map(short_name, (arguments.game, arguments.solver)))
        folder = new_folder(arguments.out, f"{names}-{seed_name}")
    runs = [(folder / f"seed-{settings.seed}" if many else folder, settings) for settings in all_settings]
    for path, settings in runs:
        path.mkdir(exist_ok=True)
        save_settings(path, settings)
    if many:
        write_json(folder / _SEEDS, {"seeds": list(seeds)})
    (folder / COMMAND).unlink(missing_ok=True)  # from here on there are the settings
    return Job(folder, game, chosen.solver, runs, many, new=True, made=made)


def load_runs(folder: Path) -> list[SeedRun]:
    """The folder and the settings of every seed of a run. `ValueError` where the folder is not that of a run."""
    runs = [(path, load_settings(path, policy=False)) for path in _seed_folders(folder)]
    first = runs[0][1]
    if any(settings._replace(seed=first.seed) != first for _, settings in runs):
        raise ValueError(f"the runs in {folder} differ in more than the seed")
    return runs


def resume(arguments: Arguments, runs: list[SeedRun]) -> Job:
    """Go on with runs of `load_runs`. `ValueError` where they cannot go on as the arguments say."""
    folder = Path(arguments.resume)
    check_no_link(folder / "snapshots")
    if arguments.max_seconds is not None:
        check_positive("max_seconds", arguments.max_seconds)
        runs = [(path, settings._replace(max_seconds=arguments.max_seconds)) for path, settings in runs]
    settings = runs[0][1]
    game = settings.build_game()
    if settings.versions != versions():
        print(f"structmfg: begun with {settings.versions}: numbers may differ in rounding", file=sys.stderr)
    many = (folder / _SEEDS).is_file()
    return Job(folder, game, settings.build_solver(game), runs, many, new=False, made=False)


def to_worker(arguments: Arguments) -> dict[str, Any]:
    """Arguments as names and numbers, for `prepare_worker`, which may be called in another process."""
    values = {**vars(arguments), "fields": {}, "early": None}
    return values if arguments.scheduler is None else {**values, "quiet": True}


def prepare_worker(values: dict[str, Any]) -> Arguments:
    """The arguments of `to_worker`, in a process where what they name of the user's own is imported."""
    keep_compiled_programs()
    arguments = Arguments(**values)
    import_own(arguments)
    return arguments


def user_functions(arguments: Arguments) -> tuple[Any, dict[str, Any]]:
    """Import what the arguments name of the user's own; the function that makes the policy, and the optimiser."""
    import_own(arguments)
    policy = None if arguments.policy is None else import_object(arguments.policy, "a policy")
    if arguments.optimiser is None:
        return policy, {}
    return policy, {"optimiser": import_object(arguments.optimiser, "an optimiser")}


def short_name(name: str) -> str:
    """The name of a game or a solver as part of a folder's name: of one's own, that of its class."""
    return name.rpartition(":")[2]


def _seed_folders(folder: Path) -> list[Path]:
    """The folder of the run itself, or the folders of its seeds."""
    if not (folder / _SEEDS).is_file():
        return [folder]
    seeds = read_json(folder / _SEEDS).get("seeds")
    if not isinstance(seeds, list) or not seeds or len({*map(str, seeds)}) < len(seeds):
        raise ValueError(f"{folder / _SEEDS} must list the seeds, each once")
    paths = [folder / f"seed-{check_seed(seed)}" for seed in seeds]
    for path in paths:
        check_no_link(path)
    return paths
