"""Draw from discrete distributions by inversion, and count agents."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.special import ndtr

from structmfg._checks import check_integer


def inside_unit_interval(uniforms: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Uniform numbers without 0 and 1, which games need not accept as innovations."""
    edge = jnp.finfo(uniforms.dtype).eps
    return jnp.clip(uniforms, edge, 1 - edge)


def draw_categorical(key: PRNGKeyArray, weights: Float[Array, "*batch choices"]) -> Int[Array, "*batch"]:
    """Draw one index a row, with probability proportional to its weight, from one uniform number a row.

    Args:
        key: A key of `jax.random`.
        weights: (..., n), nonnegative; they need not sum to one.

    Returns:
        Indices (...) in 0..n-1.
    """
    cumulative = jnp.cumsum(weights, axis=-1)
    uniform = jax.random.uniform(key, (*weights.shape[:-1], 1), cumulative.dtype) * cumulative[..., -1:]
    return jnp.minimum(jnp.sum(uniform >= cumulative, axis=-1), weights.shape[-1] - 1)


def draw_actions(
    key: PRNGKeyArray, policy: Float[Array, "states actions"], states: Int[Array, " agents"]
) -> Int[Array, " agents"]:
    """Draw an action for every agent from pi(. | s).

    Args:
        key: A key of `jax.random`.
        policy: Action probabilities (S, A).
        states: The state (N,) of every agent.

    Returns:
        Actions (N,). An action of probability zero is never drawn, because the uniform number lies in (0, 1].
    """
    cumulative = jnp.cumsum(policy, axis=-1)
    uniform = cumulative[states, -1] * (1 - jax.random.uniform(key, states.shape))
    return jnp.sum(cumulative[states] < uniform[:, None], axis=-1)


def count_agents(states: Int[Array, " agents"], num_states: int) -> Int[Array, " states"]:
    """The number (S,) of agents in every state; agents outside 0..S-1 are not counted."""
    inside = jnp.where(states < 0, num_states, states)  # a negative index would count from the end
    return jnp.zeros(num_states, int).at[inside].add(1, mode="drop")


def normal_quadrature(num_nodes: int = 7) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Nodes in (0, 1) and weights (K,) for `Game.innovation_quadrature`, where z_{t+1} is normal given z_t.

    They are those of Gauss and Hermite, with nodes mapped by the normal distribution function: exact for polynomials of
    degree 2 K - 1 in z_{t+1} = a + b * ndtri(u). With more nodes than 7 single precision rounds the outermost ones,
    which have little weight.

    Raises:
        ValueError: If the number of nodes is not whole, or outside 2..16.
    """
    num_nodes = check_integer("num_nodes", num_nodes, at_least=2, at_most=16)
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    return ndtr(nodes), weights / weights.sum()
