"""Policies as haiku networks over the public observations.

`Factored` evaluates a trunk over individual states once and combines it with a branch over the public history,

    out(s, w | h) = sum_r trunk_r(s, w) branch_r(h),

a deep operator network (Lu et al. 2021, doi:10.1038/s42256-021-00302-5). `Joint` is one network over every pair (s, h),
as in the RSPG paper. Haiku appears in this module only.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_integer, check_kind, check_name
from structmfg.games import Game
from structmfg.policies._base import Hidden, Parametric, ParametricPolicy
from structmfg.policies._heads import Head, ordered_logits

Architecture = Literal["factored", "joint"]


AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class _Network(NamedTuple):
    """The pure functions of a network: every one takes the parameters first, and none a random key."""

    init: Callable[..., Any]
    prepare: Callable[..., Any]
    start: Callable[..., Any]
    update: Callable[..., Any]
    decode: Callable[..., Any]


class Network(Parametric):
    """A network bound to a game."""

    noun = "network"

    parameters: PyTree[Array] | None
    network: _Network = eqx.field(static=True)
    game: Game = eqx.field(static=True)
    settings: "NetworkSettings" = eqx.field(static=True)

    def initialised(self: AnyNetwork, key: PRNGKeyArray) -> AnyNetwork:
        """The same network with random parameters."""
        inputs = self.game.observation_size + (self.settings.recurrent and self.settings.clock)
        return self.with_parameters(self.network.init(key, jnp.zeros(inputs)))

    def prepare(self) -> Any:
        """The trunk over individual states, of leading axis S. `ValueError` while there are no parameters.

        `decode` takes the rows of some states as well, and gives theirs.
        """
        return self.network.prepare(self.given())

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


class NetworkSettings(NamedTuple):
    """The shape of a network; see `recurrent`."""

    recurrent: bool = True
    architecture: Architecture = "factored"
    head: Head = "categorical"
    hidden: int = 64
    width: int = 64
    depth: int = 2
    rank: int = 32
    frequencies: int = 0
    clock: bool = True

    def check(self) -> None:
        """Raise `ValueError` on an unknown architecture or head, or a size below one."""
        check_name("architecture", self.architecture, get_args(Architecture))
        check_name("head", self.head, get_args(Head))
        for name in ("hidden", "width", "depth", "rank"):
            check_integer(name, getattr(self, name), at_least=1)
        check_integer("frequencies", self.frequencies, at_least=0)


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
    for name in settings:
        check_name("policy setting", name, NetworkSettings._fields)
    chosen = NetworkSettings(**settings)
    chosen.check()
    ordered = chosen.head == "ordered"
    network = _network(game, chosen, 2 if ordered else game.num_actions, ordered)
    return NetworkPolicy(parameters=None, network=network, game=game, settings=chosen)


def critic(policy: NetworkPolicy) -> Critic:
    """The values of a policy's game, by a network of the same shape with one output a state."""
    network = _network(policy.game, policy.settings, 1, False)
    return Critic(parameters=None, network=network, game=policy.game, settings=policy.settings)


def _network(game: Game, settings: NetworkSettings, outputs: int, ordered: bool) -> _Network:
    recurrent, architecture, _, hidden, width, depth, rank, frequencies, _ = settings

    def build() -> tuple[Callable[..., Any], _Network]:
        core: hk.RNNCore = hk.GRU(hidden) if recurrent else hk.IdentityCore()
        embed = hk.nets.MLP([hidden] * (1 if recurrent else 2), activation=jnp.tanh, activate_final=True, name="embed")
        layers = [width] * depth
        branch = hk.Linear(rank, name="branch")
        trunk = hk.nets.MLP([*layers, outputs * (rank + 1)], activation=jax.nn.silu, name="trunk")
        joint = hk.nets.MLP([*layers, outputs], activation=jax.nn.silu, name="joint")

        def prepare() -> Array:
            features = _harmonics(game.state_features(), frequencies)
            if architecture == "joint":
                return features
            return trunk(features).reshape(game.num_states, outputs, rank + 1)

        def start() -> Hidden:
            return jnp.zeros(hidden)

        def update(state: Hidden, observation: Array) -> Hidden:
            embedded = embed(_harmonics(observation, frequencies))
            return core(embedded, state)[1] if recurrent else embedded

        def decode(prepared: Array, state: Hidden) -> Array:
            if architecture == "joint":
                pairs = jnp.concatenate([prepared, jnp.broadcast_to(state, (len(prepared), hidden))], axis=-1)
                out = joint(pairs)
            else:
                weights = jnp.concatenate([branch(state), jnp.ones(1)])
                out = prepared @ weights
            return ordered_logits(out, game.action_positions()) if ordered else out

        def whole(observation: Array) -> Array:
            return decode(prepare(), update(start(), observation))

        return whole, _Network(whole, prepare, start, update, decode)

    transformed = hk.multi_transform(build)

    def pure(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda parameters, *arguments: function(parameters, None, *arguments)

    apply = transformed.apply
    return _Network(transformed.init, pure(apply.prepare), pure(apply.start), pure(apply.update), pure(apply.decode))


def _harmonics(x: Float[Array, "*batch features"], frequencies: int) -> Float[Array, "*batch more"]:
    """x, and sin(k pi x), cos(k pi x) for k = 1..frequencies."""
    angles = x[..., None] * jnp.pi * jnp.arange(1, frequencies + 1)
    angles = angles.reshape(*x.shape[:-1], -1)
    return jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
