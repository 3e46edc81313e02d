"""Policies on a noise tree: logits for every node, which is found again from the signals on the way to it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg.games import AggregateState, Noise, NoiseTree
from structmfg.policies._base import Hidden, Policy


class TreePolicy(Policy):
    """A policy with logits at the decision slots of a `games.NoiseTree`.

    The policy follows the tree by one signal a step: the common noise itself, or the public observation. Of the nodes
    that may come next it takes the one whose signal is nearest.

    Attributes:
        logits: (D, S, A).
        parent: (D,); the parent of every slot.
        members: (D,); for every slot the first one that the policy cannot tell from it. Their logits are the same.
        time: (D,); the time of every slot.
        signals: (D, d); the signal at every slot.
        informed: Whether the signal is the common noise.
    """

    logits: Float[Array, "decisions states actions"]
    parent: Int[Array, " decisions"]
    members: Int[Array, " decisions"]
    time: Int[Array, " decisions"]
    signals: Float[Array, "decisions signal"]
    informed: bool = eqx.field(static=True)

    @override
    def signal(self, aggregate: AggregateState, observation: Float[Array, " observation"]) -> Float[Array, " signal"]:
        return signal_of(aggregate.noise) if self.informed else observation

    @override
    def prepare(self) -> Any:
        return None

    @override
    def start(self) -> Hidden:
        return jnp.zeros((), self.members.dtype)

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " signal"], time: Int[Array, ""]) -> Hidden:
        may_follow = (self.time == time) & ((time == 0) | (self.members[self.parent] == hidden))
        distance = jnp.max(jnp.abs(self.signals - observation), axis=-1, initial=0)
        return self.members[jnp.argmin(jnp.where(may_follow, distance, jnp.inf))]

    @override
    def decode(self, prepared: Any, hidden: Hidden) -> Float[Array, "states actions"]:
        return self.logits[hidden]


def signal_of(noise: Noise) -> Float[Array, " signal"]:
    """The noise z_t as one vector."""
    leaves = [jnp.ravel(jnp.asarray(leaf, float)) for leaf in jax.tree.leaves(noise)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros(0)


def tree_policy(
    tree: NoiseTree,
    logits: Float[Array, "decisions states actions"],
    *,
    members: Int[Array, " decisions"] | None = None,
    observations: Float[Array, "decisions observation"] | None = None,
) -> TreePolicy:
    """The policy of logits on a noise tree.

    Args:
        tree: The tree.
        logits: (D, S, A).
        members: (D,); for public information, the slot that stands for the information set of every slot.
        observations: (D, O); for public information, the public observation at every slot.

    Returns:
        A policy that knows the noise so far, or, given `members` and `observations`, only the observations.
    """
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
