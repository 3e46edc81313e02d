"""Deep Munchausen online mirror descent (Laurière et al. 2022, arXiv 2203.11973) from samples.

Online mirror descent sums up the Q-functions of all iterations; Munchausen Q-learning (Vieillard et al. 2020,
arXiv 2007.14430) keeps the sum in the network itself, by a regression of Q on

    r + alpha tau log pi(a | s, o) + gamma (1 - done) sum_a' pi(a' | s', o') (Q^(s', o', a') - tau log pi(a' | s', o')),

where Q^ is the network of the iteration before, the target, and pi = softmax(Q^ / tau) its policy. Here the mean field
is what agents make of it: they follow pi, but for some exploration, so that the replay of an iteration tells of one
policy and, up to that exploration, of the mean field it leads to.

The network is written as Q = V + tau log softmax(logits), which any Q is: V = tau logsumexp(Q / tau). So the policy
softmax(Q / tau) = softmax(logits) and the values, which may be of other sizes, are networks of their own.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.games import Game, Observation, PopulationGame, PopulationState
from structmfg.policies import Critic, NetworkPolicy, critic
from structmfg.solvers._base import Metrics, TrainingSolver
from structmfg.solvers.sampled._experience import (
    Step,
    latest_rewards,
    log_probability,
    mean_return,
    play,
    play_uniformly,
    rows,
    sample,
    scale_of_returns,
    start,
)


class _Both(NamedTuple):
    """Parameters of the policy, whose logits they are, and of the values V."""

    policy: PyTree[Array]
    values: PyTree[Array]


class MunchausenState(NamedTuple):
    """What an update changes, and the scale of the returns; `rewards`: the mean one when populations were last at t."""

    parameters: _Both
    optimiser: optax.OptState
    populations: PopulationState
    rewards: Float[Array, " horizon"]
    scale: Float[Array, ""]
    key: PRNGKeyArray
    step: Int[Array, ""]


class Replay(NamedTuple):
    """The latest steps of all populations, in a ring, and how many were ever put in."""

    ring: Step
    total: Int[Array, ""]


class MunchausenOMD(TrainingSolver):
    """Deep Munchausen online mirror descent. An update is one iteration: the target is held, the replay starts empty.

    - `policy`: a memoryless network bound to the game, with a categorical head. Its logits are Q / tau up to a function
      of state and observation, which is a network of the same shape.
    - `num_populations`, `num_agents`: populations, each with common noise of its own, and agents in each.
    - `num_gradients`: gradient steps to an iteration, and `steps_per_gradient`: steps of all populations before each.
    - `batch_size`: transitions to a gradient step, drawn uniformly from the replay, which holds the latest
      `replay_size`, and at least `replay_start` before the first gradient step. `together`: so many of them are of
      agents of one population at one time, for whom the network need see the observation once; 1 as published.
    - `tau`: the temperature, in units of the game's reward. `alpha`: how much of the former iterations is kept.
    - `exploration`, `final_exploration`: the share of uniformly random actions, linear over the first `exploring` of
      all updates, then constant.
    - `learning_rate`: Adam's, annealed linearly to zero. `clip`: bound on the global norm of the gradient.

    Values are learned in units of the root mean square return under the uniform policy, which `init` measures.
    `Metrics.mean_return` is that of the agents as they act, exploration included: sum_t gamma^t times the mean reward
    of all agents when populations were last at t (in `init`, under the uniform policy, where never since).

    Raises `ValueError` for a recurrent policy, an ordered head, or a replay too small for what is put in at once.
    """

    policy: NetworkPolicy
    num_populations: int = eqx.field(static=True, default=8)
    num_agents: int = eqx.field(static=True, default=128)
    num_gradients: int = eqx.field(static=True, default=200)
    steps_per_gradient: int = eqx.field(static=True, default=8)
    batch_size: int = eqx.field(static=True, default=2048)
    together: int = eqx.field(static=True, default=1)
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
        for name in ("num_populations", "num_agents", "num_gradients", "steps_per_gradient"):
            check_integer(name, getattr(self, name), at_least=1)
        for name in ("batch_size", "together", "replay_size", "replay_start"):
            check_integer(name, getattr(self, name), at_least=1)
        if self.batch_size % self.together:
            raise ValueError(f"together must divide batch_size = {self.batch_size}, but is {self.together}")
        least = max(self._start_steps, self.steps_per_gradient) * self.num_populations * self.num_agents
        if self.replay_size < least:
            raise ValueError(f"replay_size must be at least {least}, what is put in at once, but is {self.replay_size}")
        check_positive("tau", self.tau)
        check_between("alpha", self.alpha, 0, 1)
        check_between("exploration", self.exploration, 0, 1)
        check_between("final_exploration", self.final_exploration, 0, self.exploration)
        check_between("exploring", self.exploring, 0, 1, open_low=True)
        check_positive("learning_rate", self.learning_rate)
        check_positive("clip", self.clip)

    @property
    def _start_steps(self) -> int:
        """Steps of all populations before the first gradient step."""
        return -(-self.replay_start // (self.num_populations * self.num_agents))

    @eqx.filter_jit
    def init(self, game: Game, key: PRNGKeyArray) -> MunchausenState:
        """Random parameters, populations at t = 0, and what the uniform policy earns."""
        policy_key, values_key, start_key, uniform_key, key = jax.random.split(key, 5)
        networks = self.policy.initialised(policy_key), critic(self.policy).initialised(values_key)
        parameters = _Both(*(network.parameters for network in networks))
        played = PopulationGame(game, self.num_agents)
        steps = play_uniformly(played, self.num_populations, uniform_key)
        return MunchausenState(
            parameters,
            self._optimiser(1).init(parameters),
            start(played, self.num_populations, start_key),
            latest_rewards(jnp.zeros(game.horizon), steps),
            scale_of_returns(steps.rewards, game.discount),
            key,
            jnp.zeros((), int),
        )

    def policy_at(self, game: Game, state: MunchausenState) -> NetworkPolicy:
        """The policy softmax(Q / tau) of the Q reached."""
        return self.policy.with_parameters(state.parameters.policy)

    def _networks(self, parameters: _Both) -> tuple[NetworkPolicy, Critic]:
        return self.policy.with_parameters(parameters.policy), critic(self.policy).with_parameters(parameters.values)

    def _optimiser(self, max_steps: int) -> optax.GradientTransformation:
        annealed = optax.linear_schedule(self.learning_rate, 0.0, max_steps * self.num_gradients)
        return optax.chain(
            optax.clip_by_global_norm(self.clip), optax.scale_by_adam(), optax.scale_by_learning_rate(annealed)
        )

    def _exploration(self, step: Int[Array, ""], max_steps: int) -> Float[Array, ""]:
        progress = jnp.minimum(step / (self.exploring * max_steps), 1.0)
        return self.exploration + progress * (self.final_exploration - self.exploration)

    def step(self, game: Game, state: MunchausenState, max_steps: int) -> tuple[MunchausenState, Metrics]:
        """One iteration."""
        key, start_key, turns_key = jax.random.split(state.key, 3)
        optimiser, target = self._optimiser(max_steps), state.parameters
        policy, exploration = self.policy_at(game, state), self._exploration(state.step, max_steps)
        temperature, prepared = self.tau / state.scale, policy.prepare()

        def act(memory: None, seen: Observation, key: PRNGKeyArray) -> tuple[None, Array, None]:
            return None, explore(_rows(policy, prepared, seen), exploration, key), None

        def turn(carry: tuple[_Both, optax.OptState, PopulationState, Array, Replay], key: PRNGKeyArray) -> Any:
            parameters, optimiser_state, populations, rewards, replay = carry
            play_key, draw_key = jax.random.split(key)
            populations, _, steps, _ = play(played, populations, None, act, play_key, self.steps_per_gradient)
            replay = put(replay, _scaled(steps, state.scale))
            batch = draw(replay, draw_key, self.batch_size // self.together, self.together)
            wanted = self._target(target, batch, temperature, game.discount)
            gradient = jax.grad(self._loss)(parameters, batch, wanted, temperature)
            change, optimiser_state = optimiser.update(gradient, optimiser_state, parameters)
            parameters = optax.apply_updates(parameters, change)
            carry = parameters, optimiser_state, populations, latest_rewards(rewards, steps), replay
            return carry, optax.tree.norm(gradient)

        played = PopulationGame(game, self.num_agents)
        populations, _, steps, _ = play(played, state.populations, None, act, start_key, self._start_steps)
        replay = put(
            empty(steps, self.replay_size // (self.num_populations * self.num_agents)), _scaled(steps, state.scale)
        )
        carry = target, state.optimiser, populations, latest_rewards(state.rewards, steps), replay
        carry, norms = jax.lax.scan(turn, carry, jax.random.split(turns_key, self.num_gradients))
        parameters, optimiser_state, populations, rewards, _ = carry
        following = MunchausenState(parameters, optimiser_state, populations, rewards, state.scale, key, state.step + 1)
        return following, Metrics(mean_return(game, rewards), jnp.mean(norms))

    def _target(
        self, target: _Both, batch: Step, temperature: Float[Array, ""], discount: float
    ) -> Float[Array, "batch agents"]:
        """What Q is regressed on, see the module; V^ is the sum over a' there."""
        policy, values = self._networks(target)
        logits = _rows(policy, policy.prepare(), batch.seen)
        following = _rows(values, values.prepare(), batch.following)
        munchausen = self.alpha * temperature * log_probability(logits, batch.actions)
        return batch.rewards + munchausen + discount * (1 - batch.done[..., None]) * following

    def _loss(
        self, parameters: _Both, batch: Step, wanted: Float[Array, "batch agents"], temperature: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The mean squared error of Q."""
        policy, values = self._networks(parameters)
        logits = _rows(policy, policy.prepare(), batch.seen)
        value = _rows(values, values.prepare(), batch.seen)
        return jnp.mean((value + temperature * log_probability(logits, batch.actions) - wanted) ** 2)


def explore(
    logits: Float[Array, "*batch agents actions"], exploration: Float[Array, ""], key: PRNGKeyArray
) -> Int[Array, "*batch agents"]:
    """Actions of softmax(logits), but uniform ones with probability `exploration`."""
    which_key, uniform_key, policy_key = jax.random.split(key, 3)
    shape = logits.shape[:-1]
    uniform = jax.random.randint(uniform_key, shape, 0, logits.shape[-1])
    explores = jax.random.uniform(which_key, shape) < exploration
    return jnp.where(explores, uniform, sample(logits, policy_key))


def empty(steps: Step, size: int) -> Replay:
    """A replay of `size` steps of the kind of these."""
    return Replay(jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), steps), jnp.zeros((), int))


def put(replay: Replay, steps: Step) -> Replay:
    """Steps in succession (leading axis), no more than the replay holds, over the oldest."""
    size, more = replay.ring.done.shape[0], steps.done.shape[0]
    places = (replay.total + jnp.arange(more)) % size
    return Replay(jax.tree.map(lambda all_, x: all_.at[places].set(x), replay.ring, steps), replay.total + more)


def draw(replay: Replay, key: PRNGKeyArray, number: int, together: int) -> Step:
    """Transitions drawn uniformly, with replacement: of `together` agents at each of `number` observations."""
    size, populations, agents = replay.ring.rewards.shape
    moment_key, agent_key = jax.random.split(key)
    which = jax.random.randint(moment_key, (number,), 0, jnp.minimum(replay.total, size) * populations)
    agent = jax.random.randint(agent_key, (number, together), 0, agents)

    def of_all(x: Array) -> Array:
        return x.reshape(size * populations, *x.shape[2:])[which]

    def of_agents(x: Array) -> Array:
        return jnp.take_along_axis(of_all(x), agent, axis=1)

    def seen(all_: Observation) -> Observation:
        return Observation(of_agents(all_.states), of_all(all_.observation), of_all(all_.time))

    ring = replay.ring
    return Step(
        seen(ring.seen), of_agents(ring.actions), of_agents(ring.rewards), seen(ring.following), of_all(ring.done)
    )


def _rows(network: NetworkPolicy | Critic, prepared: Any, seen: Observation) -> Float[Array, "..."]:
    """What a memoryless network, prepared, says of all that was seen, along one axis of populations or times."""
    hidden = jax.vmap(lambda *now: network.update(network.start(), *now))(seen.observation, seen.time)
    return rows(network, prepared, hidden, seen.states)


def _scaled(steps: Step, scale: Float[Array, ""]) -> Step:
    return steps._replace(rewards=steps.rewards / scale)
