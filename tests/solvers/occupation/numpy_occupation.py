"""MF-OMO and MF-OMI-FBS on the trees of `numpy_classical`, in plain NumPy, written from the papers.

Occupation measures are dictionaries of tables (S, A) by node. Derivatives come from imaginary steps, projections from
the conditions of Karush, Kuhn and Tucker, so that nothing is shared with the package.
"""

import numpy as np


def occupation(tree, policy):
    mean_fields = tree.push(policy)
    return {node: mean_fields[node][:, None] * policy[node] for node in tree.decisions}


def conditional(measure):
    return {node: mass / mass.sum(1, keepdims=True) for node, mass in measure.items()}


def mean_fields(tree, measure):
    """The sums over actions, and at the end what is pushed there."""
    found = {node: mass.sum(1) for node, mass in measure.items()}
    for node in tree.levels[-1]:
        found[node] = pushed(tree, found, measure, node[:-1])
    return found


def pushed(tree, fields, measure, node):
    dense = tree.model.dense(fields[node], node[-1], len(node) - 1)
    return np.einsum("sa,sap->p", measure[node], dense)


def inflow(tree, fields, measure, node):
    return tree.model.start if len(node) == 1 else pushed(tree, fields, measure, node[:-1])


def rewards(tree, fields, node):
    total = 0
    for child in tree.children(node):
        share = tree.probability[child] / tree.probability[node]
        total = total + share * tree.model.reward(fields[node], node[-1], len(node) - 1, fields[child], child[-1])
    return total


def action_values(tree, fields, values, node):
    q = rewards(tree, fields, node)
    dense = tree.model.dense(fields[node], node[-1], len(node) - 1)
    for child in tree.children(node):
        if child in values:
            q = q + tree.model.discount * tree.probability[child] / tree.probability[node] * dense @ values[child]
    return q


def objective(tree, measure, values, slacks, optimality=1.0, complementarity=1.0):
    fields, total = mean_fields(tree, measure), 0.0
    for node in tree.decisions:
        weight = tree.probability[node]
        kept = measure[node].sum(1) - inflow(tree, fields, measure, node)
        short = values[node][:, None] - slacks[node] - action_values(tree, fields, values, node)
        played = tree.model.discount ** (len(node) - 1) * (slacks[node] * measure[node]).sum()
        total += weight * ((kept**2).sum() + optimality * (short**2).sum() + complementarity * played)
    return total


def on_simplex(mass):
    """The nearest distribution, by bisection for what is taken off everywhere."""
    low, high = mass.min() - 1, mass.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(mass - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(mass - high, 0)


def optimise(tree, rate, softmax=False, weights=(1.0, 1.0)):
    """Adam on derivatives by imaginary steps, then projections; yields policies."""
    measure = occupation(tree, tree.uniform)
    values = {n: v for n, v in tree.best(tree.push(tree.uniform))[1].items() if n in measure}
    fields = mean_fields(tree, measure)
    slacks = {n: np.maximum(values[n][:, None] - action_values(tree, fields, values, n), 0) for n in measure}
    unknowns = [{n: np.log(m) for n, m in measure.items()} if softmax else measure, values, slacks]
    sizes = [(part, node, unknowns[part][node].shape) for part in range(3) for node in tree.decisions]
    x = np.concatenate([unknowns[part][node].ravel() for part, node, _ in sizes])

    def unpack(x):
        parts, start = [{}, {}, {}], 0
        for part, node, shape in sizes:
            parts[part][node] = x[start : start + np.prod(shape)].reshape(shape)
            start += np.prod(shape)
        return parts

    def measure_of(logits):
        return {n: np.exp(u) / np.exp(u).sum() for n, u in logits.items()} if softmax else logits

    def value(x):
        parts = unpack(x)
        return objective(tree, measure_of(parts[0]), *parts[1:], *weights)

    first, second = np.zeros_like(x), np.zeros_like(x)
    for count in range(1, 100):
        gradient = np.array([value(x + 1e-30j * e).imag / 1e-30 for e in np.eye(len(x))])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        x = x - rate * (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        parts = unpack(x)
        for node in tree.decisions:
            parts[2][node][:] = np.maximum(parts[2][node], 0)
            if not softmax:
                parts[0][node][:] = on_simplex(parts[0][node])
        yield conditional(measure_of(parts[0]))


def project(tree, fields, goal):
    """The nearest occupation measure, by guesses of where it is zero until all conditions hold."""
    nodes, shape = tree.decisions, tree.uniform[tree.decisions[0]].shape
    at = {node: i for i, node in enumerate(nodes)}
    states, entries = shape[0], shape[0] * shape[1]
    matrix, right = np.zeros((states * len(nodes), entries * len(nodes))), np.zeros(states * len(nodes))
    weights = np.repeat([tree.model.discount ** (len(n) - 1) * tree.probability[n] for n in nodes], entries)
    for node, i in at.items():
        rows = slice(states * i, states * (i + 1))
        matrix[rows, entries * i : entries * (i + 1)] = np.kron(np.eye(states), np.ones(shape[1]))
        if len(node) == 1:
            right[rows] = tree.model.start
            continue
        before = node[:-1]
        dense = tree.model.dense(fields[before], before[-1], len(before) - 1)
        matrix[rows, entries * at[before] : entries * (at[before] + 1)] -= dense.reshape(entries, states).T
    wanted, zero = np.concatenate([goal[node].ravel() for node in nodes]), np.zeros(len(weights), bool)
    for _ in range(100):
        scaled = np.where(zero, 0, matrix / weights)
        multipliers = np.linalg.lstsq(scaled @ matrix.T, matrix @ np.where(zero, 0, wanted) - right, rcond=None)[0]
        free = wanted - multipliers @ matrix / weights
        found = np.where(zero, 0, free)
        if (found >= -1e-12).all() and (free[zero] <= 1e-12).all():
            np.testing.assert_allclose(matrix @ found, right, atol=1e-10)
            return {
                node: np.maximum(found[entries * i : entries * (i + 1)], 0).reshape(shape) for node, i in at.items()
            }
        zero = free < 0
    raise AssertionError("no guess satisfies the conditions")


def inclusion(tree, rate, perturbation=0.0):
    """Steps along the rewards and projections; yields policies."""
    measure = occupation(tree, tree.uniform)
    while True:
        fields = mean_fields(tree, measure)
        goal = {n: m + rate * (rewards(tree, fields, n) - perturbation * m) for n, m in measure.items()}
        measure = project(tree, fields, goal)
        yield conditional(measure)
