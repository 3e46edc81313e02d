"""Games from arrays: the same numbers as a game written by hand, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from helpers.kernels import crossed
from jax.experimental.sparse import BCOO

import structmfg as smfg
from structmfg.evaluation import best_response, evaluate_paths, rollout
from structmfg.games import ArrayGame, Game, NoiseChain, Population, from_arrays, noise_paths
from structmfg.operators import DenseKernel, LatticeKernel, direct_sum, from_scipy
from structmfg.policies import tabular
from structmfg.solvers import ExactEquilibrium, solve

pytestmark = pytest.mark.filterwarnings("error:Explicitly requested dtype")  # numbers of another precision than JAX's
S, A, Z, T, GAMMA = 4, 3, 2, 3, 0.9
rng = np.random.default_rng(3)
KERNEL = rng.dirichlet(np.ones(S), (Z, S, A)) * (rng.random((Z, S, A, S)) < 0.7)
KERNEL[..., 1] += 0.1
KERNEL /= KERNEL.sum(-1, keepdims=True)
REWARD, START = rng.normal(size=(Z, S, A)), rng.dirichlet(np.ones(S), Z)
ALLOWED = np.array([[True, True, False], [True, True, True], [False, True, True], [True, False, False]])
CHAIN = NoiseChain(np.array([-1.0, 2.0]), [0.4, 0.6], [[0.7, 0.3], [0.2, 0.8]])
TABLE = rng.dirichlet(np.ones(A), (T, S))
FORMS = ("dense", "sparse", "bcoo", "kernels", "function")


def crowded(rewards, now, then):
    """A reward that depends on the mean fields before and after."""
    return rewards - now.mean_field[:, None] * then.mean_field[0]


def kernel_in(form, noises=range(Z)):
    """What `from_arrays` is given, and a function for the kernel of a game by hand without noise."""
    flat = [scipy.sparse.csr_array(KERNEL[z].reshape(-1, S)) for z in noises]
    one = len(noises) == 1
    given = {
        "dense": KERNEL[0] if one else KERNEL,
        "sparse": flat[0] if one else flat,
        "bcoo": BCOO.fromdense(jnp.asarray(flat[0].todense())) if one else [
            BCOO.fromdense(jnp.asarray(each.todense())) for each in flat
        ],
        "kernels": DenseKernel(KERNEL[0]) if one else [DenseKernel(KERNEL[z]) for z in noises],
        "function": lambda aggregate: jnp.asarray(KERNEL, float)[(aggregate.noise > 0).astype(int)],
    }  # fmt: skip
    by_hand = {
        "dense": lambda: DenseKernel(jnp.asarray(KERNEL[0], float)),
        "sparse": lambda: from_scipy(flat[0], num_actions=A),
        "bcoo": lambda: from_scipy(given["bcoo"], num_actions=A),
        "kernels": lambda: given["kernels"],
    }
    return given[form], by_hand.get(form)


class ByHand(Game):
    """The game as one would write it."""

    num_states, num_actions, horizon, discount = S, A, T, GAMMA

    def __init__(self, explicit=None, has_noise=True):
        self.explicit, self.has_noise = explicit, has_noise

    def state(self, noise):
        return (noise > 0).astype(int)

    def kernel(self, aggregate):
        if self.explicit is not None:
            return self.explicit()
        return DenseKernel(jnp.asarray(KERNEL, float)[self.state(aggregate.noise)])

    def reward(self, aggregate, following):
        return crowded(jnp.asarray(REWARD, float)[self.state(aggregate.noise)], aggregate, following)

    def observe(self, aggregate):
        return aggregate.mean_field

    def initial_mean_field(self, noise):
        return jnp.asarray(START, float)[self.state(noise)]

    def noise_chain(self):
        return CHAIN if self.has_noise else NoiseChain(np.zeros(1, int), [1.0], [[1.0]])

    def initial_noise(self, uniform):
        return self.noise_chain().first(uniform)

    def next_noise(self, noise, uniform, time):
        return self.noise_chain().following(noise, uniform)


def reward_by_function(now, then):
    return crowded(jnp.asarray(REWARD, float)[(now.noise > 0).astype(int)], now, then)


@pytest.mark.parametrize(("form", "precision"), crossed(FORMS), indirect=["precision"])
def test_without_noise_all_numbers_are_those_of_a_game_by_hand(form, precision):
    """Bit for bit, in both precisions; sparse ones against the same sparse matrix."""
    given, explicit = kernel_in(form, noises=[0])
    options = {"horizon": T, "discount": GAMMA, "initial": START[0]}
    game, by_hand = from_arrays(given, reward_by_function, **options), ByHand(explicit, has_noise=False)
    found, expected = (rollout(some, tabular(some, TABLE), jnp.zeros(T + 1, int)) for some in (game, by_hand))
    np.testing.assert_array_equal(found.aggregates.mean_field, expected.aggregates.mean_field)
    for kind in ("clairvoyant", "non_anticipative", "public"):
        found, expected = (best_response(some, TABLE, kind=kind) for some in (game, by_hand))
        np.testing.assert_array_equal(found.gains, expected.gains)
        np.testing.assert_array_equal(found.policy_values, expected.policy_values)


@pytest.mark.parametrize("form", FORMS)
def test_with_a_noise_chain_too(form, double):
    given, _ = kernel_in(form)
    game = from_arrays(given, reward_by_function, horizon=T, discount=GAMMA, initial=START, noise=CHAIN)
    by_hand = ByHand()
    paths = noise_paths(by_hand, key=jax.random.key(0), num_paths=3)
    np.testing.assert_array_equal(noise_paths(game, key=jax.random.key(0), num_paths=3).noise, paths.noise)
    found, expected = (evaluate_paths(some, TABLE, paths.noise) for some in (game, by_hand))
    close = np.testing.assert_array_equal if form in ("dense", "kernels", "function") else np.testing.assert_allclose
    close(found.aggregates.mean_field, expected.aggregates.mean_field)
    close(found.returns, expected.returns)
    close(best_response(game, TABLE).gains, best_response(by_hand, TABLE).gains)


def test_tables_by_noise_are_looked_up(double):
    """Rewards, starts and allowed actions; and the default observation tells the state of the noise."""
    allowed = np.stack([ALLOWED, ~ALLOWED | ALLOWED[:, ::-1]])
    game = from_arrays(KERNEL, REWARD, horizon=T, discount=GAMMA, noise=CHAIN, initial=START, allowed=allowed)
    for z in range(Z):
        at = game.at_start(jnp.asarray(CHAIN.values[z]))
        np.testing.assert_array_equal(game.reward(at, at), REWARD[z])
        np.testing.assert_array_equal(game.allowed(at), allowed[z])
        np.testing.assert_array_equal(game.kernel(at).as_dense(), KERNEL[z])
        np.testing.assert_array_equal(at.mean_field, START[z])
        np.testing.assert_array_equal(game.observe(at), [*START[z], z == 0, z == 1])
        np.testing.assert_array_equal(game.normalise(game.observe(at)), [*(S * START[z]), z == 0, z == 1])
    assert game.declared == {"allowed"}


def test_nobody_interacts_in_a_game_of_arrays_alone(double):
    """Its equilibrium is the best response of one agent, by plain backward induction."""
    game = from_arrays(KERNEL[0], REWARD[0], horizon=T, discount=GAMMA, initial=START[0], allowed=ALLOWED)
    assert game.aggregates(game.initial_mean_field(jnp.asarray(0))).size == 0
    assert from_arrays(KERNEL[0], REWARD[0], horizon=T, discount=GAMMA).declared == set()
    values = np.zeros(S)
    for _ in range(T):
        values = np.where(ALLOWED, REWARD[0] + GAMMA * KERNEL[0] @ values, -np.inf).max(-1)
    solution = solve(game, ExactEquilibrium(tolerance=1e-9), max_steps=100)
    assert solution.result.name == "converged"
    assert abs(solution.stats["returns"][-1] - START[0] @ values) < 1e-8


def test_games_of_equal_arrays_are_equal_and_arrays_are_copied():
    kernel = KERNEL.copy()
    options = {"horizon": T, "discount": GAMMA, "noise": CHAIN}
    game = from_arrays(kernel, REWARD, **options)
    same, other = from_arrays(KERNEL, REWARD, **options), from_arrays(KERNEL, REWARD + 1, **options)
    assert game == same
    assert hash(game) == hash(same)
    assert game != other
    kernel[:] = 0
    np.testing.assert_array_equal(game.kernel(game.at_start(jnp.asarray(-1.0))).as_dense(), KERNEL[0].astype("f4"))


WALK = direct_sum(LatticeKernel(2, (0, 1)), LatticeKernel(2, (0, 1)))
PAIR = (Population("low", range(2), 0.25), Population("high", range(2, 4), 0.75))


def avoid(now, then):
    return jnp.stack([-now.mean_field, -now.mean_field - 0.01], axis=1)


class Mine(ArrayGame):
    """A game that a run folder can build again."""

    def __init__(self):
        super().__init__(kernel=WALK, reward=avoid, horizon=2, discount=1.0, populations=PAIR)


@pytest.mark.slow
def test_run_folders_of_arrays_and_of_populations(tmp_path, unchecked):
    """They hold the report, which tells the gains by population; a class of one's own can be loaded."""
    solution = solve(Mine(), ExactEquilibrium(tolerance=1e-4), max_steps=500)
    run = smfg.save(Mine(), solution, tmp_path / "mine")
    with pytest.raises(ValueError, match="game must be the class of the run's game, but is an instance of Mine"):
        smfg.load(tmp_path / "mine", game=Mine())
    loaded = smfg.load(tmp_path / "mine", game=Mine)
    assert loaded.game == Mine()
    told = loaded.result["populations"]
    assert [(name, each["mass"]) for name, each in told.items()] == [("low", 0.25), ("high", 0.75)]
    expected = best_response(Mine(), loaded.policy).by_population
    for name, each in told.items():
        assert each["exploitability"]["non_anticipative"] == pytest.approx(expected[name], rel=1e-6, abs=1e-12)
    assert run.result["certificate"]["by_population"].keys() == told.keys()
    assert all(f'class="text">{name}</th>' in (tmp_path / "mine" / "report.html").read_text() for name in told)
    plain = from_arrays(WALK, avoid, horizon=2, discount=1.0, populations=PAIR)
    smfg.save(plain, solution, tmp_path / "plain")
    with pytest.raises(ValueError, match="needs kernel and reward, which a run folder does not hold"):
        smfg.load(tmp_path / "plain")


def broken(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": broken(KERNEL, (1, 2, 0, 3), 0.9)}, r"in state 2 under action 0 and state 1 of the noise it is \["),
        ({"kernel": broken(KERNEL[0], (3, 1), [-1, 2, 0, 0])}, r"under action 1 it is \[-1, 2, 0, 0\], with"),
        ({"kernel": broken(KERNEL[0], (0, 0, 0), np.nan)}, "in state 0 under action 0 it is .nan"),
        ({"kernel": KERNEL[:, :, :, :2]}, r"kernel must be an array \(S, A, S\), .* of shape \(2, 4, 3, 2\)"),
        ({"kernel": "walk"}, "a function of the aggregate state; .* but is 'walk'"),
        ({"kernel": KERNEL[0].astype(complex)}, "is an array of complex128"),
        ({"kernel": scipy.sparse.csr_array(0.5 * KERNEL[0].reshape(-1, S))}, r"row 0 \(state 0, action 0\)"),
        ({"kernel": scipy.sparse.csr_array(KERNEL[0].reshape(-1, S)[:-1])}, r"a matrix has shape \(11, 4\)"),
        ({"kernel": [scipy.sparse.eye_array(4), scipy.sparse.eye_array(5)]}, r"the same states and actions, but have"),
        ({"kernel": [LatticeKernel(4, (0, 1, 1)), DenseKernel(KERNEL[0])]}, "must be of one kind"),
        ({"kernel": [DenseKernel(KERNEL[0])]}, "kernel must have a table for each of the 2 states .* but has 1"),
        ({"noise": None}, "kernel has 2 tables, one for each state of a noise chain: say noise="),
        ({"noise": "chain"}, "noise must be a NoiseChain, but is a str"),
        ({"kernel": lambda a: 0.5 * jnp.asarray(KERNEL[0])}, "in state 0 under action 0 it is 0.5 at time 0"),
        ({"kernel": lambda a: jnp.ones((S, A))}, "probabilities must have shape"),
        ({"kernel": lambda a: DenseKernel(KERNEL[0]), "reward": avoid}, "say initial="),
        ({"reward": broken(REWARD, (1, 3, 2), np.inf)}, "reward must be finite, but in state 3 under action 2"),
        ({"reward": REWARD[0, :2]}, r"reward must have shape \(4, 3\) as kernel has, but has shape \(2, 3\)"),
        ({"reward": None}, "needs kernel and reward"),
        ({"reward": "high"}, r"reward must be real numbers of shape \(S, A\), .* but is 'high'"),
        ({"reward": lambda a, b: jnp.full((S, A), jnp.nan)}, "reward must be finite, but in state 0 under action 0"),
        ({"reward": avoid}, r"reward must return an array of shape \(S, A\) = \(4, 3\)"),
        ({"initial": [0.5, 0.5, 0.5, 0.5]}, "initial must be nonnegative and sum to 1"),
        ({"initial": START[:, :3]}, r"initial must have shape \(4,\) as kernel has, but has shape \(3,\)"),
        ({"allowed": ALLOWED & [True, False, False]}, "allows none in state 2"),
        ({"allowed": 1 * ALLOWED}, r"allowed must be booleans of shape \(S, A\)"),
        ({"observe": 3}, "observe must be a function of the aggregate state, but is 3"),
        ({"discount": 0.0}, "discount must lie in"),
        ({"horizon": 0}, "horizon must be a whole number"),
        ({"populations": PAIR}, "agents of population 'low' must stay in its states"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(changed, message):
    options = {"kernel": KERNEL, "reward": REWARD, "horizon": T, "discount": GAMMA, "noise": CHAIN} | changed
    with pytest.raises(ValueError, match=message):
        from_arrays(options.pop("kernel"), options.pop("reward"), **options)
