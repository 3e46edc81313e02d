"""Checks of a game along the mean fields of a policy: masses, transition probabilities, rewards, observations.

A message gives the time and the common noise at which a fault occurs. Nothing here works inside `jit`, where values are
not known.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.evaluation._declared import describe_markets, place
from structmfg.evaluation._paths import rollout
from structmfg.evaluation._tree_sweeps import Flow, aggregates_on_tree
from structmfg.games import (
    AggregateState,
    Game,
    Noise,
    NoiseTree,
    check_block_masses,
    check_blocks_closed,
    kept_in_blocks,
    noise_paths,
)
from structmfg.policies import uniform

ROW_TOLERANCE = 1e-5  # of the sum of a row, and of a probability below zero, in one step
_MAX_CHECKED = 2**24  # transition probabilities; if there are more, equally spaced nodes are checked
_MAX_AT_ONCE = 2**18  # transition probabilities that are listed at once
_MAX_PER_NODE = 2**27  # transition probabilities of a node; if it has more, kernels are not checked


class Steps(eqx.Module):
    """Aggregate states (M, ...), and K steps between them, each from index `before` (K,) to index `after` (K,)."""

    nodes: AggregateState
    before: Int[np.ndarray, " steps"]
    after: Int[np.ndarray, " steps"]


def steps_on_tree(game: Game, tree: NoiseTree, flow: Flow) -> Steps:
    """The steps of a tree that have positive probability."""
    probability = np.asarray(tree.branch_probability) * (np.asarray(tree.probability)[: tree.num_decisions, None] > 0)
    node, branch = np.nonzero(probability)
    nodes = aggregates_on_tree(game, tree, flow)
    return Steps(nodes, node, np.asarray(tree.children)[node, branch])


def steps_on_paths(aggregates: AggregateState) -> Steps:
    """The steps along N paths of aggregate states (N, T+1)."""
    index = np.arange(aggregates.time.size).reshape(aggregates.time.shape)
    nodes = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aggregates)
    return Steps(nodes, index[:, :-1].T.ravel(), index[:, 1:].T.ravel())


def check_game_along(game: Game, steps: Steps, *, max_checked: int = _MAX_CHECKED) -> None:
    """Check that mean fields and the rows of kernels are distributions along given steps, and populations separate.

    Args:
        game: The game.
        steps: The steps.
        max_checked: The most transition probabilities to check; mean fields are checked everywhere.

    Raises:
        ValueError: If one is not a distribution, or a population does not keep its agents or has not its mass.
    """
    nodes = jax.tree.map(np.asarray, steps.nodes)  # of which some are taken without compilation
    times = nodes.time
    first = np.flatnonzero(times == 0)
    check_masses(jax.tree.map(lambda x: x[first], nodes))
    _check_rows(game, steps, max_checked)
    check_masses(nodes)
    if game.populations:
        for node in map(int, np.argsort(times, kind="stable")):
            check_block_masses(game.populations, nodes.mean_field[node], place(nodes, node), int(times[node]))


def _check_rows(game: Game, steps: Steps, max_checked: int) -> None:
    size = _size_of_kernel(game, steps)
    if size > _MAX_PER_NODE:
        return
    nodes = np.unique(steps.before)
    count = int(np.clip(max_checked // size, 1, len(nodes)))
    nodes = nodes[np.unique(np.linspace(0, len(nodes) - 1, count).round().astype(int))]
    checked = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[nodes]), steps.nodes)
    at_once = max(1, min(len(nodes), _MAX_AT_ONCE // size))
    rows, sums, least, kept = jax.tree.map(np.asarray, _rows(game, checked, at_once))
    for node, staying in enumerate(() if kept is None else kept):
        check_blocks_closed(game.populations, staying, f" {place(checked, node)}")
    if not len(faults := np.flatnonzero(rows >= 0)):
        return
    node = int(faults[np.asarray(checked.time)[faults].argmin()])
    state, action = divmod(int(rows[node]), game.num_actions)
    where = f"in state {state} under action {action} {place(checked, node)}"
    raise ValueError(
        f"the rows of kernel must be nonnegative and sum to 1, but {where} the sum is {sums[node]:.6g} and the least "
        f"probability {least[node]:.6g}"
    )


def check_masses(aggregates: AggregateState) -> None:
    """Raise `ValueError` unless all mean fields (*batch, S) are distributions, within the tolerance of rows a step."""
    fields, times = np.asarray(aggregates.mean_field), np.asarray(aggregates.time)
    tolerance = (1 + times) * ROW_TOLERANCE + _rounding(fields.dtype, fields.shape[-1])
    total, least = fields.sum(-1, dtype=float), fields.min(-1)
    bad = ~((np.abs(total - 1) <= tolerance) & (least >= -tolerance))
    if not bad.any():
        return
    first = np.unravel_index(np.where(bad, times, times.max() + 1).argmin(), bad.shape)
    flat = int(np.ravel_multi_index(first, bad.shape))
    nodes = jax.tree.map(lambda x: np.reshape(x, (-1, *np.shape(x)[bad.ndim :])), aggregates)
    source = "initial_mean_field" if times[first] == 0 else "kernel, and at the policy"
    raise ValueError(
        f"mean fields must be nonnegative and sum to 1, but {place(nodes, flat)} the sum is {total[first]:.6g} and "
        f"the least entry {least[first]:.6g}: look at {source}"
    )


def sampled_steps(game: Game) -> Steps:
    """The steps of the uniform policy along two noise paths, in JAX's default precision."""
    scenarios = game.scenarios()
    if scenarios is not None:
        likely = np.argsort(-np.asarray(scenarios.probabilities))[:2]
        noise = jax.tree.map(lambda z: jnp.asarray(z)[likely], scenarios.noise)
    else:
        noise = noise_paths(game, key=jax.random.key(0), num_paths=2).noise
    return steps_on_paths(_under_uniform(game, noise))


@eqx.filter_jit
def _under_uniform(game: Game, noise: Noise) -> AggregateState:
    return jax.lax.map(lambda path: rollout(game, uniform(game), path).aggregates, noise)


def describe_nonfinite(game: Game, steps: Steps) -> str | None:
    """A description of the first market without a price, else of the first reward or mean field that is not finite."""
    if fault := describe_markets(game, steps.nodes):
        return fault
    entry, value = map(np.asarray, _rewards(game, steps.nodes, jnp.asarray(steps.before), jnp.asarray(steps.after)))
    times = np.asarray(steps.nodes.time)
    if len(faults := np.flatnonzero(entry >= 0)):
        step = int(faults[times[steps.before[faults]].argmin()])
        state, action = divmod(int(entry[step]), game.num_actions)
        forbidden = "; for an action that is not allowed write a large loss that is finite" if value[step] < 0 else ""
        where = place(steps.nodes, int(steps.before[step]))
        return f"the reward of state {state}, action {action} {where} is {value[step]:g}{forbidden}"
    mean_fields = np.isfinite(np.asarray(steps.nodes.mean_field)).all(-1)
    if not mean_fields.all():
        return f"the mean field {place(steps.nodes, int(mean_fields.argmin()))} is not finite"
    return None


def check_observations(game: Game, tree: NoiseTree, flow: Flow) -> None:
    """Raise `ValueError` unless all observations are finite: information sets compare them, and nothing equals NaN."""
    decisions = slice(tree.num_decisions)
    nodes = jax.tree.map(lambda x: x[decisions], aggregates_on_tree(game, tree, flow))
    observations = np.asarray(_observations(game, nodes))
    if len(faults := np.argwhere(~np.isfinite(observations))):
        node, entry = map(int, faults[np.asarray(nodes.time)[faults[:, 0]].argmin()])
        raise ValueError(
            f"under public information all observations must be finite, but entry {entry} {place(nodes, node)} is "
            f"{observations[node, entry]:g}: let observe return a bounded function of the mean field"
        )


def _rounding(dtype: np.dtype, size: int) -> float:
    """What rounding may add to a sum of `size` entries that is about one."""
    return 16 * float(np.finfo(dtype).eps) * float(np.sqrt(size))


def _size_of_kernel(game: Game, steps: Steps) -> int:
    """The number of transition probabilities of a node, as lists of successors have them."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), steps.nodes)
    listed = eqx.filter_eval_shape(lambda now: game.kernel(now).successors().probabilities, one)
    return int(np.prod(listed.shape))


@eqx.filter_jit
def _rows(
    game: Game, nodes: AggregateState, at_once: int
) -> tuple[Int[Array, " nodes"], Float[Array, " nodes"], Float[Array, " nodes"], Array | None]:
    """The flat index of the first faulty row of every kernel, or -1, with the sum and the least entry of that row.

    And what of each row stays in the state's own population, where there are several.
    """

    def at(node: AggregateState) -> tuple[Array, Array, Array, Array | None]:
        kernel = game.kernel(node)
        # Where they are constants, XLA would reduce them while it compiles, which takes a minute for large games.
        probabilities = jax.lax.optimization_barrier(kernel.successors().probabilities)
        sums, least = jnp.ravel(jnp.sum(probabilities, axis=-1)), jnp.ravel(jnp.min(probabilities, axis=-1, initial=0))
        tolerance = ROW_TOLERANCE + _rounding(sums.dtype, game.num_states)
        bad = ~((jnp.abs(sums - 1) <= tolerance) & (least >= -tolerance))
        row = jnp.argmax(bad)
        return jnp.where(jnp.any(bad), row, -1), sums[row], least[row], kept_in_blocks(game.populations, kernel)

    return jax.lax.map(at, nodes, batch_size=at_once)


@eqx.filter_jit
def _rewards(
    game: Game, nodes: AggregateState, before: Int[Array, " steps"], after: Int[Array, " steps"]
) -> tuple[Int[Array, " steps"], Float[Array, " steps"]]:
    """The flat index of the first reward of every step that is not finite, or -1, and that reward."""

    def at(step: tuple[Array, Array]) -> tuple[Array, Array]:
        now, then = (jax.tree.map(lambda x, i=i: x[i], nodes) for i in step)
        rewards = jnp.ravel(game.reward_of_allowed(now, then.before_acting()))
        bad = ~jnp.isfinite(rewards)
        place = jnp.argmax(bad)
        return jnp.where(jnp.any(bad), place, -1), rewards[place]

    return jax.lax.map(at, (before, after))


@eqx.filter_jit
def _observations(game: Game, nodes: AggregateState) -> Float[Array, "nodes observation"]:
    """The public observation at every node."""
    return jax.lax.map(game.observe, nodes.as_observed())
