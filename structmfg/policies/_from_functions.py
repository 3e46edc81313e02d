"""Policies made from pure functions, written with any library: equinox, flax, haiku or plain JAX."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import check_kind
from structmfg.games import Game, check_game
from structmfg.policies._base import Hidden, ParametricPolicy


class PolicyFunctions(NamedTuple):
    """The functions of a policy; see `from_functions`."""

    init: Callable[[PRNGKeyArray], PyTree[Array]]
    apply: Callable[[PyTree[Array], Hidden], Array]
    update: Callable[[PyTree[Array], Hidden, Array, Array], Hidden] | None = None
    start: Callable[[PyTree[Array]], Hidden] | None = None

    @property
    def recurrent(self) -> bool:
        """Whether the policy remembers more than the latest observation."""
        return self.update is not None


class FunctionPolicy(ParametricPolicy):
    """A policy of a pair of pure functions `init` and `apply`; see `from_functions`."""

    kind_name = "policy of functions"
    parameters: PyTree[Array] | None
    game: Game = eqx.field(static=True)
    settings: PolicyFunctions = eqx.field(static=True)

    @override
    def initialised(self, key: PRNGKeyArray) -> "FunctionPolicy":
        return self.with_parameters(self.settings.init(key))

    @override
    def prepare(self) -> None:
        self.require_parameters()

    @override
    def start(self) -> Hidden:
        if self.settings.start is None:
            return jnp.zeros(self.game.observation_size + 1)
        return self.settings.start(self.parameters)

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        observation = self.game.normalise(observation)
        if self.settings.update is None:
            return jnp.append(observation, time / self.game.horizon)
        return self.settings.update(self.parameters, hidden, observation, time)

    @override
    def decode(self, prepared: None, hidden: Hidden) -> Float[Array, "states actions"]:
        return self.settings.apply(self.parameters, hidden)


def from_functions(
    game: Game,
    init: Callable[[PRNGKeyArray], PyTree[Array]],
    apply: Callable[[PyTree[Array], Hidden], Array],
    *,
    update: Callable[[PyTree[Array], Hidden, Array, Array], Hidden] | None = None,
    start: Callable[[PyTree[Array]], Hidden] | None = None,
) -> FunctionPolicy:
    """A policy from a pair of pure functions, which may come from any library; `examples/own_policy.py` shows one.

    Args:
        game: The game.
        init: `init(key) -> parameters`, a tree of arrays.
        apply: `apply(parameters, hidden) -> logits` (S, A); the policy is their softmax over actions.
        update: `update(parameters, hidden, observation, time) -> hidden`, given the normalised observation o_t (O,).
            By default the policy remembers nothing else, and the hidden state (O + 1,) is o_t followed by t / T.
        start: `start(parameters) -> hidden`, the hidden state before the first observation; needed with `update`.

    Returns:
        The policy, without parameters: call `.initialised(key)`, or train it with a subclass of
        `solvers.StructuralPolicyGradient` whose `trains` is `FunctionPolicy`.

    Raises:
        ValueError: If only one of `update` and `start` is given, or the game is not one.
    """
    check_kind("game", game, Game)
    check_game(game)
    if (update is None) != (start is None):
        raise ValueError("update and start must be given both or neither")
    return FunctionPolicy(None, game, PolicyFunctions(init, apply, update, start))
