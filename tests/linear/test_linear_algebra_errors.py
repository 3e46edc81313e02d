"""What products, powers, resolvents and stationary distributions refuse, and how they say so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import S

from structmfg import operators as ops
from structmfg.solvers import resolvent, stationary

pytestmark = pytest.mark.usefixtures("unchecked")


def line(size=S):
    return ops.LatticeNoise(size, (-1, 0, 1), (0.25, 0.25, 0.5))


def uniform(**changes):
    return jnp.full(S, 1 / S).at[2].set(changes.get("third", 1 / S))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.product([]), "at least one factor"),
        (lambda: line() @ np.ones(S + 1), r"shape \(36,\) or \(36, k\), but have shape \(37,\)"),
        (lambda: line() @ line(13), "factor 0 has 36 and factor 1 has 13"),
        (lambda: ops.product([line(), line(), line(13)]), "factor 0 has 36 and factor 2 has 13"),
        (lambda: ops.product([line(), np.eye(S)]), "factor 1 must be a TransitionOperator, but is a ndarray"),
        (lambda: ops.product([line()], max_elements=0), "max_elements must be a whole number of at least 1"),
        (lambda: ops.power(line(), -1), "exponent must be a whole number of at least 0, but is -1"),
        (lambda: ops.power(line(), 2.0), r"but is 2.0 \(a float\)"),
        (lambda: ops.power(line(), True), "but is True"),
        (lambda: jax.jit(lambda o: ops.power(o, 2).matrix)(line()), "inside jit, use A @ B"),
        (lambda: (line() @ line()).mv(jnp.ones(13)), r"shape \(36,\), but has shape \(13,\)"),
        (lambda: line().compressed().rmv(jnp.ones(13)), r"shape \(36,\), but has shape \(13,\)"),
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
        (lambda: stationary(line(), initial=uniform()), "initial is for method 'power'"),
        (lambda: stationary(line(), method="power", initial=jnp.ones(3)), r"initial must have shape \(36,\)"),
        (lambda: stationary(line(), method="power", initial=uniform(third=-1.0)), "entry 2 is -1"),
        (lambda: stationary(line(), method="power", initial=uniform(third=np.nan)), "entry 2 is nan"),
        (lambda: stationary(line(), method="power", initial=uniform(third=1.0)), "must sum to 1, but sums to 1.97222"),
        (lambda: jax.jit(lambda o: stationary(o).value)(line()), "inside jit, use 'power'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
