"""The mesh of devices that a solve runs on: noise paths on one axis, individual states on the other."""

import math

import jax

from structmfg._checks import check_integer

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


def axis_size(axis: str) -> int:
    """Over how many devices the mesh in use (`jax.set_mesh`) spreads an axis; 1 where no mesh is in use."""
    return int(jax.sharding.get_abstract_mesh().shape.get(axis, 1))
