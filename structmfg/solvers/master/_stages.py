"""The one-step equilibria of the master equation, at all points mu of a grid over the simplex and all noise states z.

A stage (mu, z) is a one-step game against the values of the next time. If all expect the next mean field mu', their
action values are q(mu') (see `_master`), they play pi = softmax(q(mu') / temperature), and the mean field moves to

    F(mu') = (A^pi)^T mu.

An equilibrium of the stage is a fixed point mu' = F(mu'), in one or two dimensions. The algorithm:

1. `_fixed_point` finds it by Newton's method, with plain steps towards F(mu') beside it, from the mu' of the next time.
2. Where that fails, `Stages.solve` tries again from each corner of the simplex.
3. `backward` solves the stages of a finite horizon from the last time to the first; `iterate` solves those of an
   infinite one against the values of the iteration before, until the values stay the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from structmfg.games import AggregateState, Game, NoiseChain
from structmfg.solvers.master._simplex import barycentric

STAGE_TOLERANCE = 1e-9  # of ||F(mu') - mu'||_1: up to here a point counts as an equilibrium
_NEWTON_TOLERANCE = 1e-13  # of the same: here Newton's method stops
_MAX_NEWTON_STEPS = 60
_MAX_FAILED_ITERATIONS = 20  # of value iteration, in a row, with stages that have no equilibrium
_STEP_LENGTHS = 4.0 ** -np.arange(10)  # tried in every direction: a cold softmax turns within a narrow strip


class StageEquilibrium(NamedTuple):
    """The equilibrium of a stage, or arrays of them; `residual` is ||F(mu') - mu'||_1."""

    values: Float[Array, "*batch states"]
    policy: Float[Array, "*batch states actions"]
    next_mean_field: Float[Array, "*batch states"]
    residual: Float[Array, "*batch"]


class Stages(eqx.Module):
    """The one-step games at all grid points and noise states."""

    game: Game = eqx.field(static=True)
    mesh: int = eqx.field(static=True)
    points: Float[Array, "points states"]
    chain: NoiseChain

    @property
    def noise_states(self) -> Int[Array, " noises"]:
        """The indices 0..Z-1 of the noise states."""
        return jnp.arange(self.chain.initial.shape[0])

    def aggregate(self, mean_field: Array, noise_state: Array, time: Array) -> AggregateState:
        """The aggregate state at (mu, z, t)."""
        noise = jax.tree.map(lambda values: values[noise_state], self.chain.values)
        return self.game.aggregate(mean_field=mean_field, noise=noise, time=time)

    def rewards(self, now: AggregateState, noise_state: Array, expected: Array) -> Float[Array, "states actions"]:
        """The mean over z' of r(s, a; mu, z, mu', z'), where all expect mu'."""
        each = jax.vmap(lambda z: self.game.reward(now, self.aggregate(expected, z, now.time + 1)))(self.noise_states)
        return jnp.tensordot(self.chain.transition[noise_state], each, axes=1)

    def zero(self) -> StageEquilibrium:
        """No values and no motion, for what comes after the last time."""
        shape = (self.chain.initial.shape[0], *self.points.shape)
        policy = jnp.zeros((*shape, self.game.num_actions))
        return StageEquilibrium(jnp.zeros(shape), policy, jnp.broadcast_to(self.points, shape), jnp.zeros(shape[:2]))

    def solve(self, temperature: Float[Array, ""], following: StageEquilibrium, time: ArrayLike) -> StageEquilibrium:
        """Equilibria at all (z, mu) against the values of the next time, whose mu' are the first guesses."""

        def solve_stage(noise_state: Array, next_values: Array, mu: Array, guess: Array) -> StageEquilibrium:
            now = self.aggregate(mu, noise_state, jnp.asarray(time))
            kernel = self.game.kernel(now)

            def logits(expected: Array) -> Array:
                """q(mu') / temperature."""
                values = barycentric(expected, self.mesh).interpolate(next_values)
                rewards = self.rewards(now, noise_state, expected)
                return (rewards + self.game.discount * kernel.expect(values)) / temperature

            def next_mean_field(expected: Array) -> Array:
                return kernel.push_under(jax.nn.softmax(logits(expected)), mu)

            mu_next, residual = _fixed_point(next_mean_field, guess)
            scaled = logits(mu_next)
            values = temperature * jax.nn.logsumexp(scaled, axis=-1)
            return StageEquilibrium(values, jax.nn.softmax(scaled), mu_next, residual)

        next_values = jnp.einsum("yz,zps->yps", self.chain.transition, following.values)
        solve_all = jax.vmap(jax.vmap(solve_stage, in_axes=(None, None, 0, 0)), in_axes=(0, 0, None, 0))

        def attempt(state: tuple[StageEquilibrium, Array]) -> tuple[StageEquilibrium, Array]:
            """Solve from the guesses and, where that failed, from each corner of the simplex in turn."""
            stage, tries = state
            corner = jnp.eye(self.points.shape[1])[tries - 1]
            again = (tries > 0) & ~(stage.residual <= STAGE_TOLERANCE)
            guess = jnp.where(again[..., None], corner, stage.next_mean_field)
            return solve_all(self.noise_states, next_values, self.points, guess), tries + 1

        def unfinished(state: tuple[StageEquilibrium, Array]) -> Bool[Array, ""]:
            stage, tries = state
            failed = jnp.any(stage.residual > STAGE_TOLERANCE)
            return (tries == 0) | (failed & (tries <= self.points.shape[1]))

        return jax.lax.while_loop(unfinished, attempt, (following, jnp.asarray(0)))[0]


def _fixed_point(next_mean_field: Callable[[Array], Array], guess: Array) -> tuple[Array, Array]:
    """A fixed point mu' of a continuous map F of the simplex, and its residual in the 1-norm.

    Newton's direction and the plain one, F(mu') - mu', are each tried at many lengths; the best of all trials is taken
    while it is better. The entries of Newton's direction sum to zero as those of F(mu') - mu' do, since F keeps the
    mass.
    """

    def residual(mu: Array) -> Array:
        return jnp.sum(jnp.abs(next_mean_field(mu) - mu))

    def trials(mu: Array) -> tuple[Array, Array]:
        """All trials, and their residuals."""
        plain = next_mean_field(mu) - mu
        newton = jnp.linalg.solve(jnp.eye(mu.shape[0]) - jax.jacfwd(next_mean_field)(mu), plain)
        tried = mu + jnp.concatenate([length * jnp.stack([newton, plain]) for length in _STEP_LENGTHS])
        tried = jnp.maximum(tried, 0)
        tried = tried / jnp.sum(tried, axis=1, keepdims=True)
        residuals = jax.vmap(residual)(tried)
        return tried, jnp.where(jnp.isfinite(residuals), residuals, jnp.inf)

    def improve(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        mu, least, _, steps = state
        tried, residuals = trials(mu)
        best = jnp.argmin(residuals)
        better = residuals[best] < (1 - 1e-4) * least
        return jnp.where(better, tried[best], mu), jnp.minimum(residuals[best], least), better, steps + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
        _, least, better, steps = state
        return (least > _NEWTON_TOLERANCE) & better & (steps < _MAX_NEWTON_STEPS)

    start = (guess, residual(guess), jnp.asarray(True), jnp.asarray(0))
    mu, *_ = jax.lax.while_loop(unfinished, improve, start)
    return mu, residual(mu)


@eqx.filter_jit
def iterate(
    stages: Stages, temperature: Float[Array, ""], tolerance: Float[Array, ""], max_steps: Int[Array, ""]
) -> tuple[StageEquilibrium, Array, Array]:
    """The last stages of value iteration, max |V - V_before|, and the number of steps."""

    def step(state: tuple[StageEquilibrium, Array, Array, Array]) -> tuple[StageEquilibrium, Array, Array, Array]:
        before, _, steps, failures = state
        stage = stages.solve(temperature, before, 0)
        failed = jnp.any(stage.residual > STAGE_TOLERANCE)
        change = jnp.max(jnp.abs(stage.values - before.values))
        return stage, change, steps + 1, jnp.where(failed, failures + 1, 0)

    def unfinished(state: tuple[StageEquilibrium, Array, Array, Array]) -> Bool[Array, ""]:
        _, change, steps, failures = state
        return (change > tolerance) & (steps < max_steps) & (failures < _MAX_FAILED_ITERATIONS)

    start = (stages.zero(), jnp.asarray(jnp.inf), jnp.asarray(0), jnp.asarray(0))
    return jax.lax.while_loop(unfinished, step, start)[:3]


@eqx.filter_jit
def backward(stages: Stages, temperature: Float[Array, ""], horizon: int) -> StageEquilibrium:
    """The stages at t = 0..T-1, with a leading axis T."""

    def step(following: StageEquilibrium, time: Array) -> tuple[StageEquilibrium, StageEquilibrium]:
        stage = stages.solve(temperature, following, time)
        return stage, stage

    return jax.lax.scan(step, stages.zero(), jnp.arange(horizon), reverse=True)[1]


@eqx.filter_jit
def rewards_over_grid(stages: Stages) -> Float[Array, "noises points states actions"]:
    """The rewards at t = 0 where the mean field stays as it is, mu' = mu."""

    def at(noise_state: Array, mu: Array) -> Array:
        return stages.rewards(stages.aggregate(mu, noise_state, jnp.asarray(0)), noise_state, mu)

    return jax.vmap(jax.vmap(at, in_axes=(None, 0)), in_axes=(0, None))(stages.noise_states, stages.points)


@eqx.filter_jit
def kernels_and_rewards(stages: Stages, times: Int[Array, " times"]) -> tuple[Array, Array]:
    """Dense kernels and rewards at some times, all noise states, and the corners and the middle of the simplex."""
    size = stages.game.num_states
    mean_fields = jnp.concatenate([jnp.eye(size), jnp.full((1, size), 1 / size)])

    def at(time: Array, noise_state: Array, mu: Array) -> tuple[Array, Array]:
        now = stages.aggregate(mu, noise_state, time)
        return stages.game.kernel(now).as_dense(), stages.rewards(now, noise_state, mu)

    over_noises = jax.vmap(jax.vmap(at, in_axes=(None, None, 0)), in_axes=(None, 0, None))
    return jax.vmap(over_noises, in_axes=(0, None, None))(times, stages.noise_states, mean_fields)
