"""Keep, load and report a solve in one call each, for programs; `structmfg.save`, `load` and `report`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from structmfg import reports
from structmfg._checks import check_kind, check_seed
from structmfg._files import new_folder, read_json
from structmfg._import import remember
from structmfg.games import GAMES, Game, register
from structmfg.policies import ParametricPolicy
from structmfg.runs._load import SETTINGS_FILE, Run, load_run, load_settings
from structmfg.runs._save import save_policy, save_run, save_settings
from structmfg.runs._settings import Settings
from structmfg.solvers import SOLVERS, Solution, TrainingSolver, TreeSolver
from structmfg.solvers import register as register_solver

AnySolver = TrainingSolver | TreeSolver
PolicyFunction = Callable[[Game], ParametricPolicy]


def save(
    game: Game,
    solution: Solution,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    policy: PolicyFunction | None = None,
) -> Run:
    """Measure a solution, and keep it in a folder with its settings, figures and report, as `structmfg solve` does.

    Args:
        game: The game, of the package or your own. One of your own is kept by its fields if it is a dataclass.
        solution: What `solvers.solve` returned.
        out: A new or empty folder; by default runs/GAME-SOLVER-SEED, numbered.
        seed: The seed of the key that the solve was given, which the folder states.
        policy: The function that makes the policy of a game, where it is neither a network nor a table; `load` needs it
            again.

    Returns:
        The run. `run.path` is its folder, and `run.result` what was measured.

    Raises:
        ValueError: An argument is of another type, the folder is not empty or cannot be written, or the solution does
            not tell its solver.
    """
    check_kind("game", game, Game)
    check_kind("solution", solution, Solution)
    solver = solution.stats.get("solver")
    if not isinstance(solver, TrainingSolver | TreeSolver):
        raise ValueError("solution must be one that solvers.solve returned: its stats have no solver")
    game_name = _name_of(type(game), GAMES, register)
    solver_name = _name_of(type(solver), SOLVERS, register_solver)
    settings = Settings.of(
        game, solver, name=solver_name, preset="default", overrides={}, max_steps=max(1, solution.stats["steps"]),
        max_seconds=None, seed=check_seed(seed), policy=policy,
    )  # fmt: skip
    short = "-".join(name.rpartition(":")[2] for name in (game_name, solver_name))
    folder = new_folder(out, f"{short}-{seed}")
    save_settings(folder, settings)
    save_policy(folder, solution)
    evaluation = reports.evaluate(game, solution.policy)
    kinds = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
    reference = reports.reference_values(
        game, solver_name, kinds=kinds, information=settings.information,
        found=solution if isinstance(solver, TreeSolver) else None,
    )  # fmt: skip
    return save_run(folder, settings, game, solution, evaluation, reference)


def report(game: Game, solution: Solution, out: str | Path | None = None, **options: Any) -> Path:
    """Measure a solution, and write its report: `save`, of which this returns the path of report.html.

    Args:
        game: The game.
        solution: What `solvers.solve` returned.
        out: A new or empty folder; by default runs/GAME-SOLVER-SEED, numbered.
        **options: `seed` and `policy`, see `save`.

    Raises:
        ValueError: See `save`.
    """
    return save(game, solution, out, **options).path / "report.html"


def load(
    path: str | Path,
    *,
    game: type[Game] | None = None,
    solver: type[AnySolver] | None = None,
    policy: PolicyFunction | None = None,
    optimiser: Callable[..., Any] | None = None,
) -> Run:
    """Load a run from its folder, whoever wrote it: the game, the policy, and what was measured.

    A run folder is data, and none of its files is run. So a run of your own game or solver needs their classes here.

    Args:
        path: The folder, which `save` or `structmfg solve` wrote.
        game: The class of the run's game, if it is your own.
        solver: The class of the run's solver, if it is your own.
        policy: The function that makes the run's policy, if it is neither a network nor a table.
        optimiser: The run's optimiser, if it had one in place of Adam.

    Returns:
        The run: `game`, `policy`, `settings`, `result`, `metrics` and `trajectories`.

    Raises:
        ValueError: A file is missing or damaged, the run is of a class that was not given, or an instance of it was.
    """
    name_own(path, game=game, solver=solver, policy=policy, optimiser=optimiser)
    settings = load_settings(path)
    with jax.enable_x64(settings.precision == "float64"):
        return load_run(path, settings=settings)


def name_own(
    path: str | Path,
    *,
    game: type[Game] | None = None,
    solver: type[AnySolver] | None = None,
    policy: PolicyFunction | None = None,
    optimiser: Callable[..., Any] | None = None,
) -> None:
    """Give what is the user's own the names that it has in a run folder, so that the run can be loaded; see `load`."""
    kinds: dict[str, Any] = {"game": game, "solver": solver}
    for name, kind in kinds.items():
        if kind is not None and not isinstance(kind, type):
            given = type(kind).__name__
            raise ValueError(f"{name} must be the class of the run's {name}, but is an instance of {given}")
    path = Path(path)
    saved = read_json(path / SETTINGS_FILE) if (path / SETTINGS_FILE).is_file() else {}
    network, chosen = saved.get("network"), saved.get("hyper_parameters")
    functions = {"policy": (network, "function", policy), "optimiser": (chosen, "optimiser", optimiser)}
    for table, key, function in functions.values():
        if function is not None and isinstance(table, dict) and isinstance(table.get(key), str):
            remember(table[key], function)
    if game is not None and isinstance(saved.get("game"), str):
        register(game, saved["game"])
    if solver is not None and isinstance(saved.get("solver"), str):
        register_solver(solver, saved["solver"])


def _name_of(kind: type[Any], names: dict[str, Any], register: Callable[[Any], Any]) -> str:
    """The name of a class, which it gets if it has none."""
    if kind not in names.values():
        register(kind)
    return next(name for name, known in names.items() if known is kind)
