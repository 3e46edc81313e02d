"""Noise paths over devices: the same numbers as on one, by one message an update."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.on_devices import NETWORK, vector
from helpers.small_games import SMALL

from structmfg import evaluation, games, parallel, policies, solvers
from structmfg.benchmarks import DEVICES, _plan_update, plan_update, update_cost
from structmfg.games import NoisePaths
from structmfg.parallel import make_mesh, map_over_paths, program_cost, sum_over_paths


def trained(name, mesh, steps=4, **settings):
    """The parameters after a few updates with 8 paths, as one vector, and the solution."""
    game = games.make(name, **SMALL[name])
    solver = solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=8, **settings)
    solution = solvers.solve(game, solver, key=jax.random.key(1), max_steps=steps, mesh=mesh)
    return vector(solution.policy), solution


# `test_same_bits.py` and `test_processes.py` train beach_bar on several devices as well.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["macro", "beach_bar", "linear_quadratic"])
def test_training_does_not_depend_on_the_number_of_devices(name):
    alone, _ = trained(name, None, sampling="iid")
    shared, solution = trained(name, make_mesh(paths=4), sampling="iid")
    np.testing.assert_allclose(shared, alone, rtol=0, atol=2e-6)
    assert np.abs(alone - vector(solution.stats["solver"].policy.initialised(jax.random.key(0)))).max() > 1e-3
    assert {device for leaf in jax.tree.leaves(solution.policy.parameters) for device in leaf.devices()} == {
        jax.devices()[0]
    }


def collectives(text):
    """The messages between devices in a compiled program."""
    return re.findall(r"= \S+ (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", text)


def test_an_update_sends_one_message():
    game = games.make("beach_bar", **SMALL["beach_bar"])
    solver = solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=8, sampling="iid")
    state = solver.init(game, jax.random.key(0))
    step = eqx.filter_jit(lambda state: solver.step(game, state, 10))
    with parallel.in_use(make_mesh(paths=4)):
        text = step.lower(state).compile().compiled.as_text()
    assert collectives(text) == ["all-reduce"]


@pytest.mark.parametrize("num_paths", [5, 8])
@pytest.mark.parametrize("deterministic", [False, True])
def test_sums_over_any_number_of_paths(num_paths, deterministic):
    """Paths that fill up the last device have probability zero."""
    noise = np.random.default_rng(0).normal(size=(num_paths, 3)).astype(np.float32)
    paths = NoisePaths(jnp.asarray(noise), jnp.arange(1.0, num_paths + 1))

    def weighted(paths, scale):
        return {"sum": paths.probabilities @ paths.noise, "squares": scale * (paths.probabilities @ paths.noise**2)}

    expected = jax.tree.map(np.asarray, weighted(paths, 3.0))
    for devices in (1, 3, 8):
        with parallel.in_use(make_mesh(paths=devices)):
            found = jax.jit(lambda p: sum_over_paths(weighted, p, jnp.asarray(3.0), deterministic=deterministic))(paths)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), found, expected)


def test_maps_over_paths_keep_their_order():
    numbers = jnp.arange(5.0)
    with parallel.in_use(make_mesh(paths=4)):
        found = jax.jit(lambda x, y: map_over_paths(lambda path, shift: 2 * path + shift, x, y, batch_size=2))(
            numbers, jnp.asarray(1.0)
        )
    np.testing.assert_array_equal(found, 2 * numbers + 1)


# Paths that are drawn, and all paths of a tree.
@pytest.mark.parametrize("name", ["macro", pytest.param("beach_bar", marks=pytest.mark.slow)])
def test_exploitability_is_the_same(name):
    game = games.make(name, **SMALL[name])
    policy = policies.recurrent(game, **NETWORK).initialised(jax.random.key(2))
    alone = evaluation.exploitability(game, policy, key=jax.random.key(3), num_paths=6)
    shared = evaluation.exploitability(game, policy, key=jax.random.key(3), num_paths=6, mesh=make_mesh(paths=4))
    np.testing.assert_allclose(shared, alone, rtol=1e-6)


@pytest.mark.slow
def test_seeds_side_by_side_on_a_mesh():
    game = games.make("beach_bar", **SMALL["beach_bar"])
    solver = solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=4, sampling="iid")
    options = {"keys": jax.random.split(jax.random.key(0), 2), "max_steps": 3}
    alone = solvers.solve_seeds(game, solver, **options)
    shared = solvers.solve_seeds(game, solver, **options, mesh=make_mesh(paths=4))
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(vector(one.policy), vector(other.policy), rtol=0, atol=2e-6)


def test_too_many_devices_and_meshes_of_another_make_are_refused():
    with pytest.raises(ValueError, match="a mesh of 3 x 5 needs 15 devices, but there are 8"):
        make_mesh(paths=3, states=5)
    game = games.make("beach_bar", **SMALL["beach_bar"])
    table = np.full((game.num_states, game.num_actions), 1 / game.num_actions)
    with pytest.raises(ValueError, match=r"mesh must be made by parallel\.make_mesh, but has the axes"):
        evaluation.exploitability(game, table, mesh=jax.make_mesh((2,), ("batch",)))


def test_solvers_that_share_no_paths_are_refused():
    game = games.make("beach_bar", **SMALL["beach_bar"])
    with pytest.raises(ValueError, match="ExactEquilibrium runs on one device"):
        solvers.solve(game, solvers.ExactEquilibrium(), max_steps=3, mesh=make_mesh(paths=2))
    assert solvers.solve(game, solvers.ExactEquilibrium(), max_steps=3, mesh=make_mesh()).result


def test_a_sum_in_a_loop_is_sent_in_every_turn():
    def total(x):
        def summed(x):
            return jax.lax.psum(x * jax.lax.axis_index("paths"), "paths")

        shared = jax.shard_map(summed, in_specs=jax.P(), out_specs=jax.P(), axis_names={"paths"}, check_vma=False)
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(shared(x)), x)

    with jax.set_mesh(make_mesh(paths=4)):
        program = jax.jit(total).lower(jax.ShapeDtypeStruct((100,), jnp.float32)).compile()
    cost = program_cost(program.as_text())
    assert cost.messages == 3 * 2 * 2  # up and down a tree of four
    assert cost.bytes_sent == 3 * 2 * 3 / 4 * 400


def small_network(num_states):
    game = games.make("linear_quadratic", **{**SMALL["linear_quadratic"], "num_states": num_states})
    return game, solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=2)


def test_an_update_is_planned_on_a_mesh():
    plan = plan_update(lambda _: small_network(46), None, devices=4, device=DEVICES["h100"])
    (split,) = plan.splits  # over four devices 46 states cannot be spread
    assert (split.paths, split.states) == (2, 2)
    assert split.cost.messages > 0 < split.cost.bytes_sent
    with pytest.raises(ValueError, match="14 states cannot be planned on 7 devices: a step leads up to"):
        plan_update(lambda _: small_network(14), None, devices=7, device=DEVICES["h100"])


@pytest.mark.slow
def test_the_cost_of_an_update_is_linear_in_the_states(monkeypatch):
    monkeypatch.setattr(_plan_update, "_MAX_COMPILED", 2**20)
    split = plan_update(small_network, 2**21, devices=2, device=DEVICES["h100"]).splits[0]
    cost, memory = update_cost(*small_network(2**21), states=2)
    assert tuple(split.cost) == pytest.approx(tuple(cost), rel=1e-6)
    assert split.memory == pytest.approx(memory, rel=1e-6)


@pytest.mark.slow
def test_paths_and_states_at_once():
    game = games.make("linear_quadratic", **{**SMALL["linear_quadratic"], "num_states": 60})
    solver = solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=4, sampling="iid")
    alone = solvers.solve(game, solver, key=jax.random.key(1), max_steps=3)
    shared = solvers.solve(game, solver, key=jax.random.key(1), max_steps=3, mesh=make_mesh(paths=2, states=2))
    np.testing.assert_allclose(vector(shared.policy), vector(alone.policy), rtol=0, atol=1e-5)
    np.testing.assert_allclose(shared.stats["returns"], alone.stats["returns"], rtol=1e-5)
