"""Policies given as tables of action probabilities."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from typing_extensions import override

from structmfg._checks import check_kind
from structmfg.games import Game, check_game
from structmfg.policies._base import Hidden, ParametricPolicy, Policy
from structmfg.policies._tree import TreePolicy


class TabularPolicy(Policy):
    """A table (T, S, A) of action probabilities by time and individual state; it ignores observations.

    Of a game that goes on for ever, T is 1: the policy is the same at all times.

    Attributes:
        table: (T, S, A).
        within_allowed: Whether mass on actions that the game does not allow moves to those that it allows; otherwise
            evaluations refuse it.
    """

    table: Float[Array, "times states actions"]
    within_allowed: bool = eqx.field(static=True, default=False)

    @override
    def prepare(self) -> Any:
        return None

    @override
    def start(self) -> Hidden:
        return jnp.zeros(self.table.shape[1:])

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        return jnp.log(self.table[time])

    @override
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        return hidden

    @override
    def to_openspiel(self, game: Game) -> Any:
        """See `Policy.to_openspiel`. `ValueError` also where the table is one for other sizes or another horizon."""
        as_policy(game, self)
        return super().to_openspiel(game)


class StationaryPolicy(Policy):
    """A table (S, A) of action probabilities, the same at all times, and the mean field that it keeps up.

    A policy may have several stationary mean fields, so an equilibrium of a game that goes on for ever is a pair of
    both. They are NumPy arrays in double precision, whatever JAX's default.

    Attributes:
        table: The probabilities (S, A) of the actions.
        mean_field: mu (S,).
    """

    table: Float[np.ndarray, "states actions"]
    mean_field: Float[np.ndarray, " states"]

    @override
    def prepare(self) -> Any:
        return jnp.log(jnp.asarray(self.table, float))

    @override
    def start(self) -> Hidden:
        return jnp.zeros(())

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        return hidden

    @override
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        return prepared


def tabular(game: Game, table: ArrayLike, *, tolerance: float = 1e-4) -> TabularPolicy:
    """The policy of a table of action probabilities.

    Args:
        game: The game.
        table: (S, A), used at all times, or (T, S, A).
        tolerance: By how much a row may differ from a sum of one.

    Returns:
        The policy.

    Raises:
        ValueError: If the table has another shape, negative or non-finite entries, or rows that do not sum to one.
    """
    values = np.asarray(table, dtype=np.float64)
    table_shape = (game.num_states, game.num_actions)
    allowed = (table_shape, (game.horizon or 1, *table_shape))
    if values.shape not in allowed:
        raise ValueError(
            f"a policy table must have shape (S, A) = {table_shape} or (T, S, A) = {allowed[1]}, not {values.shape}"
        )
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("a policy table must hold finite probabilities >= 0, but some are negative, NaN or infinite")
    sums = values.sum(-1)
    worst = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
    if abs(sums[worst] - 1) > tolerance:
        raise ValueError(
            f"every row of a policy table must sum to 1 within {tolerance:g}, but row {tuple(map(int, worst))} sums to "
            f"{sums[worst]:.6g}"
        )
    return TabularPolicy(jnp.asarray(np.broadcast_to(values, allowed[1])))


def uniform(game: Game) -> TabularPolicy:
    """The policy under which every allowed action is equally likely; every report compares with it."""
    check_kind("game", game, Game)
    check_game(game)
    table = tabular(game, np.full((game.num_states, game.num_actions), 1 / game.num_actions)).table
    return TabularPolicy(table, within_allowed="allowed" in game.declared)


def as_policy(game: Game, policy: Policy | ArrayLike) -> Policy:
    """A policy as it is, or the tabular policy of a table.

    Args:
        game: The game.
        policy: A `Policy`, or a table (S, A) or (T, S, A).

    Returns:
        The policy.

    Raises:
        ValueError: If it is neither, or a table of other sizes or another horizon than the game's.
    """
    check_kind("game", game, Game)
    if isinstance(policy, ParametricPolicy):
        return policy.with_current_game()
    if isinstance(policy, StationaryPolicy):
        if (shape := np.shape(policy.table)) != (sizes := (game.num_states, game.num_actions)):
            raise ValueError(f"the policy is one for (S, A) = {shape}, but the game has {sizes}")
    elif isinstance(policy, TabularPolicy | TreePolicy):
        tables, horizon = (
            (policy.table, len(policy.table))
            if isinstance(policy, TabularPolicy)
            else (policy.logits, int(np.max(policy.time)) + 1)
        )
        found, needed = (horizon, *tables.shape[1:]), (game.horizon or 1, game.num_states, game.num_actions)
        if found != needed:
            raise ValueError(f"the policy is one for (T, S, A) = {found}, but the game has {needed}")
    elif not isinstance(policy, Policy):
        try:
            given = np.asarray(policy)
            if np.iscomplexobj(given):
                raise TypeError("complex")
            table = given.astype(float)
        except (TypeError, ValueError, OverflowError):
            kind = type(policy).__name__
            raise ValueError(f"a policy must be a table or a policies.Policy, but is a {kind}") from None
        return tabular(game, table)
    return policy
