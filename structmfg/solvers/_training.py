"""What the driver needs of a solver that trains a policy, update by update."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import plain_fields
from structmfg.games import Game
from structmfg.policies import NetworkPolicy, ParametricPolicy


class Metrics(NamedTuple):
    """What an update reports: the mean return over its paths before the update, and the norm of the gradient."""

    mean_return: Float[Array, "..."]
    gradient_norm: Float[Array, "..."]


class TrainingSolver(eqx.Module):
    """A solver that trains `policy`, a network bound to the game, or a table. Its other fields are hyper-parameters.

    `rates`: which of them are learning rates. `recurrent`: whether it trains recurrent or memoryless networks; None for
    both. `trains`: the kind of policy.
    """

    policy: eqx.AbstractVar[ParametricPolicy]
    rates: ClassVar[tuple[str, ...]] = ("learning_rate",)
    recurrent: ClassVar[bool | None] = None
    trains: ClassVar[type[ParametricPolicy]] = NetworkPolicy

    def __post_init__(self) -> None:
        plain_fields(self)

    def __check_init__(self) -> None:
        name, policy = type(self).__name__, self.policy
        builder = {True: "recurrent", False: "memoryless", None: "recurrent"}[self.recurrent]
        wanted = builder if issubclass(self.trains, NetworkPolicy) else "binned"
        use = f"use policies.{wanted}(game)"
        if not isinstance(policy, self.trains):
            given = type(policy).__name__
            raise ValueError(f"{name} trains a {self.trains.noun}: {use}, but was given a {given}")
        if self.recurrent is not None and policy.settings.recurrent != self.recurrent:
            given = "recurrent" if policy.settings.recurrent else "memoryless"
            raise ValueError(f"{name} trains a {wanted} policy, but was given a {given} one; {use}")

    def scale_learning_rates(self, factor: Float[Array, ""]) -> "TrainingSolver":
        """The same solver with its learning rates times a factor."""
        rates = [getattr(self, name) for name in self.rates]
        return eqx.tree_at(lambda of: [getattr(of, name) for name in of.rates], self, [factor * x for x in rates])

    @abc.abstractmethod
    def init(self, game: Game, key: PRNGKeyArray) -> Any:
        """The state before the first update: arrays only, on the key alone."""

    @abc.abstractmethod
    def step(self, game: Game, state: Any, max_steps: int) -> tuple[Any, Metrics]:
        """One update of `max_steps` planned ones, and what it measured of the state it started from."""

    @abc.abstractmethod
    def policy_at(self, game: Game, state: Any) -> ParametricPolicy:
        """The policy with the parameters reached."""
