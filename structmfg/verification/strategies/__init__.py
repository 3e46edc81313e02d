"""Random kernels, policies, mean fields, noise paths and games for property-based tests with hypothesis.

A test that is written for one kernel or game runs on many, and hypothesis looks for the simplest on which it fails:

    from hypothesis import given
    from structmfg.verification import laws, strategies

    @given(strategies.kernels("lattice"))
    def test_nothing_is_lost(kernel):
        assert laws.mass_kept(kernel, None).passed

Probabilities are drawn as small whole weights and divided by their sum, values and rewards as small whole numbers, so
that a counter-example can be read, and what is printed can be run. Sizes are few and small, because JAX compiles anew
for every shape; a test that runs under `jax.disable_jit()` compiles single operations only, and is often the faster.

Arrays have JAX's default precision at the time when they are drawn. Hypothesis is imported with this module only, not
with the package. `structmfg.verification.fuzz` looks for counter-examples in one given game.
"""

from structmfg.verification.strategies._arrays import (
    deterministic,
    mean_fields,
    noise_paths,
    normalised,
    policies,
    reals,
    values,
)
from structmfg.verification.strategies._games import RandomGame, games
from structmfg.verification.strategies._kernels import STRUCTURES, kernels

__all__ = [
    "STRUCTURES",
    "RandomGame",
    "deterministic",
    "games",
    "kernels",
    "mean_fields",
    "noise_paths",
    "normalised",
    "policies",
    "reals",
    "values",
]
