"""Games that declare public state, action statistics, prices and allowed actions, against plain NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers.declared_games import ACTIONS, DISCOUNT, HORIZON, PARTS, STATES, Plain, tiny_game

from structmfg.evaluation import (
    best_response,
    clairvoyant_response,
    evaluate_paths,
    exploitability,
    market_residuals,
    policy_gradient,
    rollout,
)
from structmfg.games import Game, NoisePaths, PopulationGame, as_vector, from_vector, noise_tree, num_entries
from structmfg.games._market import clear
from structmfg.policies import TabularPolicy, from_functions, uniform
from structmfg.solvers import RSPG, ExactEquilibrium, FictitiousPlay, FixedPoint, OnlineMirrorDescent, solve

NO_PRICE = r"market 0 has no price at time 0 with common noise 0: .* bracket \[3, 4\]"
SETS = [(part,) for part in PARTS] + [PARTS]
pytestmark = pytest.mark.usefixtures("double")


def ids(parts):
    return "-".join(parts)


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).dirichlet([1, 1], size=(HORIZON, STATES))


def tabular(table):
    return TabularPolicy(jnp.asarray(table), within_allowed=True)


def paths_of(game):
    return game.scenarios()


@pytest.mark.parametrize("parts", SETS, ids=ids)
def test_rollouts_follow_numpy(parts, table):
    """Mean field, public state, actions, price and observation at every history; in both forms of the operators."""
    game, plain = tiny_game(*parts), Plain(parts, lambda t, *_: table[t])
    noise = paths_of(game).noise
    for index in (1, 6, 13):
        history = tuple(int(z) for z in noise[index])
        for form in ("matrix_free", "explicit"):
            path = rollout(game, tabular(table), noise[index], form=form)
            for t in range(HORIZON + 1):
                node = plain.nodes[history[: t + 1]]
                at = jax.tree.map(lambda x, t=t: x[t], path.aggregates)
                np.testing.assert_allclose(at.mean_field, node.mu, atol=1e-13)
                if "public" in parts:
                    assert abs(at.public["level"] - node.x) < 1e-13
                    assert at.public["count"] == t
                if t == HORIZON:
                    assert all(np.isnan(x).all() for x in (at.actions, at.price) if x is not None)
                    continue
                if "actions" in parts:
                    np.testing.assert_allclose(at.actions, node.n, atol=1e-13)
                if "price" in parts:
                    np.testing.assert_allclose(at.price, [node.p], atol=1e-12)
                np.testing.assert_allclose(path.policy[t], node.policy, atol=1e-13)
                np.testing.assert_allclose(path.observations[t], [node.mu[0], node.z, node.x, node.p], atol=1e-12)


@pytest.mark.parametrize("kind", ["clairvoyant", "non_anticipative"])
@pytest.mark.parametrize("parts", SETS, ids=ids)
def test_exploitability_is_that_of_numpy(parts, kind, table):
    game, plain = tiny_game(*parts), Plain(parts, lambda t, *_: table[t])
    found = exploitability(game, tabular(table), kind=kind).value
    assert abs(found - (plain.exploitability() if kind == "non_anticipative" else _clairvoyant(plain))) < 1e-12


def _clairvoyant(plain):
    """The mean over noise paths of what the best response to the whole path gains, in NumPy."""
    total = 0.0
    for path in itertools.product((0, 1), repeat=HORIZON + 1):
        best = own = np.zeros(STATES)
        for t in reversed(range(HORIZON)):
            history = path[: t + 1]
            kernel = plain.kernel(history)
            q = np.array([
                [plain.reward(history, path[: t + 2], s, a) if a in plain.actions(history, s) else -np.inf
                 for a in range(ACTIONS)] for s in range(STATES)
            ])  # fmt: skip
            played = plain.nodes[history].policy
            best = (q + DISCOUNT * kernel @ best).max(axis=1)
            own = np.where(played > 0, played * (np.where(played > 0, q, 0) + DISCOUNT * kernel @ own), 0).sum(axis=1)
        total += plain.probability(path) * plain.nodes[path[:1]].mu @ (best - own)
    return total


def _depends_on_observation(t, observation, library):
    """Logits (S, A) that depend on all that is observed, the price above all."""
    weights = np.array([[0.5, -0.4, 0.7, -1.5], [-0.3, 0.2, 0.4, 0.9], [1.0, 0.3, -0.6, -0.8]])
    busy = weights @ observation + 0.2 * t
    return library.stack([0.0 * busy, busy], axis=-1)


@pytest.mark.parametrize("parts", [("price",), PARTS], ids=ids)
def test_markets_clear_at_the_policy_that_observes_the_price(parts):
    game = tiny_game(*parts)

    def play(t, history, observation):
        logits = _depends_on_observation(t, observation, np)
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    policy = from_functions(
        game,
        init=lambda key: {},
        start=lambda parameters: jnp.zeros((STATES, ACTIONS)),
        update=lambda parameters, hidden, observation, time: _depends_on_observation(time, observation, jnp),
        apply=lambda parameters, hidden: hidden,
    ).initialised(jax.random.key(0))
    plain = Plain(parts, play)
    noise = paths_of(game).noise
    for index in (3, 9):
        path = rollout(game, policy, noise[index])
        for t in range(HORIZON):
            node = plain.nodes[tuple(int(z) for z in noise[index][: t + 1])]
            assert abs(path.aggregates.price[t, 0] - node.p) < 1e-12
            np.testing.assert_allclose(path.policy[t], node.policy, atol=1e-12)
    assert abs(exploitability(game, policy, kind="non_anticipative").value - plain.exploitability()) < 1e-12
    assert np.abs(market_residuals(game, policy, noise)).max() < 1e-13


@pytest.mark.parametrize(
    "parts",
    [pytest.param(parts, marks=[pytest.mark.slow] * (parts != PARTS)) for parts in SETS],
    ids=ids,
)
def test_certified_equilibria_are_those_of_numpy(parts):
    """With all parts together; the other tests look at each part alone."""
    game = tiny_game(*parts)
    solution = solve(game, ExactEquilibrium(tolerance=1e-10), max_steps=3000)
    assert solution.result.succeeded
    tree = noise_tree(game)
    found = best_response(game, solution.policy)
    slots = {}
    for path, nodes in zip(np.asarray(game.scenarios().noise), np.asarray(tree.nodes).T, strict=True):
        slots |= {tuple(path[: t + 1].tolist()): int(nodes[t]) for t in range(HORIZON)}
    tables = np.asarray(jax.nn.softmax(solution.policy.logits))
    plain = Plain(parts, lambda t, history, _: tables[slots[history]])
    assert abs(plain.exploitability()) < 1e-9
    assert abs(found.mean_return - plain.mean(plain.own)) < 1e-9


SLOW = [pytest.param(solver, marks=pytest.mark.slow) for solver in (FictitiousPlay(), OnlineMirrorDescent(0.5))]


@pytest.mark.parametrize("solver", [FixedPoint(0.2, 0.05), *SLOW], ids=type)
def test_classical_iterations_come_nearer(solver):
    """And what they report is the exploitability of the policy that they return."""
    game = tiny_game(*PARTS)
    first = solve(game, solver, max_steps=1, throw=False)
    last = solve(game, solver, max_steps=60, throw=False)
    assert last.stats["exploitability"] < 0.7 * first.stats["exploitability"]
    measured = exploitability(game, last.policy, kind="non_anticipative").value
    assert abs(measured - last.stats["exploitability"]) < 1e-12


@pytest.mark.parametrize("parts", SETS, ids=ids)
def test_gradients_are_those_of_one_agent(parts, table):
    """Of NumPy's return of an agent along one path, with all aggregates held fixed, by differences."""
    game = tiny_game(*parts)
    plain = Plain(parts, lambda t, *_: table[t])
    path = (0, 1, 1, 0)
    trajectory = rollout(game, tabular(table), jnp.asarray(path))
    logits = jnp.log(jnp.asarray(table))
    mean, _, gradient = policy_gradient(game, trajectory.aggregates, logits, jnp.asarray(0.0))

    def value(logits):
        values = np.zeros(STATES)
        for t in reversed(range(HORIZON)):
            history = path[: t + 1]
            kernel, later = plain.kernel(history), np.zeros(STATES)
            for s in range(STATES):
                weights = {a: np.exp(logits[t, s, a]) for a in plain.actions(history, s)}
                for a, weight in weights.items():
                    q = plain.reward(history, path[: t + 2], s, a) + DISCOUNT * kernel[s, a] @ values
                    later[s] += weight / sum(weights.values()) * q
            values = later
        return plain.nodes[path[:1]].mu @ values

    start, step = np.log(table), 1e-5
    assert abs(mean - value(start)) < 1e-13
    for entry in ((0, 0, 1), (1, 2, 1), (1, 1, 0), (2, 1, 1)):
        change = np.zeros_like(start)
        change[entry] = step
        quotient = (value(start + change) - value(start - change)) / (2 * step)
        assert abs(gradient[entry] - quotient) < 1e-9


@pytest.mark.slow
def test_training_sees_what_the_game_declares():
    """RSPG on the tiny game comes nearer to equilibrium, without a gradient through price, actions or public state."""
    from structmfg.policies import recurrent

    game = tiny_game(*PARTS, crowd=0.3)
    policy = recurrent(game, hidden=8, width=8)
    solution = solve(game, RSPG(policy, num_paths=16, learning_rate=0.02), key=jax.random.key(0), max_steps=150)
    before = exploitability(game, uniform(game), kind="non_anticipative").value
    assert exploitability(game, solution.policy, kind="non_anticipative").value < 0.2 * before


def test_populations_follow_their_own_actions_and_prices():
    """Of a population of four, each number by hand."""
    game = tiny_game(*PARTS)
    population = PopulationGame(game, 4)

    def respond(aggregate):
        return jnp.full((STATES, ACTIONS), 0.5)

    state = population.start(jax.random.key(1), jnp.asarray(1), respond)
    agents = np.asarray(state.agents)
    mass = np.bincount(agents, minlength=STATES) / 4
    busy = mass * 0.5 * np.array([1, 1, 0])
    price = np.log((0.3 + busy @ [1, 1.3, 1.6]) / (0.25 + 0.1 * 0.3 + 0.1))
    np.testing.assert_allclose(state.aggregate.price, [price], atol=1e-12)
    assert population.observe(state).allowed[agents == 2].tolist() == [[True, False]] * int((agents == 2).sum())
    actions = jnp.array([1, 0, 1, 0])
    following, _ = population.advance(jax.random.key(2), state, actions, jnp.asarray(0), respond)
    n = 0.5 * (1 + 0.5 * price)
    level = 0.5 * 0.3 + 0.3 * mass[0] + 0.2 * n - 0.1 * price
    assert abs(following.aggregate.public["level"] - level) < 1e-12
    with pytest.raises(ValueError, match="give respond"):
        population.reset(jax.random.key(0))


def test_vectors_hold_the_whole_state():
    game = tiny_game(*PARTS)
    path = rollout(game, uniform(game), game.scenarios().noise[5])
    at = jax.tree.map(lambda x: x[1], path.aggregates)
    vector = as_vector(game, at)
    assert vector.shape == (num_entries(game, at.noise),) == (STATES + 2 + 2 + 1,)
    again = from_vector(game, vector, at.noise, at.time)
    for one, other in zip(jax.tree.leaves(at), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_mass_on_what_is_not_allowed_is_refused(table):
    game = tiny_game("allowed")
    with pytest.raises(ValueError, match=r"has 0.5 in state 2 on action 1 at time 0 with common noise 1"):
        exploitability(game, np.full((STATES, ACTIONS), 0.5))
    with pytest.raises(ValueError, match=r"has 0.5 in state 2 on action 1 at time 2 with common noise 1"):
        evaluate_paths(game, np.full((STATES, ACTIONS), 0.5), game.scenarios().noise)
    policy = uniform(game)
    path = rollout(game, policy, jnp.asarray([1, 1, 0, 0]))
    np.testing.assert_array_equal(path.policy[0, 2], [1, 0])
    np.testing.assert_array_equal(path.policy[2, 2], [0.5, 0.5])
    assert exploitability(game, policy, kind="non_anticipative").value > 0


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("allowed", lambda self, a: jnp.zeros((STATES, ACTIONS), bool), "in state 0 at time 0 .* none is"),
        ("allowed", lambda self, a: jnp.ones((STATES, ACTIONS)), "allowed must return booleans of shape"),
        ("action_statistics", lambda self, a, joint: joint, r"action_statistics must return an array of shape \(n,\)"),
        ("price_bracket", lambda self, a: (1.0, 2.0), "price_bracket must return two arrays"),
        ("price_bracket", lambda self, a: (jnp.array([3.0]), jnp.array([4.0])), NO_PRICE),
        ("excess_demand", lambda self, a, p, joint: jnp.sign(p - 0.3), "market 0 does not clear at time 0"),
        ("excess_demand", lambda self, a, p, joint: p[0], "excess_demand must return"),
        ("excess_demand", Game.excess_demand, "has a price_bracket, and needs excess_demand as well"),
        ("next_public", lambda self, a, z: {"level": jnp.zeros(2)}, "next_public must return a state like"),
    ],
)  # fmt: skip
def test_faulty_declarations_are_refused(method, given, message):
    game = tiny_game(*PARTS)
    faulty = type("Faulty", (type(game),), {method: given})(1.0)
    with pytest.raises(ValueError, match=message):
        exploitability(faulty, uniform(faulty), kind="non_anticipative")
    with pytest.raises(ValueError, match=message):
        exploitability(faulty, uniform(faulty))


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("allowed", lambda self, a: jnp.zeros((STATES, ACTIONS), bool), "in state 0 at time 0 .* none is"),
        ("excess_demand", lambda self, a, p, joint: jnp.sign(p - 0.3), "market 0 does not clear at time 0"),
    ],
)  # fmt: skip
def test_faults_are_refused_along_paths(method, given, message):
    game = tiny_game("allowed", "price")
    faulty = type("Faulty", (type(game),), {method: given})(1.0)
    paths = faulty.scenarios()
    with pytest.raises(ValueError, match=message):
        clairvoyant_response(faulty, uniform(faulty), paths)
    with pytest.raises(ValueError, match=message):
        evaluate_paths(faulty, uniform(faulty), paths.noise)


def test_a_steep_end_of_the_bracket_does_not_hide_what_is_left():
    """Excess demand jumps over zero; at the lower end it is a million."""
    members = {
        "excess_demand": lambda self, a, p, joint: jnp.where(p < 1.3, 0.3 / p, -0.2),
        "price_bracket": lambda self, a: (jnp.array([1e-7]), jnp.array([4.0])),
    }
    game = type("Steep", (type(tiny_game("price")),), members)(1.0)
    with pytest.raises(ValueError, match="market 0 does not clear at time 0"):
        exploitability(game, uniform(game), kind="non_anticipative")


def test_a_market_too_steep_for_single_precision_clears():
    """Excess demand rises by 1e5 of its ends' values a unit: no number in single precision is near enough to 1/3."""
    demand = {"excess_demand": lambda self, a, p, joint: jnp.tanh(1e5 * (p - 1 / 3))}
    game = type("Steep", (type(tiny_game("price")),), demand)(1.0)
    with jax.enable_x64(False):
        single = evaluate_paths(game, uniform(game), game.scenarios().noise)
    double = evaluate_paths(game, uniform(game), game.scenarios().noise)
    assert single.returns.dtype == "float32"
    np.testing.assert_array_equal(single.returns, np.float32(double.returns))
    np.testing.assert_array_equal(single.aggregates.price[:, :-1], np.float32(double.aggregates.price[:, :-1]))


def test_two_markets_clear_together_and_the_one_without_a_root_is_named():
    low, high = jnp.full(2, 0.01), jnp.full(2, 50.0)
    both = clear(lambda p: jnp.stack([3 - p[0] - 0.1 * p[1], 2 + 0.1 * p[0] - p[1]]), low, high)
    np.testing.assert_allclose(both, [2.8 / 1.01, 2.3 / 1.01], rtol=1e-12)
    one = clear(lambda p: jnp.stack([1 / p[0] - p[0] + 0.1 * p[1], 1 + p[1]]), low, high)
    assert np.isnan(one).tolist() == [False, True]
    assert np.isnan(clear(lambda p: 0 * p, low[:1], high[:1])).all()  # any price would do, so none is the price


def rotation(turn, beside):
    """Excess demand of two markets, of which each answers to the other `turn` times as strongly as to itself."""

    def excess(p, numbers=jnp):
        own, other = p - numbers.array([0.5, 0.7]), numbers.tanh(p[::-1] - numbers.array([0.7, 0.5]))
        return numbers.array([-1, 1]) * turn * other - own + beside * numbers.sin(3 * p)

    return excess


def test_markets_that_go_round_in_circles_clear_as_in_scipy():
    """One by one, the markets converge with 0.5, move for ever with 1, and leave their brackets with 2."""
    low, high = jnp.full(2, -1.5), jnp.full(2, 1.5)
    found = jax.jit(lambda turn, beside: clear(rotation(turn, beside), low, high))
    for turn, beside in itertools.product((0.5, 1.0, 2.0), (0.0, 0.2)):
        excess = rotation(turn, beside)
        wanted = scipy.optimize.root(lambda p, excess=excess: excess(p, np), np.zeros(2), tol=1e-12)
        assert wanted.success
        np.testing.assert_allclose(found(turn, beside), wanted.x, atol=1e-9)


def test_two_markets_that_never_clear_together_have_no_price():
    """Each has a root at any price of the other, but p0 = p1 and p0 = p1 + 1/2 exclude each other."""
    both = (jnp.full(2, -4.0), jnp.full(2, 4.0))
    assert np.isnan(clear(lambda p: jnp.stack([p[1] - p[0], p[0] - p[1] - 0.5]), *both)).any()
    members = {
        "price_bracket": lambda self, a: both,
        "excess_demand": lambda self, a, p, joint: jnp.stack([p[1] - p[0], p[0] - p[1] - 0.5]),
    }
    game = type("Apart", (type(tiny_game("price")),), members)(1.0)
    with pytest.raises(ValueError, match=r"market \d has no price at time 0 .*: no prices .* all 2 markets clear"):
        exploitability(game, uniform(game), kind="non_anticipative")


def test_public_states_of_any_numbers():
    """Python's numbers, and arrays in single precision, on a tree in double precision."""
    members = {
        "initial_public": lambda self, noise: {"level": np.float32(0.25), "count": 0},
        "next_public": lambda self, a, z: {"level": 0.5 * a.public["level"] + a.mean_field[0], "count": 1},
    }
    game = type("Plain", (type(tiny_game("public")),), members)(1.0)
    assert exploitability(game, uniform(game), kind="non_anticipative").value > 0
    assert rollout(game, uniform(game), jnp.zeros(4, int)).aggregates.public["level"].dtype == "float64"


def test_what_agents_observe_has_a_size_before_there_is_a_price():
    observe = {"observe": lambda self, a: jnp.stack([a.price[0], a.mean_field[0]])}
    game = type("Seen", (type(tiny_game("price")),), observe)(1.0)
    assert game.observation_size == 2
    with pytest.raises(ValueError, match="has no markets"):
        market_residuals(tiny_game("public"), uniform(game), game.scenarios().noise)


def test_paths_alone_are_checked_as_the_tree_is():
    game = type(
        "NoRoot", (type(tiny_game("price")),), {"price_bracket": lambda self, a: (jnp.array([3.0]), jnp.array([4.0]))}
    )(1.0)
    with pytest.raises(ValueError, match="market 0 has no price at time 0"):
        best_response(
            game, uniform(game), kind="clairvoyant", paths=NoisePaths(jnp.zeros((1, HORIZON + 1), int), jnp.ones(1))
        )
