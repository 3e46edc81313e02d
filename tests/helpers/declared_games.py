"""A tiny game that declares any of public state, actions, prices and allowed actions, and the same in plain NumPy.

The NumPy side shares nothing with the package: it follows histories of the noise one by one, solves each market in
closed form or by SciPy's Brent, and evaluates one agent by recursion over its own actions.
"""

import dataclasses
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from structmfg.games import AggregateState, Game, NoiseChain
from structmfg.operators import DenseKernel

STATES, ACTIONS, HORIZON, DISCOUNT = 3, 2, 3, 0.9
STAY = 0.7  # the probability that the noise stays
PARTS = ("public", "actions", "price", "allowed")


def definition(np, mu, z, x, n, p):
    """Kernel (S, A, S) and what rewards are made of, written once more below with the array library of the caller."""
    up = 0.25 + 0.2 * np.tanh(0.5 * n + 0.7 * x - 0.4 * p + mu[0] + 0.3 * z)
    idle, busy = 0.5 * up, up
    rows = []
    for state in range(STATES):
        low, high = max(state - 1, 0), min(state + 1, STATES - 1)
        for chance in (idle, busy):
            row = [0.0] * STATES
            row[low] = row[low] + 0.2
            row[state] = row[state] + 0.8 - chance
            row[high] = row[high] + chance
            rows.append(np.stack([np.asarray(entry) * 1.0 for entry in row]))
    return np.stack(rows).reshape(STATES, ACTIONS, STATES)


class Declared(Game):
    """The tiny game; a subclass for each set of declared parts is made by `tiny_game`."""

    num_states, num_actions, horizon, discount = STATES, ACTIONS, HORIZON, DISCOUNT
    parts: tuple[str, ...] = ()

    def __init__(self, crowd=1.0):
        self.crowd = crowd

    def parameters(self, aggregate):
        public = 0.0 if aggregate.public is None else aggregate.public["level"]
        actions = 0.0 if aggregate.actions is None else aggregate.actions[0]
        price = 0.0 if aggregate.price is None else aggregate.price[0]
        return public, actions, price

    def kernel(self, aggregate):
        z = aggregate.noise
        return DenseKernel(definition(jnp, aggregate.mean_field, z, *self.parameters(aggregate)))

    def reward(self, aggregate, following):
        x, n, p = self.parameters(aggregate)
        assert following.actions is None
        assert following.price is None
        later = 0.0 if following.public is None else following.public["level"]
        states, actions = jnp.arange(STATES)[:, None], jnp.arange(ACTIONS)[None]
        effort = -actions * (0.15 + 0.2 * p + 0.3 * n)
        crowd = self.crowd * (aggregate.mean_field + 0.5 * following.mean_field)[:, None]
        rewards = 0.4 * states + effort - crowd + 0.3 * later * states + 0.1 * x * actions
        forbidden = jnp.nan if "allowed" in self.parts else 0.0
        return jnp.where((states == 2) & (actions == 1) & (aggregate.noise == 1), rewards + forbidden, rewards)

    def observe(self, aggregate):
        assert aggregate.actions is None
        x, _, p = self.parameters(aggregate)
        return jnp.stack([aggregate.mean_field[0], aggregate.noise * 1.0, x * 1.0, p * 1.0])

    def initial_noise(self, uniform):
        return (uniform > 0.5).astype(int)

    def next_noise(self, noise, uniform, time):
        return jnp.where(uniform < STAY, noise, 1 - noise)

    def noise_chain(self):
        return NoiseChain(jnp.arange(2), [0.5, 0.5], [[STAY, 1 - STAY], [1 - STAY, STAY]])

    def initial_mean_field(self, noise):
        return jnp.array([0.5, 0.3, 0.2])


class _Public:
    def initial_public(self, noise):
        return {"level": 0.2 + 0.1 * noise, "count": jnp.zeros((), int)}

    def next_public(self, aggregate, next_noise):
        _, n, p = self.parameters(aggregate)
        level, count = aggregate.public["level"], aggregate.public["count"]
        return {"level": 0.5 * level + 0.3 * aggregate.mean_field[0] + 0.2 * n + 0.1 * next_noise - 0.1 * p,
                "count": count + 1}  # fmt: skip


class _Actions:
    def action_statistics(self, aggregate, joint):
        _, _, p = self.parameters(aggregate)
        return jnp.stack([joint[:, 1].sum() * (1 + 0.5 * p), joint[0, 1]])


class _Price:
    def price_bracket(self, aggregate):
        return jnp.array([-4.0]), jnp.array([4.0])

    def excess_demand(self, aggregate, price, joint):
        x, _, _ = self.parameters(aggregate)
        weights = 1 + 0.3 * jnp.arange(STATES)
        return (0.3 + joint[:, 1] @ weights) * jnp.exp(-price) - (0.25 + 0.1 * x + 0.1 * aggregate.noise)


class _Allowed:
    def allowed(self, aggregate):
        states, actions = jnp.arange(STATES)[:, None], jnp.arange(ACTIONS)[None]
        return ~((states == 2) & (actions == 1) & (aggregate.noise == 1))


_MIXINS = {"public": _Public, "actions": _Actions, "price": _Price, "allowed": _Allowed}


def tiny_game(*parts, crowd=1.0):
    """The tiny game that declares these parts."""
    return type("Tiny", (*(_MIXINS[part] for part in parts), Declared), {"parts": parts})(crowd)


@dataclasses.dataclass
class Node:
    """The aggregate state after a history of the noise, in NumPy, with the policy (S, A) that is played there."""

    mu: np.ndarray
    z: int
    x: float
    n: np.ndarray
    p: float
    policy: np.ndarray

    @property
    def state(self):
        return self.x, float(self.n[0]), self.p


@dataclasses.dataclass
class Plain:
    """The tiny game in NumPy. `play(t, history, observation)` is the table (S, A) that the population plays."""

    parts: tuple[str, ...]
    play: Any
    crowd: float = 1.0

    def __post_init__(self):
        self.nodes = {}
        for t in range(HORIZON + 1):
            for history in itertools.product((0, 1), repeat=t + 1):
                self.nodes[history] = self._node(history)

    def probability(self, history):
        total = 0.5
        for before, after in itertools.pairwise(history):
            total *= STAY if before == after else 1 - STAY
        return total

    def _node(self, history):
        z = history[-1]
        if len(history) == 1:
            mu, x = np.array([0.5, 0.3, 0.2]), (0.2 + 0.1 * z) * ("public" in self.parts)
        else:
            before = self.nodes[history[:-1]]
            kernel = definition(np, before.mu, before.z, *before.state)
            mu = np.zeros(STATES)
            for s, a, to in itertools.product(range(STATES), range(ACTIONS), range(STATES)):
                mu[to] += before.mu[s] * before.policy[s, a] * kernel[s, a, to]
            x = 0.5 * before.x + 0.3 * before.mu[0] + 0.2 * before.n[0] + 0.1 * z - 0.1 * before.p
            x *= "public" in self.parts
        if len(history) == HORIZON + 1:
            return Node(mu, z, x, np.zeros(2), 0.0, np.zeros((STATES, ACTIONS)))

        def played(p):
            table = np.array(self.play(len(history) - 1, history, np.array([mu[0], z, x, p])))
            if "allowed" in self.parts and z == 1:
                table[2] = 1.0, 0.0
            return table

        p = 0.0
        if "price" in self.parts:
            supply = 0.25 + 0.1 * x + 0.1 * z

            def excess(p):
                demand = sum(mu[s] * played(p)[s, 1] * (1 + 0.3 * s) for s in range(STATES))
                return (0.3 + demand) * np.exp(-p) - supply

            p = brentq(excess, -4, 4, xtol=1e-15, rtol=1e-15)
        table = played(p)
        n = np.zeros(2)
        if "actions" in self.parts:
            busy = mu * table[:, 1]
            n = np.array([busy.sum() * (1 + 0.5 * p), busy[0]])
        return Node(mu, z, x, n, p, table)

    def kernel(self, history):
        now = self.nodes[history]
        return definition(np, now.mu, now.z, *now.state)

    def reward(self, history, after, s, a):
        now, then = self.nodes[history], self.nodes[after]
        effort = -a * (0.15 + 0.2 * now.p + 0.3 * now.n[0])
        crowd = self.crowd * (now.mu[s] + 0.5 * then.mu[s])
        return 0.4 * s + effort - crowd + 0.3 * then.x * s + 0.1 * now.x * a

    def actions(self, history, s):
        forbidden = "allowed" in self.parts and s == 2 and history[-1] == 1
        return (0,) if forbidden else (0, 1)

    def value(self, history, s, choose):
        """The value in state s after a history; `choose(history, s, values)` weighs the values of the actions."""
        if len(history) == HORIZON + 1:
            return 0.0
        now, values = self.nodes[history], {}
        kernel = definition(np, now.mu, now.z, *now.state)
        for a in self.actions(history, s):
            values[a] = 0.0
            for z in (0, 1):
                after, chance = (*history, z), STAY if z == history[-1] else 1 - STAY
                later = sum(kernel[s, a, to] * self.value(after, to, choose) for to in range(STATES))
                values[a] += chance * (self.reward(history, after, s, a) + DISCOUNT * later)
        return choose(history, s, values)

    def mean(self, choose):
        """The mean value over the noise and the population at t = 0."""
        start = np.array([0.5, 0.3, 0.2])
        return sum(0.5 * start[s] * self.value((z,), s, choose) for z in (0, 1) for s in range(STATES))

    def own(self, history, s, values):
        return sum(self.nodes[history].policy[s, a] * value for a, value in values.items())

    def exploitability(self):
        return self.mean(lambda _, __, values: max(values.values())) - self.mean(self.own)


def population_state(game, mu, z, t):
    """An aggregate state before agents act, at the public state of t = 0."""
    return AggregateState(jnp.asarray(mu), jnp.asarray(z), jnp.asarray(t), game.initial_public(jnp.asarray(z)))
