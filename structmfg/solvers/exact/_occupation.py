"""Occupation measures on a noise tree: what the solvers whose unknown is an occupation measure share.

An occupation measure L_n(s, a) at the decision nodes belongs to a policy where it is not negative and mass is kept,

    sum_a L_n(s, a) = mu_n(s),    mu_0 given,    mu_c = P_n^T L_n  for every child c of n.

All nodes are dealt with at once, not level by level, because an occupation measure need not keep mass on the way.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from structmfg.evaluation import Flow, Information, Table, TreeProblem
from structmfg.games import AggregateState, Game
from structmfg.parallel import spread

NodeValues = Float[Array, "decisions states"]

_SIDE_BY_SIDE = 64  # slots in a batch, at least, where the blocks of the tree are smaller
_BEYOND = frozenset({"public", "actions", "price"})


def check_full(name: str, information: Information) -> None:
    """Raise `ValueError` where policies are to know public observations only."""
    if information != "full":
        raise ValueError(
            f"{name} is for full information only, because policies that share an information set make the set of "
            "occupation measures not convex: take ExactEquilibrium or a classical iteration"
        )


def check_interaction(name: str, game: Game) -> None:
    """Raise `ValueError` unless agents interact through the mean field alone."""
    if beyond := game.declared & _BEYOND:
        raise ValueError(
            f"{name} is for games that interact through the mean field alone, but {type(game).__name__} "
            f"declares {', '.join(sorted(beyond))}: take ExactEquilibrium or a classical iteration"
        )


def mean_fields_of(problem: TreeProblem, occupation: Table) -> Flow:
    """The mean fields (M, S): at decision slots the sums over actions, at the end what follows from the parents."""
    own = jnp.sum(occupation, axis=-1)
    parents = problem.tree.parent[problem.tree.num_decisions :]
    ends = _over_slots(problem, lambda aggregate, mass: _kernel(problem, aggregate).push(mass), own, occupation)
    return jnp.concatenate([own, ends[parents]])


def following_masses(problem: TreeProblem, flow: Flow, occupation: Table) -> NodeValues:
    """The masses that every decision slot should have: mu_0, or what its parent's occupation measure pushes there."""
    tree, decisions = problem.tree, problem.tree.num_decisions
    pushed = _over_slots(problem, lambda aggregate, mass: _kernel(problem, aggregate).push(mass), flow, occupation)
    first = jax.vmap(problem.game.initial_mean_field)(jax.tree.map(lambda z: z[:decisions], tree.noise))
    at_start = (tree.slot_time[:decisions] == 0)[:, None]
    return jnp.where(at_start, first, pushed[tree.parent[:decisions]])


def expected_rewards(problem: TreeProblem, flow: Flow) -> Table:
    """The rewards (D, S, A), expected over the next noise; zero for actions that are not allowed."""
    tree, game = problem.tree, problem.game

    def node(aggregate: AggregateState, children: Array, probabilities: Array) -> Array:
        def reward(child: Array) -> Array:
            then = jax.tree.map(lambda z: z[child], tree.noise)
            return game.reward(aggregate, AggregateState(flow[child], then, aggregate.time + 1))

        return jnp.tensordot(probabilities, jax.vmap(reward)(children), 1)

    found = _over_slots(problem, node, flow, tree.children, tree.branch_probability)
    allowed = allowed_actions(problem, flow)
    return found if allowed is None else jnp.where(allowed, found, 0)


def expected_values(problem: TreeProblem, flow: Flow, values: NodeValues) -> Table:
    """gamma P_n sum_c p(c | n) v_c (D, S, A) for values (D, S) at the decision slots; they are zero at the end."""
    tree = problem.tree
    ends = jnp.zeros((tree.num_slots - tree.num_decisions, values.shape[-1]), values.dtype)
    after = jnp.einsum("dc,dcs->ds", tree.branch_probability, jnp.concatenate([values, ends])[tree.children])
    return problem.game.discount * _over_slots(
        problem, lambda aggregate, v: _kernel(problem, aggregate).expect(v), flow, after
    )


def allowed_actions(problem: TreeProblem, flow: Flow) -> Bool[Array, "decisions states actions"] | None:
    """Which actions are allowed; None where all are."""
    if "allowed" not in problem.game.declared:
        return None
    return _over_slots(problem, lambda aggregate: problem.game.allowed(aggregate), flow)


def _kernel(problem: TreeProblem, aggregate: AggregateState) -> Any:
    return spread(problem.game.kernel(aggregate))


def _over_slots(problem: TreeProblem, function: Any, flow: Array, *data: Array) -> Any:
    """A function of the aggregate state at every decision slot and of data there, for a block of slots at a time."""
    tree, decisions = problem.tree, problem.tree.num_decisions

    def node(inputs: tuple[Any, ...]) -> Any:
        mean_field, noise, time, *own = inputs
        return function(AggregateState(mean_field, noise, time), *own)

    noise = jax.tree.map(lambda z: z[:decisions], tree.noise)
    inputs = (flow[:decisions], noise, tree.slot_time[:decisions], *data)
    return jax.lax.map(node, inputs, batch_size=max(tree.block, min(decisions, _SIDE_BY_SIDE)))


def most_entering(problem: TreeProblem, flow: Flow) -> Float[Array, ""]:
    """The greatest sum, at any node, of the probabilities of entering one state from all states and actions."""
    ones = jnp.ones((problem.game.num_states, problem.game.num_actions), flow.dtype)
    return jnp.max(_over_slots(problem, lambda aggregate: jnp.max(_kernel(problem, aggregate).push(ones)), flow))
