"""Sweeps over a noise tree: the mean field forward, values backward, through the game's operators.

Forward, the mean field of every child of a node n is mu_child = A_n^T mu_n, whichever child is drawn. Backward,

    q_n = sum_c p(c | n) [ r(n, c) + gamma P_n v_c ],    v_n = rule(q_n),    v = 0 at t = T,

with the sum over the children c of n; the rule is a mean under a policy, a maximum, or a soft maximum. The greatest
reward of a node is subtracted from all its rewards and added to its values at the end: a constant changes no choice,
and however large it is, it must not cost the digits by which action values differ.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from structmfg.games import AggregateState, Game, NoiseTree, as_vector, from_vector, num_entries
from structmfg.parallel import spread
from structmfg.policies import Policy

Decide = Callable[[PyTree[Array], AggregateState, PyTree[Array]], tuple[PyTree[Array], Array]]
Rule = Callable[[Any, Float[Array, "block states actions"]], tuple[Float[Array, "block states"], PyTree[Array]]]
Flow = Float[Array, "slots entries"]  # the aggregate state at every slot, as a vector (`games.as_vector`)
Table = Float[Array, "decisions states actions"]
Values = Float[Array, "slots states"]


def aggregates_on_tree(game: Game, tree: NoiseTree, flow: Flow) -> AggregateState:
    """The aggregate states at all slots, leading axis M, from their vectors."""
    return jax.vmap(lambda vector, z, t: from_vector(game, vector, z, t))(flow, tree.noise, tree.slot_time)


def push(game: Game, tree: NoiseTree, policy: Table) -> tuple[Flow, Table]:
    """The aggregate states (M, W) at all slots under a table (D, S, A), and the table with what is allowed of it."""
    return _forward(
        game, tree, lambda hidden, _, policy_at_node: (hidden, policy_at_node), jnp.zeros((tree.num_slots, 0)), policy
    )


def unroll_on_tree(game: Game, tree: NoiseTree, policy: Policy) -> tuple[Flow, Table]:
    """The aggregate states (M, W) on a tree under any policy, and the table (D, S, A) of its action probabilities."""
    prepared = policy.prepare()

    def decide(hidden: Any, aggregate: AggregateState, _: Any) -> tuple[Any, Array]:
        hidden = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), aggregate.time)
        return hidden, jax.nn.softmax(policy.decode(prepared, hidden))

    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (tree.num_slots, *jnp.shape(x))), policy.start())
    return _forward(game, tree, decide, start, jnp.zeros((tree.num_decisions, 0)))


def _forward(
    game: Game, tree: NoiseTree, decide: Decide, hidden: PyTree[Array], node_data: PyTree[Array]
) -> tuple[Any, Any]:
    """The aggregate states (M, W) and action probabilities (D, S, A), from t = 0 on.

    `decide(hidden, aggregate, data)` returns the hidden state of a node, from that of its parent, and the probabilities
    (S, A) at the node, whose own part of `node_data` is `data`. `hidden` (M, ...) are the hidden states to start from.
    """
    size, decisions, has_public = tree.block, tree.num_decisions, "public" in game.declared

    def public_at(noise: Any, before: Array, noise_before: Any, time: Array) -> Any:
        """The public state at a node, given the vector and the noise of its parent."""
        first = game.first_public(noise)
        later = game.next_public(from_vector(game, before, noise_before, time - 1), noise)
        return jax.tree.map(lambda x, y: jnp.where(time == 0, x, jnp.asarray(y, x.dtype)), first, later)

    def step(carry: tuple[Array, Any, PyTree[Array]], inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        next_mean_fields, vectors, hidden = carry
        start, time, data = inputs
        noise, parent = jax.tree.map(lambda x: _block(x, start, size), (tree.noise, tree.parent))
        mean_field = jnp.where(time == 0, jax.vmap(game.initial_mean_field)(noise), next_mean_fields[parent])
        public = None
        if has_public:
            noise_before = jax.tree.map(lambda z: z[parent], tree.noise)
            public = jax.vmap(public_at, (0, 0, 0, None))(noise, vectors[parent], noise_before, time)

        def node(mean_field: Array, noise: Any, public: Any, before: Any, data: Any) -> tuple[Array, Any, Array, Array]:
            def respond(aggregate: AggregateState) -> tuple[Array, Any]:
                now, probabilities = decide(before, aggregate, data)
                return probabilities, now

            aggregate, probabilities, now = game.decide(AggregateState(mean_field, noise, time, public), respond)
            following = spread(game.kernel(aggregate)).under(probabilities).T.mv(mean_field)
            return following, now, probabilities, as_vector(game, aggregate)

        before = jax.tree.map(lambda x: x[parent], hidden)
        following, now, probabilities, vector = jax.vmap(node)(mean_field, noise, public, before, data)
        hidden = jax.tree.map(lambda all_, block: _put(all_, block, start), hidden, now)
        vectors = _put(vectors, vector, start) if has_public else None
        return (_put(next_mean_fields, following, start), vectors, hidden), (vector, probabilities)

    zeros = jnp.zeros((tree.num_slots, game.num_states))
    first = jax.tree.map(lambda z: z[0], tree.noise)
    vectors = jnp.zeros((tree.num_slots, num_entries(game, first))) if has_public else None
    (next_mean_fields, vectors, _), (flow, table) = jax.lax.scan(
        step, (zeros, vectors, hidden), _by_block(tree, node_data)
    )
    parents = tree.parent[decisions:]
    ends = next_mean_fields[parents]
    if game.declared:
        noise, noise_before = (jax.tree.map(lambda z, i=i: z[i], tree.noise) for i in (slice(decisions, None), parents))
        time = tree.slot_time[decisions:]
        public = jax.vmap(public_at)(noise, vectors[parents], noise_before, time) if vectors is not None else None
        ends = jax.vmap(lambda *at: as_vector(game, AggregateState(*at)))(ends, noise, time, public)
    flow = jnp.concatenate([flow.reshape(decisions, -1), ends])
    return flow, table.reshape(decisions, *table.shape[2:])


def backward(
    game: Game, tree: NoiseTree, flow: Flow, rule: Rule, node_data: PyTree[Array]
) -> tuple[Values, PyTree[Array]]:
    """The values (M, S) at every slot against the aggregate states `flow`, and the other results (D, ...) of a rule.

    `rule(data, q)` is called for a block with its own part of `node_data` (leading axis D) and its action values
    (B, S, A), up to a constant for every node. It returns the values (B, S), and other results with leading axis B.
    """
    size = tree.block

    def step(carry: tuple[Array, Array], inputs: tuple[Any, ...]) -> tuple[tuple[Array, Array], Any]:
        (values, constants), (start, time, data) = carry, inputs
        own = jax.tree.map(lambda x: _block(x, start, size), (flow, tree.noise, tree.children, tree.branch_probability))

        def node(vector: Array, noise: Any, children: Array, branch_probability: Array) -> tuple[Array, Array]:
            aggregate = from_vector(game, vector, noise, time)

            def reward(child: Array) -> Array:
                then = jax.tree.map(lambda z: z[child], tree.noise)
                following = from_vector(game, flow[child], then, time + 1).before_acting()
                return game.reward_of_allowed(aggregate, following)

            rewards = jnp.tensordot(branch_probability, jax.vmap(reward)(children), 1)
            greatest = jnp.max(rewards)
            q = (
                rewards
                - greatest
                + game.discount * spread(game.kernel(aggregate)).expect(branch_probability @ values[children])
            )
            return q, greatest + game.discount * (branch_probability @ constants[children])

        q, constant = jax.vmap(node)(*own)
        now, others = rule(data, q)
        return (_put(values, now, start), _put(constants, constant, start)), others

    zeros = jnp.zeros_like(flow[:, : game.num_states]), jnp.zeros_like(flow[:, 0])
    (values, constants), others = jax.lax.scan(step, zeros, _by_block(tree, node_data), reverse=True)
    others = jax.tree.map(lambda x: x.reshape(tree.num_decisions, *x.shape[2:]), others)
    return values + constants[:, None], others


def accumulate_losses(
    game: Game, tree: NoiseTree, flow: Flow, policy: Table, losses: Float[Array, "decisions states"]
) -> Values:
    """The total loss (M, S), from every slot and state on, of an agent that loses `losses` (D, S) step by step.

    It is the discounted sum of the losses under the operators of the policy.
    """
    size = tree.block

    def step(sums: Array, inputs: tuple[Any, ...]) -> tuple[Array, None]:
        start, time, (policy_at_nodes, lost) = inputs
        own = jax.tree.map(lambda x: _block(x, start, size), (flow, tree.noise, tree.children, tree.branch_probability))

        def node(policy_at_node: Array, vector: Array, noise: Any, children: Array, branch_probability: Array) -> Array:
            operator = spread(game.kernel(from_vector(game, vector, noise, time))).under(policy_at_node)
            return operator.mv(branch_probability @ sums[children])

        return _put(sums, lost + game.discount * jax.vmap(node)(policy_at_nodes, *own), start), None

    zeros = jnp.zeros_like(flow[:, : game.num_states])
    return jax.lax.scan(step, zeros, _by_block(tree, (policy, losses)), reverse=True)[0]


def _block(array: Array, start: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(array, start, size)


def _put(array: Array, block: Array, start: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, block.astype(array.dtype), start, 0)


def _by_block(tree: NoiseTree, node_data: PyTree[Array]) -> tuple[Array, Array, PyTree[Array]]:
    """The first slot, the time and the data of every decision block."""
    count = tree.num_decisions // tree.block
    node_data = jax.tree.map(lambda x: x.reshape(count, tree.block, *x.shape[1:]), node_data)
    return tree.block * jnp.arange(count), tree.time[:count], node_data
