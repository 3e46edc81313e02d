"""Whether a game is one, along mean fields that were reached: masses, transition probabilities, rewards, observations.

What is found is said in words, with the time and the common noise; nothing here can be seen inside `jit`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.evaluation._paths import rollout
from structmfg.evaluation._tree_sweeps import Flow
from structmfg.games import AggregateState, Game, Noise, NoiseTree, noise_paths
from structmfg.policies import uniform

ROW_TOLERANCE = 1e-5  # of the sum of a row, and of a probability below zero, in one step
_LOOKED_AT = 2**24  # transition probabilities; where there are more, nodes are left out at equal distances
_AT_ONCE = 2**18
_MOST_AT_ONE = 2**27  # transition probabilities of one node that are listed at all


class Steps(eqx.Module):
    """Aggregates (M, ...), and K steps between them: from `before` (K,) to `after` (K,), in order of time or not."""

    nodes: AggregateState
    before: Int[np.ndarray, " steps"]
    after: Int[np.ndarray, " steps"]


def steps_on_tree(tree: NoiseTree, flow: Flow) -> Steps:
    """Those of a tree that can happen."""
    chance = np.asarray(tree.branch_probability) * (np.asarray(tree.probability)[: tree.num_decisions, None] > 0)
    node, branch = np.nonzero(chance)
    nodes = AggregateState(flow, tree.noise, tree.slot_time)
    return Steps(nodes, node, np.asarray(tree.children)[node, branch])


def steps_on_paths(aggregates: AggregateState) -> Steps:
    """Those along paths (N, T+1)."""
    index = np.arange(aggregates.time.size).reshape(aggregates.time.shape)
    nodes = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aggregates)
    return Steps(nodes, index[:, :-1].T.ravel(), index[:, 1:].T.ravel())


def check_game_along(game: Game, steps: Steps, *, looked_at: int = _LOOKED_AT) -> None:
    """Raise `ValueError` unless mean fields are distributions and the rows of kernels are.

    Mean fields are looked at everywhere, kernels as far as `looked_at` numbers go.
    """
    first = np.flatnonzero(np.asarray(steps.nodes.time) == 0)
    check_masses(jax.tree.map(lambda x: x[first], steps.nodes))
    _check_rows(game, steps, looked_at)
    check_masses(steps.nodes)


def _check_rows(game: Game, steps: Steps, looked_at: int) -> None:
    size = _size_of_kernel(game, steps)
    if size > _MOST_AT_ONE:
        return
    nodes = np.unique(steps.before)
    count = int(np.clip(looked_at // size, 1, len(nodes)))
    nodes = nodes[np.unique(np.linspace(0, len(nodes) - 1, count).round().astype(int))]
    some = jax.tree.map(lambda x: x[nodes], steps.nodes)
    sums, least = map(np.asarray, _rows(game, some, max(1, min(len(nodes), _AT_ONCE // size))))
    tolerance = ROW_TOLERANCE + _rounding(sums, game.num_states)
    bad = ~((np.abs(sums - 1) <= tolerance) & (least >= -tolerance))
    if not bad.any():
        return
    found = np.argwhere(bad)
    node, state, action = map(int, found[np.asarray(some.time)[found[:, 0]].argmin()])
    where = f"in state {state} under action {action} {_place(some, node)}"
    total, low = sums[node, state, action], least[node, state, action]
    raise ValueError(
        f"the rows of kernel must be nonnegative and sum to 1, but {where} the sum is {total:.6g} and the least "
        f"probability {low:.6g}"
    )


def check_masses(aggregates: AggregateState) -> None:
    """Raise `ValueError` unless all mean fields (*batch, S) are distributions, up to what rows may be off by."""
    fields, times = np.asarray(aggregates.mean_field), np.asarray(aggregates.time)
    tolerance = (1 + times) * ROW_TOLERANCE + _rounding(fields, fields.shape[-1])
    total, least = fields.sum(-1, dtype=float), fields.min(-1)
    bad = ~((np.abs(total - 1) <= tolerance) & (least >= -tolerance))
    if not bad.any():
        return
    first = np.unravel_index(np.where(bad, times, times.max() + 1).argmin(), bad.shape)
    flat = int(np.ravel_multi_index(first, bad.shape))
    nodes = jax.tree.map(lambda x: np.reshape(x, (-1, *np.shape(x)[bad.ndim :])), aggregates)
    source = "initial_mean_field" if times[first] == 0 else "kernel, and at the policy"
    raise ValueError(
        f"mean fields must be nonnegative and sum to 1, but {_place(nodes, flat)} the sum is {total[first]:.6g} and "
        f"the least entry {least[first]:.6g}: look at {source}"
    )


def sampled_steps(game: Game) -> Steps:
    """Those of the uniform policy along two noise paths, in JAX's default precision."""
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
    """The first reward, in time, that is not finite, or else the first mean field or kernel; in words."""
    place, value = map(np.asarray, _rewards(game, steps.nodes, jnp.asarray(steps.before), jnp.asarray(steps.after)))
    times = np.asarray(steps.nodes.time)
    if len(found := np.flatnonzero(place >= 0)):
        step = int(found[times[steps.before[found]].argmin()])
        state, action = divmod(int(place[step]), game.num_actions)
        forbidden = "; for an action that is not allowed write a large loss that is finite" if value[step] < 0 else ""
        where = _place(steps.nodes, int(steps.before[step]))
        return f"the reward of state {state}, action {action} {where} is {value[step]:g}{forbidden}"
    mean_fields = np.isfinite(np.asarray(steps.nodes.mean_field)).all(-1)
    if not mean_fields.all():
        return f"the mean field {_place(steps.nodes, int(mean_fields.argmin()))} is not finite"
    return None


def check_observations(game: Game, tree: NoiseTree, flow: Flow) -> None:
    """Raise `ValueError` unless all are finite: information sets ask which are equal, and nothing equals NaN."""
    decisions = slice(tree.num_decisions)
    nodes = jax.tree.map(lambda x: x[decisions], AggregateState(flow, tree.noise, tree.slot_time))
    seen = np.asarray(_observations(game, nodes))
    if len(found := np.argwhere(~np.isfinite(seen))):
        node, entry = map(int, found[np.asarray(nodes.time)[found[:, 0]].argmin()])
        raise ValueError(
            f"under public information all observations must be finite, but entry {entry} {_place(nodes, node)} is "
            f"{seen[node, entry]:g}: let observe return a bounded function of the mean field"
        )


def _place(nodes: AggregateState, node: int) -> str:
    noise = [np.asarray(leaf)[node].ravel() for leaf in jax.tree.leaves(nodes.noise)]
    entries = [f"{entry:g}" for leaf in noise for entry in leaf[:4]]
    told = f" with common noise {', '.join(entries[:6])}" if entries else ""
    return f"at time {int(np.asarray(nodes.time)[node])}{told}"


def _rounding(array: np.ndarray, size: int) -> float:
    return 16 * float(np.finfo(array.dtype).eps) * float(np.sqrt(size))


def _size_of_kernel(game: Game, steps: Steps) -> int:
    """How many numbers its list of successors has."""
    one = jax.tree.map(lambda x: x[0], steps.nodes)
    listed = eqx.filter_eval_shape(lambda now: game.kernel(now).successors().probabilities, one)
    return int(np.prod(listed.shape))


@eqx.filter_jit
def _rows(game: Game, nodes: AggregateState, at_once: int) -> tuple[Float[Array, "nodes states actions"], Array]:
    """The sum and the least entry of every row."""

    def at(node: AggregateState) -> tuple[Array, Array]:
        probabilities = game.kernel(node).successors().probabilities
        return jnp.sum(probabilities, axis=-1), jnp.min(probabilities, axis=-1, initial=0)

    return jax.lax.map(at, nodes, batch_size=at_once)


@eqx.filter_jit
def _rewards(
    game: Game, nodes: AggregateState, before: Int[Array, " steps"], after: Int[Array, " steps"]
) -> tuple[Int[Array, " steps"], Float[Array, " steps"]]:
    """In every step the place of the first reward that is not finite, -1 where all are, and that reward."""

    def at(step: tuple[Array, Array]) -> tuple[Array, Array]:
        now, then = (jax.tree.map(lambda x, i=i: x[i], nodes) for i in step)
        rewards = jnp.ravel(game.reward(now, then))
        bad = ~jnp.isfinite(rewards)
        place = jnp.argmax(bad)
        return jnp.where(jnp.any(bad), place, -1), rewards[place]

    return jax.lax.map(at, (before, after))


@eqx.filter_jit
def _observations(game: Game, nodes: AggregateState) -> Float[Array, "nodes observation"]:
    """The observation at every node."""
    return jax.lax.map(game.observe, nodes)
