"""The cost of an update on several devices, and the command that prints it."""

import json

import jax
import jax.numpy as jnp
import pytest
from helpers.on_devices import NETWORK
from helpers.small_games import SMALL

from structmfg import benchmarks, games, policies, solvers
from structmfg.benchmarks import DEVICES, plan_update, predicted, update_cost
from structmfg.cli import main
from structmfg.parallel import ProgramCost, make_mesh, program_cost

H100 = DEVICES["h100"]


def test_a_sum_over_paths_is_one_message_up_and_down():
    def total(x):
        summed = jax.shard_map(lambda x: jax.lax.psum(x, "paths"), in_specs=jax.P("paths"), out_specs=jax.P())
        return jax.lax.fori_loop(0, 3, lambda _, x: x + summed(x), x)

    with jax.set_mesh(make_mesh(paths=4)):
        program = jax.jit(total).lower(jax.ShapeDtypeStruct((400,), jnp.float32)).compile()
    cost = program_cost(program.as_text())
    assert cost.messages >= 3 * 2 * 2
    assert cost.bytes_sent >= 3 * 2 * 3 / 4 * 400


def made(num_states):
    game = games.make("linear_quadratic", **{**SMALL["linear_quadratic"], "num_states": num_states or 48})
    return game, solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=2)


def test_devices_share_the_work_and_the_memory():
    small, less = update_cost(*made(2**11))
    large, more = update_cost(*made(2**12), states=2)
    assert large.flops == pytest.approx(small.flops, rel=0.1)
    assert more == pytest.approx(less, rel=0.1)
    assert large.messages > 0 == small.messages


def test_cost_of_many_states_follows_from_fewer(monkeypatch):
    monkeypatch.setattr("structmfg.benchmarks._plan_update._OWN_STATES", (2**14, 2**15))
    monkeypatch.setattr("structmfg.benchmarks._plan_update._MAX_COMPILED", 2**16)
    many = plan_update(made, 2**17, devices=2, device=H100)
    one = next(split for split in many.splits if split.paths == 1)
    cost, memory = update_cost(*made(2**17), states=2)
    assert one.cost == pytest.approx(cost, rel=1e-3)
    assert one.memory == pytest.approx(memory, rel=1e-3)
    assert many.extrapolated_from == (2**14, 2**15)
    assert many.num_states == 2**17


def test_seconds_are_those_of_the_slowest_part():
    cost = ProgramCost(flops=67e12, bytes_moved=2 * 3.35e12, kernels=10, messages=100_000, bytes_sent=5e9)
    seconds, bound = predicted(cost, H100)
    assert seconds == pytest.approx(2 + 0.5 + 0.1)
    assert bound == "bandwidth"
    assert predicted(cost._replace(messages=10**6), H100)[1] == "latency"


def test_what_does_not_fit_is_not_the_best():
    one = plan_update(made, None, devices=1, device=H100._replace(memory=1e3))
    assert one.best is None
    assert not one.splits[0].fits


def test_command(capsys):
    settings = "--num-states 48 --horizon 3 --first 1 --last 2 --push 2 --hidden 4 --width 4 --rank 2"
    words = f"plan linear_quadratic {settings} --paths 2 --devices 4 --device h100 --json"
    assert main(words.split()) == 0
    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert [(split["paths"], split["states"]) for split in plan["splits"]] == [(1, 4), (2, 2)]
    assert plan["num_paths"] == 2
    assert plan["best"] == min(plan["splits"], key=lambda split: split["seconds"])
    assert plan["basis"].startswith("predicted, not measured")
    assert "best" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num-states 47 --devices 8", "8 devices cannot share 2 noise paths and 47 states"),
        ("--num-states 47 --devices 8", "the next number of devices that fits is 2"),
        ("--devices 257", "devices must be at most 256"),
        ("--devices 0", "devices must be at least 1"),
        ("--device h1", "unknown device 'h1'"),
        ("--num-states 14 --devices 8 --max-action 3", "14 states cannot be planned on 7 devices"),
    ],
)
def test_bad_input(words, message, capsys):
    if "14" in words:
        words = words.replace("8", "7")
    assert main(["plan", "linear_quadratic", "--device", "h100", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_processor_is_measured():
    processor = benchmarks.device("cpu")
    assert processor.measured
    assert 1e8 < processor.bandwidth < 1e12
    assert 1e8 < processor.flops < 1e14
