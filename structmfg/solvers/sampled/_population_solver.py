"""What PPO and Munchausen mirror descent share: the populations that they learn from, and the policy they train."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg.games import AggregateState, Game, PopulationGame, PopulationState
from structmfg.policies import NetworkPolicy
from structmfg.solvers._base import TrainingSolver
from structmfg.solvers._learning import ActorCritic, clipped, initial_parameters
from structmfg.solvers.sampled._experience import Respond, latest_rewards, play_uniformly, scale_of_returns, start


class PopulationSolverState(NamedTuple):
    """What an update changes, and the scale of the returns.

    Attributes:
        parameters: The parameters of policy and critic.
        optimiser: The state of the one optimiser of both.
        populations: The P populations.
        hidden: The hidden states (P, ...) before the present observation, where the networks have a memory of it.
        rewards: The mean reward when populations were last at t (T,).
        scale: The root mean square return under the uniform policy, in units of the reward.
        key: The random key of the next update.
        step: The number of updates made, where they depend on it.
    """

    parameters: ActorCritic
    optimiser: optax.OptState
    populations: PopulationState
    hidden: Any  # an ActorCritic, or None
    rewards: Float[Array, " horizon"]
    scale: Float[Array, ""]
    key: PRNGKeyArray
    step: Any  # a whole number, or None


class PopulationSolver(TrainingSolver):
    """A solver that trains a policy and a critic on what `num_populations` populations of `num_agents` agents meet."""

    policy: NetworkPolicy
    learning_rate: eqx.AbstractVar[float]
    clip: eqx.AbstractVar[float]
    num_populations: int = eqx.field(static=True, default=8)
    num_agents: int = eqx.field(static=True, default=128)

    @override
    def policy_at(self, game: Game, state: PopulationSolverState) -> NetworkPolicy:
        return self.policy.with_parameters(state.parameters.policy)

    def _optimiser(self, num_steps: int) -> optax.GradientTransformation:
        """Adam, whose learning rate falls linearly to zero over `num_steps` gradient steps."""
        return clipped(self.learning_rate, num_steps, clip=self.clip)

    def _begin(self, game: Game, key: PRNGKeyArray) -> PopulationSolverState:
        """Random parameters, populations at t = 0 without memory, and what the uniform policy earns."""
        policy_key, critic_key, start_key, uniform_key, key = jax.random.split(key, 5)
        parameters = initial_parameters(self.policy, policy_key, critic_key)
        population = PopulationGame(game, self.num_agents)
        transitions = play_uniformly(population, self.num_populations, uniform_key)
        respond = response_of(self.policy.with_parameters(parameters.policy), game)
        return PopulationSolverState(
            parameters,
            self._optimiser(1).init(parameters),
            start(population, self.num_populations, start_key, None, respond),
            None,
            latest_rewards(jnp.zeros(game.horizon), transitions),
            scale_of_returns(transitions.rewards, game.discount),
            key,
            None,
        )


def response_of(policy: NetworkPolicy, game: Game) -> Respond:
    """What a population plays at a price, given its hidden states before the observation, or None for no memory."""
    prepared = policy.prepare()

    def respond(memory: ActorCritic | None, aggregate: AggregateState) -> Float[Array, "states actions"]:
        start = policy.start()
        before = start if memory is None else memory.policy
        before = jax.tree.map(lambda new, old: jnp.where(aggregate.time == 0, new, old), start, before)
        hidden = policy.update(before, game.observe(aggregate), aggregate.time)
        return jax.nn.softmax(policy.decode(prepared, hidden))

    return respond
