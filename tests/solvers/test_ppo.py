"""Proximal policy optimisation: every part against plain NumPy, and games whose solutions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin
from helpers.tiny_solvers import SIZES, tiny_solver

import structmfg as smfg
from structmfg.games import PopulationGame
from structmfg.solvers import IPPO, RIPPO, preset, solve
from structmfg.solvers._learning import bind
from structmfg.solvers.sampled import _experience, _ppo

GAME = Coin()
KEY = jax.random.key(0)


def solver(kind=RIPPO, **settings):
    return tiny_solver(kind, GAME, **settings)


def experience(chosen, state, key):
    return jax.jit(chosen._experience, static_argnums=0)(GAME, state, key)


def along(network, hidden, observed):
    return jax.jit(lambda parameters: _ppo.decode_rollout(network.with_parameters(parameters), hidden, observed))(
        network.parameters
    )


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_advantages_against_a_loop(precision):
    """Two populations that reach the horizon at different steps, the second at the very last one."""
    rng = np.random.default_rng(0)
    rewards, values, last = (rng.normal(size=shape) for shape in ((6, 2, 3), (6, 2, 3), (2, 3)))
    done = np.zeros((6, 2), bool)
    done[2, 0] = done[1, 1] = done[5, 1] = True
    discount, weight = 0.9, 0.8
    expected = np.zeros_like(rewards)
    for population in range(2):
        for start in range(6):
            factor = 1.0
            for t in range(start, 6):
                following = last[population] if t == 5 else values[t + 1, population]
                ends = done[t, population]
                error = rewards[t, population] + (0 if ends else discount * following) - values[t, population]
                expected[start, population] += factor * error
                if ends:
                    break
                factor *= discount * weight
    arrays = [jnp.asarray(x, float) for x in (rewards, values)]
    given = _ppo.generalised_advantages(*arrays, jnp.asarray(done), jnp.asarray(last, float), discount, weight)
    assert given.dtype == precision
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def test_clipped_gains():
    """No gain, and no gradient, from going further once the ratio has left the interval in the right direction."""
    cases = [(1.1, 2.0), (1.5, 2.0), (0.5, 2.0), (1.5, -2.0), (0.5, -2.0), (0.9, -2.0)]
    ratios, advantages = jnp.array(cases).T
    np.testing.assert_allclose(_ppo.clipped_gains(ratios, advantages, 0.2), [2.2, 2.4, 1.0, -3.0, -1.6, -1.8])
    slopes = jax.grad(lambda x: jnp.sum(_ppo.clipped_gains(x, advantages, 0.2)))(ratios)
    np.testing.assert_allclose(slopes, [2, 0, 2, -2, 0, -2])


@pytest.fixture(scope="module", params=[pytest.param(IPPO, marks=pytest.mark.slow), RIPPO])
def second_rollout(request):
    """Of populations of horizon 3 in rollouts of 8, so that it begins at t = 2, and the state before it."""
    chosen = solver(request.param)
    state = chosen.init(GAME, KEY)
    state, _ = jax.jit(chosen.step, static_argnums=(0, 2))(GAME, state, 5)
    return chosen, state, experience(chosen, state, jax.random.key(7))


def test_histories_are_those_of_the_rollout(second_rollout):
    """Computed anew they give the unchanged policy the ratio one; a life that begins here forgets the last one."""
    chosen, state, (populations, hidden, _, batch) = second_rollout
    assert np.ravel(batch.observed.time[:, 0]).tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    policy = chosen.policy_at(GAME, state)
    logits = along(policy, state.hidden.policy, batch.observed)
    last = _experience.hidden_states(policy, state.hidden.policy, batch.observed)[1]
    ratios = jnp.exp(_experience.log_probability(logits, batch.actions) - batch.log_probabilities)
    np.testing.assert_allclose(ratios, 1, rtol=1e-5)
    np.testing.assert_allclose(last, hidden.policy, rtol=1e-5, atol=1e-6)
    alone = policy.unroll(batch.observed.observation[4:7, 1])[jnp.arange(3)[:, None], batch.observed.states[4:7, 1]]
    np.testing.assert_allclose(logits[4:7, 1], alone, rtol=1e-4, atol=1e-5)
    assert populations.aggregate.time.tolist() == [1, 1]


def test_memory_is_carried_into_the_rollout(second_rollout):
    """The first step of the second rollout remembers t = 0 and 1, where there is a memory."""
    chosen, state, (_, _, _, batch) = second_rollout
    policy = chosen.policy_at(GAME, state)
    fresh = jax.tree.map(jnp.zeros_like, state.hidden.policy)
    logits = along(policy, fresh, batch.observed)
    new = _experience.log_probability(logits, batch.actions)
    same = jnp.abs(new - batch.log_probabilities).max(axis=(1, 2)) < 1e-6
    assert same.tolist() == [chosen.recurrent is False, *[True] * 7]


def test_values_end_with_the_horizon(second_rollout):
    """At T - 1 the critic is to learn the scaled reward itself."""
    chosen, state, (_, _, _, batch) = second_rollout
    played = PopulationGame(GAME, chosen.num_agents)
    ending = np.asarray(batch.observed.time == GAME.horizon - 1)
    values, populations = bind(chosen.policy, state.parameters)[1], state.populations
    choose = lambda memory, observed, key: (memory + 1, batch.actions[memory], None)  # noqa: E731
    _, _, steps, _ = _experience.play(
        played, populations, 0, choose, lambda *_: None, jax.random.key(7), chosen.rollout
    )
    np.testing.assert_array_equal(steps.observed.states, batch.observed.states)  # the same keys, the same moves
    np.testing.assert_allclose(batch.values[ending], (steps.rewards / state.scale)[ending], rtol=1e-5, atol=1e-6)
    estimates = along(values, state.hidden.critic, batch.observed)
    np.testing.assert_allclose(batch.values - batch.advantages, estimates, rtol=1e-4, atol=1e-5)


def test_loss_against_numpy(second_rollout):
    chosen, state, (_, _, _, batch) = second_rollout
    moved = jax.tree.map(lambda x: 1.1 * x + 0.05, state.parameters)
    policy, values = bind(chosen.policy, moved)
    logits = np.asarray(along(policy, state.hidden.policy, batch.observed))
    estimates = np.asarray(along(values, state.hidden.critic, batch.observed))
    chances = softmax(logits.astype(float))
    taken = np.take_along_axis(chances, np.asarray(batch.actions)[..., None], -1)[..., 0]
    ratios = taken / np.exp(np.asarray(batch.log_probabilities))
    advantages = np.asarray(batch.advantages)
    advantages = (advantages - advantages.mean()) / advantages.std()
    gains = np.where(advantages > 0, np.minimum(ratios, 1.2), np.maximum(ratios, 0.8)) * advantages
    entropy = -(chances * np.log(chances)).sum(-1).mean()
    error = ((estimates - np.asarray(batch.values)) ** 2).mean()
    expected = 0.5 * error - gains.mean() - 0.01 * entropy
    assert float(jax.jit(chosen._loss)(moved, state.hidden, batch)) == pytest.approx(expected, rel=1e-4)


def test_descent_goes_the_right_way(second_rollout):
    """A small step makes actions of large advantage likelier, and the critic better."""
    chosen, state, (_, _, _, batch) = second_rollout
    policy, values = bind(chosen.policy, state.parameters)
    gradient = jax.jit(jax.grad(chosen._loss))(state.parameters, state.hidden, batch)
    after = bind(chosen.policy, jax.tree.map(lambda x, g: x - 1e-2 * g, state.parameters, gradient))

    def measures(policy, values):
        logits = along(policy, state.hidden.policy, batch.observed)
        estimates = along(values, state.hidden.critic, batch.observed)
        advantages = batch.advantages - batch.advantages.mean()
        gain = jnp.mean(_experience.log_probability(logits, batch.actions) * advantages)
        return float(gain), float(jnp.mean((estimates - batch.values) ** 2))

    (gain, error), (gain_after, error_after) = measures(policy, values), measures(*after)
    assert gain_after > gain
    assert error_after < error


def test_rows_of_whole_tables_and_alone(monkeypatch, precision):
    """Both ways agree, for the policy and for the critic, with ordered heads as well."""

    def decoded(decode, bound, hidden, states):
        """By a program of its own, as a function that is new."""
        return jax.jit(lambda p, h, s: decode(bound.with_parameters(p), bound.with_parameters(p).prepare(), h, s))(
            bound.parameters, hidden, states
        )

    game = smfg.games.make("macro", num_wealth=6, num_income=2, num_actions=4)
    for network in (smfg.policies.recurrent(game, head="ordered", **SIZES), smfg.policies.memoryless(game, **SIZES)):
        for bound in (network.initialised(KEY), smfg.policies.critic(network).initialised(KEY)):
            hidden = jax.random.normal(KEY, (2, 3, 4))
            states = jax.random.randint(KEY, (2, 3, 5), 0, game.num_states)
            found = []
            for whole in (0, 10**6):
                monkeypatch.setattr(_experience, "_MAX_TABLE_PAIRS_PER_AGENT", whole)
                found.append(decoded(lambda *given: _experience.decode_states(*given), bound, hidden, states))
            np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
            one = decoded(lambda bound, prepared, h, s: bound.decode(prepared, h)[s], bound, hidden[1, 2], states[1, 2])
            np.testing.assert_allclose(found[0][1, 2], one, rtol=1e-5, atol=1e-6)


def test_sampled_actions_have_the_right_frequencies():
    logits = jnp.array([0.3, -1.0, 2.0, -200.0])
    drawn = _experience.sample_actions(jnp.broadcast_to(logits, (40_000, 4)), KEY)
    shares = np.bincount(drawn, minlength=4) / 40_000
    np.testing.assert_allclose(shares, softmax(np.asarray(logits)), atol=0.01)
    assert shares[3] == 0


def test_scale_and_rewards_by_time(precision):
    """The root mean square of returns to go; mean rewards at every t, kept where it is not met again."""
    rewards = np.random.default_rng(1).normal(size=(4, 2, 3))
    to_go = np.zeros((5, 2, 3))
    for t in range(3, -1, -1):
        to_go[t] = rewards[t] + 0.9 * to_go[t + 1]
    scale = _experience.scale_of_returns(jnp.asarray(rewards, float), 0.9)
    assert float(scale) == pytest.approx(np.sqrt((to_go[:4] ** 2).mean()), rel=1e-5)
    assert float(_experience.scale_of_returns(jnp.zeros((4, 2, 3)), 0.9)) == 1
    observed = smfg.games.Observation(
        jnp.zeros((4, 2, 3), int), jnp.zeros((4, 2, 1)), jnp.array([[2, 2], [0, 0], [1, 1], [2, 2]])
    )
    steps = _experience.Transitions(
        observed, observed.states, jnp.asarray(rewards, float), observed, jnp.zeros((4, 2), bool)
    )
    latest = _experience.latest_rewards(jnp.arange(10.0, 14.0), steps)
    means = rewards.mean(axis=(1, 2))
    np.testing.assert_allclose(latest, [means[1], means[2], (means[0] + means[3]) / 2, 13.0], rtol=1e-5)
    game = Coin(horizon=4)
    assert float(_experience.mean_return(game, latest)) == pytest.approx(float(latest @ 0.9 ** np.arange(4)), rel=1e-5)


def test_populations_and_agents_are_met_in_equal_measure():
    """Every agent is in exactly one minibatch of an epoch: with no learning rate to speak of, gradients average."""
    chosen = solver(num_epochs=2, entropy=0.0)
    state = chosen.init(GAME, KEY)
    seen = []

    class Watched(RIPPO):
        def _loss(self, parameters, hidden, batch):
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), batch.log_probabilities, ordered=True)
            return super()._loss(parameters, hidden, batch)

    watched = tiny_solver(Watched, GAME, num_epochs=2)
    jax.block_until_ready(jax.jit(watched.step, static_argnums=(0, 2))(GAME, state, 5))
    jax.effects_barrier()
    assert [x.shape for x in seen] == [(8, 2, 2)] * 6
    play_key = jax.random.split(state.key, 4)[1]
    acted = experience(watched, state, play_key)[3].log_probabilities
    for epoch in (seen[:3], seen[3:]):
        together = np.concatenate(epoch, axis=2)
        np.testing.assert_allclose(np.sort(together, axis=2), np.sort(acted, axis=2), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: IPPO(smfg.policies.recurrent(GAME)), "IPPO trains a memoryless policy"),
        (lambda: RIPPO(smfg.policies.memoryless(GAME)), "RIPPO trains a recurrent policy"),
        (lambda: solver(num_agents=0), "num_agents must be a whole number of at least 1"),
        (lambda: solver(rollout=2.0), "rollout must be a whole number"),
        (lambda: solver(num_minibatches=4), "num_minibatches must divide num_agents, but 6 agents"),
        (lambda: solver(gae_lambda=1.1), r"gae_lambda must lie in \[0, 1\]"),
        (lambda: solver(clip_ratio=0.0), "clip_ratio must be finite and above 0"),
        (lambda: solver(entropy=-1.0), "entropy must lie in"),
        (lambda: solver(value_weight=0.0), "value_weight must lie in"),
        (lambda: solver(learning_rate=0.0), "learning_rate must be finite"),
        (lambda: solver(clip=0.0), "clip must be finite"),
        (lambda: solve(GAME, solver(), max_steps=3), "needs a key"),
        (lambda: preset(GAME, "ippo", "paper"), "is for rspg and spg"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
