"""A stationary `Game` in sequence space: its mean field as aggregate paths, its parameters as shocks.

Agents respond by logit (see `LogitBlock`), as a small taste shock makes the policy a smooth function of the mean field.
The share of agents in each state is both an input and an output of the block; `GameEconomy` equates the two, so that
its steady state is a quantal response equilibrium and its transition paths are those of the mean field game.
"""

import copy
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from typing_extensions import override

from structmfg._checks import check_kind, check_rows, check_shape
from structmfg.economies.sequence_space._block import HouseholdBlock, Inputs
from structmfg.economies.sequence_space._economy import (
    Equations,
    HouseholdFunction,
    SequenceEconomy,
    SequenceSteadyState,
    steady_state,
)
from structmfg.economies.sequence_space._logit import LogitBlock, Table
from structmfg.economies.sequence_space._paths import AnyArray, Paths
from structmfg.games import AggregateState, Game, NoiselessGame
from structmfg.operators import TransitionKernel

_MAX_STATES = 100  # each is an input and an output, with a Jacobian (T, T) for every pair


class GameBlock(LogitBlock):
    """The agents of a game that goes on for ever, without common noise, who respond by logit.

    Inputs: `mass_i` and `next_mass_i`, the shares of agents in state i now and a period later, and the parameters.
    Outputs: `mass_i`, and `reward`, its mean.

    Attributes:
        game: The game.
        parameters: Names of the game's fields, numbers, that change over time.
    """

    game: Game = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self) -> None:
        if self.game.horizon is not None or not isinstance(self.game, NoiselessGame) or self.game.declared:
            raise ValueError(
                "a game in sequence space must go on for ever (horizon None), without common noise, public state or "
                f"market, but this {type(self.game).__name__} does not"
            )
        if self.game.num_states > _MAX_STATES:
            raise ValueError(
                f"a game in sequence space may have at most {_MAX_STATES} states, but this {type(self.game).__name__} "
                f"has {self.game.num_states}"
            )
        for name in self.parameters:
            if name == "discount" or not isinstance(getattr(self.game, name, None), float):
                raise ValueError(
                    f"parameters must name fields of {type(self.game).__name__} that are floating-point numbers, other "
                    f"than the discount, but {name!r} is none"
                )

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return (*self.masses, *(f"next_{name}" for name in self.masses), *self.parameters)

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (*self.masses, "reward")

    @property
    def masses(self) -> tuple[str, ...]:
        """The names of the shares of agents in every state."""
        return tuple(f"mass_{i}" for i in range(self.game.num_states))

    def at(self, inputs: Inputs) -> tuple[Any, AggregateState, AggregateState]:
        """The game with the parameters given, and the aggregate state now and a period later."""
        game = copy.copy(self.game)
        for name in self.parameters:
            object.__setattr__(game, name, inputs[name])  # a frozen dataclass, whose own checks want plain numbers
        none = jnp.zeros((), int)
        now, later = (jnp.stack([jnp.asarray(inputs[prefix + m]) for m in self.masses]) for prefix in ("", "next_"))
        return game, AggregateState(now, none, none), AggregateState(later, none, none)

    @override
    def reward(self, inputs: Inputs) -> Table:
        game, now, later = self.at(inputs)
        return game.reward_of_allowed(now, later)

    @override
    def kernel(self, inputs: Inputs) -> TransitionKernel:
        game, now, _ = self.at(inputs)
        return game.kernel(now)

    @override
    def outcomes(
        self, choice: Float[AnyArray, "states actions"], inputs: Inputs
    ) -> dict[str, Float[AnyArray, " states"]]:
        reward = self.reward(inputs)
        return dict(zip(self.masses, jnp.eye(len(self.masses)), strict=True)) | {"reward": (choice * reward).sum(-1)}


class GameEconomy(SequenceEconomy):
    """A stationary game as equations of aggregate paths: the shares of agents that are expected come true."""

    agents: GameBlock

    @property
    @override
    def exogenous(self) -> tuple[str, ...]:
        return self.agents.parameters

    @property
    @override
    def unknowns(self) -> tuple[str, ...]:
        return self.agents.masses

    @property
    @override
    def households(self) -> dict[str, HouseholdBlock]:
        return {"agents": self.agents}

    @override
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        masses = self.agents.masses
        following = {f"next_{name}": paths.lead(name) for name in masses}
        found = households["agents"](**paths, **following)
        return {name: found[name] - paths[name] for name in masses}, {"reward": found["reward"]}


def game_steady_state(
    game: Game,
    *,
    scale: float,
    parameters: tuple[str, ...] = (),
    initial: Float[AnyArray, " states"] | None = None,
    **options: Any,
) -> SequenceSteadyState:
    """Return the stationary quantal response equilibrium of a game, for `transition_path` and `impulse_response`.

    Args:
        game: A game that goes on for ever, without common noise, of at most 100 states.
        scale: The scale of the taste shocks, in units of the reward. As it falls, the equilibrium comes closer to a
            Nash equilibrium.
        parameters: Names of the game's fields that may be shocked.
        initial: The mean field (S,) from which the search starts; by default the game's own initial one. Where there
            are several equilibria, it decides which is found.
        options: Further arguments of `steady_state`.
    """
    check_kind("game", game, Game)
    block = GameBlock(scale, float(game.discount), game, parameters)
    values = {name: float(getattr(game, name)) for name in parameters}
    start = np.asarray(game.initial_mean_field(jnp.zeros((), int)) if initial is None else initial, float)
    check_shape("initial", start, (game.num_states,))
    check_rows("initial", start[None])
    values |= dict(zip(block.masses, start / start.sum(), strict=True))
    return steady_state(GameEconomy(block), values, unknown=block.masses, **options)
