"""An imported game against the library that it comes from: the same policies are measured there and here."""

import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg.evaluation import best_response, in_double, rollout
from structmfg.games import Game, MFGLibGame, OpenSpielGame
from structmfg.policies import TabularPolicy, uniform
from structmfg.verification._check import CheckResult, Measured, check

# The largest differences that pass, where the library computes in double precision, and in single precision.
_DOUBLE_BOUND, _SINGLE_BOUND = 1e-9, 1e-4
_MEASURES = "open_spiel.python.mfg.algorithms."


class Measures(NamedTuple):
    """What is known of a policy: the population's mean fields (T, S), the return, and what a best response gains."""

    mean_fields: np.ndarray
    mean_return: float
    gain: float


class Library(NamedTuple):
    """A game in the library that it comes from.

    Attributes:
        name: The library.
        game: The game as it was imported.
        valued: The game that has the library's values; of a game of OpenSpiel's, with rewards as it values them.
        measure: A function that measures a policy by the library's own code.
        bound: The largest difference that passes.
    """

    name: str
    game: Game
    valued: Game
    measure: Callable[[TabularPolicy], Measures]
    bound: float


def library_of(game: Game) -> Library | None:
    """The game in the library that it comes from; None where it comes from none, or the library has no such measures.

    A game of OpenSpiel's in which rewards at nodes of one name differ is read again with `rewards="as_valued"`.
    """
    if isinstance(game, MFGLibGame):
        bound = _SINGLE_BOUND if "32" in str(game.environment.mu0.dtype) else _DOUBLE_BOUND
        return Library("MFGLib", game, game, lambda policy: _by_mfglib(game, policy), bound)
    pyspiel = sys.modules.get("pyspiel")
    if pyspiel is None or not isinstance(game, OpenSpielGame) or not isinstance(game.walk.game, pyspiel.Game):
        return None
    valued: OpenSpielGame = game
    if not game.walk.rewards_follow_from_names:
        if game.walk.depends_on_mean_field:
            return None
        valued = OpenSpielGame(game.walk.game, rewards="as_valued", max_states=game.num_states)
    return Library("OpenSpiel", game, valued, lambda policy: _by_openspiel(valued, policy), _DOUBLE_BOUND)


def matches_library(library: Library, key: PRNGKeyArray) -> tuple[CheckResult, ...]:
    """Three checks of the uniform policy, and three of a random one."""
    game = library.game
    with jax.enable_x64(True):
        random = jax.random.dirichlet(key, jnp.ones(game.num_actions), (game.horizon, game.num_states))
        chosen = {"uniform": in_double(uniform(game)), "random": TabularPolicy(random, within_allowed=True)}
        return tuple(result for name, policy in chosen.items() for result in _checks(library, name, policy))


def _checks(library: Library, name: str, policy: TabularPolicy) -> tuple[CheckResult, ...]:
    there, here = library.measure(policy), _here(library, policy)
    scale = max(abs(there.mean_return), abs(there.gain), 1.0)

    @check("the mean fields of a policy are those that the library computes")
    def mean_fields_by_the_library() -> Measured:
        difference = np.abs(here.mean_fields - there.mean_fields)
        time, state = np.unravel_index(int(np.argmax(difference)), difference.shape)
        return float(difference.max()), library.bound, f"{name} policy, t = {time}, state {state}, by {library.name}"

    @check("the return of a policy is the one that the library computes")
    def return_by_the_library() -> Measured:
        where = f"{name} policy: {here.mean_return:.10g}, by {library.name} {there.mean_return:.10g}"
        return abs(here.mean_return - there.mean_return) / scale, library.bound, where

    @check("what a best response gains over a policy is what the library computes")
    def exploitability_by_the_library() -> Measured:
        where = f"{name} policy: {here.gain:.10g}, by {library.name} {there.gain:.10g}"
        return abs(here.gain - there.gain) / scale, library.bound, where

    return mean_fields_by_the_library(), return_by_the_library(), exploitability_by_the_library()


def _here(library: Library, policy: TabularPolicy) -> Measures:
    response = best_response(library.valued, policy)
    paths: Any = library.game.scenarios()
    mean_fields = eqx.filter_jit(rollout)(library.game, policy, paths.noise[0]).aggregates.mean_field
    return Measures(np.asarray(mean_fields)[:-1], response.mean_return, response.exploitability)


def _by_openspiel(game: OpenSpielGame, policy: TabularPolicy) -> Measures:
    own, exported = game.walk.game, policy.to_openspiel(game)
    measure = importlib.import_module(_MEASURES + "nash_conv").NashConv(own, exported)
    (root,) = own.new_initial_states()
    reached = measure.distribution
    value = importlib.import_module(_MEASURES + "policy_value").PolicyValue(own, reached, exported).eval_state(root)
    mean_fields = np.zeros((game.horizon, game.num_states))
    for time in range(game.horizon):
        names = game.state_names(time)
        mean_fields[time, : len(names)] = [reached.value_str(name, 0.0) for name in names]
    return Measures(mean_fields, float(value), float(measure.nash_conv()))


def _by_mfglib(game: MFGLibGame, policy: TabularPolicy) -> Measures:
    importlib.import_module("mfglib.alg")  # before mfglib.scoring, which cannot be imported first
    scoring, utils, torch = (importlib.import_module(name) for name in ("mfglib.scoring", "mfglib.utils", "torch"))
    environment = game.environment
    shape = (game.horizon, *environment.S, *environment.A)
    table = torch.tensor(np.asarray(policy.table).reshape(shape), dtype=environment.mu0.dtype)
    with torch.no_grad():
        joint = utils.mean_field_from_policy(table, env=environment)
        value = sum(float((joint[time] * environment.reward(time, joint[time])).sum()) for time in range(game.horizon))
        gain = float(scoring.exploitability_score(environment, table))
    mean_fields = joint.numpy().astype(float).reshape(game.horizon, game.num_states, game.num_actions).sum(-1)
    return Measures(mean_fields, value, gain)
