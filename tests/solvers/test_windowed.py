"""RSPG on windows: lambda-returns against loops in NumPy, gradients against surrogates, and where every path stands."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import structmfg as smfg
from structmfg.evaluation._paths import Backward, gradient_along, policy_gradient
from structmfg.policies import critic
from structmfg.solvers import RSPG, WindowedRSPG, preset, rollout, solve
from structmfg.solvers.gradient._windowed import Networks, Scale, _spread

GAMES = {
    "linear_quadratic": {"num_states": 7, "horizon": 6, "first": 2, "last": 3, "push": 2.0},
    "macro": {"num_wealth": 4, "num_income": 2, "num_actions": 3, "horizon": 6, "max_wealth": 5.0},
}
SIZES = {"hidden": 4, "width": 4, "depth": 1, "rank": 2}
HEAT = 0.7
KEY = jax.random.key(3)


@functools.cache
def made(name, **settings):
    game = smfg.games.make(name, **GAMES[name])
    policy = smfg.policies.recurrent(game, **SIZES)
    shared = {"num_paths": 3, "clip": 1e9, "gradient_discount": 0.9, "sampling": "iid"}
    return game, WindowedRSPG(policy, **{**shared, **settings})


def disturbed(tree, size, seed=1):
    """With noise, so that no symmetry of what was initialised hides a fault."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [x + size * rng.normal(size=x.shape) for x in leaves])


@functools.lru_cache
def initial(game, solver):
    return jax.jit(functools.partial(solver.init, game))(KEY)


def started(game, solver):
    """A state with random networks and a random scale; its rows at T stay zero."""
    state = initial(game, solver)
    parameters = Networks(*(disturbed(p, 0.3, seed) for seed, p in enumerate(state.parameters)))
    mean, variance = (disturbed(x, 0.5, 7).at[-1].set(0.0) for x in state.scale)
    return state._replace(parameters=parameters, scale=Scale(mean, jnp.abs(variance)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def look(solver, game, state, temperature):
    weights = jnp.full(solver.num_paths, 1 / solver.num_paths)
    return solver._look(game, state, weights, temperature)


def seen(game, solver, state, temperature=HEAT):
    return look(solver, game, state, jnp.asarray(temperature))


def assert_same(one, other, rtol=1e-9):
    size = float(optax.tree.norm(other))
    assert size > 0
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, one, other))) < rtol * size


def path_of(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@functools.partial(jax.jit, static_argnums=0)
def observed(game, now):
    return game.observe(now), game.kernel(now).as_dense()


@functools.partial(jax.jit, static_argnums=0)
def rewarded(game, now, then):
    return game.reward(now, then)


@jax.jit
def outputs(network, observation, hidden, time):
    hidden = network.update(hidden, observation, time)
    return hidden, network.decode(network.prepare(), hidden)


def window_by_hand(game, solver, state, i, heat):
    """Path i's window in NumPy: observations, gradient in the logits, lambda-returns, mean fields, scale; and V."""
    (aggregate, hidden), memory, noise, *_ = path_of(state.course, i)
    time, steps = int(aggregate.time), solver.window
    policy = solver.policy.with_parameters(state.parameters.policy)
    judge = critic(solver.policy).with_parameters(state.parameters.critic)
    aggregates, observations, kernels, log_policies, relative = [aggregate], [], [], [], []
    for t in range(time, time + steps + 1):
        now = aggregates[-1]
        observation, kernel = observed(game, now)
        memory, values = outputs(judge, observation, memory, jnp.asarray(t))
        relative.append(np.asarray(values))
        observations.append(observation)
        kernels.append(np.asarray(kernel))
        if t < time + steps:
            hidden, logits = outputs(policy, observation, hidden, jnp.asarray(t))
            log_policies.append(np.asarray(logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)))
            mean_field = np.einsum("s,sa,sat->t", np.asarray(now.mean_field), np.exp(log_policies[-1]), kernels[-1])
            following = jax.tree.map(lambda z, t=t: z[t + 1], noise)
            aggregates.append(game.aggregate(mean_field=mean_field, noise=following, time=t + 1))
    size = np.abs(np.asarray(state.scale.mean))
    deviations = np.sqrt(np.asarray(state.scale.variance) + (1e-3 * size) ** 2 + (1e-6 * size.max()) ** 2)
    rows = slice(time, time + steps + 1)
    mean, deviation = np.asarray(state.scale.mean)[rows], deviations[rows]
    values = mean + deviation * np.stack(relative)
    if time + steps == game.horizon:
        values[-1] = 0
    returns, gradient = [values[-1]], []
    for k in reversed(range(steps)):
        now, log_policy = aggregates[k], log_policies[k]
        ahead = (1 - solver.trace) * values[k + 1] + solver.trace * returns[0]
        q = np.asarray(rewarded(game, now, aggregates[k + 1])) + game.discount * kernels[k] @ ahead
        soft = q - heat * log_policy
        returns.insert(0, (np.exp(log_policy) * soft).sum(-1))
        weight = solver.gradient_discount ** (time + k) * np.asarray(now.mean_field)
        gradient.insert(0, weight[:, None] * np.exp(log_policy) * (soft - returns[0][:, None]))
    mean_fields = np.stack([np.asarray(now.mean_field) for now in aggregates])
    return jnp.stack(observations), np.stack(gradient), np.stack(returns[:-1]), mean_fields, mean[:-1], deviation[:-1]


@pytest.mark.parametrize(
    ("name", "window", "trace"),
    [
        ("linear_quadratic", 2, 0.6),
        pytest.param("macro", 2, 0.6, marks=pytest.mark.slow),
        pytest.param("macro", 3, 0.0, marks=pytest.mark.slow),
    ],
)
def test_against_loops(name, window, trace, double):
    """Random critic, paths at several windows: both networks' descents are those of linear and quadratic surrogates.

    In the surrogates all but the network in question is a constant from the loops: aggregates, hidden states at the
    window's start, advantages, targets. So nothing leaks through any of them.
    """
    game, solver = made(name, window=window, trace=trace)
    state = started(game, solver)
    by_hand = [window_by_hand(game, solver, state, i, HEAT) for i in range(3)]
    position, memory, *_ = state.course

    observations, gradients, returns, mean_fields, mean, deviation = map(np.stack, zip(*by_hand, strict=True))
    times = position.aggregate.time

    def outputs_of(network, hidden):
        def along(observations, hidden, time):
            hidden = network.histories(observations[:-1], hidden, time)
            return jax.vmap(functools.partial(network.decode, network.prepare()))(hidden)

        return jax.vmap(along)(observations, hidden, times)

    def linear(parameters):
        return -jnp.sum(gradients * outputs_of(solver.policy.with_parameters(parameters), position.hidden)) / 3

    def quadratic(parameters):
        found = outputs_of(critic(solver.policy).with_parameters(parameters), memory)
        weights = (mean_fields[:, :-1] + 1 / game.num_states) / 2
        return jnp.sum(weights * (found - (returns - mean) / deviation) ** 2) / window / 3

    descent = seen(game, solver, state).descent
    assert_same(descent.policy, jax.jit(jax.grad(linear))(state.parameters.policy))
    assert_same(descent.critic, jax.jit(jax.grad(quadratic))(state.parameters.critic))


@pytest.mark.parametrize("name", ["linear_quadratic"])
def test_the_whole_horizon_is_rspg(name, double):
    """Window T, lambda 1: RSPG's descent and returns on the same noise, whatever the critic says."""
    game, solver = made(name, window=6, trace=1.0)
    state = started(game, solver)
    rspg = RSPG(solver.policy, num_paths=3, gradient_discount=0.9)

    @jax.jit
    def expected(parameters, noise):
        paths = smfg.games.NoisePaths(noise, jnp.full(3, 1 / 3))
        bound = solver.policy.with_parameters(parameters)
        trajectories = jax.vmap(lambda z: rollout(game, bound, z))(noise)
        return rspg._returns_and_descent(game, parameters, trajectories, paths, jnp.asarray(HEAT))

    returns, descent = expected(state.parameters.policy, state.course.noise)
    found = seen(game, solver, state)
    assert_same(found.descent.policy, descent, rtol=1e-12)
    np.testing.assert_allclose(found.course.collected, returns, rtol=1e-12)


@pytest.mark.parametrize("window", [2, 6])
@pytest.mark.parametrize("name", GAMES)
def test_a_critic_without_error_changes_nothing(name, window, double):
    """With the true values for V, at any lambda and window, lambda-returns and gradient are those of the whole path."""
    game, _ = made(name)
    noise = smfg.games.noise_path(game, jnp.full(game.horizon + 1, 0.3))
    logits = jnp.asarray(np.random.default_rng(5).normal(size=(game.horizon, game.num_states, game.num_actions)))
    aggregates = rollout(game, smfg.policies.tabular(game, jax.nn.softmax(logits)), noise).aggregates
    heat, end = jnp.asarray(HEAT), Backward(jnp.zeros(game.num_states), jnp.zeros(()))
    hard, soft, gradient = policy_gradient(game, aggregates, logits, heat)
    values = gradient_along(game, aggregates, logits, heat, end)[2]
    np.testing.assert_allclose(aggregates.mean_field[0] @ values[0], soft, rtol=1e-12)
    true, total = jnp.concatenate([values, jnp.zeros_like(values[:1])]), 0.0
    for t in range(0, game.horizon, window):
        within = jax.tree.map(lambda x, t=t: x[t : t + window + 1], aggregates)
        there = Backward(true[t + window], jnp.zeros(()))
        start, *found = gradient_along(
            game, within, logits[t : t + window], heat, there, critic=true[t + 1 : t + window + 1], gae_lambda=0.3
        )
        np.testing.assert_allclose(found[0], gradient[t : t + window], atol=1e-12 * np.abs(gradient).max())
        np.testing.assert_allclose(found[1], values[t : t + window], rtol=1e-11)
        total += game.discount**t * start.mean_return
    assert float(total) == pytest.approx(float(hard), rel=1e-12)


def test_paths_walk_the_whole_horizon(double):
    """Window by window under one policy: mean field, hidden states and return of the whole path, then anew at t = 0."""
    game, solver = made("macro", window=2, sampling="antithetic", num_paths=4)
    state = initial(game, solver)
    policy = solver.policy.with_parameters(state.parameters.policy)
    times = [state.course.position.aggregate.time.tolist()]
    assert times == [[0, 2, 0, 2]]
    reached = []
    for k in range(3):
        course = seen(game, solver, state).course
        fresh = solver._noise_paths(game, jax.random.fold_in(KEY, k))
        if k == 2:
            reached = course
        state = state._replace(course=solver._begun_anew(game, course, fresh))
        times.append(state.course.position.aggregate.time.tolist())
        np.testing.assert_allclose(state.course.noise[:2], -state.course.noise[2:], atol=1e-12)  # pairs stay pairs
    assert times[1:] == [[2, 4, 2, 4], [4, 0, 4, 0], [0, 2, 0, 2]]
    whole = rollout(game, policy, reached.noise[0])
    np.testing.assert_allclose(reached.position.aggregate.mean_field[0], whole.aggregates.mean_field[-1], rtol=1e-11)
    judge = critic(solver.policy).with_parameters(state.parameters.critic)
    for network, hidden in ((policy, reached.position.hidden), (judge, reached.memory)):
        np.testing.assert_allclose(hidden[0], network.histories(whole.observations)[-1], rtol=1e-9, atol=1e-12)
    values = smfg.solvers.policy_values(game, whole.aggregates, whole.policy)
    assert float(state.course.completed[0]) == pytest.approx(float(whole.aggregates.mean_field[0] @ values[0]))
    assert np.all(np.asarray(state.course.collected)[[0, 2]] == 0)
    np.testing.assert_array_equal(state.course.noise[0], fresh.noise[0])
    start = game.initial_mean_field(fresh.noise[0, 0])
    np.testing.assert_array_equal(state.course.position.aggregate.mean_field[0], start)
    np.testing.assert_array_equal(state.course.position.hidden[0], np.zeros(4))
    second = rollout(game, policy, state.course.noise[1])  # which began anew a window earlier
    found = state.course.position.aggregate.mean_field[1]
    np.testing.assert_allclose(found, second.aggregates.mean_field[2], rtol=1e-11)


def test_what_init_promises(double):
    """Paths in the middle of the horizon stand where a path from t = 0 leads; what they collected is counted."""
    game, solver = made(
        "linear_quadratic", window=2, sampling=None, num_paths=2, temperature=0.5, final_temperature=0.1
    )
    state = initial(game, solver)
    assert state.course.position.aggregate.time.tolist() == [0, 2]
    policy = solver.policy.with_parameters(state.parameters.policy)
    whole = rollout(game, policy, state.course.noise[1])
    np.testing.assert_allclose(state.course.position.aggregate.mean_field[1], whole.aggregates.mean_field[2])
    np.testing.assert_allclose(state.course.position.hidden[1], policy.histories(whole.observations)[1])
    steps = [jax.tree.map(lambda x, t=t: x[t], whole.aggregates) for t in range(3)]
    rewards = [
        float(steps[t].mean_field @ (whole.policy[t] * game.reward(steps[t], steps[t + 1])).sum(-1)) for t in (0, 1)
    ]
    expected = rewards[0] + game.discount * rewards[1]
    np.testing.assert_allclose(state.course.collected, [0, expected], atol=1e-9 * abs(expected))
    assert np.all(np.asarray(state.scale.mean[-1]) == 0)
    _, soft, _ = policy_gradient(game, whole.aggregates, jnp.log(whole.policy), jnp.asarray(0.5))
    other = rollout(game, policy, state.course.noise[0])
    _, soft_other, _ = policy_gradient(game, other.aggregates, jnp.log(other.policy), jnp.asarray(0.5))
    start = whole.aggregates.mean_field[0]
    np.testing.assert_allclose(start @ state.scale.mean[0], (soft + soft_other) / 2, rtol=1e-10)


def test_scale_follows_the_returns(double):
    """Means move by `scale_rate` towards what is seen at the times visited, and stay where nothing is."""
    _, solver = made("macro", window=2, num_paths=2, scale_rate=0.25)
    scale = Scale(jnp.ones((7, 8)), jnp.full((7, 8), 4.0))
    returns = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 8)))
    tracked = solver._tracked(scale, jnp.array([0, 0]), returns, jnp.array([0.3, 0.7]))
    mean = 0.3 * returns[0] + 0.7 * returns[1]
    np.testing.assert_allclose(tracked.mean[:2], 0.75 + 0.25 * mean)
    spread = 0.3 * (returns[0] - 1) ** 2 + 0.7 * (returns[1] - 1) ** 2
    np.testing.assert_allclose(tracked.variance[:2], 3 + 0.25 * spread)
    np.testing.assert_array_equal(tracked.mean[2:], 1.0)
    apart = solver._tracked(scale, jnp.array([0, 4]), returns, jnp.array([0.3, 0.7]))
    np.testing.assert_allclose(apart.mean[4:6], 0.75 + 0.25 * returns[1])
    np.testing.assert_array_equal(apart.variance[2:4], 4.0)


@pytest.mark.parametrize(
    ("num_paths", "windows", "pairs", "expected"),
    [(4, 8, False, [0, 2, 4, 6]), (4, 8, True, [0, 4, 0, 4]), (2, 8, True, [0, 0]), (5, 2, False, [0, 0, 0, 1, 1])],
)
def test_spread(num_paths, windows, pairs, expected):
    assert _spread(num_paths, windows, pairs).tolist() == expected


def test_update_moves_both_networks(double):
    """Down each descent by Adam's first step, with its own rate; the mean return is that of whole paths."""
    game, solver = made("linear_quadratic", window=3, learning_rate=1e-2, critic_rate=1e-3)
    state = started(game, solver)
    following, metrics = jax.jit(functools.partial(solver.step, game, max_steps=10))(state)
    descent = seen(game, solver, state, 0.0).descent
    assert float(metrics.gradient_norm) == pytest.approx(float(optax.tree.norm(descent)))
    for rate, new, old, down in zip((1e-2, 1e-3), following.parameters, state.parameters, descent, strict=True):
        for change, slope in zip(
            jax.tree.leaves(jax.tree.map(jnp.subtract, new, old)), jax.tree.leaves(down), strict=True
        ):
            plain = np.abs(slope) > 1e-5
            np.testing.assert_allclose(change[plain], (-rate * np.sign(slope))[plain], rtol=2e-3)
    assert int(following.step) == 1
    np.testing.assert_allclose(metrics.mean_return, jnp.mean(following.course.completed))


def test_default_window_divides_the_horizon():
    """The largest divisor of at most 32."""
    for horizon, expected in ((128, 32), (30, 30), (66, 22), (37, 1), (4, 4)):
        game = smfg.games.make("linear_quadratic", num_states=5, horizon=horizon)
        assert WindowedRSPG(smfg.policies.recurrent(game))._steps(game) == expected


@pytest.mark.parametrize("game", [*GAMES, "beach_bar"])
def test_preset(game):
    chosen, steps = preset(smfg.games.make(game), "rspg_gae")
    assert isinstance(chosen, WindowedRSPG)
    assert steps > 0
    assert chosen.temperature > 0


POLICY = smfg.policies.recurrent(smfg.games.make("linear_quadratic", num_states=5, horizon=12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: WindowedRSPG(POLICY, window=5), "must divide the horizon, so be one of 1, 2, 3, 4, 6, 12, but is 5"),
        (lambda: WindowedRSPG(POLICY, window=24), "so be one of 1, 2, 3, 4, 6, 12, but is 24"),
        (lambda: WindowedRSPG(POLICY, window=0), "window must be a whole number of at least 1, but is 0"),
        (lambda: WindowedRSPG(POLICY, trace=1.5), r"trace must lie in \[0, 1\]"),
        (lambda: WindowedRSPG(POLICY, critic_rate=0.0), "critic_rate must be finite and above 0"),
        (lambda: WindowedRSPG(POLICY, scale_rate=0.0), r"scale_rate must lie in \(0, 1\]"),
        (lambda: WindowedRSPG(POLICY, learning_rate=-1.0), "learning_rate must be finite and above 0"),
        (
            lambda: WindowedRSPG(smfg.policies.memoryless(POLICY.game)),
            "WindowedRSPG trains a recurrent policy, but was given a memoryless one",
        ),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_learns_linear_quadratic():
    """A short run on windows cuts exploitability to less than a fifth of the uniform policy's."""
    game = smfg.games.make("linear_quadratic", num_states=21, horizon=15, first=4, last=9, push=4.0)
    chosen = preset(game, "rspg_gae", window=5, max_steps=800, hidden=16, width=16, rank=8)
    solution = solve(game, chosen.solver, key=KEY, max_steps=chosen.max_steps)
    before, after = (
        smfg.solvers.exploitability(game, policy).value for policy in (smfg.policies.uniform(game), solution.policy)
    )
    assert after < before / 5
