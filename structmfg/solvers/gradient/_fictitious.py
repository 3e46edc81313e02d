"""Deep fictitious play: a network that responds to the mean field of another, which is the average of all responses.

Fictitious play with an average network (Lauriere et al. 2022, arXiv 2203.11973, section 4; there responses come from
deep Q-learning, and the average network learns from a buffer of what all of them did). Here everything but the common
noise is exact, and both networks know the public observations o_{0:t} only. Iteration k has two parts:

1. The response network climbs the return against the mean fields of the average policy, by structural policy gradients:
   mean fields, prices and observations are those of the average policy, and stay as they are. The advantages at (s, t)
   are weighted by the population's mass there, not by the agent's own. The network starts from the average one: one
   that has answered to other mean fields may be too sure of its actions to learn others.
2. The average network learns the mean of all responses so far. The former average stands for all those before, so that
   nothing has to be stored: on noise paths that are drawn anew, it minimises the cross-entropy

       - sum_t gamma^t sum_{s, a} [k m_t(s, a) + m'_t(s, a)] / (k + 1) log pi_t(a | s),

   with the occupancies m of the former average policy and m' of the response, both under the former's mean fields.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import check_integer
from structmfg.evaluation import Backward, Trajectory, allowed_logits, rollout, steps
from structmfg.games import AggregateState, Game, NoisePaths
from structmfg.parallel import spread
from structmfg.policies import ParametricPolicy
from structmfg.solvers._base import Metrics
from structmfg.solvers._learning import descend
from structmfg.solvers.gradient._structural import StructuralSolver, TrajectorySegment, over_paths


class FictitiousState(NamedTuple):
    """The state of deep fictitious play.

    Attributes:
        average, response: The parameters of both networks.
        former: Those of the average network at the end of the iteration before.
        average_optimiser, response_optimiser: The states of the optimisers.
        key: The random key of the next update.
        step: The number of updates made.
    """

    average: PyTree[Array]
    response: PyTree[Array]
    former: PyTree[Array]
    average_optimiser: optax.OptState
    response_optimiser: optax.OptState
    key: PRNGKeyArray
    step: Int[Array, ""]


class DeepFictitiousPlay(StructuralSolver):
    """Fictitious play with a network of responses and a network of their average. See `StructuralSolver` for more.

    Attributes:
        response_steps: Updates of the response network in an iteration.
        average_steps: Updates of the average network in an iteration, after those.
    """

    response_steps: int = eqx.field(static=True, default=20)
    average_steps: int = eqx.field(static=True, default=20)

    def __check_init__(self) -> None:
        check_integer("response_steps", self.response_steps, at_least=1)
        check_integer("average_steps", self.average_steps, at_least=1)

    @override
    def init(self, game: Game, key: PRNGKeyArray) -> FictitiousState:
        parameter_key, key = jax.random.split(key)
        parameters = self.policy.initialised(parameter_key).parameters
        optimiser = self._optimiser(1, self.learning_rate).init(parameters)
        return FictitiousState(parameters, parameters, parameters, optimiser, optimiser, key, jnp.zeros((), int))

    @override
    def policy_at(self, game: Game, state: FictitiousState) -> ParametricPolicy:
        return self.policy.with_parameters(state.average)

    @override
    def step(self, game: Game, state: FictitiousState, max_steps: int) -> tuple[FictitiousState, Metrics]:
        key, noise_key = jax.random.split(state.key)
        paths = self.draw_noise_paths(game, noise_key)
        iteration, within = jnp.divmod(state.step, self.response_steps + self.average_steps)
        former, response = jax.tree.map(
            lambda new, old: jnp.where(within == 0, new, old), (state.average,) * 2, (state.former, state.response)
        )
        state = state._replace(former=former, response=response, key=key, step=state.step + 1)
        policy = self.policy.with_parameters(former)
        trajectories = over_paths(game, lambda noise: rollout(game, policy, noise, form=self.form), paths.noise)

        def respond(state: FictitiousState) -> tuple[FictitiousState, Array]:
            temperature = self._temperature(state.step - 1, max_steps)
            gradient = self._response_gradient(game, state.response, trajectories, paths, temperature)
            optimiser = self._optimiser(self._updates(self.response_steps, max_steps), self.learning_rate)
            parameters, kept = descend(optimiser, gradient, state.response_optimiser, state.response)
            return state._replace(response=parameters, response_optimiser=kept), optax.tree.norm(gradient)

        def average(state: FictitiousState) -> tuple[FictitiousState, Array]:
            weight = 1 / (iteration + 2.0)  # the first network is the first of all responses
            gradient = self._average_gradient(game, state, trajectories, paths, weight)
            optimiser = self._optimiser(self._updates(self.average_steps, max_steps), self.learning_rate)
            parameters, kept = descend(optimiser, gradient, state.average_optimiser, state.average)
            return state._replace(average=parameters, average_optimiser=kept), optax.tree.norm(gradient)

        state, norm = jax.lax.cond(within < self.response_steps, respond, average, state)
        return state, Metrics(
            paths.probabilities @ over_paths(game, lambda path: _return(game, path), trajectories), norm
        )

    def _updates(self, own: int, max_steps: int) -> int:
        """How many of all updates are those of one network, about."""
        return max(1, round(max_steps * own / (self.response_steps + self.average_steps)))

    def _response_gradient(
        self,
        game: Game,
        parameters: PyTree[Array],
        trajectories: Trajectory,
        paths: NoisePaths,
        temperature: Float[Array, ""],
    ) -> PyTree[Array]:
        """Minus the gradient of the return of the response against the trajectories, with the entropy bonus."""
        start = self.policy.with_parameters(parameters).start()
        hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (paths.num_paths, *x.shape)), start)
        end = Backward(jnp.zeros_like(trajectories.aggregates.mean_field[:, -1]), jnp.zeros(paths.num_paths))
        segment = TrajectorySegment(trajectories, hidden, end, None)
        return self._backward_pass(game, parameters, segment, paths.probabilities, temperature).loss_gradient

    def _average_gradient(
        self,
        game: Game,
        state: FictitiousState,
        trajectories: Trajectory,
        paths: NoisePaths,
        weight: Float[Array, ""],
    ) -> PyTree[Array]:
        """The gradient of the cross-entropy between the mean of the responses and the average network."""
        response = self.policy.with_parameters(state.response)

        def cross_entropy(parameters: PyTree[Array]) -> Float[Array, ""]:
            average = self.policy.with_parameters(parameters)
            of_paths = over_paths(
                game, lambda path: self.average_loss(game, average, response, path, weight), trajectories
            )
            return paths.probabilities @ of_paths

        return jax.grad(cross_entropy)(state.average)

    def average_loss(
        self,
        game: Game,
        average: ParametricPolicy,
        response: ParametricPolicy,
        path: Trajectory,
        weight: Float[Array, ""],
    ) -> Float[Array, ""]:
        """The cross-entropy along a path that the average network lowers.

        One step's logits are in memory at a time; on the way back they are computed anew.

        Args:
            game: The game.
            average: The average policy.
            response: The policy of the responses.
            path: The path under the former average policy.
            weight: The share of the response; the rest is the former average policy's.
        """
        now, _ = steps(path.aggregates)
        first = now.time[0]
        learned = average.histories(path.observations, average.start(), first), average.prepare()
        given = response.histories(path.observations, response.start(), first), response.prepare()

        @jax.checkpoint
        def step(
            own: Float[Array, " states"], inputs: tuple[AggregateState, Array, PyTree[Array], PyTree[Array]]
        ) -> tuple[Float[Array, " states"], Float[Array, ""]]:
            aggregate, former, hidden, answer = inputs
            log_policy = jax.nn.log_softmax(allowed_logits(game, aggregate, average.decode(learned[1], hidden)))
            played = jax.nn.softmax(allowed_logits(game, aggregate, response.decode(given[1], answer)))
            mixed = (1 - weight) * aggregate.mean_field[:, None] * former + weight * own[:, None] * played
            loss = -(game.discount**aggregate.time) * jnp.sum(mixed * log_policy)
            return spread(game.kernel(aggregate)).under(played).T.mv(own), loss

        _, losses = jax.lax.scan(step, path.aggregates.mean_field[0], (now, path.policy, learned[0], given[0]))
        return jnp.sum(losses)


def _return(game: Game, path: Trajectory) -> Float[Array, ""]:
    """The return of the population along a path."""
    now, following = steps(path.aggregates)
    rewards = jax.vmap(game.reward_of_allowed)(now, following)
    discounts = game.discount ** jnp.arange(len(path.policy))
    return jnp.einsum("t,ts,tsa,tsa->", discounts, now.mean_field, path.policy, rewards)
