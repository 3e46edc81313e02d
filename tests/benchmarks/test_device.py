"""Benchmarks on a chosen device: what is refused, checked and left out, all of it on a processor."""

import importlib.util
import json
import math
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_games import SMALL

from structmfg import benchmarks
from structmfg.benchmarks import NotRun
from structmfg.benchmarks.suite import _correctness, _device, _forms, _run, _updates
from structmfg.benchmarks.suite._cases import Case
from structmfg.benchmarks.suite._device import PeakMemory, SuiteDevice, environment, find_device
from structmfg.benchmarks.suite._targets import targets
from structmfg.benchmarks.suite._worker import check_platform
from structmfg.cli import main

GAMES = {name: SMALL[name] for name in ("linear_quadratic", "beach_bar", "macro")}
COPY = Case("copy", {}, {}, [{}])


@pytest.fixture
def only_processor(monkeypatch):
    """A machine with no package through which JAX reaches a GPU."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("only_processor")
def test_a_gpu_is_refused_where_there_is_none(capsys, tmp_path):
    assert main(["bench", "--quick", "--device", "gpu", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "device 'gpu' is none that JAX has here, which are cpu" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["bench", "--device", "gpus"]) == 2
    assert "allowed: cpu, gpu" in capsys.readouterr().err


@pytest.mark.usefixtures("only_processor")
def test_without_a_gpu_jax_picks_the_processor():
    assert find_device(None) == find_device("cpu")
    assert find_device("cpu").platform == "cpu"


def test_jax_picks_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax_plugins" or None)
    monkeypatch.setattr(_device, "_platforms", lambda name: {"gpu": "H100", "cpu": "cpu"})
    assert find_device(None) == find_device("gpu") == SuiteDevice("gpu", "H100")
    assert find_device("cpu").platform == "cpu"


@pytest.mark.slow
def test_jax_is_asked_in_a_process_of_its_own():
    assert _device._platforms("cpu") == {"cpu": "cpu"}


def test_a_process_that_finds_no_device_is_told(monkeypatch):
    monkeypatch.setattr(_device, "_ASK", "raise SystemExit('no driver')")
    with pytest.raises(ValueError, match="JAX finds no device: no driver"):
        _device._platforms(None)


def test_processes_reach_the_device_and_leave_the_rest_of_its_memory(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    assert "JAX_PLATFORMS" not in environment("gpu")  # or JAX would find no GPU
    assert environment("gpu")["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment("cpu")["JAX_PLATFORMS"] == environment(None)["JAX_PLATFORMS"] == "cpu"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    assert environment("gpu")["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"


def test_the_processor_is_not_measured_in_place_of_a_gpu():
    check_platform("cpu")
    with pytest.raises(SystemExit, match="JAX computes on a cpu here, and not on a gpu"):
        check_platform("gpu")


def test_what_the_time_does_not_suffice_for_is_left_out():
    result = _run.run([COPY], timeout=60, seconds=0, device="cpu")
    assert result["device"]["platform"] == "cpu"
    (row,) = result["measurements"]
    assert (row["status"], row["reason"]) == ("not run", "the 0 s of the run were over")
    (row,) = _run.run_case(COPY, timeout=60, left=0.05)
    assert (row["status"], row["reason"]) == ("not run", "the time of the run was over")


def test_peaks_are_those_of_the_device(monkeypatch):
    stats = {"bytes_in_use": 100, "peak_bytes_in_use": 150}
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(_device.jax, "devices", lambda *_: [device])
    memory = PeakMemory()
    stats["peak_bytes_in_use"] = 400
    assert memory.read() == 300
    device.memory_stats = lambda: None  # a device that does not say it
    assert PeakMemory().read() >= 0


KEYS = _correctness.check_keys(
    {
        "beach_bar": tuple((form, "prebuilt") for form in ("structured", "successors", *_forms.EXPLICIT)),
        "macro": (("structured", "prebuilt"), ("structured", "rebuilt"), ("successors", "rebuilt")),
        "linear_quadratic": (("structured", "prebuilt"),),
    },
    "float32",
    2,
) + [_correctness.update_key(game, 2) for game in GAMES]


def words(key):
    return "-".join(map(str, key.values()))


@pytest.fixture(scope="module")
def check():
    before = jax.config.jax_enable_x64
    yield _correctness.check_forms("float32", 0, GAMES)
    jax.config.update("jax_enable_x64", before)


def marks(key):
    return pytest.mark.slow if key["form"] == "update" else ()


@pytest.mark.parametrize("key", [pytest.param(key, marks=marks(key), id=words(key)) for key in KEYS])
def test_every_form_is_right(key, check):
    if key["form"] == "jax_cusparse":
        with pytest.raises(NotRun, match=r"cuSPARSE is a library for NVIDIA's GPUs, and the device is a cpu"):
            check(**key)
        return
    row = check(**key)
    assert row["status"] == "ok"
    assert 0 < row["difference"] <= row["tolerance"] <= 1e-4
    assert row["same_bits_again"] in (True, None)


PRODUCT = {"game": "beach_bar", "kernel": "prebuilt", "paths": 2, "batch": "vmap", "form": "structured"}


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
def test_a_transposed_product_fails(direction, check, monkeypatch):
    right = _correctness.product_of
    monkeypatch.setattr(_correctness, "product_of", lambda *args: right(*args[:-1], not args[-1]))
    row = check(**PRODUCT, direction=direction)
    assert row["status"] == "failed"
    assert "is allowed" in row["reason"]


def test_a_product_of_rounded_numbers_fails(check, monkeypatch):
    """As on a GPU that rounds to 11 bits."""
    right = _correctness.product_of

    def rounded(*args):
        product = right(*args)
        return lambda made, policy, at, vector: product(made, lax_round(policy), at, vector)

    monkeypatch.setattr(_correctness, "product_of", rounded)
    assert check(**PRODUCT, direction="forward")["status"] == "failed"


def lax_round(x):
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10)


def test_an_update_with_rounded_weights_fails(check, monkeypatch):
    key = {**PRODUCT, "form": "update", "direction": "backward", "kernel": "rebuilt"}
    in_double = _correctness._in_double
    monkeypatch.setattr(_correctness, "_in_double", lambda x: in_double(lax_round(x) if x.dtype.kind == "f" else x))
    assert check(**key)["status"] == "failed"


def test_what_is_not_a_number_fails():
    assert _correctness._outcome(math.nan, 1.0)["status"] == "failed"


def test_forms_in_double_precision_are_held_to_it():
    before = jax.config.jax_enable_x64
    try:
        check = _correctness.check_forms("float64", 0, {"macro": GAMES["macro"]})
        row = check(**{**PRODUCT, "game": "macro", "paths": 1, "batch": "single"}, direction="adjoint")
    finally:
        jax.config.update("jax_enable_x64", before)
    assert 0 < row["difference"] < 1e-14
    assert row["tolerance"] == 1e-12


def test_products_of_jax_are_timed_too():
    measure = _forms.operator_forms("beach_bar", GAMES["beach_bar"], 0, [1e-4, 2])
    key = {"kernel": "prebuilt", "direction": "forward", "paths": 1, "batch": "single"}
    assert measure(form="jax_bcoo", **key)["seconds"] > 0
    with pytest.raises(NotRun, match="cuSPARSE"):
        measure(form="jax_cusparse", **key)


def test_a_product_that_is_not_by_cusparse_is_not_timed_as_such(monkeypatch):
    device = types.SimpleNamespace(platform="gpu")
    monkeypatch.setattr(_forms.jax, "devices", lambda *_: [device])
    with _forms.allow_cusparse("jax_cusparse"):
        assert jax.config.jax_bcoo_cusparse_lowering
        with pytest.raises(NotRun, match="JAX chose its own product"):
            _forms.check_cusparse(jnp.add, 1.0, 2.0)
    assert not jax.config.jax_bcoo_cusparse_lowering


@pytest.mark.slow
def test_updates_are_timed_by_paths_until_they_take_too_long():
    measure = _updates.updates_by_paths("beach_bar", GAMES["beach_bar"], 0, [1e-3, 2], 0.1)
    row = measure(num_paths=2)
    assert row["updates_per_second"] == pytest.approx(1 / row["seconds"])
    assert row["paths_per_second"] == pytest.approx(2 / row["seconds"])
    assert row["kernels"] > 100
    assert row["estimated_bytes"] > 1000
    assert row["peak_bytes"] >= 0
    with pytest.raises(NotRun, match="an update would take about"):
        measure(num_paths=2 * 10**6)


def test_a_wrong_form_is_a_target_that_is_missed():
    row = {"kind": "check", "precision": "float32", "tolerance": 1e-5, "status": "ok"}
    judged = {target.name: target.status for target in targets([{**row, "difference": 1e-6}])}
    assert judged["difference to the processor in float32, over what is allowed"] == "met"
    assert judged["difference to the processor in float64, over what is allowed"] == "not measured"
    for wrong in (2e-5, np.nan):
        rows = [{**row, "difference": 1e-6}, {**row, "difference": wrong, "status": "failed"}]
        assert targets(rows)[0].status == "missed"


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"difference": 0.5, "tolerance": 1e-5, "same_bits_again": True, "reason": "wrong by 0.5"},
            "forms are wrong on this device, the first of them check float32 macro",
        ),
        ({"reason": "killed by signal 11"}, "forms could not be checked, the first of them check float32 macro"),
    ],
)
def test_a_failed_check_ends_the_command_with_an_error(figures, said, monkeypatch, capsys, tmp_path):
    def wrong(case, **_):
        if case.kind != "check":
            return case.rows("not run", "not looked at")
        right = {"status": "ok", "difference": 1e-7, "tolerance": 1e-5, "same_bits_again": True}
        return [case.row(key, {"status": "failed", **figures} if i else right) for i, key in enumerate(case.keys)]

    monkeypatch.setattr(_run, "run_case", wrong)
    plan = benchmarks.QUICK._replace(sizes={"macro": ()}, paths=(), updates=(), training={})
    monkeypatch.setattr(benchmarks, "QUICK", plan)
    words = [
        "bench",
        "--quick",
        "--device",
        "cpu",
        "--games",
        "macro",
        "--sizes",
        "1000",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 1
    assert said in capsys.readouterr().err
    saved = json.loads(Path(tmp_path / "out" / "bench.json").read_text())
    assert saved["settings"]["device"] == "cpu"
    assert figures["reason"] in (tmp_path / "out" / "report.html").read_text()
