"""Recurrent structural policy gradient (Wibault et al. 2026, arXiv 2602.20141).

An update has three steps:

1. The mean field is rolled forward along a few paths of the common noise, under the present policy.
2. The backward pass (`_structural`) gives the exact gradient of the mean return over these paths. Mean field, prices
   and observations are data: the policy is optimised as that of one small agent against the population that follows
   it, and a fixed point is an equilibrium.
3. Adam takes a step. An entropy bonus, annealed geometrically, keeps the softmax from saturating early.

The result `completed` says that all planned updates were made, not that a tolerance was met: exploitability is measured
separately.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg.evaluation import Backward, Trajectory, rollout
from structmfg.games import Game, NoisePaths
from structmfg.parallel import sum_over_paths
from structmfg.policies import BinnedPolicy, FunctionPolicy, ParametricPolicy
from structmfg.solvers._base import Metrics
from structmfg.solvers._learning import descend
from structmfg.solvers.gradient._structural import StructuralSolver, TrajectorySegment, over_paths


class TrainingState(NamedTuple):
    """The parameters, the optimiser's state, the random key of the next update and the number of updates made."""

    parameters: PyTree[Array]
    optimiser: optax.OptState
    key: PRNGKeyArray
    step: Int[Array, ""]


class StructuralPolicyGradient(StructuralSolver):
    """Ascent of the exact return given a few noise paths; `RSPG`, `SPG` and `TabularSPG` are its kinds.

    See `StructuralSolver` for the fields.
    """

    on_mesh = True

    @override
    def init(self, game: Game, key: PRNGKeyArray) -> TrainingState:
        parameter_key, key = jax.random.split(key)
        parameters = self.policy.initialised(parameter_key).parameters
        optimiser = self._optimiser(1, self.learning_rate)
        return TrainingState(parameters, optimiser.init(parameters), key, jnp.zeros((), int))

    @override
    def policy_at(self, game: Game, state: TrainingState) -> ParametricPolicy:
        return self.policy.with_parameters(state.parameters)

    @override
    def step(self, game: Game, state: TrainingState, max_steps: int) -> tuple[TrainingState, Metrics]:
        key, noise_key = jax.random.split(state.key)
        paths, temperature = self.draw_noise_paths(game, noise_key), self._temperature(state.step, max_steps)

        def of_some(paths: NoisePaths, parameters: PyTree[Array], temperature: Array) -> tuple[Array, PyTree[Array]]:
            policy = self.policy.with_parameters(parameters)
            trajectories = over_paths(game, lambda noise: rollout(game, policy, noise, form=self.form), paths.noise)
            returns, gradient = self.returns_and_loss_gradient(game, parameters, trajectories, paths, temperature)
            return paths.probabilities @ returns, gradient

        mean_return, gradient = sum_over_paths(
            of_some, paths, state.parameters, temperature, deterministic=self.deterministic
        )
        optimiser = self._optimiser(max_steps, self.learning_rate)
        parameters, optimiser_state = descend(optimiser, gradient, state.optimiser, state.parameters)
        metrics = Metrics(mean_return, optax.tree.norm(gradient))
        return TrainingState(parameters, optimiser_state, key, state.step + 1), metrics

    def returns_and_loss_gradient(
        self,
        game: Game,
        parameters: PyTree[Array],
        trajectories: Trajectory,
        paths: NoisePaths,
        temperature: Float[Array, ""],
    ) -> tuple[Float[Array, " paths"], PyTree[Array]]:
        """The return of every path, and minus the gradient of the mean return with bonus in the parameters.

        Args:
            game: The game.
            parameters: The parameters of the policy.
            trajectories: The paths under this policy, from t = 0 to T, with a leading axis N.
            paths: The noise paths and their probabilities (N,).
            temperature: The weight of the entropy bonus, in units of the reward.

        Returns:
            Returns without the bonus (N,), and a tree like `parameters`.
        """
        start = self.policy.with_parameters(parameters).start()
        hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (paths.num_paths, *x.shape)), start)
        end = Backward(jnp.zeros_like(trajectories.aggregates.mean_field[:, -1]), jnp.zeros(paths.num_paths))
        segment = TrajectorySegment(trajectories, hidden, end, None)
        result = self._backward_pass(game, parameters, segment, paths.probabilities, temperature)
        return result.start.mean_return, result.loss_gradient


class RSPG(StructuralPolicyGradient):
    """Recurrent structural policy gradient: pi(a | s, o_{0:t}). See `StructuralSolver` for the fields."""

    recurrent = True
    also_trains = (FunctionPolicy,)


class SPG(StructuralPolicyGradient):
    """Structural policy gradient: the memoryless pi(a | s, o_t). See `StructuralSolver` for the fields."""

    recurrent = False
    also_trains = (FunctionPolicy,)


class TabularSPG(StructuralPolicyGradient):
    """Structural policy gradient for a table pi(a | s, t, bin of o_t) (Yang et al. 2025; `policies.binned`).

    The same ascent without a network: every entry is a parameter of its own, and learns only from the paths that come
    through its bin. See `StructuralSolver` for the fields.
    """

    trains = BinnedPolicy
