"""Random games of a few states on trees of common noise, and the exploitability of a policy object in plain NumPy.

Everything that is random sits in the noise itself, so that one compilation serves all games of one shape. The NumPy
side shares no code with the package: it walks over histories, asks the policy for its logits at each, and enumerates.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from structmfg.games import Game, NoiseChain
from structmfg.operators import DenseKernel


@dataclasses.dataclass(frozen=True, eq=False)
class RandomGame(Game):
    """Two games of one `shape` are the same program; `values` (one entry a noise state) is what differs."""

    shape: tuple[int, int, int, int, str]  # states, actions, horizon, noise states, what is observed
    values: dict
    first: np.ndarray
    transition: np.ndarray
    discount: float

    def __eq__(self, other):
        return (self.shape, self.discount) == (other.shape, other.discount)

    def __hash__(self):
        return hash((self.shape, self.discount))

    num_states = property(lambda self: self.shape[0])
    num_actions = property(lambda self: self.shape[1])
    horizon = property(lambda self: self.shape[2])

    def kernel(self, aggregate):
        z, mass = aggregate.noise, aggregate.mean_field[0]
        weight = z["sway"] * mass
        return DenseKernel((1 - weight) * z["moves"] + weight * z["jammed"])

    def reward(self, aggregate, following):
        z, mu = aggregate.noise, aggregate.mean_field
        ahead = following.noise["after"] - z["crowd"] * following.mean_field[0]
        return z["rewards"] - z["crowd"] * mu[:, None] + ahead * jnp.arange(self.num_actions)

    def observe(self, aggregate):
        everything = jnp.concatenate([aggregate.mean_field, aggregate.noise["index"][None]])
        return everything[: {"all": self.num_states + 1, "some": 1, "nothing": 0}[self.shape[4]]]

    def initial_mean_field(self, noise):
        return noise["start"]

    def initial_noise(self, uniform):
        raise AssertionError("exact solvers never draw the noise")

    next_noise = initial_noise

    def noise_chain(self):
        values = jax.tree.map(lambda x: np.asarray(x), self.values)
        return NoiseChain(values, self.first, self.transition)


def random_game(rng, shape, discount=0.9, scale=1.0):
    """A game; in half of them moves do not depend on the noise, so that the public has perfect recall."""
    states, actions, _, noises, _ = shape

    def rows(*size):
        drawn = rng.dirichlet(np.full(size[-1], 0.7), size[:-1])
        drawn[..., 0] += 1 - drawn.sum(-1)
        return drawn

    one = rng.random() < 0.5
    kernels = [rows(1 if one else noises, states, actions, states) for _ in range(2)]
    moves, jammed = (np.broadcast_to(kernel, (noises, states, actions, states)).copy() for kernel in kernels)
    sway = np.full(noises, rng.choice([0.0, rng.random()]))
    start = np.broadcast_to(rows(states), (noises, states)).copy()
    values = {
        "after": scale * rng.normal(size=noises),
        "crowd": scale * rng.choice([0, 1, 3]) * np.ones(noises),
        "index": np.arange(noises, dtype=float),
        "jammed": jammed,
        "moves": moves,
        "rewards": scale * (rng.normal(size=(noises, states, actions)) + rng.choice([0.0, 1e4])),
        "start": start,
        "sway": sway,
    }
    return RandomGame(shape, values, rows(noises), rows(noises, noises), discount)


@eqx.filter_jit
def _next(policy, hidden, signal, time):
    hidden = policy.update(hidden, signal, time)
    return hidden, policy.decode(policy.prepare(), hidden)


class Oracle:
    """The game and the policy at all histories of the noise, in double precision."""

    def __init__(self, game, policy):
        self.game, self.horizon = game, game.horizon
        self.nodes = [[(z,) for z in range(len(game.first)) if game.first[z] > 0]]
        self.probability = {node: game.first[node[0]] for node in self.nodes[0]}
        self.mean_field, self.policy, self.observed, hidden = {}, {}, {}, {}
        for time in range(self.horizon + 1):
            for node in self.nodes[time]:
                above = node[:-1]
                z = {name: value[node[-1]] for name, value in game.values.items()}
                if time == 0:
                    self.mean_field[node] = np.asarray(z["start"])
                else:
                    moved = self.mean_field[above][:, None] * self.policy[above]
                    self.mean_field[node] = np.einsum("sa,sat->t", moved, self.kernel(above))
                if time == self.horizon:
                    continue
                everything = np.append(self.mean_field[node], z["index"])
                size = {"all": game.num_states + 1, "some": 1, "nothing": 0}[game.shape[4]]
                self.observed[node] = (*self.observed.get(above, ()), everything[:size])
                noise = np.concatenate([np.ravel(z[name]) for name in sorted(z)])
                signal = jnp.asarray(noise if policy.informed else everything[:size], float)
                before = hidden[above] if time else policy.start()
                hidden[node], logits = _next(policy, before, signal, jnp.asarray(time))
                logits = np.asarray(logits, float)
                weights = np.exp(logits - logits.max(-1, keepdims=True))
                self.policy[node] = weights / weights.sum(-1, keepdims=True)
            if time < self.horizon:
                self.nodes.append([(*n, z) for n in self.nodes[time] for z in range(len(game.first))])
                for node in self.nodes[-1]:
                    self.probability[node] = self.probability[node[:-1]] * game.transition[node[-2], node[-1]]

    def kernel(self, node):
        values, mass = self.game.values, self.mean_field[node][0]
        weight = values["sway"][node[-1]] * mass
        return (1 - weight) * values["moves"][node[-1]] + weight * values["jammed"][node[-1]]

    def q(self, node, values):
        """Action values against the values at the children."""
        z, q = {name: value[node[-1]] for name, value in self.game.values.items()}, 0.0
        for after in range(len(self.game.first)):
            child = (*node, after)
            ahead = self.game.values["after"][after] - z["crowd"] * self.mean_field[child][0]
            reward = (
                z["rewards"] - z["crowd"] * self.mean_field[node][:, None] + ahead * np.arange(self.game.num_actions)
            )
            later = self.kernel(node) @ values.get(child, np.zeros(self.game.num_states))
            q = q + self.game.transition[node[-1], after] * (reward + self.game.discount * later)
        return q

    def exploitability(self, information):
        """By enumeration of the histories; under public information those with perfect recall only."""
        best, own = {}, {}
        for time in reversed(range(self.horizon)):
            level = self.nodes[time]
            q = {node: self.q(node, best) for node in level}
            mine = {node: (self.policy[node] * self.q(node, own)).sum(-1) for node in level}
            for node in level:
                alike = [node]
                if information == "public":
                    alike = [n for n in level if self._alike(n, node)]
                weights = np.array([self.probability[n] for n in alike])
                mean = np.einsum("n,nsa->sa", weights / weights.sum(), np.array([q[n] for n in alike]))
                choice = mean.argmax(-1)
                best[node] = q[node][np.arange(self.game.num_states), choice]
            own.update(mine)
        return sum(self.probability[node] * self.mean_field[node] @ (best[node] - own[node]) for node in self.nodes[0])

    def _alike(self, one, other):
        pairs = zip(self.observed[one], self.observed[other], strict=True)
        return all(np.all(np.abs(a - b) <= 3e-8) for a, b in pairs)
