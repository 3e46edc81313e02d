"""A game on its noise tree: what every exact solver needs of it.

A policy is a table of probabilities (D, S, A). Its occupancy at a node is m_n(s, a) = mu_n(s) pi_n(a | s), and the
return is linear in occupancies: J = sum_n w_n <m_n, r_n> with w_n = gamma^t p(n). For a best response with values v
and action values q, the performance difference lemma (Kakade & Langford 2002) gives the exploitability without
cancellation,

    mu_0 . v_0 - J(pi)  =  sum_n w_n <m_n, v_n - q_n>,

a sum of nonnegative terms. Where the policy knows the noise, different values of z_0 are separate problems, which are
called groups: a solver may treat each by itself.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from structmfg.evaluation._information_sets import PublicSets, pool, pooling_mass, public_sets
from structmfg.evaluation._tree_sweeps import Flow, Table, Values, backward, push
from structmfg.games import (
    FORBIDDEN_REWARD,
    Game,
    NoiseTree,
    aggregate_functions,
    check_game_at_start,
    noise_tree,
    num_entries,
)
from structmfg.policies import TreePolicy, tree_policy

Information = Literal["full", "public"]

_TIE_ROUNDINGS = 1e4  # action values count as equal within so many roundings
_LOGIT_OF_ZERO = -1e3  # the logit of probability zero: its exponential is zero in double precision, too

Choice = Callable[[Any, Float[Array, "block states actions"]], tuple[Array, Array, PyTree[Array]]]


class Certificate(NamedTuple):
    """The proof of how good a policy is, by group (G,), each times the probability of the group.

    Attributes:
        gain: What a best response gains over the policy; the sum is the exploitability.
        mean_return: The policy's return; the sum is its mean over all noise.
    """

    gain: Float[Array, " groups"]
    mean_return: Float[Array, " groups"]


class TreeProblem(eqx.Module):
    """A game on its noise tree.

    Attributes:
        game: The game.
        tree: Its noise tree.
        functions: (K, W); the matrix of the game's aggregates; of public state, actions and price each entry is one.
            None where every entry is one.
        pseudoinverse: (W, K); the pseudoinverse of that matrix, or None.
        group: (M,); the group of every slot.
        information: Whether policies know the noise so far ("full") or the public observations so far ("public").
        num_groups: The number of groups.
    """

    game: Game = eqx.field(static=True)
    tree: NoiseTree
    functions: Float[Array, "aggregates entries"] | None
    pseudoinverse: Float[Array, "entries aggregates"] | None
    group: Int[Array, " slots"]
    information: Information = eqx.field(static=True)
    num_groups: int = eqx.field(static=True)

    @classmethod
    def of(cls, game: Game, information: Information, tree: NoiseTree | None = None) -> "TreeProblem":
        """The problem of a game on a tree, by default its own.

        Raises:
            ValueError: If its noise has no tree that fits, or its definition is faulty.
        """
        tree = noise_tree(game, pad_levels=information == "public") if tree is None else tree
        check_game_at_start(game, tree)
        functions, (group, number) = aggregate_functions(game), groups(tree, information)
        if functions is None:
            return cls(game, tree, None, None, jnp.asarray(group), information, number)
        extra = num_entries(game, jax.tree.map(lambda z: z[0], tree.noise)) - game.num_states
        if extra:
            functions = jax.scipy.linalg.block_diag(functions, jnp.eye(extra))
        inverse = jnp.asarray(np.linalg.pinv(np.asarray(functions))) if functions.size else functions.T
        return cls(game, tree, functions, inverse, jnp.asarray(group), information, number)

    def aggregates(self, flow: Flow) -> Float[Array, "slots aggregates"]:
        """What kernel and reward depend on, at every slot."""
        return flow if self.functions is None else flow @ self.functions.T

    @property
    def few_aggregates(self) -> bool:
        """Whether kernel and reward depend on fewer numbers than the mean field has."""
        return self.functions is not None and self.functions.shape[0] < self.functions.shape[1]

    @property
    def weights(self) -> Float[Array, " decisions"]:
        """The weight gamma^t p(n) of every decision slot."""
        decisions = self.tree.num_decisions
        return self.game.discount ** self.tree.slot_time[:decisions] * self.tree.probability[:decisions]

    def by_group(self, values: Float[Array, " decisions"]) -> Float[Array, " groups"]:
        """Sums of values over the slots of every group, weighted by gamma^t p(n)."""
        own = self.group[: self.tree.num_decisions]
        return jax.ops.segment_sum(self.weights * values, own, num_segments=self.num_groups)

    def uniform(self) -> Table:
        """The table of the uniform policy."""
        count = self.game.num_actions
        return jnp.full((self.tree.num_decisions, self.game.num_states, count), 1 / count)

    def occupancy(self, flow: Flow, policy: Table) -> Table:
        """The occupancy mu_n(s) pi_n(a | s) of every state and action."""
        return self.mean_fields(flow)[: self.tree.num_decisions, :, None] * policy

    def mean_fields(self, flow: Flow) -> Values:
        """The mean field (M, S) at every slot."""
        return flow[:, : self.game.num_states]

    def push(self, policy: Table) -> Flow:
        """The aggregate state at every slot, as a vector, under a table of probabilities."""
        return push(self.game, self.tree, policy)[0]

    def play(self, policy: Table) -> tuple[Table, Flow]:
        """What is allowed of a table, and the aggregate states under it."""
        flow, played = push(self.game, self.tree, policy)
        return (played if "allowed" in self.game.declared else policy), flow

    def sets(self, flow: Flow) -> PublicSets:
        """The public information sets under these mean fields."""
        return public_sets(self.game, self.tree, flow)

    def backward(
        self, flow: Flow, choose: Choice, node_data: PyTree[Array], mass: Float[Array, "decisions states"] | None = None
    ) -> tuple[Values, PyTree[Array]]:
        """Backward induction with a choice at every node.

        Args:
            flow: The aggregate states (M, W).
            choose: `choose(data, q)`, called for a block of slots, returns a policy (B, S, A), its values (B, S) and
                other results (B, ...). Under public information q is averaged over the information set, and the value
                at a node is that of the same policy for the action values of the node.
            node_data: The data of every decision slot, leading axis D.
            mass: The weights (D, S) of that average; by default those of an agent who has played the population's
                policy.

        Returns:
            The values (M, S), and the other results (D, ...).
        """

        def rule(data: tuple[Any, Any], q: Array) -> tuple[Array, PyTree[Array]]:
            own, pooling = data
            if pooling is None:
                _, values, others = choose(own, q)
                return values, others
            pooled = pool(q, *pooling)
            policy, values, others = choose(own, pooled)
            return values + jnp.sum(policy * (q - pooled), axis=-1), others

        return backward(self.game, self.tree, flow, rule, (node_data, self._pooling(flow, mass)))

    def _pooling(self, flow: Flow, mass: Float[Array, "decisions states"] | None) -> tuple[Array, Array] | None:
        """Under public information, which nodes share an information set, and the weights of their average."""
        if self.information == "full":
            return None
        return self.sets(flow).same_information_set, pooling_mass(
            self.tree, flow, self.game.num_states
        ) if mass is None else mass

    def certify(self, flow: Flow, policy: Table) -> Certificate:
        """The certificate of a policy, with mean fields `flow`, against best responses with the problem's information.

        Under public information without perfect recall its gain is a lower bound: that of the best change at one
        information set after another.
        """
        gain, best, _ = self.gains(flow, self.occupancy(flow, policy))
        return Certificate(gain, best - gain)

    def gains(
        self, flow: Flow, occupancy: Table
    ) -> tuple[Float[Array, " groups"], Float[Array, " groups"], Float[Array, ""]]:
        """What a best response to given mean fields gains over an occupancy.

        Returns:
            By group, the gain and the return of the best response; and the most by which action values differ in a
            state.
        """

        def choose(occupancy: Array, q: Array) -> tuple[Array, Array, tuple[Array, Array]]:
            best = jnp.max(q, axis=-1)
            gap = best[..., None] - q
            return greedy(q), best, (jnp.sum(occupancy * gap, axis=(-1, -2)), jnp.max(self.spread(q), axis=-1))

        values, (gaps, spreads) = self.backward(flow, choose, occupancy)
        start = jnp.where(
            self.tree.slot_time == 0, self.tree.probability * jnp.sum(self.mean_fields(flow) * values, axis=-1), 0
        )
        best = jax.ops.segment_sum(start, self.group, num_segments=self.num_groups)
        return self.by_group(gaps), best, jnp.max(spreads)

    def spread(self, q: Float[Array, "*shape actions"]) -> Float[Array, "*shape"]:
        """By how much the values of actions that are allowed differ."""
        least = jnp.where(q > FORBIDDEN_REWARD / 2, q, jnp.inf) if "allowed" in self.game.declared else q
        return jnp.max(q, axis=-1) - jnp.min(least, axis=-1)

    def deviation(
        self, flow: Flow, policy: Table, mass: Float[Array, "decisions states"] | None = None
    ) -> tuple[Values, Table, Float[Array, "decisions states"]]:
        """A best response to given mean fields, and what a policy loses to it step by step.

        By the performance difference lemma the total loss of the policy is the sum of the losses under the policy,
        whatever the policy knows.

        Returns:
            The values (M, S) of the response, its table (D, S, A), and the losses v_n - pi_n . q_n (D, S).
        """

        def rule(data: tuple[Table, Any], q: Array) -> tuple[Array, tuple[Array, Array]]:
            policy_at_nodes, pooling = data
            pooled = q if pooling is None else pool(q, *pooling)
            best, values = greedy(pooled), jnp.max(pooled, axis=-1)
            if pooling is not None:
                values = values + jnp.sum(best * (q - pooled), axis=-1)
            return values, (best, jnp.sum(policy_at_nodes * (values[..., None] - q), axis=-1))

        values, (response, losses) = backward(self.game, self.tree, flow, rule, (policy, self._pooling(flow, mass)))
        return values, response, losses

    def settled(self, policy: Table, flow: Flow | None = None) -> tuple[Table, Flow]:
        """The table that an agent with the problem's information plays, and its mean fields.

        A table made against other mean fields may differ between nodes of one information set under its own mean
        fields. At all such nodes the agent plays what the table has at the first of them.

        Args:
            policy: A table (D, S, A).
            flow: Its aggregate states (M, W), if they are known; the table then has what is allowed only.
        """
        if flow is None:
            policy, flow = self.play(policy)
        if self.information == "full":
            return policy, flow

        def step(state: tuple[Table, Flow, Array, Array]) -> tuple[Table, Flow, Array, Array]:
            policy, flow, _, repeats = state
            played = policy[self.sets(flow).members]
            return *self.play(played), jnp.any(played != policy), repeats + 1

        def differs(state: tuple[Table, Flow, Array, Array]) -> Array:
            # Observations at t = 0 do not depend on the policy; once those until t are settled, so is the policy at t.
            return state[2] & (state[3] <= self.game.horizon)

        start = policy, flow, jnp.asarray(True), jnp.zeros((), int)
        policy, flow, *_ = jax.lax.while_loop(differs, step, start)
        return policy, flow

    def policy(self, table: Table, flow: Flow | None = None) -> TreePolicy:
        """The policy of a table, which follows the noise or, under public information, the observations.

        Args:
            table: (D, S, A); probabilities of zero stay zero.
            flow: The mean fields from which the observations follow; by default those of the table.
        """
        logits = jnp.where(table > 0, jnp.log(jnp.where(table > 0, table, 1)), _LOGIT_OF_ZERO)
        if self.information == "full":
            return tree_policy(self.tree, logits)
        sets = self.sets(self.push(table) if flow is None else flow)
        return tree_policy(self.tree, logits[sets.members], members=sets.members, observations=sets.observations)


def groups(tree: NoiseTree, information: Information) -> tuple[Int[np.ndarray, " slots"], int]:
    """The group (M,) of every slot, and the number of groups."""
    group = np.zeros(tree.num_slots, int)
    if information == "public":
        return group, 1
    nodes, parent = np.asarray(tree.nodes), np.asarray(tree.parent)
    roots, group[nodes[0]] = np.unique(nodes[0], return_inverse=True)
    for slot in range(tree.block * int(np.sum(np.asarray(tree.time) == 0)), tree.num_slots):
        group[slot] = group[parent[slot]]
    return group, len(roots)


def greedy(q: Float[Array, "*shape actions"]) -> Float[Array, "*shape actions"]:
    """The policy that takes the best action with probability one.

    Of actions that are equally good up to rounding it takes the one nearest to the middle of the list (on a line, the
    smallest displacement), so that results do not depend on the order of summation.
    """
    count = q.shape[-1]
    best = jnp.max(q, axis=-1, keepdims=True)
    slack = _TIE_ROUNDINGS * jnp.finfo(q.dtype).eps * (1 + jnp.abs(best))
    centrality = count - jnp.abs(2 * jnp.arange(count) - (count - 1))
    chosen = jnp.argmax(jnp.where(q >= best - slack, centrality, 0), axis=-1)
    return jax.nn.one_hot(chosen, count, dtype=q.dtype)


def soft(
    q: Float[Array, "*shape actions"],
    temperature: Float[Array, "..."],
    prior: Float[Array, "*shape actions"] | float = 1.0,
) -> tuple[Float[Array, "*shape actions"], Float[Array, "*shape"]]:
    """The policy that maximises pi . q - temperature * KL(pi || prior), and the maximum.

    Args:
        q: Action values (..., A).
        temperature: Above 0; broadcasts against (...).
        prior: (..., A); the default 1, which is not normalised, makes the second term temperature * entropy.

    Returns:
        The policy (..., A), and the maximum temperature * log(prior . exp(q / temperature)) (...).
    """
    best = jnp.max(q, axis=-1)
    weights = prior * jnp.exp((q - best[..., None]) / temperature[..., None])
    total = jnp.sum(weights, axis=-1)
    return weights / total[..., None], best + temperature * jnp.log(total)
