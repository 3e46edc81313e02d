"""Proximal policy optimisation by independent learners (IPPO; RIPPO with memory of the public observations).

PPO (Schulman et al. 2017, arXiv 1707.06347) with generalised advantage estimates (Schulman et al. 2016,
arXiv 1506.02438), every agent a learner with the same parameters (de Witt et al. 2020, arXiv 2011.09533). It knows the
game only as finite populations play it. As is usual, the gradient weights all times alike: gamma enters advantages and
values, but the gradient of the discounted return would have gamma^t besides.

One hidden state a population serves all its agents, so minibatches are groups of agents, and every one of them computes
the hidden states of all populations anew.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between
from structmfg.games import Game, Observation, PopulationGame, PopulationState
from structmfg.policies import Critic, Hidden, NetworkPolicy
from structmfg.solvers._base import Metrics
from structmfg.solvers._learning import ActorCritic, bind, check_settings, descend
from structmfg.solvers.sampled._experience import (
    allowed_logits,
    decode_states,
    hidden_states,
    latest_rewards,
    log_probability,
    mean_return,
    next_hidden,
    play,
    sample_actions,
)
from structmfg.solvers.sampled._population_solver import PopulationSolver, PopulationSolverState, response_of


class _Batch(NamedTuple):
    """What the loss needs of the steps of some agents; `log_probabilities` are those of the policy that acted."""

    observed: Observation
    actions: Int[Array, "times populations agents"]
    log_probabilities: Float[Array, "times populations agents"]
    advantages: Float[Array, "times populations agents"]
    values: Float[Array, "times populations agents"]


class ProximalPolicyOptimisation(PopulationSolver):
    """PPO on the game of finite populations; `IPPO` and `RIPPO` are its two kinds.

    `Metrics.mean_return` is sum_t gamma^t times the mean reward of all agents when populations were last at t, which
    for t that no step of this rollout met was in an earlier one, or in `init` under the uniform policy.

    Args:
        policy: A network bound to the game. The critic is a network of the same shape.
        num_populations: Number of populations, each with its own common noise.
        num_agents: Number of agents in a population.
        rollout: Steps of all populations in an update. Populations that reach T start anew within; the others, with
            their hidden states, go on in the next. Gradients reach back to the start of the rollout.
        num_epochs: Passes over a rollout.
        num_minibatches: Groups of agents in each pass, a divisor of num_agents.
        gae_lambda: Weight of longer returns in advantages and values. Nothing is expected after T.
        clip_ratio: Bound on the change of pi(a | s) that is rewarded.
        entropy: Weight of the entropy bonus. Advantages have unit variance.
        value_weight: Weight of the squared error of the critic. The error is in units of the root mean square return
            under the uniform policy, which `init` measures.
        learning_rate: Learning rate of Adam at the start. It falls linearly to zero.
        clip: Bound on the global norm of the gradient.

    Raises:
        ValueError: A setting is out of range, or the policy is not of the kind that the solver trains.
    """

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
        check_settings(self, counts="num_populations num_agents rollout num_epochs num_minibatches")
        check_settings(self, positive="clip_ratio learning_rate clip", nonnegative="entropy", shares="gae_lambda")
        check_between("value_weight", self.value_weight, 0, float("inf"), open_low=True)
        if self.num_agents % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_agents, but {self.num_agents} agents were to make "
                f"{self.num_minibatches} equal minibatches"
            )

    @override
    @eqx.filter_jit
    def init(self, game: Game, key: PRNGKeyArray) -> PopulationSolverState:
        state = self._begin(game, key)
        hidden = ActorCritic(*(network.start() for network in bind(self.policy, state.parameters)))
        return state._replace(
            hidden=jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_populations, *x.shape)), hidden)
        )

    @override
    def step(self, game: Game, state: PopulationSolverState, max_steps: int) -> tuple[PopulationSolverState, Metrics]:
        """A rollout, and some epochs on it."""
        key, play_key, *epoch_keys = jax.random.split(state.key, self.num_epochs + 2)
        populations, hidden, rewards, batch = self._experience(game, state, play_key)
        optimiser = self._optimiser(max_steps * self.num_epochs * self.num_minibatches)

        def on_minibatch(carry: tuple[ActorCritic, optax.OptState], agents: Array) -> tuple[Any, Array]:
            parameters, optimiser_state = carry
            gradient = jax.grad(self._loss)(parameters, state.hidden, _of_agents(batch, agents))
            return descend(optimiser, gradient, optimiser_state, parameters), optax.tree.norm(gradient)

        orders = [jax.random.permutation(key, self.num_agents) for key in epoch_keys]
        groups = jnp.stack(orders).reshape(self.num_epochs * self.num_minibatches, -1)
        (parameters, adam), norms = jax.lax.scan(on_minibatch, (state.parameters, state.optimiser), groups)
        state = state._replace(parameters=parameters, optimiser=adam, populations=populations, hidden=hidden)
        return state._replace(rewards=rewards, key=key), Metrics(mean_return(game, rewards), jnp.mean(norms))

    def _experience(
        self, game: Game, state: PopulationSolverState, key: PRNGKeyArray
    ) -> tuple[PopulationState, ActorCritic, Float[Array, " horizon"], _Batch]:
        """A rollout: populations and hidden states after it, mean rewards by time, and the batch to learn from."""
        policy, critic = bind(self.policy, state.parameters)
        prepared = ActorCritic(policy.prepare(), critic.prepare())

        def choose(
            hidden: ActorCritic, observed: Observation, key: PRNGKeyArray
        ) -> tuple[ActorCritic, Array, tuple[Array, Array]]:
            hidden = ActorCritic(
                next_hidden(policy, hidden.policy, observed), next_hidden(critic, hidden.critic, observed)
            )
            logits = allowed_logits(decode_states(policy, prepared.policy, hidden.policy, observed.states), observed)
            actions = sample_actions(logits, key)
            log_probabilities = log_probability(logits, actions)
            values = decode_states(critic, prepared.critic, hidden.critic, observed.states)
            return hidden, actions, (log_probabilities, values)

        population = PopulationGame(game, self.num_agents)
        populations, hidden, steps, (log_probabilities, values) = play(
            population, state.populations, state.hidden, choose, response_of(policy, game), key, self.rollout
        )
        after = jax.vmap(population.observe)(populations)
        last = decode_states(critic, prepared.critic, next_hidden(critic, hidden.critic, after), after.states)
        rewards = steps.rewards / state.scale
        advantages = generalised_advantages(rewards, values, steps.done, last, game.discount, self.gae_lambda)
        batch = _Batch(steps.observed, steps.actions, log_probabilities, advantages, advantages + values)
        return populations, hidden, latest_rewards(state.rewards, steps), batch

    def _loss(self, parameters: ActorCritic, hidden: ActorCritic, batch: _Batch) -> Float[Array, ""]:
        """Minus the clipped objective, plus the error of the critic, minus the entropy bonus."""
        policy, critic = bind(self.policy, parameters)
        logits = allowed_logits(decode_rollout(policy, hidden.policy, batch.observed), batch.observed)
        values = decode_rollout(critic, hidden.critic, batch.observed)
        ratios = jnp.exp(log_probability(logits, batch.actions) - batch.log_probabilities)
        gains = clipped_gains(ratios, _normalised(batch.advantages), self.clip_ratio)
        logs = jax.nn.log_softmax(logits)
        entropy = -jnp.mean(jnp.sum(jnp.exp(logs) * logs, axis=-1))
        error = jnp.mean((values - batch.values) ** 2)
        return self.value_weight * error - jnp.mean(gains) - self.entropy * entropy


class IPPO(ProximalPolicyOptimisation):
    """Independent PPO: the memoryless pi(a | s, o_t). See `ProximalPolicyOptimisation` for the fields."""

    recurrent = False


class RIPPO(ProximalPolicyOptimisation):
    """Recurrent independent PPO: pi(a | s, o_{0:t}). See `ProximalPolicyOptimisation` for the fields."""

    recurrent = True


def decode_rollout(network: NetworkPolicy | Critic, hidden: Hidden, observed: Observation) -> Float[Array, "..."]:
    """The output of a network at all observations of a rollout, given the hidden states before it."""
    return decode_states(network, network.prepare(), hidden_states(network, hidden, observed)[0], observed.states)


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
    allowed = None if batch.observed.allowed is None else batch.observed.allowed[:, :, agents]
    observed = batch.observed._replace(states=batch.observed.states[:, :, agents], allowed=allowed)
    return _Batch(observed, *(x[:, :, agents] for x in batch[1:]))
