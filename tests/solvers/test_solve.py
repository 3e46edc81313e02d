"""The driver loop: reproducible, stopped for a stated reason, and never with numbers that are not finite."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny_game import Coin

import structmfg as smfg
from structmfg.solvers import RESULTS, RSPG, SPG, Estimate, preset, solve
from structmfg.solvers.loop import _solve

GAME = Coin()
SIZES = {"hidden": 3, "width": 3, "depth": 1, "rank": 2}
KEY = jax.random.key(0)


def solver(kind=RSPG, **settings):
    build = smfg.policies.recurrent if kind is RSPG else smfg.policies.memoryless
    return kind(build(GAME, **SIZES), **{"num_paths": 4, "sampling": "iid", "learning_rate": 1e-2, **settings})


def parameters_of(solution):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(solution.policy.parameters)])


def norm(policy):
    return sum(np.abs(np.asarray(leaf)).sum() for leaf in jax.tree.leaves(policy.parameters))


@pytest.fixture(scope="module")
def reference():
    return solve(GAME, solver(), key=KEY, max_steps=20)


def test_completed(reference):
    stats = reference.stats
    assert reference.result is RESULTS.completed
    assert reference.result.succeeded
    assert stats["steps"] == len(stats["returns"]) == len(stats["gradient_norms"]) == 20
    assert stats["train_seconds"] > 0
    assert stats["compile_seconds"] > 0
    assert stats["checkpoints"] == []
    assert stats["failure"] is None
    assert np.isfinite(parameters_of(reference)).all()


def test_numbers_depend_on_the_key_alone(reference, monkeypatch):
    """Neither on the length of chunks nor on evaluation on the way; another key gives other numbers."""
    monkeypatch.setattr(_solve, "_CHUNK_SECONDS", 1e-9)  # one update to a chunk
    seen = []
    again = solve(
        GAME,
        solver(),
        key=KEY,
        max_steps=20,
        evaluate=lambda policy: Estimate(float(norm(policy)), 0.0),
        evaluations=4,
        callback=seen.append,
    )
    assert [progress.step for progress in seen] == list(range(1, 21))
    np.testing.assert_array_equal(parameters_of(again), parameters_of(reference))
    assert again.stats["returns"] == reference.stats["returns"]
    assert again.stats["gradient_norms"] == reference.stats["gradient_norms"]
    assert [checkpoint.step for checkpoint in again.stats["checkpoints"]] == [5, 10, 15, 20]
    assert [progress.step for progress in seen if progress.checkpoint] == [5, 10, 15, 20]
    other = solve(GAME, solver(), key=jax.random.key(1), max_steps=20)
    assert other.stats["returns"] != reference.stats["returns"]


def test_adam_b2_is_that_of_adam(reference):
    same = solve(GAME, solver(adam_b2=0.5), key=KEY, max_steps=20)
    adam = solver(optimiser=lambda rate: optax.adam(rate, b2=0.5))
    np.testing.assert_array_equal(parameters_of(same), parameters_of(solve(GAME, adam, key=KEY, max_steps=20)))
    assert np.abs(parameters_of(same) - parameters_of(reference)).max() > 1e-4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"adam_b2": 1.0}, r"adam_b2 must lie in \[0, 0.99999\], but is 1.0"),
        ({"policy_exponent": -0.1}, r"policy_exponent must lie in \[0, 1\], but is -0.1"),
        ({"policy_exponent": 1.5}, r"policy_exponent must lie in \[0, 1\], but is 1.5"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        solver(**setting)


def test_evaluation_sees_the_policy_of_its_step(reference):
    seen = []
    solve(GAME, solver(), key=KEY, max_steps=20, evaluations=1, evaluate=lambda p: seen.append(p) or Estimate(1.0, 0.5))
    np.testing.assert_array_equal(*(np.asarray(jax.tree.leaves(p.parameters)[0]) for p in (seen[0], reference.policy)))
    assert len(seen) == 1


def test_time_limit():
    """The clock counts training alone: a slow callback takes nothing from it."""
    solution = solve(GAME, solver(), key=KEY, max_steps=10**6, max_seconds=0.1, callback=lambda _: time.sleep(0.02))
    assert solution.result is RESULTS.time_limit
    assert 0 < solution.stats["steps"] == len(solution.stats["returns"]) < 10**6
    assert solution.stats["train_seconds"] >= 0.1


def test_interrupted():
    def stop(progress):
        if progress.step >= 1:
            raise KeyboardInterrupt

    solution = solve(GAME, solver(), key=KEY, max_steps=10**6, callback=stop)
    assert solution.result is RESULTS.interrupted
    assert 1 <= solution.stats["steps"] < 10**6
    np.testing.assert_allclose(jax.nn.softmax(solution.policy.unroll(jnp.zeros((3, 2)))).sum(-1), 1, rtol=1e-5)


def test_not_finite_is_raised():
    with pytest.raises(RuntimeError, match=r"not finite.*update 0: the return was not finite \(return nan"):
        solve(Coin(spoiled_at=2), solver(), key=KEY, max_steps=5)


def test_not_finite_is_a_status():
    """With throw=False: the last good policy, which is the initial one."""
    solution = solve(Coin(spoiled_at=2), solver(), key=KEY, max_steps=5, throw=False)
    assert solution.result is RESULTS.nonfinite
    assert not solution.result.succeeded
    assert solution.stats["steps"] == 0
    assert solution.stats["failure"].startswith("update 0: the return was not finite")
    initial = solver().policy.initialised(jax.random.split(KEY)[0])
    np.testing.assert_array_equal(parameters_of(solution), parameters_of(smfg.solvers.Solution(initial, None, {})))


class Spoiled(RSPG):
    """An update, the fourth, that is not finite where the learning rate is above `bearable`."""

    bearable: float = 0.0

    def step(self, game, state, max_steps):
        following, metrics = super().step(game, state, max_steps)
        bad = (state.step == 3) & (self.learning_rate > self.bearable)
        return following, metrics._replace(gradient_norm=jnp.where(bad, jnp.inf, metrics.gradient_norm))


class Exploding(Spoiled):
    """The same of the parameters that it leads to."""

    def step(self, game, state, max_steps):
        following, metrics = RSPG.step(self, game, state, max_steps)
        bad = (state.step == 3) & (self.learning_rate > self.bearable)
        parameters = jax.tree.map(lambda x: jnp.where(bad, jnp.nan, x), following.parameters)
        return following._replace(parameters=parameters), metrics


def spoiled(kind, bearable):
    return kind(solver().policy, num_paths=4, sampling="iid", learning_rate=1e-2, bearable=bearable)


@pytest.mark.parametrize(("kind", "what"), [(Spoiled, "the gradient was"), (Exploding, "the parameters after it were")])
def test_not_finite_later_names_the_update(kind, what):
    """After five rollbacks: the numbers of the three updates before are kept."""
    solution = solve(GAME, spoiled(kind, 0.0), key=KEY, max_steps=20, throw=False)
    assert solution.result is RESULTS.nonfinite
    assert solution.stats["steps"] == len(solution.stats["returns"]) == 3
    assert solution.stats["failure"].startswith(f"update 3: {what} not finite")
    assert solution.stats["rollbacks"] == [3, 3, 3, 3, 3]
    assert np.isfinite(parameters_of(solution)).all()


@pytest.mark.parametrize("kind", [Spoiled, Exploding])
@pytest.mark.parametrize("seconds", [0.5, 1e-9])
def test_steps_back_with_a_smaller_step(kind, seconds, reference, monkeypatch):
    """At a quarter of a quarter of the learning rate it is finite, and all planned updates are made."""
    monkeypatch.setattr(_solve, "_CHUNK_SECONDS", seconds)
    solution = solve(GAME, spoiled(kind, 1e-3), key=KEY, max_steps=20)
    assert solution.result is RESULTS.completed
    assert solution.stats["rollbacks"] == [3, 3]
    assert solution.stats["steps"] == len(solution.stats["returns"]) == len(solution.stats["gradient_norms"]) == 20
    assert solution.stats["returns"][:3] == reference.stats["returns"][:3]
    assert np.isfinite(solution.stats["gradient_norms"]).all()
    # The third update, to the state that was not finite, is made again; where only the step from there was, it is not.
    assert (solution.stats["returns"][3] == reference.stats["returns"][3]) == (kind is Exploding)
    assert solution.stats["returns"][4:] != reference.stats["returns"][4:]


@pytest.mark.parametrize(
    "name", ["rspg", "rspg_gae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rippo", "m_omd"))]
)
def test_every_learning_rate_is_slowed(name):
    """With a factor of zero no parameter moves; with one, all do as without."""
    chosen = preset(GAME, name, **SIZES).solver
    state = chosen.init(GAME, KEY)
    still, _ = jax.jit(lambda state: chosen.scale_learning_rates(jnp.zeros(())).step(GAME, state, 5))(state)
    moved, _ = jax.jit(lambda state: chosen.scale_learning_rates(jnp.ones(())).step(GAME, state, 5))(state)
    for before, after, other in zip(*(jax.tree.leaves(of.parameters) for of in (state, still, moved)), strict=True):
        np.testing.assert_array_equal(after, before)
        assert not np.array_equal(other, before) or not before.any()


def test_several_keys_are_trained_as_one_by_one(double):
    """To rounding; what each of them measures, too."""
    keys = jax.random.split(KEY, 3)
    options = {"max_steps": 20, "evaluations": 4, "evaluate": lambda policy: Estimate(float(norm(policy)), 0.0)}
    together = smfg.solvers.solve_seeds(GAME, solver(), keys=keys, **options)
    for key, found in zip(keys, together, strict=True):
        alone = solve(GAME, solver(), key=key, **options)
        assert found.result is RESULTS.completed
        np.testing.assert_allclose(parameters_of(found), parameters_of(alone), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.stats["returns"], alone.stats["returns"], rtol=1e-9)
        np.testing.assert_allclose(found.stats["gradient_norms"], alone.stats["gradient_norms"], rtol=1e-7)
        assert [point.step for point in found.stats["checkpoints"]] == [5, 10, 15, 20]
        for one, other in zip(found.stats["checkpoints"], alone.stats["checkpoints"], strict=True):
            assert one.value == pytest.approx(other.value, rel=1e-9)
    assert together[0].stats["returns"] != together[1].stats["returns"]


def test_of_several_keys_one_may_fail():
    """The others go on."""

    first = solve(GAME, solver(), key=jax.random.key(0), max_steps=1).stats["returns"][0]

    class Unlucky(RSPG):
        def step(self, game, state, max_steps):
            following, metrics = super().step(game, state, max_steps)
            norm = jnp.where(jnp.abs(metrics.mean_return - first) < 1e-6, jnp.nan, metrics.gradient_norm)
            return following, metrics._replace(gradient_norm=norm)

    unlucky = Unlucky(solver().policy, num_paths=4, sampling="iid", learning_rate=1e-2)
    keys = jnp.stack([jax.random.key(1), jax.random.key(0), jax.random.key(2)])
    found = smfg.solvers.solve_seeds(GAME, unlucky, keys=keys, max_steps=5)
    assert [one.result for one in found] == [RESULTS.completed, RESULTS.nonfinite, RESULTS.completed]
    assert [one.stats["steps"] for one in found] == [5, 0, 5]
    assert found[1].stats["failure"].startswith("update 0: the gradient was not finite")


def test_learning_rate_and_temperature_follow_their_schedules(double):
    """Geometric from 10 to 0.1 over the first 80 %, then constant; none at temperature zero."""
    annealed = solver(temperature=10.0, final_temperature=0.1)
    temperatures = [float(annealed._temperature(jnp.asarray(step), 100)) for step in (0, 40, 80, 100)]
    np.testing.assert_allclose(temperatures, [10, 1, 0.1, 0.1])
    assert float(solver()._temperature(jnp.asarray(3), 100)) == 0


@pytest.mark.parametrize(("num_paths", "distinct"), [(2, 2), (1, 1)])
def test_noise_is_enumerated_where_it_fits(num_paths, distinct):
    """Two paths fit in two; one path is drawn, with weight one."""
    paths = solver(sampling=None, num_paths=num_paths).draw_noise_paths(GAME, KEY)
    assert paths.num_paths == distinct
    assert float(paths.probabilities.sum()) == pytest.approx(1)
    assert (num_paths == 2) == (paths.probabilities.tolist() == pytest.approx([0.3, 0.7]))


@pytest.mark.slow
def test_learns_linear_quadratic():
    """A short run cuts exploitability to less than a fifth of the uniform policy's."""
    game = smfg.games.make("linear_quadratic", num_states=21, horizon=15, first=4, last=9, push=4.0)
    chosen = preset(game, max_steps=300, hidden=16, width=16, rank=8)
    solution = solve(game, chosen.solver, key=KEY, max_steps=chosen.max_steps)
    before, after = (
        smfg.solvers.exploitability(game, policy).value for policy in (smfg.policies.uniform(game), solution.policy)
    )
    assert after < before / 5


@pytest.mark.parametrize("game", ["linear_quadratic", "beach_bar", "macro"])
@pytest.mark.parametrize(("name", "kind"), [("rspg", RSPG), ("spg", SPG)])
def test_presets(game, name, kind):
    game = smfg.games.make(game)
    default, paper = preset(game, name), preset(game, name, "paper")
    assert type(default.solver) is type(paper.solver) is kind
    assert default.solver.policy.settings.recurrent == (name == "rspg")
    assert default.solver.temperature > 0
    assert paper.max_steps == 200
    assert (paper.solver.num_paths, paper.solver.sampling) == (8, "iid")
    assert (paper.solver.learning_rate, paper.solver.final_rate, paper.solver.schedule) == (1e-3, 0.1, "linear")
    assert (paper.solver.clip, paper.solver.temperature) == (1.0, 0.0)
    assert paper.solver.policy.settings.architecture == "joint"
    changed = preset(game, name, max_steps=7, num_paths=6, width=5, form="explicit")
    assert changed.max_steps == 7
    assert (changed.solver.num_paths, changed.solver.form, changed.solver.policy.settings.width) == (6, "explicit", 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preset(GAME, "rpsg"), "unknown solver 'rpsg'; did you mean rspg"),
        (lambda: preset(GAME, "rspg", "papers"), "did you mean paper"),
        (lambda: preset(GAME, learning_rat=1.0), "did you mean learning_rate"),
        (lambda: preset(GAME, "exact", hidden=3), "unknown setting of exact 'hidden'"),
        (lambda: preset(GAME, "exact", "paper"), "is for rspg and spg"),
        (lambda: solve(GAME, solver(), max_steps=3), "needs a key"),
        (lambda: solve(GAME, solver(), key=3, max_steps=3), "key must be made by jax.random.key, but is 3"),
        (lambda: solve(GAME, solver(), key=jax.random.split(KEY), max_steps=3), r"one key, but has shape \(2,\)"),
        (lambda: smfg.solvers.solve_seeds(GAME, solver(), keys=KEY, max_steps=3), r"a vector of keys, .* shape \(\)"),
        (
            lambda: smfg.solvers.solve_seeds(GAME, preset(GAME, "exact").solver, keys=KEY[None], max_steps=3),
            "solver must be a TrainingSolver",
        ),
        (lambda: preset(GAME, recurrent=False), "unknown setting of rspg 'recurrent'"),
        (
            lambda: RSPG(smfg.policies.memoryless(GAME)),
            "RSPG trains a recurrent policy, but was given a memoryless one; use policies.recurrent",
        ),
        (
            lambda: SPG(smfg.policies.recurrent(GAME)),
            "SPG trains a memoryless policy, but was given a recurrent one; use policies.memoryless",
        ),
        (lambda: RSPG(smfg.policies.uniform(GAME)), r"policies.recurrent\(game\), but was given a TabularPolicy"),
        (lambda: SPG(np.ones((2, 2)) / 2), r"policies.memoryless\(game\), but was given a ndarray"),
        (lambda: solver(num_paths=0), "num_paths must be a whole number of at least 1, but is 0"),
        (lambda: solver(sampling="quasi"), "unknown sampling"),
        (lambda: solver(schedule="constant"), "allowed: cosine, linear"),
        (lambda: solver(form="dense"), "allowed: explicit, matrix_free"),
        (lambda: solver(learning_rate=0.0), "learning_rate must be finite and above 0"),
        (lambda: solver(clip=math.inf), "clip must be finite"),
        (lambda: solver(final_rate=2.0), r"final_rate must lie in \[0, 1\]"),
        (lambda: solver(temperature=-1.0), "temperature must lie in"),
        (lambda: solver(temperature=1.0), "final_temperature must be finite and above 0"),
        (lambda: solver(temperature=1.0, final_temperature=2.0), "final_temperature must lie in"),
        (lambda: solver(annealing=0.0), r"annealing must lie in \(0, 1\]"),
        (lambda: solve(GAME, solver(), key=KEY, max_steps=0), "max_steps must be a whole number of at least 1"),
        (lambda: solve(GAME, solver(), key=KEY, max_steps=3, max_seconds=0.0), "max_seconds must be finite and above"),
        (
            lambda: solve(GAME, solver(), key=KEY, max_steps=3, evaluate=lambda _: Estimate(0.0, 0.0), evaluations=0),
            "evaluations must be a whole number of at least 1",
        ),
        (lambda: solve(Coin(discount=1.5), solver(), key=KEY, max_steps=3), r"discount must lie in \(0, 1\]"),
        (lambda: solve(Coin(horizon=0), solver(), key=KEY, max_steps=3), "horizon must be a whole number"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


def test_preset_without_entropy_bonus():
    game = smfg.games.make("linear_quadratic")
    solver, _ = smfg.solvers.preset(game, temperature=0.0)
    assert (solver.temperature, solver.final_temperature) == (0.0, 0.0)
