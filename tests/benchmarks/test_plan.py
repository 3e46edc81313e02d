"""The cost of an update by the splits of devices, and the command that prints it."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from helpers.small_games import SMALL

from structmfg import benchmarks, games, policies, solvers
from structmfg._flags import for_accelerator, on_processor
from structmfg.benchmarks import DEVICES, _plan_update, plan_update, predicted, update_cost
from structmfg.cli import main
from structmfg.cli._early import count_as_devices
from structmfg.parallel import ProgramCost
from structmfg.solvers.gradient._structural import MAX_PAIRS_SIDE_BY_SIDE, over_paths

H100 = DEVICES["h100"]


def made(num_states):
    game = games.make("linear_quadratic", **{**SMALL["linear_quadratic"], "num_states": num_states or 48})
    return game, solvers.RSPG(policies.recurrent(game, hidden=4, width=4, rank=2), num_paths=2)


@pytest.fixture
def linear_costs(monkeypatch):
    """Costs that are linear in the states of a device, and are not compiled."""

    def cost(game, solver, *, paths, states, accelerator=False):
        own = game.num_states // states
        return ProgramCost(3 * own + 1, 100 * own, 7, 5 * states, own + 9, 0), 2.0 * own + 4

    monkeypatch.setattr(_plan_update, "update_cost", cost)


def test_cost_of_many_states_follows_from_fewer(linear_costs):
    """The game is not made with so many: it would be refused."""
    plan = plan_update(made, 10**9, devices=4, device=H100)
    assert [(split.paths, split.states) for split in plan.splits] == [(1, 4), (2, 2)]
    for split in plan.splits:
        own = 10**9 // split.states
        assert split.cost == (3 * own + 1, 100 * own, 7, 5 * split.states, own + 9, 0)
        assert split.memory == 2 * own + 4
    assert plan.extrapolated_from
    assert (plan.num_states, plan.num_paths) == (10**9, 2)
    assert plan.best is plan.splits[0]


def test_seconds_are_those_of_the_slowest_part():
    cost = ProgramCost(flops=67e12, bytes_moved=2 * 3.35e12, kernels=10, messages=100_000, bytes_sent=5e9)
    seconds, bound = predicted(cost, H100)
    assert seconds == pytest.approx(2 + 0.5 + 0.1)
    assert bound == "bandwidth"
    assert predicted(cost._replace(messages=10**6), H100)[1] == "latency"


def test_what_does_not_fit_is_not_the_best(linear_costs):
    one = plan_update(made, None, devices=1, device=H100._replace(memory=99))
    assert one.best is None
    assert not one.splits[0].fits


def test_paths_of_a_plan_for_a_gpu_run_side_by_side():
    """On a processor this game's paths run one after the other, and do so again after the plan."""
    game, _ = made(1200)
    assert game.num_states * game.num_actions > MAX_PAIRS_SIDE_BY_SIDE

    def loops():
        return str(jax.make_jaxpr(jax.jit(lambda paths: over_paths(game, jnp.sin, paths)))(jnp.ones(8))).count("scan")

    before = loops()
    with for_accelerator():
        there = loops()
    assert (before, there, loops()) == (1, 0, 1)


@pytest.mark.parametrize(
    ("device", "states", "accelerator"),
    [(H100, None, True), (H100._replace(launch=0.0), None, False), (H100, 2**25, False)],
)
def test_update_is_arranged_as_on_the_device(monkeypatch, device, states, accelerator):
    """Many states are extrapolated from fewer, whose paths would run side by side; all splits are counted alike."""
    asked = []

    def cost(game, solver, *, paths, states, accelerator=False):
        asked.append(accelerator)
        return ProgramCost(1, 1, 1, 1, 1, 0), 1.0

    monkeypatch.setattr(_plan_update, "update_cost", cost)
    plan_update(made, states, devices=64 if states else 1, device=device)
    assert set(asked) == {accelerator}


@pytest.mark.parametrize("accelerator", [False, True])
def test_cost_is_counted_as_asked(monkeypatch, accelerator):
    def lower(game, solver):
        raise RuntimeError(f"on a processor: {on_processor()}")

    monkeypatch.setattr(_plan_update, "lower_update", lower)
    with pytest.raises(RuntimeError, match=f"on a processor: {not accelerator}"):
        update_cost(*made(48), accelerator=accelerator)


SETTINGS = "--num-states 46 --horizon 3 --first 1 --last 2 --push 2 --hidden 4 --width 4 --rank 2"
WORDS = f"plan linear_quadratic {SETTINGS} --paths 2 --device h100 --json".split()


def test_command(capsys):
    assert main(WORDS) == 0
    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert [(split["paths"], split["states"]) for split in plan["splits"]] == [(1, 1)]
    assert plan["num_paths"] == 2
    assert plan["best"] == plan["splits"][0]
    assert 0 < plan["best"]["seconds"] < 1
    assert plan["best"]["kernels"] > 100
    assert "each is started by itself, 1.5 us" in err
    assert plan["basis"].startswith("predicted, not measured")
    assert "best" in err


@pytest.mark.slow
def test_command_on_several_devices():
    """In a process of its own, whose processor counts as so many."""
    command = [sys.executable, "-m", "structmfg", *WORDS, "--devices", "4", "--quiet"]
    plan = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [(split["paths"], split["states"]) for split in plan["splits"]] == [(2, 2)]
    assert plan["best"]["messages"] > 0


def test_the_processor_counts_as_devices_for_a_plan_alone(monkeypatch):
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    count_as_devices(["solve", "macro", "--devices", "4"])
    count_as_devices(["plan", "macro", "--devices", "1"])
    assert updates == {}
    count_as_devices(["plan", "macro", "--devices=64"])
    assert updates == {"jax_platforms": "cpu", "jax_num_cpu_devices": 64}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num-states 47 --devices 8", "8 devices cannot share 2 noise paths and 47 states"),
        ("--num-states 47 --devices 8", "the next number of devices that fits is 2"),
        ("--devices 257", "devices must be at most 256"),
        ("--num-states 46 --devices 4", "46 states cannot be planned on 4 devices: a mesh of 2 x 2 needs 4 devices"),
        ("--devices 0", "devices must be a whole number of at least 1"),
        ("--paths 0", "paths must be a whole number of at least 1"),
        ("--device h1", "unknown device 'h1'"),
    ],
)
def test_bad_input(words, message, capsys):
    assert main(["plan", "linear_quadratic", "--device", "h100", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_processor_is_measured():
    processor = benchmarks.device("cpu")
    assert processor.measured
    assert 1e8 < processor.bandwidth < 1e12
    assert 1e8 < processor.flops < 1e14
