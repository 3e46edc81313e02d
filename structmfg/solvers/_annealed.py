"""The annealed soft fixed point with Anderson acceleration, in the aggregates through which agents interact.

At temperature lambda a guess x of the aggregates at every node gives soft values backward, a policy
softmax(q / lambda), its mean fields forward and so aggregates F(x). Anderson's method (Walker & Ni 2011,
doi:10.1137/10078356X, type II) solves F(x) = x, group by group; then lambda falls, and the fixed point is followed down
to where the policy's certificate is as small as asked. Where it is lost, lambda goes back and falls more slowly.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg.solvers._problem import TreeProblem, soft
from structmfg.solvers._tree import Flow, Table

_INNER = 40  # evaluations at one temperature, at most
_FOUND = 1e-2  # the relative residual at which the fixed point counts as found, times lambda over the first lambda
_LOOSEST = 1e-3  # and at most so much
_SLOWEST = 0.97
_COLD = 1e-9  # of the spread of action values: the first temperature where agents do not interact
_RIDGE = 1e-13


class Point(NamedTuple):
    """A guess: the mean fields that agents expect (M, S), and the temperature at which they respond."""

    flow: Flow
    temperature: Float[Array, ""]


class AnnealedState(NamedTuple):
    """`functions`: the aggregates as a matrix; `guess` (M, K), its mean fields, and the history (m, M, K), newest last, of which `count` entries are good."""

    functions: Float[Array, "aggregates states"]
    guess: Float[Array, "slots aggregates"]
    now: Point
    guesses: Float[Array, "memory slots aggregates"]
    residuals: Float[Array, "memory slots aggregates"]
    count: Int[Array, ""]
    inner: Int[Array, ""]
    first: Float[Array, ""]
    rate: Float[Array, ""]
    found: Point
    best: Point
    gain: Float[Array, ""]
    mean_return: Float[Array, ""]
    residual: Float[Array, ""]


class Annealed(eqx.Module):
    """`rate`: the factor of the temperature where following succeeds. `memory`: residuals that Anderson combines."""

    rate: float = 0.5
    memory: int = eqx.field(static=True, default=8)

    def init(self, problem: TreeProblem, aggregates: Float[Array, "aggregates states"]) -> AnnealedState:
        """The uniform policy's mean fields, and the spread of its action values for a temperature."""
        policy = problem.uniform()
        flow = problem.push(policy)
        spread = jnp.max(_spread(problem, flow, policy))
        count = aggregates.shape[0]
        first = jnp.maximum(spread * (_COLD if count == 0 else 1.0), jnp.finfo(flow.dtype).tiny ** 0.5)
        history = jnp.zeros((self.memory, *flow.shape[:1], count))
        certificate = problem.certify(flow, policy)
        rate, zero = jnp.asarray(self.rate), jnp.zeros((), int)
        start = Point(flow, first)
        return AnnealedState(
            aggregates, flow @ aggregates.T, start, history, history, zero, zero, first, rate, Point(flow, first / rate),
            start, jnp.sum(certificate.gain), jnp.sum(certificate.mean_return), jnp.asarray(jnp.inf),
        )  # fmt: skip

    def step(self, problem: TreeProblem, state: AnnealedState) -> AnnealedState:
        """One evaluation of F, and what follows from it: Anderson's step, or the next temperature."""
        aggregates = state.functions
        policy = respond(problem, state.now)
        flow = problem.push(policy)
        reached = flow @ aggregates.T
        residual = reached - state.guess
        scale = jnp.max(jnp.abs(reached), axis=0) + jnp.finfo(flow.dtype).tiny
        error = jnp.max(jnp.abs(residual) / scale, initial=0.0)
        temperature = state.now.temperature
        found = error <= jnp.minimum(_LOOSEST, _FOUND * temperature / state.first)
        lost = ~found & ((state.inner + 1 >= _INNER) | ~jnp.isfinite(error))

        def measure(_: None) -> tuple[Array, Array]:
            certificate = problem.certify(flow, policy)
            return jnp.sum(certificate.gain), jnp.sum(certificate.mean_return)

        gain, mean_return = jax.lax.cond(found, measure, lambda _: (jnp.asarray(jnp.inf), state.mean_return), None)
        better = gain < state.gain
        choose = lambda which, yes, no: jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)  # noqa: E731

        guesses = jnp.roll(state.guesses, -1, axis=0).at[-1].set(state.guess)
        residuals = jnp.roll(state.residuals, -1, axis=0).at[-1].set(residual)
        count = state.count + 1
        step = _anderson(problem, guesses, residuals, count)
        last = choose(found, Point(flow, temperature), state.found)
        moved = found | lost
        rate = jnp.where(found, jnp.maximum(state.rate**2, self.rate), jnp.minimum(jnp.sqrt(state.rate), _SLOWEST))
        guess = jnp.where(moved, last.flow @ aggregates.T, step)
        base = jnp.where(moved, last.flow, flow)
        lifted = jnp.where(moved, last.flow, lift(base, guess, aggregates))
        following = Point(lifted, jnp.where(moved, last.temperature * rate, temperature))
        return AnnealedState(
            aggregates, guess, following, guesses, residuals, jnp.where(moved, 0, count), jnp.where(moved, 0, state.inner + 1),
            state.first, jnp.where(moved, rate, state.rate), last, choose(better, state.now, state.best),
            jnp.where(better, gain, state.gain), jnp.where(better, mean_return, state.mean_return), error,
        )  # fmt: skip

    def table(self, problem: TreeProblem, state: AnnealedState) -> Table:
        """The policy of the least gain."""
        return respond(problem, state.best)


def respond(problem: TreeProblem, point: Point) -> Table:
    """The soft best response."""

    def choose(_: None, q: Array) -> tuple[Array, Array, Array]:
        policy, worth = soft(q, point.temperature)
        return policy, worth, policy

    return problem.backward(point.flow, choose, None)[1]


def lift(
    flow: Flow, aggregates: Float[Array, "slots aggregates"], functions: Float[Array, "aggregates states"]
) -> Flow:
    """The mean fields with these aggregates nearest to `flow`. Only aggregates matter, so they may be signed; where the
    aggregates are the whole mean field, they are distributions.
    """
    if functions.shape[0] == 0:
        return flow
    if functions.shape[0] == functions.shape[1]:
        masses = jnp.maximum(jnp.linalg.solve(functions, aggregates.T).T, 0)
        return masses / jnp.sum(masses, axis=-1, keepdims=True)
    return flow + (aggregates - flow @ functions.T) @ jnp.linalg.pinv(functions).T


def _spread(problem: TreeProblem, flow: Flow, policy: Table) -> Array:
    def choose(own: Array, q: Array) -> tuple[Array, Array, Array]:
        return own, jnp.sum(own * q, axis=-1), jnp.max(q, axis=-1) - jnp.min(q, axis=-1)

    return problem.backward(flow, choose, policy)[1]


def _anderson(
    problem: TreeProblem,
    guesses: Float[Array, "memory slots aggregates"],
    residuals: Float[Array, "memory slots aggregates"],
    count: Int[Array, ""],
) -> Float[Array, "slots aggregates"]:
    """The next guess: in every group, the combination of the last ones with the least residual, and its residual."""
    memory = guesses.shape[0]
    good = jnp.arange(1, memory) >= memory - count + 1
    steps, changes = (jnp.where(good[:, None, None], x[1:] - x[:-1], 0) for x in (guesses, residuals))

    def inner(left: Array, right: Array) -> Array:
        products = jnp.sum(left * right, axis=-1)
        return jax.vmap(lambda p: jax.ops.segment_sum(p, problem.group, num_segments=problem.num_groups))(products)

    sizes = jnp.sqrt(inner(changes, changes)) + jnp.finfo(changes.dtype).tiny ** 0.25
    gram = jax.vmap(lambda change: inner(changes, change[None]))(changes) / (sizes[:, None] * sizes[None])
    gram = jnp.moveaxis(gram, -1, 0) + (_RIDGE * jnp.eye(memory - 1) + jnp.diag(~good))
    right = jnp.moveaxis(inner(changes, residuals[-1:]) / sizes, -1, 0)
    weights = jnp.linalg.solve(gram, right[..., None])[..., 0] / sizes.T
    return guesses[-1] + residuals[-1] - jnp.einsum("mj,jmk->mk", weights[problem.group], steps + changes)
