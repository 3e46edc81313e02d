"""What policy gradients through the structure share: hyper-parameters, schedules, noise paths, and the way back.

The way back along some steps of a few noise paths is the exact gradient in the logits (`gradient_along`), taken on to
the policy's parameters by reverse-mode differentiation of its `decode` and of its hidden states.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_name, check_positive
from structmfg.evaluation import Backward, Form, Trajectory, gradient_along
from structmfg.games import AggregateState, Game, NoisePaths, Sampling, noise_paths
from structmfg.policies import Hidden, ParametricPolicy
from structmfg.solvers._base import TrainingSolver

_HELD = 2**21  # numbers held at once for each array over times and states: more would leave the caches
MAX_PAIRS_SIDE_BY_SIDE = (
    8192  # state-action pairs up to which paths run side by side; beyond, batched gathers and scatters cost more
)

Schedule = Literal["cosine", "linear"]


class Stretch(NamedTuple):
    """The same number K of steps along each of N noise paths, arrays with leading axis N, and what lies at their ends.

    `hidden`: the policy's hidden states before the first observations. `ends`: what Horner's rule carries back from the
    last aggregates. `critic`: values at the times after each step, (N, K, S); None for none.
    """

    trajectories: Trajectory
    hidden: Hidden
    ends: Backward
    critic: Float[Array, "paths steps states"] | None


class Descent(NamedTuple):
    """Of a stretch: `starts`, what Horner's rule carries to its first aggregates; the values (N, K, S) on the way.

    `parameters`: minus the gradient in the policy's parameters, entropy bonus included, of the mean over paths.
    """

    starts: Backward
    values: Float[Array, "paths steps states"]
    parameters: PyTree[Array]


class StructuralSolver(TrainingSolver):
    """Ascent of returns that are exact over individual states and actions, given a few noise paths.

    - `policy`: a network bound to the game, or a table.
    - `num_paths`, `sampling`: the noise paths of an update. With `sampling` None: all of them where there are no more
      than `num_paths`; else stratified where the noise is finite, antithetic where it is continuous.
    - `learning_rate`: Adam's, decayed to `final_rate` times it by a cosine, or linearly.
    - `clip`: bound on the global norm of the gradient.
    - `temperature`, `final_temperature`: weights of the entropy bonus at the start and at the end of its annealing,
      over the first `annealing` of all updates; zero for none. In units of the reward.
    - `gradient_discount`: replaces the game's discount in the weight gamma^t of a step in the gradient (see
      `policy_gradient`); None for the exact gradient of the return.
    - `form`: "matrix_free" or "explicit" operators.
    """

    policy: ParametricPolicy
    num_paths: int = eqx.field(static=True, default=8)
    sampling: Sampling | None = eqx.field(static=True, default=None)
    learning_rate: float = 3e-3
    final_rate: float = 0.0
    schedule: Schedule = eqx.field(static=True, default="cosine")
    clip: float = 1.0
    temperature: float = 0.0
    final_temperature: float = 0.0
    annealing: float = 0.8
    gradient_discount: float | None = None
    form: Form = eqx.field(static=True, default="matrix_free")

    def __check_init__(self) -> None:
        check_integer("num_paths", self.num_paths, at_least=1)
        if self.sampling is not None:
            check_name("sampling", self.sampling, get_args(Sampling))
        if self.sampling == "antithetic" and self.num_paths % 2:
            raise ValueError(f"antithetic paths come in pairs, so num_paths must be even, but is {self.num_paths}")
        check_name("schedule", self.schedule, get_args(Schedule))
        check_name("form", self.form, get_args(Form))
        check_positive("learning_rate", self.learning_rate)
        check_between("final_rate", self.final_rate, 0, 1)
        check_positive("clip", self.clip)
        check_between("temperature", self.temperature, 0, float("inf"))
        check_between("final_temperature", self.final_temperature, 0, self.temperature)
        if self.temperature > 0:
            check_positive("final_temperature", self.final_temperature)
        check_between("annealing", self.annealing, 0, 1, open_low=True)
        if self.gradient_discount is not None:
            check_between("gradient_discount", self.gradient_discount, 0, 1, open_low=True)

    def _optimiser(
        self, max_steps: int, learning_rate: float | Float[Array, ""] | None = None
    ) -> optax.GradientTransformation:
        rate = self.learning_rate if learning_rate is None else learning_rate
        schedules = {
            "cosine": optax.cosine_decay_schedule(rate, max_steps, self.final_rate),
            "linear": optax.linear_schedule(rate, rate * self.final_rate, max_steps),
        }
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(schedules[self.schedule]),
        )

    def _temperature(self, step: Int[Array, ""], max_steps: int) -> Float[Array, ""]:
        progress = jnp.minimum(step / (self.annealing * max_steps), 1.0)
        if self.temperature == 0:
            return jnp.zeros(())
        return self.temperature * (self.final_temperature / self.temperature) ** progress

    def _sampling(self, game: Game) -> Sampling:
        if self.sampling is not None:
            return self.sampling
        if (scenarios := game.scenarios()) is not None:
            return "enumerate" if scenarios.num_paths <= self.num_paths else "stratified"
        return "antithetic" if self.num_paths % 2 == 0 else "iid"

    def _noise_paths(self, game: Game, key: PRNGKeyArray) -> NoisePaths:
        return noise_paths(game, key=key, num_paths=self.num_paths, sampling=self._sampling(game))

    def _descent(
        self,
        game: Game,
        parameters: PyTree[Array],
        stretch: Stretch,
        probabilities: Float[Array, " paths"],
        temperature: Float[Array, ""],
        trace: float | Float[Array, ""] = 1.0,
    ) -> Descent:
        """By truncated back-propagation in time: the hidden states at the start of the stretch are data.

        Goes back over the time in parts, and holds logits and their gradients (N, C, S, A) of one part of C steps only.
        """
        trajectories, first_hidden, ends, critic = stretch
        first_time, length = trajectories.aggregates.time[:, 0], trajectories.observations.shape[1]
        part = self._part(game, length)

        def histories(parameters: PyTree[Array]) -> tuple[tuple[Any, Hidden], Hidden]:
            policy = self.policy.with_parameters(parameters)
            hidden = jax.vmap(policy.histories)(trajectories.observations, first_hidden, first_time)
            smooth, discrete = eqx.partition(hidden, eqx.is_inexact_array)
            return (policy.prepare(), smooth), discrete

        def decode(
            parameters: PyTree[Array], prepared: Any, smooth: Hidden, discrete: Hidden
        ) -> Float[Array, "paths part states actions"]:
            policy = self.policy.with_parameters(parameters)
            hidden = eqx.combine(smooth, discrete)
            return jax.vmap(jax.vmap(lambda h: policy.decode(prepared, h)))(hidden)

        (prepared, smooth), through_histories, discrete = jax.vjp(histories, parameters, has_aux=True)

        def back(carry: tuple[Backward, Any], first: Int[Array, ""]) -> tuple[tuple[Backward, Any], tuple[Hidden, Any]]:
            ends, total = carry
            of_part = functools.partial(decode, discrete=_times(discrete, first, part))
            logits, through_decode = jax.vjp(of_part, parameters, prepared, _times(smooth, first, part))
            aggregates = _times(trajectories.aggregates, first, part + 1)

            def along(
                path: tuple[AggregateState, Array, Backward, Array | None],
            ) -> tuple[Backward, Array, Array]:
                within, logits, end, critic = path
                options: dict[str, Any] = {"discount": self.gradient_discount, "form": self.form}
                return gradient_along(
                    game, within, logits, temperature, end, critic=critic, gae_lambda=trace, **options
                )

            judged = _times(critic, first, part)
            starts, gradients, values = self._along(game, along, (aggregates, logits, ends, judged))
            *shared, in_hidden = through_decode(-probabilities[:, None, None, None] * gradients)
            return (starts, jax.tree.map(jnp.add, total, tuple(shared))), (in_hidden, values)

        total = jax.tree.map(jnp.zeros_like, (parameters, prepared))
        if part == length:  # a scan of one turn would cost a tenth more
            (starts, total), (in_hidden, values) = back((ends, total), jnp.asarray(0))
        else:
            (starts, total), parts = jax.lax.scan(back, (ends, total), jnp.arange(0, length, part), reverse=True)
            in_hidden, values = jax.tree.map(
                lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]), parts
            )
        (descent,) = through_histories((total[1], in_hidden))
        return Descent(starts, values, jax.tree.map(jnp.add, descent, total[0]))

    def _part(self, game: Game, length: int) -> int:
        """The most time steps, a divisor of `length`, whose logits (and hidden units) are held at once."""
        allowed = max(1, _HELD // (self.num_paths * game.num_states * (game.num_actions + self.policy.units)))
        return max(part for part in range(1, length + 1) if length % part == 0 and part <= allowed)

    def _along(self, game: Game, function: Callable[[Any], Any], paths: Any) -> Any:
        """A function of one path over all of them: side by side for a small game, one after the other for a large."""
        if game.num_states * game.num_actions <= MAX_PAIRS_SIDE_BY_SIDE:
            return jax.vmap(function)(paths)
        return jax.lax.map(function, paths)


def _times(tree: Any, first: Int[Array, ""], size: int) -> Any:
    """Some times, in succession, of arrays with leading axes (paths, times)."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size, axis=1), tree)
