"""What the driver needs of a solver that trains a network, update by update."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg.games import Game
from structmfg.policies import NetworkPolicy


class Metrics(NamedTuple):
    """What an update reports: the mean return over its paths before the update, and the norm of the gradient."""

    mean_return: Float[Array, "..."]
    gradient_norm: Float[Array, "..."]


class NetworkSolver(eqx.Module):
    """A solver that trains `policy`, a network bound to the game. Its other fields are hyper-parameters.

    `recurrent`: whether it trains recurrent or memoryless policies; None for both.
    """

    policy: eqx.AbstractVar[NetworkPolicy]
    recurrent: ClassVar[bool | None] = None

    def __check_init__(self) -> None:
        name, policy = type(self).__name__, self.policy
        wanted = {True: "recurrent", False: "memoryless", None: "recurrent"}[self.recurrent]
        use = f"use policies.{wanted}(game)"
        if not isinstance(policy, NetworkPolicy):
            raise ValueError(f"{name} trains a network: {use}, but was given a {type(policy).__name__}")
        if self.recurrent is not None and policy.settings.recurrent != self.recurrent:
            given = "recurrent" if policy.settings.recurrent else "memoryless"
            raise ValueError(f"{name} trains a {wanted} policy, but was given a {given} one; {use}")

    @abc.abstractmethod
    def init(self, game: Game, key: PRNGKeyArray) -> Any:
        """The state before the first update: arrays only, on the key alone."""

    @abc.abstractmethod
    def update(self, game: Game, state: Any, max_steps: int) -> tuple[Any, Metrics]:
        """One update of `max_steps` planned ones, and what it measured of the state it started from."""

    @abc.abstractmethod
    def bound(self, state: Any) -> NetworkPolicy:
        """The policy with the parameters reached."""
