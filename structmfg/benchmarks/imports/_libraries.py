"""The libraries whose games `structmfg bench --games all` imports, and whose solvers it runs on them."""

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from structmfg.benchmarks.imports import _mfglib as mfglib
from structmfg.benchmarks.imports import _peer as openspiel
from structmfg.games import Game, from_mfglib, from_openspiel
from structmfg.policies import TabularPolicy


class Trained(NamedTuple):
    """What a solver of another library found.

    Attributes:
        policy: Its policy, of the imported game.
        seconds: How long it ran, by the clock that its seconds are counted by.
        iterations: The number of its iterations.
    """

    policy: TabularPolicy
    seconds: float
    iterations: int


class PeerLibrary(NamedTuple):
    """A library with games and solvers of its own. Nothing of it is imported before a game is loaded.

    Attributes:
        name: The name of the library.
        distribution: The name under which it is installed.
        games: Names of its games, by the game of this package that is of the same kind.
        load: The game of a name, imported.
        solvers: The names of its solvers.
        train: The result of a solver on an imported game, after so many seconds.
    """

    name: str
    distribution: str
    games: Mapping[str, tuple[str, ...]]
    load: Callable[[str], Game]
    solvers: tuple[str, ...]
    train: Callable[[Any, str, float], Trained]

    def version(self) -> str | None:
        """The version; None where the library is not installed."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None


_OF_SETTINGS = {"dynamic_routing_braess": "python_mfg_dynamic_routing"}  # by the setting, which is the name here


def _load_openspiel(name: str) -> Game:
    """The game with the rewards that OpenSpiel's values have, so that its solvers and those here solve one game."""
    if name in _OF_SETTINGS:
        return from_openspiel(_OF_SETTINGS[name], setting=name, rewards="as_valued")
    return from_openspiel(name, rewards="as_valued")


def _load_mfglib(name: str) -> Game:
    mfglib.prepare()
    return from_mfglib(getattr(importlib.import_module("mfglib.env").Environment, name)())


def _train_mfglib(game: Any, solver: str, seconds: float) -> Trained:
    found = mfglib.best_within(mfglib.solvers()[solver], game.environment, seconds)
    table = found.policy.detach().cpu().numpy().astype(float)
    table = table.reshape(game.horizon, game.num_states, game.num_actions)
    return Trained(TabularPolicy(jnp.asarray(table / table.sum(-1, keepdims=True))), found.seconds, found.iterations)


def _train_openspiel(game: Any, solver: str, seconds: float) -> Trained:
    made = openspiel.solvers(game.walk.game)[solver]()
    spent, iterations = openspiel.iterate(made, seconds)
    return Trained(brought_over(game, made.get_policy()), spent, iterations)


def brought_over(game: Any, policy: Any) -> TabularPolicy:
    """A policy of OpenSpiel's as a table of the imported game, along the mean fields that it brings about.

    Where nobody is, it is uniform, which changes neither these mean fields nor what a best response gains.
    """
    follow = eqx.filter_jit(lambda aggregate, played: game.follow(aggregate, played, jnp.zeros((), int)))
    table = np.full((game.horizon, game.num_states, game.num_actions), 1 / game.num_actions)
    aggregate = game.at_start(jnp.zeros((), int))
    for time, stage in enumerate(game.walk.stages[:-1]):
        mean_field = np.asarray(aggregate.mean_field)
        for state, node in enumerate(stage.nodes):
            if mean_field[state] > 0:
                decision = stage.after(node, mean_field[: len(stage.names)].tolist())
                probabilities = policy.action_probabilities(decision)
                table[time, state] = [probabilities.get(action, 0.0) for action in game.tables.action_ids]
        played = game.restricted(aggregate, jnp.asarray(table[time]))
        aggregate = follow(aggregate, played)
    return TabularPolicy(jnp.asarray(table), within_allowed=True)


LIBRARIES: dict[str, PeerLibrary] = {
    "openspiel": PeerLibrary(
        "OpenSpiel",
        "open_spiel",
        {
            "crowd_modelling": ("mfg_crowd_modelling",),
            "crowd_modelling_2d": ("mfg_crowd_modelling_2d",),
            "garnet": ("mfg_garnet",),
            "linear_quadratic": ("mean_field_lin_quad",),
            "routing": ("dynamic_routing_braess",),
        },
        _load_openspiel,
        tuple(openspiel.solvers(None)),
        _train_openspiel,
    ),
    "mfglib": PeerLibrary(
        "MFGLib",
        "mfglib",
        {
            "beach_bar": ("beach_bar",),
            "building_evacuation": ("building_evacuation",),
            "equilibrium_price": ("equilibrium_price",),
            "garnet": ("random_linear",),
            "left_right": ("left_right",),
            "linear_quadratic": ("linear_quadratic",),
            "rock_paper_scissors": ("rock_paper_scissors",),
            "susceptible_infected": ("susceptible_infected",),
        },
        _load_mfglib,
        tuple(mfglib.solvers()),
        _train_mfglib,
    ),
}
