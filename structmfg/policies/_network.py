"""Policies as haiku networks over the public observations.

The architecture "factored" evaluates a trunk over individual states once and combines it with a branch over the public
history,

    out(s, w | h) = sum_r trunk_r(s, w) branch_r(h),

a deep operator network (Lu et al. 2021, doi:10.1038/s42256-021-00302-5). "joint" is one network over every pair (s, h),
as in the RSPG paper.
"""

import dataclasses
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import check_kind, check_name, finite_horizon, plain
from structmfg._flags import own_rules
from structmfg.games import Game, check_game
from structmfg.policies._base import Hidden, Parametric, ParametricPolicy
from structmfg.policies._functions import Functions, NetworkSettings

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(Parametric):
    """A network, bound to a game."""

    kind_name = "network"

    parameters: PyTree[Array] | None
    network: Functions = eqx.field(static=True)
    game: Game = eqx.field(static=True)
    settings: NetworkSettings = eqx.field(static=True)

    @override
    def bound_to(self: AnyNetwork, game: Game) -> AnyNetwork:
        return dataclasses.replace(self, game=game, network=dataclasses.replace(self.network, game=game))

    @override
    @own_rules()
    def initialised(self: AnyNetwork, key: PRNGKeyArray) -> AnyNetwork:
        inputs = self.game.observation_size + (self.settings.recurrent and self.settings.clock)
        return self.with_parameters(self.network.initialise(key, jnp.zeros(inputs)))

    @override
    def prepare(self) -> Any:
        """The trunk over individual states, with leading axis S; `decode` also takes rows of it, for some states."""
        return self.network.parts.prepare(self.require_parameters())

    @override
    def start(self) -> Hidden:
        return self.network.parts.start(self.parameters)

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        return self.network.parts.update(self.parameters, hidden, self._input(observation, time))

    @override
    def histories(
        self,
        observations: Float[Array, "times observation"],
        hidden: Hidden | None = None,
        time: Int[Array, ""] | int = 0,
    ) -> Hidden:
        inputs = jax.vmap(self._input)(observations, time + jnp.arange(observations.shape[0]))
        return self.network.histories(self.parameters, inputs, self.start() if hidden is None else hidden)

    def _input(self, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Float[Array, " inputs"]:
        """What the network gets of an observation: it in the network's units, and the time where there is a clock."""
        signal = self.game.normalise(observation)
        if self.settings.recurrent and self.settings.clock:
            signal = jnp.append(signal, time / self.game.horizon)
        return signal


class NetworkPolicy(Network, ParametricPolicy):
    """A policy pi(a | s, o_{0:t}) given by a network."""

    @property
    @override
    def units(self) -> int:
        """The units of a joint network; a trunk is evaluated once for all times, so it adds none."""
        return self.settings.width * self.settings.depth if self.settings.architecture == "joint" else 0

    @override
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "some actions"]:
        return self.network.parts.decode(self.parameters, prepared, hidden)


class Critic(Network):
    """Values V(s | o_{0:t}) given by a network."""

    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, " some"]:
        """The values V(s | hidden) of all states, or of the states whose rows of the trunk are given."""
        return self.network.parts.decode(self.parameters, prepared, hidden)[..., 0]


def recurrent(game: Game, **settings: Any) -> NetworkPolicy:
    """A policy pi(a | s, o_{0:t}) with a gated recurrent unit (GRU) over the normalised public observations.

    Args:
        game: The game.
        **settings: Fields of `NetworkSettings`. `architecture`: "factored" (a trunk and a branch with `rank` products)
            or "joint" (one network over the state and the hidden state). `head`: "categorical", or "ordered" for
            actions on a scale, a Beta density over `game.action_positions()`. `hidden`: units of the GRU. `width`,
            `depth`: of the perceptron over states. `frequencies`: harmonics of every state feature and observation that
            the network gets beside it, for policies that change within a few cells of a long line (Tancik et al. 2020,
            arXiv 2006.10739). `clock`: whether the recurrent network gets t / T beside the observation; without it the
            hidden state must learn to count. A memoryless policy gets no clock. `skip`: whether the present observation
        reaches the output past the GRU, too, for policies that change from one step to the next.

    Returns:
        The policy, without parameters: call `.initialised(key)`, or train it with `solvers.solve`.

    Raises:
        ValueError: If a setting is unknown or out of range.
    """
    return network_policy(game, recurrent=True, **settings)


def memoryless(game: Game, **settings: Any) -> NetworkPolicy:
    """A policy pi(a | s, o_t): as `recurrent`, but a perceptron of `hidden` units over o_t replaces the GRU."""
    return network_policy(game, recurrent=False, **settings)


def network_policy(game: Game, **settings: Any) -> NetworkPolicy:
    """The policy of `NetworkSettings(**settings)`; `recurrent` and `memoryless` are its two kinds."""
    check_kind("game", game, Game)
    check_game(game)
    finite_horizon(game)
    for name in settings:
        check_name("policy setting", name, NetworkSettings._fields)
    chosen = NetworkSettings(**{name: plain(value) for name, value in settings.items()})
    chosen.check()
    ordered = chosen.head == "ordered"
    network = Functions(game, chosen, 2 if ordered else game.num_actions, ordered)
    return NetworkPolicy(parameters=None, network=network, game=game, settings=chosen)


def critic(policy: NetworkPolicy) -> Critic:
    """A critic for a policy: a network of the same shape with one output a state."""
    network = Functions(policy.game, policy.settings, 1, False)
    return Critic(parameters=None, network=network, game=policy.game, settings=policy.settings)
