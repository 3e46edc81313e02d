"""Deep Munchausen online mirror descent: every part against plain NumPy, and games whose solutions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin
from helpers.tiny_solvers import tiny_solver

import structmfg as smfg
from structmfg.games import Observation
from structmfg.solvers import MunchausenOMD, preset
from structmfg.solvers._learning import bind
from structmfg.solvers.sampled._experience import Transitions
from structmfg.solvers.sampled._munchausen_dqn import explore
from structmfg.solvers.sampled._replay import add_to_replay, empty_replay, sample_replay

GAME = Coin()
KEY = jax.random.key(0)


def solver(**settings):
    return tiny_solver(MunchausenOMD, GAME, **settings)


def numbered(first, number, populations=2, agents=3):
    """Steps whose every entry tells step, population and agent: 100 step + 10 population + agent."""
    moment = 100 * (first + jnp.arange(number))[:, None] + 10 * jnp.arange(populations)
    each = moment[..., None] + jnp.arange(agents)
    observed = Observation(each, moment[..., None] * 1.0, moment)
    following = Observation(each + 5, moment[..., None] + 0.5, moment + 5)
    return Transitions(observed, each, each * 1.0, following, moment % 200 >= 100)


def put(replay, steps):
    return jax.jit(add_to_replay)(replay, steps)


def test_replay_wraps_around():
    """The latest five steps, whatever the size of what is put in."""
    replay = empty_replay(numbered(0, 1), 5)
    first = 0
    for more in (2, 3, 4, 1, 5, 2):
        replay = put(replay, numbered(first, more))
        first += more
        held = sorted(np.asarray(replay.ring.observed.time[:, 0]).tolist())
        latest = [100 * step for step in range(max(0, first - 5), first)]
        assert held == sorted([*latest, *[0] * (5 - len(latest))])  # empty places are zero
        assert int(replay.total) == first
    in_ring = np.asarray(replay.ring.observed.time[:, 0]) // 100
    again = numbered(0, first)
    jax.tree.map(lambda x, all_: np.testing.assert_array_equal(x, np.asarray(all_)[in_ring]), replay.ring, again)


def test_draws_are_whole_and_uniform():
    """Every part of a transition is of one agent at one step, among those held, and all are drawn alike."""
    replay = put(empty_replay(numbered(0, 1), 5), numbered(0, 3))  # two places are still empty
    drawn = jax.jit(sample_replay, static_argnums=(2, 3))(replay, KEY, 3000, 6)
    states = np.asarray(drawn.observed.states)
    assert states.shape == (3000, 6)
    moment = states // 10 * 10
    np.testing.assert_array_equal(drawn.actions, states)
    np.testing.assert_array_equal(drawn.rewards, states)
    np.testing.assert_array_equal(drawn.next_observed.states, states + 5)
    np.testing.assert_array_equal(drawn.observed.observation, moment[:, :1])
    np.testing.assert_array_equal(drawn.next_observed.observation, moment[:, :1] + 0.5)
    np.testing.assert_array_equal(drawn.observed.time, moment[:, 0])
    np.testing.assert_array_equal(drawn.done, moment[:, 0] % 200 >= 100)
    assert (moment == moment[:, :1]).all()
    values, counts = np.unique(states, return_counts=True)
    assert values.tolist() == [100 * i + 10 * j + k for i in range(3) for j in range(2) for k in range(3)]
    np.testing.assert_allclose(counts / states.size, 1 / 18, atol=0.01)


def transitions(rng):
    observed, following = (
        Observation(jnp.asarray(rng.integers(0, 2, (5, 3))), jnp.asarray(rng.normal(size=(5, 2)), float), jnp.arange(5))
        for _ in range(2)
    )
    actions, rewards = jnp.asarray(rng.integers(0, 2, (5, 3))), jnp.asarray(rng.normal(size=(5, 3)), float)
    return Transitions(observed, actions, rewards, following, jnp.array([False, True, False, True, False]))


def q_values(chosen, parameters, observed, temperature):
    """Q (5, 3, A) of some agents, from the tables of policy and values."""

    @jax.jit
    def tables(parameters, observation):
        return [
            table.decode(table.prepare(), table.update(table.start(), observation, jnp.asarray(0)))
            for table in bind(chosen.policy, parameters)
        ]

    found = []
    for states, observation in zip(observed.states, observed.observation, strict=True):
        logits, value = map(np.asarray, tables(parameters, observation))
        logits = logits[states]
        found.append(value[states][:, None] + temperature * (logits - np.log(np.exp(logits).sum(-1, keepdims=True))))
    return np.stack(found)


def test_target_and_loss_against_numpy(precision):
    """The formula of the module, summed over actions; nothing is expected after the horizon."""
    chosen, rng = solver(alpha=0.7), np.random.default_rng(0)
    init = jax.jit(lambda key: chosen.init(GAME, key).parameters)
    target, parameters = init(jax.random.key(1)), init(jax.random.key(2))
    batch, temperature, discount = transitions(rng), 0.3, 0.9
    at, after = (q_values(chosen, target, x, temperature) for x in (batch.observed, batch.next_observed))
    taken = np.asarray(batch.actions)[..., None]

    def log_policy(q):
        return q / temperature - np.log(np.exp(q / temperature).sum(-1, keepdims=True))

    following = (np.exp(log_policy(after)) * (after - temperature * log_policy(after))).sum(-1)
    goes_on = 1 - np.asarray(batch.done, float)[:, None]
    munchausen = 0.7 * temperature * np.take_along_axis(log_policy(at), taken, -1)[..., 0]
    expected = np.asarray(batch.rewards) + munchausen + discount * goes_on * following
    given = jax.jit(lambda *given: chosen._q_targets(*given, discount))(target, batch, temperature)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    q = np.take_along_axis(q_values(chosen, parameters, batch.observed, temperature), taken, -1)[..., 0]
    loss = jax.jit(lambda *given: chosen._loss(*given))(parameters, batch, given, temperature)
    assert float(loss) == pytest.approx(((q - expected) ** 2).mean(), rel=1e-4)


class Watched(MunchausenOMD):
    """Tells of the parameters from which targets and losses are computed, and of the actions' logits."""

    def _q_targets(self, target, batch, temperature, discount):
        jax.debug.callback(seen["target"].append, target, ordered=True)
        jax.debug.callback(seen["rewards"].append, batch.rewards, ordered=True)
        return super()._q_targets(target, batch, temperature, discount)

    def _loss(self, parameters, batch, q_targets, temperature):
        jax.debug.callback(seen["parameters"].append, parameters, ordered=True)
        return super()._loss(parameters, batch, q_targets, temperature)


seen: dict[str, list] = {"target": [], "parameters": [], "rewards": []}


def test_target_is_held_for_an_iteration():
    """All gradient steps regress on the network that the iteration began with; the first loss is that network's."""
    chosen = tiny_solver(Watched, GAME)
    state = chosen.init(GAME, KEY)
    update = jax.jit(chosen.step, static_argnums=(0, 2))
    for _ in range(2):
        for told in seen.values():
            told.clear()
        before, (state, metrics) = state, update(GAME, state, 5)
        jax.effects_barrier()
        assert [len(told) for told in seen.values()] == [3, 3, 3]
        for held in seen["target"]:
            jax.tree.map(np.testing.assert_array_equal, held, before.parameters)
        jax.tree.map(np.testing.assert_array_equal, seen["parameters"][0], before.parameters)
        changes = [jax.tree.map(lambda x, y: np.abs(x - y).max(), p, before.parameters) for p in seen["parameters"][1:]]
        assert all(max(jax.tree.leaves(change)) > 0 for change in changes)
        assert float(metrics.gradient_norm) > 0
    assert int(state.step) == 2


def test_exploration():
    """Linear from 1 to 0.1 over the first half, then constant; a share of actions is uniform, the rest the policy's."""
    chosen = solver(final_exploration=0.1, exploring=0.5)
    given = [float(chosen._exploration(jnp.asarray(step), 100)) for step in (0, 25, 50, 100)]
    np.testing.assert_allclose(given, [1, 0.55, 0.1, 0.1], rtol=1e-6)
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.7, 0.2, 0.1])), (30_000, 3))
    observed = Observation(jnp.zeros(30_000, int), jnp.zeros(1), jnp.zeros((), int))
    for share in (0.0, 0.5, 1.0):
        drawn = explore(logits, observed, jnp.asarray(share), KEY)
        expected = share / 3 + (1 - share) * np.array([0.7, 0.2, 0.1])
        np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 30_000, expected, atol=0.012)


def test_a_game_without_settings_of_its_own_has_some():
    chosen = preset(smfg.games.make("left_right"), "m_omd")
    assert (chosen.max_steps, chosen.solver.tau, chosen.solver.num_gradients) == (200, 1.0, 50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MunchausenOMD(smfg.policies.recurrent(GAME)), "trains a memoryless policy"),
        (lambda: MunchausenOMD(smfg.policies.memoryless(GAME, head="ordered")), "needs the categorical head"),
        (lambda: preset(smfg.games.make("macro"), "m_omd", head="ordered"), "needs the categorical head"),
        (lambda: solver(num_agents=0), "num_agents must be a whole number of at least 1"),
        (lambda: solver(batch_size=8.0), "batch_size must be a whole number"),
        (lambda: solver(agents_per_observation=3), "agents_per_observation must divide batch_size = 8, but is 3"),
        (lambda: solver(together=2), "together of MunchausenOMD is now called agents_per_observation"),
        (lambda: solver(replay_size=35), "replay_size must be at least 36"),
        (lambda: solver(tau=0.0), "tau must be finite and above 0"),
        (lambda: solver(alpha=1.5), r"alpha must lie in \[0, 1\]"),
        (lambda: solver(exploration=1.5), "exploration must lie in"),
        (lambda: solver(exploration=0.05), "final_exploration must lie in"),
        (lambda: solver(exploring=0.0), "exploring must lie in"),
        (lambda: solver(learning_rate=-1.0), "learning_rate must be finite"),
        (lambda: solver(clip=0.0), "clip must be finite"),
        (lambda: preset(GAME, "m_omd", "paper"), "is for rspg and spg"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
