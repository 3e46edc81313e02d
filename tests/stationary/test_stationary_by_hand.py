"""Games that go on for ever against plain NumPy: every pure policy enumerated, mean fields followed step by step."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.evaluation import StationaryProblem
from structmfg.games import NoiseChain, NoiselessGame, from_arrays
from structmfg.operators import DenseKernel
from structmfg.policies import StationaryPolicy
from structmfg.solvers import StationaryMeanFieldEquilibrium, best_response, exploitability
from structmfg.solvers.infinite_horizon import _interior_point

CALM = np.array([
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]],
    [[0.3, 0.3, 0.4], [0.05, 0.15, 0.8]],
    [[0.5, 0.4, 0.1], [0.2, 0.1, 0.7]],
])  # fmt: skip
CROWD = np.array([
    [[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]],
    [[0.6, 0.1, 0.3], [0.3, 0.3, 0.4]],
    [[0.1, 0.8, 0.1], [0.4, 0.4, 0.2]],
])  # fmt: skip
PAY = np.array([[1.0, 0.4], [-0.3, 0.6], [0.5, 1.1]])
CROWDING = np.array([[6.0, 1.0, 0.0], [0.4, 4.0, 0.6], [0.0, 0.8, 8.0]])


@dataclasses.dataclass(frozen=True)
class Tiny(NoiselessGame):
    """Moves and rewards depend on the mean field."""

    sway: float = 0.6
    horizon: int | None = None
    discount: float = 0.8
    num_states = 3
    num_actions = 2

    def kernel(self, aggregate):
        weight = self.sway * aggregate.mean_field[0]
        return DenseKernel((1 - weight) * jnp.asarray(CALM, float) + weight * jnp.asarray(CROWD, float), checks=False)

    def reward(self, aggregate, following):
        return jnp.asarray(PAY, float) - (jnp.asarray(CROWDING, float) @ following.mean_field)[:, None]

    def observe(self, aggregate):
        return aggregate.mean_field

    def initial_mean_field(self, noise):
        return jnp.array([0.2, 0.5, 0.3])


def dense_of(mean_field, sway):
    return (1 - sway * mean_field[0]) * CALM + sway * mean_field[0] * CROWD


def chain_of(dense, policy):
    return np.einsum("sa,sat->st", policy, dense)


def settle(policy, sway):
    """The mean field after many steps."""
    mean_field = np.array([0.2, 0.5, 0.3])
    for _ in range(300):
        mean_field = mean_field @ chain_of(dense_of(mean_field, sway), policy)
    return mean_field


def values_of(policy, dense, reward):
    size = len(policy)
    return np.linalg.solve(np.eye(size) - 0.8 * chain_of(dense, policy), np.sum(policy * reward, axis=1))


def gain_of(policy, mean_field, sway):
    """The gain of the best of all pure policies that are played for ever, and its values."""
    dense, reward = dense_of(mean_field, sway), PAY - (CROWDING @ mean_field)[:, None]
    pure = (np.eye(2)[list(actions)] for actions in itertools.product(range(2), repeat=3))
    best = np.max([values_of(each, dense, reward) for each in pure], axis=0)
    return float(mean_field @ (best - values_of(policy, dense, reward))), best


@pytest.mark.parametrize("sway", [0.0, 0.6])
def test_exploitability_against_all_pure_policies(sway):
    random = np.random.default_rng(5)
    pure = [np.eye(2)[list(actions)] for actions in itertools.product(range(2), repeat=3)]
    for policy in [*random.dirichlet(np.ones(2), (6, 3)), *pure]:
        response = best_response(Tiny(sway), policy)
        mean_field = settle(policy, sway)
        gain, best = gain_of(policy, mean_field, sway)
        np.testing.assert_allclose(response.mean_field[0], mean_field, atol=1e-12)
        np.testing.assert_allclose(response.values[0], best, atol=1e-11)
        assert response.exploitability == pytest.approx(gain, abs=1e-11)
        for kind in ("clairvoyant", "non_anticipative", "public"):
            assert exploitability(Tiny(sway), policy, kind=kind) == (response.exploitability, 0.0)
        assert gain_of(response.policy.table, mean_field, sway)[0] == pytest.approx(0, abs=1e-11)


def equilibria(sway):
    """All equilibria in which agents mix in one state at most: by bisection of the advantage of one action."""
    found = []
    for actions in itertools.product(range(2), repeat=3):
        policy = np.eye(2)[list(actions)]
        if gain_of(policy, settle(policy, sway), sway)[0] < 1e-12:
            found.append(policy)
    for state in range(3):
        for others in itertools.product(range(2), repeat=2):

            def mixed(share, state=state, others=others):
                return np.insert(np.eye(2)[list(others)], state, [1 - share, share], axis=0)

            def advantage(share, state=state, mixed=mixed):
                policy = mixed(share)
                mean_field = settle(policy, sway)
                dense, reward = dense_of(mean_field, sway), PAY - (CROWDING @ mean_field)[:, None]
                q = reward[state] + 0.8 * dense[state] @ values_of(policy, dense, reward)
                return q[1] - q[0]

            low, high = 0.0, 1.0
            if advantage(low) * advantage(high) >= 0:
                continue
            sign = np.sign(advantage(low))
            for _ in range(50):
                middle = (low + high) / 2
                low, high = (middle, high) if advantage(middle) * sign > 0 else (low, middle)
            if gain_of(mixed(low), settle(mixed(low), sway), sway)[0] < 1e-10:
                found.append(mixed(low))
    return found


@pytest.mark.parametrize("sway", [0.0, 0.6])
def test_equilibrium_against_enumeration(sway):
    solution = smfg.solvers.solve(Tiny(sway), StationaryMeanFieldEquilibrium(), max_steps=40)
    assert solution.result is smfg.solvers.RESULTS.converged
    policy, mean_field = solution.policy.table, solution.policy.mean_field
    assert (policy.dtype, mean_field.dtype) == (np.float64, np.float64)
    assert gain_of(policy, mean_field, sway)[0] == pytest.approx(0, abs=1e-9)
    assert np.abs(mean_field @ chain_of(dense_of(mean_field, sway), policy) - mean_field).sum() < 1e-12
    (only,) = equilibria(sway)
    np.testing.assert_allclose(policy, only, atol=1e-9)
    assert 0.01 < np.min(only.max(axis=1)) < 0.99  # agents mix in a state
    np.testing.assert_allclose(mean_field, settle(only, sway), atol=1e-9)


def test_newton_steps_are_exact():
    """A wrong derivative slows them down, or leads nowhere: so few steps reach the equilibrium of `Tiny`."""
    problem = StationaryProblem(Tiny(0.6))
    occupancy = _interior_point.follow_central_path(problem, np.full((3, 2), 1 / 6), max_steps=12)
    mean_field = occupancy.sum(axis=1)
    policy = occupancy / mean_field[:, None]
    assert gain_of(policy, settle(policy, 0.6), 0.6)[0] < 1e-9
    np.testing.assert_allclose(problem.settle(policy, mean_field), mean_field, atol=1e-12)


def test_mean_fields_that_settle_slowly():
    """An epidemic near its threshold: the flow alone is far from its end after all its steps."""
    game = smfg.games.make("sis", resolution=None, contagion=0.201)
    response = best_response(game, np.full((2, 5), 0.2))
    share = 1 - 0.1 / (0.201 * 0.5)
    np.testing.assert_allclose(response.mean_field[0], [1 - share, share], atol=1e-12)


STAY = np.eye(3)  # in rock, paper, scissors: the next state is the action


def test_several_stationary_mean_fields():
    """Of a policy that stays, every mean field is one: that of the start counts, or the one that the policy brings."""
    game = smfg.games.make("rock_paper_scissors")
    assert exploitability(game, STAY).value == pytest.approx(0, abs=1e-12)
    start = np.array([0.5, 0.2, 0.3])
    response = best_response(game, StationaryPolicy(STAY, start))
    np.testing.assert_allclose(response.mean_field[0], start, atol=1e-15)
    beats = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) @ start
    best = beats + 0.9 / (1 - 0.9) * beats.max()
    np.testing.assert_allclose(response.values[0], best, atol=1e-12)
    assert response.exploitability == pytest.approx(start @ (best - beats / (1 - 0.9)))


def test_transient_and_periodic_chains():
    """The limit of Cesaro means: rock stays, paper and scissors change places, or all go round."""
    game = smfg.games.make("rock_paper_scissors")
    start = np.array([0.5, 0.2, 0.3])
    swap, cycle, leave = STAY[[0, 2, 1]], STAY[[1, 2, 0]], np.array([[1, 0, 0], [0.25, 0, 0.75], [0, 0, 1]])
    for policy, limit in ((swap, [0.5, 0.25, 0.25]), (cycle, [1 / 3] * 3), (leave, [0.55, 0, 0.45])):
        found = best_response(game, StationaryPolicy(policy, start)).mean_field[0]
        np.testing.assert_allclose(found, limit, atol=1e-14)
        means, mass = np.zeros(3), start
        for _ in range(6000):
            means, mass = means + mass / 6000, mass @ policy
        np.testing.assert_allclose(found, means, atol=1e-3)


class Endless(Tiny):
    """With noise that a test chooses."""

    chain = None

    def noise_chain(self):
        return self.chain


class Drawn(Tiny):
    """With noise that is drawn and continuous."""

    def initial_noise(self, uniform):
        return uniform

    def next_noise(self, noise, uniform, time):
        return noise


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (dataclasses.replace(Tiny(), horizon=5), "infinite horizon .horizon None., but the game's horizon is 5"),
        (Tiny(discount=1.0), "needs a discount below 1, but it is 1"),
        (Drawn(), "may have no common noise, but its noise takes at least 10 values"),
    ],
)
def test_games_that_are_refused(game, message):
    with pytest.raises(ValueError, match=message):
        smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(), max_steps=1)
    with pytest.raises(ValueError, match=message):
        StationaryProblem(game)


def test_noise_of_several_values_is_refused(monkeypatch):
    monkeypatch.setattr(Endless, "chain", NoiseChain(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.eye(2)))
    with pytest.raises(ValueError, match="its noise takes at least 2 values"):
        StationaryProblem(Endless())


@pytest.mark.parametrize(
    "solver",
    [
        lambda game: smfg.solvers.ExactEquilibrium(),
        lambda game: smfg.solvers.FictitiousPlay(),
        lambda game: smfg.solvers.RSPG(smfg.policies.recurrent(smfg.games.truncated(game, 2))),
    ],
)
def test_solvers_of_finite_horizons_refuse(solver):
    solver = solver(Tiny())
    with pytest.raises(ValueError, match=r"horizon is None .infinite.: take the solver stationary"):
        smfg.solvers.solve(Tiny(), solver, max_steps=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda game: smfg.policies.recurrent(game),
        lambda game: smfg.games.noise_tree(game),
        lambda game: smfg.games.noise_paths(game, sampling="enumerate"),
        lambda game: smfg.solvers.players(game, np.full((3, 2), 0.5), [3], key=jax.random.key(0)),
        lambda game: smfg.solvers.floor(game),
    ],
)
def test_what_needs_a_finite_horizon_refuses(call):
    with pytest.raises(ValueError, match=r"horizon is None \(infinite\)"):
        call(Tiny())


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((2, 3, 2), 0.5), r"must have shape \(S, A\) = \(3, 2\) or \(T, S, A\) = \(1, 3, 2\)"),
        (StationaryPolicy(np.full((2, 2), 0.5), np.full(2, 0.5)), r"is one for \(S, A\) = \(2, 2\)"),
        (smfg.policies.recurrent(smfg.games.make("left_right")), "must be a table .S, A., or a policies.Stationary"),
    ],
)
def test_policies_that_are_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        exploitability(Tiny(), policy)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "anderson"}, "unknown method 'anderson'"),
        ({"damping": 0.0}, "damping must lie in"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"temperature": -1.0}, "temperature must lie in"),
        ({"responses": -1}, "responses must be"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StationaryMeanFieldEquilibrium(**settings)


@dataclasses.dataclass(frozen=True)
class Broken(Tiny):
    """A game whose kernel or reward is wrong."""

    mass: float = 1.0
    loss: float = 0.0

    def kernel(self, aggregate):
        return DenseKernel(self.mass * super().kernel(aggregate).as_dense(), checks=False)

    def reward(self, aggregate, following):
        reward = super().reward(aggregate, following)
        return reward - jnp.inf if self.loss else reward


def test_broken_games():
    with pytest.raises(ValueError, match=r"the rows of kernel must be nonnegative and sum to 1, but .* sums to 0.9"):
        exploitability(Broken(mass=0.9), np.full((3, 2), 0.5))
    with pytest.raises(ValueError, match="a reward is not finite"):
        exploitability(Broken(loss=1.0), np.full((3, 2), 0.5))
    solution = smfg.solvers.solve(Broken(loss=1.0), StationaryMeanFieldEquilibrium(), max_steps=2, throw=False)
    assert solution.result is smfg.solvers.RESULTS.nonfinite


def test_truncated_games_approach_the_endless_one():
    """A stationary policy at its own mean field: with more steps its return goes to the endless one, as .8^T."""
    game = Tiny(0.0)
    policy = smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(), max_steps=40).policy
    endless = best_response(game, policy).mean_return

    class Settled(Tiny):
        def initial_mean_field(self, noise):
            return jnp.asarray(policy.mean_field, float)

    for horizon in (5, 30):
        short = smfg.games.truncated(Settled(0.0), horizon)
        assert short.horizon == horizon
        found = best_response(short, policy.table).mean_return
        assert found == pytest.approx(endless * (1 - 0.8**horizon), rel=1e-6)
    assert game.horizon is None


def test_the_clock_is_refused_for_ever():
    """A kernel, or a reward, that reads the time has no stationary equilibrium."""
    stay = np.broadcast_to(np.eye(2)[:, None], (2, 2, 2))

    def moving(aggregate):
        return jnp.roll(jnp.asarray(stay), aggregate.time, axis=2)

    def growing(now, then):
        return (1.0 + now.time) * jnp.ones((2, 2))

    rewards = np.zeros((2, 2))
    for name, pieces in (("kernel", (moving, rewards)), ("reward", (stay, growing))):
        with pytest.raises(ValueError, match=f"may not read the time, but its {name} is another"):
            from_arrays(*pieces, horizon=None, discount=0.9, initial=[0.5, 0.5])
