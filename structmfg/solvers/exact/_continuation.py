"""Newton's method along the branch of soft equilibria that begins at the uniform policy, down to temperature zero.

As in `_annealed`, F(x; lambda) are the aggregates that follow where agents expect the aggregates x and respond softly
at temperature lambda. The solutions of F(x; lambda) = x form a curve in (x, log lambda). It is followed by arc length,
so that it may turn back in lambda on its way (pseudo-arclength continuation: Keller 1977; Allgower & Georg 2003,
doi:10.1137/1.9780898719154). This is the tracing of logit equilibria of games of finitely many players (McKelvey &
Palfrey 1995, doi:10.1006/game.1995.1023; Turocy 2005, doi:10.1016/j.geb.2004.04.003). It needs no monotone game, but
the derivative of F: one sweep back and forth for each of the unknowns.

The end of the curve is far, and steep. So where there are few probabilities, the conditions of an equilibrium are also
solved directly from places on the way (`_semismooth`), which ends at equilibria to rounding. With every step some best
responses to damped mean fields are played as well (`_annealed`), which may end in an equilibrium that does not mix
actions.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from structmfg.evaluation import Certificate, Flow, Table, TreeProblem
from structmfg.games import num_entries
from structmfg.solvers.exact._annealed import COLDEST, Annealed, Point, lift, play_damped, respond
from structmfg.solvers.exact._semismooth import MOST_PROBABILITIES, Measured, measured, semismooth_newton

_MOST = 1024  # unknowns
_WEIGHT = 0.1  # of log lambda in the length of the curve
_WARMEST = 10.0  # the temperature at the start of the curve, in spreads of action values
_COLDEST = 1e-13  # the temperature at which it ends, in the same unit
_FIRST_LENGTH, _LONGEST = 0.05, 2.0  # of a step along the curve
_SHORTEST = 1e-12
_CORRECTIONS = 7  # Newton steps back to the curve, at most
_QUICK = 4  # as many as this, and the next step is longer
_RESIDUAL = 1e-9  # of a point on the curve, where rounding allows it
_BETWEEN = 1.1  # the factor by which the temperature falls between two attempts at the conditions themselves
_ROUNDING = 1e-14  # how far rounding may move F at a temperature of one spread; the error is inversely proportional


class CurveState(NamedTuple):
    """The state of the continuation.

    Attributes:
        place, tangent: The place (N + 1,) on the curve, aggregates and weighted log lambda, and its direction there.
        length: The length of the next step.
        flow: Aggregate states (M, W), to which aggregates are lifted.
        scale: The spread of action values.
        attempted: The temperature of the latest attempt to solve the conditions of an equilibrium.
        damped, steps: The mean fields of the damped best responses, and the number of steps made.
        best: The policy (D, S, A) of the least exploitability.
        gain, mean_return: That exploitability, and its return.
    """

    place: Float[Array, " place"]
    tangent: Float[Array, " place"]
    length: Float[Array, ""]
    flow: Flow
    scale: Float[Array, ""]
    attempted: Float[Array, ""]
    damped: Flow
    steps: Int[Array, ""]
    best: Table
    gain: Float[Array, ""]
    mean_return: Float[Array, ""]


def suits_newton(problem: TreeProblem) -> bool:
    """Whether both the curve is followed and the conditions of an equilibrium are solved, see `Continuation`."""
    if problem.tree.num_decisions * problem.game.num_states * problem.game.num_actions > MOST_PROBABILITIES:
        return False  # at once, as this is asked for with every certificate
    first = jax.tree.map(lambda z: z[0], problem.tree.noise)
    entries = num_entries(problem.game, first) if problem.functions is None else len(problem.functions)
    return problem.tree.num_slots * entries <= _MOST


class Continuation(eqx.Module):
    """Newton's method along the curve of soft equilibria."""

    def empty(self, problem: TreeProblem, flow: Flow) -> CurveState:
        """Arrays of the right shapes, and an infinite exploitability."""
        flow, zero, table = jnp.zeros_like(flow), jnp.zeros(()), jnp.zeros_like(problem.uniform())
        place = jnp.append(problem.aggregates(flow).ravel(), 0.0)
        return CurveState(
            place, place, zero, flow, zero, zero, flow, jnp.zeros((), int), table, jnp.asarray(jnp.inf), zero
        )

    def init(self, problem: TreeProblem) -> CurveState:
        """The state at the start of the curve.

        Raises:
            ValueError: If there are too many unknowns.
        """
        start = Annealed().init(problem)
        if (unknowns := start.guess.size) > _MOST:
            raise ValueError(
                f"method 'newton' solves dense equations in {unknowns} unknowns (nodes * aggregates), at most {_MOST}: "
                "take method 'mirror' or 'annealed'"
            )
        warm = jnp.append(start.guess.ravel(), _WEIGHT * jnp.log(_WARMEST * start.first_temperature))
        down = jnp.zeros_like(warm).at[-1].set(-1.0)
        state = CurveState(
            warm, down, jnp.asarray(_FIRST_LENGTH), start.now.flow, start.first_temperature, start.first_temperature,
            start.damped, start.failures, problem.uniform(), start.gain, start.mean_return,
        )  # fmt: skip
        place, *_ = _corrected(problem, state, warm)
        return state._replace(place=place, tangent=_direction(problem, state, place))

    def step(self, problem: TreeProblem, state: CurveState) -> CurveState:
        """The state after a step along the curve, or, where that left the curve, with a shorter one to be tried."""
        place, error, corrections = _corrected(problem, state, state.place + state.length * state.tangent)
        tangent = _direction(problem, state, place)
        temperature = _temperature(place)
        moved = jnp.linalg.norm(place - state.place - state.length * state.tangent)
        on_curve = (
            (error <= jnp.maximum(_RESIDUAL, _ROUNDING * state.scale / temperature))
            & (moved <= state.length / 2)
            & (tangent @ state.tangent > 0.5)
            & jnp.all(jnp.isfinite(tangent))
        )
        on_the_way = measured(problem, respond(problem, _point(problem, state, place)))
        colder = on_curve & (_BETWEEN * temperature <= state.attempted)
        state = _kept(state, on_curve, _attempted(problem, state, on_the_way, colder))
        point, policy, _ = play_damped(problem, state.damped, state.steps, COLDEST * state.scale)
        state = _kept(state, jnp.asarray(True), measured(problem, policy))
        longer = jnp.where(corrections <= _QUICK, 1.6, 1.0) * state.length
        ended = (temperature < _COLDEST * state.scale) | (temperature > 2 * _WARMEST * state.scale)
        length = jnp.where(on_curve, jnp.minimum(longer, _LONGEST), jnp.maximum(state.length / 2, _SHORTEST))
        return state._replace(
            place=jnp.where(on_curve & ~ended, place, state.place),
            tangent=jnp.where(on_curve & ~ended, tangent, state.tangent),
            length=length,
            attempted=jnp.where(colder, temperature, state.attempted),
            damped=point.flow,
            steps=state.steps + 1,
        )

    def certify(self, problem: TreeProblem, state: CurveState) -> tuple[CurveState, Certificate]:
        """The least exploitability, which steps have computed."""
        return state, Certificate(state.gain[None], state.mean_return[None])

    def policy_at(self, problem: TreeProblem, state: CurveState) -> Table:
        """The policy of the least exploitability."""
        return state.best


def _kept(state: CurveState, valid: Bool[Array, ""], found: Measured) -> CurveState:
    """The state with a policy that was found, where it is valid and better than the best so far."""
    better = valid & (found[1] < state.gain)
    before = state.best, state.gain, state.mean_return
    best, gain, mean_return = jax.tree.map(lambda a, b: jnp.where(better, a, b), found, before)
    return state._replace(best=best, gain=gain, mean_return=mean_return)


def _temperature(place: Float[Array, " place"]) -> Float[Array, ""]:
    return jnp.exp(place[-1] / _WEIGHT)


def _point(problem: TreeProblem, state: CurveState, place: Float[Array, " place"]) -> Point:
    aggregates = place[:-1].reshape(len(state.flow), -1)
    return Point(lift(problem, state.flow, aggregates), _temperature(place))


def _residual(problem: TreeProblem, state: CurveState, place: Float[Array, " place"]) -> Float[Array, " residuals"]:
    """F(x; lambda) - x."""
    _, flow = problem.play(respond(problem, _point(problem, state, place)))
    return problem.aggregates(flow).ravel() - place[:-1]


def _attempted(problem: TreeProblem, state: CurveState, on_the_way: Measured, wanted: Bool[Array, ""]) -> Measured:
    """What comes of solving the conditions of an equilibrium from a place on the curve, where that is wanted."""
    if on_the_way[0].size > MOST_PROBABILITIES:
        return on_the_way
    return jax.lax.cond(
        wanted,
        lambda found: semismooth_newton(problem, found[0], state.scale),
        lambda found: found,
        on_the_way,
    )


def _jacobian(problem: TreeProblem, state: CurveState, place: Float[Array, " place"]) -> Float[Array, "place place"]:
    """The derivative of the residual, with the present tangent as the last row."""
    of_residual = jax.jacfwd(lambda at: _residual(problem, state, at))(place)
    return jnp.concatenate([of_residual, state.tangent[None]])


def _direction(problem: TreeProblem, state: CurveState, place: Float[Array, " place"]) -> Float[Array, " place"]:
    """The tangent of the curve at a place, in the sense of the present one."""
    last = jnp.zeros_like(place).at[-1].set(1.0)
    tangent = jnp.linalg.solve(_jacobian(problem, state, place), last)
    return tangent / jnp.linalg.norm(tangent)


def _corrected(
    problem: TreeProblem, state: CurveState, predicted: Float[Array, " place"]
) -> tuple[Float[Array, " place"], Float[Array, ""], Float[Array, ""]]:
    """Newton's method across the tangent, from a predicted place: the place, its residual, the steps taken."""

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, residual, count = carry
        off = jnp.append(residual, state.tangent @ (place - predicted))
        place = place - jnp.linalg.solve(_jacobian(problem, state, place), off)
        return place, _residual(problem, state, place), count + 1

    def goes_on(carry: tuple[Array, Array, Array]) -> Array:
        _, residual, count = carry
        return (count < _CORRECTIONS) & (jnp.max(jnp.abs(residual), initial=0.0) > _RESIDUAL / 100)

    start = predicted, _residual(problem, state, predicted), jnp.zeros(())
    place, residual, count = jax.lax.while_loop(goes_on, step, start)
    return place, jnp.max(jnp.abs(residual), initial=0.0), count
