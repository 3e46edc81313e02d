"""A gated recurrent unit along all times of a path, with a backward pass that differentiates few operations a step.

With r and z the reset and update gates, the unit of haiku (Chung et al. 2014, arXiv 1412.3555) is

    z = sigmoid(x W_z + h U_z + b_z),   r = sigmoid(x W_r + h U_r + b_r),
    a = tanh(x W_a + (r h) U_a + b_a),  h' = (1 - z) h + z a.

Inputs x are known at all times, so that x W + b is one matrix product. Once all h are known, so are z, r and a: the
backward pass computes them for all times at once, and only what is passed from one time to the one before is computed
step by step. The gradient in U is then one matrix product as well. JAX's own differentiation of the loop would keep ten
arrays a step and add up the gradients of all weights within the loop.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg._flags import steps_written_out

_ROW = 10  # steps that are written out on an accelerator
Gates = tuple[Array, Array, Array, Array]


@jax.custom_vjp
def unroll(
    inputs: Float[Array, "times gates"], weights: Float[Array, "hidden gates"], start: Float[Array, " hidden"]
) -> Float[Array, "times hidden"]:
    """The hidden states h_1..h_T of a gated recurrent unit.

    Args:
        inputs: x_t W + b at every time (T, 3 H): of z, then of r, then of a.
        weights: U (H, 3 H), in the same order.
        start: h_0 (H,).

    Returns:
        The hidden states (T, H).
    """
    of_gates, of_candidate = _split(weights)

    def step(hidden: Array, given: Array) -> tuple[Array, Array]:
        z, _, a, _ = _gates(given, hidden, of_gates, of_candidate)
        hidden = (1 - z) * hidden + z * a
        return hidden, hidden

    return jax.lax.scan(step, start, inputs, unroll=steps_written_out(_ROW))[1]


def step(
    inputs: Float[Array, " gates"], weights: Float[Array, "hidden gates"], hidden: Float[Array, " hidden"]
) -> Float[Array, " hidden"]:
    """h' at one time, from x W + b (3 H,), U (H, 3 H) and h.

    Both products are with all of U: to take out the columns that count would be an operation of its own at each time.
    """
    given, candidate = _split(inputs)
    z, r = jnp.split(jax.nn.sigmoid(given + _split(hidden @ weights)[0]), 2, axis=-1)
    a = jnp.tanh(candidate + _split((r * hidden) @ weights)[1])
    return (1 - z) * hidden + z * a


def _split(weights: Array) -> tuple[Array, Array]:
    """The weights of both gates, and those of the candidate a; of an array (..., 3 H)."""
    both = 2 * (weights.shape[-1] // 3)
    return weights[..., :both], weights[..., both:]


def _gates(inputs: Array, hidden: Array, of_gates: Array, of_candidate: Array) -> Gates:
    """z, r, a and r h, given x W + b and h at one time or at many."""
    given, candidate = _split(inputs)
    z, r = jnp.split(jax.nn.sigmoid(given + hidden @ of_gates), 2, axis=-1)
    kept = r * hidden
    return z, r, jnp.tanh(candidate + kept @ of_candidate), kept


def _forward(inputs: Array, weights: Array, start: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    hidden = unroll(inputs, weights, start)
    return hidden, (inputs, weights, start, hidden)


def _backward(known: tuple[Array, Array, Array, Array], in_hidden: Array) -> tuple[Array, Array, Array]:
    """The gradients in inputs, weights and start, given those in the hidden states."""
    inputs, weights, start, hidden = known
    of_gates, of_candidate = _split(weights)
    before = jnp.concatenate([start[None], hidden[:-1]])
    z, r, a, kept = _gates(inputs, before, of_gates, of_candidate)
    # The derivatives of h' in the arguments of tanh and of the first sigmoid, and of r h in that of the second.
    slopes = z * (1 - a**2), (a - before) * z * (1 - z), before * r * (1 - r), 1 - z, r

    def step(carried: Array, given: tuple[Array, ...]) -> tuple[Array, Array]:
        in_state, slope_a, slope_z, slope_r, stays, reset = given
        in_state = carried + in_state
        in_a = in_state * slope_a
        in_kept = in_a @ of_candidate.T
        in_gates = jnp.concatenate([in_state * slope_z, in_kept * slope_r])
        carried = in_state * stays + in_kept * reset + in_gates @ of_gates.T
        return carried, jnp.concatenate([in_gates, in_a])

    in_start, in_inputs = jax.lax.scan(
        step, jnp.zeros_like(start), (in_hidden, *slopes), reverse=True, unroll=steps_written_out(_ROW)
    )
    in_gates, in_candidate = _split(in_inputs)
    in_weights = jnp.concatenate([before.T @ in_gates, kept.T @ in_candidate], axis=1)
    return in_inputs, in_weights, in_start


unroll.defvjp(_forward, _backward)
