"""Verification passes on the games, fails on kernels made wrong on purpose, and never crashes on a user's game."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import structmfg as smfg
from structmfg.operators import DenseKernel, SuccessorKernel, Successors
from structmfg.verification import CheckResult, Report, verify
from structmfg.verification.laws import KERNEL_LAWS, Probe, probe

SMALL = {
    "linear_quadratic": {"num_states": 15, "horizon": 5, "first": 1, "last": 3},
    "beach_bar": {"num_states": 12, "horizon": 4},
    "macro": {"num_wealth": 6, "num_income": 3, "num_actions": 4, "horizon": 3},
    "beach_bar_crowded": {"num_states": 12, "horizon": 4},
    "carmona_fouque_sun": {"num_steps": 6, "terminal_weight": 1.0},
    "crowd_modelling": {"horizon": 4},
    "left_right": {},
}


class Stay(smfg.Game):
    """A user's game: two actions on a ring, a coin, and everybody dislikes a crowd."""

    num_states, num_actions, horizon, discount = 6, 2, 4, 0.9

    def kernel(self, aggregate):
        step = jnp.array([0, 1]) * aggregate.noise
        return SuccessorKernel(((jnp.arange(6)[:, None] + step) % 6)[:, :, None], jnp.ones((6, 2, 1)))

    def reward(self, aggregate, following):
        return jnp.broadcast_to(-following.mean_field[:, None], (6, 2)) - jnp.array([0.0, 0.1])

    def observe(self, aggregate):
        return aggregate.noise[None].astype(float)

    def initial_noise(self, uniform):
        return jnp.where(uniform < 0.5, 1, -1)

    def next_noise(self, noise, uniform, time):
        return jnp.where(uniform < 0.1, -noise, noise)


@pytest.mark.parametrize("name", SMALL)
def test_the_games_pass(name):
    report = verify(smfg.games.make(name, **SMALL[name]), num_points=2)
    assert report.passed, str(report)
    assert len(report.results) == 1 + 2 * (4 + len(KERNEL_LAWS))
    assert report.game in str(report)


def test_a_users_game_passes_and_repeats():
    first, second = verify(Stay(), num_points=1), verify(Stay(), num_points=1)
    assert first.passed, str(first)
    assert first.results == second.results
    assert verify(Stay(), key=jax.random.key(1), num_points=1).results != first.results


class Transposed(DenseKernel):
    """Pushes mass by P instead of its transpose: right for symmetric P alone."""

    def push(self, mass):
        return jnp.einsum("sa,tas->t", mass, self.probabilities)


def probabilities(num_states, num_actions):
    return np.random.default_rng(0).dirichlet(np.ones(num_states), (num_states, num_actions))


@dataclasses.dataclass(frozen=True)
class Broken(Stay):
    """`Stay`, with one function made wrong."""

    where: str = ""

    def kernel(self, aggregate):
        kernel = super().kernel(aggregate)
        if self.where == "kernel":
            raise RuntimeError("no <kernel> here")
        if self.where == "states":
            return DenseKernel(jnp.asarray(probabilities(5, 2)))
        if self.where == "transposed":
            return Transposed(jnp.asarray(probabilities(6, 2)))
        return eqx.tree_at(
            lambda k: k.probabilities, kernel, replace_fn=lambda p: p * (2 if self.where == "rows" else 1)
        )

    def reward(self, aggregate, following):
        reward = super().reward(aggregate, following)
        wrong = {"reward": reward / 0, "reward shape": reward[:, :1]}
        return wrong.get(self.where, reward)

    def observe(self, aggregate):
        observation = super().observe(aggregate)
        return {"observation": observation * jnp.nan, "scalar": observation[0]}.get(self.where, observation)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("kernel", "path of distributions"),
        ("states", "path of distributions"),
        ("rows", "path of distributions"),
        ("rows", "rows sum to one"),
        ("transposed", "adjoint"),
        ("transposed", "return both ways"),
        ("reward", "rewards are finite"),
        ("reward shape", "rewards are finite"),
        ("observation", "observations are finite"),
        ("scalar", "observations are finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_broken_game_is_reported_and_does_not_crash(where, found):
    report = verify(Broken(where), num_points=1)
    assert not report.passed
    assert found in {result.name.partition(" (")[0] for result in report.results if not result.passed}


def test_sizes_come_first():
    game = Stay()
    game.horizon = 0
    report = verify(game)
    assert len(report.results) == 1
    assert "horizon must be a whole number of at least 1" in str(report)


@pytest.mark.parametrize(("game", "num_points"), [("beach_bar", 3), (Stay(), 0), (Stay(), 1.5)])
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(game, num_points):
    with pytest.raises(ValueError, match="must be a"):
        verify(game, num_points=num_points)


@pytest.fixture
def report() -> Report:
    good = CheckResult("rows sum to one", 1e-8, 1e-6, True, "P 1 = 1")
    bad = CheckResult("adjoint", float("nan"), float("nan"), False, "raised E: <script>alert(1)</script> & {x}")
    return Report("Game('<b>')", (good, bad))


def test_report_as_text(report):
    assert not report.passed
    assert str(report).startswith("Game('<b>'): 1 of 2 checks passed\n  ok      rows sum to one   1.00e-08")
    assert "  FAILED  adjoint" in str(report)


def test_report_as_json(report, tmp_path):
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert saved["passed"] is False
    assert [result["value"] for result in saved["results"]] == [1e-8, None]


def test_report_as_html_is_escaped_and_self_contained(report, tmp_path):
    report.save(str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;" in page
    assert "{x}" in page
    for forbidden in ("<script", "<b>", "http", "src="):
        assert forbidden not in page


def test_report_elsewhere(report, tmp_path):
    with pytest.raises(ValueError, match=r"\.html or \.json"):
        report.save(tmp_path / "report.txt")
