"""What a policy is: pi(a | s, o_{0:t}), with everything that depends on the public history in one hidden state.

Only public observations enter the hidden state, so one hidden state serves all individual states, and the mean field
stays a vector over states. A policy works in three parts, so that each is computed no more often than it must be:

    prepared = policy.prepare()                           once for all times and noise paths (a trunk over states)
    hidden   = policy.update(hidden, observation, time)   once a time step and path, at a cost free of S
    logits   = policy.decode(prepared, hidden)            (S, A); pi = softmax(logits) over the actions

Policies on noise trees may know the noise itself: `policy.signal` chooses what `update` is given. Critics, which are
values V(s | o_{0:t}), work in the same three parts.
"""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg.games import AggregateState, Game, as_game
from structmfg.policies._to_openspiel import to_openspiel

Head = Literal["categorical", "ordered"]

if TYPE_CHECKING:
    Hidden: TypeAlias = Any
else:
    Hidden = PyTree[Array]


class RecurrentModel(eqx.Module):
    """A function of the individual state and of the history of public observations."""

    @abc.abstractmethod
    def prepare(self) -> Any:
        """What `decode` needs and what depends neither on time nor on the noise."""

    @abc.abstractmethod
    def start(self) -> Hidden:
        """The hidden state before the first observation."""

    @abc.abstractmethod
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        """The hidden state after o_t (in the game's own units), from the one before it."""

    def histories(
        self,
        observations: Float[Array, "times observation"],
        hidden: Hidden | None = None,
        time: Int[Array, ""] | int = 0,
    ) -> Hidden:
        """The hidden states (T, ...) along one path of observations.

        Args:
            observations: o_t, ... (T, O), T steps from `time`.
            hidden: The hidden state before the first of them; by default `start()`.
            time: t, the time of the first.
        """

        def step(hidden: Hidden, inputs: tuple[Array, Array]) -> tuple[Hidden, Hidden]:
            hidden = self.update(hidden, *inputs)
            return hidden, hidden

        times = time + jnp.arange(observations.shape[0])
        return jax.lax.scan(step, self.start() if hidden is None else hidden, (observations, times))[1]


AnyParametric = TypeVar("AnyParametric", bound="Parametric")


class Parametric(RecurrentModel):
    """A recurrent model of a game, with parameters to be trained.

    Attributes:
        parameters: A tree of arrays; None until `initialised(key)` or `with_parameters`.
        game: The game.
        settings: A named tuple from which, with the game, everything but the parameters can be made again.
        kind_name: What the model is called in messages.
    """

    parameters: eqx.AbstractVar[PyTree[Array] | None]
    game: eqx.AbstractVar[Game]
    settings: eqx.AbstractVar[Any]
    kind_name: ClassVar[str]

    @abc.abstractmethod
    def initialised(self: AnyParametric, key: PRNGKeyArray) -> AnyParametric:
        """The same model with random parameters, from which training starts."""

    def bound_to(self: AnyParametric, game: Game) -> AnyParametric:
        """The same model, with the same parameters, of another game."""
        return dataclasses.replace(self, game=game)

    def with_current_game(self: AnyParametric) -> AnyParametric:
        """The same model of its game as the game is now, should it have changed (see `games.as_game`)."""
        game = as_game(self.game)
        return self if game is self.game else self.bound_to(game)

    def with_parameters(self: AnyParametric, parameters: PyTree[Array]) -> AnyParametric:
        """The same model with these parameters."""
        return eqx.tree_at(lambda p: p.parameters, self, parameters, is_leaf=lambda x: x is None)

    def require_parameters(self) -> PyTree[Array]:
        """The parameters.

        Raises:
            ValueError: If there are none yet.
        """
        if self.parameters is None:
            raise ValueError(
                f"this {self.kind_name} has no parameters yet: call .initialised(key), or train it with solvers.solve"
            )
        return self.parameters


class Policy(RecurrentModel):
    """A policy pi(a | s, o_{0:t}) over individual states, conditioned on public observations.

    Subclass it, or give a pair of functions to `from_functions`.
    """

    def signal(self, aggregate: AggregateState, observation: Float[Array, " observation"]) -> Float[Array, " signal"]:
        """What `update` is given at t; the public observation, unless the policy knows more."""
        return observation

    @abc.abstractmethod
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        """log pi(a | s, hidden), up to a constant in every row."""

    def to_openspiel(self, game: Game) -> Any:
        """The policy as one that OpenSpiel's algorithms take.

        Args:
            game: The game that `games.from_openspiel` made.

        Returns:
            An `open_spiel.python.policy.Policy`. It knows every decision that can be reached under the policy's own
            mean field.

        Raises:
            ValueError: OpenSpiel is not installed, or the game is not one of its games.
        """
        return to_openspiel(self, game)

    def unroll(self, observations: Float[Array, "times observation"]) -> Float[Array, "times states actions"]:
        """The logits of pi_t(a | s, o_{0:t}) for all t along one path of observations."""
        prepared = self.prepare()
        return jax.vmap(lambda hidden: self.decode(prepared, hidden))(self.histories(observations))


class ParametricPolicy(Parametric, Policy):
    """A policy with parameters to be trained."""

    @property
    def units(self) -> int:
        """The number of hidden units for each individual state that differentiation of `decode` holds in memory."""
        return 0


def ordered_logits(
    out: Float[Array, "states 2"], positions: Float[Array, " actions"]
) -> Float[Array, "states actions"]:
    """The log-density of Beta(a, b), a, b >= 1, at the positions of the actions, up to a constant in every row."""
    shape = jax.nn.softplus(out)
    return shape[..., :1] * jnp.log(positions) + shape[..., 1:] * jnp.log1p(-positions)
