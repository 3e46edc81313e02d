"""A game of one's own in about thirty lines: where to swim when the weather may turn.

Swimmers on a line of 21 cells dislike company; a storm, once it has begun, makes the open sea (high cells) costly.

    python examples/own_game.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import structmfg as smfg
from structmfg.operators import LatticeKernel, LatticeNoise


class Swimmers(smfg.Game):
    num_states, num_actions, horizon, discount = 21, 3, 12, 0.95

    def kernel(self, aggregate):
        move = LatticeKernel(self.num_states, [-1, 0, 1])
        return move >> LatticeNoise(self.num_states, [-1, 0, 1], [0.1, 0.8, 0.1])

    def reward(self, aggregate, following):
        out = jnp.arange(self.num_states) / self.num_states
        of_state = out * (1 - 3 * aggregate.noise) - jnp.log(aggregate.mean_field + 1e-3) / 5
        return of_state[:, None] - jnp.array([0.1, 0.0, 0.1])

    def initial_noise(self, uniform):
        return jnp.zeros(())

    def next_noise(self, noise, uniform, time):
        return jnp.maximum(noise, uniform < 0.1)

    def noise_chain(self):  # optional: makes the exact solvers apply
        return smfg.games.NoiseChain(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([[0.9, 0.1], [0.0, 1.0]]))

    def observe(self, aggregate):
        return jnp.array([1.0, 0.0]) * aggregate.noise + jnp.array([0.0, 1.0]) * aggregate.mean_field.max()


def main(updates=300, tolerance=1e-4):
    game = Swimmers()
    solver = smfg.solvers.RSPG(smfg.policies.recurrent(game), temperature=1.0, final_temperature=1e-3)
    solution = smfg.solvers.solve(game, solver, key=jax.random.key(0), max_steps=updates)
    exact = smfg.solvers.solve(game, smfg.solvers.ExactEquilibrium(tolerance=tolerance), max_steps=2000)
    print(exact.result.value)
    policies = {"uniform": smfg.policies.uniform(game), "trained": solution.policy, "exact": exact.policy}
    kind = "non_anticipative"
    return {name: smfg.solvers.exploitability(game, policy, kind=kind).value for name, policy in policies.items()}


if __name__ == "__main__":
    print(main())
