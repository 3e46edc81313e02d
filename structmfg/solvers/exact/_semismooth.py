"""Newton's method for the conditions of an equilibrium themselves, from a policy near one.

With the action values q(pi) of a policy against its own mean fields, pi is an equilibrium where in every state it is
its own projection onto the simplex after a step along q:

    F(pi) = projection(pi + q(pi) / scale) - pi = 0.

F is piecewise smooth: an action that is not played and is worse than the others has no derivative there, so that the
actions that are played need not be known beforehand. Steps are those of Levenberg and Marquardt with a multiple of
|F|^2 as parameter, which converge quadratically near solutions that need not be isolated (Yamashita & Fukushima 2001,
doi:10.1007/978-3-7091-6217-0_18). Of several lengths of a step the one that lowers the exploitability most is taken.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg.evaluation import Table, TreeProblem

MOST_PROBABILITIES = 512  # the unknowns, whose equations are dense
_MOST_STEPS = 20
_DAMPING = 1e-3  # times |F|^2, the parameter of Levenberg and Marquardt
_LENGTHS = 8  # of a step that are tried: 1, 1/2, 1/4, ...
_LEAST_FALL = 0.999  # a step that leaves more of the exploitability is the last

Measured = tuple[Table, Float[Array, ""], Float[Array, ""]]


def semismooth_newton(problem: TreeProblem, policy: Table, scale: Float[Array, ""]) -> Measured:
    """The policy of the least exploitability on the way of Newton's method, its exploitability and its return.

    Args:
        problem: The problem on the tree.
        policy: The policy (D, S, A) to start from, with at most `MOST_PROBABILITIES` entries.
        scale: The spread of action values.
    """
    lengths = 0.5 ** jnp.arange(_LENGTHS)

    def step(carry: tuple[Measured, Array, Array]) -> tuple[Measured, Array, Array]:
        (policy, gain, mean_return), count, _ = carry
        residual = _residual(problem, policy, scale).ravel()
        jacobian = jax.jacfwd(lambda x: _residual(problem, x.reshape(policy.shape), scale).ravel())(policy.ravel())
        normal = jacobian.T @ jacobian
        least = jnp.finfo(normal.dtype).eps * jnp.trace(normal)
        damped = normal + jnp.maximum(_DAMPING * (residual @ residual), least) * jnp.eye(len(normal))
        direction = -jnp.linalg.solve(damped, jacobian.T @ residual).reshape(policy.shape)
        tried = jax.lax.map(lambda t: measured(problem, projection(policy + t * direction)), lengths)
        best = jnp.argmin(jnp.where(jnp.isnan(tried[1]), jnp.inf, tried[1]))
        found: Measured = jax.tree.map(lambda x: x[best], tried)
        better = found[1] < gain
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), found, (policy, gain, mean_return))
        return kept, count + 1, found[1] < _LEAST_FALL * gain

    def goes_on(carry: tuple[Measured, Array, Array]) -> Array:
        _, count, falls = carry
        return falls & (count < _MOST_STEPS)

    start = measured(problem, policy), jnp.zeros((), int), jnp.asarray(True)
    return jax.lax.while_loop(goes_on, step, start)[0]


def measured(problem: TreeProblem, policy: Table) -> Measured:
    """A policy as it is played, its exploitability and its return."""
    policy, flow = problem.settled(*problem.play(policy))
    certificate = problem.certify(flow, policy)
    return policy, jnp.sum(certificate.gain), jnp.sum(certificate.mean_return)


def projection(points: Float[Array, "*shape actions"]) -> Float[Array, "*shape actions"]:
    """The nearest distributions to points (..., A), after Held, Wolfe & Crowder 1974, doi:10.1007/BF01580223."""
    falling = jnp.flip(jnp.sort(points, axis=-1), axis=-1)
    thresholds = (jnp.cumsum(falling, axis=-1) - 1) / jnp.arange(1, points.shape[-1] + 1)
    last = jnp.sum(falling > thresholds, axis=-1, keepdims=True) - 1
    return jnp.maximum(points - jnp.take_along_axis(thresholds, last, axis=-1), 0)


def _residual(problem: TreeProblem, policy: Table, scale: Float[Array, ""]) -> Table:
    """F(pi), (D, S, A)."""
    played, flow = problem.play(policy)

    def follow(policy: Array, q: Array) -> tuple[Array, Array, Array]:
        return policy, jnp.sum(policy * q, axis=-1), q

    _, action_values = problem.backward(flow, follow, played)
    return projection(policy + action_values / scale) - policy
