"""Bounds of the non-anticipative exploitability, held against the exact value where the noise is finite."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import structmfg as smfg
from structmfg.benchmarks.bounds import CHAINS, held
from structmfg.cli._output import summary
from structmfg.evaluation import exploitability, exploitability_bounds
from structmfg.evaluation._basis import Basis, mean_reward, next_noise_points, num_features, standardised
from structmfg.games import Macro, normal_quadrature
from structmfg.reports._captions import losses_text
from structmfg.reports._figures import draw_losses

SMALL = {"num_wealth": 8, "num_income": 2, "num_actions": 4}
CHAIN = {**SMALL, "horizon": 5, "noise_states": 3, "deviation": 0.1}


class UnknownLaw(Macro):
    """`macro` that does not say how its noise is distributed."""

    def innovation_quadrature(self):
        return None


class OneNode(Macro):
    """`macro` with a quadrature that takes the mean of the noise for its distribution."""

    def innovation_quadrature(self):
        return np.array([0.5]), np.array([1.0])


class Narrow(Macro):
    """`macro` with the quadrature of a deviation that is 20 % too small."""

    def innovation_quadrature(self):
        nodes, weights = normal_quadrature()
        return jax.scipy.special.ndtr(0.8 * jax.scipy.special.ndtri(nodes)), weights


class NoRule(Macro):
    """`macro` with nodes on the line in place of (0, 1)."""

    def innovation_quadrature(self):
        return np.polynomial.hermite_e.hermegauss(5)


class Bet(Macro):
    """Each action is a stake on a fair bet on the next noise, so that nobody gains by choosing with no foresight."""

    def reward(self, aggregate, following):
        uniform = jax.scipy.special.ndtr((following.noise - self.persistence * aggregate.noise) / self.deviation)
        payoff = (uniform > 0.47) / 0.53 - 1
        return jnp.broadcast_to(payoff * jnp.linspace(-1, 1, self.num_actions), (self.num_states, self.num_actions))


class BetOfUnknownLaw(Bet):
    """The same, of noise whose law is not stated."""

    def innovation_quadrature(self):
        return None


class TwoFaced(Macro):
    """`macro` with a second name for every state of the chain, which no number tells apart, and a reward for luck."""

    def noise_chain(self):
        chain = super().noise_chain()
        values = (np.asarray(chain.values), np.arange(chain.num_states))
        return chain._replace(values=values)

    def initial_noise(self, uniform):
        return self.noise_chain().first(uniform)

    def next_noise(self, noise, uniform, time):
        return self.noise_chain().following(noise, uniform)

    def kernel(self, aggregate):
        return super().kernel(dataclasses.replace(aggregate, noise=aggregate.noise[0]))

    def reward(self, aggregate, following):
        luck = following.noise[1] * jnp.linspace(0, 1, self.num_actions)
        return super().reward(dataclasses.replace(aggregate, noise=aggregate.noise[0]), following) + luck

    def observe(self, aggregate):
        return super().observe(dataclasses.replace(aggregate, noise=aggregate.noise[0]))


def network(game):
    return smfg.policies.recurrent(game, head="ordered", hidden=4, width=8, depth=1, rank=2).initialised(
        jax.random.key(0)
    )


@pytest.mark.parametrize("make", [Macro, TwoFaced])
def test_bracket_holds_the_exact_value(make):
    """Features are rich enough for these few histories, so the bounds are also close to each other."""
    game = make(**CHAIN)
    policy = network(game)
    exact = exploitability(game, policy, kind="non_anticipative").value
    foresight = exploitability(game, policy, kind="clairvoyant").value
    found = exploitability_bounds(game, policy, key=jax.random.key(0))
    assert found.lower.value - 4 * found.lower.stderr < exact < found.upper.value + 4 * found.upper.stderr
    assert found.upper.stderr < 0.02 * exact
    assert -1e-9 < found.width < 0.01 * exact
    assert found.clairvoyant.value == pytest.approx(foresight, abs=4 * found.clairvoyant.stderr)
    assert found.losses.sum() == pytest.approx(exact, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", CHAINS)
def test_interval_holds_the_exact_value_in_twenty_draws(parameters):
    found = held(parameters, 20)
    assert found["held"] == 20, found


def test_bounds_by_time_and_state():
    """The exact gains from every time on, and by individual state, lie within as well."""
    game = Macro(**CHAIN)
    policy = network(game)
    response = smfg.solvers.best_response(game, policy)
    found = exploitability_bounds(game, policy, key=jax.random.key(1), num_paths=64)
    error = 5 * found.upper_by_path.std(0, ddof=1) / 8 + 1e-9
    assert (found.lower_by_path.mean(0) - error < response.over_time.total).all()
    assert (response.over_time.total < found.upper_by_path.mean(0) + error).all()
    gains = response.probabilities @ response.gains
    np.testing.assert_allclose(found.lower_by_state, gains, rtol=0.05)
    np.testing.assert_allclose(found.upper_by_state, gains, rtol=0.05)
    first = response.mean_field[0]
    assert found.upper_by_state @ first == pytest.approx(found.upper.value, rel=1e-9)


def test_poor_features_give_a_wide_bracket_that_still_holds(unchecked):
    """The bounds hold for features that say nothing, such as a constant; the bracket is then wide."""
    game = Macro(**{**CHAIN, "deviation": 0.3})
    policy = network(game)
    exact = exploitability(game, policy, kind="non_anticipative").value
    good = exploitability_bounds(game, policy, key=jax.random.key(0), num_paths=256)
    poor = exploitability_bounds(
        game, policy, key=jax.random.key(0), num_paths=256, features=lambda aggregate: jnp.zeros(1)
    )
    assert poor.lower.value - 4 * poor.lower.stderr < exact < poor.upper.value + 4 * poor.upper.stderr
    assert poor.width > 10 * good.width
    assert poor.upper.stderr > 3 * good.upper.stderr


def test_continuous_noise():
    """Without a law the means are random, and the bracket is about the same."""
    game, unknown = (kind(**SMALL, horizon=6, deviation=0.1) for kind in (Macro, UnknownLaw))
    table = np.full((16, 4), 0.25)
    found, again = (exploitability_bounds(each, table, key=jax.random.key(0)) for each in (game, unknown))
    assert 0 < found.lower.value <= found.upper.value < 1.001 * found.lower.value
    assert found.foresight.value > -4 * found.foresight.stderr
    assert found.informative
    assert found.reveals_noise
    assert found.public == (found.lower, found.upper)
    assert again.upper.value == pytest.approx(found.upper.value, rel=1e-3)
    assert again.lower.value == pytest.approx(found.lower.value, rel=1e-3)
    paths = smfg.games.noise_paths(game, key=jax.random.key(0), num_paths=32, sampling="stratified")
    gains = np.asarray(smfg.solvers.best_response_gains(game, smfg.policies.tabular(game, table), paths))
    assert abs(found.clairvoyant.value - gains.mean()) < 4 * gains.std(ddof=1) / np.sqrt(32)
    assert found.clairvoyant.stderr < 0.25 * gains.std(ddof=1) / np.sqrt(32)


@pytest.mark.parametrize("kind", [Bet, BetOfUnknownLaw])
def test_a_fair_bet_gains_nothing(kind):
    """The payoff jumps: no quadrature for smooth functions may be used, and no choice by the draws that value it."""
    game = kind(**SMALL, horizon=4)
    found = exploitability_bounds(game, np.full((16, 4), 0.25), key=jax.random.key(0), num_paths=64)
    assert found.lower.value < 4 * found.lower.stderr + 1e-9
    assert found.upper.value > -4 * found.upper.stderr
    assert found.clairvoyant.value > 1
    assert found.foresight.value > 0.5


def test_no_noise_leaves_no_width():
    game = Macro(**SMALL, horizon=5, deviation=0.0)
    found = exploitability_bounds(game, np.full((16, 4), 0.25), key=jax.random.key(0))
    assert found.width == pytest.approx(0, abs=1e-12)
    assert found.upper.value == pytest.approx(found.clairvoyant.value, rel=1e-12)
    assert found.interval == pytest.approx((found.lower.value, found.upper.value))


def test_observations_that_hide_the_noise():
    class Hidden(Macro):
        def observe(self, aggregate):
            return super().observe(dataclasses.replace(aggregate, noise=jnp.zeros(())))

    for parameters in (CHAIN, {**SMALL, "horizon": 5}):
        found = exploitability_bounds(Hidden(**parameters), np.full((16, 4), 0.25), key=jax.random.key(0))
        assert not found.reveals_noise
        assert found.public is None


@pytest.mark.parametrize("chain", [True, False])
def test_means_of_features_and_rewards_are_those_of_many_draws(chain, double):
    game = TwoFaced(**CHAIN) if chain else Macro(**SMALL, horizon=5)
    policy = smfg.policies.uniform(game)
    noise = smfg.games.noise_paths(game, key=jax.random.key(0), num_paths=4).noise
    aggregates = smfg.solvers.evaluate_paths(game, policy, noise).aggregates
    now, then = (jax.tree.map(lambda x, t=t: x[0, t], aggregates) for t in (2, 3))
    size = num_features(game, 2, None)
    count = 2 if chain else 3
    basis = Basis(game, 2, None, jnp.zeros((6, count)), jnp.ones((6, count)))
    uniforms = (jnp.arange(100_000) + 0.5) / 100_000
    drawn = jax.vmap(lambda u: game.advance(now, then.mean_field, game.next_noise(now.noise, u, now.time)))(uniforms)
    expected = basis.mean_of_next(now, then, jax.random.key(1))
    assert expected.shape == (size,)
    np.testing.assert_allclose(expected, jax.vmap(basis)(drawn).mean(0), rtol=2e-4, atol=1e-8)
    rewards = mean_reward(game, now, then, jax.random.key(1))
    of_draws = jax.lax.map(lambda following: game.reward(now, following), drawn).mean(0)
    np.testing.assert_allclose(rewards, of_draws, rtol=2e-4)


def test_standardised_numbers():
    game = Macro(**SMALL, horizon=3)
    numbers = jnp.asarray(np.random.default_rng(0).normal(3, 2, (50, 4, 3))).at[..., 2].set(1.0)
    basis = standardised(game, 2, None, numbers)
    standard = (numbers - basis.centre) * basis.scale
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(0)[:, :2], 1, rtol=1e-5)
    assert (np.asarray(standard[..., 2]) == 0).all()


def test_normal_quadrature_is_exact_for_polynomials(double):
    nodes, weights = normal_quadrature(5)
    points = np.asarray(jax.scipy.special.ndtri(jnp.asarray(nodes)))
    for power, moment in enumerate([1, 0, 1, 0, 3, 0, 15, 0, 105, 0]):
        assert weights @ points**power == pytest.approx(moment, abs=1e-8)
    with pytest.raises(ValueError, match="num_nodes must be"):
        normal_quadrature(1)


def test_shifted_points_have_the_law_of_the_noise(double):
    """Over the shift every point of [0, 1] is hit alike: the mean over shifts is unbiased."""
    game = UnknownLaw(**SMALL, horizon=3)
    start = game.at_start(jnp.zeros(()))
    keys = jax.random.split(jax.random.key(0), 400)
    points = jax.vmap(lambda key: next_noise_points(game, start, key, 4)[0])(keys)
    assert float(points.mean()) == pytest.approx(0, abs=4 * 0.03 / np.sqrt(1600))
    assert float(points.std()) == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize(
    ("game", "arguments", "message"),
    [
        (Macro(**SMALL, horizon=4), {"num_training_paths": 10}, "10 features need at least 11 training paths"),
        (Macro(**SMALL, horizon=4), {"num_paths": 4}, "num_paths must be a whole number of at least 8"),
        (Macro(**SMALL, horizon=4), {"degree": 0}, "degree must be a whole number"),
        (Macro(**SMALL, horizon=4), {"training_key": jax.random.key(0)}, "training_key must differ from key"),
        (Macro(**SMALL, horizon=4), {"features": lambda x: x.noise * jnp.full(2, jnp.nan)}, "features must be finite"),
        (OneNode(**SMALL, horizon=4), {}, "does not fit its draws"),
        (Narrow(**SMALL, horizon=4), {}, "does not fit its draws"),
        (NoRule(**SMALL, horizon=4), {}, "innovation_quadrature must return nodes in"),
        (Macro(**SMALL, horizon=4), {"features": lambda x: None}, "features must be a function"),
        (Macro(**SMALL, horizon=4), {"features": lambda x: jnp.zeros(0)}, "features must return at least one"),
        (smfg.games.make("beach_bar", num_states=7, max_action=1, horizon=4), {}, "need the law of the common noise"),
        (smfg.games.make("rock_paper_scissors"), {}, "horizon"),
    ],
)
def test_bad_input(game, arguments, message, unchecked):
    table = np.full((game.num_states, game.num_actions), 1 / game.num_actions)
    with pytest.raises(ValueError, match=message):
        exploitability_bounds(game, table, **{"key": jax.random.key(0), **arguments})


def test_a_wide_bracket_is_called_not_informative():
    paths = np.array([[0.1], [0.3]])
    found = smfg.solvers.ExploitabilityBounds(
        paths, paths + 0.3, paths + 1, paths[0], paths[0], paths[0], 32, 10, False
    )
    assert not found.informative
    assert str(found).startswith("not informative: between 0.2 ")
    assert found.foresight.value == pytest.approx(0.7)
    close = found._replace(upper_by_path=paths + 0.01)
    assert str(close).startswith("0.2 ")


def test_reports_tell_the_bracket(tmp_path):
    """The table, the page and result.json have both bounds, and say where they tell little."""
    game = Macro(**SMALL, horizon=4)
    evaluation = smfg.reports.evaluate(game, smfg.policies.uniform(game), kinds=["non_anticipative"], num_paths=8)
    told = smfg.runs.measures(evaluation)
    low, high = told["bounds"]["interval"]
    assert low <= told["bounds"]["lower"] <= told["bounds"]["upper"] <= high
    assert len(told["bounds"]["loss_over_time"]) == 4
    far = {**told["bounds"], "upper": 3 * told["bounds"]["lower"], "informative": False}
    anchors = {"paper": None, "floor": dict.fromkeys(smfg.reports.KINDS), "uniform": dict.fromkeys(smfg.reports.KINDS)}
    for bounds, says in ((told["bounds"], False), (far, True)):
        shown = io.StringIO()
        Console(file=shown, width=120).print(summary({**told, "bounds": bounds, "anchors": anchors, "solver": "rspg"}))
        assert f"{bounds['lower']:.4g} to {bounds['upper']:.4g}" in shown.getvalue()
        assert ("not informative" in shown.getvalue()) == says
    assert f"{evaluation.bounds.losses.max():.3g}" in losses_text(evaluation.bounds)
    assert len(draw_losses(evaluation.bounds).axes) == 2
