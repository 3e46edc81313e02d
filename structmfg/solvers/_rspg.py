"""Recurrent structural policy gradient (Wibault et al. 2026, arXiv 2602.20141).

Every update rolls the mean field forward along a few paths of the common noise, evaluates the policy backward by
Horner's rule through the same operators, and ascends the exact gradient of the return given those paths. No gradient
passes through the mean field, the prices or the observations: the policy is optimised as that of one small agent
against the population that follows it, and a fixed point is an equilibrium.

An entropy bonus, annealed geometrically, keeps the softmax from saturating early. What a run guarantees is stated by
its result: `completed` says that all planned updates were made, not that a tolerance was met; exploitability is
measured separately.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_between, check_integer, check_name, check_positive
from structmfg.games import AggregateState, Game, NoisePaths, Sampling, noise_paths
from structmfg.policies import Hidden, NetworkPolicy
from structmfg.solvers._evaluation import Backward, Form, Trajectory, gradient_along, rollout
from structmfg.solvers._training import Metrics, NetworkSolver

_HELD = 2**21  # numbers held at once for each array over times and states: more would leave the caches
_SMALL = 8192  # state-action pairs up to which paths run side by side; beyond, batched gathers and scatters cost more

Schedule = Literal["cosine", "linear"]


class TrainingState(NamedTuple):
    """What an update changes."""

    parameters: PyTree[Array]
    optimiser: optax.OptState
    key: PRNGKeyArray
    step: Int[Array, ""]


class StructuralPolicyGradient(NetworkSolver):
    """Ascent of the exact return given a few noise paths; `RSPG` and `SPG` are its two kinds.

    - `policy`: a network bound to the game.
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

    policy: NetworkPolicy
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

    def init(self, game: Game, key: PRNGKeyArray) -> TrainingState:
        """Random parameters."""
        parameter_key, key = jax.random.split(key)
        parameters = self.policy.initialised(parameter_key).parameters
        return TrainingState(parameters, self._optimiser(1).init(parameters), key, jnp.zeros((), int))

    def bound(self, state: TrainingState) -> NetworkPolicy:
        """The policy with the parameters reached."""
        return self.policy.with_parameters(state.parameters)

    def _optimiser(self, max_steps: int) -> optax.GradientTransformation:
        schedules = {
            "cosine": optax.cosine_decay_schedule(self.learning_rate, max_steps, self.final_rate),
            "linear": optax.linear_schedule(self.learning_rate, self.learning_rate * self.final_rate, max_steps),
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

    def _noise_paths(self, game: Game, key: PRNGKeyArray) -> NoisePaths:
        sampling, scenarios = self.sampling, game.scenarios()
        if sampling is None and scenarios is not None:
            sampling = "enumerate" if scenarios.num_paths <= self.num_paths else "stratified"
        elif sampling is None:
            sampling = "antithetic" if self.num_paths % 2 == 0 else "iid"
        return noise_paths(game, key=key, num_paths=self.num_paths, sampling=sampling)

    def update(self, game: Game, state: TrainingState, max_steps: int) -> tuple[TrainingState, Metrics]:
        """One update."""
        key, noise_key = jax.random.split(state.key)
        paths, policy = self._noise_paths(game, noise_key), self.bound(state)
        trajectories = self._along(game, lambda noise: rollout(game, policy, noise, form=self.form), paths.noise)
        temperature = self._temperature(state.step, max_steps)
        returns, descent = self._returns_and_descent(game, state.parameters, trajectories, paths, temperature)
        optimiser = self._optimiser(max_steps)
        change, optimiser_state = optimiser.update(descent, state.optimiser, state.parameters)
        parameters = optax.apply_updates(state.parameters, change)
        metrics = Metrics(paths.probabilities @ returns, optax.tree.norm(descent))
        return TrainingState(parameters, optimiser_state, key, state.step + 1), metrics

    def _returns_and_descent(
        self,
        game: Game,
        parameters: PyTree[Array],
        trajectories: Trajectory,
        paths: NoisePaths,
        temperature: Float[Array, ""],
    ) -> tuple[Float[Array, " paths"], PyTree[Array]]:
        """The return of every path, and minus the gradient of the mean return, bonus included, in the parameters.

        Goes back over the time in parts, and holds logits and their gradients (N, C, S, A) of one part of C steps only.
        """

        def histories(parameters: PyTree[Array]) -> tuple[Any, Hidden]:
            policy = self.policy.with_parameters(parameters)
            return policy.prepare(), jax.vmap(policy.histories)(trajectories.observations)

        def decode(
            parameters: PyTree[Array], prepared: Any, hidden: Hidden
        ) -> Float[Array, "paths part states actions"]:
            policy = self.policy.with_parameters(parameters)
            return jax.vmap(jax.vmap(lambda h: policy.decode(prepared, h)))(hidden)

        (prepared, hidden), through_histories = jax.vjp(histories, parameters)
        part = self._part(game)

        def back(carry: tuple[Backward, Any], first: Int[Array, ""]) -> tuple[tuple[Backward, Any], Hidden]:
            ends, total = carry
            logits, through_decode = jax.vjp(decode, parameters, prepared, _times(hidden, first, part))
            aggregates = _times(trajectories.aggregates, first, part + 1)

            def along(path: tuple[AggregateState, Array, Backward]) -> tuple[Backward, Array]:
                within, logits, end = path
                return gradient_along(
                    game, within, logits, temperature, end, discount=self.gradient_discount, form=self.form
                )

            starts, gradients = self._along(game, along, (aggregates, logits, ends))
            *shared, in_hidden = through_decode(-paths.probabilities[:, None, None, None] * gradients)
            return (starts, jax.tree.map(jnp.add, total, tuple(shared))), in_hidden

        mean_fields = trajectories.aggregates.mean_field
        ends = Backward(jnp.zeros_like(mean_fields[:, -1]), jnp.zeros(paths.num_paths))
        total = jax.tree.map(jnp.zeros_like, (parameters, prepared))
        if part == game.horizon:  # a scan of one turn would cost a tenth more
            (starts, total), in_hidden = back((ends, total), jnp.asarray(0))
        else:
            firsts = jnp.arange(0, game.horizon, part)
            (starts, total), parts = jax.lax.scan(back, (ends, total), firsts, reverse=True)
            in_hidden = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]), parts)
        (descent,) = through_histories((total[1], in_hidden))
        returns = jnp.sum(mean_fields[:, 0] * starts.soft_values, axis=-1) - temperature * starts.entropy
        return returns, jax.tree.map(jnp.add, descent, total[0])

    def _part(self, game: Game) -> int:
        """The most time steps, a divisor of T, whose logits (and units, in a joint network) are held at once."""
        settings = self.policy.settings
        units = settings.width * settings.depth if settings.architecture == "joint" else 0
        allowed = max(1, _HELD // (self.num_paths * game.num_states * (game.num_actions + units)))
        return max(part for part in range(1, game.horizon + 1) if game.horizon % part == 0 and part <= allowed)

    def _along(self, game: Game, function: Callable[[Any], Any], paths: Any) -> Any:
        """A function of one path over all of them: side by side for a small game, one after the other for a large."""
        if game.num_states * game.num_actions <= _SMALL:
            return jax.vmap(function)(paths)
        return jax.lax.map(function, paths)


def _times(tree: Any, first: Int[Array, ""], size: int) -> Any:
    """Some times, in succession, of arrays with leading axes (paths, times)."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size, axis=1), tree)


class RSPG(StructuralPolicyGradient):
    """Recurrent structural policy gradient: pi(a | s, o_{0:t}). See `StructuralPolicyGradient` for the fields."""

    recurrent = True


class SPG(StructuralPolicyGradient):
    """Structural policy gradient: the memoryless pi(a | s, o_t). See `StructuralPolicyGradient` for the fields."""

    recurrent = False
