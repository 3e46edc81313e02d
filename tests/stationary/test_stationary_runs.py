"""Games that go on for ever in the loop, in run folders, in reports and on the command line."""

import json

import numpy as np
import pytest

import structmfg as smfg
from structmfg.cli import main
from structmfg.policies import StationaryPolicy
from structmfg.solvers import StationaryMeanFieldEquilibrium
from structmfg.solvers.loop import Snapshots


def test_interrupted_solves_go_on_to_the_same_numbers(tmp_path):
    game = smfg.games.make("lasry_lions")
    solver = StationaryMeanFieldEquilibrium(method="mirror_descent", tolerance=0.0)
    whole = smfg.solvers.solve(game, solver, max_steps=7)

    def stop(progress):
        if progress.step >= 3:
            raise KeyboardInterrupt

    with Snapshots(tmp_path / "kept", seconds=0.001) as snapshots:
        cut = smfg.solvers.solve(game, solver, max_steps=7, max_seconds=None, snapshots=snapshots, callback=stop)
    with Snapshots(tmp_path / "kept", seconds=0.001) as snapshots:
        later = smfg.solvers.solve(game, solver, max_steps=7, snapshots=snapshots)
    assert cut.stats["steps"] <= later.stats["steps"] == 7
    np.testing.assert_array_equal(later.policy.table, whole.policy.table)
    np.testing.assert_array_equal(later.policy.mean_field, whole.policy.mean_field)
    assert later.stats["exploitabilities"] == whole.stats["exploitabilities"]
    assert later.stats["certified"] == list(range(1, 8))


def test_run_folders_keep_the_pair(tmp_path):
    """The disease-free equilibrium is kept: of its policy alone the mean field would be another."""
    game = smfg.games.make("sis", resolution=None)
    solution = smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(), max_steps=5)
    run = smfg.save(game, solution, tmp_path / "run")
    assert run.result["exploitability"] == dict.fromkeys(("clairvoyant", "non_anticipative", "public"), 0.0)
    assert run.result["certificate"]["residual"] == 0
    assert run.result["anchors"]["uniform"]["clairvoyant"] > 1
    loaded = smfg.load(tmp_path / "run")
    assert loaded.game == game
    assert isinstance(loaded.policy, StationaryPolicy)
    np.testing.assert_array_equal(loaded.policy.table, solution.policy.table)
    np.testing.assert_array_equal(loaded.policy.mean_field, [1, 0])
    assert smfg.solvers.exploitability(loaded.game, loaded.policy).value == 0
    assert {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")} == {
        "exploitability",
        "mean_field",
        "policy",
    }
    assert "it stays so for ever" in (tmp_path / "run" / "report.html").read_text()


def test_wrong_folders_are_refused(tmp_path):
    game = smfg.games.make("rock_paper_scissors")
    solution = smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(), max_steps=1)
    for name, policy, message in (
        ("shape", StationaryPolicy(np.full((2, 2), 0.5), np.full(2, 0.5)), "missing or of another shape"),
        ("sum", StationaryPolicy(np.full((3, 3), 0.4), np.full(3, 1 / 3)), "those of table do not sum to 1"),
        ("sign", StationaryPolicy(np.eye(3), np.array([1.5, -0.5, 0.0])), "probabilities, but mean_field does not"),
    ):
        folder = tmp_path / name
        smfg.save(game, solution, folder)
        smfg.runs.save_policy(folder, solution._replace(policy=policy))
        with pytest.raises(ValueError, match=message):
            smfg.load(folder)


def test_command_line(tmp_path, capsys):
    """The default solver converges, with exit code 0; it is stuck where pure policies go round, with exit code 1."""
    out = tmp_path / "run"
    arguments = ["--quiet", "--json"]
    assert main(["solve", "two_beach_bars", *arguments, "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["result"] == "converged"
    assert result["certificate"]["exploitability"] <= 1e-8
    assert main(["evaluate", str(out), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exploitability"] == result["exploitability"]
    stuck = [*arguments, "--method", "fixed_point", "--iterations", "3", "--out", str(tmp_path / "stuck")]
    assert main(["solve", "rock_paper_scissors", *stuck]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["result"] == "not_converged"
    assert "above the tolerance" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["solve", "sis", "--solver", "rspg"],
            "rspg needs a finite horizon, but the game's horizon is None (infinite): take",
        ),
        (["solve", "sis", "--solver", "exact"], "exact needs a finite horizon"),
        (["solve", "left_right", "--solver", "stationary"], "but the game's horizon is 1"),
        (["solve", "sis", "--solver", "stationary", "--discount", "1"], "needs a discount below 1, but it is 1"),
    ],
)
def test_refusals_in_one_line(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


def test_lists(capsys):
    assert main(["games"]) == 0
    assert "2 states, 5 actions, no common noise, for ever" in capsys.readouterr().out
    assert main(["solvers"]) == 0
    assert "stationary, exact, for ever" in capsys.readouterr().out


def test_memory_of_large_games_is_refused():
    """Newton's method holds dense matrices: it is refused where they are too large, and others are named."""
    game = smfg.games.make("lasry_lions", num_states=6000)
    with pytest.raises(ValueError, match=r"at most 67108864, but the game has 6000 states and 3 actions: take another"):
        smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(), max_steps=1)
    estimate = smfg.solvers.estimate_memory(game, StationaryMeanFieldEquilibrium(), max_steps=1)
    assert estimate.arrays > 8 * 6000 * 18000


def test_master_equation_of_a_game_for_ever():
    """With few states it is solved as before. Without contagion agents do not interact, and values are known."""
    game = smfg.games.make("sis", contagion=0.0)
    solution = smfg.solvers.master_equation(game, mesh=4, max_steps=400)
    ill = (-9 + 0.9 * 0.1 * 10) / (1 - 0.9 * 0.9)
    values = np.asarray(solution.values).reshape(-1, 2)
    np.testing.assert_allclose(values[:, 0] - values[:, 1], 10 - ill, rtol=1e-6)
    np.testing.assert_allclose(values[:, 0], 10, atol=0.2)  # and the entropy of its policy
