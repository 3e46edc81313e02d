"""`verify` passes games that are right, says what is wrong with others and where, and never crashes on one."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.wrong_games import Ring, Transposed, random_probabilities

import structmfg as smfg
from structmfg._pages import Picture
from structmfg.cli import main
from structmfg.operators import DenseKernel
from structmfg.verification import CheckResult, Report, Stage, Table, verify

SMALL = {
    "linear_quadratic": {"num_states": 15, "horizon": 5, "first": 1, "last": 3},
    "beach_bar": {"num_states": 12, "horizon": 4},
    "macro": {"num_wealth": 6, "num_income": 3, "num_actions": 4, "horizon": 3},
    "beach_bar_crowded": {"num_states": 12, "horizon": 4},
    "carmona_fouque_sun": {"num_steps": 6, "terminal_weight": 1.0},
    "crowd_modelling": {"horizon": 4},
    "huggett_shocks": {"num_assets": 6, "num_actions": 3, "horizon": 3, "max_assets": 20.0},
    "krusell_smith": {"num_assets": 5, "num_actions": 3, "horizon": 3, "max_assets": 40.0},
    "left_right": {},
    "predator_prey": {"size": 3, "horizon": 3},
}


class RingByHand:
    """`Ring` in plain NumPy, as a model of `oracles`."""

    horizon, discount = 4, 0.9

    def start(self, z):
        return np.full(6, 1 / 6)

    def dense(self, mu, z, t):
        dense = np.zeros((6, 2, 6))
        for s in range(6):
            dense[s, 0, s] = dense[s, 1, (s + z) % 6] = 1
        return dense

    def reward(self, mu, z, t, next_mu, next_z):
        return -next_mu[:, None] - np.array([0.0, 0.1])

    def observe(self, mu, z, t):
        return [float(z)]


def names(report, *, failed=False):
    return {result.name for result in report.results if not (failed and result.passed)}


@pytest.mark.slow  # stage by stage they pass in the files of the stages
@pytest.mark.parametrize("name", SMALL)
def test_the_games_pass(name):
    game = smfg.games.make(name, **SMALL[name])
    report = verify(game, num_points=2)
    assert report.passed, str(report)
    assert len(names(report)) == len(report.results)
    assert {"adjoint", "contraction", "transitions match oracle", "counts", "rate is one half"} <= names(report)
    assert repr(game) in str(report)


@pytest.mark.slow
def test_deep():
    report = verify(smfg.games.make("left_right"), deep=True, fuzz=10)
    assert report.passed, str(report)
    assert {"gradients agree", "memory does no harm", "rewards are finite"} <= names(report)


def test_a_users_game_passes_repeats_and_takes_a_model():
    stages = []
    report = verify(Ring(), num_points=1, model=RingByHand(), fuzz=5, callback=stages.append)
    assert report.passed, str(report)
    assert tuple(stages) == report.stages
    assert "reward matches oracle" in names(report)
    again = verify(Ring(), num_points=1)
    shared = {result for result in again.results} & set(report.results)
    assert len(shared) == len(again.results)


@pytest.mark.slow
def test_another_key_gives_other_numbers():
    assert verify(Ring(), key=jax.random.key(1), num_points=1).results != verify(Ring(), num_points=1).results


def test_another_model_is_told_from_the_game():
    model = RingByHand()
    model.reward = lambda mu, z, t, next_mu, next_z: -mu[:, None] - np.array([0.1, 0.0])
    report = verify(Ring(), num_points=1, model=model)
    (wrong,) = (result for result in report.results if not result.passed)
    assert wrong.name == "reward matches oracle"
    assert "action" in wrong.where


@dataclasses.dataclass(frozen=True)
class Broken(Ring):
    """`Ring`, with one function made wrong."""

    where: str = ""

    def kernel(self, aggregate):
        kernel = super().kernel(aggregate)
        if self.where == "kernel":
            raise RuntimeError("no <kernel> here")
        if self.where == "branch" and aggregate.time > 2:
            return kernel
        if self.where == "states":
            return DenseKernel(jnp.asarray(random_probabilities(5, 2)))
        if self.where == "transposed":
            return Transposed(jnp.asarray(random_probabilities(6, 2)))
        if self.where == "row":
            return eqx.tree_at(lambda k: k.probabilities, kernel, kernel.probabilities.at[4, 1].set(1.5))
        return kernel

    def reward(self, aggregate, following):
        reward = super().reward(aggregate, following)
        wrong = {
            "reward": reward.at[3, 1].set(jnp.where(aggregate.time == 2, jnp.inf, 0)),
            "reward shape": reward[:, :1],
        }
        return wrong.get(self.where, reward)

    def observe(self, aggregate):
        observation = super().observe(aggregate)
        return {"observation": observation * jnp.nan, "scalar": observation[0]}.get(self.where, observation)

    def next_noise(self, noise, uniform, time):
        return {"noise": jnp.zeros(())}.get(self.where, super().next_noise(noise, uniform, time))

    def move_agents(self, aggregate, states, actions, key):
        if self.where == "agents":
            return states + actions
        return super().move_agents(aggregate, states, actions, key)


@pytest.mark.parametrize(
    ("where", "found", "told"),
    [
        ("kernel", "path can be followed", "raised RuntimeError: no <kernel> here"),
        pytest.param("branch", "path can be followed", "raised TracerBoolConversionError", marks=pytest.mark.slow),
        pytest.param(
            "states",
            "path can be followed",
            "kernel must be of (S, A) = (6, 2), but is of (5, 2)",
            marks=pytest.mark.slow,
        ),
        pytest.param("row", "rows sum to one", "state 4, action 1: they sum to 1.5", marks=pytest.mark.slow),
        pytest.param("transposed", "adjoint", "by push", marks=pytest.mark.slow),
        pytest.param("reward", "rewards are finite", "first at t = 2, state 3, action 1: inf", marks=pytest.mark.slow),
        pytest.param(
            "reward shape",
            "rewards are finite",
            "rewards must have shape (6, 2), but has shape (6, 1)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "observation", "observations are finite", "observe, first at t = 0, entry 0", marks=pytest.mark.slow
        ),
        pytest.param("scalar", "observations are finite", "raised ValueError", marks=pytest.mark.slow),
        pytest.param("noise", "path can be followed", "raised", marks=pytest.mark.slow),
        ("agents", "transitions", "moved to"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_broken_game_is_reported_and_does_not_crash(where, found, told):
    report = verify(Broken(where), num_points=1)
    assert not report.passed
    failed = {result.name: result.where for result in report.results if not result.passed}
    assert found in failed, failed
    assert told in failed[found]
    assert max(map(len, failed.values())) < 600


@pytest.mark.usefixtures("unchecked")
def test_what_fails_in_double_precision_alone_is_a_finding():
    class Single(Ring):
        def initial_mean_field(self, noise):
            return jnp.full(6, 1 / 6, jnp.float32)

        def kernel(self, aggregate):
            if aggregate.mean_field.dtype != jnp.float32:
                raise TypeError("single precision only")
            return super().kernel(aggregate)

    report = verify(Single(), num_points=1)
    failed = {result.name: result.where for result in report.results if not result.passed}
    assert failed.keys() == {"runs to its end"}
    assert failed["runs to its end"].startswith("raised TypeError: single precision only (test_verify.py, line")


def test_sizes_come_first():
    game = Ring()
    game.horizon = 0
    report = verify(game)
    assert len(report.results) == 1
    assert "horizon must be a whole number of at least 1" in str(report)


@pytest.mark.parametrize(
    ("game", "options"),
    [
        ("beach_bar", {}),
        (Ring(), {"num_points": 0}),
        (Ring(), {"num_points": 1.5}),
        (Ring(), {"fuzz": -1}),
        (Ring(), {"level": 0.0}),
        (Ring(), {"model": Ring()}),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(game, options):
    with pytest.raises(ValueError, match="must"):
        verify(game, **options)


# The report.


@pytest.fixture
def report() -> Report:
    good = CheckResult("rows sum to one", 1e-8, 1e-6, True, "P 1 = 1", "path 0")
    bad = CheckResult(
        "adjoint", float("nan"), float("nan"), False, "<A v, mu>", "raised E: <script>alert(1)</script> & {x}"
    )
    table = Table("A <table>", ("name", "number"), [("a & b", 1.5), ("none", None)])
    first, second = (
        Stage((good,), "First", seconds=1.0),
        Stage((bad,), "Second", (table,), (Picture("p", "seen", b"png"),)),
    )
    return Report("Game('<b>')", (first, second), ("On what it rests",))


def test_report_as_text(report):
    assert not report.passed
    assert str(report).startswith(
        "Game('<b>'): 1 of 2 checks passed\nFirst (1.0 s)\n  ok      rows sum to one   1.00e-08"
    )
    assert "  FAILED  adjoint" in str(report)
    assert "raised E" in str(report)


def test_report_as_json(report, tmp_path):
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert saved["passed"] is False
    assert [result["value"] for result in saved["results"]] == [1e-8, None]
    assert saved["tables"][0]["rows"] == [["a & b", 1.5], ["none", None]]


def test_report_as_html_is_escaped_and_self_contained(report, tmp_path):
    report.save(str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;" in page
    assert "{x}" in page
    assert "A &lt;table&gt;" in page
    assert 'src="data:image/png;base64,cG5n"' in page
    assert page.count("src=") == 1
    for forbidden in ("<script", "<b>", "http"):
        assert forbidden not in page


def test_report_elsewhere(report, tmp_path):
    with pytest.raises(ValueError, match=r"\.html or \.json"):
        report.save(tmp_path / "report.txt")


# The command line.

OWN = """
import jax.numpy as jnp
import structmfg as smfg
from structmfg.operators import DenseKernel


class Mine(smfg.Game):
    num_states, num_actions, horizon, discount = 2, 2, 2, 0.9
    excess = 0.0

    def kernel(self, aggregate):
        return DenseKernel(jnp.full((2, 2, 2), 0.5).at[1, 0, 1].add(self.excess), checks=False)

    def reward(self, aggregate, following):
        return jnp.array([[0.0, 1.0], [1.0, 0.0]]) - following.mean_field[:, None]

    def observe(self, aggregate):
        return aggregate.mean_field[:1]

    def initial_noise(self, uniform):
        return jnp.zeros(())

    def next_noise(self, noise, uniform, time):
        return noise


class Wrong(Mine):
    excess = 0.25


class Unfinished(smfg.Game):
    pass


class Demanding(Mine):
    def __init__(self, needed):
        pass


number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_games_of_a_user.py").write_text(OWN)
    (tmp_path / "broken_module_of_a_user.py").write_text("1 / 0")
    return tmp_path


@pytest.mark.slow
def test_a_game_of_ones_own_by_name(folder, capsys):
    assert main(["verify", "own_games_of_a_user:Mine", "--points", "1", "--json", "--out", "fine"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["passed"]
    assert json.loads((folder / "fine" / "verify.json").read_text())["results"] == result["results"]
    assert "<img" in (folder / "fine" / "report.html").read_text()
    assert main(["verify", "own_games_of_a_user:Wrong", "--points", "1", "--quiet", "--out", "wrong"]) == 1
    assert "checks failed: " in capsys.readouterr().err
    assert "state 1, action 0: they sum to 1.25" in (folder / "wrong" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a game"),
        (["beach_baar"], "did you mean beach_bar"),
        (["own_games_of_a_user:"], "named module:NAME"),
        (["no_such_module:Mine"], "cannot import 'no_such_module'"),
        (["broken_module_of_a_user:Mine"], "ZeroDivisionError"),
        (["own_games_of_a_user:Yours"], "has no 'Yours'"),
        (["own_games_of_a_user:number"], "must be a subclass of structmfg.Game"),
        (["own_games_of_a_user:Unfinished"], "abstract"),
        (["own_games_of_a_user:Demanding"], "cannot be made"),
        (["own_games_of_a_user:Mine", "--horizon", "3"], "unknown option --horizon"),
        (["beach_bar", "--self-test"], "--self-test takes no game"),
        (["left_right", "--points", "0"], "num_points must be"),
        (["left_right", "--fuzz", "-1"], "fuzz must be"),
        (["left_right", "--precision", "half"], "unknown precision"),
    ],
)
def test_refused_on_the_command_line(folder, capsys, arguments, told):
    assert main(["verify", *arguments, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (folder / "run").exists()
