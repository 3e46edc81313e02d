"""The pure functions of a network, made by haiku from its settings; only this module imports haiku."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from structmfg._checks import check_integer, check_kind, check_name
from structmfg.games import Game
from structmfg.parallel import over_states
from structmfg.policies._base import Head, Hidden, ordered_logits
from structmfg.policies._gru import step, unroll

Architecture = Literal["factored", "joint"]


class NetworkSettings(NamedTuple):
    """The shape of a network; see `recurrent`.

    Attributes:
        recurrent: Whether a GRU remembers the observations.
        architecture: A trunk and a branch, or one network over both.
        head: Logits of all actions, or a Beta density over ordered ones.
        hidden: Units of the GRU, or of the layer over observations.
        width: Units in a layer over states.
        depth: Layers over states.
        rank: Products of trunk and branch.
        frequencies: Harmonics of features that the network gets, too.
        clock: Whether the network gets the time t / T.
        skip: Whether the present observation reaches the output past the GRU, too.
    """

    recurrent: bool = True
    architecture: Architecture = "factored"
    head: Head = "categorical"
    hidden: int = 64
    width: int = 64
    depth: int = 2
    rank: int = 32
    frequencies: int = 0
    clock: bool = True
    skip: bool = False

    def check(self) -> None:
        """Raise `ValueError` on an unknown architecture or head, or a size below one."""
        check_name("architecture", self.architecture, get_args(Architecture))
        check_name("head", self.head, get_args(Head))
        for name in ("hidden", "width", "depth", "rank"):
            check_integer(name, getattr(self, name), at_least=1)
        check_integer("frequencies", self.frequencies, at_least=0)
        for name in ("recurrent", "clock", "skip"):
            check_kind(name, getattr(self, name), bool)


class _Parts(NamedTuple):
    """The parts of a policy (see `policies.Policy`)."""

    prepare: Callable[..., Any]
    start: Callable[..., Any]
    embed: Callable[..., Any]
    update: Callable[..., Any]
    decode: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Functions:
    """The pure functions of a network: each takes its parameters first.

    It holds no function, only what the functions are made from, so that it can be copied, pickled and compared.
    """

    game: Game
    settings: NetworkSettings
    outputs: int
    ordered: bool

    @eqx.filter_jit  # of haiku's operations each would be a program of its own
    def initialise(self, key: PRNGKeyArray, observation: Float[Array, " observation"]) -> PyTree[Array]:
        """Random parameters, for observations of this shape."""
        return hk.multi_transform(self._build).init(key, observation)

    @property
    def parts(self) -> _Parts:
        """The functions, which take the parameters first."""
        return hk.without_apply_rng(hk.multi_transform(self._build)).apply

    def histories(
        self, parameters: PyTree[Array], observations: Float[Array, "times observation"], hidden: Hidden
    ) -> Hidden:
        """The hidden states (T, H) that `update` leads to; what does not need them is done for all times at once."""
        embedded = self.parts.embed(parameters, observations)
        if not self.settings.recurrent:
            return embedded
        unit = parameters["gru"]
        units = unroll(embedded @ unit["w_i"] + unit["b"], unit["w_h"], hidden[: self.settings.hidden])
        return jnp.concatenate([units, embedded], axis=-1) if self.settings.skip else units

    def _build(self) -> tuple[Callable[..., Any], _Parts]:
        recurrent, architecture, _, hidden, width, depth, rank, frequencies, _, skip = self.settings
        game, outputs, skip = self.game, self.outputs, recurrent and skip
        layer = hk.nets.MLP([hidden] * (1 if recurrent else 2), activation=jnp.tanh, activate_final=True, name="embed")
        layers = [width] * depth
        branch = hk.Linear(rank, name="branch")
        unit = _Unit(hidden, name="gru")
        trunk = hk.nets.MLP([*layers, outputs * (rank + 1)], activation=jax.nn.silu, name="trunk")
        joint = hk.nets.MLP([*layers, outputs], activation=jax.nn.silu, name="joint")

        def prepare() -> Array:
            features = _harmonics(over_states(jnp.asarray(game.state_features(), float)), frequencies)
            if architecture == "joint":
                return features
            return trunk(features).reshape(game.num_states, outputs, rank + 1)

        def start() -> Hidden:
            return jnp.zeros(2 * hidden if skip else hidden)

        def embed(observation: Array) -> Array:
            return layer(_harmonics(observation, frequencies))

        def update(state: Hidden, observation: Array) -> Hidden:
            embedded = embed(observation)
            following = unit(embedded, state[:hidden]) if recurrent else embedded
            return jnp.concatenate([following, embedded]) if skip else following

        def decode(prepared: Array, state: Hidden) -> Array:
            if architecture == "joint":
                pairs = jnp.concatenate([prepared, jnp.broadcast_to(state, (len(prepared), len(state)))], axis=-1)
                out = joint(pairs)
            else:
                weights = jnp.concatenate([branch(state), jnp.ones(1)])
                out = prepared @ weights
            return ordered_logits(out, game.action_positions()) if self.ordered else out

        def whole(observation: Array) -> Array:
            return decode(prepare(), update(start(), observation))

        return whole, _Parts(prepare, start, embed, update, decode)


class _Unit(hk.Module):
    """The gated recurrent unit of haiku, with the same parameters."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(name)
        self._size = size

    def __call__(self, inputs: Array, state: Hidden) -> Hidden:
        random = hk.initializers.VarianceScaling()  # type: ignore[no-untyped-call]
        w_i = hk.get_parameter("w_i", [inputs.shape[-1], 3 * self._size], inputs.dtype, random)
        w_h = hk.get_parameter("w_h", [self._size, 3 * self._size], inputs.dtype, random)
        b = hk.get_parameter("b", [3 * self._size], inputs.dtype, jnp.zeros)
        return step(inputs @ w_i + b, w_h, state)


def _harmonics(x: Float[Array, "*batch features"], frequencies: int) -> Float[Array, "*batch more"]:
    """x, and sin(k pi x), cos(k pi x) for k = 1..frequencies."""
    angles = x[..., None] * jnp.pi * jnp.arange(1, frequencies + 1)
    angles = angles.reshape(*x.shape[:-1], -1)
    return jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
