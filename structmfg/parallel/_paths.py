"""Noise paths over the devices of a mesh: each device takes some of them, and one message adds up what they give.

Both functions are called inside `jit`, read the mesh in use (`jax.set_mesh`), and are plain loops where its axis
"paths" has one device. The axis "states" is left to the compiler and to `spread`.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from structmfg.games import NoisePaths
from structmfg.parallel._mesh import PATHS, axis_size

_BLOCKS = 8  # of paths, whose sums are added up in one order; so many devices at most share the work evenly


def sum_over_paths(
    function: Callable[..., PyTree], paths: NoisePaths, *shared: PyTree, deterministic: bool = False
) -> PyTree:
    """The sum over noise paths of what a function returns for some of them.

    Args:
        function: From some of the paths, and what is shared, to a tree of arrays: sums over these paths, weighted by
            their probabilities, so that paths of probability zero add nothing. It must not close over traced arrays.
        paths: All paths. Every device draws all of them, so that their numbers are the same everywhere.
        shared: Trees that the function needs for all paths.
        deterministic: Whether the sums of fixed blocks of paths are added up in one fixed order, so that the number of
            devices does not change a bit of the result.

    Returns:
        The tree, the same on all devices.
    """
    devices, num_paths = axis_size(PATHS), paths.num_paths
    if devices == 1 and not deterministic:
        return function(paths, *shared)
    size = -(-num_paths // (_BLOCKS if deterministic else devices))
    own_blocks = -(-num_paths // (size * devices))  # of this many paths, on every device
    arrays, static = eqx.partition(shared, eqx.is_array)
    shapes = eqx.filter_eval_shape(function, paths, *shared)

    def block_sum(block: NoisePaths, arrays: PyTree) -> jax.Array:
        return ravel_pytree(function(block, *eqx.combine(arrays, static)))[0]

    def of_device(paths: NoisePaths, arrays: PyTree) -> jax.Array:
        blocks = _blocks(paths, size, own_blocks * devices)
        if devices > 1:
            first = lax.axis_index(PATHS) * own_blocks
            blocks = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, own_blocks), blocks)
        if not deterministic:
            return lax.psum(block_sum(jax.tree.map(lambda x: x[0], blocks), arrays), PATHS)
        sums = lax.map(functools.partial(block_sum, arrays=arrays), blocks)
        every = lax.all_gather(sums, PATHS, tiled=True) if devices > 1 else sums
        return lax.scan(lambda total, each: (total + each, None), jnp.zeros_like(every[0]), every)[0]

    on_mesh = _on_mesh(of_device) if devices > 1 else of_device
    # Behind barriers nothing before or after is merged with the sum, which could round it in another way.
    return _unravel(lax.optimization_barrier(on_mesh(*lax.optimization_barrier((paths, arrays)))), shapes)


def map_over_paths(
    function: Callable[..., PyTree], paths: PyTree, *shared: PyTree, batch_size: int | None = None
) -> PyTree:
    """What a function returns for every noise path, stacked.

    Args:
        function: From one path, and what is shared, to a tree of arrays. It must not close over traced arrays.
        paths: A tree of arrays with the leading axis N.
        shared: Trees that the function needs for all paths.
        batch_size: How many paths a device evaluates side by side.

    Returns:
        The tree with the leading axis N, the same on all devices.
    """
    devices = axis_size(PATHS)
    arrays, static = eqx.partition(shared, eqx.is_array)

    def of_device(paths: PyTree, arrays: PyTree) -> PyTree:
        return lax.map(lambda path: function(path, *eqx.combine(arrays, static)), paths, batch_size=batch_size)

    if devices == 1:
        return of_device(paths, arrays)
    num_paths = len(jax.tree.leaves(paths)[0])
    own = -(-num_paths // devices)

    def of_some(paths: PyTree, arrays: PyTree) -> PyTree:
        first = lax.axis_index(PATHS) * own
        taken = jax.tree.map(lambda x: jnp.take(x, first + jnp.arange(own), axis=0, mode="clip"), paths)
        return jax.tree.map(lambda x: lax.all_gather(x, PATHS, tiled=True), of_device(taken, arrays))

    return jax.tree.map(lambda x: x[:num_paths], _on_mesh(of_some)(paths, arrays))


def _on_mesh(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The function run by every device of the axis "paths" on the same arguments, with results that are the same."""
    whole = PartitionSpec()
    return jax.shard_map(function, in_specs=whole, out_specs=whole, axis_names={PATHS}, check_vma=False)


def _unravel(vector: jax.Array, shapes: PyTree) -> PyTree:
    """The tree, of arrays with these shapes and types, that `ravel_pytree` made a vector of."""
    leaves, structure = jax.tree.flatten(shapes)
    parts = jnp.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
    arrays = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, arrays)


def _blocks(paths: NoisePaths, size: int, count: int) -> NoisePaths:
    """The paths in blocks, with the leading axes (count, size); the last path fills up, with probability zero."""
    missing = size * count - paths.num_paths
    noise = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]), paths.noise)
    filled = NoisePaths(noise, jnp.pad(paths.probabilities, (0, missing)))
    return jax.tree.map(lambda x: x.reshape(count, size, *x.shape[1:]), filled)
