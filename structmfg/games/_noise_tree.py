"""Noise trees: the histories z_0..z_t of finite common noise, as nodes that several noise paths share.

A node is a history. Under a given policy the mean field at a node is one vector, and the future is a finite lottery
over the children of the node. So that one compiled loop goes through all times, whatever their numbers of nodes, nodes
are stored in slots, and slots in blocks of equally many (B) slots of one time, in order of time:

    time      0          1               2
    nodes     a     a->b   a->c     b->d  b->e  c->f
    slots    [a .] [b  c]          [d  e] [f .]            blocks of B = 2 slots; "." is padding

A padding slot repeats the node of its time that the first path passes. It has probability zero, and no node refers to
it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg._checks import check_kind, finite_horizon
from structmfg.games._aggregate import Noise, NoisePaths
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain

MAX_BYTES = 2**34  # about what a solver on a tree may take
MAX_LEVEL_WIDTH = 1024  # nodes of one time that may be compared with each other, for public information
_TABLES_HELD = 8  # tables of a policy, in double precision, that a solver holds at once; and numbers a path and time
_CHEAP_LEVEL = 2**18  # state-action pairs of a level that costs little more in one block
_MAX_BLOCK = 2**16  # state-action pairs that a block of several nodes may hold
_BLOCK_OVERHEAD = 2**12  # state-action pairs that could be computed in the time that one more block costs


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
        """M, the number of slots."""
        return int(self.parent.shape[0])

    @property
    def num_decisions(self) -> int:
        """D, the number of slots at t < T, with padding."""
        return int(self.children.shape[0])

    @property
    def slot_time(self) -> Int[Array, " slots"]:
        """The time (M,) of every slot."""
        return jnp.repeat(self.time, self.block)


def noise_tree(game: Game, *, pad_levels: bool | None = False, max_bytes: float = MAX_BYTES) -> NoiseTree:
    """The tree of a game's finite common noise.

    Args:
        game: The game; its `noise_chain` or `scenarios` list the noise.
        pad_levels: Whether a block holds all nodes of a time, as public information needs; None: where that is cheap.
        max_bytes: The most memory that a solver on the tree, with a table (S, A) a node, may take.

    Returns:
        The tree.

    Raises:
        ValueError: If the noise is continuous, its chain is not one, or a solver would take too much memory; the
            message then has the size of the tree, and the horizon that fits.
    """
    table_size = game.num_states * game.num_actions
    chain = game.noise_chain()
    if chain is None:
        paths = game.scenarios()
    else:
        check_kind("what noise_chain returns", chain, NoiseChain)
        chain = chain.validate()
        horizon = finite_horizon(game)
        _check_size(chain.widths(horizon), table_size, max_bytes, "a horizon of {} would fit")
        states, probabilities = chain.paths(horizon)
        noise = jax.tree.map(lambda z: jnp.asarray(z)[states], chain.values)
        paths = NoisePaths(noise, jnp.asarray(probabilities))
    if paths is None:
        raise ValueError(
            "a noise tree needs finite common noise, but this game's noise is continuous, or has too many paths: "
            "discretise it (for macro, noise_states=3 and a short horizon)"
        )
    return tree_of(paths, table_size, pad_levels=pad_levels, max_bytes=max_bytes)


def tree_of(
    paths: NoisePaths, table_size: int, *, pad_levels: bool | None = False, max_bytes: float = MAX_BYTES
) -> NoiseTree:
    """The tree of given noise paths.

    Args:
        paths: The paths; some may be equal.
        table_size: The number of entries that a solver holds a node, S * A for a policy.
        pad_levels: As of `noise_tree`.
        max_bytes: As of `noise_tree`.

    Returns:
        The tree.

    Raises:
        ValueError: If the probabilities of the paths are not a distribution, a solver would take too much memory, or
            a time has more than `MAX_LEVEL_WIDTH` nodes and `pad_levels` is set.
    """
    paths = paths.validate()
    history = history_indices(paths)
    widths = [int(level.max()) + 1 for level in history]
    _check_size(widths, table_size, max_bytes, "the first {} steps would fit")
    block = _block_size(widths, table_size, pad_levels)
    blocks = np.array([-(-width // block) for width in widths])  # at every time
    first_slot = block * np.concatenate([[0], np.cumsum(blocks)])
    nodes = history + first_slot[:-1, None]
    weights = np.asarray(paths.probabilities, float)
    example, parent, probability = _histories_of_slots(nodes, first_slot, weights)
    children, branch_probability = _branches(nodes, first_slot, widths, probability)
    return NoiseTree(
        noise=jax.tree.map(lambda z: jnp.asarray(np.asarray(z)[example[:, 0], example[:, 1]]), paths.noise),
        time=jnp.asarray(np.repeat(np.arange(len(widths)), blocks)),
        parent=jnp.asarray(parent),
        children=jnp.asarray(children),
        branch_probability=jnp.asarray(branch_probability),
        probability=jnp.asarray(probability),
        nodes=jnp.asarray(nodes),
        block=block,
    )


def _histories_of_slots(
    nodes: np.ndarray, first_slot: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every slot: a path through it and the time it is there (M, 2), its parent (M,) and its probability (M,)."""
    num_slots = int(first_slot[-1])
    example, parent, probability = np.zeros((num_slots, 2), int), np.arange(num_slots), np.zeros(num_slots)
    for time, slots in enumerate(nodes):
        level = slice(first_slot[time], first_slot[time + 1])
        example[level] = (0, time)  # padding slots keep these
        parent[level] = nodes[max(time - 1, 0), 0]
        example[slots, 0] = np.arange(len(slots))
        parent[slots] = nodes[time - 1] if time else slots
        np.add.at(probability, slots, weights)
    return example, parent, probability


def _branches(
    nodes: np.ndarray, first_slot: np.ndarray, widths: list[int], probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The children of every decision slot, and the probability of each given the slot, both (D, C).

    Below a node of probability zero all branches are equally likely.
    """
    pairs = [np.unique(nodes[time : time + 2], axis=1) for time in range(len(widths) - 1)]  # of a node and its child
    most = max(int(np.bincount(above).max()) for above, _ in pairs)
    children = np.zeros((int(first_slot[-2]), most), int)
    branch_probability = np.zeros(children.shape)
    for time, (above, below) in enumerate(pairs):
        rank = np.arange(above.size) - np.searchsorted(above, above)  # of the child among its siblings
        children[above, rank] = below
        total = probability[above]
        branch_probability[above, rank] = np.where(
            total > 0, probability[below] / np.where(total > 0, total, 1), 1 / np.bincount(above)[above]
        )
        padding = slice(first_slot[time] + widths[time], first_slot[time + 1])
        first = nodes[time, 0]
        children[padding], branch_probability[padding] = children[first], branch_probability[first]
    return children, branch_probability


def history_indices(paths: NoisePaths) -> Int[np.ndarray, "times paths"]:
    """Number the histories of all paths at every time.

    Args:
        paths: N noise paths.

    Returns:
        The number (T+1, N) of the history z_{0:t} of every path at t = 0..T. Two paths have the same number while their
        noise has been the same. At every time numbers start at 0, and histories with the same past are neighbours.
    """
    leaves = [np.asarray(leaf).reshape(paths.num_paths, np.shape(leaf)[1], -1) for leaf in jax.tree.leaves(paths.noise)]
    noise = np.concatenate([leaf.astype(float) for leaf in leaves], axis=-1)
    history = np.zeros((noise.shape[1], paths.num_paths), dtype=int)
    previous = np.zeros((paths.num_paths, 1))
    for time in range(noise.shape[1]):
        _, history[time] = np.unique(np.hstack([previous, noise[:, time]]), axis=0, return_inverse=True)
        previous = history[time][:, None].astype(float)
    return history


def _check_size(widths: list[int], table_size: int, max_bytes: float, advice: str) -> None:
    """Raise `ValueError` if a solver on a tree with so many nodes at every time would take too much memory."""
    sizes = np.cumsum(np.array(widths[:-1], dtype=object))  # decision nodes up to every horizon
    numbers = [
        table_size * size + width * (t + 2) for t, (size, width) in enumerate(zip(sizes, widths[1:], strict=True))
    ]
    needs = [8 * _TABLES_HELD * number for number in numbers]
    if needs[-1] <= max_bytes:
        return
    fits = int(np.sum([need <= max_bytes for need in needs]))
    advice = advice.format(fits) if fits else "not even one step would fit"
    raise ValueError(
        f"the noise tree has {_brief(widths[-1])} paths and {_brief(sizes[-1])} nodes at which to decide, and a "
        f"solver on it would take {_brief(needs[-1])} bytes, more than the {_brief(int(max_bytes))} allowed; {advice}"
    )


def _brief(value: int) -> str:
    return str(value) if value < 10**6 else f"{value:.3g}" if value < 10**300 else f"1e{len(str(value)) - 1}"


def _block_size(widths: list[int], table_size: int, pad_levels: bool | None) -> int:
    """The number of slots in a block: a whole level if levels are padded, else what makes a sweep quickest."""
    widest = max(widths)
    if pad_levels and widest > MAX_LEVEL_WIDTH:
        raise ValueError(
            f"public information compares all nodes of a time with each other: at most {MAX_LEVEL_WIDTH} of them, but "
            f"this tree has {widest} at one time"
        )
    if pad_levels is None:
        pad_levels = widest <= MAX_LEVEL_WIDTH and widest * table_size <= _CHEAP_LEVEL
    return widest if pad_levels else _block(widths, table_size)


def _block(widths: list[int], table_size: int) -> int:
    """The number of slots in a block at which the work, on padding too, and the overhead of blocks are least."""

    def work(size: int) -> int:
        return sum(-(-width // size) for width in widths) * (size * table_size + _BLOCK_OVERHEAD)

    return min(range(1, max(1, min(max(widths), _MAX_BLOCK // table_size)) + 1), key=work)
