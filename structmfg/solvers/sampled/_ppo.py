"""Proximal policy optimisation by independent learners (IPPO; RIPPO with memory of the public observations).

PPO (Schulman et al. 2017, arXiv 1707.06347) with generalised advantage estimates (Schulman et al. 2016,
arXiv 1506.02438), every agent a learner with the same parameters (de Witt et al. 2020, arXiv 2011.09533). It knows the
game only as finite populations play it. As is usual, the gradient weights all times alike: gamma enters advantages and
values, but the gradient of the discounted return would have gamma^t besides.

One hidden state a population serves all its agents, so minibatches are groups of agents, and every one of them computes
the histories of all populations anew.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.games import Game, Observation, PopulationGame, PopulationState
from structmfg.policies import Critic, Hidden, NetworkPolicy, critic
from structmfg.solvers._base import Metrics, TrainingSolver
from structmfg.solvers.sampled._experience import (
    histories,
    latest_rewards,
    log_probability,
    mean_return,
    play,
    play_uniformly,
    remember,
    rows,
    sample,
    scale_of_returns,
    start,
)


class _Both(NamedTuple):
    """Something of the policy and of the critic: parameters, what is prepared of them, or hidden states (P, ...)."""

    policy: Any
    critic: Any


class PPOState(NamedTuple):
    """What an update changes, and the scale of the returns.

    `hidden`: before the present observation. `rewards`: the mean reward when populations were last at t.
    """

    parameters: _Both
    optimiser: optax.OptState
    populations: PopulationState
    hidden: _Both
    rewards: Float[Array, " horizon"]
    scale: Float[Array, ""]
    key: PRNGKeyArray


class _Batch(NamedTuple):
    """What the loss needs of the steps of some agents; `log_probabilities` are those of the policy that acted."""

    seen: Observation
    actions: Int[Array, "times populations agents"]
    log_probabilities: Float[Array, "times populations agents"]
    advantages: Float[Array, "times populations agents"]
    values: Float[Array, "times populations agents"]


class ProximalPolicyOptimisation(TrainingSolver):
    """PPO on the game of finite populations; `IPPO` and `RIPPO` are its two kinds.

    - `policy`: a network bound to the game. The critic is a network of the same shape.
    - `num_populations`, `num_agents`: populations, each with common noise of its own, and agents in each.
    - `rollout`: steps of all populations to an update. Populations that reach T start anew within; the others, with
      their hidden states, go on in the next. Gradients reach back to the start of the rollout.
    - `num_epochs`, `num_minibatches`: passes over a rollout, and the groups of agents in each.
    - `gae_lambda`: weight of longer returns in advantages and values. Nothing is expected after T.
    - `clip_ratio`: bound on the change of pi(a | s) that is rewarded.
    - `entropy`: weight of the entropy bonus, where advantages have unit variance.
    - `value_weight`: of the squared error of the critic, in units of the root mean square return under the uniform
      policy, which `init` measures.
    - `learning_rate`: Adam's, annealed linearly to zero. `clip`: bound on the global norm of the gradient.

    `Metrics.mean_return` is sum_t gamma^t times the mean reward of all agents when populations were last at t, which
    for t that no step of this rollout met was in an earlier one, or in `init` under the uniform policy.
    """

    policy: NetworkPolicy
    num_populations: int = eqx.field(static=True, default=8)
    num_agents: int = eqx.field(static=True, default=128)
    rollout: int = eqx.field(static=True, default=64)
    num_epochs: int = eqx.field(static=True, default=1)
    num_minibatches: int = eqx.field(static=True, default=8)
    gae_lambda: float = 0.95
    clip_ratio: float = 0.2
    entropy: float = 0.01
    value_weight: float = 0.5
    learning_rate: float = 1e-3
    clip: float = 1.0

    def __check_init__(self) -> None:
        for name in ("num_populations", "num_agents", "rollout", "num_epochs", "num_minibatches"):
            check_integer(name, getattr(self, name), at_least=1)
        if self.num_agents % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_agents, but {self.num_agents} agents were to make "
                f"{self.num_minibatches} equal minibatches"
            )
        check_between("gae_lambda", self.gae_lambda, 0, 1)
        check_positive("clip_ratio", self.clip_ratio)
        check_between("entropy", self.entropy, 0, float("inf"))
        check_between("value_weight", self.value_weight, 0, float("inf"), open_low=True)
        check_positive("learning_rate", self.learning_rate)
        check_positive("clip", self.clip)

    @eqx.filter_jit
    def init(self, game: Game, key: PRNGKeyArray) -> PPOState:
        """Random parameters, populations at t = 0, and what the uniform policy earns."""
        policy_key, critic_key, start_key, uniform_key, key = jax.random.split(key, 5)
        networks = _Both(self.policy.initialised(policy_key), critic(self.policy).initialised(critic_key))
        parameters = _Both(networks.policy.parameters, networks.critic.parameters)
        played = PopulationGame(game, self.num_agents)
        steps = play_uniformly(played, self.num_populations, uniform_key)
        hidden = [
            jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_populations, *x.shape)), network.start())
            for network in networks
        ]
        return PPOState(
            parameters,
            self._optimiser(1).init(parameters),
            start(played, self.num_populations, start_key),
            _Both(*hidden),
            latest_rewards(jnp.zeros(game.horizon), steps),
            scale_of_returns(steps.rewards, game.discount),
            key,
        )

    def policy_at(self, game: Game, state: PPOState) -> NetworkPolicy:
        """The policy with the parameters reached."""
        return self.policy.with_parameters(state.parameters.policy)

    def _networks(self, parameters: _Both) -> tuple[NetworkPolicy, Critic]:
        return self.policy.with_parameters(parameters.policy), critic(self.policy).with_parameters(parameters.critic)

    def _optimiser(self, max_steps: int) -> optax.GradientTransformation:
        total = max_steps * self.num_epochs * self.num_minibatches
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(optax.linear_schedule(self.learning_rate, 0.0, total)),
        )

    def step(self, game: Game, state: PPOState, max_steps: int) -> tuple[PPOState, Metrics]:
        """A rollout, and some epochs on it."""
        key, play_key, *epoch_keys = jax.random.split(state.key, self.num_epochs + 2)
        populations, hidden, rewards, batch = self._experience(game, state, play_key)
        optimiser = self._optimiser(max_steps)

        def descend(carry: tuple[_Both, optax.OptState], agents: Array) -> tuple[tuple[_Both, optax.OptState], Array]:
            parameters, optimiser_state = carry
            gradient = jax.grad(self._loss)(parameters, state.hidden, _of_agents(batch, agents))
            change, optimiser_state = optimiser.update(gradient, optimiser_state, parameters)
            return (optax.apply_updates(parameters, change), optimiser_state), optax.tree.norm(gradient)

        orders = [jax.random.permutation(key, self.num_agents) for key in epoch_keys]
        groups = jnp.stack(orders).reshape(self.num_epochs * self.num_minibatches, -1)
        (parameters, optimiser_state), norms = jax.lax.scan(descend, (state.parameters, state.optimiser), groups)
        following = PPOState(parameters, optimiser_state, populations, hidden, rewards, state.scale, key)
        return following, Metrics(mean_return(game, rewards), jnp.mean(norms))

    def _experience(
        self, game: Game, state: PPOState, key: PRNGKeyArray
    ) -> tuple[PopulationState, _Both, Float[Array, " horizon"], _Batch]:
        """A rollout: populations and hidden states after it, mean rewards by time, and what there is to learn."""
        policy, values = self._networks(state.parameters)
        prepared = _Both(policy.prepare(), values.prepare())

        def choose(hidden: _Both, seen: Observation, key: PRNGKeyArray) -> tuple[_Both, Array, tuple[Array, Array]]:
            hidden = _Both(remember(policy, hidden.policy, seen), remember(values, hidden.critic, seen))
            logits = rows(policy, prepared.policy, hidden.policy, seen.states)
            actions = sample(logits, key)
            return (
                hidden,
                actions,
                (log_probability(logits, actions), rows(values, prepared.critic, hidden.critic, seen.states)),
            )

        played = PopulationGame(game, self.num_agents)
        populations, hidden, steps, (log_probabilities, valued) = play(
            played, state.populations, state.hidden, choose, key, self.rollout
        )
        after = jax.vmap(played.observe)(populations)
        last = rows(values, prepared.critic, remember(values, hidden.critic, after), after.states)
        rewards = steps.rewards / state.scale
        advantages = generalised_advantages(rewards, valued, steps.done, last, game.discount, self.gae_lambda)
        batch = _Batch(steps.seen, steps.actions, log_probabilities, advantages, advantages + valued)
        return populations, hidden, latest_rewards(state.rewards, steps), batch

    def _loss(self, parameters: _Both, hidden: _Both, batch: _Batch) -> Float[Array, ""]:
        """Minus the clipped objective, plus the error of the critic, minus the entropy bonus."""
        policy, values = self._networks(parameters)
        logits = along(policy, hidden.policy, batch.seen)
        estimates = along(values, hidden.critic, batch.seen)
        ratios = jnp.exp(log_probability(logits, batch.actions) - batch.log_probabilities)
        gains = clipped_gains(ratios, _normalised(batch.advantages), self.clip_ratio)
        logs = jax.nn.log_softmax(logits)
        entropy = -jnp.mean(jnp.sum(jnp.exp(logs) * logs, axis=-1))
        error = jnp.mean((estimates - batch.values) ** 2)
        return self.value_weight * error - jnp.mean(gains) - self.entropy * entropy


class IPPO(ProximalPolicyOptimisation):
    """Independent PPO: the memoryless pi(a | s, o_t). See `ProximalPolicyOptimisation` for the fields."""

    recurrent = False


class RIPPO(ProximalPolicyOptimisation):
    """Recurrent independent PPO: pi(a | s, o_{0:t}). See `ProximalPolicyOptimisation` for the fields."""

    recurrent = True


def along(network: NetworkPolicy | Critic, hidden: Hidden, seen: Observation) -> Float[Array, "..."]:
    """What a network says of all that was seen in a rollout, given the hidden states before it."""
    return rows(network, network.prepare(), histories(network, hidden, seen)[0], seen.states)


def generalised_advantages(
    rewards: Float[Array, "times populations agents"],
    values: Float[Array, "times populations agents"],
    done: Bool[Array, "times populations"],
    last: Float[Array, "populations agents"],
    discount: float,
    gae_lambda: float,
) -> Float[Array, "times populations agents"]:
    """sum_k (gamma lambda)^k (r + gamma v' - v) at t + k, to the end of the rollout, whose next values are `last`.

    No sum and no value reaches over a step that is done.
    """

    def back(carry: tuple[Array, Array], step: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        advantage, following = carry
        reward, value, goes_on = step
        advantage = reward + discount * goes_on * (following + gae_lambda * advantage) - value
        return (advantage, value), advantage

    goes_on = 1.0 - done[..., None]
    return jax.lax.scan(back, (jnp.zeros_like(last), last), (rewards, values, goes_on), reverse=True)[1]


def clipped_gains(
    ratios: Float[Array, "*batch"], advantages: Float[Array, "*batch"], clip_ratio: float
) -> Float[Array, "*batch"]:
    """min(ratio A, clip(ratio, 1 - clip_ratio, 1 + clip_ratio) A)."""
    return jnp.minimum(ratios * advantages, jnp.clip(ratios, 1 - clip_ratio, 1 + clip_ratio) * advantages)


def _normalised(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    return (x - jnp.mean(x)) / (jnp.std(x) + 1e-8)


def _of_agents(batch: _Batch, agents: Int[Array, " some"]) -> _Batch:
    """The part of a batch that is these agents'."""
    seen = batch.seen._replace(states=batch.seen.states[:, :, agents])
    return _Batch(seen, *(x[:, :, agents] for x in batch[1:]))
