"""`fuzz` finds faults at the edges of a game, names the simplest point where they show, and is quiet and repeatable."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.wrong_games import Ring

import structmfg as smfg
from structmfg.operators import DenseKernel, SuccessorKernel
from structmfg.verification import fuzz
from structmfg.verification.laws import KERNEL_LAWS


@dataclasses.dataclass(frozen=True)
class Faulty(Ring):
    """`Ring` with faults by name."""

    fault: str = ""

    def kernel(self, aggregate):
        if self.fault == "kernel":
            raise RuntimeError("no <kernel> here")
        kernel = super().kernel(aggregate)
        leak = (self.fault == "leak") * (aggregate.time == 2) * (aggregate.noise == 1) * 0.01
        return SuccessorKernel(kernel.indices, kernel.probabilities.at[3, 1].add(-leak), checks=False)

    def reward(self, aggregate, following):
        """Of a crowd in two places: its logarithm is -inf where the mean field has a zero."""
        crowd = jnp.log(aggregate.mean_field[4]) if self.fault == "edge" else 0.0
        return jnp.full((6, 2), -aggregate.mean_field[0]) + crowd

    def scenarios(self):
        if self.fault == "scenarios":
            raise RuntimeError("no <scenarios> here")
        return None


def failed(results):
    return {result.name: result for result in results if not result.passed}


def test_a_right_game_passes_quietly_and_repeats(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    results = fuzz(Faulty(), 20)
    assert not failed(results), results
    assert len(results) == len(KERNEL_LAWS) + 4
    assert fuzz(Faulty(), 20) == results
    assert fuzz(Faulty(), 20, seed=1) != results
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_leak_is_found_at_the_simplest_point():
    """Mass is lost by one action in one state, at one time and one value of the noise."""
    found = failed(fuzz(Faulty("leak"), 60))
    assert {"rows sum to one", "mass kept"} <= found.keys()
    row = found["rows sum to one"]
    assert row.value == pytest.approx(0.01, rel=1e-4)
    simplest = "simplest point found: t = 2, z = 1 (innovations 0.25), uniform mean field, actions uniform, random"
    assert row.where.startswith(simplest)
    assert "following is a distribution" in found


def test_edges_are_visited():
    """Rewards that are infinite only where a state is empty."""
    found = failed(fuzz(Faulty("edge"), 40))
    assert found.keys() == {"rewards are finite"}
    assert "t = 0, z = -1 (innovations 0.5), all mass in state 0, actions uniform" in found["rewards are finite"].where
    assert "state 0, action 0" in found["rewards are finite"].where


@pytest.mark.parametrize(("fault", "name"), [("kernel", "kernels can be made"), ("scenarios", "points can be drawn")])
def test_nothing_a_game_raises_gets_out(fault, name):
    (result,) = fuzz(Faulty(fault), 5)
    assert (result.name, result.passed) == (name, False)
    assert np.isnan(result.value)
    assert f"raised RuntimeError: no <{fault}> here" in result.where


class Fewer(Faulty):
    def kernel(self, aggregate):
        return DenseKernel(jnp.full((5, 2, 5), 0.2))


def test_a_kernel_of_another_size():
    (result,) = fuzz(Fewer(), 5)
    assert "must have the game's 6 states and 2 actions, but has 5 and 2" in result.where


@pytest.mark.parametrize(
    "name", ["linear_quadratic", *(pytest.param(name, marks=pytest.mark.slow) for name in ("beach_bar", "macro"))]
)
def test_the_games_pass(name):
    small = {"linear_quadratic": {"num_states": 15}, "beach_bar": {"num_states": 12}, "macro": {"num_wealth": 6}}
    results = fuzz(smfg.games.make(name, horizon=4, **small[name]), 15)
    assert not failed(results), results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("macro", 3), "game must be a Game"), ((Faulty(), 0), "num_examples must be"), ((Faulty(), 3.5), "num_examples")],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        fuzz(*arguments)
