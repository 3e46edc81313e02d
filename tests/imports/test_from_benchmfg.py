"""Specifications of Bench-MFG, by a stand-in with the same parts; what the library itself gives is tested if there."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.games import from_benchmfg


def chain(**changes):
    """`lasry_lions` as Bench-MFG writes it: the next state of one agent, and its reward."""

    def transition(mean_field, state, action, noise, environment):
        return jnp.clip(state + action - 1 + noise - 1, 0, environment.N_states - 1)

    def reward(mean_field, state, action, environment):
        return -2.0 * jnp.abs(action - 1) - 3.0 * (state - 3.0) ** 2 - 40.0 * mean_field[state]

    environment = SimpleNamespace(
        N_states=7, N_actions=3, N_noises=3, noise_prob=np.array([0.025, 0.95, 0.025]), gamma=0.9,
        stationary_mean_field=np.full(7, 1 / 7),
    )  # fmt: skip
    for name, value in changes.items():
        if name not in ("transition", "reward"):
            setattr(environment, name, value)
    functions = {"transition": transition, "reward": reward, **{k: v for k, v in changes.items() if callable(v)}}
    return SimpleNamespace(environment=environment, **functions)


@pytest.mark.usefixtures("double")
def test_a_specification_is_the_game_that_it_says():
    game, own = from_benchmfg(chain()), smfg.games.make("lasry_lions")
    random = np.random.default_rng(1)
    aggregates = [each.aggregate(mean_field=random.dirichlet(np.ones(7)), noise=0, time=0) for each in (game, own)]
    aggregates[1] = own.aggregate(mean_field=aggregates[0].mean_field, noise=0, time=0)
    kernels = [each.kernel(at) for each, at in zip((game, own), aggregates, strict=True)]
    values = jnp.asarray(random.normal(size=7))
    np.testing.assert_allclose(kernels[0].expect(values), kernels[1].expect(values), rtol=1e-12)
    rewards = [each.reward(at, at) for each, at in zip((game, own), aggregates, strict=True)]
    np.testing.assert_allclose(*rewards, rtol=1e-12)
    solution = smfg.solvers.solve(game, smfg.solvers.StationaryMeanFieldEquilibrium(), max_steps=50)
    assert solution.result.name == "converged"
    np.testing.assert_allclose(solution.policy.mean_field[:4], [0.00112, 0.04952, 0.27750, 0.34372], atol=2e-5)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (object(), "must be an EnvSpec of benchmfg"),
        (chain(gamma=1.0), "discount"),
        (chain(noise_prob=np.array([0.5, 0.6, 0.1])), "sum to"),
        (chain(transition=lambda m, s, a, n, e: s + a), "indices must lie in 0..6"),
        (chain(reward=lambda m, s, a, e: m["no"]), "a function of the specification fails"),
    ],
)
def test_what_is_no_specification_is_refused(specification, message):
    with pytest.raises(ValueError, match=message):
        from_benchmfg(specification)


def test_equal_only_to_itself():
    """So that no program compiled for one serves another."""
    given = chain()
    assert from_benchmfg(given) != from_benchmfg(given)
    assert jax.tree.leaves(hash(from_benchmfg(given)))


def test_games_of_the_library_itself():
    api = pytest.importorskip("benchmfg.api", reason="Bench-MFG is in the extra `peers`")
    from benchmfg.utility.create_solver import get_env_spec

    configuration = api.load_config(["environment=rock_paper_scissors"])
    environment, _ = api.create_environment(configuration)
    game = from_benchmfg(get_env_spec(environment, configuration.environment.name))
    solution = smfg.solvers.solve(game, smfg.solvers.StationaryMeanFieldEquilibrium(), max_steps=50)
    np.testing.assert_allclose(solution.policy.mean_field, 1 / 3, atol=1e-6)
