"""What structural policy gradients share: hyper-parameters, noise paths, and the backward pass.

Along N noise paths of K steps let pi = softmax(logits), where the logits (N, K, S, A) follow from the policy's
parameters and the public observations. The backward pass gives the gradient of the mean return in these parameters:

1. The policy's hidden states are computed from the observations of each path, one at every time.
2. The hidden states of a chunk of times are decoded into logits, the last chunk first.
3. `gradient_along` gives the exact gradient of each path's return in these logits, by Horner's rule. Mean field, prices
   and observations are data: no gradient passes through them.
4. Reverse-mode differentiation of `decode` takes that gradient on to the parameters and the hidden states, and, after
   the first chunk, reverse-mode differentiation of step 1 takes it from the hidden states to the parameters.

So memory holds the logits of one chunk only, however long the horizon.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_name, check_positive
from structmfg._flags import on_processor
from structmfg.evaluation import Backward, Form, Trajectory, gradient_along
from structmfg.games import AggregateState, Game, NoisePaths, Sampling, noise_paths
from structmfg.parallel import STATES, axis_size, over_states
from structmfg.policies import Hidden, ParametricPolicy
from structmfg.solvers._base import TrainingSolver
from structmfg.solvers._learning import Optimiser, Rate, Schedule, check_optimiser, check_settings, clipped, progress

# The most numbers in an array over paths, times, states and actions: larger ones would leave the processor's caches.
_MAX_CHUNK_NUMBERS = 2**21
# The most state-action pairs of a game whose paths run side by side: beyond, batched gathers and scatters cost more.
MAX_PAIRS_SIDE_BY_SIDE = 8192
# The same array on an accelerator, and of all paths side by side: there the start of an operation costs more than its
# numbers, up to so many, so that few large operations are the better.
_MAX_NUMBERS_ON_ACCELERATOR = 2**26


class TrajectorySegment(NamedTuple):
    """The same number K of steps along each of N noise paths; all arrays have the leading axis N.

    Attributes:
        trajectories: The steps.
        hidden: The policy's hidden states before the first observations. They are data to the gradient.
        end: What Horner's rule carries back from the last aggregate states.
        critic_values: Values at the times after each step (N, K, S), or None where there is no critic.
    """

    trajectories: Trajectory
    hidden: Hidden
    end: Backward
    critic_values: Float[Array, "paths steps states"] | None


class PolicyGradient(NamedTuple):
    """The result of a backward pass over a segment.

    Attributes:
        start: What Horner's rule carries back to the first aggregate states.
        values: The values, entropy bonus included, at every step (N, K, S).
        loss_gradient: Minus the gradient in the policy's parameters of the mean return, entropy bonus included.
    """

    start: Backward
    values: Float[Array, "paths steps states"]
    loss_gradient: PyTree[Array]


class StructuralSolver(TrainingSolver):
    """Ascent of returns that are exact over individual states and actions, given a few noise paths.

    Args:
        policy: A network bound to the game, or a table.
        num_paths: Number of noise paths of an update.
        sampling: How the noise paths are drawn. See `games.noise_paths`; None for all paths where there are no more
            than `num_paths`, else stratified ones where the noise is finite and antithetic ones where it is continuous.
        learning_rate: Learning rate of Adam at the start. Kingma & Ba 2015, arXiv 1412.6980.
        final_rate: Share of the learning rate that is left at the end.
        schedule: How the learning rate decays.
        adam_b2: Decay of Adam's mean of squared gradients. As the entropy bonus falls, gradients become smaller; where
            this mean still remembers the large ones, the steps become smaller, too.
        clip: Bound on the global norm of the gradient.
        temperature: Weight of the entropy bonus at the start, in units of the reward. Zero for no bonus.
        final_temperature: Weight of the entropy bonus at the end. It falls geometrically.
        annealing: Share of all updates over which the entropy bonus falls.
        gradient_discount: Discount of the gradient in place of the game's. It replaces gamma in the weight gamma^t of a
            step (see `policy_gradient`); None for the exact gradient of the return.
        policy_exponent: Power of the policy in the gradient in the logits. In place of pi (q - v) it is pi^p (q - v),
            less its sum over the actions times pi (see `evaluation.gradient_along`), so that an action of small
            probability is learned faster; None for the exact gradient.
        form: Form of the operators.
        optimiser: Optax optimiser of the clipped gradients in place of Adam. A function that makes it, given the
            learning rate as a schedule: `optax.lion`, or one of your own.
        deterministic: Whether the gradients of fixed blocks of paths are added up in one order, so that the number of
            devices (`solve(mesh=...)`) does not change a bit of the parameters. It costs time; see `docs/devices.md`.
        until_excess: Excess at which the solve stops, in units of the return; None to make all updates. It is measured
            at the evaluations of `solve` (`evaluation.measured_excess`): exactly where the common noise is finite,
            otherwise by the upper end of bounds over sampled paths.

    Raises:
        ValueError: A setting is out of range, or the policy is of another kind than the solver trains.
    """

    policy: ParametricPolicy
    num_paths: int = eqx.field(static=True, default=8)
    sampling: Sampling | None = eqx.field(static=True, default=None)
    learning_rate: float = 3e-3
    final_rate: float = 0.0
    schedule: Schedule = eqx.field(static=True, default="cosine")
    adam_b2: float = 0.999
    clip: float = 1.0
    temperature: float = 0.0
    final_temperature: float = 0.0
    annealing: float = 0.8
    gradient_discount: float | None = None
    policy_exponent: float | None = eqx.field(static=True, default=None)
    form: Form = eqx.field(static=True, default="matrix_free")
    optimiser: Optimiser | None = eqx.field(static=True, default=None)
    deterministic: bool = eqx.field(static=True, default=False)
    until_excess: float | None = None

    def __check_init__(self) -> None:
        check_settings(self, counts="num_paths", positive="learning_rate clip", nonnegative="temperature")
        check_settings(self, shares="final_rate", positive_shares="annealing")
        check_between("adam_b2", self.adam_b2, 0, 0.99999)
        if self.sampling is not None:
            check_name("sampling", self.sampling, get_args(Sampling))
        if self.sampling == "antithetic" and self.num_paths % 2:
            raise ValueError(f"antithetic paths come in pairs, so num_paths must be even, but is {self.num_paths}")
        check_name("schedule", self.schedule, get_args(Schedule))
        check_name("form", self.form, get_args(Form))
        if self.optimiser is not None:
            check_optimiser(self.optimiser)
        check_between("final_temperature", self.final_temperature, 0, self.temperature)
        if self.temperature > 0:
            check_positive("final_temperature", self.final_temperature)
        if self.gradient_discount is not None:
            check_between("gradient_discount", self.gradient_discount, 0, 1, open_low=True)
        if self.policy_exponent is not None:
            check_between("policy_exponent", self.policy_exponent, 0, 1)
        if self.until_excess is not None:
            check_positive("until_excess", self.until_excess)

    def draw_noise_paths(self, game: Game, key: PRNGKeyArray) -> NoisePaths:
        """The noise paths of an update, with their probabilities."""
        return noise_paths(game, key=key, num_paths=self.num_paths, sampling=self._sampling(game))

    def _sampling(self, game: Game) -> Sampling:
        if self.sampling is not None:
            return self.sampling
        if (scenarios := game.scenarios()) is not None:
            return "enumerate" if scenarios.num_paths <= self.num_paths else "stratified"
        return "antithetic" if self.num_paths % 2 == 0 else "iid"

    def _optimiser(self, max_steps: int, learning_rate: Rate) -> optax.GradientTransformation:
        return clipped(
            learning_rate,
            max_steps,
            clip=self.clip,
            schedule=self.schedule,
            final_rate=self.final_rate,
            optimiser=self.optimiser,
            b2=self.adam_b2,
        )

    def _temperature(self, step: Int[Array, ""], max_steps: int) -> Float[Array, ""]:
        if self.temperature == 0:
            return jnp.zeros(())
        ratio = self.final_temperature / self.temperature
        return self.temperature * ratio ** progress(step, self.annealing * max_steps)

    def _backward_pass(
        self,
        game: Game,
        parameters: PyTree[Array],
        segment: TrajectorySegment,
        probabilities: Float[Array, " paths"],
        temperature: Float[Array, ""],
        gae_lambda: float | Float[Array, ""] = 1.0,
    ) -> PolicyGradient:
        """The gradient of the mean return over the paths, as the module describes it."""
        trajectories, first_hidden, end, critic_values = segment
        first_time, num_steps = trajectories.aggregates.time[:, 0], trajectories.observations.shape[1]
        chunk = self._chunk_steps(game, num_steps)

        def hidden_states(parameters: PyTree[Array]) -> tuple[tuple[Any, Hidden], Hidden]:
            policy = self.policy.with_parameters(parameters)
            hidden = jax.vmap(policy.histories)(trajectories.observations, first_hidden, first_time)
            smooth, discrete = eqx.partition(hidden, eqx.is_inexact_array)
            return (policy.prepare(), smooth), discrete

        def decode(
            parameters: PyTree[Array], prepared: Any, smooth: Hidden, discrete: Hidden
        ) -> Float[Array, "paths chunk states actions"]:
            policy = self.policy.with_parameters(parameters)
            hidden = eqx.combine(smooth, discrete)
            return jax.vmap(jax.vmap(lambda h: over_states(policy.decode(prepared, h))))(hidden)

        def gradient_in_logits(
            path: tuple[AggregateState, Array, Backward, Array | None],
        ) -> tuple[Backward, Array, Array]:
            aggregates, logits, end, critic_values = path
            return gradient_along(
                game, aggregates, logits, temperature, end, critic=critic_values, gae_lambda=gae_lambda,
                discount=self.gradient_discount, exponent=self.policy_exponent, form=self.form,
            )  # fmt: skip

        (prepared, smooth), pull_back_hidden, discrete = jax.vjp(hidden_states, parameters, has_aux=True)

        def chunk_backward(
            carry: tuple[Backward, Any], first: Int[Array, ""]
        ) -> tuple[tuple[Backward, Any], tuple[Hidden, Any]]:
            end, total = carry
            decode_chunk = functools.partial(decode, discrete=slice_times(discrete, first, chunk))
            logits, pull_back = jax.vjp(decode_chunk, parameters, prepared, slice_times(smooth, first, chunk))
            aggregates = slice_times(trajectories.aggregates, first, chunk + 1)
            paths = aggregates, logits, end, slice_times(critic_values, first, chunk)
            start, gradients, values = over_paths(game, gradient_in_logits, paths)
            *shared, in_hidden = pull_back(-probabilities[:, None, None, None] * gradients)
            return (start, jax.tree.map(jnp.add, total, tuple(shared))), (in_hidden, values)

        total = jax.tree.map(jnp.zeros_like, (parameters, prepared))
        if chunk == num_steps:  # a scan of one turn would cost a tenth more
            (start, total), (in_hidden, values) = chunk_backward((end, total), jnp.asarray(0))
        else:
            firsts = jnp.arange(0, num_steps, chunk)
            (start, total), chunks = jax.lax.scan(chunk_backward, (end, total), firsts, reverse=True)
            in_hidden, values = jax.tree.map(
                lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]), chunks
            )
        in_parameters, in_prepared = total
        (through_hidden,) = pull_back_hidden((in_prepared, in_hidden))
        return PolicyGradient(start, values, jax.tree.map(jnp.add, through_hidden, in_parameters))

    def _chunk_steps(self, game: Game, num_steps: int) -> int:
        """The most steps, a divisor of `num_steps`, whose logits (and a joint network's units) fit into one array."""
        numbers = self.num_paths * _states_of_a_device(game) * (game.num_actions + self.policy.units)
        most = _MAX_CHUNK_NUMBERS if on_processor() else _MAX_NUMBERS_ON_ACCELERATOR
        allowed = max(1, most // numbers)
        return max(chunk for chunk in range(1, num_steps + 1) if num_steps % chunk == 0 and chunk <= allowed)


def over_paths(game: Game, function: Callable[[Any], Any], paths: Any) -> Any:
    """Map a function of one path over all: side by side for a small game, one after the other for a large one.

    On an accelerator paths run side by side as long as their numbers fit (`_MAX_NUMBERS_ON_ACCELERATOR`).
    """
    pairs, num_paths = _states_of_a_device(game) * game.num_actions, len(jax.tree.leaves(paths)[0])
    few = pairs <= MAX_PAIRS_SIDE_BY_SIDE
    if few or (not on_processor() and num_paths * pairs <= _MAX_NUMBERS_ON_ACCELERATOR):
        return jax.vmap(function)(paths)
    return jax.lax.map(function, paths)


def _states_of_a_device(game: Game) -> int:
    return -(-game.num_states // axis_size(STATES))


def slice_times(tree: Any, first: Int[Array, ""], size: int, axis: int = 1) -> Any:
    """The `size` times from `first` on of arrays with this axis of times."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size, axis), tree)
