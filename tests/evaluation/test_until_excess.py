"""`until_excess`: a training stops at the first evaluation at which an agent without foresight gains no more."""

import json

import jax
import jax.numpy as jnp
import pytest

from structmfg.cli import main
from structmfg.evaluation import Estimate, _excess, exploitability, measured_excess
from structmfg.games import Macro, make
from structmfg.solvers import RESULTS, preset, solve, solve_seeds
from structmfg.solvers.loop import Snapshots

SIZES = {"num_states": 15, "horizon": 5}
GAME = make("linear_quadratic", **SIZES)
NETWORK = {"hidden": 4, "width": 4, "rank": 4, "temperature": 0.0}
KEYS = jax.random.split(jax.random.key(0), 2)
EVERY = {"max_steps": 60, "evaluations": 6}


def solver(**settings):
    return preset(GAME, **NETWORK, **settings).solver


@pytest.fixture(scope="module")
def whole():
    """All sixty updates, with the excess after every tenth: no excess is so small that it stops."""
    solution = solve(GAME, solver(until_excess=1e-30), key=KEYS[0], **EVERY)
    assert solution.result is RESULTS.not_converged
    assert not solution.result.succeeded
    return solution


def test_stops_at_the_first_evaluation_within(whole):
    steps, excesses = zip(*whole.stats["excesses"], strict=True)
    assert steps == (10, 20, 30, 40, 50, 60)
    assert excesses[2] < min(excesses[:2])  # the training learns, so that there is something to stop at
    stopped = solve(GAME, solver(until_excess=excesses[2]), key=KEYS[0], **EVERY)
    assert stopped.result is RESULTS.within_excess
    assert stopped.result.succeeded
    assert stopped.stats["steps"] == len(stopped.stats["returns"]) == 30
    assert stopped.stats["excesses"] == whole.stats["excesses"][:3]
    assert exploitability(GAME, stopped.policy, kind="public").value == excesses[2]


def public_is_refused(game, policy, *, kind):
    if kind == "public":
        raise ValueError("public exploitability is not defined by backward induction here")
    return Estimate(2.0, 0.0)


def test_what_is_measured(whole, monkeypatch):
    """The gain of an agent that sees what the public sees, or else of one that sees all noise so far."""
    found = measured_excess(GAME, whole.policy)
    assert found.kind == "public"
    assert found.value == whole.stats["excesses"][-1][1]
    assert 0 < found.value < exploitability(GAME, whole.policy, kind="non_anticipative").value
    monkeypatch.setattr(_excess, "exploitability", public_is_refused)
    assert measured_excess(GAME, whole.policy) == (2.0, "non_anticipative", True)


@pytest.mark.slow
def test_seeds_go_on_until_the_last_is_within():
    options = {"keys": KEYS, **EVERY}
    both = solve_seeds(GAME, solver(until_excess=1e-30), **options)
    third = [solution.stats["excesses"][2][1] for solution in both]
    assert third[0] != third[1]
    stopped = solve_seeds(GAME, solver(until_excess=max(third)), **options)
    assert [solution.result for solution in stopped] == [RESULTS.within_excess] * 2
    assert {solution.stats["steps"] for solution in stopped} == {30}
    assert [solution.stats["excesses"][-1][1] for solution in stopped] == third


def test_goes_on_from_a_snapshot(whole, tmp_path):
    bound = whole.stats["excesses"][3][1]
    assert bound < min(excess for _, excess in whole.stats["excesses"][:3])

    def stop(progress):
        if progress.step >= 20:
            raise KeyboardInterrupt

    def attempt(**options):
        with Snapshots(tmp_path) as kept:
            return solve(GAME, solver(until_excess=bound), key=KEYS[0], snapshots=kept, **EVERY, **options)

    assert attempt(callback=stop).result is RESULTS.interrupted
    solution = attempt()
    assert solution.result is RESULTS.within_excess
    assert solution.stats["excesses"] == whole.stats["excesses"][:4]
    assert attempt().stats["steps"] == 40  # and no step more from the snapshot of the end


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "small"])
def test_bad_values(value):
    with pytest.raises(ValueError, match="until_excess must be finite and above 0"):
        solver(until_excess=value)


@pytest.mark.slow
def test_upper_bound_under_continuous_noise():
    game = make("macro", num_wealth=5, num_income=2, num_actions=3, horizon=3)
    chosen = preset(game, hidden=2, width=2, until_excess=100.0).solver
    solution = solve(game, chosen, key=KEYS[0], max_steps=4, evaluations=2)
    assert (solution.result.name, solution.stats["steps"]) == ("within_excess", 2)
    excess = measured_excess(game, solution.policy)
    assert (excess.kind, excess.exact) == ("non_anticipative", False)
    assert solution.stats["excesses"][-1][1] == pytest.approx(excess.value)


def test_no_measure_of_noise_without_a_law():
    class Unknown(Macro):
        def next_noise(self, noise, uniform, time):
            return jnp.where(uniform < 0.5, -0.1, 0.1)

        def innovation_quadrature(self):
            return None

    game = Unknown(num_wealth=5, num_income=2, num_actions=3, horizon=3)
    chosen = preset(game, hidden=2, width=2, until_excess=0.1).solver
    with pytest.raises(ValueError, match=r"until_excess needs a measure .* there is none: bounds need the law"):
        solve(game, chosen, key=KEYS[0], max_steps=2)


@pytest.mark.slow
def test_command_line(tmp_path, capsys):
    """The option is saved, and the result says what was reached."""
    out = tmp_path / "run"
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    options = ["--iterations=24", "--hidden=4", "--width=4", "--until-excess=1000", "--json", f"--out={out}"]
    assert main(["solve", "linear_quadratic", *sizes, *options]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["result"] == "within_excess"
    assert result["iterations"] == 6  # of four evaluations the first
    assert json.loads((out / "settings.json").read_text())["hyper_parameters"]["until_excess"] == 1000
