"""Games of MFGLib: the same policy has the same value and exploitability there and here. Needs the extra `peers`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.games import from_mfglib
from structmfg.verification import verify
from structmfg.verification._against_library import library_of, matches_library

torch = pytest.importorskip("torch", reason="PyTorch and MFGLib are in the extra `peers`")
pytest.importorskip("mfglib", reason="MFGLib is in the extra `peers`")
import mfglib.alg  # noqa: E402, F401  # before mfglib.scoring, which cannot be imported first
from mfglib.env import Environment  # noqa: E402
from mfglib.scoring import exploitability_score  # noqa: E402
from mfglib.utils import mean_field_from_policy  # noqa: E402

NAMES = [
    "beach_bar", "building_evacuation", "conservative_treasure_hunting", "crowd_motion", "equilibrium_price",
    "left_right", "linear_quadratic", "random_linear", "rock_paper_scissors", "susceptible_infected",
]  # fmt: skip
OF_ACTIONS = {"conservative_treasure_hunting", "equilibrium_price", "random_linear"}


@pytest.fixture(autouse=True)
def theirs_in_double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def returned(env, policy):
    """The return of a policy (T+1, *S, *A) by MFGLib's mean field, rewards and initial distribution."""
    joint = mean_field_from_policy(torch.tensor(policy), env=env)
    return sum(float((joint[t] * env.reward(t, joint[t])).sum()) for t in range(env.T + 1))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_values_there_and_here(name):
    env = getattr(Environment, name)()
    game = from_mfglib(env)
    assert ("actions" in game.declared) == (name in OF_ACTIONS)
    random = np.random.default_rng(3)
    shape = (game.horizon, game.num_states, game.num_actions)
    for table in (np.full(shape, 1 / game.num_actions), random.dirichlet(np.ones(game.num_actions), shape[:2])):
        theirs = table.reshape(game.horizon, *env.S, *env.A)
        gain = exploitability_score(env, torch.tensor(theirs))
        response = smfg.solvers.best_response(game, jnp.asarray(table))
        np.testing.assert_allclose(response.exploitability, gain, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(response.mean_return, returned(env, theirs), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["building_evacuation", "equilibrium_price", "linear_quadratic"])
def test_equilibria_are_equilibria_by_their_measure(name):
    env = getattr(Environment, name)()
    game = from_mfglib(env)
    solution = smfg.solvers.solve(game, smfg.solvers.ExactEquilibrium(tolerance=1e-6), max_steps=3000)
    table = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy
    table = np.asarray(table, float) / np.asarray(table, float).sum(-1, keepdims=True)
    assert exploitability_score(env, torch.tensor(table.reshape(game.horizon, *env.S, *env.A))) < 1e-4


@pytest.mark.parametrize("name", [pytest.param("linear_quadratic", marks=pytest.mark.slow), "equilibrium_price"])
def test_imported_games_pass_verify(name):
    """One whose law of motion is called as it is, and one in which actions matter; MFGLib measures two policies."""
    report = verify(from_mfglib(getattr(Environment, name)()), num_points=1)
    assert report.passed
    assert "exploitability by the library" in [result.name for result in report.results]


@pytest.mark.usefixtures("double")
def test_verify_finds_that_the_library_has_another_game():
    env = Environment.left_right()
    found = library_of(from_mfglib(env))
    assert all(result.passed for result in matches_library(found, jax.random.key(0)))
    env.mu0 = torch.tensor([0.0, 1.0, 0.0])
    failed = [result.name for result in matches_library(found, jax.random.key(0)) if not result.passed]
    assert "mean fields by the library" in failed


class Own(Environment):
    """A user's own environment: decisions by the values of L, parts of states, and a reward that changes with time."""

    def __init__(self, *, wrong=None):
        def reward(env, t, joint):
            crowd = joint.sum(dim=-1)
            if wrong == "shape":
                return crowd
            if crowd[0, 0] > 0.4:  # recorded, this would be wrong elsewhere
                return -crowd[..., None].expand(2, 2, 2) + t
            out = torch.zeros(2, 2, 2)
            out[..., 1] -= 0.5 * (crowd if t else crowd**2)
            return out

        def move(env, t, joint):
            table = torch.zeros(2, 2, 2, 2, 2)
            for i in range(2):
                for j in range(2):
                    table[i, j, i, j, 0] = 1.0
                    table[1 - i, j, i, j, 1] = 0.9 if wrong == "sums" else 1.0
            return table

        super().__init__(
            T=2, S=(2, 2), A=(2,), mu0=torch.tensor([[0.7, 0.1], [0.1, 0.1]]), r_max=9.0, reward_fn=reward,
            transition_fn=move,
        )  # fmt: skip


@pytest.mark.usefixtures("double")
def test_own_environments_that_decide_by_values_are_called_as_they_are():
    env = Own()
    game = from_mfglib(env)
    table = np.random.default_rng(0).dirichlet(np.ones(2), (3, 4))
    gain = exploitability_score(env, torch.tensor(table.reshape(3, 2, 2, 2)))
    np.testing.assert_allclose(smfg.solvers.best_response(game, jnp.asarray(table)).exploitability, gain, rtol=1e-9)


def ring(*, reward=lambda t, joint, rewards: rewards, move=lambda t, joint, table: table, mu0=(0.5, 0.3, 0.2)):
    """Three places on a ring, two actions (stay, go on) and T = 4; `reward` and `move` change the tensors given."""

    def rewards(env, t, joint):
        return reward(t, joint, -joint.sum(1)[:, None] * torch.ones(3, 2))

    def moves(env, t, joint):
        table = torch.stack([torch.eye(3), torch.roll(torch.eye(3), 1, 0)], dim=2)
        return move(t, joint, table)

    return Environment(T=4, S=(3,), A=(2,), mu0=torch.tensor(mu0), r_max=9.0, reward_fn=rewards, transition_fn=moves)


def negative_at_1(t, joint, table):
    return table + (t == 1) * torch.tensor([0.5, -0.5, 0.0])[:, None, None]


@pytest.mark.parametrize("time", range(5))
def test_actions_that_matter_at_one_time_alone_are_seen(time):
    def of_rewards(t, joint, rewards):
        return rewards - joint.sum(0) if t == time else rewards

    def of_moves(t, joint, table):
        return table + (t == time) * 0.5 * joint[:, 0].sum() * (table.mean(2, keepdim=True) - table)

    assert "actions" in from_mfglib(ring(reward=of_rewards)).declared
    assert ("actions" in from_mfglib(ring(move=of_moves)).declared) == (time < 4)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (object(), "must be an mfglib.env.Environment"),
        (Own(wrong="shape"), r"environment.reward\(0, L\) must have shape"),
        (Own(wrong="sums"), r"environment.prob\(0, L\) at the uniform distribution must be nonnegative and sum to 1"),
        (ring(mu0=(1.5, -0.5, 0.0)), "environment.mu0 must be nonnegative"),
        (ring(move=lambda t, joint, table: table / (1 + (t == 1))), r"prob\(1, L\) at the uniform .* with sum 0.5"),
        (ring(move=negative_at_1), r"environment.prob\(1, L\) at the uniform distribution must be nonnegative"),
        (ring(move=lambda t, joint, table: table * (1 + (t == 3) * (joint[0, 0] - 1 / 6))), r"prob\(3, L\) at a dist"),
        (ring(reward=lambda t, joint, rewards: rewards * (np.nan if t == 2 else 1)), r"reward\(2, L\) must be finite"),
        (ring(reward=lambda t, joint, rewards: rewards + (np.inf if t == 4 else 0)), r"reward\(4, L\) must be finite"),
    ],
)
def test_what_is_no_environment_is_refused(environment, message):
    with pytest.raises(ValueError, match=message):
        from_mfglib(environment)


def test_rewards_may_be_infinite_where_a_state_is_empty():
    game = from_mfglib(ring(reward=lambda t, joint, rewards: -torch.log(joint.sum(1))[:, None].expand(3, 2)))
    assert "actions" not in game.declared
