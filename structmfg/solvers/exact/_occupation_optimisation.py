"""Mean-field occupation measure optimisation, MF-OMO (Guo, Hu & Zhang 2022, arXiv 2206.09608), on noise trees.

An occupation measure L, values y and slacks z >= 0 at the decision nodes are an equilibrium exactly where

    e_n = sum_a L_n(., a) - mu_n(L) = 0,             mass is kept,
    f_n = y_n - z_n - q_n(L, y) = 0,                  y are values, from which an action falls short by z,
    <z_n, L_n> = 0,                                   only the best actions are played.

All three at once are the minimum, zero, of

    sum_n p(n) (|e_n|^2 + c_2 |f_n|^2) + c_3 sum_n gamma^t p(n) <z_n, L_n>,

which is smooth in all unknowns at once, also where best responses jump. No monotonicity is needed, but the problem is
not convex: descent may end in a local minimum. Without common noise this is the paper's objective. Where the first two
terms vanish, the sum of the third is the exploitability. The paper's bounds on |y| and on the sum of z, which exclude
no equilibrium, are left out: a descent that ran away would show in the certificate.

The unknowns start at the uniform policy, with the values and slacks of a best response to it (the paper's Prop. 6).
Adam descends; then every L_n goes to the nearest point of the simplex, and z to the nearest that is not negative. With
`parameterisation` "softmax" L_n is the softmax of an unknown without bounds (the paper's appendix A.3).
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_name, check_positive
from structmfg.evaluation import Certificate, Information, Table, TreeProblem
from structmfg.games import Game
from structmfg.solvers._base import TreeSolver
from structmfg.solvers.exact._accelerated import LEAST_PROBABILITY, conditional
from structmfg.solvers.exact._occupation import (
    NodeValues,
    allowed_actions,
    check_full,
    check_interaction,
    expected_rewards,
    expected_values,
    following_masses,
    mean_fields_of,
)

Parameterisation = Literal["projection", "softmax"]
_EXCLUDED = -1e9  # before a projection or a softmax: an action that is not allowed


class Unknowns(NamedTuple):
    """What is optimised.

    Attributes:
        measure: (D, S, A); the occupation measure, or its logits.
        values: (D, S); y.
        slacks: (D, S, A); z.
    """

    measure: Table
    values: NodeValues
    slacks: Table


class OccupationState(NamedTuple):
    """The state of the descent: its unknowns and that of Adam."""

    unknowns: Unknowns
    optimiser: optax.OptState


class OccupationMeasureOptimisation(TreeSolver):
    """Descent of the residuals of an equilibrium in occupation measures, values and slacks (MF-OMO).

    Attributes:
        learning_rate: The learning rate of Adam. The values and slacks move by about as much in a step, in units of the
            return, and the occupation measures or their logits as well.
        optimality: The weight c_2 of the residuals of the values.
        complementarity: The weight c_3 of slacks of actions that are played.
        parameterisation: "projection" for occupation measures that are projected after every step, "softmax" for those
            of logits.
        tolerance, information: See `TreeSolver`; "full" information only.

    Raises:
        ValueError: Where a number is out of its range, a name unknown, or information is not full.
    """

    learning_rate: float = 0.01
    optimality: float = 1.0
    complementarity: float = 1.0
    parameterisation: Parameterisation = eqx.field(static=True, default="projection")
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        for name in ("learning_rate", "optimality", "complementarity"):
            check_positive(name, getattr(self, name))
        check_name("parameterisation", self.parameterisation, ("projection", "softmax"))
        check_full(type(self).__name__, self.information)

    @override
    def check_suits(self, game: Game) -> None:
        check_interaction(type(self).__name__, game)

    @override
    def init(self, problem: TreeProblem) -> OccupationState:
        policy, flow = problem.play(problem.uniform())
        measure = problem.occupancy(flow, policy)
        values = problem.deviation(flow, policy)[0][: problem.tree.num_decisions]
        short = values[..., None] - expected_rewards(problem, flow) - expected_values(problem, flow, values)
        allowed = allowed_actions(problem, flow)
        slacks = jnp.maximum(short if allowed is None else jnp.where(allowed, short, 0), 0)
        if self.parameterisation == "softmax":
            measure = jnp.log(jnp.maximum(measure, LEAST_PROBABILITY))
        unknowns = Unknowns(measure, values, slacks)
        return OccupationState(unknowns, self._optimiser().init(unknowns))

    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    @override
    def step(self, problem: TreeProblem, state: OccupationState) -> OccupationState:
        gradient = jax.grad(lambda unknowns: self.objective(problem, unknowns))(state.unknowns)
        change, optimiser = self._optimiser().update(gradient, state.optimiser, state.unknowns)
        moved: Unknowns = optax.apply_updates(state.unknowns, change)
        unknowns = moved._replace(slacks=jnp.maximum(moved.slacks, 0))
        if self.parameterisation == "projection":
            flow = mean_fields_of(problem, state.unknowns.measure)
            unknowns = unknowns._replace(measure=_on_simplex(_masked(problem, flow, moved.measure)))
        return OccupationState(unknowns, optimiser)

    def objective(self, problem: TreeProblem, unknowns: Unknowns) -> Float[Array, ""]:
        """The weighted sum of the residuals, which is zero at an equilibrium only."""
        measure = self.measure(problem, unknowns)
        flow = mean_fields_of(problem, measure)
        mass = jnp.sum(measure, axis=-1) - following_masses(problem, flow, measure)
        actions = expected_rewards(problem, flow) + expected_values(problem, flow, unknowns.values)
        short = unknowns.values[..., None] - unknowns.slacks - actions
        allowed = allowed_actions(problem, flow)
        if allowed is not None:
            short = jnp.where(allowed, short, 0)
        probability = problem.tree.probability[: problem.tree.num_decisions]
        kept = probability @ jnp.sum(mass**2, axis=-1)
        optimal = probability @ jnp.sum(short**2, axis=(-1, -2))
        played = problem.weights @ jnp.sum(unknowns.slacks * measure, axis=(-1, -2))
        return kept + self.optimality * optimal + self.complementarity * played

    def measure(self, problem: TreeProblem, unknowns: Unknowns) -> Table:
        """The occupation measure (D, S, A)."""
        if self.parameterisation == "projection":
            return unknowns.measure
        logits = unknowns.measure
        return jax.nn.softmax(logits.reshape(len(logits), -1)).reshape(logits.shape)

    @override
    def certify(self, problem: TreeProblem, state: OccupationState) -> tuple[OccupationState, Certificate]:
        policy, flow = problem.settled(self.policy_at(problem, state))
        return state, problem.certify(flow, policy)

    @override
    def policy_at(self, problem: TreeProblem, state: OccupationState) -> Table:
        return problem.play(conditional(self.measure(problem, state.unknowns)))[0]


def _masked(problem: TreeProblem, flow: Array, measure: Table) -> Table:
    allowed = allowed_actions(problem, flow)
    return measure if allowed is None else jnp.where(allowed, measure, _EXCLUDED)


def _on_simplex(measure: Table) -> Table:
    """The nearest distributions over states and actions."""
    flat = measure.reshape(len(measure), -1)
    return jax.vmap(optax.projections.projection_simplex)(flat).reshape(measure.shape)
