"""Recurrent structural policy gradient (Wibault et al. 2026, arXiv 2602.20141).

Every update rolls the mean field forward along a few paths of the common noise, evaluates the policy backward by
Horner's rule through the same operators, and ascends the exact gradient of the return given those paths. No gradient
passes through the mean field, the prices or the observations: the policy is optimised as that of one small agent
against the population that follows it, and a fixed point is an equilibrium.

An entropy bonus, annealed geometrically, keeps the softmax from saturating early. What a run guarantees is stated by
its result: `completed` says that all planned updates were made, not that a tolerance was met; exploitability is
measured separately.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from structmfg.evaluation import Backward, Trajectory, rollout
from structmfg.games import Game, NoisePaths
from structmfg.policies import BinnedPolicy, ParametricPolicy
from structmfg.solvers._base import Metrics
from structmfg.solvers.gradient._structural import Stretch, StructuralSolver


class TrainingState(NamedTuple):
    """What an update changes."""

    parameters: PyTree[Array]
    optimiser: optax.OptState
    key: PRNGKeyArray
    step: Int[Array, ""]


class StructuralPolicyGradient(StructuralSolver):
    """Ascent of the exact return given a few noise paths; `RSPG`, `SPG` and `TabularSPG` are its kinds.

    See `StructuralSolver` for the fields.
    """

    def init(self, game: Game, key: PRNGKeyArray) -> TrainingState:
        """Random parameters."""
        parameter_key, key = jax.random.split(key)
        parameters = self.policy.initialised(parameter_key).parameters
        return TrainingState(parameters, self._optimiser(1).init(parameters), key, jnp.zeros((), int))

    def policy_at(self, game: Game, state: TrainingState) -> ParametricPolicy:
        """The policy with the parameters reached."""
        return self.policy.with_parameters(state.parameters)

    def step(self, game: Game, state: TrainingState, max_steps: int) -> tuple[TrainingState, Metrics]:
        """One update."""
        key, noise_key = jax.random.split(state.key)
        paths, policy = self._noise_paths(game, noise_key), self.policy_at(game, state)
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
        """The return of every path, and minus the gradient of the mean return, bonus included, in the parameters."""
        start = self.policy.with_parameters(parameters).start()
        hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (paths.num_paths, *x.shape)), start)
        ends = Backward(jnp.zeros_like(trajectories.aggregates.mean_field[:, -1]), jnp.zeros(paths.num_paths))
        stretch = Stretch(trajectories, hidden, ends, None)
        found = self._descent(game, parameters, stretch, paths.probabilities, temperature)
        return found.starts.mean_return, found.parameters


class RSPG(StructuralPolicyGradient):
    """Recurrent structural policy gradient: pi(a | s, o_{0:t}). See `StructuralPolicyGradient` for the fields."""

    recurrent = True


class SPG(StructuralPolicyGradient):
    """Structural policy gradient: the memoryless pi(a | s, o_t). See `StructuralPolicyGradient` for the fields."""

    recurrent = False


class TabularSPG(StructuralPolicyGradient):
    """Structural policy gradient for a table pi(a | s, t, bin of o_t) (Yang et al. 2025; `policies.binned`).

    The same ascent without a network: every entry is a parameter of its own, and learns only from the paths that come
    through its bin. See `StructuralPolicyGradient` for the fields.
    """

    trains = BinnedPolicy
