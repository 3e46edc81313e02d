"""Checks of what a game declares beyond (mu, z, t), along the aggregate states that a policy reaches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from structmfg.evaluation._paths import rollout, steps
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


def check_declared_along(game: Game, policy: Policy, noise: Noise) -> None:
    """Check allowed actions and markets along N noise paths, leading axes (N, T+1); see `check_declared`."""
    if not game.declared:
        return
    for path in range(len(jax.tree.leaves(noise)[0])):
        nodes, tables = _along(game, policy, jax.tree.map(lambda z, i=path: z[i], noise))
        check_declared(game, nodes, tables, policy)


@eqx.filter_jit
def _along(game: Game, policy: Policy, path: Noise) -> tuple[AggregateState, Float[Array, "times states actions"]]:
    trajectory = rollout(game, policy, path)
    return steps(trajectory.aggregates)[0], trajectory.policy


def check_declared(
    game: Game, nodes: AggregateState, tables: Float[Array, "nodes states actions"], policy: Policy | None = None
) -> None:
    """Check allowed actions and markets at aggregate states (K, ...) at which the population plays tables (K, S, A).

    Args:
        game: The game.
        nodes: The aggregate states, with price and actions. Only as many of the first as there are tables are checked.
        tables: What the population plays at each, as far as it is allowed.
        policy: The policy that was given: a table with mass on what is not allowed is refused.

    Raises:
        ValueError: If a state has no allowed action, a table has mass on one that is not allowed, or a market does not
            clear.
    """
    nodes = jax.tree.map(lambda x: x[: len(tables)], nodes)
    if "allowed" in game.declared:
        allowed = np.asarray(_allowed(game, nodes))
        if len(faults := np.argwhere(~allowed.any(-1))):
            node, state = map(int, faults[0])
            raise ValueError(
                f"at least one action must be allowed in every state, but in state {state} {place(nodes, node)} none is"
            )
        if isinstance(policy, TabularPolicy) and not policy.within_allowed:
            _check_mass(nodes, np.asarray(policy.table), allowed)
    if "price" in game.declared:
        _check_markets(game, nodes, tables)


def _check_mass(nodes: AggregateState, table: np.ndarray, allowed: np.ndarray) -> None:
    given = table[np.asarray(nodes.time)]
    if len(faults := np.argwhere((given > 0) & ~allowed)):
        node, state, action = map(int, faults[0])
        raise ValueError(
            f"a policy table must have no mass on actions that are not allowed, but has {given[node, state, action]:g} "
            f"in state {state} on action {action} {place(nodes, node)}"
        )


def _check_markets(game: Game, nodes: AggregateState, tables: Float[Array, "nodes states actions"]) -> None:
    _check_roots(game, nodes)
    residuals, tolerance = map(np.asarray, _markets(game, nodes, tables))
    if len(faults := np.argwhere(~(np.abs(residuals) <= tolerance))):
        node, market = map(int, faults[0])
        prices = np.asarray(nodes.price)
        raise ValueError(
            f"market {market} does not clear {place(nodes, node)}: at the price {prices[node, market]:g} "
            f"excess demand is {residuals[node, market]:.3g}, so it jumps there or does not depend on the price"
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
def _markets(game: Game, nodes: AggregateState, tables: Float[Array, "nodes states actions"]) -> tuple[Array, Array]:
    return jax.lax.map(lambda x: _market(game, *x), (nodes, tables))


@eqx.filter_jit
def _bracket(game: Game, node: AggregateState) -> tuple[Array, Array]:
    bracket = game.price_bracket(node.before_acting())
    assert bracket is not None
    return bracket


@eqx.filter_jit
def _allowed(game: Game, nodes: AggregateState) -> Bool[Array, "nodes states actions"]:
    return jax.lax.map(game.allowed, nodes)
