"""The annealed soft fixed point with Anderson acceleration, in the aggregates through which agents interact.

At temperature lambda a guess x of the aggregates at every node gives soft values backward, a policy
softmax(q / lambda), its mean fields forward and so aggregates F(x). Anderson's method (Walker & Ni 2011,
doi:10.1137/10078356X, type II) solves F(x) = x, group by group; then lambda falls, and the fixed point is followed down
to where the policy's certificate is as small as asked. Where it is lost, lambda goes back and falls more slowly. In
games that are not monotone the path may end on the way. So each time that it is lost, some best responses to damped
mean fields are played as well, which may end in an equilibrium that does not mix actions.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.evaluation import Certificate, Flow, Table, TreeProblem, soft

_MAX_EVALUATIONS = 40  # at one temperature
_RESIDUAL = 1e-2  # the relative residual at which a fixed point is found, times lambda over the first lambda
_MAX_RESIDUAL = 1e-3  # the most that this product may be
_SLOWEST = 0.97  # the largest factor of the temperature
_UNIFORM = 1e20  # times the first temperature: where soft responses are uniform, up to rounding
_WITHOUT_INTERACTION = 1e-9  # of the spread of action values: the first temperature where agents do not interact
_WEIGHTS = (0.3, 0.1, 0.03)  # of the newest response in mean fields in which older ones fade
_FADED = 100  # steps of such responses, times the inverse of the weight
COLDEST = 1e-12  # times a spread of action values, the temperature at which responses are best responses
_RIDGE = 1e-13  # added to the normalised Gram matrix of Anderson's method


class Point(NamedTuple):
    """A guess: the mean fields that agents expect (M, S), and the temperature at which they respond."""

    flow: Flow
    temperature: Float[Array, ""]


class AnnealedState(NamedTuple):
    """The state of the annealed fixed point.

    Attributes:
        guess: The aggregates (M, K) that agents expect.
        now: The mean fields with these aggregates, and the temperature.
        before: The guess and the residual before this one.
        steps, changes: The latest differences of guesses and of residuals.
        evaluations: Evaluations at this temperature so far.
        first_temperature, rate: The first temperature, and the factor of the next one.
        last: The guess and the point of the fixed point that was found last.
        damped, failures: The mean fields of the damped best responses, and how often the path was lost.
        best, gain, mean_return: The point of the least exploitability, that exploitability, and its return.
        residual: The relative residual of the latest evaluation.
    """

    guess: Float[Array, "slots aggregates"]
    now: Point
    before: tuple[Float[Array, "slots aggregates"], Float[Array, "slots aggregates"]]
    steps: Float[Array, "memory slots aggregates"]
    changes: Float[Array, "memory slots aggregates"]
    evaluations: Int[Array, ""]
    first_temperature: Float[Array, ""]
    rate: Float[Array, ""]
    last: tuple[Float[Array, "slots aggregates"], Point]
    damped: Flow
    failures: Int[Array, ""]
    best: Point
    gain: Float[Array, ""]
    mean_return: Float[Array, ""]
    residual: Float[Array, ""]


class Annealed(eqx.Module):
    """The annealed soft fixed point.

    Attributes:
        rate: The factor of the temperature where the fixed point is followed without trouble.
        memory: How many differences Anderson's method combines.
    """

    rate: float = 0.5
    memory: int = eqx.field(static=True, default=8)

    def init(self, problem: TreeProblem) -> AnnealedState:
        """The state of the uniform policy; the first temperature is the spread of its action values."""
        policy, flow = problem.play(problem.uniform())
        gain, best, spread = problem.gains(flow, problem.occupancy(flow, policy))
        guess = problem.aggregates(flow)
        first = jnp.maximum(spread * (1.0 if guess.size else _WITHOUT_INTERACTION), jnp.finfo(flow.dtype).tiny ** 0.5)
        history = jnp.zeros((self.memory, *guess.shape))
        start = Point(flow, first)
        return AnnealedState(
            guess=guess,
            now=start,
            before=(guess, guess),
            steps=history,
            changes=history,
            evaluations=jnp.zeros((), int),
            first_temperature=first,
            rate=jnp.asarray(self.rate),
            last=(guess, Point(flow, first / self.rate)),
            damped=flow,
            failures=jnp.zeros((), int),
            best=Point(flow, _UNIFORM * first),
            gain=jnp.sum(gain),
            mean_return=jnp.sum(best - gain),
            residual=jnp.asarray(jnp.inf),
        )

    def step(self, problem: TreeProblem, state: AnnealedState) -> AnnealedState:
        """The state after one evaluation of F, and Anderson's step or another temperature."""
        temperature = state.now.temperature
        policy, flow = problem.play(respond(problem, state.now))
        reached = problem.aggregates(flow)
        residual = reached - state.guess
        scale = jnp.max(jnp.abs(reached), axis=0) + jnp.finfo(flow.dtype).tiny
        error = jnp.max(jnp.abs(residual) / scale, initial=0.0)
        found = error <= jnp.minimum(_MAX_RESIDUAL, _RESIDUAL * temperature / state.first_temperature)
        lost = ~found & ((state.evaluations + 1 >= _MAX_EVALUATIONS) | ~jnp.isfinite(error))

        coldest = COLDEST * state.first_temperature
        candidate = jax.lax.cond(
            lost,
            lambda: play_damped(problem, state.damped, state.failures, coldest),
            lambda: (state.now, policy, flow),
        )

        def measure() -> tuple[Array, Array]:
            _, *responses = candidate
            played, own = problem.settled(*responses)
            certificate = problem.certify(own, played)
            return jnp.sum(certificate.gain), jnp.sum(certificate.mean_return)

        gain, mean_return = jax.lax.cond(found | lost, measure, lambda: (jnp.asarray(jnp.inf), state.mean_return))
        better = gain < state.gain
        state = state._replace(
            damped=jnp.where(lost, candidate[0].flow, state.damped),
            failures=state.failures + lost,
            best=_where(better, candidate[0], state.best),
            gain=jnp.where(better, gain, state.gain),
            mean_return=jnp.where(better, mean_return, state.mean_return),
            residual=error,
        )
        state = self._remember_differences(state, residual)
        colder = self._lower_temperature(problem, state, reached, flow)
        backtracked = self._backtrack(problem, state)
        improved = self._anderson_step(problem, state, residual, flow)
        return _where(found, colder, _where(lost, backtracked, improved))

    def certify(self, problem: TreeProblem, state: AnnealedState) -> tuple[AnnealedState, Certificate]:
        """The least exploitability, which steps have computed."""
        return state, Certificate(state.gain[None], state.mean_return[None])

    def policy_at(self, problem: TreeProblem, state: AnnealedState) -> Table:
        """The policy of the least exploitability."""
        return respond(problem, state.best)

    def _remember_differences(self, state: AnnealedState, residual: Array) -> AnnealedState:
        """Add the newest differences, if the guess before was at the same temperature."""
        guess, other = state.before
        new = (state.guess - guess, residual - other)
        steps, changes = (
            jnp.where(state.evaluations > 0, jnp.roll(old, -1, axis=0).at[-1].set(one), old)
            for old, one in zip((state.steps, state.changes), new, strict=True)
        )
        return state._replace(steps=steps, changes=changes, before=(state.guess, residual))

    def _anderson_step(self, problem: TreeProblem, state: AnnealedState, residual: Array, flow: Flow) -> AnnealedState:
        """Take Anderson's step at the same temperature."""
        guess = _bounded(problem, state.guess + residual - _anderson(problem, state.steps, state.changes, residual))
        point = Point(lift(problem, flow, guess), state.now.temperature)
        return state._replace(guess=guess, now=point, evaluations=state.evaluations + 1)

    def _lower_temperature(
        self, problem: TreeProblem, state: AnnealedState, reached: Array, flow: Flow
    ) -> AnnealedState:
        """Go on from a fixed point to the next temperature, where the line through the last two fixed points leads.

        Responses steepen like 1 / temperature, and so the differences of F are scaled at first.
        """
        temperature, (earlier, warmer) = state.now.temperature, state.last
        rate = jnp.maximum(state.rate**2, self.rate)
        following = temperature * rate
        slope = (reached - earlier) / (temperature - warmer.temperature)
        guess = _bounded(problem, reached + slope * (following - temperature))
        return state._replace(
            guess=guess,
            now=Point(lift(problem, flow, guess), following),
            changes=(state.changes + state.steps) / rate - state.steps,
            evaluations=jnp.zeros_like(state.evaluations),
            rate=rate,
            last=(reached, Point(flow, temperature)),
        )

    def _backtrack(self, problem: TreeProblem, state: AnnealedState) -> AnnealedState:
        """Go back to the fixed point that was found last, and make a smaller step in temperature from there."""
        guess, point = state.last
        rate = jnp.minimum(jnp.sqrt(state.rate), _SLOWEST)
        return state._replace(
            guess=guess,
            now=Point(lift(problem, point.flow, guess), point.temperature * rate),
            steps=jnp.zeros_like(state.steps),
            changes=jnp.zeros_like(state.changes),
            evaluations=jnp.zeros_like(state.evaluations),
            rate=rate,
        )


def play_damped(
    problem: TreeProblem, damped: Flow, rounds: Int[Array, ""], coldest: Float[Array, ""]
) -> tuple[Point, Table, Flow]:
    """Some best responses to damped mean fields.

    Args:
        problem: The problem on the tree.
        damped: The mean fields (M, W) that agents expect at first.
        rounds: How often this was called before: the later, the smaller is the weight of the newest response.
        coldest: The temperature of the responses, at which they are best responses.

    Returns:
        The mean fields expected last, at that temperature; the response to them, and its own mean fields.
    """
    starts = np.cumsum([_FADED / weight for weight in _WEIGHTS[:-1]])
    weight = jnp.array(_WEIGHTS)[jnp.searchsorted(starts, _MAX_EVALUATIONS * rounds, side="right")]

    def step(_: Any, before: tuple[Flow, Table, Flow]) -> tuple[Flow, Table, Flow]:
        expected, _, flow = before
        expected = (1 - weight) * expected + weight * flow
        return expected, *problem.play(respond(problem, Point(expected, coldest)))

    start = damped, problem.uniform(), damped
    expected, policy, flow = jax.lax.fori_loop(0, _MAX_EVALUATIONS, step, start)
    return Point(expected, coldest), policy, flow


def respond(problem: TreeProblem, point: Point) -> Table:
    """The soft best response to the mean fields of a point, at its temperature."""

    def choose(_: None, q: Array) -> tuple[Array, Array, Array]:
        policy, worth = soft(q, point.temperature)
        return policy, worth, policy

    return problem.backward(point.flow, choose, None)[1]


def lift(problem: TreeProblem, flow: Flow, aggregates: Float[Array, "slots aggregates"]) -> Flow:
    """The mean fields nearest to `flow` that have these aggregates.

    Only aggregates matter, so masses may be negative, except where the aggregates are the whole mean field.
    """
    change = aggregates - problem.aggregates(flow)
    lifted = flow + (change if problem.pseudoinverse is None else change @ problem.pseudoinverse.T)
    if problem.few_aggregates:
        return lifted
    masses = jnp.maximum(problem.mean_fields(lifted), 0)
    others = lifted[:, problem.game.num_states :]
    return jnp.concatenate([masses / jnp.sum(masses, axis=-1, keepdims=True), others], axis=-1)


def _where(which: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)


def _bounded(problem: TreeProblem, guess: Float[Array, "slots aggregates"]) -> Float[Array, "slots aggregates"]:
    """The guess, moved to within the aggregates that distributions can have; what is no mean field has no bounds."""
    states = problem.game.num_states
    if problem.functions is None:
        return jnp.concatenate([jnp.clip(guess[:, :states], 0, 1), guess[:, states:]], axis=-1)
    count = len(problem.functions) - (problem.functions.shape[1] - states)
    functions = problem.functions[:count, :states]
    of_mean_field = jnp.clip(guess[:, :count], jnp.min(functions, axis=1), jnp.max(functions, axis=1))
    return jnp.concatenate([of_mean_field, guess[:, count:]], axis=-1)


def _anderson(
    problem: TreeProblem,
    steps: Float[Array, "memory slots aggregates"],
    changes: Float[Array, "memory slots aggregates"],
    residual: Float[Array, "slots aggregates"],
) -> Float[Array, "slots aggregates"]:
    """What Anderson's method takes off a plain step: by group, the combination of changes nearest to the residual."""

    def inner(left: Array, right: Array) -> Array:
        products = jnp.sum(left * right, axis=-1)
        return jax.vmap(lambda p: jax.ops.segment_sum(p, problem.group, num_segments=problem.num_groups))(products)

    sizes = jnp.sqrt(inner(changes, changes))
    empty = sizes == 0
    sizes = jnp.where(empty, 1, sizes)
    gram = jax.vmap(lambda change: inner(changes, change[None]))(changes) / (sizes[:, None] * sizes[None])
    gram = jnp.moveaxis(gram, -1, 0) + jnp.eye(len(steps)) * (_RIDGE + empty.T[:, None, :])
    right = jnp.moveaxis(inner(changes, residual[None]) / sizes, -1, 0)
    weights = jnp.linalg.solve(gram, right[..., None])[..., 0] / sizes.T
    return jnp.einsum("mj,jmk->mk", weights[problem.group], steps + changes)
