"""The classical iterations on trees of common noise, in plain NumPy with loops, written from the papers.

A node is the tuple z_0..z_t. A model has `dense(mu, z, t)` (S, A, S), `reward(mu, z, t, next_mu, next_z)` (S, A),
`start`, `horizon`, `discount` and `paths`, noise paths with their probabilities. Every iteration yields the policy, a
dictionary of tables (S, A), after every step. Shares no code with the package.
"""

import itertools

import numpy as np


class CrossedCoin:
    """`helpers.tiny_game.Coin`, and how its `Jammed` variant moves."""

    horizon, discount, start = 3, 0.9, np.array([0.35, 0.65])

    def __init__(self, revealed, jammed):
        signs = {-1: 0.3, 1: 0.7}
        shown = {z: tuple(z if t >= revealed else 0 for t in range(4)) for z in signs}
        self.paths = {shown[z]: probability for z, probability in signs.items()}
        self.jammed = jammed

    def dense(self, mu, z, t):
        if self.jammed:
            return np.array([[[m, 1 - m], [1 - m, m]] for m in 0.1 + 0.8 * mu])
        w = 0.2 + 0.5 * mu[0] + 0.2 * z
        tilt = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]]])
        return w * tilt + (1 - w) * np.array([[[0.1, 0.9], [0.7, 0.3]], [[0.5, 0.5], [0.9, 0.1]]])

    def reward(self, mu, z, t, next_mu, next_z):
        base, swayed = np.array([[1.0, 0.3], [-0.2, 0.5]]), np.array([[-1.0, 1.5], [2.0, -0.7]])
        after = np.array([[1.4, -1.9], [-1.8, 1.6]])
        rewards = base * (1 + t) + z * swayed + next_z * after - mu[:, None] * next_mu[0]
        return 0.1 * rewards - 3 * mu[:, None] * np.array([[1.0], [1.5]]) if self.jammed else rewards


class Tree:
    def __init__(self, model):
        self.model = model
        self.levels = [sorted({path[: t + 1] for path in model.paths}) for t in range(model.horizon + 1)]
        self.decisions = [node for level in self.levels[:-1] for node in level]
        self.probability = {
            node: sum(p for path, p in model.paths.items() if path[: len(node)] == node)
            for level in self.levels
            for node in level
        }
        size = model.dense(model.start, self.levels[0][0][-1], 0).shape[:2]
        self.uniform = {node: np.full(size, 1 / size[1]) for node in self.decisions}

    def children(self, node):
        return [child for child in self.levels[len(node)] if child[:-1] == node]

    def push(self, policy):
        """The mean field at every node."""
        mean_fields = {node: self.model.start for node in self.levels[0]}
        for node in self.decisions:
            mu, after = mean_fields[node], np.zeros_like(self.model.start)
            dense = self.model.dense(mu, node[-1], len(node) - 1)
            for (s, a), probability in np.ndenumerate(policy[node]):
                after += mu[s] * probability * dense[s, a]
            mean_fields.update(dict.fromkeys(self.children(node), after))
        return mean_fields

    def sweep(self, mean_fields, choose):
        """Policies, values and action values; choose(node, q) gives a policy and what it is worth."""
        policy, actions = {}, {}
        values = {node: np.zeros_like(self.model.start) for node in self.levels[-1]}
        for node in reversed(self.decisions):
            mu, z, t = mean_fields[node], node[-1], len(node) - 1
            q = 0
            for child in self.children(node):
                reward = self.model.reward(mu, z, t, mean_fields[child], child[-1])
                later = self.model.discount * self.model.dense(mu, z, t) @ values[child]
                q = q + self.probability[child] / self.probability[node] * (reward + later)
            actions[node] = q
            policy[node], values[node] = choose(node, q)
        return policy, values, actions

    def own(self, mean_fields, policy):
        """The policy's own values, and action values."""
        return self.sweep(mean_fields, lambda node, q: (policy[node], (policy[node] * q).sum(1)))[1:]

    def best(self, mean_fields):
        """The greedy policy, its values and its action values."""
        return self.sweep(mean_fields, lambda _, q: (np.eye(q.shape[1])[q.argmax(1)], q.max(1)))

    def exploitability(self, policy):
        mean_fields = self.push(policy)
        own, best = self.own(mean_fields, policy)[0], self.best(mean_fields)[1]
        return sum(self.probability[node] * self.model.start @ (best[node] - own[node]) for node in self.levels[0])


def softmax(x):
    weights = np.exp(x - x.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def fixed_point(tree, damping=1.0, temperature=0.0):
    expected = tree.push(tree.uniform)
    while True:
        policy, _, q = tree.best(expected)
        if temperature:
            policy = {node: softmax(q[node] / temperature) for node in q}
        reached = tree.push(policy)
        expected = {node: damping * reached[node] + (1 - damping) * expected[node] for node in reached}
        yield policy


def fictitious_play(tree, newest=None):
    """The k-th of the responses, the uniform policy being the first, has weight 1 / k in the average, or `newest`."""
    policy, occupancies = tree.uniform, []
    response = policy
    while True:
        mean_fields = tree.push(response)
        occupancies.append({node: mean_fields[node][:, None] * response[node] for node in response})
        weights = np.ones(len(occupancies))
        if newest is not None:
            weights = (1 - newest) ** np.arange(len(occupancies))[::-1] * np.r_[1, np.full(len(weights) - 1, newest)]
        mixed = {node: sum(w * each[node] for w, each in zip(weights, occupancies, strict=True)) for node in response}
        policy = {node: mass / mass.sum(1, keepdims=True) for node, mass in mixed.items()}
        if len(occupancies) > 1:
            yield policy
        response = tree.best(tree.push(policy))[0]


def online_mirror_descent(tree, learning_rate):
    policy, total = tree.uniform, dict.fromkeys(tree.uniform, 0.0)
    while True:
        _, q = tree.own(tree.push(policy), policy)
        total = {node: total[node] + q[node] for node in total}
        policy = {node: softmax(learning_rate * total[node]) for node in total}
        yield policy


def soft_response(tree, mean_fields, temperature, prior):
    """The policy that pays temperature times its divergence from the prior."""

    def choose(node, q):
        best = q.max(1)
        weights = prior[node] * np.exp((q - best[:, None]) / temperature)
        return weights / weights.sum(1, keepdims=True), best + temperature * np.log(weights.sum(1))

    return tree.sweep(mean_fields, choose)[0]


def prior_descent(tree, temperature, inner):
    """With temperature 1 / rate and inner 1 this is Munchausen mirror descent."""
    policy = prior = tree.uniform
    for step in itertools.count(1):
        policy = soft_response(tree, tree.push(policy), temperature, prior)
        if step % inner == 0:
            prior = policy
        yield policy


def accelerated(tree, stiffness):
    """Mirror steps with Nesterov's averages, before any restart."""
    policy = tree.uniform
    mean_fields = mirror = tree.push(policy)
    occupancy = {node: mirror[node][:, None] * policy[node] for node in policy}
    for step in itertools.count():
        theta = 2 / (step + 2)
        towards = {node: (1 - theta) * mean_fields[node] + theta * mirror[node] for node in mirror}
        policy = soft_response(tree, towards, stiffness * theta, policy)
        mirror = tree.push(policy)
        mean_fields = {node: (1 - theta) * mean_fields[node] + theta * mirror[node] for node in mirror}
        occupancy = {n: (1 - theta) * occupancy[n] + theta * mirror[n][:, None] * policy[n] for n in policy}
        yield {node: mass / mass.sum(1, keepdims=True) for node, mass in occupancy.items()}


def policy_iteration(tree, temperature=0.0):
    policy = tree.uniform
    while True:
        _, q = tree.own(tree.push(policy), policy)
        policy = {n: softmax(q[n] / temperature) if temperature else np.eye(q[n].shape[1])[q[n].argmax(1)] for n in q}
        yield policy
