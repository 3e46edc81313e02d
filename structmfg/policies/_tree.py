"""Policies on a noise tree: a page of logits for every node, found again from what was seen on the way."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg.games import AggregateState, Noise, NoiseTree
from structmfg.policies._base import Hidden, Policy


class TreePolicy(Policy):
    """Logits (D, S, A) at the decision nodes of a tree, D as in `games.NoiseTree`.

    The policy follows the tree by a signal (d,) a step: the common noise itself where it is `informed`, else the public
    observation. Of the nodes that may come next it takes the one whose signal is nearest. `members` gives, for every
    node, the first one that the policy cannot tell from it; their pages are the same.
    """

    logits: Float[Array, "decisions states actions"]
    parent: Int[Array, " decisions"]
    members: Int[Array, " decisions"]
    time: Int[Array, " decisions"]
    signals: Float[Array, "decisions signal"]
    informed: bool = eqx.field(static=True)

    def signal(self, aggregate: AggregateState, observation: Float[Array, " observation"]) -> Float[Array, " signal"]:
        """The noise z_t, or the public observation o_t."""
        return signal_of(aggregate.noise) if self.informed else observation

    def prepare(self) -> Any:
        """Nothing."""
        return None

    def start(self) -> Hidden:
        """No node yet."""
        return jnp.zeros((), self.members.dtype)

    def update(self, hidden: Hidden, observation: Float[Array, " signal"], time: Int[Array, ""]) -> Hidden:
        """The node reached."""
        may_follow = (self.time == time) & ((time == 0) | (self.members[self.parent] == hidden))
        distance = jnp.max(jnp.abs(self.signals - observation), axis=-1, initial=0)
        return self.members[jnp.argmin(jnp.where(may_follow, distance, jnp.inf))]

    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        """Its page."""
        return self.logits[hidden]


def signal_of(noise: Noise) -> Float[Array, " signal"]:
    """z_t as one vector."""
    leaves = [jnp.ravel(jnp.asarray(leaf, float)) for leaf in jax.tree.leaves(noise)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros(0)


def tree_policy(
    tree: NoiseTree,
    logits: Float[Array, "decisions states actions"],
    *,
    members: Int[Array, " decisions"] | None = None,
    observations: Float[Array, "decisions observation"] | None = None,
) -> TreePolicy:
    """The policy that knows the noise so far; given `members` and `observations` of the nodes, only the latter."""
    decisions = tree.num_decisions
    noise = jax.tree.map(lambda z: z[:decisions], tree.noise)
    return TreePolicy(
        logits=logits,
        parent=tree.parent[:decisions],
        members=jnp.arange(decisions) if members is None else members,
        time=tree.slot_time[:decisions],
        signals=jax.vmap(signal_of)(noise) if observations is None else observations,
        informed=observations is None,
    )
