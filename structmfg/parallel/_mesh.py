"""The mesh of devices that a solve runs on: noise paths on one axis, individual states on the other."""

import contextlib
import math
from typing import Any

import equinox as eqx
import jax

from structmfg._checks import check_integer, check_kind

PATHS, STATES = "paths", "states"


def make_mesh(*, paths: int = 1, states: int = 1) -> jax.sharding.Mesh:
    """A mesh of devices for `solve` and `exploitability`.

    Args:
        paths: Over how many devices noise paths are spread.
        states: Over how many devices individual states are spread. The mesh has `paths * states` devices.

    Returns:
        A mesh with the axes "paths" and "states", of the first devices of all processes.

    Raises:
        ValueError: A number is below one, or there are fewer devices.
    """
    shape = check_integer("paths", paths, at_least=1), check_integer("states", states, at_least=1)
    needed, devices = math.prod(shape), jax.devices()
    if needed > len(devices):
        raise ValueError(
            f"a mesh of {shape[0]} x {shape[1]} needs {needed} devices, but there are {len(devices)} "
            f"({devices[0].platform}); a CPU counts as N with XLA_FLAGS=--xla_force_host_platform_device_count=N"
        )
    types = (jax.sharding.AxisType.Auto,) * 2  # the compiler places what no program of ours places
    return jax.make_mesh(shape, (PATHS, STATES), axis_types=types, devices=devices[:needed])


def over_states(array: jax.Array, axis: int = 0) -> jax.Array:
    """The same array, with this axis of states spread over the devices of the mesh in use.

    The compiler keeps arrays where they are made unless it is told. Where the mesh has one device for states, or there
    is no mesh, nothing is told.
    """
    if axis_size(STATES) == 1:
        return array
    anywhere = jax.sharding.PartitionSpec.UNCONSTRAINED
    places = [STATES if i == axis % array.ndim else anywhere for i in range(array.ndim)]
    return jax.lax.with_sharding_constraint(array, jax.sharding.PartitionSpec(*places))


def axis_size(axis: str) -> int:
    """Over how many devices the mesh in use (`jax.set_mesh`) spreads an axis; 1 where no mesh is in use."""
    return int(jax.sharding.get_abstract_mesh().shape.get(axis, 1))


def in_use(mesh: jax.sharding.Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which this mesh is in use; for None, that which is in use already.

    Raises:
        ValueError: The mesh has other axes than those of `make_mesh`, or leaves out the devices of a process.
    """
    if mesh is None:
        return contextlib.nullcontext()
    check_kind("mesh", mesh, jax.sharding.Mesh)
    automatic = all(kind == jax.sharding.AxisType.Auto for kind in mesh.axis_types)
    if mesh.axis_names != (PATHS, STATES) or not automatic:
        raise ValueError(f"mesh must be made by parallel.make_mesh, but has the axes {mesh.axis_names}")
    idle = set(range(jax.process_count())) - {device.process_index for device in mesh.devices.flat}
    if idle:
        raise ValueError(f"mesh must have devices of every process, but has none of the processes {sorted(idle)}")
    return jax.set_mesh(mesh)


def whole(tree: Any) -> Any:
    """A tree of arrays of which every process holds the whole, for use inside `jit`; as it is in a single process."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or jax.process_count() == 1:
        return tree
    return jax.tree.map(
        lambda x: jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec()) if eqx.is_array(x) else x, tree
    )
