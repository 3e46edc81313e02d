"""Solves on several devices and in several processes, by JAX's own runtime: the only room that knows of meshes."""

from structmfg.parallel._mesh import PATHS, STATES, axis_size, make_mesh

__all__ = ["PATHS", "STATES", "axis_size", "make_mesh"]
