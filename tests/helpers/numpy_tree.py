"""The entropy-regularised equilibrium on the tree of noise histories, in plain NumPy with loops, by damping.

A model has `dense(mu, z, t)` (S, A, S), `reward(mu, z, t, next_mu, next_z)` (S, A) and `discount`; `Places` is that of
`examples/master_equation.py`, written from its definition. Shares no code with the package.
"""

import itertools

import numpy as np


def soft_tree(model, start, first, transition, horizon, temperature, damping=0.9, tolerance=1e-12):
    """Values (S,) and the policy (S, A) at the root: all noise histories from z_0 = `first`, and mu_0 = `start`."""
    noises = range(len(transition))
    histories = [[(first, *later) for later in itertools.product(noises, repeat=time)] for time in range(horizon + 1)]
    mean_fields = {node: np.array(start) for level in histories for node in level}
    for _ in range(2000):
        values = {node: np.zeros(len(start)) for node in histories[horizon]}
        policies, moved = {}, {histories[0][0]: np.array(start)}
        for time in reversed(range(horizon)):
            for node in histories[time]:
                mu, z, q = mean_fields[node], node[-1], 0.0
                for after in noises:
                    child = (*node, after)
                    reward = model.reward(mu, z, time, mean_fields[child], after)
                    q = q + transition[z][after] * (reward + model.discount * model.dense(mu, z, time) @ values[child])
                weights = np.exp((q - q.max(1, keepdims=True)) / temperature)
                policies[node] = weights / weights.sum(1, keepdims=True)
                values[node] = q.max(1) + temperature * np.log(weights.sum(1))
        for time in range(horizon):
            for node in histories[time]:
                arrived = np.zeros(len(start))
                for (s, a), probability in np.ndenumerate(policies[node]):
                    arrived += moved[node][s] * probability * model.dense(moved[node], node[-1], time)[s, a]
                moved.update({(*node, after): arrived for after in noises})
        change = max(np.abs(moved[node] - mean_fields[node]).max() for node in moved)
        mean_fields = {node: damping * mean_fields[node] + (1 - damping) * moved[node] for node in moved}
        if change <= tolerance:
            return values[histories[0][0]], policies[histories[0][0]]
    raise AssertionError(f"the tree did not converge: {change:g}")


class Places:
    def __init__(self, game):
        self.game, self.discount, self.places = game, game.discount, range(game.num_states)

    def dense(self, mu, z, t):
        dense = np.zeros((len(self.places),) * 3)
        for s, a in itertools.product(self.places, repeat=2):
            success = (self.game.success - 0.3 * z) * (1 - self.game.jam * mu[s])
            dense[s, a, a] += success
            dense[s, a, s] += 1 - success
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        game, reward = self.game, np.zeros((len(self.places),) * 2)
        for s, a in itertools.product(self.places, repeat=2):
            reward[s, a] = 0.3 * s * (1 - 1.5 * z) - game.crowding * mu[s] - 0.1 * (s != a)
            reward[s, a] += game.season * t * (s == self.places[-1])
            for reached, probability in enumerate(self.dense(mu, z, t)[s, a]):
                reward[s, a] -= probability * (game.crowding * next_mu[reached] + 0.4 * next_z * (reached == 0))
        return reward
