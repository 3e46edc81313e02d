"""What resolvents, stationary distributions, hitting times and absorption refuse, and how they say so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import S

from structmfg import operators as ops
from structmfg.solvers import absorption, hitting_times, resolvent, stationary, total_rewards

pytestmark = pytest.mark.usefixtures("unchecked")


def line(size=S):
    return ops.LatticeNoise(size, (-1, 0, 1), (0.25, 0.25, 0.5))


def uniform(**changes):
    return jnp.full(S, 1 / S).at[2].set(changes.get("third", 1 / S))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resolvent(line(), jnp.ones(S), 1.0), r"discount must be a number in \[0, 1\), but is 1.0"),
        (lambda: resolvent(line(), jnp.ones(S), -0.1), "but is -0.1"),
        (lambda: resolvent(line(), jnp.ones(S), float("nan")), "but is nan"),
        (lambda: resolvent(line(), jnp.ones(S), "0.9"), "but is '0.9'"),
        (lambda: jax.jit(lambda g: resolvent(line(), jnp.ones(S), g).value)(0.9), "discount must be a number"),
        (lambda: resolvent(line(), jnp.ones(13), 0.9), r"rewards must have shape \(36,\)"),
        (lambda: resolvent(line(), jnp.ones(S), 0.9, method="gmre"), "did you mean gmres"),
        (lambda: resolvent(line(), jnp.ones(S), 0.9, tolerance=0.0), "tolerance must be finite and above 0"),
        (lambda: resolvent(line(), jnp.ones(S), 0.9, max_steps=0), "max_steps must be a whole number of at least 1"),
        (
            lambda: jax.jit(lambda r: resolvent(line(), r, 0.9, method="direct").value)(jnp.ones(S)),
            "inside jit, use another method",
        ),
        (lambda: stationary(line(), method="lu"), "unknown method 'lu'"),
        (lambda: stationary(line(), max_steps=0), "max_steps"),
        (lambda: stationary(line(), tolerance=-1.0), "tolerance"),
        (lambda: stationary(line(), method="eigen", initial=uniform()), "initial is for methods 'direct' and 'power'"),
        (lambda: stationary(line(), method="power", initial=jnp.ones(3)), r"initial must have shape \(36,\)"),
        (lambda: stationary(line(), method="power", initial=uniform(third=-1.0)), "entry 2 is -1"),
        (lambda: stationary(line(), method="power", initial=uniform(third=np.nan)), "entry 2 is nan"),
        (lambda: stationary(line(), method="power", initial=uniform(third=1.0)), "must sum to 1, but sums to 1.97222"),
        (lambda: jax.jit(lambda o: stationary(o).value)(line()), "inside jit, use 'power'"),
        (lambda: hitting_times(line(3), [3]), r"targets must lie in 0..2, but goes from 3 to 3"),
        (lambda: hitting_times(line(3), []), "at least one state, but name none"),
        (lambda: hitting_times(line(3), np.array([True, False])), r"targets must have shape \(3,\)"),
        (lambda: hitting_times(line(3), [0.5]), "whole numbers"),
        (lambda: total_rewards(line(3), np.ones(4), [0]), r"rewards must have shape \(3,\)"),
        (lambda: hitting_times(line(3), [0], tolerance=0.0), "tolerance"),
        (lambda: jax.jit(lambda o: absorption(o).value)(line(3)), "outside jit"),
        (lambda: total_rewards(line(2), np.array([0, np.nan]), [0]), "be finite, but that of state 1 is nan"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
