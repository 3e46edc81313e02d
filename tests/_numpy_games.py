"""The games in plain NumPy with loops, written from their definitions. Shares no code with the package.

A model has `dense(mu, z, t)` (S, A, S), `reward(mu, z, t, next_mu, next_z)` (S, A), `observe(mu, z)` and `start(z)`;
`rollout` follows a policy table along a noise path z_0..z_T.
"""

from types import SimpleNamespace

import numpy as np


def rollout(model, table, noise):
    """Mean fields (T+1, S), observations (T, O), rewards (T, S, A) and the return, accumulated forward in time."""
    mean_fields, observations, rewards, total = [model.start(noise[0])], [], [], 0.0
    for t in range(model.horizon):
        mu = mean_fields[t]
        dense = model.dense(mu, noise[t], t)
        next_mu = np.zeros_like(mu)
        for (s, a), probability in np.ndenumerate(table[t]):
            next_mu += mu[s] * probability * dense[s, a]
        reward = model.reward(mu, noise[t], t, next_mu, noise[t + 1])
        for (s, a), probability in np.ndenumerate(table[t]):
            total += model.discount**t * mu[s] * probability * reward[s, a]
        observations.append(model.observe(mu, noise[t]))
        rewards.append(reward)
        mean_fields.append(next_mu)
    return SimpleNamespace(
        mean_fields=np.array(mean_fields), observations=np.array(observations), rewards=np.array(rewards), total=total
    )


def mean(mu):
    return sum(s * mass for s, mass in enumerate(mu))


class LinearQuadratic:
    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount
        self.actions = range(-game.max_action, game.max_action + 1)

    def start(self, z):
        return np.full(self.game.num_states, 1 / self.game.num_states)

    def common(self, z, t):
        if t < self.game.first:
            return -self.game.push * z
        return self.game.push * z if t > self.game.last else 0.0

    def dense(self, mu, z, t):
        """In single precision, as the game is defined; `round` is to nearest, ties to even."""
        g, top, one = self.game, self.game.num_states - 1, np.float32
        weights = [np.exp(-k * k / 2) for k in range(-3, 4)]
        dense = np.zeros((g.num_states, len(self.actions), g.num_states))
        for s in range(g.num_states):
            for i, a in enumerate(self.actions):
                x = int(min(max(one(s + a) + one(g.volatility * g.correlation * self.common(z, t)), 0), top))
                for k, weight in zip(range(-3, 4), weights, strict=True):
                    scale = one(g.volatility * np.sqrt(1 - g.correlation**2))
                    target = min(max(round(float(one(x) + scale * one(k))), 0), top)
                    dense[s, i, target] += weight / sum(weights)
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        g, reward = self.game, np.zeros((self.game.num_states, len(self.actions)))
        for s in range(g.num_states):
            d = mean(next_mu) - s
            for i, a in enumerate(self.actions):
                running = -0.5 * a**2 + g.coupling * a * d - 0.25 * d**2
                reward[s, i] = -g.terminal_weight * d**2 if t == g.horizon - 1 else running
        return reward

    def observe(self, mu, z):
        return [mean(mu)]


class BeachBar:
    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount
        self.actions = range(-game.max_action, game.max_action + 1)

    def start(self, z):
        mu = np.full(self.game.num_states, 1 / (self.game.num_states - 1))
        mu[z[0]] = 0
        return mu

    def dense(self, mu, z, t):
        size, bar = self.game.num_states, z[0]
        dense = np.zeros((size, len(self.actions), size))
        for s in range(size):
            low = bar + 1 if s > bar else 0
            high = bar - 1 if s < bar else size - 1
            for i, a in enumerate(self.actions):
                x = min(max(s + a, low), high)
                for e, probability in ((-2, 0.05), (-1, 0.1), (0, 0.7), (1, 0.1), (2, 0.05)):
                    dense[s, i, min(max(x + e, low), high)] += probability
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        size, (bar, is_open) = self.game.num_states, z
        reward = np.zeros((size, len(self.actions)))
        for s in range(size):
            for i, a in enumerate(self.actions):
                reward[s, i] = -abs(bar - s) * is_open - abs(a) / size
                if abs(bar - s) == 1 and next_z[1] == 0:
                    reward[s, i] -= size
        return reward

    def observe(self, mu, z):
        return [mean(mu), z[1], z[0]]


class Macro:
    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount
        self.wealth = self._grid(0.0, game.max_wealth, game.num_wealth)
        self.income = self._grid(game.min_income, game.max_income, game.num_income)
        self.shares = [(i + 0.5) / game.num_actions for i in range(game.num_actions)]

    @staticmethod
    def _grid(lower, upper, count):
        pivot = max(abs(lower), 0.25)
        ratio = (upper + pivot) / (lower + pivot)
        return [max((lower + pivot) * ratio ** (i / (count - 1)) - pivot, 0.0) for i in range(count)]

    def _split(self, s):
        return divmod(s, self.game.num_income)

    def start(self, z):
        return np.full(self.game.num_states, 1 / self.game.num_states)

    def prices(self, mu, z):
        alpha = self.game.capital_share
        capital = sum(mass * self.wealth[self._split(s)[0]] for s, mass in enumerate(mu))
        labour = sum(mass * self.income[self._split(s)[1]] for s, mass in enumerate(mu))
        interest = np.exp(z) * alpha * (labour / (capital + 1e-6)) ** (1 - alpha)
        return interest, np.exp(z) * (1 - alpha) * (capital / (labour + 1e-6)) ** alpha

    def cash(self, mu, z, s):
        (w, y), (interest, wage) = self._split(s), self.prices(mu, z)
        return (1 + interest) * self.wealth[w] + wage * self.income[y]

    def dense(self, mu, z, t):
        g, grid = self.game, self.wealth
        dense = np.zeros((g.num_states, g.num_actions, g.num_states))
        for s in range(g.num_states):
            cash, y = self.cash(mu, z, s), self._split(s)[1]
            for a, share in enumerate(self.shares):
                savings = min(max(cash * (1 - share), grid[0]), grid[-1])
                left = max(i for i in range(g.num_wealth - 1) if grid[i] <= savings)
                upper = (savings - grid[left]) / (grid[left + 1] - grid[left])
                for w, lottery in ((left, 1 - upper), (left + 1, upper)):
                    for step, chance in ((-1, g.income_move), (0, 1 - 2 * g.income_move), (1, g.income_move)):
                        income = min(max(y + step, 0), g.num_income - 1)
                        dense[s, a, w * g.num_income + income] += lottery * chance
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        g, sigma = self.game, self.game.risk_aversion
        reward = np.zeros((g.num_states, g.num_actions))
        for s in range(g.num_states):
            for a, share in enumerate(self.shares):
                consumption = self.cash(mu, z, s) * (1.0 if t == g.horizon - 1 else share)
                reward[s, a] = consumption ** (1 - sigma) / (1 - sigma)
        return reward

    def observe(self, mu, z):
        return self.prices(mu, z)


class BeachBarCrowded(BeachBar):
    def reward(self, mu, z, t, next_mu, next_z):
        reward = super().reward(mu, z, t, next_mu, next_z)
        for s, mass in enumerate(mu):
            reward[s] -= self.game.crowd_aversion * np.log(mass + 1e-10)
        return reward


class CrowdModelling:
    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount

    def start(self, z):
        return np.full(self.game.num_states, 1 / self.game.num_states)

    def dense(self, mu, z, t):
        size = self.game.num_states
        dense = np.zeros((size, 3, size))
        for s in range(size):
            for i, a in enumerate((-1, 0, 1)):
                for e in (-1, 0, 1):
                    dense[s, i, (s + a + e) % size] += 1 / 3
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        size = self.game.num_states
        reward = np.zeros((size, 3))
        for s in range(size):
            for i, a in enumerate((-1, 0, 1)):
                reward[s, i] = 1 - abs(s - size // 2) / (size // 2) - np.log(mu[s] + 1e-25)
                if t < self.horizon - 1:  # paid on arrival, at t + 1
                    reward[s, i] -= self.discount * abs(a) / 10
        return reward

    def observe(self, mu, z):
        return mu


class LeftRight:
    horizon, discount = 1, 1.0

    def __init__(self, game):
        pass

    def start(self, z):
        return np.array([1.0, 0.0, 0.0])

    def dense(self, mu, z, t):
        dense = np.zeros((3, 2, 3))
        dense[:, 0, 1] = dense[:, 1, 2] = 1
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        return np.array([[-next_mu[1], -2 * next_mu[2]]] * 3)

    def observe(self, mu, z):
        return [mu[1], mu[2]]


class CarmonaFouqueSun:
    discount = 1.0

    def __init__(self, game):
        self.game, self.horizon = game, game.num_steps
        self.step = game.final_time / game.num_steps
        self.spacing = game.granularity * self.step**2
        self.half = game.num_states // 2
        self.actions = range(-(game.num_actions // 2), game.num_actions // 2 + 1)
        self.own = game.volatility**2 * (1 - game.correlation**2) * self.step

    def start(self, z):
        inside = [abs(i - self.half) * self.spacing <= self.game.spread + 1e-9 for i in range(self.game.num_states)]
        return np.array(inside) / sum(inside)

    def mean(self, mu):
        return sum((i - self.half) * self.spacing * mass for i, mass in enumerate(mu))

    def dense(self, mu, z, t):
        g, top = self.game, self.game.num_states - 1
        shift = z * round(g.volatility * g.correlation * np.sqrt(g.final_time / g.num_shocks) / self.spacing)
        cells = 1
        while (cells * self.spacing) ** 2 < self.own:
            cells += 1
        out = self.own / (2 * (cells * self.spacing) ** 2)
        dense = np.zeros((g.num_states, len(self.actions), g.num_states))
        for s in range(g.num_states):
            for i, k in enumerate(self.actions):
                x = min(max(s + k + shift, 0), top)
                for e, probability in ((-cells, out), (0, 1 - 2 * out), (cells, out)):
                    dense[s, i, min(max(x + e, 0), top)] += probability
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        g, m = self.game, self.mean(mu)
        reward = np.zeros((g.num_states, len(self.actions)))
        for s in range(g.num_states):
            distance = m - (s - self.half) * self.spacing
            for i, k in enumerate(self.actions):
                alpha = k * self.spacing / self.step - g.mean_reversion * distance
                cost = alpha**2 / 2 - g.incentive * alpha * distance + g.tracking / 2 * distance**2
                reward[s, i] = -self.step * cost
        if t == self.horizon - 1:
            missed = self.mean(next_mu) - (np.arange(g.num_states) - self.half) * self.spacing
            reward -= g.terminal_weight / 2 * self.dense(mu, z, t) @ missed**2
        return reward

    def observe(self, mu, z):
        return [self.mean(mu)]


MODELS = {
    "beach_bar": BeachBar,
    "beach_bar_crowded": BeachBarCrowded,
    "carmona_fouque_sun": CarmonaFouqueSun,
    "crowd_modelling": CrowdModelling,
    "left_right": LeftRight,
    "linear_quadratic": LinearQuadratic,
    "macro": Macro,
}
