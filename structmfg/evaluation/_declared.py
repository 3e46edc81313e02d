"""Checks of what a game declares beyond (mu, z, t), along the aggregate states that a policy reaches."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from structmfg.evaluation._paths import Trajectory, rollout, steps
from structmfg.games import AggregateState, Game, Noise, market_tolerance
from structmfg.policies import Policy, TabularPolicy


@eqx.filter_jit
def market_residuals(game: Game, policy: Policy, noise: Noise) -> Float[Array, "paths times markets"]:
    """The excess demand (N, T, P) that is left at the prices along N noise paths; it is zero where markets clear.

    Args:
        game: A game with markets.
        policy: The policy of the population.
        noise: The noise, leading axes (N, T+1).

    Raises:
        ValueError: If the game has no markets.
    """
    if "price" not in game.declared:
        raise ValueError(f"{type(game).__name__} has no markets: it declares no price_bracket")

    def along(path: Noise) -> Array:
        trajectory = rollout(game, policy, path)
        now = steps(trajectory.aggregates)[0]
        return jax.vmap(lambda aggregate, table: _market(game, aggregate, table)[0])(now, trajectory.policy)

    return jax.lax.map(along, noise)


class Findings(NamedTuple):
    """What tells whether allowed actions and markets are as they must be, at one or more aggregate states.

    Attributes:
        excess: (..., P); the excess demand at the prices; None in a game without markets.
        tolerance: (..., P); up to which it counts as zero.
        blocked: (..., S); whether no action is allowed; None in a game that allows all.
        misplaced: (..., S); the first action that is not allowed but has mass in a policy table that was given; or -1.
    """

    excess: Float[Array, "*at markets"] | None = None
    tolerance: Float[Array, "*at markets"] | None = None
    blocked: Bool[Array, "*at states"] | None = None
    misplaced: Int[Array, "*at states"] | None = None


def inspect_declared(
    game: Game, aggregate: AggregateState, table: Float[Array, "states actions"], policy: Policy | None = None
) -> Findings:
    """What `refuse_declared` needs to know of one aggregate state, after agents acted.

    Args:
        game: The game.
        aggregate: The aggregate state, with price and actions.
        table: What the population plays there, as far as it is allowed.
        policy: The policy that was given: a table with mass on what is not allowed is refused.
    """
    found = Findings()
    if (allowed := game.allowed(aggregate)) is not None:
        found = found._replace(blocked=~jnp.any(allowed, axis=-1))
        if isinstance(policy, TabularPolicy) and not policy.within_allowed:
            stray = (policy.table[aggregate.time] > 0) & ~allowed
            found = found._replace(misplaced=jnp.where(jnp.any(stray, axis=-1), jnp.argmax(stray, axis=-1), -1))
    if "price" in game.declared:
        excess, tolerance = _market(game, aggregate, table)
        found = found._replace(excess=excess, tolerance=tolerance)
    return found


def inspect_declared_along(game: Game, trajectory: Trajectory, policy: Policy) -> Findings:
    """The same at every step of a path, leading axis T; of a game that declares nothing, nothing."""
    if not game.declared:
        return Findings()
    now = steps(trajectory.aggregates)[0]
    return jax.lax.map(lambda at: inspect_declared(game, at[0], at[1], policy), (now, trajectory.policy))


def refuse_declared_along(game: Game, aggregates: AggregateState, found: Findings, policy: Policy) -> None:
    """Raise `ValueError` for what was found along N paths, leading axes (N, T); see `refuse_declared`."""
    if not game.declared:
        return
    nodes = jax.tree.map(lambda x: x[:, :-1], aggregates)
    nodes, found = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), (nodes, found))
    refuse_declared(game, nodes, found, policy)


def check_declared(
    game: Game, nodes: AggregateState, tables: Float[Array, "nodes states actions"], policy: Policy | None = None
) -> None:
    """Check allowed actions and markets at aggregate states (K, ...) at which the population plays tables (K, S, A).

    Args:
        game: The game.
        nodes: The aggregate states, with price and actions. Only as many of the first as there are tables are checked.
        tables: What the population plays at each, as far as it is allowed.
        policy: The policy that was given; see `inspect_declared`.

    Raises:
        ValueError: See `refuse_declared`.
    """
    if game.declared:
        nodes = jax.tree.map(lambda x: x[: len(tables)], nodes)
        refuse_declared(game, nodes, _inspect_nodes(game, nodes, tables, policy), policy)


@eqx.filter_jit
def _inspect_nodes(
    game: Game, nodes: AggregateState, tables: Float[Array, "nodes states actions"], policy: Policy | None
) -> Findings:
    return jax.lax.map(lambda at: inspect_declared(game, at[0], at[1], policy), (nodes, tables))


def refuse_declared(game: Game, nodes: AggregateState, found: Findings, policy: Policy | None = None) -> None:
    """Raise `ValueError` if what was found at aggregate states (K, ...) is not as it must be.

    Raises:
        ValueError: If a state has no allowed action, a table has mass on one that is not allowed, or a market does not
            clear.
    """
    if found.blocked is not None and len(faults := np.argwhere(np.asarray(found.blocked))):
        node, state = map(int, faults[0])
        raise ValueError(
            f"at least one action must be allowed in every state, but in state {state} {place(nodes, node)} none is"
        )
    if found.misplaced is not None and len(faults := np.argwhere(np.asarray(found.misplaced) >= 0)):
        assert isinstance(policy, TabularPolicy)
        node, state = map(int, faults[0])
        action = int(found.misplaced[node, state])
        mass = float(policy.table[int(nodes.time[node]), state, action])
        raise ValueError(
            f"a policy table must have no mass on actions that are not allowed, but has {mass:g} "
            f"in state {state} on action {action} {place(nodes, node)}"
        )
    _check_roots(game, nodes)
    if found.excess is not None:
        _check_cleared(nodes, np.asarray(found.excess), np.asarray(found.tolerance))


def _check_cleared(nodes: AggregateState, excess: np.ndarray, tolerance: np.ndarray) -> None:
    if len(faults := np.argwhere(~(np.abs(excess) <= tolerance))):
        node, market = map(int, faults[0])
        prices = np.asarray(nodes.price)
        raise ValueError(
            f"market {market} does not clear {place(nodes, node)}: at the price {prices[node, market]:g} "
            f"excess demand is {excess[node, market]:.3g}, so it jumps there or does not depend on the price"
        )


def describe_markets(game: Game, nodes: AggregateState) -> str | None:
    """A description of the first market, in time, without a root in its bracket; None where all have one."""
    try:
        _check_roots(game, nodes)
    except ValueError as error:
        return str(error)
    return None


def _check_roots(game: Game, nodes: AggregateState) -> None:
    if "price" not in game.declared:
        return
    times = np.asarray(nodes.time)
    faults = np.argwhere(np.isnan(np.asarray(nodes.price)) & (times < game.horizon)[:, None])
    if not len(faults):
        return
    node, market = map(int, faults[times[faults[:, 0]].argmin()])
    assert nodes.price is not None
    if (count := nodes.price.shape[-1]) > 1:
        raise ValueError(
            f"market {market} has no price {place(nodes, node)}: no prices were found within the brackets of "
            f"price_bracket at which all {count} markets clear"
        )
    low, high = (np.asarray(x)[market] for x in _bracket(game, jax.tree.map(lambda x: x[node], nodes)))
    raise ValueError(
        f"market {market} has no price {place(nodes, node)}: excess demand has the same sign, or is zero, at both ends "
        f"of the bracket [{low:g}, {high:g}] of price_bracket"
    )


def place(nodes: AggregateState, node: int) -> str:
    """The time and the common noise of a node, in words."""
    noise = [np.asarray(leaf)[node].ravel() for leaf in jax.tree.leaves(nodes.noise)]
    entries = [f"{entry:g}" for leaf in noise for entry in leaf[:4]]
    described = f" with common noise {', '.join(entries[:6])}" if entries else ""
    return f"at time {int(np.asarray(nodes.time)[node])}{described}"


def _market(game: Game, aggregate: AggregateState, table: Float[Array, "states actions"]) -> tuple[Array, Array]:
    """Excess demand (P,) at the price, and up to which one the market counts as cleared, at what is played."""
    before = aggregate.before_acting()
    joint = aggregate.mean_field[:, None] * table
    bracket = game.price_bracket(before)
    assert bracket is not None
    assert aggregate.price is not None
    at_ends = [game.excess_demand(before, jnp.asarray(price, float), joint) for price in bracket]
    return game.excess_demand(before, aggregate.price, joint), market_tolerance(*at_ends)


@eqx.filter_jit
def _bracket(game: Game, node: AggregateState) -> tuple[Array, Array]:
    bracket = game.price_bracket(node.before_acting())
    assert bracket is not None
    return bracket
