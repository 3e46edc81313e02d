"""Figures of product states: the factors that a game names, in the right order, and what is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import QuadMesh

import structmfg as smfg
from structmfg import reports
from structmfg.games import LinearQuadratic, Macro, NoiselessGame, checked_state_axes
from structmfg.operators import DenseKernel, GeometricGrid
from structmfg.reports._captions import gains_text, mean_field_text
from structmfg.reports._state_figures import draw_gains, draw_mean_field, draw_policy
from structmfg.reports._views import levels, marginal, state_axes
from structmfg.runs._panel import panel_data

SIZES = (3, 2, 4)


@dataclasses.dataclass(frozen=True)
class Cube(NoiselessGame):
    """States of three factors of different sizes, moved at random."""

    num_states: int = 24
    num_actions: int = 2
    horizon: int = 3
    discount: float = 0.9

    def _random(self, *shape):
        return np.random.default_rng(1).dirichlet(np.ones(shape[-1]), shape[:-1])

    def kernel(self, aggregate):
        return DenseKernel(jnp.asarray(self._random(24, 2, 24)))

    def reward(self, aggregate, following):
        return jnp.asarray(self._random(24, 2)) + aggregate.mean_field[:, None]

    def observe(self, aggregate):
        return aggregate.mean_field[:1]

    def initial_mean_field(self, noise):
        return jnp.asarray(self._random(24))

    def state_axes(self):
        return [("age", np.arange(3.0)), ("health", ["ill", "well"]), ("wealth", GeometricGrid(4, 0.0, 9.0))]

    def captions(self):
        return {"policy": "Look at the old."}


GAME = Cube()


@pytest.fixture(scope="module")
def shown():
    table = np.random.default_rng(2).dirichlet([1.0, 1.0], (3, 24))
    return reports.trajectories(GAME, smfg.policies.tabular(GAME, table))


def test_axes_are_those_that_the_game_names():
    axes = state_axes(GAME)
    assert [axis.label for axis in axes] == ["age", "health", "wealth"]
    assert [axis.shift for axis in axes] == [None, None, 0.25]
    assert [axis.names for axis in axes] == [None, ("ill", "well"), None]
    np.testing.assert_allclose(axes[2].coordinates, GeometricGrid(4, 0.0, 9.0).points())
    assert [axis.label for axis in state_axes(LinearQuadratic())] == ["position"]


def test_marginals_sum_over_the_other_factors():
    axes, mass = state_axes(GAME), np.random.default_rng(0).random((2, 24))
    for factor, size in enumerate(SIZES):
        expected = np.zeros((2, size))
        for state in range(24):  # the index is row-major
            place = (state // 8, state // 4 % 2, state % 4)[factor]
            expected[:, place] += mass[:, state]
        np.testing.assert_allclose(marginal(axes, mass, factor), expected)


def test_levels_differ_in_the_first_factor_only():
    """The third factor is at its middle."""
    first, second = levels(state_axes(GAME))
    np.testing.assert_array_equal(first.states, [2, 10, 18])
    np.testing.assert_array_equal(second.states, [6, 14, 22])
    assert second.label.startswith("health well, wealth ")
    macro = Macro(num_wealth=4, num_income=9)
    assert [level.states[1] - 9 for level in levels(state_axes(macro))] == [0, 3, 5, 8]


def test_macro_is_shown_by_wealth_and_income():
    game = Macro(num_wealth=5, num_income=3)
    wealth, income = state_axes(game)
    assert (wealth.label, income.label, wealth.shift) == ("wealth", "income", 0.25)
    mass = np.random.default_rng(0).random(15)
    assert marginal([wealth, income], mass, 0)[1] == pytest.approx(mass[3:6].sum())
    assert marginal([wealth, income], mass, 1)[1] == pytest.approx(mass[[1, 4, 7, 10, 13]].sum())
    np.testing.assert_allclose(game.state_axis()[1], np.repeat(wealth.coordinates, 3), rtol=1e-6)


def test_the_mean_field_is_drawn_by_factor_and_time(shown):
    figure = draw_mean_field(GAME, shown)
    meshes = [mesh for axes in figure.axes[:3] for mesh in axes.collections if isinstance(mesh, QuadMesh)]
    by_factor = shown.mean_field[0].reshape(4, *SIZES)
    for mesh, others in zip(meshes, [(2, 3), (1, 3), (1, 2)], strict=True):
        np.testing.assert_allclose(np.asarray(mesh.get_array()), by_factor.sum(others).T, rtol=1e-6)
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["age", "health", "wealth"]
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["ill", "well"]
    np.testing.assert_array_equal(figure.axes[1].get_yticks(), [0, 1])


def test_the_policy_is_drawn_at_every_level(shown):
    figure = draw_policy(GAME, shown)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 2  # of health
    for axes, states in zip(panels, ([2, 10, 18], [6, 14, 22]), strict=True):
        faint = axes.lines[0]  # at time 0
        np.testing.assert_allclose(faint.get_ydata(), shown.policy[0, 0][states] @ [0.0, 1.0], rtol=1e-6)
        assert len({str(line.get_linestyle()) + str(line.get_color()) for line in axes.lines[::2]}) == 2  # two times


def test_gains_are_drawn_by_state_and_time(shown):
    gains = smfg.evaluation.GainsOverTime(np.random.default_rng(0).random((3, 24)), np.array([0.5, 0.25, 0.125]))
    figure = draw_gains(GAME, gains, "public")
    total, first, second = figure.axes[:3]
    np.testing.assert_array_equal(total.lines[0].get_ydata(), gains.total)
    for axes, states in ((first, [2, 10, 18]), (second, [6, 14, 22])):
        (mesh,) = axes.collections
        np.testing.assert_allclose(np.asarray(mesh.get_array()), gains.by_state[:, states].T)
    assert "0.5 at time 0: the public exploitability" in total.get_title()
    time, place = np.unravel_index(gains.by_state[:, [2, 10, 18, 6, 14, 22]].argmax(), (3, 6))
    assert f"at time {time} and age {place % 3}." in gains_text(GAME, gains)


def test_texts_hold_the_main_numbers(shown):
    mass = np.zeros((1, 4, 24))
    mass[0, :3, 0], mass[0, 3, 23] = 1, 1
    text = mean_field_text(GAME, shown._replace(mean_field=mass))
    assert "half of the population has age 0 to 0 at first, 2 to 2 at the end" in text
    assert "half of the population has wealth 0 to 0 at first, 9 to 9 at the end" in text
    assert "the largest share has health ill (1) at first, well (1) at the end" in text


def test_names_of_points_reach_policy_and_panel(shown):
    """Where they belong to the first factor, along which policies and the panel are drawn."""
    axes = [("health", ["ill", "well"]), ("age", np.arange(12.0))]
    game = type("Turned", (Cube,), {"state_axes": lambda self: axes})()
    data = panel_data(game, shown)
    assert (data["names"], data["points"]) == (["ill", "well"], [0, 1])
    assert panel_data(GAME, shown)["names"] is None
    lowest = [axes for axes in draw_policy(game, shown).axes if axes.lines][-1]  # those above share its axis
    assert [tick.get_text() for tick in lowest.get_xticklabels()] == ["ill", "well"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([("a", np.arange(3)), ("b", np.arange(9))], r"multiply to num_states, 24, but are 3 \* 9"),
        ([("a", np.ones((4, 6)))], r"those of 'a' have shape \(4, 6\)"),
        ([("a", 1, 2)], "one entry is"),
        ([np.arange(24)], "one entry is"),
        ([], "returned \\[\\]"),
        (np.arange(24), "returned array"),
    ],
)
def test_wrong_axes_are_refused_before_anything_is_solved(axes, message):
    game = type("Wrong", (Cube,), {"state_axes": lambda self: axes})()
    with pytest.raises(ValueError, match=message):
        checked_state_axes(game)
    with pytest.raises(ValueError, match=message):
        smfg.solvers.exploitability(game, np.full((24, 2), 0.5))
