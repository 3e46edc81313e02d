"""The exact mean and variance of the return of one agent."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg.evaluation import Trajectory, steps
from structmfg.games import AggregateState, Game
from structmfg.verification._compiled import allowed_rewards


def path_moments(game: Game, trajectory: Trajectory) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean and variance of the return of one agent given the path, over its states and actions.

    With q = r + gamma P v', and Var' the variance of the return from the next state,

        Var(s) = sum_a pi (q - v)^2 + gamma^2 pi (P v'^2 - (P v')^2 + P Var').
    """

    def step(
        carry: tuple[Array, Array], inputs: tuple[AggregateState, AggregateState, Array]
    ) -> tuple[tuple[Array, Array], None]:
        values, variances = carry
        aggregate, following, policy = inputs
        kernel = game.kernel(aggregate)
        centre = jnp.mean(values)  # so that the difference of squares loses few digits
        expected = kernel.expect(values - centre)
        spread = kernel.expect((values - centre) ** 2 + variances) - expected**2
        pairs = allowed_rewards(game, aggregate, following) + game.discount * (centre + expected)
        values = jnp.sum(policy * pairs, axis=-1)
        variances = jnp.sum(policy * ((pairs - values[:, None]) ** 2 + game.discount**2 * spread), axis=-1)
        return (values, variances), None

    zero = jnp.zeros_like(trajectory.aggregates.mean_field[0])
    inputs = (*steps(trajectory.aggregates), trajectory.policy)
    (values, variances), _ = jax.lax.scan(step, (zero, zero), inputs, reverse=True)
    start = trajectory.aggregates.mean_field[0]
    mean = start @ values
    return mean, start @ ((values - mean) ** 2 + variances)
