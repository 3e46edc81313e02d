"""Memory estimates: they grow with what they are of, refuse what cannot fit, and agree with what is measured."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers.tiny_game import Coin

from structmfg import runs
from structmfg._memory import memory_left, memory_use, peak_memory, resident_memory
from structmfg.benchmarks.memory import SIZES, measure
from structmfg.cli import main
from structmfg.games import GAMES, Game, make
from structmfg.solvers import SOLVERS, ExactEquilibrium, MemoryEstimate, estimate_memory, preset, solve
from structmfg.solvers.loop import _memory as memory_module
from structmfg.solvers.loop import _training_run as training_module
from structmfg.solvers.loop._memory import (
    MemoryProfiler,
    abstract_arrays,
    least_bytes,
    profile_clairvoyant,
    size,
)

# Of the games with a size, sizes that no machine holds.
ABSURD: dict[str, dict[str, int]] = {
    "beach_bar": {"num_states": 10**8},
    "beach_bar_crowded": {"num_states": 10**8},
    "carmona_fouque_sun": {"num_steps": 800},
    "crowd_modelling": {"num_states": 5 * 10**8},
    "linear_quadratic": {"num_states": 3 * 10**8},
    "macro": {"num_wealth": 2 * 10**7},
    "predator_prey": {"size": 10**4},
}
GIB = 2**30


def by_arithmetic(
    game: Game, solver: Any, *, max_steps: int, num_seeds: int | None = None, fast_compile: bool = False
) -> MemoryEstimate:
    """An estimate that compiles nothing, of 16 GiB: less than in proportion, so that a first guess is too large."""
    arrays = int(40 * (num_seeds or 1) * least_bytes(game, solver, evaluated=True) ** 0.9)
    return MemoryEstimate(GIB, GIB, arrays, "training", 16 * GIB, 0.0)


def refusal(game: str, solver: str, parameters: dict[str, int], **overrides: Any) -> str:
    built = make(game, **parameters)
    fitted = lambda smaller: preset(smaller, solver, **overrides).solver  # noqa: E731
    with pytest.raises(ValueError, match="available") as refused:
        runs.check_memory(built, fitted(built), max_steps=10, fitted=fitted, estimate=by_arithmetic)
    return str(refused.value)


@pytest.mark.parametrize("solver", ["spg", "m_omd", "exact"])
@pytest.mark.parametrize("game", sorted(ABSURD))
def test_a_smaller_setting_is_named_that_passes(game: str, solver: str) -> None:
    said = refusal(game, solver, ABSURD[game])
    (name,) = ABSURD[game]
    setting, _, rest = said.partition(f"; {name}=")[2].partition(" would need ")
    smaller = make(game, **{name: int(setting)})
    found = by_arithmetic(smaller, preset(smaller, solver).solver, max_steps=10)
    assert found.fits
    assert found.total > 2 * GIB  # not much smaller than it must be
    assert rest == runs.gibibytes(found.total)


def test_what_the_user_made_large_is_made_smaller() -> None:
    assert "; horizon=" in refusal("macro", "spg", {"horizon": 10**6})
    assert "; num_actions=" in refusal("macro", "spg", {"num_actions": 10**6})
    assert "; num_paths=" in refusal("linear_quadratic", "spg", {}, num_paths=10**9)


def test_a_size_that_is_refused_is_halved() -> None:
    """As by the noise tree, where it would be too large for any solver."""
    game = make("crowd_modelling", **ABSURD["crowd_modelling"])
    fitted = lambda smaller: preset(smaller, "exact").solver  # noqa: E731
    tried = []

    def refusing(game: Game, solver: Any, **steps: Any) -> MemoryEstimate:
        tried.append(game.num_states)
        if len(tried) == 2:
            raise ValueError("the noise tree would be too large")
        return by_arithmetic(game, solver, **steps)

    with pytest.raises(ValueError, match=r"; num_states=\d+ would need"):
        runs.check_memory(game, fitted(game), max_steps=10, fitted=fitted, estimate=refusing)
    assert 0.9 * tried[1] <= 2 * tried[2] <= tried[1]


def test_a_game_without_sizes_gets_the_numbers_alone() -> None:
    huge = functools.partial(MemoryEstimate, GIB, GIB, 2**45, "floor", 2 * GIB, 0.0)
    with pytest.raises(ValueError, match=r"needs about 32 TiB of memory, but 2 GiB are available$"):
        runs.check_memory(Coin(), ExactEquilibrium(), max_steps=1, estimate=lambda *_, **__: huge())


@pytest.mark.parametrize("game", sorted(ABSURD))
def test_a_lower_bound_needs_no_arrays(game: str) -> None:
    """Nothing is traced, or this would end in tears."""
    built = make(game, **ABSURD[game])
    before = resident_memory()
    found = runs.estimate_run(built, preset(built, "rspg").solver, max_steps=10)
    assert not found.fits
    assert not found.exact
    assert resident_memory() - before < GIB / 4


def test_abstract_arrays_take_no_room() -> None:
    arrays = abstract_arrays({"a": np.zeros(2, np.float32), "b": jax.ShapeDtypeStruct((3,), np.float32)})
    assert arrays["a"].shape == (2,)
    large = np.broadcast_to(np.zeros((), np.float32), (2**20, 2**20))
    assert size([large, arrays]) == 2**42 + 20


def test_phases_keep_their_largest() -> None:
    profiler = MemoryProfiler()
    profiler.record("a", np.zeros(4))
    profiler.record("a", np.zeros(2))
    profiler.record("b", np.zeros(3))
    found = profiler.estimate(0)
    assert (found.phase, found.arrays) == ("a", 32)
    assert found.process <= found.peak <= found.total


def test_gains_of_all_paths_are_counted() -> None:
    """They come from calls for a few paths each, and are held one by one and joined."""
    game, num_paths = make("macro", num_wealth=10, num_income=2, num_actions=3, horizon=20), 1000
    policy = preset(game, "rspg", hidden=2, width=2, depth=1, rank=1).solver.policy.initialised(jax.random.key(0))
    profiler = MemoryProfiler(fast_compile=True)
    profile_clairvoyant(profiler, game, policy, num_paths, "evaluation", at_all_times=True)
    assert profiler.peaks["evaluation"] >= 2 * num_paths * game.horizon * game.num_states * 8


@pytest.mark.parametrize("solver", ["spg", pytest.param("ippo", marks=pytest.mark.slow), "fictitious_play"])
def test_estimates_grow_with_the_game(solver: str) -> None:
    small, large = (make("crowd_modelling", num_states=states) for states in (10, 400))
    found = [estimate_memory(game, preset(game, solver).solver, max_steps=2).arrays for game in (small, large)]
    assert found[1] > 1.5 * found[0]


def test_seeds_side_by_side_take_as_many_times_as_much() -> None:
    game = make("left_right")
    solver = preset(game, "spg").solver
    two, six = (estimate_memory(game, solver, max_steps=2, num_seeds=seeds).arrays for seeds in (2, 6))
    assert six == pytest.approx(3 * two, rel=0.1)


def meminfo(root: Path, available: int) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n")


def group(folder: Path, limit: str, used: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} 1024\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize(
    ("line", "top", "names"),
    [("9:cpu,memory:/own", "sys/fs/cgroup/memory", V1), ("0::/own", "sys/fs/cgroup", V2)],
)
def test_groups_bound_what_is_left(tmp_path: Path, line: str, top: str, names: tuple[str, str, str]) -> None:
    meminfo(tmp_path, 1 << 30)
    assert memory_left(tmp_path) == 1 << 30  # no groups
    (tmp_path / "proc/self/cgroup").write_text(f"1:cpu:/\n{line}\n")
    assert memory_left(tmp_path) == 1 << 30  # no such folder
    group(tmp_path / top, "max", 0, names)
    assert memory_left(tmp_path) == 1 << 30  # no limit
    group(tmp_path / top, str(1 << 29), 1 << 28, names)
    assert memory_left(tmp_path) == (1 << 28) + 1024  # that of the group above
    group(tmp_path / top / "own", "4096", 8192, names)
    assert memory_left(tmp_path) == 0


def test_this_process_has_memory() -> None:
    use = memory_use()
    assert 0 < use.resident <= use.peak
    assert (resident_memory(), peak_memory()) == pytest.approx(use, rel=0.05)
    assert memory_left() > 0


def test_a_run_that_cannot_fit_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("structmfg.cli._solve.runs.check_memory", functools.partial(
        runs.check_memory, estimate=by_arithmetic
    ))  # fmt: skip
    folder = tmp_path / "run"
    assert main(["solve", "macro", "--num-wealth", "20000000", "--solver", "spg", "--out", str(folder)]) == 2
    assert "macro with 100000000 states" in capsys.readouterr().err
    assert not folder.exists()


def test_every_game_is_measured() -> None:
    assert SIZES.keys() == {name for name, kind in GAMES.items() if kind().horizon is not None}
    assert all(len(sizes) == 3 for sizes in SIZES.values())


@pytest.mark.slow
# Without the solver of games that go on for ever, and the one whose tables have a size of their own.
@pytest.mark.parametrize("solver", sorted(SOLVERS.keys() - {"stationary", "tabular_spg"}))
def test_every_solver_is_estimated_and_refused(solver: str) -> None:
    """With real estimates: the setting suggested is one that passes."""
    game = make("crowd_modelling", num_states=5 * 10**8)
    fitted = lambda smaller: preset(smaller, solver).solver  # noqa: E731
    with pytest.raises(ValueError, match=r"at least .*; num_states=\d+ would need"):
        runs.check_memory(game, fitted(game), max_steps=10, fitted=fitted)
    assert resident_memory() < 3 * GIB  # and no estimate has made arrays of the size of the game


@pytest.mark.parametrize(
    ("game", "size"),
    [
        ("beach_bar", {"num_states": 10**5}),
        ("crowd_modelling", {"num_states": 10**5}),
        ("epidemic", {"num_levels": 30_000}),
        ("predator_prey", {"size": 180}),
        ("trade_crowding", {"num_states": 10**5}),
    ],
)
def test_no_program_holds_tables_of_the_game(game: str, size: dict[str, int]) -> None:
    """A table made by NumPy would be a constant of every program, and the estimate would hold all of them."""
    built = make(game, **size)

    def once(mean_field: jax.Array) -> Any:
        noise = built.initial_noise(jax.numpy.asarray(0.5))
        start = built.aggregate(mean_field=mean_field, noise=noise, time=0)
        table = jax.numpy.full((built.num_states, built.num_actions), 1 / built.num_actions)
        aggregate, policy, _ = built.decide(start, lambda _: (table, None))
        following = built.advance(aggregate, built.kernel(aggregate).under(policy).move(mean_field), noise)
        return built.reward(aggregate, following), built.initial_mean_field(noise), built.state_features()

    text = jax.jit(once).lower(jax.ShapeDtypeStruct((built.num_states,), np.float32)).as_text()
    assert len(text) < built.num_states


@pytest.mark.slow
@pytest.mark.parametrize("game", sorted(SIZES))
def test_estimates_are_within_30_percent(game: str) -> None:
    found = measure(game, SIZES[game][1])
    assert found["estimate"] == pytest.approx(found["measured"], rel=0.3)


def test_the_program_that_is_estimated_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would not be found among the kept programs, and be compiled twice."""
    programs = []

    def record(module: Any) -> None:
        lower = module.lower_chunk

        def recorded(*arguments: Any) -> Any:
            lowered = lower(*arguments)
            programs.append(lowered.lowered.as_text())
            return lowered

        monkeypatch.setattr(module, "lower_chunk", recorded)

    record(memory_module)
    record(training_module)
    solver = preset(Coin(), "rspg", hidden=2, width=2, depth=1, rank=1, num_paths=2).solver
    runs.estimate_run(Coin(), solver, max_steps=1)
    solve(Coin(), solver, max_steps=1, key=jax.random.key(0))
    estimated, run = programs
    assert estimated == run
