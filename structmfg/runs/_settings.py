"""What a run was asked for, and all that is needed to build its game and its policy again."""

import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import jax

from structmfg._checks import (
    check_between,
    check_integer,
    check_kind,
    check_name,
    check_positive,
    check_seed,
    printable,
)
from structmfg._files import check_types, machine_memory
from structmfg._import import name_of, named
from structmfg._version import __version__
from structmfg.evaluation import Information
from structmfg.games import GAMES, OPENSPIEL_PREFIX, Game, make, openspiel_class, parameter_fields
from structmfg.policies import (
    BinnedPolicy,
    BinnedSettings,
    NetworkSettings,
    ParametricPolicy,
    binned,
    network_policy,
)
from structmfg.reports import game_name
from structmfg.runs._parameters import parameters, restored
from structmfg.solvers import SOLVERS, Preset, TrainingSolver, TreeSolver, preset, with_present_names

Precision = Literal["float32", "float64"]
_MAX_INTEGER = 2**31 - 1  # what JAX holds in single precision
_MAX_WIDTH, _MAX_DEPTH = 2**20, 256  # units in a layer of a network, and layers, which are built one by one
_FUNCTION = "function"  # the key of a policy of functions
_FUNCTIONS = ("optimiser",)  # hyper-parameters that are functions, saved by their names
_Override = str | int | float | bool | tuple[float, ...] | None


class Settings(NamedTuple):
    """What settings.json holds.

    Attributes:
        game: The game by name.
        game_parameters: What the game is made with.
        solver: The solver by name.
        preset: The preset by name.
        overrides: What was asked for beyond the preset.
        hyper_parameters: The fields of the solver, as preset and overrides made them; an optimiser by its name.
        network: The settings of the network or table that is trained; for a policy of functions, {"function": name}
            with the name of the function that makes it; None where nothing is trained.
        max_steps: The number of updates.
        max_seconds: The limit of the training time in seconds, or None.
        seed: The seed of the training.
        precision: The precision of the numbers.
        versions: The versions of what computes the numbers, by package.
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
        policy: Callable[[Game], ParametricPolicy] | None = None,
    ) -> "Settings":
        """The settings of a solve that is about to start; `name` is that of the solver.

        `policy` is the function that makes the policy, where that is neither a network nor a table.
        """
        fields = {field: getattr(solver, field) for field in _hyper_parameters(type(solver))}
        hyper_parameters = {field: name_of(value) if callable(value) else value for field, value in fields.items()}
        return cls(
            game=game_name(game),
            game_parameters=parameters(game),
            solver=name,
            preset=preset,
            overrides=overrides,
            hyper_parameters=hyper_parameters,
            network=_network(solver, policy) if isinstance(solver, TrainingSolver) else None,
            max_steps=max_steps,
            max_seconds=max_seconds,
            seed=seed,
            precision="float64" if jax.config.read("jax_enable_x64") else "float32",
            versions=versions(),
        )

    @classmethod
    def parse(cls, saved: dict[str, Any]) -> "Settings":
        """Parse settings from JSON. `ValueError` names what is missing, unknown, out of range or of a wrong type."""
        check_types(saved, get_type_hints(cls), required=cls._fields)
        name = saved["game"].removeprefix(OPENSPIEL_PREFIX)
        if name != saved["game"] and ":" not in name:  # with a module in front, the user must name it
            openspiel_class(name)
        _check_known("game", saved["game"], GAMES)
        _check_known("solver", saved["solver"], SOLVERS)
        renamed = {
            field: with_present_names(SOLVERS[saved["solver"]], saved[field])
            for field in ("overrides", "hyper_parameters")
        }
        settings = cls(**{field: saved[field] for field in cls._fields} | renamed)
        check_name("precision", settings.precision, get_args(Precision))
        check_seed(settings.seed)
        check_between("max_steps", check_integer("max_steps", settings.max_steps, at_least=1), 1, _MAX_INTEGER)
        if settings.max_seconds is not None:
            check_positive("max_seconds", settings.max_seconds)
        game, solver = GAMES[settings.game], SOLVERS[settings.solver]
        names = [field.name for field in parameter_fields(game)]
        _check_fields(f"parameter of {settings.game}", settings.game_parameters, game, names, largest=_MAX_INTEGER)
        _check_fields(
            f"setting of {settings.solver}", settings.hyper_parameters, solver, _hyper_parameters(solver), largest=2**63
        )
        check_types(settings.overrides, dict.fromkeys(settings.overrides, _Override), label="overrides: ")
        if settings.network is not None and _FUNCTION not in settings.network:
            kind = BinnedSettings if settings.trains_table else NetworkSettings
            _check_fields("network setting", settings.network, kind, kind._fields, largest=_MAX_WIDTH)
            check_between("depth", settings.network.get("depth", 1), 1, _MAX_DEPTH)
        return settings

    def build_game(self) -> Game:
        """The game. `ValueError` where it is so large that not even one of its policies would fit into this machine."""
        game = make(self.game, **{name: restored(value) for name, value in self.game_parameters.items()})
        states, actions, horizon = game.num_states, game.num_actions, game.horizon
        size = f"{states} states, {actions} actions and a horizon of {horizon}"
        check_fits(f"a game of {size}", states * (actions + (horizon or 1) + 1))
        return game

    def build_policy(self, game: Game) -> ParametricPolicy:
        """The network or table, without parameters. `ValueError` where the settings have none."""
        if self.network is None:
            raise ValueError(f"there is no network, but {self.solver} trains one")
        if _FUNCTION in self.network:
            check_types(self.network, {_FUNCTION: str})
            policy = named(self.network[_FUNCTION], "policy")(game)
            check_kind("policy", policy, ParametricPolicy)
            return policy
        return binned(game, **self.network) if self.trains_table else network_policy(game, **self.network)

    def build_solver(self, game: Game) -> TrainingSolver | TreeSolver:
        """The solver."""
        kind = SOLVERS[self.solver]
        hyper_parameters = {
            name: named(value, name) if name in _FUNCTIONS and isinstance(value, str) else value
            for name, value in self.hyper_parameters.items()
        }
        if issubclass(kind, TrainingSolver):
            return kind(policy=self.build_policy(game), **hyper_parameters)
        return kind(**hyper_parameters)

    def preset_for(self, game: Game) -> Preset:
        """The preset with these overrides for another game, such as a smaller one."""
        functions = {
            name: named(self.hyper_parameters[name], name) for name in _FUNCTIONS if self.hyper_parameters.get(name)
        }
        policy = named(self.network[_FUNCTION], "policy") if self.network and _FUNCTION in self.network else None
        return preset(game, self.solver, self.preset, policy=policy, **functions, **self.overrides)  # type: ignore[arg-type]

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


def check_fits(what: str, entries: int) -> None:
    """Raise `ValueError` where so many numbers in single precision are more than this machine can hold."""
    if 4 * entries > machine_memory():
        available = machine_memory() / 2**30
        raise ValueError(
            f"{what} does not fit: {4 * entries / 2**30:.4g} GiB at least, of the {available:.4g} GiB there are"
        )


def _check_known(what: str, name: str, known: Mapping[str, Any]) -> None:
    """Raise `ValueError` on a name that is none of the package's, nor one that the user has given in this process."""
    if ":" in name and name not in known:
        raise ValueError(
            f"the {what} {printable(name[:200])!r} is no part of the package, and a run folder cannot import it: "
            f"name it again (evaluate --{what}, solve GAME --resume, or {what}= in Python)"
        )
    check_name(what, name, known)


def _network(solver: TrainingSolver, policy: Callable[[Game], ParametricPolicy] | None) -> dict[str, Any] | None:
    """The settings of the network or table, or the name of the function that makes the policy."""
    settings = solver.policy.settings
    if isinstance(settings, NetworkSettings | BinnedSettings):
        return settings._asdict()
    return {_FUNCTION: name_of(policy if policy is not None else getattr(settings, "init", solver.policy))}


def _hyper_parameters(solver: type[Any]) -> list[str]:
    """The names of a solver's fields but for its policy."""
    return [field.name for field in dataclasses.fields(solver) if field.name != "policy"]


def _check_fields(what: str, values: dict[str, Any], kind: type, names: Iterable[str], *, largest: int) -> None:
    """Raise `ValueError` unless these are such fields of `kind`, of their types, and no whole number too large."""
    for name in values:
        check_name(what, name, names)
    own = kind.__module__.partition(".")[0] != "structmfg"  # its annotations may be anything
    kinds: dict[str, Any] = {} if own else get_type_hints(kind)
    check_types(values, {**kinds, **dict.fromkeys(_FUNCTIONS, str | None)})
    for name, value in values.items():
        if isinstance(value, int) and abs(value) > largest:
            raise ValueError(f"{name} must be at most {largest}, but is {value}")


def versions() -> dict[str, str]:
    """The versions of what computes the numbers, by package."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "dm-haiku", "optax", "numpy")}
    return {"structmfg": __version__} | versions | {"python": platform.python_version()}
