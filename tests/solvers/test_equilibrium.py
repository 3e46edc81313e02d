"""Certified equilibria: against closed forms and published values, and what is said where there is none."""

import dataclasses
import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, Jammed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import structmfg as smfg
from structmfg.evaluation._tree_problem import TreeProblem
from structmfg.games import Game, NoisePaths, noise_tree
from structmfg.operators import SuccessorKernel
from structmfg.solvers import RESULTS, RSPG, ExactEquilibrium, exploitability, solve

KIND = {"full": "non_anticipative", "public": "public"}
DRIFT = np.array([[0.7, 0.3], [0.2, 0.8]])  # of the weather: P(z' | z)
PULL = np.array([[1.0, 0.4], [-0.6, 0.9]])  # of either bar, by weather
CROWDING = np.array([1.5, 0.7])


@dataclasses.dataclass(frozen=True)
class Bars(Game):
    """Two bars, to either of which one may go at once; the public sees nothing.

    Bar a pays pull_a - crowding_a mu'(a), z' being (pull, crowding).
    """

    num_states: int = 2
    num_actions: int = 2
    horizon: int = 2
    discount: float = 0.9

    def kernel(self, aggregate):
        return SuccessorKernel(jnp.array([[[0], [1]]] * 2), jnp.ones((2, 2, 1)))

    def reward(self, aggregate, following):
        pull, crowding = following.noise
        return jnp.broadcast_to(pull - crowding * following.mean_field, (2, 2))

    def observe(self, aggregate):
        return jnp.zeros(1)

    def initial_noise(self, uniform):
        raise AssertionError("exact solvers enumerate the noise and never sample it")

    next_noise = initial_noise

    def scenarios(self):
        """All weathers, starting from 0 with probability .4."""
        paths = np.array(list(itertools.product(range(2), repeat=self.horizon + 1)))
        weights = np.array([0.4, 0.6])[paths[:, 0]] * np.prod(DRIFT[paths[:, :-1], paths[:, 1:]], axis=1)
        noise = PULL[paths], np.broadcast_to(CROWDING, (*paths.shape, 2))
        return NoisePaths(jax.tree.map(lambda x: jnp.asarray(x, float), noise), jnp.asarray(weights))


@dataclasses.dataclass(frozen=True)
class Cliff(Bars):
    """Bar 1 pays 1 while fewer than four in five go there, else -1, and bar 0 nothing: there is no equilibrium.

    Where p go to bar 1, a best response gains 1 - p if p < .8, else p: in every step more than .2.
    """

    edge: float = 0.8

    def reward(self, aggregate, following):
        pays = jnp.where(following.mean_field[1] < self.edge, 1.0, -1.0)
        return jnp.broadcast_to(pays * jnp.array([0.0, 1.0]), (2, 2))


@dataclasses.dataclass(frozen=True)
class Curved(Coin):
    """Its aggregate is not linear."""

    def aggregates(self, mean_field):
        return mean_field[:1] ** 2


@dataclasses.dataclass(frozen=True)
class Scalar(Coin):
    """Its aggregate is not a vector."""

    def aggregates(self, mean_field):
        return mean_field[0]


def certified(game, solver, max_steps=2000):
    """The solution, once its certificate is found to be the exploitability of its policy."""
    solution = solve(game, solver, max_steps=max_steps)
    stats = solution.stats
    assert solution.result is RESULTS.converged
    assert solution.result.succeeded
    assert 0 <= stats["exploitability"] == stats["exploitabilities"][-1] <= solver.tolerance
    assert all(value > solver.tolerance for value in stats["exploitabilities"][:-1])
    assert len(stats["exploitabilities"]) == len(stats["returns"]) == len(stats["certified"])
    assert stats["steps"] == stats["certified"][-1] <= max_steps
    assert stats["failure"] is None
    assert all(
        leaf.dtype in (jnp.asarray(1.0).dtype, jnp.asarray(1).dtype) for leaf in jax.tree.leaves(solution.policy)
    )
    fresh = exploitability(game, solution.policy, kind=KIND[solver.information])
    rounding = 10 * float(jnp.finfo(jnp.asarray(1.0).dtype).eps) * (1 + abs(stats["returns"][-1]))
    assert fresh.value == pytest.approx(stats["exploitability"], abs=rounding)
    assert fresh.stderr == 0
    return solution


def shares(pull, crowding):
    """The share that goes to bar 0: both pay alike, or all are in one."""
    return np.clip((pull[..., 0] - pull[..., 1] + crowding[1]) / crowding.sum(), 0, 1)


def payoff(share, pull, crowding):
    masses = np.stack([share, 1 - share], axis=-1)
    return (masses * (pull - crowding * masses)).sum(-1)


@pytest.mark.parametrize(
    ("information", "method", "wide"),
    [("full", "annealed", False), ("full", "mirror", True), ("public", "annealed", True), ("public", "mirror", False)],
)
def test_closed_form(information, method, wide):
    """In both precisions. Full information: by today's weather; public: by the odds of either weather at that time."""
    with jax.enable_x64(wide):
        game = Bars()
        solver = ExactEquilibrium(information=information, method=method)
        solution = certified(game, solver)
        tree = noise_tree(game, pad_levels=information == "public")
        decisions = slice(tree.num_decisions)
        weather = (np.asarray(tree.noise[0])[decisions, 0] < 0).astype(int)
        played = np.asarray(jax.nn.softmax(solution.policy.logits))[..., 0]
        at_bar, parent = np.full(tree.num_decisions, 0.5), np.asarray(tree.parent)
        odds, value = np.array([0.4, 0.6]), 0.0
        for t in range(game.horizon):
            ahead = DRIFT @ PULL if information == "full" else np.broadcast_to(odds @ DRIFT @ PULL, (2, 2))
            share = shares(ahead, CROWDING)
            value += game.discount**t * odds @ payoff(share, ahead, CROWDING)
            real = np.flatnonzero((tree.slot_time[decisions] == t) & (tree.probability[decisions] > 0))
            if t:
                at_bar[real] = goes[parent[real]]
            goes = at_bar * played[:, 0] + (1 - at_bar) * played[:, 1]
            np.testing.assert_allclose(goes[real], share[weather[real]], atol=1e-3)
            odds = odds @ DRIFT
        assert solution.stats["returns"][-1] == pytest.approx(value, abs=1e-4)


@eqx.filter_jit
def shortly(solver, problem):
    """Gains by the solver's certificate after a few steps, by its table, and of the uniform policy."""

    def gain(table):
        return jnp.sum(problem.certify(problem.push(table), table).gain)

    state = jax.lax.fori_loop(0, 30, lambda _, state: solver.step(problem, state), solver.init(problem))
    state, certificate = solver.certify(problem, state)
    return jnp.sum(certificate.gain), gain(solver.policy_at(problem, state)), gain(problem.uniform())


@functools.cache
def problem_of_bars():
    return TreeProblem.of(Bars(), "full")


@pytest.mark.parametrize("method", ["annealed", "mirror"])
@given(data=st.data())
def test_never_worse_than_uniform(method, data):
    """In any bars, whether crowds are welcome or not, and other ones at every node.

    The game's parameters are its noise, so that one compilation serves.
    """
    with jax.enable_x64(True):
        problem = problem_of_bars()
        shape = (problem.tree.num_slots, 2)
        pull = data.draw(arrays(float, shape, elements=st.floats(-2, 2)))
        crowding = data.draw(arrays(float, shape, elements=st.floats(-2, 3)))
        problem = eqx.tree_at(lambda p: p.tree.noise, problem, (jnp.asarray(pull), jnp.asarray(crowding)))
        gain, certificate, uniform = shortly(ExactEquilibrium(method=method), problem)
        assert 0 <= gain <= uniform
        assert certificate == pytest.approx(float(gain), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_linear_quadratic(wide):
    with jax.enable_x64(wide):
        certified(smfg.games.make("linear_quadratic"), ExactEquilibrium(), 400)


def test_without_interaction():
    """One step, and it is exact."""
    solution = certified(smfg.games.make("beach_bar", num_states=9, max_action=2, horizon=4), ExactEquilibrium())
    assert solution.stats["steps"] == 1
    assert solution.stats["exploitability"] == 0


def test_left_right():
    """Two thirds go left, and either side costs two thirds."""
    solution = certified(smfg.games.make("left_right"), ExactEquilibrium())
    np.testing.assert_allclose(jax.nn.softmax(solution.policy.logits)[0, 0], [2 / 3, 1 / 3], atol=1e-5)
    assert solution.stats["returns"][-1] == pytest.approx(-2 / 3, abs=1e-6)


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_crowd_modelling(wide):
    """By mirror steps, as agents interact through the whole mean field."""
    with jax.enable_x64(wide):
        certified(smfg.games.make("crowd_modelling"), ExactEquilibrium())


@pytest.mark.slow
def test_rewards_that_jump():
    """With travel times cut off to whole steps averages need not be near an equilibrium, and cycles go up and down."""
    game = smfg.games.make("routing", time_step=0.05, horizon=100, rounding="down")
    solution = certified(game, ExactEquilibrium(method="mirror", stiffness=1.0), 1000)
    assert solution.stats["exploitability"] == 0


@pytest.mark.parametrize(
    ("name", "method", "steps"),
    [
        pytest.param("bank_run", "annealed", 100, marks=pytest.mark.slow),
        ("susceptible_infected", "annealed", 500),
        ("susceptible_infected", "mirror", 1000),
    ],
)
def test_where_a_method_fails_damped_best_responses_are_played(name, method, steps, double):
    """These games are not monotone, and have equilibria that do not mix actions."""
    game = smfg.games.make(name)
    solution = solve(game, ExactEquilibrium(tolerance=1e-9, method=method), max_steps=steps)
    assert solution.result is RESULTS.converged
    assert exploitability(game, solution.policy, kind="non_anticipative").value <= 1e-9


@pytest.mark.slow
def test_crowded_beach():
    game = smfg.games.make("beach_bar_crowded", num_states=15, horizon=8)
    certified(game, ExactEquilibrium(tolerance=1e-4))


@pytest.mark.slow
def test_macro():
    game = smfg.games.make("macro", num_wealth=10, num_income=2, num_actions=4, horizon=3, noise_states=3)
    certified(game, ExactEquilibrium())


@pytest.mark.parametrize("method", ["annealed", "mirror"])
@pytest.mark.parametrize("max_steps", [1, 47, 200])
def test_moves_in_a_crowd(method, max_steps, double):
    """Where they depend on the mean field, and at whatever step the solve ends, the certificate is the policy's."""
    solution = solve(Jammed(), ExactEquilibrium(method=method), max_steps=max_steps)
    assert solution.result is (RESULTS.converged if max_steps == 200 else RESULTS.not_converged)
    fresh = exploitability(Jammed(), solution.policy, kind="non_anticipative").value
    assert fresh == pytest.approx(solution.stats["exploitability"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("method", ["annealed", "mirror"])
def test_no_equilibrium(method, monkeypatch, double):
    """No success is claimed, and what is returned has the least certificate of all that were seen."""
    game, seen, plain = Cliff(discount=0.95), [], TreeProblem.certify

    def certify(self, flow, policy):
        certificate = plain(self, flow, policy)
        jax.debug.callback(lambda gain: seen.append(float(gain)), jnp.sum(certificate.gain))
        return certificate

    monkeypatch.setattr(TreeProblem, "certify", certify)
    solution = solve(game, ExactEquilibrium(method=method), max_steps=300)
    jax.effects_barrier()
    stats = solution.stats
    assert solution.result is RESULTS.not_converged
    assert not solution.result.succeeded
    assert stats["steps"] == 300
    assert stats["exploitability"] == pytest.approx(min(seen), rel=1e-6)  # callbacks see single precision
    assert (np.diff(stats["exploitabilities"]) <= 1e-15).all()  # but for rounding
    assert 0.2 * 1.95 < stats["exploitability"] < 0.3 * 1.95
    fresh = exploitability(game, solution.policy, kind="non_anticipative").value
    assert fresh == pytest.approx(stats["exploitability"], abs=1e-12)


HOPELESS = Cliff(), ExactEquilibrium(method="annealed")


def test_one_step_is_not_enough():
    """Nothing better than the uniform policy is found yet, so it is returned."""
    solution = solve(*HOPELESS, max_steps=1)
    assert solution.result is RESULTS.not_converged
    assert solution.stats["steps"] == 1
    assert solution.stats["exploitability"] == pytest.approx(0.5 * 1.9)


def test_time_limit():
    solution = solve(*HOPELESS, max_steps=10**6, max_seconds=0.1)
    assert solution.result is RESULTS.time_limit
    assert 0 < solution.stats["steps"] < 10**6
    assert solution.stats["train_seconds"] >= 0.1


def test_interrupted():
    def stop(progress):
        assert progress.step >= 1
        raise KeyboardInterrupt

    solution = solve(*HOPELESS, max_steps=10**6, callback=stop)
    assert solution.result is RESULTS.interrupted
    assert 1 <= solution.stats["steps"] < 10**6
    fresh = exploitability(HOPELESS[0], solution.policy, kind="non_anticipative").value
    assert fresh == pytest.approx(solution.stats["exploitability"], abs=1e-6)


def test_not_finite():
    """Raised, or a status; the policy is then the uniform one."""
    game, solver = Coin(spoiled_at=2), ExactEquilibrium()
    solution = solve(game, solver, max_steps=5, throw=False)
    assert solution.result is RESULTS.nonfinite
    assert not solution.result.succeeded
    said = "at the start, under the uniform policy: exploitability nan, return nan: the reward of state 0, action 0 at "
    assert solution.stats["failure"].startswith(said + "time 2 with common noise")
    assert solution.stats["steps"] == 0
    assert solution.stats["exploitability"] is None
    np.testing.assert_allclose(jax.nn.softmax(solution.policy.logits), 0.5, atol=1e-6)
    with pytest.raises(RuntimeError, match=r"not finite.*at the start"):
        solve(game, solver, max_steps=5)


CONTINUOUS = {"num_wealth": 4, "num_income": 2, "num_actions": 3}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ExactEquilibrium(tolerance=-1e-6), "tolerance must lie in"),
        (lambda: ExactEquilibrium(tolerance=float("nan")), "tolerance must lie in"),
        (lambda: ExactEquilibrium(rate=0.0), r"rate must lie in \[0.01, 0.99\], but is 0"),
        (lambda: ExactEquilibrium(rate=1.0), r"rate must lie in \[0.01, 0.99\], but is 1"),
        (lambda: ExactEquilibrium(memory=1), "memory must be a whole number of at least 2, but is 1"),
        (lambda: ExactEquilibrium(cycle=0), "cycle must be a whole number of at least 2, but is 0"),
        (lambda: ExactEquilibrium(stiffness=0.0), "stiffness must be finite and above 0"),
        (lambda: ExactEquilibrium(method="miror"), "unknown method 'miror'; did you mean mirror"),
        (lambda: ExactEquilibrium(information="publik"), "unknown information 'publik'; did you mean public"),
        (
            lambda: solve(Coin(), RSPG(smfg.policies.recurrent(Coin())), max_steps=3),
            "this solver is random: it needs a key",
        ),
        (lambda: solve(Coin(), ExactEquilibrium(), max_steps=0), "max_steps must be a whole number of at least 1"),
        (
            lambda: solve(Curved(), ExactEquilibrium(), max_steps=3),
            "aggregates must be linear in the mean field, but they are off by .*return the whole mean field",
        ),
        (
            lambda: solve(Scalar(), ExactEquilibrium(), max_steps=3),
            r"aggregates must return an array of shape \(n,\)",
        ),
        (
            lambda: solve(smfg.games.make("macro", noise_states=3), ExactEquilibrium(), max_steps=3),
            "the noise tree has .* paths .* a horizon of .* would fit",
        ),
        (
            lambda: solve(smfg.games.make("macro", **CONTINUOUS), ExactEquilibrium(), max_steps=3),
            "needs finite common noise, but this game's noise is continuous",
        ),
        (lambda: smfg.solvers.floor(Coin(), tolerance=-1.0), "tolerance must lie in"),
        (lambda: smfg.solvers.floor(Coin(), information="ful"), "unknown information 'ful'; did you mean full"),
    ],
)
def test_bad_input(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
