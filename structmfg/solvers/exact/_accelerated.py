"""Accelerated mirror descent on occupancies, for games that interact through the whole mean field.

A mirror step is the best response to fixed mean fields that pays KL divergence from the policy before it,

    pi+ = argmax J(pi; mu) - lambda * sum_n w_n sum_s mu_n(s) KL(pi(. | s) || pi_before(. | s)),

one soft sweep backward (online mirror descent; Perolat et al. 2021, arXiv 2103.00623). Unlike a soft fixed point it
needs no vanishing temperature. With Nesterov's averaging of occupancies (Tseng 2008; Hanzely, Richtarik & Xiao 2021,
doi:10.1007/s10589-021-00273-8), lambda = stiffness * theta_k and theta_k = 2 / (k + 2), and restarts at the end of
cycles that get longer, it takes about the square root of the number of steps. A group whose exploitability at the end
of a cycle is above nine tenths of the least one at a restart so far gets a greater stiffness, and shorter cycles again.
Then some best responses to damped mean fields are played as well (`_annealed`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from structmfg.evaluation import Certificate, Flow, Table, TreeProblem, soft
from structmfg.solvers.exact._annealed import COLDEST, play_damped

_MOST_LEFT = 0.9  # a cycle that leaves more than this share of the least exploitability has failed
_STIFFEN = 1.6  # the factor of the stiffness after a cycle that failed
STEPS_PER_CERTIFICATE = 20
LEAST_PROBABILITY = 1e-250  # below that, an action could not come back
_LEAST_STIFFNESS = 1e-4  # of the spread of action values


class AcceleratedState(NamedTuple):
    """The state of accelerated mirror descent.

    Attributes:
        occupancy, flow: The averaged occupancies and their mean fields.
        policy, mirror_flow: The policy of the mirror iterate, and its mean fields.
        stiffness, before: The stiffness, and the least exploitability at a restart so far.
        step, cycle: The step within the cycle, and the number of the cycle.
        damped, failures: The mean fields of the damped best responses, and how often a cycle failed.
        gain, mean_return, best: The least exploitability so far, and the return and the policy that have it.
    """

    occupancy: Table
    flow: Flow
    policy: Table
    mirror_flow: Flow
    stiffness: Float[Array, " groups"]
    before: Float[Array, " groups"]
    step: Int[Array, " groups"]
    cycle: Int[Array, " groups"]
    damped: Flow
    failures: Int[Array, ""]
    gain: Float[Array, ""]
    mean_return: Float[Array, ""]
    best: Table


class Accelerated(eqx.Module):
    """Accelerated mirror descent.

    Attributes:
        stiffness: In units of the reward; None for an estimate.
        cycle: Steps to the first restart, doubled with every second one.
    """

    stiffness: float | None = None
    cycle: int = 60

    def empty(self, problem: TreeProblem, flow: Flow) -> AcceleratedState:
        """Arrays of the right shapes, and an infinite exploitability."""
        of_groups, counts = jnp.zeros(problem.num_groups), jnp.zeros(problem.num_groups, int)
        flow, table, zero = jnp.zeros_like(flow), jnp.zeros_like(problem.uniform()), jnp.zeros(())
        return AcceleratedState(
            table, flow, table, flow, of_groups, of_groups, counts, counts, flow, jnp.zeros((), int),
            jnp.asarray(jnp.inf), zero, table,
        )  # fmt: skip

    def init(self, problem: TreeProblem) -> AcceleratedState:
        """The state of the uniform policy."""
        policy, flow = problem.play(problem.uniform())
        certificate = problem.certify(flow, policy)
        stiffness = (
            _stiffness(problem, flow, policy)
            if self.stiffness is None
            else jnp.full(problem.num_groups, float(self.stiffness))
        )
        return self.empty(problem, flow)._replace(
            occupancy=problem.occupancy(flow, policy),
            flow=flow,
            policy=policy,
            mirror_flow=flow,
            stiffness=stiffness,
            before=certificate.gain,
            damped=flow,
            gain=jnp.sum(certificate.gain),
            mean_return=jnp.sum(certificate.mean_return),
            best=policy,
        )

    def step(self, problem: TreeProblem, state: AcceleratedState) -> AcceleratedState:
        """The state after one mirror step, with the new average."""
        theta = 2 / (state.step + 2.0)
        of_slot = theta[problem.group][:, None]
        own = problem.group[: problem.tree.num_decisions]

        def choose(parameters: tuple[Array, Array], q: Array) -> tuple[Array, Array, Array]:
            prior, temperature = parameters
            policy, worth = soft(q, temperature[:, None], jnp.maximum(prior, LEAST_PROBABILITY))
            return policy, worth, policy

        expected = (1 - of_slot) * state.flow + of_slot * state.mirror_flow
        _, policy = problem.backward(expected, choose, (state.policy, (state.stiffness * theta)[own]))
        (policy, mirror_flow), of_node = problem.play(policy), theta[own][:, None, None]
        return state._replace(
            occupancy=(1 - of_node) * state.occupancy + of_node * problem.occupancy(mirror_flow, policy),
            flow=(1 - of_slot) * state.flow + of_slot * mirror_flow,
            policy=policy,
            mirror_flow=mirror_flow,
            step=state.step + 1,
        )

    def certify(self, problem: TreeProblem, state: AcceleratedState) -> tuple[AcceleratedState, Certificate]:
        """The least exploitability; a new cycle begins, from the average, in groups whose cycle is over.

        Where moves depend on the mean field, the policy of averaged occupancies has not quite their mean fields.
        """
        policy, flow = problem.settled(conditional(state.occupancy))
        certificate = problem.certify(flow, policy)
        over = state.step >= self.cycle * 2 ** (state.cycle // 2)
        failed = over & (certificate.gain > _MOST_LEFT * state.before)
        state = self._keep_best(problem, state, (policy, flow), certificate, jnp.any(failed))
        of_slot, of_node = over[problem.group][:, None], over[problem.group[: len(policy)]][:, None, None]
        state = state._replace(
            occupancy=jnp.where(of_node, problem.occupancy(flow, policy), state.occupancy),
            flow=jnp.where(of_slot, flow, state.flow),
            policy=jnp.where(of_node, policy, state.policy),
            mirror_flow=jnp.where(of_slot, flow, state.mirror_flow),
            stiffness=jnp.where(failed, _STIFFEN * state.stiffness, state.stiffness),
            before=jnp.where(over, jnp.fmin(state.before, certificate.gain), state.before),
            step=jnp.where(over, 0, state.step),
            cycle=jnp.where(failed, state.cycle // 2, state.cycle + over),
        )
        return state, Certificate(state.gain[None], state.mean_return[None])

    def _keep_best(
        self,
        problem: TreeProblem,
        state: AcceleratedState,
        reached: tuple[Table, Flow],
        certificate: Certificate,
        failed: Bool[Array, ""],
    ) -> AcceleratedState:
        """The state with the policy reached, or that of damped best responses where a cycle failed, if it is better."""

        def damped() -> tuple[Table, Flow, Certificate]:
            coldest = COLDEST * jnp.max(state.stiffness)
            point, *responses = play_damped(problem, state.damped, state.failures, coldest)
            policy, flow = problem.settled(*responses)
            return policy, point.flow, problem.certify(flow, policy)

        policy, flow, other = jax.lax.cond(failed, damped, lambda: (reached[0], state.damped, certificate))
        found = jax.tree.map(
            lambda a, b: jnp.where(jnp.sum(other.gain) < jnp.sum(certificate.gain), a, b),
            (policy, *map(jnp.sum, other)),
            (reached[0], *map(jnp.sum, certificate)),
        )
        better = found[1] < state.gain
        best, gain, mean_return = jax.tree.map(
            lambda a, b: jnp.where(better, a, b), found, (state.best, state.gain, state.mean_return)
        )
        return state._replace(
            damped=flow, failures=state.failures + failed, best=best, gain=gain, mean_return=mean_return
        )

    def policy_at(self, problem: TreeProblem, state: AcceleratedState) -> Table:
        """The policy of the least exploitability."""
        return state.best


def conditional(occupancy: Table) -> Table:
    """The policy of occupancies; uniform in states that nobody is in."""
    mass = jnp.sum(occupancy, axis=-1, keepdims=True)
    return jnp.where(mass > 0, occupancy / jnp.where(mass > 0, mass, 1), 1 / occupancy.shape[-1])


def _stiffness(problem: TreeProblem, flow: Flow, policy: Table) -> Float[Array, " groups"]:
    """A first stiffness: how far rewards fall where a soft response to the mean fields goes, per unit of divergence."""

    def choose(own: Array, q: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        spread = jnp.max(problem.spread(q))
        response, _ = soft(q, jnp.maximum(spread / 4, jnp.finfo(q.dtype).tiny ** 0.5))
        return own, jnp.sum(own * q, axis=-1), (response, jnp.broadcast_to(spread, q.shape[:1]))

    _, (response, spread) = problem.backward(flow, choose, policy)
    response, moved = problem.play(response)
    before, after = problem.occupancy(flow, policy), problem.occupancy(moved, response)
    fall = sum(
        sign * problem.gains(at, occupancy)[0]
        for at, occupancy, sign in ((flow, before, 1), (flow, after, -1), (moved, before, -1), (moved, after, 1))
    )
    relative = jnp.log(jnp.maximum(response, LEAST_PROBABILITY) / jnp.maximum(policy, LEAST_PROBABILITY))
    divergence = problem.by_group(jnp.sum(after * relative, axis=(-1, -2)))
    least = _LEAST_STIFFNESS * jnp.max(spread) + jnp.finfo(flow.dtype).tiny ** 0.5
    return jnp.maximum(fall / jnp.maximum(divergence, jnp.finfo(flow.dtype).tiny ** 0.5), least)
