"""Individual histories enumerated: their marginal is the mean field, and what an agent loses by forgetting its own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand, Swap

import structmfg as smfg
from structmfg.solvers import best_response
from structmfg.verification import faced_population, oracles, private_history_table, value_of_private_history
from structmfg.verification._private_history import TINY_GAMES, ModelOfGame, perfect_recall
from structmfg.verification.oracles import follow_histories, private_history

HIDDEN = Coin(revealed=0, veiled=(0, 1, 2), stakes=3.0)


def paths_of(game):
    """All noise paths in Python's numbers."""
    noise, count = jax.tree.map(np.asarray, game.scenarios().noise), game.scenarios().num_paths
    times = range(game.horizon + 1)
    return [[jax.tree.map(lambda z, i=i, t=t: z[i, t].item(), noise) for t in times] for i in range(count)]


def random_tables(game, count):
    return np.random.default_rng(0).dirichlet(np.ones(game.num_actions), (count, game.horizon, game.num_states))


@pytest.mark.parametrize("name", ["coin, hidden twice, moves tell", "linear_quadratic, shock at once", "beach_bar"])
def test_marginal_over_histories_is_the_mean_field(name, double):
    """Of a reduced policy, which every path may have another one of; and so is the return."""
    game = TINY_GAMES[name]
    paths = paths_of(game)
    model = CoinByHand(game) if isinstance(game, Coin) else oracles.model(game)

    @jax.jit
    def along(table, noise):
        path = smfg.solvers.rollout(game, smfg.policies.TabularPolicy(table), noise)
        return path.aggregates.mean_field, smfg.solvers.policy_values(game, path.aggregates, path.policy)[0]

    for path, table in zip(paths, random_tables(game, len(paths)), strict=True):
        found = follow_histories(model, table, path)
        noise = jax.tree.map(lambda *z: jnp.stack([jnp.asarray(x) for x in z]), *map(game.as_noise, path))
        mean_fields, values = along(table, noise)
        np.testing.assert_allclose(found.mean_fields, mean_fields, rtol=0, atol=1e-14)
        assert found.total == pytest.approx(float(found.mean_fields[0] @ values), rel=1e-13)
        assert found.mass.sum() == pytest.approx(1, abs=1e-14)
        assert found.histories.shape == (len(found.mass), 2 * game.horizon + 1)
        assert len(np.unique(found.histories, axis=0)) == len(found.histories)


def test_every_history_of_the_coin_is_there():
    """Two states, and two actions and two states a step; their masses are products along each."""
    game = Coin(revealed=1)
    table = random_tables(game, 1)[0]
    found = follow_histories(CoinByHand(game), table, [0, 1, 1, 1])
    assert len(found.histories) == 2 * 4**3
    run = oracles.rollout(CoinByHand(game), table, [0, 1, 1, 1])
    s0, a0, s1, a1, s2, a2, s3 = history = (1, 0, 1, 1, 0, 1, 1)
    mass = run.mean_fields[0][s0]
    for t, (s, a, u) in enumerate([(s0, a0, s1), (s1, a1, s2), (s2, a2, s3)]):
        mass *= table[t, s, a] * run.kernels[t, s, a, u]
    row = int(np.flatnonzero((found.histories == history).all(1))[0])
    assert found.mass[row] == pytest.approx(mass, rel=1e-13)


@pytest.mark.parametrize(("chance", "accuracy"), [(0.4, 0.8), (0.5, 1.0), (0.2, 0.7), (0.3, 0.5)])
def test_a_move_that_tells(chance, accuracy):
    """By hand: who remembers whether it moved guesses by Bayes' rule, who does not guesses what is likelier."""
    game = Swap(chance, accuracy)
    found = value_of_private_history(game, smfg.policies.uniform(game))
    moved, stayed = np.array([[1 - accuracy, accuracy], [accuracy, 1 - accuracy]]) * [1 - chance, chance]
    assert found.with_history == pytest.approx(0.9 * (moved.max() + stayed.max()), abs=1e-14)
    assert found.without_history == pytest.approx(0.9 * max(chance, 1 - chance), abs=1e-14)
    assert found.loss == pytest.approx(game.loss, abs=1e-14)
    assert (found.loss > 0.01) == ((chance, accuracy) in {(0.4, 0.8), (0.5, 1.0)})
    assert found.histories == 2 + 2 * 2 * 2
    assert found.situations == 2 * game.horizon
    shown = Swap(chance, accuracy, shows_noise=True)
    assert value_of_private_history(shown, smfg.policies.uniform(game)).loss == pytest.approx(0, abs=1e-15)


def test_a_population_that_remembers():
    """All play the best policy with memory: the mean over histories of what they get is its value."""
    game = Swap()

    def remembers(t, histories):
        moved = (histories[:, 0] != histories[:, -1]) if t else np.zeros(len(histories), bool)
        return np.eye(2)[moved.astype(int)]

    totals = [follow_histories(ModelOfGame(game), remembers, [z] * 3).total for z in (0, 1)]
    best = value_of_private_history(game, smfg.policies.uniform(game))
    assert np.array([0.6, 0.4]) @ totals == pytest.approx(best.with_history, abs=1e-14)


def faced_by_hand(game, kind="public"):
    """One agent among others who play at random, differently on either path."""
    noise, probabilities = np.asarray(game.scenarios().noise), np.array([0.3, 0.7])
    return oracles.faced_population(CoinByHand(game), random_tables(game, 2), noise, probabilities, kind)


def test_reduced_class_against_all_its_policies():
    """A deterministic policy is one action by time and state, as the public sees nothing: 64 of them."""
    faced = faced_by_hand(HIDDEN)
    values = []
    for plan in itertools.product(range(2), repeat=6):
        table = np.eye(2)[np.array(plan).reshape(3, 2)]
        values.append(faced.probabilities @ (oracles.policy_values(faced, [table] * 2) * faced.start).sum(1))
    assert oracles.best_without_history(faced).sum() == pytest.approx(max(values), rel=1e-14)
    assert max(values) < private_history(faced).with_history - 0.01


def test_private_histories_against_all_their_policies():
    """Two steps: two actions at the start, then one for every (s_0, a_0, s_1) that may have been: 4 * 16 of them."""
    faced = faced_by_hand(Coin(revealed=0, veiled=(0, 1), stakes=3.0, horizon=2))
    values = []
    for first in itertools.product(range(2), repeat=2):
        for later in itertools.product(range(2), repeat=4):
            total = 0.0
            for i, s in itertools.product(range(2), repeat=2):
                rewards, moves = faced.rewards[i], faced.kernels[i, 0, s, first[s]]
                then = sum(moves[u] * rewards[1, u, later[2 * s + u]] for u in range(2))
                total += faced.probabilities[i] * faced.start[i, s] * (rewards[0, s, first[s]] + faced.discount * then)
            values.append(total)
    found = private_history(faced)
    assert found.with_history == pytest.approx(max(values), rel=1e-14)
    assert found.histories == 2 + 8


def test_nothing_is_lost_by_who_knows_the_noise():
    """An own past tells nothing more, hidden as the noise is from the public."""
    faced = [faced_by_hand(HIDDEN, kind) for kind in ("public", "non_anticipative", "clairvoyant")]
    losses = [private_history(one).loss for one in faced]
    assert losses[0] > 0.01
    assert losses[1:] == pytest.approx([0, 0], abs=1e-14)
    found = value_of_private_history(HIDDEN, smfg.policies.uniform(HIDDEN), kind="non_anticipative")
    assert found.loss == pytest.approx(0, abs=1e-14)


def check_rows(rows):
    """Nothing is lost where the package says so, and its public best response is then the one enumerated."""
    for row in rows:
        assert row.value.loss >= -1e-13, row
        if row.perfect_recall:
            assert row.value.loss == pytest.approx(0, abs=1e-13), row
    assert {row.game for row in rows if row.value.loss > 1e-3} == {
        "coin, hidden twice, moves tell",
        "coin, hidden always, moves tell",
        "swap, hidden",
    }


def test_perfect_recall_loses_nothing():
    names = [name for name in TINY_GAMES if name.startswith(("coin, h", "swap"))]
    rows = private_history_table({name: TINY_GAMES[name] for name in names}, equilibria=False)
    assert [row.game for row in rows] == names
    assert {row.population for row in rows} == {"uniform"}
    assert sum(row.perfect_recall for row in rows) == 3
    check_rows(rows)


@pytest.mark.slow
def test_at_equilibria():
    names = ("coin, hidden twice, moves tell", "coin, hidden always, moves tell", "swap, hidden")
    names += ("coin, seen through the mean field", "linear_quadratic, shock at the end", "left_right")
    rows = private_history_table({name: TINY_GAMES[name] for name in names})
    check_rows(rows)
    assert {row.population for row in rows if row.game == "left_right"} == {
        "uniform",
        "equilibrium, public information",
        "equilibrium, full information",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TINY_GAMES))
def test_public_best_responses_are_those_enumerated(name):
    game = TINY_GAMES[name]
    policy = smfg.policies.tabular(game, random_tables(game, 1)[0])
    if perfect_recall(game, policy):
        found = best_response(game, policy, kind="public")
        value = found.mean_return + found.exploitability
        assert value_of_private_history(game, policy).without_history == pytest.approx(value, rel=1e-12)


def test_own_functions_and_oracle_face_an_agent_alike():
    game = TINY_GAMES["beach_bar_crowded"]
    table = random_tables(game, 1)[0]
    own = faced_population(game, table)
    tables = [table] * len(own.start)
    told = oracles.faced_population(oracles.model(game), tables, paths_of(game), own.probabilities)
    assert own.horizon == game.horizon
    for one, other in zip(own, told, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)


def test_what_is_known():
    seen = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 1.0 + 1e-12], [5.0, 1.0]])[:, :, None]
    np.testing.assert_array_equal(oracles.known_by(seen), [[0, 0], [0, 1], [0, 0], [3, 3]])
    with pytest.raises(ValueError, match="neither equal nor clearly different"):
        oracles.known_by(np.array([0.0, 0.9e-9, 1.8e-9])[:, None, None])


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (smfg.games.make("macro", num_wealth=3, num_income=2, num_actions=2, horizon=2), "is not finite"),
        (Coin(horizon=11), "enumerate .* histories, but at most 2000000"),
        (smfg.games.make("crowd_modelling"), "histories"),
    ],
)
def test_too_large(game, message):
    with pytest.raises(ValueError, match=message):
        value_of_private_history(game, smfg.policies.uniform(game))


def test_too_many_policies():
    faced = faced_by_hand(Coin(revealed=0, veiled=tuple(range(12)), stakes=3.0, horizon=12))
    with pytest.raises(ValueError, match=r"enumerate .* policies, but at most 500000 are allowed"):
        oracles.best_without_history(faced)
