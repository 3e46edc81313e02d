"""What a policy is: pi(a | s, o_{0:t}), with everything that depends on the public history in one hidden state.

Only the public observations enter the hidden state, so one of them serves all individual states, and the mean field
stays a vector over states. A policy works in three parts, so that each is done no more often than it must be:

    prepared = policy.prepare()                           once for all times and noise paths (a trunk over states)
    hidden   = policy.update(hidden, observation, time)   once a time step and path; free of S
    logits   = policy.decode(prepared, hidden)            (S, A); pi = softmax(logits) over the actions

Policies on noise trees may know the noise itself: what `update` is given is up to `policy.signal`. Critics, values
V(s | o_{0:t}), work in the same three parts.
"""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg.games import AggregateState, Game, as_game

if TYPE_CHECKING:
    Hidden: TypeAlias = Any
else:
    Hidden = PyTree[Array]


class RecurrentModel(eqx.Module):
    """A function of the individual state and of the public history."""

    @abc.abstractmethod
    def prepare(self) -> Any:
        """What `decode` needs and depends neither on time nor on the noise."""

    @abc.abstractmethod
    def start(self) -> Hidden:
        """The hidden state before the first observation."""

    @abc.abstractmethod
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        """The hidden state once o_t (in the game's own units) is seen."""

    def histories(
        self,
        observations: Float[Array, "times observation"],
        hidden: Hidden | None = None,
        time: Int[Array, ""] | int = 0,
    ) -> Hidden:
        """The hidden states (T, ...) along one path of observations, o_t the first, from the one before it."""

        def step(hidden: Hidden, inputs: tuple[Array, Array]) -> tuple[Hidden, Hidden]:
            hidden = self.update(hidden, *inputs)
            return hidden, hidden

        times = time + jnp.arange(observations.shape[0])
        return jax.lax.scan(step, self.start() if hidden is None else hidden, (observations, times))[1]


AnyParametric = TypeVar("AnyParametric", bound="Parametric")


class Parametric(RecurrentModel):
    """A history map of a game with parameters to be trained: None until `initialised(key)` or `with_parameters`."""

    parameters: eqx.AbstractVar[PyTree[Array] | None]
    game: eqx.AbstractVar[Game]
    settings: eqx.AbstractVar[Any]  # a named tuple from which, with the game, all but the parameters can be made again
    kind_name: ClassVar[str]  # what it is, for messages

    @abc.abstractmethod
    def initialised(self: AnyParametric, key: PRNGKeyArray) -> AnyParametric:
        """The same with the parameters that training starts from."""

    def bound_to(self: AnyParametric, game: Game) -> AnyParametric:
        """The same with the same parameters, of another game."""
        return dataclasses.replace(self, game=game)

    def settled(self: AnyParametric) -> AnyParametric:
        """The same, of its game as that is now, should it have changed (see `games.as_game`)."""
        game = as_game(self.game)
        return self if game is self.game else self.bound_to(game)

    def with_parameters(self: AnyParametric, parameters: PyTree[Array]) -> AnyParametric:
        """The same with these parameters."""
        return eqx.tree_at(lambda p: p.parameters, self, parameters, is_leaf=lambda x: x is None)

    def require_parameters(self) -> PyTree[Array]:
        """The parameters; `ValueError` while there are none."""
        if self.parameters is None:
            raise ValueError(
                f"this {self.kind_name} has no parameters yet: call .initialised(key), or train it with solvers.solve"
            )
        return self.parameters


class Policy(RecurrentModel):
    """A policy over the individual states, conditioned on public observations."""

    def signal(self, aggregate: AggregateState, observation: Float[Array, " observation"]) -> Float[Array, " signal"]:
        """What `update` is given at t: the public observation, unless the policy is one that knows more."""
        return observation

    @abc.abstractmethod
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        """log pi(a | s, hidden), up to a constant in every row."""

    def unroll(self, observations: Float[Array, "times observation"]) -> Float[Array, "times states actions"]:
        """The logits of pi_t(a | s, o_{0:t}) for all t along one path of observations."""
        prepared = self.prepare()
        return jax.vmap(lambda hidden: self.decode(prepared, hidden))(self.histories(observations))


class ParametricPolicy(Parametric, Policy):
    """A policy with parameters to be trained."""

    @property
    def units(self) -> int:
        """How many hidden units for each individual state differentiation of `decode` holds."""
        return 0
