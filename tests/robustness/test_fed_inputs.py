"""What users feed: numbers of NumPy and JAX, wrong methods, copies, reference values that are not there."""

import collections
import concurrent.futures
import copy
import importlib
import json
import multiprocessing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg import games, policies, reports, runs, solvers
from structmfg._files import to_json
from structmfg.operators import DenseKernel
from structmfg.solvers import RSPG, ExactEquilibrium, Solution, TabularSPG, exploitability, solve

pytestmark = pytest.mark.usefixtures("first_method_alone")
GAME = games.make("left_right")
KEY = jax.random.key(0)
SMALL = {"hidden": 2, "width": 2, "rank": 1, "depth": 1}


class Line(smfg.Game):
    """Noise that is drawn."""

    num_states, num_actions, horizon, discount = 3, 2, 2, 0.9

    def kernel(self, aggregate):
        return DenseKernel(jnp.full((3, 2, 3), 1 / 3))

    def reward(self, aggregate, following):
        return jnp.arange(6.0).reshape(3, 2) - aggregate.mean_field[:, None]

    def observe(self, aggregate):
        return aggregate.mean_field[:1]

    def initial_noise(self, uniform):
        return uniform

    def next_noise(self, noise, uniform, time):
        return noise


@pytest.fixture(autouse=True)
def as_for_a_user(unchecked):
    """Annotations are not checked."""


def gain(game):
    return exploitability(game, np.full((3, 2), 0.5), key=KEY, num_paths=2).value


def spoiled(**methods):
    return type("Spoiled", (Line,), methods)()


# Numbers.


@pytest.mark.parametrize("as_", [np.float32, np.asarray, jnp.asarray], ids=["scalar", "numpy", "jax"])
def test_hyper_parameters(as_):
    whole = as_ if as_ is not np.float32 else np.int64
    network = policies.recurrent(GAME, **{name: whole(size) for name, size in SMALL.items()}, clock=np.True_)
    names = ("learning_rate", "final_rate", "clip", "temperature", "final_temperature", "annealing")
    given = RSPG(network, num_paths=whole(2), **{name: as_(0.5) for name in names})
    plain = RSPG(policies.recurrent(GAME, **SMALL), num_paths=2, **dict.fromkeys(names, 0.5))
    assert given == plain
    assert type(given.learning_rate) is float
    assert ExactEquilibrium(tolerance=as_(0.5), memory=whole(3)) == ExactEquilibrium(tolerance=0.5, memory=3)
    assert policies.binned(GAME, bins=whole(3), lowest=as_(0)).settings.bins == (3, 3)


def test_steps_seeds_and_settings():
    solver = RSPG(policies.recurrent(GAME, **SMALL), learning_rate=np.float32(0.5), temperature=np.linspace(0, 1, 3)[0])
    solution = solve(GAME, solver, key=jax.random.PRNGKey(0), max_steps=np.int64(2), max_seconds=np.float32(1e6))
    assert solution.stats["steps"] == 2
    numbers = {"max_steps": np.int64(2), "max_seconds": np.float32(3), "seed": np.int64(3)}
    settings = runs.Settings.of(GAME, solver, name="rspg", preset="default", overrides={}, **numbers)
    assert json.loads(to_json(settings._asdict()))["hyper_parameters"]["learning_rate"] == 0.5
    reports.held_out_key(np.int64(3))
    assert GAME.aggregate(mean_field=[1.0, 0, 0], noise=np.int32(0), time=np.int64(1)).time == 1


@pytest.mark.parametrize("number", [np.float32("nan"), np.array(np.inf), jnp.asarray(-1.0), True, np.True_, "1"])
def test_bad_numbers_are_refused(number):
    with pytest.raises(ValueError, match=r"learning_rate must be finite and above 0, but is"):
        RSPG(policies.recurrent(GAME, **SMALL), learning_rate=number)
    with pytest.raises(ValueError, match=r"tolerance must lie in"):
        ExactEquilibrium(tolerance=number)


@pytest.mark.parametrize("as_", [np.asarray, jnp.asarray, lambda number: np.asarray(number)[()]])
def test_games_of_numpy_numbers(as_):
    sizes = {"num_states": as_(3), "num_actions": as_(2), "horizon": as_(2), "discount": as_(0.9)}
    assert gain(spoiled(**sizes)) == pytest.approx(gain(Line()))
    given = games.make("linear_quadratic", num_states=as_(9), push=as_(2.0))
    assert given == games.make("linear_quadratic", num_states=9, push=2.0)
    with pytest.raises(ValueError, match=r"horizon must be a whole number of at least 1, but is 5.0 \(a float\)"):
        policies.uniform(spoiled(horizon=5.0))


# Methods.


@pytest.mark.parametrize(
    "methods",
    [
        {"reward": lambda self, now, then: np.arange(6).reshape(3, 2)},
        {"initial_noise": lambda self, uniform: 0.0},
        {"initial_noise": lambda self, uniform: {"a": np.zeros(2), "b": (1.0, np.float32(2))}},
        {"initial_noise": lambda self, uniform: collections.namedtuple("Pair", "a b")(np.zeros(2), 1)},
        {"observe": lambda self, now: np.zeros(1)},
        {"initial_mean_field": lambda self, noise: np.array([1, 0, 0])},
    ],
)
def test_methods_may_return_numbers_and_numpy_arrays(methods):
    assert gain(spoiled(**methods)) > 0


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            {"next_noise": lambda self, z, u: z},
            r"next_noise is called as next_noise\(noise, uniform, time\), but",
        ),
        ({"kernel": lambda self: None}, r"kernel is called as kernel\(aggregate\), but is defined to take \(\)"),
        ({"normalise": lambda self: 0}, r"normalise is called as normalise\(observation\)"),
        (
            {"quantities": lambda self, a, b: 0},
            r"quantities .*defined to take \(a, b\): missing a required arg",
        ),
        ({"reward": 5}, "reward must be a method"),
        ({"next_noise": lambda self, z, u, t: len(5)}, "next_noise raised TypeError in test_fed_inputs.py.*`.*len"),
        ({"reward": lambda self, now, then: now + 1}, "reward raised TypeError in test_fed_inputs.py.*`.*now . 1"),
        ({"next_noise": lambda self, z, u, t: "so"}, "next_noise must return arrays, but returned 'so', a str"),
        ({"initial_noise": lambda self, u: None}, "initial_noise must return arrays, but returned None, a NoneType"),
        ({"observe": lambda self, now: jnp.zeros(())}, r"observe must return .* shape \(\) \(write \[None\]"),
        ({"observe": lambda self, now: [0.0]}, r"observe must return .* returned a list \(jnp.stack"),
        ({"observe": lambda self, now: 0.0}, "observe must return .* returned a number"),
    ],
)
def test_what_is_wrong_with_a_method_is_told(methods, message, unchecked):
    with pytest.raises(ValueError, match=message):
        gain(spoiled(**methods))


# Copies.


def _trained(solver):
    return solve(GAME, solver, key=jax.random.key(0), max_steps=1)


def _measured(policy):
    return exploitability(GAME, policy).value


@pytest.fixture(scope="module")
def things():
    recurrent, memoryless = policies.recurrent(GAME, **SMALL), policies.memoryless(GAME, **SMALL)
    return [
        recurrent.initialised(KEY),
        memoryless.initialised(KEY),
        policies.critic(recurrent),
        policies.uniform(GAME),
        policies.binned(GAME).initialised(KEY),
        RSPG(recurrent),
        solvers.SPG(memoryless),
        TabularSPG(policies.binned(GAME)),
        solvers.RIPPO(recurrent),
        solvers.MunchausenOMD(memoryless),
        Solution(recurrent.initialised(KEY), solvers.RESULTS.completed, {"returns": [1.0]}),
        solve(GAME, ExactEquilibrium(information="public"), max_steps=2, throw=False),
    ]


@pytest.mark.parametrize("copied", ["deepcopy", "pickle"])
def test_copies_are_equal(copied, things):
    pickle = importlib.import_module("pickle")  # what process pools use; the package itself loads none
    for thing in things:
        other = copy.deepcopy(thing) if copied == "deepcopy" else pickle.loads(pickle.dumps(thing))
        assert jax.tree.structure(other) == jax.tree.structure(thing)
        assert hash(jax.tree.structure(other)) == hash(jax.tree.structure(thing))
        for one, leaf in zip(jax.tree.leaves(other), jax.tree.leaves(thing), strict=True):
            assert type(one) is type(leaf)
            assert np.all(np.asarray(one) == np.asarray(leaf))


@pytest.mark.slow
def test_a_process_pool_trains():
    solver = RSPG(policies.recurrent(GAME, **SMALL))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        solution = pool.submit(_trained, solver).result()
        measured = pool.submit(_measured, solution.policy).result()
    assert isinstance(solution, Solution)
    assert solution.stats["returns"] == _trained(solver).stats["returns"]
    assert measured == pytest.approx(_measured(solution.policy))


# Reference values.


def test_anchors_that_are_not_there():
    messages = []
    reference = reports.reference_values(Line(), "rspg", kinds=reports.KINDS, log=messages.append)
    assert reference.uniform["clairvoyant"] is not None
    assert reference.uniform["public"] is reference.floor["clairvoyant"] is None
    assert reference.missing.keys() == {"uniform non_anticipative", "uniform public", "floor"}
    assert "finite common noise" in reference.missing["floor"]
    assert any("uniform" in line for line in messages)


def test_the_search_for_a_floor_ends():
    messages = []
    about = {"kinds": ["clairvoyant"], "information": "full", "max_seconds": 1e-6}
    reference = reports.reference_values(GAME, "rspg", log=messages.append, **about)
    assert reference.floor["clairvoyant"] is None
    assert "was not found: its exploitability must be at most" in reference.missing["floor"]
    assert any("searching the floor" in line for line in messages)
    with pytest.raises(ValueError, match="max_seconds"):
        reports.reference_values(GAME, "rspg", kinds=["clairvoyant"], max_seconds=0)


@pytest.mark.parametrize("reached", [{"exploitability": float("nan")}, {"exploitability": -1.0}, {}, None])
def test_a_solution_that_proves_nothing_is_no_floor(reached):
    messages = []
    found = solve(GAME, ExactEquilibrium(information="full"), max_steps=400)
    if reached is None:
        found = found._replace(result=solvers.RESULTS.nonfinite)
    else:
        found = found._replace(stats={"steps": 1, "train_seconds": 0.0, **reached})
    about = {"kinds": ["non_anticipative"], "information": "full", "found": found}
    assert reports.reference_values(GAME, "exact", log=messages.append, **about).floor["non_anticipative"] == 0
    assert any("searching the floor" in line for line in messages)


@pytest.mark.parametrize(("steps", "searched"), [(400, False), (1, True)])
def test_an_equilibrium_that_was_found_is_the_floor(steps, searched):
    messages = []
    found = solve(GAME, ExactEquilibrium(tolerance=1e-8, information="full"), max_steps=steps, throw=False)
    about = {"kinds": ["clairvoyant", "non_anticipative"], "information": "full", "found": found}
    floor = reports.reference_values(GAME, "exact", log=messages.append, **about).floor
    assert any("searching the floor" in line for line in messages) == searched
    afresh = reports.reference_values(GAME, "exact", **{**about, "found": None}).floor
    assert floor["non_anticipative"] == afresh["non_anticipative"] == 0
    assert floor["clairvoyant"] == pytest.approx(afresh["clairvoyant"], abs=1e-6)
