"""Dense twins of kernels, by plain loops over their definitions, and the elimination of the states of a chain.

They share no code with the package.
"""

import itertools

import numpy as np


def clip(position, lower, upper):
    return min(max(position, lower), upper)


def lattice(num_states, offsets, *, shift=0, barriers=()):
    """P[s, a, clip(s + offset_a + shift)] = 1, into the cells that s can reach without crossing a barrier."""
    dense = np.zeros((num_states, len(offsets), num_states))
    for s in range(num_states):
        lower = max([b + 1 for b in barriers if b < s], default=0)
        upper = min([b - 1 for b in barriers if b > s], default=num_states - 1)
        for a, offset in enumerate(offsets):
            dense[s, a, clip(s + offset + shift, lower, upper)] += 1
    return dense


def noise(num_states, offsets, probabilities, *, barriers=()):
    """N[s, clip(s + offset_k)] += p_k."""
    return under(lattice(num_states, offsets, barriers=barriers), np.tile(probabilities, (num_states, 1)))


def successors(indices, probabilities):
    """P[s, a, i_k] += p_k, for lists of successors that may name one twice."""
    dense = np.zeros((*indices.shape[:2], indices.shape[0]))
    for (s, a, k), target in np.ndenumerate(indices):
        dense[s, a, target] += probabilities[s, a, k]
    return dense


def lottery(points, positions, num_inner):
    """Outer position x between points i and i + 1 goes to both by linear weights; beyond the ends, to the end."""
    num_states, num_actions = positions.shape
    dense = np.zeros((num_states, num_actions, num_states))
    for (s, a), x in np.ndenumerate(positions):
        x, inner = clip(x, points[0], points[-1]), s % num_inner
        for i, (left, right) in enumerate(itertools.pairwise(points)):
            if left <= x < right or (x == right == points[-1]):
                dense[s, a, i * num_inner + inner] += (right - x) / (right - left)
                dense[s, a, (i + 1) * num_inner + inner] += (x - left) / (right - left)
    return dense


def kronecker(num_states, chain):
    """Q on the fast index of s = outer * m + inner."""
    dense, m = np.zeros((num_states, num_states)), len(chain)
    for s in range(num_states):
        for inner in range(m):
            dense[s, s - s % m + inner] = chain[s % m, inner]
    return dense


def followed_by(move, after):
    """First the move (S, A, S), then the noise (S, S)."""
    dense = np.zeros_like(move)
    for (s, a, middle), probability in np.ndenumerate(move):
        dense[s, a] += probability * after[middle]
    return dense


def mixture(kernels, weights):
    """State s moves by kernels[j] with probability weights[j, s]."""
    dense = np.zeros_like(kernels[0])
    for (j, s), weight in np.ndenumerate(weights):
        dense[s] += weight * kernels[j][s]
    return dense


def patched(base, other, state):
    """One state moves as in the other."""
    return np.stack([other[s] if s == state else row for s, row in enumerate(base)])


def kron(move, chain):
    """Outer index by the move, inner index by the chain."""
    outer, actions, _ = move.shape
    dense = np.einsum("xay,ij->xiayj", move, chain)
    return dense.reshape(outer * len(chain), actions, outer * len(chain))


def lattice2d(shape, moves, obstacles):
    """Cell (r, c) moves to (r + dr, c + dc) where both cells are free and in the grid; else it stays."""
    height, width = shape
    dense = np.zeros((height * width, len(moves), height * width))
    for r, c, (a, (dr, dc)) in itertools.product(range(height), range(width), enumerate(moves)):
        row, column = r + dr, c + dc
        inside = 0 <= row < height and 0 <= column < width
        if not inside or obstacles[r][c] or obstacles[row][column]:
            row, column = r, c
        dense[r * width + c, a, row * width + column] = 1
    return dense


def under(dense, policy):
    """A[s, s'] = sum_a pi(a | s) P(s' | s, a)."""
    matrix = np.zeros((dense.shape[0], dense.shape[2]))
    for (s, a), probability in np.ndenumerate(policy):
        matrix[s] += probability * dense[s, a]
    return matrix


def eliminated(matrix, leaving):
    """The factors of I - D, and its pivots, by elimination without subtraction in extended precision.

    State by state, the last first, as in the textbook (Grassmann, Taksar & Heyman 1985); `leaving` are the
    probabilities of leaving D for good.
    """
    p, c = np.array(matrix, np.longdouble), np.array(leaving, np.longdouble)
    pivots = np.zeros(len(p), np.longdouble)
    for k in range(len(p) - 1, -1, -1):
        pivots[k] = p[k, :k].sum() + c[k]
        if k or pivots[k]:
            p[:k, k] /= pivots[k]
            before, after = np.flatnonzero(p[:k, k]), np.flatnonzero(p[k, :k])
            p[np.ix_(before, after)] += np.outer(p[before, k], p[k, after])
            c[:k] += p[:k, k] * c[k]
    return p, pivots


def stationary(matrix):
    """The stationary distribution of an irreducible chain, in extended precision."""
    p, _ = eliminated(matrix, np.zeros(len(matrix)))
    mass = np.ones(len(matrix), np.longdouble)
    for k in range(1, len(mass)):
        mass[k] = mass[:k] @ p[:k, k]
    return mass / mass.sum()


def direct_sum(*parts):
    """Block diagonal; an action that a part lacks does what its last one does."""
    size, actions = sum(len(part) for part in parts), max(part.shape[1] for part in parts)
    dense, start = np.zeros((size, actions, size)), 0
    for part in parts:
        for s, a in np.ndindex(len(part), actions):
            for target in range(len(part)):
                dense[start + s, a, start + target] = part[s, min(a, part.shape[1] - 1), target]
        start += len(part)
    return dense
