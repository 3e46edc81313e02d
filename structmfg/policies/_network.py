"""Policies as haiku networks over the public observations.

`Factored` evaluates a trunk over individual states once and combines it with a branch over the public history,

    out(s, w | h) = sum_r trunk_r(s, w) branch_r(h),

a deep operator network (Lu et al. 2021, doi:10.1038/s42256-021-00302-5). `Joint` is one network over every pair (s, h),
as in the RSPG paper.
"""

import dataclasses
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_kind, check_name, plain
from structmfg._flags import own_rules
from structmfg.games import Game, check_game
from structmfg.policies._base import Hidden, Parametric, ParametricPolicy
from structmfg.policies._functions import Functions, NetworkSettings

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(Parametric):
    """A network bound to a game."""

    kind_name = "network"

    parameters: PyTree[Array] | None
    network: Functions = eqx.field(static=True)
    game: Game = eqx.field(static=True)
    settings: NetworkSettings = eqx.field(static=True)

    def bound_to(self: AnyNetwork, game: Game) -> AnyNetwork:
        """The functions, too."""
        return dataclasses.replace(self, game=game, network=dataclasses.replace(self.network, game=game))

    @own_rules()
    def initialised(self: AnyNetwork, key: PRNGKeyArray) -> AnyNetwork:
        """The same network with random parameters."""
        inputs = self.game.observation_size + (self.settings.recurrent and self.settings.clock)
        return self.with_parameters(self.network.initialise(key, jnp.zeros(inputs)))

    def prepare(self) -> Any:
        """The trunk over individual states, of leading axis S. `ValueError` while there are no parameters.

        `decode` takes the rows of some states as well, and gives theirs.
        """
        return self.network.prepare(self.require_parameters())

    def start(self) -> Hidden:
        """A vector of zeros."""
        return self.network.start(self.parameters)

    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        """The recurrent cell, or without one the observation alone."""
        seen = self.game.normalise(observation)
        if self.settings.recurrent and self.settings.clock:
            seen = jnp.append(seen, time / self.game.horizon)
        return self.network.update(self.parameters, hidden, seen)


class NetworkPolicy(Network, ParametricPolicy):
    """pi(a | s, o_{0:t}) by a network."""

    @property
    def units(self) -> int:
        """Those of a joint network; a trunk is evaluated once for all times."""
        return self.settings.width * self.settings.depth if self.settings.architecture == "joint" else 0

    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "some actions"]:
        """The head over branch and trunk."""
        return self.network.decode(self.parameters, prepared, hidden)


class Critic(Network):
    """Values V(s | o_{0:t}) by a network."""

    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, " some"]:
        """V(s | hidden)."""
        return self.network.decode(self.parameters, prepared, hidden)[..., 0]


def recurrent(game: Game, **settings: Any) -> NetworkPolicy:
    """pi(a | s, o_{0:t}): a GRU over the normalised public observations.

    - `architecture`: "factored" (trunk and branch with `rank` products) or "joint" (one network over state and hidden
      state).
    - `head`: "categorical", or "ordered": a Beta density over `game.action_positions()`, for actions on a scale.
    - `hidden`: units of the GRU. `width`, `depth`: of the perceptron over states (trunk, or joint network).
    - `frequencies`: harmonics of every state feature and observation given to the network beside it, for policies that
      change over a few cells of a long line (Tancik et al. 2020, arXiv 2006.10739).
    - `clock`: whether the recurrent network sees t / T, the length of the history, beside the observation. Without it
      the hidden state must learn to count. A memoryless policy has none.

    Raises `ValueError` on an unknown setting or one out of range.
    """
    return network_policy(game, recurrent=True, **settings)


def memoryless(game: Game, **settings: Any) -> NetworkPolicy:
    """pi(a | s, o_t): as `recurrent`, with a perceptron of `hidden` units over the latest observation for the GRU."""
    return network_policy(game, recurrent=False, **settings)


def network_policy(game: Game, **settings: Any) -> NetworkPolicy:
    """The policy of `NetworkSettings(**settings)`; `recurrent` and `memoryless` are its two kinds."""
    check_kind("game", game, Game)
    check_game(game)
    for name in settings:
        check_name("policy setting", name, NetworkSettings._fields)
    chosen = NetworkSettings(**{name: plain(value) for name, value in settings.items()})
    chosen.check()
    ordered = chosen.head == "ordered"
    network = Functions(game, chosen, 2 if ordered else game.num_actions, ordered)
    return NetworkPolicy(parameters=None, network=network, game=game, settings=chosen)


def critic(policy: NetworkPolicy) -> Critic:
    """The values of a policy's game, by a network of the same shape with one output a state."""
    network = Functions(policy.game, policy.settings, 1, False)
    return Critic(parameters=None, network=network, game=policy.game, settings=policy.settings)
