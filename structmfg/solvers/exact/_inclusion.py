"""Mean-field occupation measure inclusion by forward-backward splitting, MF-OMI-FBS (Hu & Zhang 2024), on noise trees.

Reference: Hu & Zhang 2024, "MF-OML: online mean-field reinforcement learning with occupation measures for large
population games", arXiv 2405.00282. An equilibrium is an occupation measure L that is best for the rewards r(L) among
all occupation measures of policies, D(L). A step goes along the rewards, then to the nearest point of D(L):

    L+ = argmin over D(L) of sum_n w_n |L_n - G_n|^2 / 2,   G = L + rate (r(L) - perturbation L),   w_n = gamma^t p(n).

In monotone games with small rates, or with a perturbation, which moves the fixed point, the steps contract. On an
equilibrium in the interior they converge linearly, as no temperature has to fall.

The projection is a quadratic program, with one multiplier for each state at each node. Its solution is

    L+_n(s, a) = max(0, G_n(s, a) + gamma sum_c p(c | n) (P_n V_c)(s, a) - V_n(s)),

and V is found by accelerated ascent of the dual problem (Beck & Teboulle 2009, doi:10.1137/080716542, with the restarts
of O'Donoghue & Candes 2015, doi:10.1007/s10208-013-9150-3), whose gradient is the mass that is not kept at each node.
It starts from the multipliers of the step before, and ends where at most `accuracy` of mass is not kept in any state,
or after `projection_steps`. What is certified is the policy of L+, with mean fields of its own, so that a projection
that is not exact costs steps but no truth.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.evaluation import Certificate, Flow, Information, Table, TreeProblem
from structmfg.games import Game
from structmfg.solvers._base import TreeSolver
from structmfg.solvers.exact._accelerated import conditional
from structmfg.solvers.exact._occupation import (
    NodeValues,
    allowed_actions,
    check_full,
    check_interaction,
    expected_rewards,
    expected_values,
    following_masses,
    mean_fields_of,
    most_entering,
)

_EXCLUDED = -1e9  # added to an action that is not allowed


class InclusionState(NamedTuple):
    """The state of the splitting.

    Attributes:
        measure: (D, S, A); the occupation measure.
        multipliers: (D, S); those of its projection.
        missing: The most mass that is not kept in a state, after the projection.
    """

    measure: Table
    multipliers: NodeValues
    missing: Float[Array, ""]


class _Ascent(NamedTuple):
    """The ascent of the dual problem: multipliers, those ahead of them, the momentum, mass not kept, and steps."""

    multipliers: NodeValues
    ahead: NodeValues
    momentum: Float[Array, ""]
    missing: Float[Array, ""]
    step: Int[Array, ""]


class OccupationInclusion(TreeSolver):
    """Steps along the rewards, each followed by the nearest occupation measure of a policy (MF-OMI-FBS).

    Attributes:
        learning_rate: The rate of the steps, in mass per unit of reward.
        perturbation: The weight of the occupation measure that is taken off the rewards, in units of reward per mass.
            Above zero the steps converge faster, to a point whose exploitability is above zero.
        accuracy: The mass that a projection may leave unkept in a state.
        projection_steps: The most steps of a projection.
        tolerance, information: See `TreeSolver`; "full" information only.

    Raises:
        ValueError: Where a number is out of its range, or information is not full.
    """

    learning_rate: float = 0.01
    perturbation: float = 0.0
    accuracy: float = 1e-8
    projection_steps: int = 2000
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)
        check_between("perturbation", self.perturbation, 0, float("inf"))
        check_positive("accuracy", self.accuracy)
        check_integer("projection_steps", self.projection_steps, at_least=1)
        check_full(type(self).__name__, self.information)

    @override
    def check_suits(self, game: Game) -> None:
        check_interaction(type(self).__name__, game)

    @override
    def init(self, problem: TreeProblem) -> InclusionState:
        policy, flow = problem.play(problem.uniform())
        measure = problem.occupancy(flow, policy)
        return InclusionState(measure, jnp.zeros(measure.shape[:2]), jnp.zeros(()))

    @override
    def step(self, problem: TreeProblem, state: InclusionState) -> InclusionState:
        flow = mean_fields_of(problem, state.measure)
        ascent = expected_rewards(problem, flow) - self.perturbation * state.measure
        goal = state.measure + self.learning_rate * ascent
        allowed = allowed_actions(problem, flow)
        if allowed is not None:
            goal = jnp.where(allowed, goal, _EXCLUDED)
        return self.project(problem, flow, goal, state.multipliers)

    def project(self, problem: TreeProblem, flow: Flow, goal: Table, multipliers: NodeValues) -> InclusionState:
        """The occupation measure nearest to a table, for the kernels at given mean fields.

        Args:
            problem: The problem.
            flow: The mean fields (M, S) of the kernels.
            goal: The table (D, S, A).
            multipliers: Those to start from (D, S).
        """
        # The square of the norm of the map from multipliers to tables: |P|_2^2 <= |P|_1 |P|_inf, and |P|_inf = 1.
        discount, actions = problem.game.discount, problem.game.num_actions
        bound = (jnp.sqrt(actions) + jnp.sqrt(discount * most_entering(problem, flow))) ** 2
        occurs = (problem.tree.probability[: problem.tree.num_decisions] > 0)[:, None]

        def measure_of(multipliers: NodeValues) -> Table:
            worth = goal + expected_values(problem, flow, multipliers) - multipliers[..., None]
            return jnp.maximum(worth, 0)

        def excess(measure: Table) -> NodeValues:
            return jnp.sum(measure, axis=-1) - following_masses(problem, flow, measure)

        def go_on(now: _Ascent) -> Array:
            return (now.missing > self.accuracy) & (now.step < self.projection_steps)

        def ascend(now: _Ascent) -> _Ascent:
            direction = jnp.where(occurs, excess(measure_of(now.ahead)), 0)
            found = now.ahead + direction / bound
            moved = found - now.multipliers
            turned = jnp.sum(problem.weights[:, None] * direction * moved) < 0
            momentum = jnp.where(turned, 1.0, (1 + jnp.sqrt(1 + 4 * now.momentum**2)) / 2)
            ahead = found + jnp.where(turned, 0.0, (now.momentum - 1) / momentum) * moved
            return _Ascent(found, ahead, momentum, jnp.max(jnp.abs(direction)), now.step + 1)

        inf = jnp.asarray(jnp.inf, goal.dtype)
        start = _Ascent(multipliers, multipliers, jnp.ones((), goal.dtype), inf, jnp.zeros((), int))
        end = jax.lax.while_loop(go_on, ascend, start)
        return InclusionState(measure_of(end.multipliers), end.multipliers, end.missing)

    @override
    def certify(self, problem: TreeProblem, state: InclusionState) -> tuple[InclusionState, Certificate]:
        policy, flow = problem.settled(self.policy_at(problem, state))
        return state, problem.certify(flow, policy)

    @override
    def policy_at(self, problem: TreeProblem, state: InclusionState) -> Table:
        return problem.play(conditional(state.measure))[0]
