"""What PPO and Munchausen mirror descent share: the populations that they learn from, and the policy they train."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_integer, check_positive
from structmfg.games import Game, PopulationGame, PopulationState
from structmfg.policies import NetworkPolicy
from structmfg.solvers._learning import ActorCritic, adam, initial_parameters
from structmfg.solvers._training import TrainingSolver
from structmfg.solvers.sampled._experience import latest_rewards, play_uniformly, scale_of_returns, start


class PopulationSolver(TrainingSolver):
    """A solver that trains a policy and a critic on what `num_populations` populations of `num_agents` agents meet."""

    policy: NetworkPolicy
    learning_rate: eqx.AbstractVar[float]
    clip: eqx.AbstractVar[float]
    num_populations: int = eqx.field(static=True, default=8)
    num_agents: int = eqx.field(static=True, default=128)

    def _check_fields(self, *counts: str) -> None:
        """Raise `ValueError` unless the shared fields, and the named numbers of something, are in range."""
        for name in ("num_populations", "num_agents", *counts):
            check_integer(name, getattr(self, name), at_least=1)
        check_positive("learning_rate", self.learning_rate)
        check_positive("clip", self.clip)

    @override
    def bound(self, state: Any) -> NetworkPolicy:
        return self.policy.with_parameters(state.parameters.policy)

    def _optimiser(self, num_steps: int) -> optax.GradientTransformation:
        """Adam, whose learning rate falls linearly to zero over `num_steps` gradient steps."""
        return adam(self.learning_rate, num_steps, clip=self.clip)

    def _begin(
        self, game: Game, key: PRNGKeyArray
    ) -> tuple[ActorCritic, PopulationState, Float[Array, " horizon"], Float[Array, ""], PRNGKeyArray]:
        """Random parameters, populations at t = 0, and what the uniform policy earns: mean rewards, scale; a key."""
        policy_key, critic_key, start_key, uniform_key, key = jax.random.split(key, 5)
        parameters = initial_parameters(self.policy, policy_key, critic_key)
        population = PopulationGame(game, self.num_agents)
        transitions = play_uniformly(population, self.num_populations, uniform_key)
        rewards = latest_rewards(jnp.zeros(game.horizon), transitions)
        scale = scale_of_returns(transitions.rewards, game.discount)
        return parameters, start(population, self.num_populations, start_key), rewards, scale, key
