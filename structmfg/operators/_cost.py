"""What structure an operator has, and what one product with it costs."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._operator import TransitionOperator


class Cost(NamedTuple):
    """What one form of an operator A on S states stores, and what its two products cost.

    - `structure`: what is known of it, in words.
    - `stored`: the numbers it holds, padding and indices included.
    - `flops`, `bytes_moved`: of A v and A^T mu, in this order, as the compiler counts them for this device.
    """

    structure: str
    stored: int
    flops: tuple[float, float]
    bytes_moved: tuple[float, float]

    def __str__(self) -> str:
        (flops, flops_t), (moved, moved_t) = self.flops, self.bytes_moved
        return (
            f"{self.structure}\n  stored  {self.stored:,} numbers\n"
            f"  A v     {flops:,.0f} flops, {moved:,.0f} bytes\n  A^T mu  {flops_t:,.0f} flops, {moved_t:,.0f} bytes"
        )


def cost(operator: TransitionKernel | TransitionOperator) -> Cost:
    """Return the structure that is known of a kernel or operator, and what one product with it costs.

    Both products are compiled, not run. Compare `cost(kernel)` with `cost(kernel.explicit())`, or with the
    `SuccessorKernel` of `kernel.successors()`.

    Args:
        operator: An operator, or a kernel, which is closed by the uniform policy; that counts as stored and moved.

    Raises:
        ValueError: It is neither a kernel nor an operator.

    >>> import structmfg as smfg
    >>> noise = smfg.operators.LatticeNoise(1000, (-1, 0, 1), (0.1, 0.8, 0.1))
    >>> print(cost(smfg.operators.LatticeKernel(1000, (-1, 0, 1)) >> noise).structure)
    (shift by one of 3 offsets, walls at the ends) >> (convolution with 3 points, walls at the ends)
    """
    if isinstance(operator, TransitionKernel):
        shape = (operator.num_states, operator.num_actions)
        operator = operator.under(jnp.full(shape, 1 / operator.num_actions))
    if not isinstance(operator, TransitionOperator):
        raise ValueError(f"cost is that of a transition kernel or operator, but was given a {type(operator).__name__}")
    leaves = [leaf for leaf in jax.tree.leaves(operator) if eqx.is_array(leaf)]
    vector = jnp.ones(operator.num_states)
    products = (lambda a, v: a.mv(v), lambda a, m: a.rmv(m))
    forward, adjoint = (jax.jit(f).lower(operator, vector).compile().cost_analysis() or {} for f in products)
    stored = sum(int(leaf.size) for leaf in leaves)
    flops, moved = ((forward.get(key, np.nan), adjoint.get(key, np.nan)) for key in ("flops", "bytes accessed"))
    return Cost(operator.structure, stored, flops, moved)
