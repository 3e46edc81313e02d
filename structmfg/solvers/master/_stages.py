"""The one-step equilibria of the master equation, at all points of a grid over the simplex.

Against the values of the next step, an equilibrium of the stage (mu, z) is a fixed point of

    F(mu') = (A^pi)^T mu,    pi = softmax(q(mu') / temperature),

in one or two dimensions: Newton's method, from the fixed point of the step before.
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

STAGE_TOLERANCE = 1e-9  # of ||F(mu') - mu'||_1, to be called an equilibrium
_STAGE_GOAL = 1e-13  # where Newton's method stops
_STAGE_STEPS = 60
_PATIENCE = 20  # steps of value iteration in a row with stages that have no equilibrium
_LENGTHS = 4.0 ** -np.arange(10)  # of trial steps: a cold softmax turns within a narrow strip


class Stage(NamedTuple):
    """What an equilibrium of a stage is, or arrays of them."""

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

    def aggregate(self, mean_field: Array, noise: Array, time: Array) -> AggregateState:
        value = jax.tree.map(lambda values: values[noise], self.chain.values)
        return self.game.aggregate(mean_field=mean_field, noise=value, time=time)

    def rewards(self, now: AggregateState, noise: Array, following: Array) -> Float[Array, "states actions"]:
        """The mean over z' of r(s, a; mu, z, mu', z')."""
        each = jax.vmap(lambda z: self.game.reward(now, self.aggregate(following, z, now.time + 1)))(self.noises)
        return jnp.tensordot(self.chain.transition[noise], each, axes=1)

    @property
    def noises(self) -> Int[Array, " noises"]:
        """0..Z-1."""
        return jnp.arange(self.chain.initial.shape[0])

    def nothing(self) -> Stage:
        """No values, and no motion."""
        shape = (self.chain.initial.shape[0], *self.points.shape)
        policy = jnp.zeros((*shape, self.game.num_actions))
        return Stage(jnp.zeros(shape), policy, jnp.broadcast_to(self.points, shape), jnp.zeros(shape[:2]))

    def solve(self, heat: Float[Array, ""], following: Stage, time: ArrayLike) -> Stage:
        """Equilibria at all (z, mu), against the values of the step that follows; its mu' are the first guesses."""

        def at(noise: Array, after: Array, mu: Array, start: Array) -> Stage:
            now = self.aggregate(mu, noise, jnp.asarray(time))
            kernel = self.game.kernel(now)

            def logits(expected: Array) -> Array:
                """The action values over the temperature, where all expect this mu'."""
                values = barycentric(expected, self.mesh).interpolate(after)
                rewards = self.rewards(now, noise, expected)
                return (rewards + self.game.discount * kernel.expect(values)) / heat

            def move(expected: Array) -> Array:
                return kernel.push_under(jax.nn.softmax(logits(expected)), mu)

            mu_next, residual = _fixed_point(move, start)
            scaled = logits(mu_next)
            return Stage(heat * jax.nn.logsumexp(scaled, axis=-1), jax.nn.softmax(scaled), mu_next, residual)

        after = jnp.einsum("yz,zps->yps", self.chain.transition, following.values)
        at_points = jax.vmap(jax.vmap(at, in_axes=(None, None, 0, 0)), in_axes=(0, 0, None, 0))

        def attempt(state: tuple[Stage, Array]) -> tuple[Stage, Array]:
            """From the guesses; then, where that failed, from one corner of the simplex after the other."""
            stage, tries = state
            corner = jnp.eye(self.points.shape[1])[tries - 1]
            again = (tries > 0) & ~(stage.residual <= STAGE_TOLERANCE)
            guess = jnp.where(again[..., None], corner, stage.next_mean_field)
            return at_points(self.noises, after, self.points, guess), tries + 1

        def unfinished(state: tuple[Stage, Array]) -> Bool[Array, ""]:
            stage, tries = state
            failed = jnp.any(stage.residual > STAGE_TOLERANCE)
            return (tries == 0) | (failed & (tries <= self.points.shape[1]))

        return jax.lax.while_loop(unfinished, attempt, (following, jnp.asarray(0)))[0]


def _fixed_point(move: Callable[[Array], Array], start: Array) -> tuple[Array, Array]:
    """A fixed point mu' of a continuous map of the simplex, and its residual in the 1-norm.

    Newton's direction and the plain one, F(mu') - mu', each at many lengths: the best of all trials is taken while it
    is better. The entries of Newton's direction sum to zero as those of F(mu') - mu' do, since F keeps the mass.
    """

    def gap(mu: Array) -> Array:
        return jnp.sum(jnp.abs(move(mu) - mu))

    def trials(mu: Array) -> tuple[Array, Array]:
        """All trials, and their residuals."""
        plain = move(mu) - mu
        newton = jnp.linalg.solve(jnp.eye(mu.shape[0]) - jax.jacfwd(move)(mu), plain)
        steps = mu + jnp.concatenate([length * jnp.stack([newton, plain]) for length in _LENGTHS])
        steps = jnp.maximum(steps, 0)
        steps = steps / jnp.sum(steps, axis=1, keepdims=True)
        gaps = jax.vmap(gap)(steps)
        return steps, jnp.where(jnp.isfinite(gaps), gaps, jnp.inf)

    def improve(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        mu, best, _, steps = state
        tried, gaps = trials(mu)
        least = jnp.argmin(gaps)
        better = gaps[least] < (1 - 1e-4) * best
        return jnp.where(better, tried[least], mu), jnp.minimum(gaps[least], best), better, steps + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
        _, best, better, steps = state
        return (best > _STAGE_GOAL) & better & (steps < _STAGE_STEPS)

    mu, *_ = jax.lax.while_loop(unfinished, improve, (start, gap(start), jnp.asarray(True), jnp.asarray(0)))
    return mu, gap(mu)


@eqx.filter_jit
def iterate(
    stages: Stages, heat: Float[Array, ""], tolerance: Float[Array, ""], max_steps: Int[Array, ""]
) -> tuple[Stage, Array, Array]:
    """The last stages of value iteration, max |V - V_before|, and the number of steps."""

    def step(state: tuple[Stage, Array, Array, Array]) -> tuple[Stage, Array, Array, Array]:
        before, _, steps, failures = state
        stage = stages.solve(heat, before, 0)
        failed = jnp.any(stage.residual > STAGE_TOLERANCE)
        change = jnp.max(jnp.abs(stage.values - before.values))
        return stage, change, steps + 1, jnp.where(failed, failures + 1, 0)

    def unfinished(state: tuple[Stage, Array, Array, Array]) -> Bool[Array, ""]:
        _, change, steps, failures = state
        return (change > tolerance) & (steps < max_steps) & (failures < _PATIENCE)

    start = (stages.nothing(), jnp.asarray(jnp.inf), jnp.asarray(0), jnp.asarray(0))
    return jax.lax.while_loop(unfinished, step, start)[:3]


@eqx.filter_jit
def backward(stages: Stages, heat: Float[Array, ""], horizon: int) -> Stage:
    """The stages at t = 0..T-1, with a leading axis T."""

    def step(following: Stage, time: Array) -> tuple[Stage, Stage]:
        stage = stages.solve(heat, following, time)
        return stage, stage

    return jax.lax.scan(step, stages.nothing(), jnp.arange(horizon), reverse=True)[1]


@eqx.filter_jit
def rewards_over_grid(stages: Stages) -> Float[Array, "noises points states actions"]:
    """Of agents who stay together: mu' = mu, at t = 0."""

    def at(noise: Array, mu: Array) -> Array:
        return stages.rewards(stages.aggregate(mu, noise, jnp.asarray(0)), noise, mu)

    return jax.vmap(jax.vmap(at, in_axes=(None, 0)), in_axes=(0, None))(stages.noises, stages.points)


@eqx.filter_jit
def at_times(stages: Stages, times: Int[Array, " times"]) -> tuple[Array, Array]:
    """Kernels and rewards over times, noise states, and the corners and the middle of the simplex."""
    size = stages.game.num_states
    some = jnp.concatenate([jnp.eye(size), jnp.full((1, size), 1 / size)])

    def at(time: Array, noise: Array, mu: Array) -> tuple[Array, Array]:
        now = stages.aggregate(mu, noise, time)
        return stages.game.kernel(now).as_dense(), stages.rewards(now, noise, mu)

    over_noises = jax.vmap(jax.vmap(at, in_axes=(None, None, 0)), in_axes=(None, 0, None))
    return jax.vmap(over_noises, in_axes=(0, None, None))(times, stages.noises, some)
