"""The points of `fuzz`: a point is a few choices, so that a few words describe it."""

import operator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg.games import Game, noise_path
from structmfg.verification.laws import Probe

_noise_path = eqx.filter_jit(noise_path)

Exceptions = tuple[tuple[int, Any], ...]


class Point(NamedTuple):
    """A point of a game: time, noise path, policy, mean field, and the seed of what is random.

    The path is the index of a scenario, or (innovation, exceptions at times). Actions are "random", "uniform" or one
    action, with exceptions in states. The crowd is "random", "uniform", or weights in at most two states.
    """

    time: int
    path: int | tuple[float, Exceptions]
    actions: tuple[int | str, Exceptions]
    crowd: str | Exceptions
    seed: int

    def noise(self, game: Game) -> tuple[Any, Any]:
        """The noise z_t and z_{t+1}."""
        if isinstance(self.path, int):
            scenarios = game.scenarios()
            assert scenarios is not None
            path = jax.tree.map(lambda z: z[self.path], scenarios.noise)
        else:
            base, exceptions = self.path
            path = _noise_path(game, jnp.asarray(_except(np.full(game.horizon + 1, base), exceptions), float))
        now, later = (jax.tree.map(operator.itemgetter(time), path) for time in (self.time, self.time + 1))
        return now, later

    def policy(self, game: Game) -> Float[Array, "states actions"]:
        """The policy at t."""
        base, exceptions = self.actions
        shape = (game.num_states, game.num_actions)
        if base == "random":
            table = np.random.default_rng(self.seed).dirichlet(np.ones(shape[1]), shape[0])
        else:
            row = np.full(shape[1], 1 / shape[1]) if isinstance(base, str) else np.eye(shape[1])[base]
            table = np.tile(row, (shape[0], 1))
        return jnp.asarray(_except(table, [(state, np.eye(shape[1])[action]) for state, action in exceptions]), float)

    def mean_field(self, game: Game) -> Float[Array, " states"]:
        """The mean field at t."""
        if self.crowd == "random":
            weights = np.random.default_rng(self.seed).exponential(size=game.num_states)
        elif self.crowd == "uniform":
            weights = np.ones(game.num_states)
        else:
            weights = _except(np.zeros(game.num_states), self.crowd)
        return jnp.asarray(weights / weights.sum(), float)

    def probe(self, game: Game) -> Probe:
        """What the laws are measured at: random values and mass without zeros."""
        random = np.random.default_rng(self.seed)
        numbers = random.normal(size=game.num_states), random.exponential(size=game.num_states)
        return Probe(self.policy(game), *(jnp.asarray(x, float) for x in numbers))

    def words(self, game: Game) -> str:
        """The point in words: time, noise, mean field and policy."""
        noise = f"scenario {self.path}" if isinstance(self.path, int) else f"innovations {_listed(*self.path, 'time')}"
        try:
            z = jax.tree.map(lambda x: np.round(np.asarray(x), 4).tolist(), self.noise(game)[0])
        except Exception:  # the failed check says why
            z = "unknown"
        if isinstance(self.crowd, str):
            crowd = f"{self.crowd} mean field"
        elif len(self.crowd) == 1:
            crowd = f"all mass in state {self.crowd[0][0]}"
        else:
            crowd = "mass " + ", ".join(f"{weight} in state {state}" for state, weight in self.crowd)
        actions = f"actions {_listed(*self.actions, 'state')}"
        return f"t = {self.time}, z = {z} ({noise}), {crowd}, {actions}, random numbers of seed {self.seed}"


def _except(array: np.ndarray, exceptions: Any) -> np.ndarray:
    for index, value in exceptions:
        array[index] = value
    return array


def _listed(base: Any, exceptions: Exceptions, place: str) -> str:
    listed = ", ".join(f"{value} in {place} {index}" for index, value in exceptions)
    return f"{base}" + (f" but {listed}" if listed else "")
