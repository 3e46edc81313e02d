"""The master equation of a small congestion game: the value of being somewhere, whatever the others do.

Visitors move between places, and like neither crowds nor bad weather, which comes and goes for all of them alike.
Prints how the values converge as the mesh over the distributions is refined.

    python examples/master_equation.py
"""

import dataclasses
import itertools
import math

import jax.numpy as jnp
import numpy as np

import structmfg as smfg
from structmfg.operators import DenseKernel


@dataclasses.dataclass(frozen=True)
class Places(smfg.Game):
    """An action names a place, which is reached with probability `success`: less in bad weather (z = 1), or in a jam.

    Crowds cost in the place left and in the place reached, so the game is monotone, with one equilibrium (without
    `jam`, the share of the probability that a full place takes). `season` is what one more step of the clock adds to
    the reward of the last place.
    """

    num_states: int = 2
    horizon: int = 3
    discount: float = 0.9
    success: float = 0.8
    crowding: float = 1.0
    season: float = 0.0
    jam: float = 0.0

    @property
    def num_actions(self):
        return self.num_states

    def moves(self, weather, mean_field):
        success = (self.success - 0.3 * weather) * (1 - self.jam * mean_field)[:, None, None]
        return success * jnp.eye(self.num_states) + (1 - success) * jnp.eye(self.num_states)[:, None, :]

    def kernel(self, aggregate):
        return DenseKernel(self.moves(aggregate.noise, aggregate.mean_field))

    def reward(self, aggregate, following):
        place = jnp.arange(self.num_states)
        reach = self.moves(aggregate.noise, aggregate.mean_field)
        pleasant = 0.3 * place * (1 - 1.5 * aggregate.noise) - self.crowding * aggregate.mean_field
        reached = -self.crowding * following.mean_field - 0.4 * following.noise * (place == 0)
        effort = 0.1 * (place[:, None] != place)
        late = self.season * aggregate.time * (place == self.num_states - 1)
        return (pleasant + late)[:, None] + reach @ reached - effort

    def initial_mean_field(self, noise):
        return jnp.arange(1.0, self.num_states + 1) / (self.num_states * (self.num_states + 1) / 2)

    def noise_chain(self):
        return smfg.games.NoiseChain(np.array([0.0, 1.0]), np.array([0.6, 0.4]), np.array([[0.8, 0.2], [0.3, 0.7]]))

    def initial_noise(self, uniform):
        return self.noise_chain().first(uniform)

    def next_noise(self, noise, uniform, time):
        return self.noise_chain().following(noise, uniform)

    def observe(self, aggregate):
        return jnp.append(aggregate.mean_field, aggregate.noise)


def convergence(game, meshes, **options):
    """For every mesh: grid points, the largest difference from the next on its points, the order, and seconds."""
    solutions = [smfg.solvers.master_equation(game, mesh=mesh, **options) for mesh in meshes]
    errors = []
    for coarse, fine in itertools.pairwise(solutions):
        place = {tuple(row): i for i, row in enumerate(np.rint(fine.points * fine.mesh).astype(int))}
        shared = [place[tuple(row)] for row in np.rint(coarse.points * fine.mesh).astype(int)]
        errors.append(np.abs(coarse.values - fine.values[..., shared, :]).max())
    orders = [math.nan, *(math.log2(a / b) for a, b in itertools.pairwise(errors))]
    return [
        (solution.mesh, len(solution.points), error, order, solution.stats["seconds"])
        for solution, error, order in zip(solutions, errors, orders, strict=False)
    ]


if __name__ == "__main__":
    for num_states, meshes in {2: (8, 16, 32, 64, 128, 256), 3: (4, 8, 16, 32, 64)}.items():
        print(f"{num_states} states, infinite horizon\n mesh  points  to the next  order  seconds")
        for mesh, points, error, order, seconds in convergence(Places(num_states), meshes, temperature=0.2):
            print(f"{mesh:5d} {points:7d} {error:12.2e} {order:6.2f} {seconds:8.1f}")
