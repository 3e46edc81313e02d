"""Noise trees: the histories z_0..z_t of finite common noise, paths merged while they are still the same.

A node is a history, so at every node of the tree the mean field under a given policy is a vector, and the future a
finite lottery over the children. Nodes are stored in blocks of equally many slots of one time, in order of time, which
lets a sweep go over all levels in one compiled loop whatever their widths; slots that are left over repeat the node of
their level that the first path passes, with probability zero, and nothing refers to them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.games._base import Game, Noise, NoisePaths

MAX_BYTES = 2**34  # that a solver on a tree may take, about
_TABLES = 8  # of the size of a policy, in double precision, that it holds at once; and numbers a path and time
MAX_LEVEL_WIDTH = 1024  # nodes of a time that are compared with each other
_WHOLE = 2**18  # state-action pairs of a level that costs little more in one block
_BLOCK = 2**16  # state-action pairs, at most, that a block of several nodes holds
_OVERHEAD = 2**12  # state-action pairs that could be computed in the time a block costs for itself


class NoiseTree(eqx.Module):
    """A noise tree of M slots in M / B blocks; the D decision slots, those at t < T, come first.

    Attributes:
        noise: z at every slot, leading axis M.
        time: (M / B,); the time of every block.
        parent: (M,); the slot of the history without its last entry, or the slot itself at t = 0.
        children: (D, C); the slots one step later that a slot may lead to.
        branch_probability: (D, C); the probability of each child given the slot, zero beyond the last child.
        probability: (M,); the probability of the history, zero in a padding slot.
        nodes: (T+1, N); the slot that every path passes at every time.
        block: B, the number of slots in a block.
    """

    noise: Noise
    time: Int[Array, " blocks"]
    parent: Int[Array, " slots"]
    children: Int[Array, "decisions branches"]
    branch_probability: Float[Array, "decisions branches"]
    probability: Float[Array, " slots"]
    nodes: Int[Array, "times paths"]
    block: int = eqx.field(static=True)

    @property
    def num_slots(self) -> int:
        """M."""
        return int(self.parent.shape[0])

    @property
    def num_decisions(self) -> int:
        """D, slots left over among them."""
        return int(self.children.shape[0])

    @property
    def slot_time(self) -> Int[Array, " slots"]:
        """The time of every slot."""
        return jnp.repeat(self.time, self.block)


def noise_tree(game: Game, *, pad_levels: bool | None = False, max_bytes: float = MAX_BYTES) -> NoiseTree:
    """The tree of a game's finite noise.

    With `pad_levels` a block holds all nodes of a time, as public information needs (None: where that is cheap).

    Raises `ValueError` if the noise is continuous, if its chain is not one, or if solvers on the tree, with tables
    (S, A) a node, would take more than `max_bytes`: with the size of the tree, and the horizon that fits.
    """
    page = game.num_states * game.num_actions
    chain, paths = game.noise_chain(), None
    if chain is not None:
        chain = chain.validate()
        _check_size(chain.widths(game.horizon), page, max_bytes, "a horizon of {} would fit")
        states, probabilities = chain.paths(game.horizon)
        noise = jax.tree.map(lambda z: jnp.asarray(z)[states], chain.values)
        paths = NoisePaths(noise, jnp.asarray(probabilities))
    else:
        paths = game.scenarios()
    if paths is None:
        raise ValueError(
            "a noise tree needs finite common noise, but this game's noise is continuous, or has too many paths: "
            "discretise it (for macro, noise_states=3 and a short horizon)"
        )
    return tree_of(paths, page, pad_levels=pad_levels, max_bytes=max_bytes)


def tree_of(
    paths: NoisePaths, page: int, *, pad_levels: bool | None = False, max_bytes: float = MAX_BYTES
) -> NoiseTree:
    """The tree of given paths, for tables of `page` entries a node; otherwise as `noise_tree`.

    Raises `ValueError` also where the paths' probabilities are not a distribution.
    """
    paths = paths.validate()
    sets = history_indices(paths)
    widths = [int(level.max()) + 1 for level in sets]
    _check_size(widths, page, max_bytes, "the first {} steps would fit")
    widest = max(widths)
    if pad_levels and widest > MAX_LEVEL_WIDTH:
        raise ValueError(
            f"public information compares all nodes of a time with each other: at most {MAX_LEVEL_WIDTH} of them, but "
            f"this tree has {widest} at one time"
        )
    if pad_levels is None:
        pad_levels = widest <= MAX_LEVEL_WIDTH and widest * page <= _WHOLE
    block = widest if pad_levels else _block(widths, page)
    weights = np.asarray(paths.probabilities, float)
    first_slot = block * np.concatenate([[0], np.cumsum([-(-width // block) for width in widths])])
    num_slots, num_decisions = int(first_slot[-1]), int(first_slot[-2])
    nodes = sets + first_slot[:-1, None]

    parent, probability = np.arange(num_slots), np.zeros(num_slots)
    example = np.zeros((num_slots, 2), int)  # a path through every slot, and the time it is there
    for time, (level, slots) in enumerate(zip(sets, nodes, strict=True)):
        here = slice(first_slot[time], first_slot[time + 1])
        example[here] = (0, time)
        parent[here] = nodes[max(time - 1, 0), 0]
        example[slots, 0] = np.arange(len(level))
        parent[slots] = nodes[time - 1] if time else slots
        np.add.at(probability, slots, weights)

    family = [np.unique(nodes[time : time + 2], axis=1) for time in range(len(sets) - 1)]
    branches = max(int(np.bincount(pairs[0]).max()) for pairs in family)
    children = np.zeros((num_decisions, branches), int)
    branch_probability = np.zeros((num_decisions, branches))
    for time, (above, below) in enumerate(family):
        rank = np.arange(above.size) - np.searchsorted(above, above)
        children[above, rank] = below
        total = probability[above]
        branch_probability[above, rank] = np.where(
            total > 0, probability[below] / np.where(total > 0, total, 1), 1 / np.bincount(above)[above]
        )
        left_over = slice(first_slot[time] + widths[time], first_slot[time + 1])
        children[left_over], branch_probability[left_over] = (
            children[nodes[time, 0]],
            branch_probability[nodes[time, 0]],
        )

    return NoiseTree(
        noise=jax.tree.map(lambda z: jnp.asarray(np.asarray(z)[example[:, 0], example[:, 1]]), paths.noise),
        time=jnp.asarray(np.repeat(np.arange(len(widths)), np.diff(first_slot) // block)),
        parent=jnp.asarray(parent),
        children=jnp.asarray(children),
        branch_probability=jnp.asarray(branch_probability),
        probability=jnp.asarray(probability),
        nodes=jnp.asarray(nodes),
        block=block,
    )


def history_indices(paths: NoisePaths) -> Int[np.ndarray, "times paths"]:
    """The history of every path at t = 0..T, (T+1, N): two paths share one while their noise z_{0:t} is the same.

    Histories are numbered from 0 at every time, those with the same past next to each other.
    """
    leaves = [np.asarray(leaf).reshape(paths.num_paths, np.shape(leaf)[1], -1) for leaf in jax.tree.leaves(paths.noise)]
    noise = np.concatenate([leaf.astype(float) for leaf in leaves], axis=-1)
    sets = np.zeros((noise.shape[1], paths.num_paths), dtype=int)
    previous = np.zeros((paths.num_paths, 1))
    for time in range(noise.shape[1]):
        _, sets[time] = np.unique(np.hstack([previous, noise[:, time]]), axis=0, return_inverse=True)
        previous = sets[time][:, None].astype(float)
    return sets


def _check_size(widths: list[int], page: int, max_bytes: float, advice: str) -> None:
    sizes = np.cumsum(np.array(widths[:-1], dtype=object))  # decision nodes up to every horizon
    numbers = [page * size + width * (t + 2) for t, (size, width) in enumerate(zip(sizes, widths[1:], strict=True))]
    needs = [8 * _TABLES * number for number in numbers]
    if needs[-1] <= max_bytes:
        return
    fits = int(np.sum([need <= max_bytes for need in needs]))
    advice = advice.format(fits) if fits else "not even one step would fit"
    raise ValueError(
        f"the noise tree has {_count(widths[-1])} paths and {_count(sizes[-1])} nodes at which to decide, and a "
        f"solver on it would take {_count(needs[-1])} bytes, more than the {_count(int(max_bytes))} allowed; {advice}"
    )


def _count(value: int) -> str:
    return str(value) if value < 10**6 else f"{value:.3g}" if value < 10**300 else f"1e{len(str(value)) - 1}"


def _block(widths: list[int], page: int) -> int:
    """Slots to a block: so many that work, with the slots left over, and overhead are least."""

    def work(size: int) -> int:
        return sum(-(-width // size) for width in widths) * (size * page + _OVERHEAD)

    return min(range(1, max(1, min(max(widths), _BLOCK // page)) + 1), key=work)
