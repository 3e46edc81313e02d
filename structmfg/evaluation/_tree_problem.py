"""A game on its noise tree: what every exact solver needs of it.

A policy is a table of probabilities (D, S, A). Its occupancy at a node is m_n(s, a) = mu_n(s) pi_n(a | s), and the
return is linear in occupancies: J = sum_n w_n <m_n, r_n> with w_n = gamma^t p(n). For a best response with values v
and action values q, the performance difference lemma (Kakade & Langford 2002) gives the exploitability without
cancellation,

    mu_0 . v_0 - J(pi)  =  sum_n w_n <m_n, v_n - q_n>,

a sum of nonnegative terms. Different histories at t = 0 are `groups` with nothing in common where the policy knows the
noise: a solver may treat each as a problem of its own.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from structmfg.evaluation._information_sets import PublicSets, pool, pooling_mass, public_sets
from structmfg.evaluation._tree_sweeps import Flow, Table, backward, push
from structmfg.games import Game, NoiseTree, aggregate_functions, check_game_at_start, noise_tree
from structmfg.policies import TreePolicy, tree_policy

Information = Literal["full", "public"]

_TIE = 1e4  # roundings within which action values count as equal
_NEVER = -1e3  # the logit of what is not played: its exponential is zero in double precision, too

Choice = Callable[[Any, Float[Array, "block states actions"]], tuple[Array, Array, PyTree[Array]]]


class Certificate(NamedTuple):
    """By group (G,), times its probability: what a best response gains over a policy, and the policy's return.

    The sums are the exploitability and the return.
    """

    gain: Float[Array, " groups"]
    mean_return: Float[Array, " groups"]


class TreeProblem(eqx.Module):
    """A game on its tree, with its aggregates as a matrix (K, S) and the pseudoinverse of that.

    `group` (M,) numbers the problems that have nothing in common, `num_groups` of them.
    """

    game: Game = eqx.field(static=True)
    tree: NoiseTree
    aggregates: Float[Array, "aggregates states"]
    pseudoinverse: Float[Array, "states aggregates"]
    group: Int[Array, " slots"]
    information: Information = eqx.field(static=True)
    num_groups: int = eqx.field(static=True)

    @classmethod
    def of(cls, game: Game, information: Information, tree: NoiseTree | None = None) -> "TreeProblem":
        """The problem of a game. `ValueError` where its noise has no tree that fits."""
        tree = noise_tree(game, pad_levels=information == "public") if tree is None else tree
        check_game_at_start(game, tree)
        functions, (group, number) = aggregate_functions(game), groups(tree, information)
        inverse = jnp.asarray(np.linalg.pinv(np.asarray(functions))) if functions.size else functions.T
        return cls(game, tree, functions, inverse, jnp.asarray(group), information, number)

    @property
    def weights(self) -> Float[Array, " decisions"]:
        """gamma^t p(n)."""
        decisions = self.tree.num_decisions
        return self.game.discount ** self.tree.slot_time[:decisions] * self.tree.probability[:decisions]

    def by_group(self, values: Float[Array, " decisions"]) -> Float[Array, " groups"]:
        """Sums over the nodes of every group, weighted by gamma^t p(n)."""
        own = self.group[: self.tree.num_decisions]
        return jax.ops.segment_sum(self.weights * values, own, num_segments=self.num_groups)

    def uniform(self) -> Table:
        """Every action equally likely."""
        count = self.game.num_actions
        return jnp.full((self.tree.num_decisions, self.game.num_states, count), 1 / count)

    def occupancy(self, flow: Flow, policy: Table) -> Table:
        """mu_n(s) pi_n(a | s)."""
        return flow[: self.tree.num_decisions, :, None] * policy

    def push(self, policy: Table) -> Flow:
        """The mean field at every node."""
        return push(self.game, self.tree, policy)

    def sets(self, flow: Flow) -> PublicSets:
        """The public information sets against these mean fields."""
        return public_sets(self.game, self.tree, flow)

    def backward(
        self, flow: Flow, choose: Choice, pages: PyTree[Array], mass: Float[Array, "decisions states"] | None = None
    ) -> tuple[Flow, PyTree[Array]]:
        """Values (M, S), and what `choose(page, q)` returns besides a policy (B, S, A) and what it is worth (B, S).

        Under public information `choose` sees action values averaged over the information set with weights `mass`, by
        default those of an agent who has played the population's policy; the worth at a node is that of the same policy
        in the node's own action values.
        """

        def rule(page: tuple[Any, Any], q: Array) -> tuple[Array, PyTree[Array]]:
            own, known = page
            if known is None:
                _, worth, besides = choose(own, q)
                return worth, besides
            pooled = pool(q, *known)
            policy, worth, besides = choose(own, pooled)
            return worth + jnp.sum(policy * (q - pooled), axis=-1), besides

        return backward(self.game, self.tree, flow, rule, (pages, self._known(flow, mass)))

    def _known(self, flow: Flow, mass: Float[Array, "decisions states"] | None) -> tuple[Array, Array] | None:
        """Under public information, which nodes are together, and the weights of their average."""
        if self.information == "full":
            return None
        return self.sets(flow).same_information_set, pooling_mass(self.tree, flow) if mass is None else mass

    def certify(self, flow: Flow, policy: Table) -> Certificate:
        """What a best response, with the information of the problem, gains over the policy whose mean fields these are.

        Under public information without perfect recall it is the gain of the best change at one information set after
        another, a lower bound.
        """
        gain, best, _ = self.gains(flow, self.occupancy(flow, policy))
        return Certificate(gain, best - gain)

    def gains(
        self, flow: Flow, occupancy: Table
    ) -> tuple[Float[Array, " groups"], Float[Array, " groups"], Float[Array, ""]]:
        """What a best response to given mean fields gains over an occupancy, and its own return, by group.

        And the spread: by how much action values in one state differ, at most.
        """

        def choose(occupancy: Array, q: Array) -> tuple[Array, Array, tuple[Array, Array]]:
            best = jnp.max(q, axis=-1)
            gap = best[..., None] - q
            return greedy(q), best, (jnp.sum(occupancy * gap, axis=(-1, -2)), jnp.max(gap, axis=(-1, -2)))

        values, (gaps, spreads) = self.backward(flow, choose, occupancy)
        start = jnp.where(self.tree.slot_time == 0, self.tree.probability * jnp.sum(flow * values, axis=-1), 0)
        best = jax.ops.segment_sum(start, self.group, num_segments=self.num_groups)
        return self.by_group(gaps), best, jnp.max(spreads)

    def deviation(
        self, flow: Flow, policy: Table, mass: Float[Array, "decisions states"] | None = None
    ) -> tuple[Flow, Table, Float[Array, "decisions states"]]:
        """A best response to given mean fields: its values (M, S), its table, and what the policy loses by a step.

        The loss (D, S) is v_n - pi_n . q_n with the response's values; by the lemma, what the policy loses in all is
        the sum of these under the policy, whatever the policy knows.
        """

        def rule(page: tuple[Table, Any], q: Array) -> tuple[Array, tuple[Array, Array]]:
            played, known = page
            pooled = q if known is None else pool(q, *known)
            best, worth = greedy(pooled), jnp.max(pooled, axis=-1)
            if known is not None:
                worth = worth + jnp.sum(best * (q - pooled), axis=-1)
            return worth, (best, jnp.sum(played * (worth[..., None] - q), axis=-1))

        values, (response, losses) = backward(self.game, self.tree, flow, rule, (policy, self._known(flow, mass)))
        return values, response, losses

    def settled(self, policy: Table, flow: Flow | None = None) -> tuple[Table, Flow]:
        """The table that is played by an agent who sees the observations only, and its mean fields.

        A table made against other mean fields may differ between nodes that its own mean fields do not tell apart: of
        such nodes the first one's page is played at all. `flow`: the mean fields of the table, where they are known.
        """
        flow = self.push(policy) if flow is None else flow
        if self.information == "full":
            return policy, flow

        def step(state: tuple[Table, Flow, Array, Array]) -> tuple[Table, Flow, Array, Array]:
            policy, flow, _, tries = state
            played = policy[self.sets(flow).members]
            return played, self.push(played), jnp.any(played != policy), tries + 1

        def unsettled(state: tuple[Table, Flow, Array, Array]) -> Array:
            # The observations at t = 0 are the same whatever is played; a step later so are those at t = 1; and so on.
            return state[2] & (state[3] <= self.game.horizon)

        start = policy, flow, jnp.asarray(True), jnp.zeros((), int)
        policy, flow, *_ = jax.lax.while_loop(unsettled, step, start)
        return policy, flow

    def policy(self, table: Table, flow: Flow | None = None) -> TreePolicy:
        """The policy of a table, as one that follows the noise or the public observations.

        The observations are those of the mean fields `flow`, by default the table's own. A probability of zero stays
        zero.
        """
        logits = jnp.where(table > 0, jnp.log(jnp.where(table > 0, table, 1)), _NEVER)
        if self.information == "full":
            return tree_policy(self.tree, logits)
        sets = self.sets(self.push(table) if flow is None else flow)
        return tree_policy(self.tree, logits[sets.members], members=sets.members, observations=sets.observations)


def groups(tree: NoiseTree, information: Information) -> tuple[Int[np.ndarray, " slots"], int]:
    """The problem that every slot belongs to (M,), and how many have nothing in common."""
    group = np.zeros(tree.num_slots, int)
    if information == "public":
        return group, 1
    nodes, parent = np.asarray(tree.nodes), np.asarray(tree.parent)
    roots, group[nodes[0]] = np.unique(nodes[0], return_inverse=True)
    for slot in range(tree.block * int(np.sum(np.asarray(tree.time) == 0)), tree.num_slots):
        group[slot] = group[parent[slot]]
    return group, len(roots)


def greedy(q: Float[Array, "*shape actions"]) -> Float[Array, "*shape actions"]:
    """The best action, with probability one.

    Of actions that are equally good up to rounding it is the one nearest to the middle of the list (in games of moves
    the smallest move), so that results do not hang on the order of summation.
    """
    count = q.shape[-1]
    best = jnp.max(q, axis=-1, keepdims=True)
    slack = _TIE * jnp.finfo(q.dtype).eps * (1 + jnp.abs(best))
    centrality = count - jnp.abs(2 * jnp.arange(count) - (count - 1))
    chosen = jnp.argmax(jnp.where(q >= best - slack, centrality, 0), axis=-1)
    return jax.nn.one_hot(chosen, count, dtype=q.dtype)


def soft(
    q: Float[Array, "*shape actions"],
    temperature: Float[Array, "..."],
    prior: Float[Array, "*shape actions"] | float = 1.0,
) -> tuple[Float[Array, "*shape actions"], Float[Array, "*shape"]]:
    """pi = argmax of pi . q - temperature * KL(pi || prior), and the maximum, temperature * log(prior . exp(q / t)).

    With the prior 1, which is not normalised, the second term is temperature * entropy. `temperature` (*shape or
    broadcasting against it).
    """
    best = jnp.max(q, axis=-1)
    weights = prior * jnp.exp((q - best[..., None]) / temperature[..., None])
    total = jnp.sum(weights, axis=-1)
    return weights / total[..., None], best + temperature * jnp.log(total)
