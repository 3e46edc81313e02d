"""Several populations: a game of two against plain NumPy, equal copies of one, and what is refused."""

import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.evaluation import Certificate, best_response, evaluate_paths, exploitability, policy_gradient, rollout
from structmfg.games import CrowdModelling, Game, NoiseChain, NoiselessGame, Population, PopulationGame, noise_tree
from structmfg.operators import DenseKernel, direct_sum
from structmfg.policies import TabularPolicy, tabular, uniform
from structmfg.solvers import RESULTS, ExactEquilibrium, OnlineMirrorDescent, TreeSolver, players, solve
from structmfg.verification.populations import simulate_population

rng = np.random.default_rng(5)
T, GAMMA, STAY = 3, 0.9, 0.7
MASSES = np.array([0.3, 0.7])
KERNELS = [rng.dirichlet(np.ones(2), (2, 2, actions)) for actions in (3, 2)]  # of each: (noise, state, action, state)
REWARDS = [rng.normal(size=(2, 2, actions)) for actions in (3, 2)]
STARTS = [np.array([0.9, 0.1]), np.array([0.25, 0.75])]
LIKES = np.array([[-1.5, 1.0], [-2.0, -0.8]])  # of a cell: its share of either population
TABLES = [rng.dirichlet(np.ones(actions), (T, 2)) for actions in (3, 2)]


class Chase(Game):
    """Foxes with three actions and hares with two, each in one of two cells."""

    num_states, num_actions, horizon, discount = 4, 3, T, GAMMA

    def __init__(self, masses=MASSES, likes=LIKES):
        self.masses, self.likes = masses, likes

    @property
    def populations(self):
        return (
            Population("foxes", slice(0, 2), self.masses[0]),
            Population("hares", range(2, 4), self.masses[1]),
        )

    def kernel(self, aggregate):
        return direct_sum(*(DenseKernel(jnp.asarray(each, float)[aggregate.noise]) for each in KERNELS))

    def reward(self, aggregate, following):
        foxes, hares = (jnp.asarray(each, float)[aggregate.noise] for each in REWARDS)
        own = jnp.concatenate([foxes, jnp.pad(hares, ((0, 0), (0, 1)), constant_values=99.0)])  # the last is forbidden
        share = aggregate.mean_field.reshape(2, 2) / jnp.asarray(self.masses)[:, None]
        return own + (jnp.asarray(self.likes) @ share).reshape(4, 1)

    def allowed(self, aggregate):
        return jnp.asarray(Chase.kernel(self, aggregate).own_actions)

    def observe(self, aggregate):
        return jnp.append(aggregate.mean_field, aggregate.noise)

    def initial_mean_field(self, noise):
        return jnp.concatenate(
            [mass * start for mass, start in zip(self.masses, map(jnp.asarray, STARTS), strict=True)]
        )

    def noise_chain(self):
        return NoiseChain(np.arange(2), [0.5, 0.5], [[STAY, 1 - STAY], [1 - STAY, STAY]])

    def initial_noise(self, uniform):
        raise AssertionError("the noise is listed")

    next_noise = initial_noise


def joined(foxes, hares):
    """One table of both populations."""
    return np.concatenate([foxes, np.pad(hares, ((0, 0), (0, 0), (0, 1)))], axis=1)


def by_hand(tables):
    """By population: the exploitability and the return of one agent, when each plays tables (history -> (2, A))."""
    gains, returns = np.zeros(2), np.zeros(2)
    shares, rewards = {}, {}
    for length in range(1, T + 1):
        for history in itertools.product((0, 1), repeat=length):
            for i in range(2):
                if length == 1:
                    shares[history, i] = STARTS[i]
                else:
                    before, z = history[:-1], history[-2]
                    joint = shares[before, i][:, None] * tables[i](before)
                    shares[history, i] = np.einsum("sa,sat->t", joint, KERNELS[i][z])
            for i in range(2):
                crowd = LIKES[i, 0] * shares[history, 0] + LIKES[i, 1] * shares[history, 1]
                rewards[history, i] = REWARDS[i][history[-1]] + crowd[:, None]

    def values(history, i):
        """Of a best response, and of the tables."""
        if len(history) > T:
            return np.zeros(2), np.zeros(2)
        z, best, own = history[-1], 0.0, 0.0
        for following in (0, 1):
            probability = STAY if following == z else 1 - STAY
            after = values((*history, following), i)
            best, own = best + probability * after[0], own + probability * after[1]
        q = rewards[history, i] + GAMMA * KERNELS[i][z] @ best
        played = rewards[history, i] + GAMMA * KERNELS[i][z] @ own
        return q.max(-1), (tables[i](history) * played).sum(-1)

    for z, i in itertools.product((0, 1), (0, 1)):
        best, own = values((z,), i)
        gains[i] += 0.5 * STARTS[i] @ (best - own)
        returns[i] += 0.5 * STARTS[i] @ own
    return gains, returns


def test_exploitability_and_return_by_population_are_those_of_numpy(double):
    game = Chase()
    policy = TabularPolicy(jnp.asarray(joined(*TABLES)), within_allowed=True)
    gains, returns = by_hand([lambda history, i=i: TABLES[i][len(history) - 1] for i in range(2)])
    response = best_response(game, policy)
    np.testing.assert_allclose([response.by_population[name] for name in ("foxes", "hares")], gains, atol=1e-12)
    np.testing.assert_allclose(list(response.returns_by_population.values()), returns, atol=1e-12)
    assert abs(exploitability(game, policy, kind="non_anticipative").value - MASSES @ gains) < 1e-12
    paths = game.scenarios()
    along = evaluate_paths(game, policy, paths.noise)
    np.testing.assert_allclose([paths.probabilities @ x for x in along.by_population.values()], returns, atol=1e-12)
    clairvoyant = best_response(game, policy, kind="clairvoyant")
    total = sum(mass * gain for mass, gain in zip(MASSES, clairvoyant.by_population.values(), strict=True))
    assert abs(total - clairvoyant.exploitability) < 1e-12


def test_the_gradient_is_a_difference_quotient_of_numpy(double):
    """An agent's return by its own logits, while both populations go on as before."""
    game = Chase()
    path = jnp.array([0, 1, 1, 0])
    logits = np.log(joined(*TABLES) + (joined(*TABLES) == 0))
    trajectory = rollout(game, TabularPolicy(jnp.asarray(joined(*TABLES)), within_allowed=True), path)
    found = policy_gradient(game, trajectory.aggregates, jnp.asarray(logits), jnp.asarray(0.0))[2]
    shares = [list(trajectory.aggregates.mean_field[:, 2 * i : 2 * i + 2] / MASSES[i]) for i in range(2)]

    def mean_return(i, own_logits):
        mass, total = STARTS[i], 0.0
        for t in range(T):
            z = int(path[t])
            play = np.exp(own_logits[t]) / np.exp(own_logits[t]).sum(-1, keepdims=True)
            crowd = LIKES[i, 0] * shares[0][t] + LIKES[i, 1] * shares[1][t]
            total += GAMMA**t * np.sum(mass[:, None] * play * (REWARDS[i][z] + crowd[:, None]))
            mass = np.einsum("s,sa,sat->t", mass, play, KERNELS[i][z])
        return total

    for i, actions in enumerate((3, 2)):
        own = logits[:, 2 * i : 2 * i + 2, :actions]
        for t, s, a in itertools.product(range(T), range(2), range(actions)):
            step = np.zeros_like(own)
            step[t, s, a] = 1e-5
            quotient = (mean_return(i, own + step) - mean_return(i, own - step)) / 2e-5
            assert abs(found[t, 2 * i + s, a] - MASSES[i] * quotient) < 1e-9
    np.testing.assert_array_equal(found[:, 2:, 2], 0)


def test_the_certified_equilibrium_is_one_in_numpy(double):
    game = Chase()
    solution = solve(game, ExactEquilibrium(tolerance=1e-7), max_steps=4000)
    assert solution.result is RESULTS.converged
    tree = noise_tree(game)
    table, states = np.asarray(jax.nn.softmax(solution.policy.logits)), np.asarray(tree.noise)
    tables = {}
    for path in np.asarray(tree.nodes).T:
        for t in range(T):
            tables[tuple(int(states[node]) for node in path[: t + 1])] = table[path[t]]
    gains, _ = by_hand([lambda h: tables[h][:2], lambda h: tables[h][2:, :2]])
    told = solution.stats["exploitability_by_population"]
    np.testing.assert_allclose(list(told.values()), gains, atol=1e-9)
    assert max(told.values()) <= 1e-7


class Still(TreeSolver):
    """Plays uniformly for ever."""

    tolerance: float
    information: str = eqx.field(static=True, default="full")

    def init(self, problem):
        return jnp.zeros(())

    def step(self, problem, state):
        return state

    def certify(self, problem, state):
        policy, flow = problem.play(problem.uniform())
        return state, Certificate(*problem.certify(flow, policy))

    def policy_at(self, problem, state):
        return problem.uniform()


def test_where_a_small_population_gains_nothing_has_converged(double):
    game = Chase(masses=np.array([1e-4, 1 - 1e-4]), likes=np.zeros((2, 2)))
    response = best_response(game, uniform(game))
    few, many = response.by_population.values()
    assert few > 0.1
    calm = Chase(masses=game.masses, likes=np.zeros((2, 2)))
    tolerance = 1.01 * max(response.exploitability, many)
    assert tolerance < few
    solution = solve(calm, Still(tolerance=tolerance), max_steps=2)
    assert solution.result is RESULTS.not_converged
    assert solution.stats["exploitability"] < tolerance
    assert solution.stats["exploitability_by_population"]["foxes"] == pytest.approx(few, rel=1e-6)
    assert solve(calm, Still(tolerance=1.01 * few), max_steps=2).result is RESULTS.converged


# Equal copies.


class Copies(NoiselessGame):
    """Two copies of `CrowdModelling`, with unequal masses, which crowd each other as one population does itself."""

    def __init__(self, one, masses=(0.35, 0.65)):
        self.one, self.masses = one, masses
        self.num_states, self.num_actions = 2 * one.num_states, one.num_actions
        self.horizon, self.discount = one.horizon, one.discount

    @property
    def populations(self):
        cells = self.one.num_states
        return tuple(
            Population(name, range(i * cells, (i + 1) * cells), mass)
            for i, (name, mass) in enumerate(zip(("left", "right"), self.masses, strict=True))
        )

    def together(self, aggregate):
        both = aggregate.mean_field.reshape(2, -1).sum(0)
        return self.one.aggregate(mean_field=both, noise=aggregate.noise, time=aggregate.time)

    def kernel(self, aggregate):
        return direct_sum(*[self.one.kernel(self.together(aggregate))] * 2)

    def reward(self, aggregate, following):
        return jnp.tile(self.one.reward(self.together(aggregate), self.together(following)), (2, 1))

    def observe(self, aggregate):
        return self.one.observe(self.together(aggregate))

    def aggregates(self, mean_field):
        return mean_field.reshape(2, -1).sum(0)


ONE = CrowdModelling(num_states=5, horizon=3)


def test_equal_copies_are_one_population_to_the_gradient(double):
    game, table = Copies(ONE), np.random.default_rng(1).dirichlet(np.ones(3), (3, 5))
    twice = np.concatenate([table, table], axis=1)
    path = jnp.zeros(4, int)
    gradients = []
    for some, play in ((ONE, table), (game, twice)):
        along = rollout(some, tabular(some, play), path)
        gradients.append(policy_gradient(some, along.aggregates, jnp.log(jnp.asarray(play)), jnp.asarray(0.1)))
    (alone, soft, one), (total, soft_too, both) = gradients
    np.testing.assert_allclose([total, soft_too], [alone, soft], rtol=1e-13)
    np.testing.assert_allclose(both[:, :5], 0.35 * one, atol=1e-14)
    np.testing.assert_allclose(both[:, 5:], 0.65 * one, atol=1e-14)


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(OnlineMirrorDescent(learning_rate=0.5), marks=pytest.mark.slow),
        ExactEquilibrium(tolerance=0, method="mirror"),
    ],
)
def test_equal_copies_are_one_population_to_exact_solvers(solver, double):
    one, two = (solve(game, solver, max_steps=40) for game in (ONE, Copies(ONE)))
    for name in ("exploitability", "returns", "exploitabilities"):
        np.testing.assert_allclose(two.stats[name], one.stats[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        list(two.stats["exploitability_by_population"].values()), one.stats["exploitability"], rtol=1e-9, atol=1e-12
    )
    plays = [np.asarray(jax.nn.softmax(solution.policy.logits)) for solution in (two, one)]
    for block in (slice(0, 5), slice(5, 10)):
        np.testing.assert_allclose(plays[0][:, block], plays[1], atol=1e-9)


@pytest.mark.slow
def test_equal_copies_are_one_population_to_n_players(double):
    """Exactly, by enumeration; and drawn agents are in a block by its mass, and stay there."""
    one = CrowdModelling(num_states=2, horizon=2)
    game = Copies(one)
    (alone,), (both,) = (players(some, uniform(some), (2,), deviator="full") for some in (one, game))
    np.testing.assert_allclose(both.mean_return.value, alone.mean_return.value, rtol=1e-12)
    np.testing.assert_allclose(both.gain.value, alone.gain.value, rtol=1e-10, atol=1e-13)
    count = 20_000
    drawn = simulate_population(game, uniform(game), jnp.zeros(3, int), num_agents=count, key=jax.random.key(0))
    _, state = PopulationGame(game, count).reset(jax.random.key(1))
    blocks = np.asarray(drawn.counts).reshape(3, 2, 2).sum(-1)
    assert (blocks == blocks[0]).all()
    for found in (blocks[0, 0] / count, float(state.aggregate.mean_field[:2].sum())):
        assert abs(found - 0.35) < 4.5 * np.sqrt(0.35 * 0.65 / count)


# What is refused.


class Wrong(Chase):
    """A game whose populations, kernel or start are changed."""

    def __init__(self, populations=None, leak_at=None, start=None):
        super().__init__()
        self.given, self.leak_at, self.start = populations, leak_at, start

    @property
    def populations(self):
        return super().populations if self.given is None else self.given

    def kernel(self, aggregate):
        dense = super().kernel(aggregate).as_dense()
        if self.leak_at is None:
            return DenseKernel(dense, checks=False)
        moved = jnp.zeros(4).at[3].set(0.25).at[0].set(0.75)
        return DenseKernel(jnp.where(aggregate.time == self.leak_at, dense.at[1, 2].set(moved), dense), checks=False)

    def initial_mean_field(self, noise):
        return super().initial_mean_field(noise) if self.start is None else jnp.asarray(self.start)


@pytest.mark.parametrize(
    ("populations", "message"),
    [
        ((Population("a", range(2), 0.5), Population("b", range(1, 4), 0.5)), "'a' and 'b' both have state 1"),
        ((Population("a", range(2), 0.5), Population("b", range(3, 4), 0.5)), "all 4 states, but none has state 2"),
        ((Population("a", range(3), 1.0),), "all 4 states, but none has state 3"),
        ((Population("a", range(2), 0.5), Population("b", range(2, 5), 0.5)), "'b' has the states 2..4, but"),
        ((Population("a", range(2), 0.5), Population("b", range(2, 4), 0.6)), "but a 0.5, b 0.6 sum to 1.1"),
        ((Population("a", range(2), 0.5), Population("a", range(2, 4), 0.5)), "different names"),
        (("a", "b"), "tuple of Population"),
    ],
)  # fmt: skip
def test_blocks_that_do_not_fit_are_refused(populations, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        best_response(Wrong(populations), np.full((4, 3), 1 / 3))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", range(2), 0.5), "must be a text that is not empty, but is ''"),
        (("a", slice(0, 4, 2), 0.5), "without a step, but are slice(0, 4, 2)"),
        (("a", slice(0, None), 0.5), "must be a range or a slice"),
        (("a", [0, 1], 0.5), "but are [0, 1]"),
        (("a", range(0), 0.5), "at least one state"),
        (("a", range(2), 0.0), "the mass of population 'a' must lie in (0, 1], but is 0.0"),
    ],
)
def test_populations_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Population(*arguments)


LEAK = (
    "agents of population 'foxes' must stay in its states, but kernel leads from state 1 under action 2{} to another "
)


def test_mass_that_leaks_and_masses_that_differ_are_named(double):
    """At t = 0 before a solve, and at any time along a policy, also by an action that it never takes."""
    with pytest.raises(ValueError, match=re.escape(LEAK.format("") + "population with probability 0.25")):
        solve(Wrong(leak_at=0), ExactEquilibrium(), max_steps=1)
    idle = np.zeros((4, 3))
    idle[:, 0] = 1
    with pytest.raises(ValueError, match=re.escape(LEAK.format(" at time 2 with common noise 0"))):
        best_response(Wrong(leak_at=2), idle)
    with pytest.raises(ValueError, match=r"'foxes' has the mass 0\.3, but by initial_mean_field it has 0\.5"):
        solve(Wrong(start=[0.25] * 4), ExactEquilibrium(), max_steps=1)
    with pytest.raises(ValueError, match=r"'foxes' has the mass 0\.3, but at time 0 with common noise 0 it has 0\.5"):
        best_response(Wrong(start=[0.25] * 4), idle, kind="clairvoyant")


def test_the_mean_field_is_uniform_in_every_population_by_default():
    class Plain(Chase):
        initial_mean_field = Game.initial_mean_field

    np.testing.assert_allclose(Plain().initial_mean_field(jnp.asarray(0)), [0.15, 0.15, 0.35, 0.35], rtol=1e-6)
