"""The game that is made of a walk through a game of OpenSpiel's."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Declared
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_definition
from structmfg.games.imports._programs import Numbers, at_time
from structmfg.games.imports._tables import Tables
from structmfg.games.imports._walk import Walk
from structmfg.operators import SuccessorKernel, TransitionKernel


class ImportedGame(NoiselessGame):
    """A mean field game of another library, as tables of successors and formulas of rewards.

    An individual state is a node at which the population is about to move; `state_names` has their names by time.
    Numbers of states that are not used at a time are states in which nobody is. Observation: the mean field.

    Attributes:
        source_name: The name for reports, such as "openspiel:mfg_garnet".
        tables: The game in arrays.
    """

    num_states: int
    num_actions: int
    horizon: Any
    discount = 1.0
    source_name: str
    tables: Tables

    def _adopt(self, name: str, walk: Walk, tables: Tables) -> None:
        """Take what a walk found; the fields of a frozen dataclass cannot be set in another way."""
        if tables.guards is not None and not jax.config.read("jax_enable_x64"):
            raise ValueError(
                f"the moves of {name} depend on the mean field by rounding, which single precision would change: set "
                "jax_enable_x64 (--precision float64)"
            )
        own = {"num_states": tables.num_states, "num_actions": tables.num_actions, "horizon": tables.horizon}
        vars(self).update(own, source_name=name, tables=tables, walk=walk)
        check_definition(self, sampled=False)

    @functools.cached_property
    def walk(self) -> Walk:
        """What was found in the other library's game; it is no part of the content by which games are compared."""
        raise ValueError("this copy of the game has lost what it was made of: import it again")

    def __repr__(self) -> str:
        return self.source_name

    def state_names(self, time: int) -> list[str]:
        """The names of the nodes that are the individual states at a time 0..T, in the order of their numbers."""
        return list(self.walk.stages[time].names)

    @property
    @override
    def declared(self) -> frozenset[Declared]:
        every = self.tables.allowed.all() and self.tables.guards is None
        return super().declared - (frozenset({"allowed"}) if every else frozenset())

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        rows = self._rows(aggregate)
        indices = self._of_rows(self.tables.indices, rows, aggregate)
        probabilities = self._of_rows(self.tables.probabilities, rows, aggregate).astype(aggregate.mean_field.dtype)
        if rows is not None:
            probabilities = jnp.where(rows.reshape(*indices.shape[:2], 1) < 0, jnp.nan, probabilities)
        return SuccessorKernel(indices, probabilities, checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """The expected reward on the way to the next state, and that of being in the first state, at t = 0."""
        rows, tables = self._rows(aggregate), self.tables
        rewards = tables.rewards.at(aggregate.time, following.mean_field)
        paid, probabilities = (self._of_rows(x, rows, aggregate) for x in (tables.paid, tables.probabilities))
        probabilities = probabilities.astype(rewards.dtype)
        expected = jnp.sum(jnp.where(probabilities > 0, probabilities * rewards[paid], 0), axis=-1)
        first = tables.first_rewards.at(jnp.zeros((), int), aggregate.mean_field)[tables.first_paid]
        return expected + jnp.where(aggregate.time == 0, first, 0)[:, None]

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"] | None:
        rows = self._rows(aggregate)
        allowed = self._of_rows(self.tables.allowed, rows, aggregate)
        return allowed if rows is None else allowed | (rows.reshape(allowed.shape) < 0)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        """The whole mean field, or nothing where neither moves nor rewards depend on it."""
        numbers = (self.tables.rewards, self.tables.first_rewards, self.tables.guards)
        reads = any(isinstance(each, Numbers) and each.reads_mean_field for each in numbers)
        return mean_field if reads else mean_field[:0]

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.asarray(self.tables.initial, float)

    def _rows(self, aggregate: AggregateState) -> Int[Array, " pairs"] | None:
        """The row of every state and action whose guards hold, -1 where there is none; None where nothing is guarded.

        A guard that holds for no known row is a branch of the other library's code that was not met when its game was
        imported: then the kernel is not a number.
        """
        tables = self.tables
        if tables.guards is None:
            return None
        numbers = tables.guards.at(aggregate.time, aggregate.mean_field)
        results = at_time(tables.result, aggregate.time).astype(numbers.dtype)
        holds = jnp.all(jnp.isnan(results) | (numbers[at_time(tables.guard, aggregate.time)] == results), axis=-1)
        chosen = jnp.where(holds, jnp.arange(holds.size), -1)
        none = jnp.full(tables.num_states * tables.num_actions, -1)
        return none.at[at_time(tables.pair, aggregate.time)].max(chosen)

    def _of_rows(self, table: np.ndarray, rows: Array | None, aggregate: AggregateState) -> Array:
        """The part of a table (T, R, ...) of every state and action (S, A, ...)."""
        own = at_time(table, aggregate.time)
        own = own if rows is None else own[jnp.maximum(rows, 0)]
        return own.reshape(self.num_states, self.num_actions, *own.shape[1:])
