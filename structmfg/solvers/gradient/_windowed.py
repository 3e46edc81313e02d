"""Recurrent structural policy gradient on short windows of a long horizon, with generalised advantage estimation.

A critic V(s | o_{0:t}) stands at the end of a window of K steps for all that comes after it, so that an update costs K
steps of a path instead of T. Inside the window, values are the lambda-returns

    G_t(s) = sum_a pi_t(a | s) q_t(s, a),    q_t = r_t + gamma P_t [(1 - lambda) V_{t+1} + lambda G_{t+1}],

over all individual states and actions at once, through the game's own operators: what Schulman et al. (2016, arXiv
1506.02438) estimate along sampled paths is here exact given the common noise, and the critic's error the only bias.
Wibault et al. (2026, arXiv 2602.20141) name this as future work. Values hold the entropy bonus of `RSPG`.

The paths of a batch (antithetic ones in pairs) stand at different windows of the horizon where there are enough of
them, so that an update sees several parts of it. Every update moves them all on by one window, and those that reach T
begin anew. The population follows the policy of the moment: the mean field in a window has been moved there by slightly
older ones.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.evaluation import (
    Backward,
    Position,
    gradient_along,
    initial_position,
    policy_values,
    rollout,
    rollout_from,
)
from structmfg.games import Game, Noise, NoisePaths
from structmfg.policies import Critic, Hidden, NetworkPolicy, critic
from structmfg.solvers._base import Metrics
from structmfg.solvers.gradient._structural import Stretch, StructuralSolver

_WINDOW = 32  # the most steps of a window that is chosen by itself
_RELATIVE, _ABSOLUTE = 1e-3, 1e-6  # the least deviation of returns: times their own mean, and times the largest of all


class Scale(NamedTuple):
    """Running mean and variance of the lambda-returns at every time and state; zero at T, where nothing is left."""

    mean: Float[Array, "times_and_end states"]
    variance: Float[Array, "times_and_end states"]

    def deviation(self) -> Float[Array, "times_and_end states"]:
        """Standard deviations, kept off zero."""
        size = jnp.abs(self.mean)
        return jnp.sqrt(self.variance + (_RELATIVE * size) ** 2 + (_ABSOLUTE * jnp.max(size)) ** 2)


class Course(NamedTuple):
    """Where N noise paths stand, arrays with leading axis N.

    `memory`: the critic's hidden states before the next observation. `noise`: the whole paths z_0..z_T. `collected`:
    the discounted mean reward since t = 0; `completed`: that of the last path that reached T.
    """

    position: Position
    memory: Hidden
    noise: Noise
    collected: Float[Array, " paths"]
    completed: Float[Array, " paths"]


class Networks(NamedTuple):
    """The parameters of policy and critic, or their optimisers' states."""

    policy: Any
    critic: Any


class WindowedState(NamedTuple):
    """What an update changes."""

    parameters: Networks
    optimiser: Networks
    scale: Scale
    course: Course
    key: PRNGKeyArray
    step: Int[Array, ""]


class WindowedRSPG(StructuralSolver):
    """RSPG on windows with a critic. See `StructuralSolver` for the fields that are not here.

    - `num_paths`: they are spread over the windows of the horizon; an antithetic pair stays together.
    - `window`: steps K of every path in an update, a divisor of the horizon; None for the largest of at most 32.
    - `trace`: lambda. At 1 the critic enters at the window's end only.
      Below, its error enters at every step, and it must learn slowly: macro at 0.95 diverged with `critic_rate` 3e-3.
    - `critic_rate`: the critic's learning rate, decayed as `learning_rate` is.
    - `scale_rate`: the share of a new lambda-return in the running mean and variance at its time and state, on whose
      scale the critic's network works: V_t(s) = mean_t(s) + deviation_t(s) * network(s | o_{0:t}).

    The `mean_return` of an update is that of the paths that reached T last, under the policies that they followed.
    """

    recurrent = True
    rates = ("learning_rate", "critic_rate")

    window: int | None = eqx.field(static=True, default=None)
    trace: float = 1.0
    critic_rate: float = 3e-4
    scale_rate: float = 0.2

    def __check_init__(self) -> None:
        check_between("trace", self.trace, 0, 1)
        check_positive("critic_rate", self.critic_rate)
        check_between("scale_rate", self.scale_rate, 0, 1, open_low=True)
        if self.window is not None:
            check_integer("window", self.window, at_least=1)
            divisors = _divisors(self.policy.game.horizon)
            if self.window not in divisors:
                allowed = ", ".join(map(str, divisors))
                raise ValueError(f"window must divide the horizon, so be one of {allowed}, but is {self.window}")

    def _steps(self, game: Game) -> int:
        """K."""
        if self.window is not None:
            return self.window
        return max(divisor for divisor in _divisors(game.horizon) if divisor <= _WINDOW)

    def _optimisers(self, max_steps: int) -> Networks:
        return Networks(self._optimiser(max_steps), self._optimiser(max_steps, self.critic_rate))

    def _networks(self, parameters: Networks) -> tuple[NetworkPolicy, Critic]:
        policy: Any = self.policy
        return policy.with_parameters(parameters.policy), critic(policy).with_parameters(parameters.critic)

    def policy_at(self, game: Game, state: WindowedState) -> NetworkPolicy:
        """The policy with the parameters reached."""
        return self._networks(state.parameters)[0]

    def init(self, game: Game, key: PRNGKeyArray) -> WindowedState:
        """Random parameters; paths under their policy up to where each shall stand; the means of its exact values."""
        policy_key, critic_key, noise_key, key = jax.random.split(key, 4)
        of_policy: Any = self.policy
        parameters = Networks(
            of_policy.initialised(policy_key).parameters, critic(of_policy).initialised(critic_key).parameters
        )
        policy, judge = self._networks(parameters)
        paths, steps = self._noise_paths(game, noise_key), self._steps(game)
        stands = steps * _spread(paths.num_paths, game.horizon // steps, self._sampling(game) == "antithetic")
        temperature = self._temperature(jnp.zeros((), int), 1)

        def along(path: tuple[Noise, Array]) -> tuple[Course, Array]:
            noise, stand = path
            aggregates, observations, played = rollout(game, policy, noise, form=self.form)
            end = Backward(jnp.zeros(game.num_states), jnp.zeros(()))
            whole, _, values = gradient_along(game, aggregates, jnp.log(played), temperature, end, form=self.form)
            there = jax.tree.map(lambda x: x[stand], aggregates)
            left = there.mean_field @ policy_values(game, aggregates, played, form=self.form)[stand]
            collected = whole.mean_return - game.discount**stand * left
            hidden, memory = (_before(network, observations, stand) for network in (policy, judge))
            return Course(Position(there, hidden), memory, noise, collected, whole.mean_return), values

        course, values = jax.lax.map(along, (paths.noise, stands))
        values = jnp.pad(values, ((0, 0), (0, 1), (0, 0)))
        mean = jnp.tensordot(paths.probabilities, values, 1)
        scale = Scale(mean, jnp.tensordot(paths.probabilities, (values - mean) ** 2, 1))
        optimiser = Networks(*(one.init(p) for one, p in zip(self._optimisers(1), parameters, strict=True)))
        return WindowedState(parameters, optimiser, scale, course, key, jnp.zeros((), int))

    def step(self, game: Game, state: WindowedState, max_steps: int) -> tuple[WindowedState, Metrics]:
        """One update."""
        key, noise_key = jax.random.split(state.key)
        paths = self._noise_paths(game, noise_key)
        seen = self._look(game, state, paths.probabilities, self._temperature(state.step, max_steps))
        parts = zip(self._optimisers(max_steps), seen.descent, state.optimiser, state.parameters, strict=True)
        changes, optimiser = zip(*(one.update(d, o, p) for one, d, o, p in parts), strict=True)
        parameters = optax.apply_updates(state.parameters, Networks(*changes))
        course = self._begun_anew(game, seen.course, paths)
        metrics = Metrics(paths.probabilities @ course.completed, optax.tree.norm(seen.descent))
        return WindowedState(parameters, Networks(*optimiser), seen.scale, course, key, state.step + 1), metrics

    def _look(
        self, game: Game, state: WindowedState, probabilities: Float[Array, " paths"], temperature: Float[Array, ""]
    ) -> "_Seen":
        """One window of every path: what the networks should change by, and what comes of scale and course."""
        policy, judge = self._networks(state.parameters)
        position, memory, noise, collected, completed = state.course
        steps, time = self._steps(game), position.aggregate.time
        ahead = jax.vmap(lambda z, t: _slice(z, t + 1, steps))(noise, time)
        trajectories, ends = self._along(
            game, lambda path: rollout_from(game, policy, *path, form=self.form), (position, ahead)
        )
        last = jax.vmap(game.observe)(ends.aggregate)
        observations = jnp.concatenate([trajectories.observations, last[:, None]], axis=1)

        def assess(parameters: PyTree[Array]) -> tuple[Array, Hidden]:
            bound = judge.with_parameters(parameters)
            prepared, hidden = bound.prepare(), jax.vmap(bound.histories)(observations, memory, time)
            return jax.vmap(jax.vmap(lambda h: bound.decode(prepared, h)))(hidden), hidden

        relative, through_critic, memories = jax.vjp(assess, state.parameters.critic, has_aux=True)
        mean, deviation = (
            jax.vmap(lambda t, x=x: _slice(x, t, steps + 1))(time) for x in (state.scale.mean, state.scale.deviation())
        )
        is_end = (time[:, None] + jnp.arange(steps + 1) == game.horizon)[:, :, None]
        values = jnp.where(is_end, 0.0, mean + deviation * relative)
        stretch = Stretch(
            trajectories, position.hidden, Backward(values[:, -1], jnp.zeros_like(collected)), values[:, 1:]
        )
        found = self._descent(game, state.parameters.policy, stretch, probabilities, temperature, self.trace)
        targets = (found.values - mean[:, :-1]) / deviation[:, :-1]
        weights = trajectories.aggregates.mean_field[:, :-1] + 1 / game.num_states
        slope = probabilities[:, None, None] * weights * (relative[:, :-1] - targets) / steps
        (in_critic,) = through_critic(jnp.pad(slope, ((0, 0), (0, 1), (0, 0))))
        collected = collected + game.discount**time * found.starts.mean_return
        remembered = jax.tree.map(lambda x: x[:, -2], memories)
        return _Seen(
            Networks(found.parameters, in_critic),
            self._tracked(state.scale, time, found.values, probabilities),
            Course(ends, remembered, noise, collected, completed),
        )

    def _tracked(
        self,
        scale: Scale,
        time: Int[Array, " paths"],
        returns: Float[Array, "paths steps states"],
        probabilities: Float[Array, " paths"],
    ) -> Scale:
        """Moved towards what the paths show at the times that they visit."""
        times = time[:, None] + jnp.arange(returns.shape[1])
        weights = jnp.broadcast_to(probabilities[:, None], times.shape)
        total = jnp.zeros(len(scale.mean)).at[times].add(weights)[:, None]

        def towards(old: Array, new: Array) -> Array:
            shown = jnp.zeros_like(old).at[times].add(weights[:, :, None] * new)
            return jnp.where(total > 0, old + self.scale_rate * (shown / jnp.where(total > 0, total, 1.0) - old), old)

        return Scale(towards(scale.mean, returns), towards(scale.variance, (returns - scale.mean[times]) ** 2))

    def _begun_anew(self, game: Game, course: Course, paths: NoisePaths) -> Course:
        """With new noise paths, from t = 0, in the place of those that have reached T."""
        policy: Any = self.policy
        networks = policy, critic(policy)
        zero = jnp.zeros_like(course.collected)
        first, memory = (
            jax.vmap(lambda z, network=network: initial_position(game, network, z))(paths.noise) for network in networks
        )
        fresh = Course(first, memory.hidden, paths.noise, zero, course.collected)
        done = course.position.aggregate.time == game.horizon
        return jax.tree.map(
            lambda new, old: jnp.where(done.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, course
        )


class _Seen(NamedTuple):
    """What a window shows; the course where every path has moved on, also to T."""

    descent: Networks
    scale: Scale
    course: Course


def _divisors(horizon: int) -> list[int]:
    return [steps for steps in range(1, horizon + 1) if horizon % steps == 0]


def _spread(num_paths: int, windows: int, pairs: bool) -> Int[Array, " paths"]:
    """The window at which each path stands at first, evenly over the horizon; if in pairs, the batch's halves alike."""
    groups = num_paths // 2 if pairs else num_paths
    return jnp.arange(num_paths) % groups * windows // groups


def _before(network: NetworkPolicy | Critic, observations: Float[Array, "times observation"], time: Array) -> Hidden:
    """The hidden state before o_t is seen."""
    return jax.tree.map(
        lambda first, later: jnp.concatenate([first[None], later])[time],
        network.start(),
        network.histories(observations),
    )


def _slice(tree: Any, first: Int[Array, ""], size: int) -> Any:
    """Some entries, in succession, of the leading axes."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size), tree)
