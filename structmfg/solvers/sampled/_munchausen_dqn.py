"""Deep Munchausen online mirror descent (Laurière et al. 2022, arXiv 2203.11973) from samples.

Online mirror descent sums up the Q-functions of all iterations, and its policy is the softmax of the sum. Munchausen
Q-learning (Vieillard et al. 2020, arXiv 2007.14430) keeps the sum in the network itself, by a regression of Q on

    r + alpha tau log pi(a | s, o) + gamma (1 - done) sum_a' pi(a' | s', o') (Q^(s', o', a') - tau log pi(a' | s', o')),

where the target Q^ is the network at the start of the iteration, and pi = softmax(Q^ / tau) its policy.

The network is written as Q = V + tau log softmax(logits), which any Q is, with V = tau logsumexp(Q / tau). So the
policy softmax(Q / tau) = softmax(logits) and the values V, which may be of other sizes, are networks of their own, an
actor and a critic; and the sum over a' above is V^(s', o').

One iteration, which is one update:

1. Populations play pi, with some exploration, until the empty replay holds `replay_start` transitions. So the replay
   tells of one policy and, up to the exploration, of the mean field that it leads to.
2. `num_gradients` times: the populations play `steps_per_gradient` more steps, which go into the replay; a batch is
   drawn from it; Adam takes a step down the mean squared error of Q against the formula above.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between
from structmfg.games import Game, Observation, PopulationGame, PopulationState
from structmfg.policies import Critic, NetworkPolicy
from structmfg.solvers._base import Metrics
from structmfg.solvers._former_names import renamed_fields
from structmfg.solvers._learning import ActorCritic, bind, check_settings, descend, progress
from structmfg.solvers.sampled._experience import (
    Transitions,
    allowed_logits,
    decode_states,
    draw_uniformly,
    latest_rewards,
    log_probability,
    mean_return,
    play,
    sample_actions,
)
from structmfg.solvers.sampled._population_solver import PopulationSolver, PopulationSolverState, response_of
from structmfg.solvers.sampled._replay import Replay, add_to_replay, empty_replay, sample_replay


@renamed_fields(together="agents_per_observation")
class MunchausenOMD(PopulationSolver):
    """Deep Munchausen online mirror descent. An update is one iteration: the target is held, the replay starts empty.

    Values are learned in units of the root mean square return under the uniform policy, which `init` measures.
    `Metrics.mean_return` is that of the agents as they act, exploration included: sum_t gamma^t times the mean reward
    of all agents when populations were last at t (in `init`, under the uniform policy, where never since).

    Args:
        policy: A memoryless network bound to the game, with a categorical head. Its logits are Q / tau up to a function
            of state and observation, which is a network of the same shape.
        num_populations: Number of populations, each with its own common noise.
        num_agents: Number of agents in a population.
        num_gradients: Gradient steps to an iteration.
        steps_per_gradient: Steps of all populations before a gradient step.
        batch_size: Transitions to a gradient step, drawn uniformly from the replay.
        agents_per_observation: Transitions of a batch that share an observation. A divisor of `batch_size`: so many of
            them are of agents of one population at one time, for whom the network sees the observation once; 1 as
            published.
        replay_size: Number of latest transitions that the replay holds.
        replay_start: Transitions in the replay before the first gradient step.
        tau: Temperature, in units of the reward.
        alpha: Share of the former iterations that is kept.
        exploration: Share of uniformly random actions at first.
        final_exploration: Share of uniformly random actions at the end.
        exploring: Share of all updates over which the exploration decays. It decays linearly.
        learning_rate: Learning rate of Adam at the start. It falls linearly to zero.
        clip: Bound on the global norm of the gradient.

    Raises:
        ValueError: A setting is out of range, the policy is recurrent or has an ordered head, or the replay is too
            small for what is put in at once.
    """

    num_gradients: int = eqx.field(static=True, default=200)
    steps_per_gradient: int = eqx.field(static=True, default=8)
    batch_size: int = eqx.field(static=True, default=2048)
    agents_per_observation: int = eqx.field(static=True, default=1)
    replay_size: int = eqx.field(static=True, default=300_000)
    replay_start: int = eqx.field(static=True, default=10_000)
    tau: float = 5.0
    alpha: float = 0.99
    exploration: float = 1.0
    final_exploration: float = 0.1
    exploring: float = 0.5
    learning_rate: float = 1e-3
    clip: float = 1.0
    recurrent = False

    def __check_init__(self) -> None:
        if self.policy.settings.head != "categorical":
            raise ValueError(
                f"MunchausenOMD learns a value for every action: its policy needs the categorical head, "
                f"but has the {self.policy.settings.head} one"
            )
        check_settings(self, counts="num_populations num_agents num_gradients steps_per_gradient batch_size")
        check_settings(
            self, counts="agents_per_observation replay_size replay_start", positive="tau learning_rate clip"
        )
        check_settings(self, shares="alpha exploration", positive_shares="exploring")
        check_between("final_exploration", self.final_exploration, 0, self.exploration)
        if self.batch_size % self.agents_per_observation:
            raise ValueError(
                f"agents_per_observation must divide batch_size = {self.batch_size}, "
                f"but is {self.agents_per_observation}"
            )
        least = max(self._start_steps, self.steps_per_gradient) * self.num_populations * self.num_agents
        if self.replay_size < least:
            raise ValueError(f"replay_size must be at least {least}, what is put in at once, but is {self.replay_size}")

    @property
    def _start_steps(self) -> int:
        """Steps of all populations before the first gradient step."""
        return -(-self.replay_start // (self.num_populations * self.num_agents))

    @override
    @eqx.filter_jit
    def init(self, game: Game, key: PRNGKeyArray) -> PopulationSolverState:
        return self._begin(game, key)._replace(step=jnp.zeros((), int))

    def _exploration(self, step: Int[Array, ""], max_steps: int) -> Float[Array, ""]:
        share = progress(step, self.exploring * max_steps)
        return self.exploration + share * (self.final_exploration - self.exploration)

    @override
    def step(self, game: Game, state: PopulationSolverState, max_steps: int) -> tuple[PopulationSolverState, Metrics]:
        """One iteration, as the module describes it."""
        key, start_key, turns_key = jax.random.split(state.key, 3)
        optimiser, target = self._optimiser(max_steps * self.num_gradients), state.parameters
        policy, exploration = self.policy_at(game, state), self._exploration(state.step, max_steps)
        temperature, prepared = self.tau / state.scale, policy.prepare()
        population = PopulationGame(game, self.num_agents)

        def choose(memory: None, observed: Observation, key: PRNGKeyArray) -> tuple[None, Array, None]:
            return (
                None,
                explore(allowed_logits(_decode(policy, prepared, observed), observed), observed, exploration, key),
                None,
            )

        respond = response_of(policy, game)

        def play_on(
            populations: PopulationState, rewards: Array, key: PRNGKeyArray, num_steps: int
        ) -> tuple[PopulationState, Array, Transitions]:
            """Populations and mean rewards after some steps, and these steps, with rewards in units of `scale`."""
            populations, _, steps, _ = play(population, populations, None, choose, respond, key, num_steps)
            rewards = latest_rewards(rewards, steps)
            return populations, rewards, steps._replace(rewards=steps.rewards / state.scale)

        def gradient_step(
            carry: tuple[ActorCritic, optax.OptState, PopulationState, Array, Replay], key: PRNGKeyArray
        ) -> Any:
            parameters, optimiser_state, populations, rewards, replay = carry
            play_key, draw_key = jax.random.split(key)
            populations, rewards, steps = play_on(populations, rewards, play_key, self.steps_per_gradient)
            replay = add_to_replay(replay, steps)
            num_observations = self.batch_size // self.agents_per_observation
            batch = sample_replay(replay, draw_key, num_observations, self.agents_per_observation)
            q_targets = self._q_targets(target, batch, temperature, game.discount)
            gradient = jax.grad(self._loss)(parameters, batch, q_targets, temperature)
            parameters, optimiser_state = descend(optimiser, gradient, optimiser_state, parameters)
            return (parameters, optimiser_state, populations, rewards, replay), optax.tree.norm(gradient)

        populations, rewards, steps = play_on(state.populations, state.rewards, start_key, self._start_steps)
        size = self.replay_size // (self.num_populations * self.num_agents)
        replay = add_to_replay(empty_replay(steps, size), steps)
        carry = target, state.optimiser, populations, rewards, replay
        carry, norms = jax.lax.scan(gradient_step, carry, jax.random.split(turns_key, self.num_gradients))
        parameters, adam, populations, rewards, _ = carry
        state = state._replace(parameters=parameters, optimiser=adam, populations=populations, rewards=rewards)
        return state._replace(key=key, step=state.step + 1), Metrics(mean_return(game, rewards), jnp.mean(norms))

    def _q_targets(
        self, target: ActorCritic, batch: Transitions, temperature: Float[Array, ""], discount: float
    ) -> Float[Array, "batch agents"]:
        """What Q is regressed on: the formula of the module, whose sum over a' is V^."""
        policy, critic = bind(self.policy, target)
        logits = allowed_logits(_decode(policy, policy.prepare(), batch.observed), batch.observed)
        next_values = _decode(critic, critic.prepare(), batch.next_observed)
        munchausen = self.alpha * temperature * log_probability(logits, batch.actions)
        return batch.rewards + munchausen + discount * (1 - batch.done[..., None]) * next_values

    def _loss(
        self,
        parameters: ActorCritic,
        batch: Transitions,
        q_targets: Float[Array, "batch agents"],
        temperature: Float[Array, ""],
    ) -> Float[Array, ""]:
        """The mean squared error of Q."""
        policy, critic = bind(self.policy, parameters)
        logits = allowed_logits(_decode(policy, policy.prepare(), batch.observed), batch.observed)
        values = _decode(critic, critic.prepare(), batch.observed)
        return jnp.mean((values + temperature * log_probability(logits, batch.actions) - q_targets) ** 2)


def explore(
    logits: Float[Array, "*batch agents actions"],
    observed: Observation,
    exploration: Float[Array, ""],
    key: PRNGKeyArray,
) -> Int[Array, "*batch agents"]:
    """Draw actions of softmax(logits), but with probability `exploration` uniform ones of those that are allowed."""
    which_key, uniform_key, policy_key = jax.random.split(key, 3)
    shape = logits.shape[:-1]
    uniform = draw_uniformly(observed, logits.shape[-1], uniform_key)
    explores = jax.random.uniform(which_key, shape) < exploration
    return jnp.where(explores, uniform, sample_actions(logits, policy_key))


def _decode(network: NetworkPolicy | Critic, prepared: Any, observed: Observation) -> Float[Array, "..."]:
    """The output of a memoryless network, prepared, at observations along one axis of populations or times."""
    hidden = jax.vmap(lambda *now: network.update(network.start(), *now))(observed.observation, observed.time)
    return decode_states(network, prepared, hidden, observed.states)
