"""Games of OpenSpiel's kind as tables and formulas, held against the nodes that they were made of."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.trees import CELLS, STEPS, FerryGame, return_of

from structmfg import games, policies, solvers, verification

pytestmark = pytest.mark.usefixtures("double")
TWISTS = ("", "rounding", "floats")


@pytest.fixture(scope="module", params=TWISTS)
def ferry(request):
    with jax.enable_x64(True):
        return games.from_openspiel(FerryGame(request.param))


def random_policy(game, seed=0):
    """A random table, of which what is not allowed is left out."""
    table = np.random.default_rng(seed).dirichlet(np.ones(game.num_actions), (game.horizon, game.num_states))
    return policies.TabularPolicy(jnp.asarray(table), within_allowed=True)


def exported(policy, game):
    """The policy at a decision node, by its name."""
    at_decisions = policies.at_decisions(policy, game)
    return lambda node: policies.probabilities_at(at_decisions, node)


def mean_return(game, policy):
    return solvers.best_response(game, policy, kind="non_anticipative").mean_return


def test_return_is_that_of_all_histories(ferry):
    """Of the uniform policy and a random one, by the tables and formulas and by the game's own nodes."""
    for policy in (policies.uniform(ferry), random_policy(ferry)):
        by_history = return_of(ferry.walk.game, exported(policy, ferry))
        assert mean_return(ferry, policy) == pytest.approx(by_history, abs=1e-12)


def test_sizes_names_and_actions_by_time(ferry):
    assert (ferry.num_states, ferry.num_actions, ferry.horizon, ferry.discount) == (CELLS, 3, STEPS, 1.0)
    assert ferry.state_names(1) == [f"({cell}, 1) mean field" for cell in range(CELLS)]
    assert np.asarray(ferry.initial(jax.random.key(0)).mean_field) == pytest.approx(np.arange(1, 7) / 21)
    for time, action in ((0, 1), (1, 2)):
        spread = ferry.aggregate(mean_field=np.full(CELLS, 1 / CELLS), noise=0, time=time)
        allowed = np.asarray(ferry.allowed(spread))
        assert allowed[:, [0, action]].all()
        assert not allowed[:, 3 - action].any()


def test_rounding_decides_what_is_allowed():
    """In a cell with two thirds of the population nobody may move: the guard is the mass of the cell, rounded down."""
    game = games.from_openspiel(FerryGame("rounding"))
    for mass, may_move in ((0.66, True), (0.67, False), (1.0, False)):
        mean_field = np.full(CELLS, (1 - mass) / (CELLS - 1))
        mean_field[1] = mass
        allowed = np.asarray(game.allowed(game.aggregate(mean_field=mean_field, noise=0, time=2)))
        assert allowed[1].tolist() == [True, may_move, False]
        assert allowed[0].tolist() == [True, True, False]


def test_values_of_openspiel_merge_the_ways_into_a_node():
    """With one node of each name, the reward for the way to it is that of the way which is found first."""
    game = games.from_openspiel(FerryGame(), rewards="as_valued")
    exact = games.from_openspiel(FerryGame())
    policy = policies.uniform(exact)
    assert mean_return(game, policy) != pytest.approx(mean_return(exact, policy), abs=1e-3)


def test_equilibrium():
    game = games.from_openspiel(FerryGame())
    solution = solvers.solve(game, solvers.ExactEquilibrium(tolerance=1e-7), max_steps=400)
    assert solution.result.name == "converged"
    assert repr(game) == "openspiel:ferry"


@pytest.mark.slow
def test_verification(ferry):
    """Laws, and agents who move one by one; where moves depend on the mean field, too."""
    report = verification.verify(ferry, num_points=1)
    assert report.passed, report


def test_equal_games_share_programs():
    first, second = (games.from_openspiel(FerryGame()) for _ in range(2))
    assert first == second
    assert first != games.from_openspiel(FerryGame("floats"))


REFUSED = {
    "ends early": "all take the same kind of step",
    "simultaneous": "only games in which one player decides",
    "memory": "depends on how it was reached",
    "late chance": "chance follows the mean-field node",
    "floats, odd": "cannot be told from outside",
}


@pytest.mark.parametrize("twist", REFUSED)
def test_refused(twist):
    with pytest.raises(ValueError, match=REFUSED[twist]) as error:
        games.from_openspiel(FerryGame(twist))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        (FerryGame(players=2), {}, "2 populations"),
        (FerryGame(dynamics="Dynamics.SEQUENTIAL"), {}, "no mean field game"),
        (FerryGame(), {"max_states": 3}, "6 states at time 0"),
        (FerryGame(), {"rewards": "theirs"}, "as_valued"),
        (FerryGame(), {"size": 5}, "was made already"),
        (object(), {}, "a name or a game"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refused_arguments(game, options, message):
    with pytest.raises(ValueError, match=message):
        games.from_openspiel(game, **options)


def test_openspiel_is_missing(monkeypatch):
    """Games by name and policies need the library: one line says how to install it."""
    for module in ("pyspiel", "open_spiel.python.mfg.games", "open_spiel.python.policy"):
        monkeypatch.setitem(sys.modules, module, None)
    game = games.from_openspiel(FerryGame())
    for use in (lambda: games.from_openspiel("mfg_garnet"), lambda: policies.uniform(game).to_openspiel(game)):
        with pytest.raises(ValueError, match=r"OpenSpiel is not installed.*pip install"):
            use()


def test_games_of_the_package_are_not_exported():
    with pytest.raises(ValueError, match="OpenSpielGame"):
        policies.uniform(games.make("left_right")).to_openspiel(games.make("left_right"))


def test_a_decision_that_the_policy_cannot_know():
    game = games.from_openspiel(FerryGame())
    node = game.walk.stages[1].nodes[0]
    after = node.clone()
    after.update_distribution([1 / CELLS] * CELLS)
    after.time = 7
    with pytest.raises(ValueError, match="knows no decision"):
        policies.probabilities_at({}, after)


def test_rounding_needs_double_precision():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        games.from_openspiel(FerryGame("rounding"))
