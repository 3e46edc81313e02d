"""What a run was asked for, and all that is needed to build its game and its policy again."""

import dataclasses
import importlib.metadata
import platform
from typing import Any, Literal, NamedTuple, get_args

import jax

from structmfg._checks import check_name
from structmfg.games import Game, make
from structmfg.policies import BinnedPolicy, ParametricPolicy, binned, network_policy
from structmfg.reports._published import game_name
from structmfg.solvers import SOLVERS, Information, TrainingSolver, TreeSolver

Precision = Literal["float32", "float64"]


class Settings(NamedTuple):
    """`overrides` is what was asked for beyond the preset; `hyper_parameters` and `network` are what came of it.

    `network` holds the settings of the network that is trained, or of the table; null where there is neither.
    """

    game: str
    game_parameters: dict[str, Any]
    solver: str
    preset: str
    overrides: dict[str, Any]
    hyper_parameters: dict[str, Any]
    network: dict[str, Any] | None
    max_steps: int
    max_seconds: float | None
    seed: int
    precision: Precision
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        game: Game,
        solver: TrainingSolver | TreeSolver,
        *,
        name: str,
        preset: str,
        overrides: dict[str, Any],
        max_steps: int,
        max_seconds: float | None,
        seed: int,
    ) -> "Settings":
        """The settings of a solve that is about to start."""
        return cls(
            game=game_name(game),
            game_parameters=parameters(game),
            solver=name,
            preset=preset,
            overrides=overrides,
            hyper_parameters={
                field.name: getattr(solver, field.name)
                for field in dataclasses.fields(solver)
                if field.name != "policy"
            },
            network=solver.policy.settings._asdict() if isinstance(solver, TrainingSolver) else None,
            max_steps=max_steps,
            max_seconds=max_seconds,
            seed=seed,
            precision="float64" if jax.config.read("jax_enable_x64") else "float32",
            versions=versions(),
        )

    @classmethod
    def parse(cls, saved: dict[str, Any]) -> "Settings":
        """From JSON. `ValueError` names what is missing or unknown."""
        missing = [field for field in cls._fields if field not in saved]
        if missing:
            raise ValueError(f"settings.json lacks {', '.join(missing)}")
        check_name("solver", saved["solver"], SOLVERS)
        check_name("precision", saved["precision"], get_args(Precision))
        return cls(**{field: saved[field] for field in cls._fields})

    def build_game(self) -> Game:
        """The game."""
        return make(self.game, **self.game_parameters)

    def build_policy(self, game: Game) -> ParametricPolicy:
        """The network or table, without parameters. `ValueError` where the settings have none."""
        if self.network is None:
            raise ValueError(f"settings.json has no network, but {self.solver} trains one")
        return binned(game, **self.network) if self.trains_table else network_policy(game, **self.network)

    def build_solver(self, game: Game) -> TrainingSolver | TreeSolver:
        """The solver."""
        kind = SOLVERS[self.solver]
        if issubclass(kind, TrainingSolver):
            return kind(policy=self.build_policy(game), **self.hyper_parameters)
        return kind(**self.hyper_parameters)

    @property
    def trains_table(self) -> bool:
        """Whether the solver trains a table over bins of observations."""
        kind = SOLVERS[self.solver]
        return issubclass(kind, TrainingSolver) and issubclass(kind.trains, BinnedPolicy)

    @property
    def on_tree(self) -> bool:
        """Whether the solver works on a noise tree."""
        return issubclass(SOLVERS[self.solver], TreeSolver)

    @property
    def information(self) -> Information:
        """What the policy knows."""
        return "full" if self.hyper_parameters.get("information") == "full" else "public"

    @property
    def own_kind(self) -> str:
        """The kind of exploitability that is followed over the solve."""
        if not self.on_tree:
            return "clairvoyant"
        return "non_anticipative" if self.information == "full" else "public"


def parameters(game: Game) -> dict[str, Any]:
    """The parameters of a game that is a dataclass."""
    return dataclasses.asdict(game) if dataclasses.is_dataclass(game) else {}


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    from structmfg import __version__

    found = {name: importlib.metadata.version(name) for name in ("jax", "dm-haiku", "optax", "numpy")}
    return {"structmfg": __version__, **found, "python": platform.python_version()}
