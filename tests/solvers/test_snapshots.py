"""A solve goes on from its snapshots to the same numbers, whatever happened to it and to them."""

import contextlib
import errno
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.tiny_game import Coin

import structmfg as smfg
from structmfg._files import write_arrays
from structmfg.solvers import RESULTS, RSPG, Estimate, Snapshots, WindowedRSPG, preset, solve, solve_seeds
from structmfg.solvers.loop import _solve as driver
from structmfg.solvers.loop._snapshots import Snapshot

GAME, KEY, STEPS = Coin(), jax.random.key(3), 12
SIZES = {"hidden": 3, "width": 3, "depth": 1, "rank": 2}


def network():
    return smfg.policies.recurrent(GAME, **SIZES)


SOLVERS = {
    "rspg": lambda: RSPG(network(), num_paths=4, sampling="iid", learning_rate=1e-2),
    "rspg_gae": lambda: WindowedRSPG(network(), num_paths=4, window=1),
    "tabular_spg": lambda: preset(GAME, "tabular_spg").solver,
    "rippo": lambda: preset(GAME, "rippo", num_populations=2, num_agents=8, rollout=4, **SIZES).solver,
    "m_omd": lambda: preset(GAME, "m_omd", num_populations=2, num_agents=8, **SIZES).solver,
    "exact": lambda: preset(GAME, "exact", tolerance=0.0).solver,
    "fictitious_play": lambda: preset(GAME, "fictitious_play", tolerance=0.0).solver,
}


def size(policy):
    return Estimate(float(sum(np.abs(np.asarray(leaf)).sum() for leaf in jax.tree.leaves(policy))), 0.0)


@pytest.fixture(autouse=True)
def _one_update_to_a_chunk(monkeypatch):
    monkeypatch.setattr(driver, "_CHUNK_SECONDS", 1e-9)


def run(solver, folder=None, *, stop_at=None, tell=None, max_steps=STEPS, key=KEY, **options):
    """To the end, or interrupted after so many updates."""

    def callback(progress):
        if stop_at and progress.step >= stop_at:
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        told = tell.append if tell is not None else pytest.fail
        kept = stack.enter_context(Snapshots(folder, seconds=1e-9, log=told)) if folder else None
        shared = {"max_steps": max_steps, "evaluate": size, "evaluations": 3, "callback": callback, "snapshots": kept}
        if key.ndim:
            return solve_seeds(GAME, solver, keys=key, **shared, **options)
        return solve(GAME, solver, key=key, **shared, **options)


def numbers(solution):
    """All that does not depend on the clock, bit for bit."""
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(solution.policy)]
    measured = [(point.step, point.value) for point in solution.stats["checkpoints"]]
    names = ("steps", "returns", "gradient_norms", "exploitabilities", "certified", "rollbacks", "failure")
    return solution.result, leaves, measured, {name: solution.stats.get(name) for name in names}


@functools.cache
def whole(name):
    """The numbers of a solve that nothing happens to."""
    return numbers(run(SOLVERS[name]()))


SLOW = ("rspg_gae", "rippo", "m_omd")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SOLVERS])
def test_an_interrupted_solve_goes_on_to_the_same_numbers(name, tmp_path):
    """Interrupted twice, once at a step at which it is measured."""
    solver = SOLVERS[name]()
    for stop_at in (4, 7):
        interrupted = run(solver, tmp_path, stop_at=stop_at)
        assert interrupted.result is RESULTS.interrupted
        assert stop_at <= interrupted.stats["steps"] < STEPS
    assert numbers(run(solver, tmp_path)) == whole(name)
    assert numbers(run(solver, tmp_path)) == whole(name)  # there is nothing left to do


def test_several_keys_go_on_to_the_same_numbers(tmp_path):
    keys, solver = jax.random.split(KEY, 3), SOLVERS["rspg"]()
    whole = run(solver, key=keys)
    assert {found.stats["steps"] for found in run(solver, tmp_path, key=keys, stop_at=5)} == {5}
    assert [*map(numbers, run(solver, tmp_path, key=keys))] == [*map(numbers, whole)]


def test_a_converged_solve_stays_so(tmp_path):
    solver = preset(GAME, "exact", tolerance=1e-3).solver
    first = run(solver, tmp_path, max_steps=400)
    assert first.result is RESULTS.converged
    assert numbers(run(solver, tmp_path, max_steps=400)) == numbers(first)


@pytest.mark.slow
def test_double_precision(tmp_path, double):
    whole = run(SOLVERS["rspg"]())
    run(SOLVERS["rspg"](), tmp_path, stop_at=5)
    assert numbers(run(SOLVERS["rspg"](), tmp_path)) == numbers(whole)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_steps": 13}, "max_steps 12 there, 13 here"),
        ({"key": jax.random.key(4)}, r"key \[\[0, 3\]\] there, \[\[0, 4\]\] here"),
        ({"solver": RSPG(network(), num_paths=2, learning_rate=1e-2)}, "solver num_paths 4 there, 2 here"),
        ({"solver": SOLVERS["exact"]()}, "solver RSPG there, ExactEquilibrium here"),
    ],
)
def test_snapshots_of_another_solve_are_refused(changed, said, tmp_path):
    run(SOLVERS["rspg"](), tmp_path, stop_at=2)
    with pytest.raises(ValueError, match=said):
        run(**{"solver": SOLVERS["rspg"](), "folder": tmp_path, **changed})
    assert numbers(run(SOLVERS["rspg"](), tmp_path)) == whole("rspg")


def files(folder):
    """The snapshots, the latest one last."""
    return sorted((path for path in folder.iterdir() if path.stem.isdigit()), key=lambda path: int(path.stem))


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(bytes(data))


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def replace(path, rng):
    path.write_bytes(rng.bytes(path.stat().st_size))


RECORD = {"solve": {"name": "of a test"}, "seconds": 0.1 + 0.2}


def snapshot(step):
    rng = np.random.default_rng(step)
    return Snapshot(
        step, {"a": rng.normal(size=(3, 50)), "b": rng.integers(9, size=4), "none": np.zeros((0, 2))}, RECORD
    )


def read(folder, told):
    with Snapshots(folder, log=told.append) as kept:
        return kept.latest(RECORD["solve"])


def same(found, wanted):
    assert found.step == wanted.step
    assert found.record == wanted.record
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the snapshots of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("two")
    with Snapshots(folder) as kept:
        for step in (1, 2):
            kept.save(snapshot(step))
    return folder


@pytest.mark.parametrize("harm", [flip, cut, replace])
def test_a_damaged_snapshot_is_set_aside(harm, two, tmp_path):
    """Either nothing of the numbers was damaged, or the snapshot before is used, with a message."""
    rng, found = np.random.default_rng(0), 0
    for i in range(20):
        folder = tmp_path / str(i)
        shutil.copytree(two, folder)
        harm(files(folder)[-1], rng)
        told: list[str] = []
        same(read(folder, told), snapshot(1 if told else 2))
        if told:
            assert "the state after update 2 is damaged" in told[0]
            assert Path(told[0].split("moved to ")[1]).is_file()
            with Snapshots(folder) as kept:  # there is room for it again
                kept.save(snapshot(2))
            same(read(folder, []), snapshot(2))
        found += bool(told)
    assert found > 15


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {**arrays, "more": np.zeros(1)},
        lambda arrays: {name: array for name, array in arrays.items() if name != "state 0"},
        lambda arrays: {**arrays, "state 0": arrays["state 0"].astype(np.float16)},
        lambda arrays: {**arrays, "state 0": arrays["state 0"][None]},
        lambda arrays: {**arrays, "returns 0": np.zeros(2 * STEPS + 1)},
    ],
)
def test_other_arrays_than_the_solve_has_are_refused(change, tmp_path):
    """One too many, one too few, another type, another shape, a history that is too long: it begins anew."""
    solver = SOLVERS["rspg"]()
    run(solver, tmp_path, stop_at=2)
    with Snapshots(tmp_path) as kept:
        description = kept._read(kept.steps[-1])
        for path in files(tmp_path):
            path.unlink()
        kept.save(description._replace(arrays=change(description.arrays)))
    told: list[str] = []
    run(solver, tmp_path, stop_at=1, tell=told)
    assert len(told) == 1
    assert "it holds other arrays" in told[0]


def test_snapshots_of_an_earlier_version_are_refused(tmp_path):
    (tmp_path / "40").mkdir()
    with pytest.raises(ValueError, match="40 is a snapshot of an earlier version of structmfg"):
        Snapshots(tmp_path)


def test_what_a_killed_process_left_is_removed(two, tmp_path):
    shutil.copytree(two, tmp_path / "two")
    (tmp_path / "two" / ".3.safetensors.1234.tmp").write_bytes(b"half")
    same(read(tmp_path / "two", []), snapshot(2))
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"1.safetensors", "2.safetensors", "lock"}


def test_with_no_snapshot_left_it_begins_anew(tmp_path):
    solver = SOLVERS["rspg"]()
    run(solver, tmp_path, stop_at=7)
    for path in files(tmp_path):
        path.write_bytes(b"")
    told: list[str] = []
    assert numbers(run(solver, tmp_path, tell=told)) == numbers(run(solver))
    assert len(told) == 2


def test_a_folder_is_for_one_process_at_a_time(tmp_path):
    script = "import sys, structmfg; structmfg.solvers.Snapshots(sys.argv[1])"
    with Snapshots(tmp_path):
        with pytest.raises(ValueError, match="another process is at work in"):
            Snapshots(tmp_path)
        other = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "another process is at work in" in other.stderr
    Snapshots(tmp_path).close()


def test_snapshots_that_are_needed(tmp_path):
    """Nothing is begun anew where there is something to lose."""
    with Snapshots(tmp_path, needed=True) as kept, pytest.raises(ValueError, match="holds no snapshot to go on from"):
        kept.latest(RECORD["solve"])


def test_closed_snapshots_are_refused(tmp_path):
    kept = Snapshots(tmp_path)
    kept.close()
    with pytest.raises(ValueError, match="are closed"):
        solve(GAME, SOLVERS["rspg"](), key=KEY, max_steps=1, snapshots=kept)


def test_what_is_no_plain_file_is_refused_before_it_is_opened(two, tmp_path):
    """A pipe, which would keep a reader waiting for ever; a link to a snapshot elsewhere."""
    for name, plant in (
        ("2.safetensors", os.mkfifo),
        ("7.safetensors", lambda path: path.symlink_to(two / "1.safetensors")),
    ):
        folder = tmp_path / name
        shutil.copytree(two, folder)
        (folder / name).unlink(missing_ok=True)
        plant(folder / name)
        with pytest.raises(ValueError, match="is neither a plain file nor a folder"):
            Snapshots(folder)


def test_a_record_that_cannot_be_parsed_is_set_aside(two, tmp_path):
    shutil.copytree(two, tmp_path / "two")
    record = np.frombuffer(b"[" * 100_000, np.uint8)
    write_arrays(tmp_path / "two" / "2.safetensors", {**snapshot(2).arrays, "record": record})
    told: list[str] = []
    same(read(tmp_path / "two", told), snapshot(1))
    assert "the state after update 2 is damaged" in told[0]


def test_a_snapshot_under_another_number_is_set_aside(two, tmp_path):
    shutil.copytree(two, tmp_path / "two")
    (tmp_path / "two" / "2.safetensors").rename(tmp_path / "two" / "50.safetensors")
    told: list[str] = []
    same(read(tmp_path / "two", told), snapshot(1))
    assert "the state after update 50 is damaged (its content was changed)" in told[0]


@pytest.mark.parametrize(
    ("name", "value"), [("train_seconds", "long"), ("checkpoints", [1]), ("failures", None), ("compile_seconds", ...)]
)
def test_a_record_of_other_types_is_set_aside(name, value, tmp_path):
    """With the right digest: by someone who knows how snapshots are written."""
    solver = SOLVERS["rspg"]()
    run(solver, tmp_path, max_steps=2)
    with Snapshots(tmp_path) as kept:
        step = kept.steps[-1]
        found = kept._read(step, 2**24)
        record = {**found.record, name: value}
        if value is ...:
            del record[name]
        kept.save(found._replace(record=record))
    told: list[str] = []
    run(solver, tmp_path, tell=told, max_steps=2)
    assert f"the state after update {step} is damaged" in told[0]
    assert name in told[0]


def test_a_planted_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match=r"cannot write to|neither a plain file"):
        Snapshots(tmp_path / "kept")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "said"), [({"seconds": 0}, "seconds must be finite and above 0"), ({"keep": 0}, "keep must be")]
)
def test_bad_settings(options, said, tmp_path, unchecked):
    with pytest.raises(ValueError, match=said):
        Snapshots(tmp_path, **options)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to"):
        Snapshots(tmp_path / "file" / "below")


def test_what_cannot_be_saved_is_told_and_the_solve_goes_on(tmp_path, monkeypatch):
    """On a disk that is full; tests/solvers/test_resume.py has one that really is."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told: list[str] = []
    solver = SOLVERS["rspg"]()
    run(solver, tmp_path, stop_at=3)
    kept = {path: path.read_bytes() for path in files(tmp_path)}
    monkeypatch.setattr("os.fsync", full)
    assert numbers(run(solver, tmp_path, tell=told)) == numbers(run(solver))
    assert len(told) == STEPS - 3
    assert all("could not be saved" in line and "No space left" in line for line in told)
    assert {path: path.read_bytes() for path in kept} == kept
