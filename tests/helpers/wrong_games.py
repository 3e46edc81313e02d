"""A small game of a user's, and games and kernels made wrong on purpose."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from structmfg.games import BeachBar, Game, LinearQuadratic, Macro, NoisePaths
from structmfg.operators import DenseKernel, SuccessorKernel

SIZES = {"num_states": 15, "horizon": 5, "first": 1, "last": 3, "push": 4.0}


def dense_of(kernel):
    """P[s, a, s'], from the expected indicators of all states: sooner compiled than `as_dense`."""
    return jax.vmap(kernel.expect, out_axes=-1)(jnp.eye(kernel.num_states))


def random_probabilities(num_states=7, num_actions=3):
    return np.random.default_rng(0).dirichlet(np.ones(num_states), (num_states, num_actions))


class Ring(Game):
    """A user's game: two actions on a ring, a coin, and everybody dislikes a crowd."""

    num_states, num_actions, horizon, discount = 6, 2, 4, 0.9

    def kernel(self, aggregate):
        step = jnp.array([0, 1]) * aggregate.noise
        return SuccessorKernel(((jnp.arange(6)[:, None] + step) % 6)[:, :, None], jnp.ones((6, 2, 1)))

    def reward(self, aggregate, following):
        return jnp.broadcast_to(-following.mean_field[:, None], (6, 2)) - jnp.array([0.0, 0.1])

    def observe(self, aggregate):
        return aggregate.noise[None].astype(float)

    def initial_noise(self, uniform):
        return jnp.where(uniform < 0.5, 1, -1)

    def next_noise(self, noise, uniform, time):
        return jnp.where(uniform < 0.1, -noise, noise)


class Transposed(DenseKernel):
    """Pushes mass by P instead of its transpose: right for symmetric P alone."""

    def push(self, mass):
        return jnp.einsum("sa,tas->t", mass, self.probabilities)


class Backward(DenseKernel):
    """Pushes rightly, but expects values one cell further up."""

    def expect(self, values):
        return super().expect(jnp.roll(values, 1))


@dataclasses.dataclass(frozen=True)
class Wrong(LinearQuadratic):
    """`linear_quadratic`, its kernel made wrong in one `fault`; "none" is right, as a dense array."""

    num_states: int = 15
    horizon: int = 5
    first: int = 1
    last: int = 3
    push: float = 4.0
    fault: str = "none"

    def kernel(self, aggregate):
        dense = dense_of(super().kernel(aggregate))
        if self.fault == "transposed":
            return Transposed(dense)
        if self.fault == "expects":
            return Backward(dense)
        return DenseKernel(self._made_wrong(dense, aggregate), checks=False)

    def _made_wrong(self, dense, aggregate):
        """As its `fault` says: a cell too far, wrapped round at the walls, noise twice, 2 % of the mass, one row."""
        size = self.num_states
        if self.fault == "shifted":
            return jnp.roll(dense, 1, axis=-1)
        if self.fault == "wrapped":
            return self._wrapped(aggregate)
        if self.fault == "twice":
            return jnp.einsum("sar,tr->sat", dense, jax.vmap(self._idiosyncratic().rmv)(jnp.eye(size)).T)
        if self.fault == "slight":  # a fiftieth of the mass goes one cell further up
            return 0.98 * dense + 0.02 * dense @ jnp.eye(size)[jnp.minimum(jnp.arange(size) + 1, size - 1)]
        if self.fault == "row":
            return dense.at[6, 2].set(0.7 * dense[6, 2] + 0.3 * dense[7, 2])
        return dense

    def _wrapped(self, aggregate):
        """Where there are walls, as many agents would come out on the other side."""
        noise = np.exp(-(np.arange(-3, 4) ** 2) / 2)
        dense = jnp.zeros((self.num_states, self.num_actions, self.num_states))
        state, action = np.indices(dense.shape[:2])
        shift = self._direction(aggregate) * int(self.volatility * self.correlation * self.push)
        for k, weight in zip(range(-3, 4), noise / noise.sum(), strict=True):
            target = (state + self.actions[action] + shift + k) % self.num_states
            dense = dense.at[state, action, target].add(weight)
        return dense


@dataclasses.dataclass(frozen=True)
class Astray(Wrong):
    """The agents are wrong: from state 4 they leave the line."""

    def move_agents(self, aggregate, states, actions, key):
        moved = super().move_agents(aggregate, states, actions, key)
        return jnp.where(states == 4, -2, moved)


@dataclasses.dataclass(frozen=True)
class WrongNoise(BeachBar):
    """`beach_bar` with scenarios made wrong."""

    num_states: int = 12
    horizon: int = 4
    fault: str = "none"

    def scenarios(self):
        right = super().scenarios()
        probabilities, open_ = right.probabilities, right.noise.open
        if self.fault == "sum":
            probabilities = 1.01 * probabilities
        if self.fault == "weights":  # it closes in four cases of seven
            probabilities = probabilities * jnp.where(open_[:, -1] == 1, 6 / 7, 8 / 7)
        if self.fault == "unlisted":  # it is said to close a step later
            open_ = jnp.where(jnp.arange(self.horizon + 1) == self.closing_time, 1, open_)
        return NoisePaths(right.noise._replace(open=open_), probabilities)


@dataclasses.dataclass(frozen=True)
class WrongChain(Macro):
    """`macro` with productivity on a chain that is followed wrongly."""

    num_wealth: int = 5
    num_income: int = 2
    num_actions: int = 3
    horizon: int = 4
    noise_states: int = 3
    fault: str = "none"

    def next_noise(self, noise, uniform, time):
        if self.fault == "transition":
            uniform = uniform**1.2
        drawn = super().next_noise(noise, uniform, time)
        return jnp.where(jax.lax.eq(time, 2), 1.1 * drawn, drawn) if self.fault == "value" else drawn
