"""What the public knows of a finite chain of hidden noise: Bayes' rule over its states.

Let b_t(z) be the probability of each state of the chain given the public observations o_0..o_t. Where the mean field is
a function of these observations, it follows

    b_{t+1}(z') is proportional to 1[ U(mu_{t+1}, z') = o_{t+1} ] sum_z b_t(z) P(z, z'),

the filter of a hidden Markov chain (Rabiner 1989, doi:10.1109/5.18626). The mean field is such a function if, along the
path, all states with b_t(z) > 0 give the same kernel and the same signal to the policy, and at t = 0 the same mean
field. An agent then learns nothing of the noise from its own moves either, so what it knows is (mu_t, b_t): it faces a
game whose public state is b_t and whose rewards are means over b_t.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg.evaluation._along_paths import batch_size
from structmfg.evaluation._paths import rollout
from structmfg.games import AggregateState, Game, Noise, NoiseChain
from structmfg.operators import TransitionKernel
from structmfg.parallel import map_over_paths, whole
from structmfg.policies import Policy


@dataclasses.dataclass(frozen=True)
class FilteredGame(Game):
    """A game whose noise is a finite chain, as the public sees it; its public state is the belief b_t (K,).

    The noise moves as in the game. The belief is updated by `advance`, which knows the mean field at t+1.

    Attributes:
        game: The game, which declares nothing beyond mean field, noise and time.
    """

    game: Game

    @property
    @override
    def num_states(self) -> int:
        return self.game.num_states

    @property
    @override
    def num_actions(self) -> int:
        return self.game.num_actions

    @property
    @override
    def horizon(self) -> int | None:
        return self.game.horizon

    @property
    @override
    def discount(self) -> float:
        return self.game.discount

    @override
    def noise_chain(self) -> NoiseChain:
        chain = self.game.noise_chain()
        assert chain is not None
        return chain.validate()

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Noise:
        return self.game.initial_noise(uniform)

    @override
    def next_noise(self, noise: Noise, uniform: Float[Array, ""], time: Int[Array, ""]) -> Noise:
        return self.game.next_noise(noise, uniform, time)

    @override
    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        return self.game.initial_mean_field(noise)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        return self.game.kernel(without_belief(aggregate))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        return self.game.observe(without_belief(aggregate))

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        return self.game.aggregates(mean_field)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """The mean over z_t, given the observations up to t and z_{t+1}."""
        chain = self.noise_chain()
        weights = belief_of(aggregate) * jnp.asarray(chain.transition, float)[:, chain.state_of(following.noise)]
        weights = weights / jnp.maximum(jnp.sum(weights), jnp.finfo(weights.dtype).tiny)
        then = without_belief(following)

        def rewards(noise: Noise) -> Array:
            return self.game.reward(without_belief(aggregate, noise), then)

        return jnp.tensordot(weights, jax.vmap(rewards)(self.noise_values(aggregate.noise)), 1)

    @override
    def initial_public(self, noise: Noise) -> Float[Array, " chain"]:
        """b_0, given the observation of z_0."""
        chain = self.noise_chain()
        seen = jax.vmap(lambda z: self.game.observe(self.game.at_start(z)))(self.noise_values(noise))
        return _given(jnp.asarray(chain.initial, float), seen, chain.state_of(noise))

    @override
    def advance(
        self, aggregate: AggregateState, mean_field: Float[Array, " states"], next_noise: Noise
    ) -> AggregateState:
        time = aggregate.time + 1

        def observe(noise: Noise) -> Array:
            return self.game.observe(AggregateState(mean_field, noise, time))

        seen = jax.vmap(observe)(self.noise_values(next_noise))
        belief = _given(self.next_probabilities(aggregate), seen, self.noise_chain().state_of(next_noise))
        return AggregateState(mean_field, next_noise, time, belief.astype(belief_of(aggregate).dtype))

    def next_probabilities(self, aggregate: AggregateState) -> Float[Array, " chain"]:
        """The probabilities (K,) of z_{t+1}, given the observations up to t."""
        belief = belief_of(aggregate)
        return jnp.matmul(belief, jnp.asarray(self.noise_chain().transition, belief.dtype), precision="highest")

    def noise_values(self, noise: Noise) -> Noise:
        """The states of the chain, leading axis K, as noise of the same types."""
        return jax.tree.map(lambda values, z: jnp.asarray(values, z.dtype), self.noise_chain().values, noise)

    def numbers(self, aggregate: AggregateState) -> Float[Array, " numbers"]:
        """What describes an aggregate state to the public: the belief and the aggregates of the mean field."""
        return jnp.concatenate(
            [belief_of(aggregate), jnp.ravel(self.game.aggregates(aggregate.mean_field)).astype(float)]
        )


def belief_of(aggregate: AggregateState) -> Float[Array, " chain"]:
    """b_t (K,), the public state of a `FilteredGame`."""
    belief: Array = aggregate.public  # type: ignore[assignment]
    return belief


def without_belief(aggregate: AggregateState, noise: Noise | None = None) -> AggregateState:
    """The aggregate state of the game itself, at its own noise or at another."""
    return AggregateState(aggregate.mean_field, aggregate.noise if noise is None else noise, aggregate.time)


def _given(
    probabilities: Float[Array, " chain"], seen: Float[Array, "chain observation"], state: Int[Array, ""]
) -> Float[Array, " chain"]:
    """The probabilities given that what is seen is what the state shows, up to rounding as in `public_sets`."""
    scale = jnp.sqrt(jnp.finfo(seen.dtype).eps) * (1 + jnp.max(jnp.abs(seen), axis=0))
    alike = jnp.all(jnp.abs(seen - seen[state]) <= scale, axis=-1)
    kept = jnp.where(alike, probabilities, 0)
    return kept / jnp.maximum(jnp.sum(kept), jnp.finfo(kept.dtype).tiny)


@eqx.filter_jit
def filter_is_exact(game: FilteredGame, policy: Policy, noise: Noise) -> Bool[Array, ""]:
    """Whether all noise that the public holds possible leads to the same mean field, along N paths.

    Equality of kernels is tested on random values.

    Args:
        game: The game as the public sees it.
        policy: The policy of the population.
        noise: The noise of the paths, leading axes (N, T+1).
    """
    probes = jax.random.normal(jax.random.key(0), (2, game.num_states))

    def probe(aggregate: AggregateState) -> Array:
        kernel, observation = game.game.kernel(aggregate), game.game.observe(aggregate)
        signal: Any = policy.signal(aggregate, observation)
        parts = [*(kernel.expect(v) for v in probes), *jax.tree.leaves(signal)]
        return jnp.concatenate([jnp.ravel(part).astype(float) for part in parts])

    def same(aggregate: AggregateState) -> Array:
        own = probe(without_belief(aggregate))

        def differs(inputs: tuple[Noise, Array]) -> Array:
            noise, belief = inputs
            difference = jnp.abs(probe(without_belief(aggregate, noise)) - own)
            return (belief > 0) & jnp.any(difference > jnp.sqrt(jnp.finfo(own.dtype).eps) * (1 + jnp.abs(own)))

        return ~jnp.any(jax.lax.map(differs, (game.noise_values(aggregate.noise), belief_of(aggregate))))

    def same_start(aggregate: AggregateState) -> Array:
        starts = jax.vmap(game.game.initial_mean_field)(game.noise_values(aggregate.noise))
        difference = jnp.max(jnp.abs(starts - aggregate.mean_field), axis=-1)
        return jnp.all((belief_of(aggregate) == 0) | (difference <= jnp.sqrt(jnp.finfo(starts.dtype).eps)))

    def along(path: Noise, policy: Policy) -> Array:
        aggregates = rollout(game, policy, path).aggregates
        acting, first = (jax.tree.map(lambda x, i=i: x[i], aggregates) for i in (slice(None, -1), 0))
        return same_start(first) & jnp.all(jax.lax.map(same, acting))

    return jnp.all(whole(map_over_paths(along, noise, policy, batch_size=batch_size(game))))
