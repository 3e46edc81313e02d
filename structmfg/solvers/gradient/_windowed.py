"""Recurrent structural policy gradient on short windows of a long horizon, with generalised advantage estimation.

A critic V(s | o_{0:t}) stands at the end of a window of K steps for all that comes after it, so that an update costs K
steps of a path instead of T. Inside the window, values are the lambda-returns

    G_t(s) = sum_a pi_t(a | s) q_t(s, a),    q_t = r_t + gamma P_t [(1 - lambda) V_{t+1} + lambda G_{t+1}],

over all individual states and actions at once, through the game's own operators: what Schulman et al. (2016, arXiv
1506.02438) estimate along sampled paths is here exact given the common noise, and the critic's error the only bias.
Wibault et al. (2026, arXiv 2602.20141) name this as future work. Values hold the entropy bonus of `RSPG`.

At every (t, s) the critic is scaled by a running mean and deviation of the lambda-returns:

    V_t(s) = mean_t(s) + deviation_t(s) * network(s | o_{0:t}),    V_T = 0.

An update (`WindowedRSPG.step`) has five steps:

1. Every path is rolled forward by one window, from the time t at which it stands, under the present policy.
2. The critic gives V at the K + 1 times of the window.
3. The backward pass (`_structural`) gives the lambda-returns and the gradient in the policy's parameters. The critic's
   network descends the squared error of V against these lambda-returns, in units of the deviation.
4. Adam moves both networks, and the running means and variances move towards the lambda-returns seen.
5. Paths that have reached T are replaced by new ones at t = 0.

At first the paths of a batch (antithetic ones in pairs) stand at different windows of the horizon, so that an update
sees several parts of it. The mean field at a window's start was moved there by slightly older policies.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import check_integer
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
from structmfg.solvers._former_names import renamed_fields
from structmfg.solvers._learning import ActorCritic, bind, check_settings, descend, initial_parameters
from structmfg.solvers.gradient._structural import StructuralSolver, TrajectorySegment, over_paths, slice_times

_MAX_DEFAULT_WINDOW = 32  # steps, of a window that the solver chooses
# The least deviation of returns, as a share of their own mean and of the largest mean of all.
_LEAST_DEVIATION_OF_MEAN, _LEAST_DEVIATION_OF_LARGEST = 1e-3, 1e-6


class ReturnScale(NamedTuple):
    """Running mean and variance of the lambda-returns at every time and state; zero at T, where nothing is left."""

    mean: Float[Array, "times_and_end states"]
    variance: Float[Array, "times_and_end states"]

    def deviation(self) -> Float[Array, "times_and_end states"]:
        """Standard deviations, kept off zero."""
        size = jnp.abs(self.mean)
        least = (_LEAST_DEVIATION_OF_MEAN * size) ** 2, (_LEAST_DEVIATION_OF_LARGEST * jnp.max(size)) ** 2
        return jnp.sqrt(self.variance + least[0] + least[1])


class PathState(NamedTuple):
    """Where N noise paths stand; all arrays have the leading axis N.

    Attributes:
        position: The aggregate state, and the policy's hidden state before the next observation.
        critic_hidden: The critic's hidden state before the next observation.
        noise: The whole paths z_0..z_T.
        return_so_far: The discounted mean reward from t = 0 to where the path stands.
        last_return: The discounted mean reward of the whole path that reached T last.
    """

    position: Position
    critic_hidden: Hidden
    noise: Noise
    return_so_far: Float[Array, " paths"]
    last_return: Float[Array, " paths"]


class WindowedState(NamedTuple):
    """Parameters and optimiser states of both networks, the scale of returns, the paths, the key, and the updates."""

    parameters: ActorCritic
    optimiser: ActorCritic
    scale: ReturnScale
    paths: PathState
    key: PRNGKeyArray
    step: Int[Array, ""]


@renamed_fields(trace="gae_lambda")
class WindowedRSPG(StructuralSolver):
    """RSPG on windows with a critic; `StructuralSolver` has the other fields.

    The `mean_return` of an update is that of the paths that reached T last, under the policies that they followed.

    Args:
        policy: A recurrent network bound to the game. The critic is a network of the same shape.
        num_paths: Number of noise paths of an update. They are spread over the windows of the horizon; an antithetic
            pair stays together.
        window: Steps of every path in an update. A divisor K of the horizon; None for the largest of at most 32.
        gae_lambda: Weight of longer returns in values. At 1 the critic enters at the window's end only. Below 1 its
            error enters at every step, and it must learn slowly: macro at 0.95 diverged with `critic_rate` 3e-3.
        critic_rate: Learning rate of the critic at the start. It decays as `learning_rate` does.
        scale_rate: Share of a new return in the running mean and variance. They are those of lambda-returns at a time
            and state.

    Raises:
        ValueError: A setting is out of range, the window does not divide the horizon, or the policy is memoryless.
    """

    recurrent = True
    rates = ("learning_rate", "critic_rate")

    policy: NetworkPolicy
    window: int | None = eqx.field(static=True, default=None)
    gae_lambda: float = 1.0
    critic_rate: float = 3e-4
    scale_rate: float = 0.2

    def __check_init__(self) -> None:
        check_settings(self, positive="critic_rate", shares="gae_lambda", positive_shares="scale_rate")
        if self.window is not None:
            check_integer("window", self.window, at_least=1)
            divisors = _divisors(self.policy.game.horizon)
            if self.window not in divisors:
                allowed = ", ".join(map(str, divisors))
                raise ValueError(f"window must divide the horizon, so be one of {allowed}, but is {self.window}")

    def _window_steps(self, game: Game) -> int:
        if self.window is not None:
            return self.window
        return max(divisor for divisor in _divisors(game.horizon) if divisor <= _MAX_DEFAULT_WINDOW)

    def _optimisers(self, max_steps: int) -> ActorCritic:
        return ActorCritic(*(self._optimiser(max_steps, rate) for rate in (self.learning_rate, self.critic_rate)))

    @override
    def policy_at(self, game: Game, state: WindowedState) -> NetworkPolicy:
        return self.policy.with_parameters(state.parameters.policy)

    @override
    def init(self, game: Game, key: PRNGKeyArray) -> WindowedState:
        """Random parameters; paths under their policy up to where each shall stand; the means of its exact values."""
        policy_key, critic_key, noise_key, key = jax.random.split(key, 4)
        parameters = initial_parameters(self.policy, policy_key, critic_key)
        policy, critic = bind(self.policy, parameters)
        paths, steps = self.draw_noise_paths(game, noise_key), self._window_steps(game)
        in_pairs = self._sampling(game) == "antithetic"
        first_times = steps * _first_windows(paths.num_paths, game.horizon // steps, in_pairs)
        temperature = self._temperature(jnp.zeros((), int), 1)

        def begin(path: tuple[Noise, Array]) -> tuple[PathState, Array]:
            noise, time = path
            aggregates, observations, probabilities = rollout(game, policy, noise, form=self.form)
            end = Backward(jnp.zeros(game.num_states), jnp.zeros(()))
            start, _, values = gradient_along(
                game, aggregates, jnp.log(probabilities), temperature, end, form=self.form
            )
            now = jax.tree.map(lambda x: x[time], aggregates)
            to_come = now.mean_field @ policy_values(game, aggregates, probabilities, form=self.form)[time]
            so_far = start.mean_return - game.discount**time * to_come
            hidden, critic_hidden = (_hidden_before(network, observations, time) for network in (policy, critic))
            return PathState(
                Position(now.before_acting(), hidden), critic_hidden, noise, so_far, start.mean_return
            ), values

        path_state, values = jax.lax.map(begin, (paths.noise, first_times))
        values = jnp.pad(values, ((0, 0), (0, 1), (0, 0)))
        mean = jnp.tensordot(paths.probabilities, values, 1)
        scale = ReturnScale(mean, jnp.tensordot(paths.probabilities, (values - mean) ** 2, 1))
        optimiser = ActorCritic(*(one.init(p) for one, p in zip(self._optimisers(1), parameters, strict=True)))
        return WindowedState(parameters, optimiser, scale, path_state, key, jnp.zeros((), int))

    @override
    def step(self, game: Game, state: WindowedState, max_steps: int) -> tuple[WindowedState, Metrics]:
        key, noise_key = jax.random.split(state.key)
        new = self.draw_noise_paths(game, noise_key)
        temperature = self._temperature(state.step, max_steps)
        gradient, scale, moved = self._window_update(game, state, new.probabilities, temperature)
        parts = zip(self._optimisers(max_steps), gradient, state.optimiser, state.parameters, strict=True)
        parameters, optimiser = map(ActorCritic._make, zip(*(descend(*part) for part in parts), strict=True))
        paths = self._reset_finished(game, moved, new)
        metrics = Metrics(new.probabilities @ paths.last_return, optax.tree.norm(gradient))
        return WindowedState(parameters, optimiser, scale, paths, key, state.step + 1), metrics

    def _window_update(
        self, game: Game, state: WindowedState, probabilities: Float[Array, " paths"], temperature: Float[Array, ""]
    ) -> tuple[ActorCritic, ReturnScale, PathState]:
        """The gradients of both networks' losses on one window, the scale after it, and the paths, all at its end."""
        policy, critic = bind(self.policy, state.parameters)
        position, critic_hidden, noise, return_so_far, last_return = state.paths
        steps, time = self._window_steps(game), position.aggregate.time
        next_noise = jax.vmap(lambda z, t: slice_times(z, t + 1, steps, axis=0))(noise, time)
        trajectories, reached = over_paths(
            game, lambda path: rollout_from(game, policy, *path, form=self.form), (position, next_noise)
        )
        last = jax.vmap(game.observe)(reached.aggregate)
        observations = jnp.concatenate([trajectories.observations, last[:, None]], axis=1)

        def critic_outputs(parameters: PyTree[Array]) -> tuple[Array, Hidden]:
            network = critic.with_parameters(parameters)
            prepared, hidden = network.prepare(), jax.vmap(network.histories)(observations, critic_hidden, time)
            return jax.vmap(jax.vmap(lambda h: network.decode(prepared, h)))(hidden), hidden

        outputs, pull_back, all_critic_hidden = jax.vjp(critic_outputs, state.parameters.critic, has_aux=True)
        mean, deviation = (
            jax.vmap(lambda t, x=x: slice_times(x, t, steps + 1, axis=0))(time)
            for x in (state.scale.mean, state.scale.deviation())
        )
        at_horizon = (time[:, None] + jnp.arange(steps + 1) == game.horizon)[:, :, None]
        values = jnp.where(at_horizon, 0.0, mean + deviation * outputs)
        end = Backward(values[:, -1], jnp.zeros_like(return_so_far))
        segment = TrajectorySegment(trajectories, position.hidden, end, values[:, 1:])
        result = self._backward_pass(
            game, state.parameters.policy, segment, probabilities, temperature, self.gae_lambda
        )
        targets = (result.values - mean[:, :-1]) / deviation[:, :-1]
        weights = trajectories.aggregates.mean_field[:, :-1] + 1 / game.num_states
        in_outputs = probabilities[:, None, None] * weights * (outputs[:, :-1] - targets) / steps
        (in_critic,) = pull_back(jnp.pad(in_outputs, ((0, 0), (0, 1), (0, 0))))
        return_so_far = return_so_far + game.discount**time * result.start.mean_return
        critic_hidden = jax.tree.map(lambda x: x[:, -2], all_critic_hidden)
        return (
            ActorCritic(result.loss_gradient, in_critic),
            self._updated_scale(state.scale, time, result.values, probabilities),
            PathState(reached, critic_hidden, noise, return_so_far, last_return),
        )

    def _updated_scale(
        self,
        scale: ReturnScale,
        time: Int[Array, " paths"],
        returns: Float[Array, "paths steps states"],
        probabilities: Float[Array, " paths"],
    ) -> ReturnScale:
        """Means and variances moved by `scale_rate` towards the returns, at the times that the paths visit."""
        times = time[:, None] + jnp.arange(returns.shape[1])
        weights = jnp.broadcast_to(probabilities[:, None], times.shape)
        total = jnp.zeros(len(scale.mean)).at[times].add(weights)[:, None]

        def moved(old: Array, new: Array) -> Array:
            average = jnp.zeros_like(old).at[times].add(weights[:, :, None] * new)
            average = average / jnp.where(total > 0, total, 1.0)
            return jnp.where(total > 0, old + self.scale_rate * (average - old), old)

        return ReturnScale(moved(scale.mean, returns), moved(scale.variance, (returns - scale.mean[times]) ** 2))

    def _reset_finished(self, game: Game, paths: PathState, new: NoisePaths) -> PathState:
        """The paths, with new noise from t = 0 in place of those that have reached T."""
        first, critic_first = (
            jax.vmap(lambda z, network=network: initial_position(game, network, z))(new.noise)
            for network in (self.policy, critic(self.policy))
        )
        zero = jnp.zeros_like(paths.return_so_far)
        fresh = PathState(first, critic_first.hidden, new.noise, zero, paths.return_so_far)
        done = paths.position.aggregate.time == game.horizon
        return jax.tree.map(lambda new, old: jnp.where(done.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, paths)


def _divisors(horizon: int) -> list[int]:
    return [steps for steps in range(1, horizon + 1) if horizon % steps == 0]


def _first_windows(num_paths: int, num_windows: int, in_pairs: bool) -> Int[Array, " paths"]:
    """The window at which each path stands at first, evenly over the horizon; if in pairs, the batch's halves alike."""
    groups = num_paths // 2 if in_pairs else num_paths
    return jnp.arange(num_paths) % groups * num_windows // groups


def _hidden_before(
    network: NetworkPolicy | Critic, observations: Float[Array, "times observation"], time: Array
) -> Hidden:
    """The hidden state before the network is given o_t."""
    return jax.tree.map(
        lambda first, later: jnp.concatenate([first[None], later])[time],
        network.start(),
        network.histories(observations),
    )
