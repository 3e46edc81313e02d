"""Policy evaluation and its gradient: Horner's rule, the policy gradient theorem, and the mean field held fixed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.kernels import crossed

import structmfg as smfg
from structmfg.evaluation import Backward, gradient_along
from structmfg.solvers import RSPG, SPG, policy_gradient, policy_values, rollout
from structmfg.solvers.gradient import _structural

GAMES = {
    "linear_quadratic": {"num_states": 9, "horizon": 5, "first": 2, "last": 2, "push": 4.0},
    "beach_bar": {"num_states": 7, "max_action": 1, "horizon": 4},
    "macro": {"num_wealth": 5, "num_income": 2, "num_actions": 3, "horizon": 4, "max_wealth": 10.0},
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def uniform_path(game):
    """The mean field of the uniform policy along one noise path; computed once in either precision."""
    return _uniform_path(game, jnp.result_type(float))


@functools.cache
def _uniform_path(game, dtype):
    policy = smfg.policies.uniform(game)

    @jax.jit
    def path(uniforms):
        return rollout(game, policy, smfg.games.noise_path(game, uniforms)).aggregates

    return path(jnp.full(game.horizon + 1, 0.3, dtype))


def logits_of(game):
    raw = np.random.default_rng(5).normal(size=(game.horizon, game.num_states, game.num_actions))
    return jnp.asarray(raw, float)


@pytest.fixture(params=GAMES)
def game(request):
    return smfg.games.make(request.param, **GAMES[request.param])


FORMS = ("matrix_free", "explicit")


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def step_of(aggregates, t):
    return (jax.tree.map(lambda x, i=i: x[i], aggregates) for i in (t, t + 1))


@pytest.mark.parametrize(("form", "precision"), crossed(FORMS), indirect=True)
def test_values_are_sums_of_products(game, form, precision):
    """v_t = sum_k gamma^k A_t ... A_{t+k-1} r_{t+k}, with dense A."""
    aggregates, policy = uniform_path(game), np.asarray(jax.nn.softmax(logits_of(game)))
    now, then = (jax.tree.map(lambda x, part=part: x[part], aggregates) for part in (slice(-1), slice(1, None)))
    kernels = jax.jit(jax.vmap(lambda now: game.kernel(now).as_dense()))(now)
    matrices = np.einsum("nsa,nsat->nst", policy, kernels)
    rewards = (policy * np.asarray(jax.jit(jax.vmap(game.reward))(now, then))).sum(-1)
    values = jax.jit(lambda *given: policy_values(game, *given, form=form))(aggregates, jnp.asarray(policy))
    assert values.shape == (game.horizon + 1, game.num_states)
    for t in range(game.horizon + 1):
        expected, product = np.zeros(game.num_states), np.eye(game.num_states)
        for k in range(t, game.horizon):
            expected += game.discount ** (k - t) * product @ rewards[k]
            product = product @ matrices[k]
        bound = TOLERANCE[precision] * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(values[t], expected, atol=bound, rtol=0)


def soft_return(game, form, aggregates, temperature, logits):
    """mu_0 . v_0 with the reward r - temperature log pi, by Horner's rule, to be differentiated as it stands."""

    def step(values, inputs):
        now, then, log_policy = inputs
        probabilities = jnp.exp(log_policy)
        operator = game.kernel(now).under(probabilities)
        operator = operator.explicit() if form == "explicit" else operator
        gains = game.reward(now, then) - temperature * log_policy
        return (probabilities * gains).sum(-1) + game.discount * operator.mv(values), None

    now, then = jax.tree.map(lambda x: x[:-1], aggregates), jax.tree.map(lambda x: x[1:], aggregates)
    inputs = (now, then, jax.nn.log_softmax(logits))
    return aggregates.mean_field[0] @ jax.lax.scan(step, jnp.zeros(game.num_states), inputs, reverse=True)[0]


def test_policy_gradient(game, form, double):
    """Along the path of the policy itself: the closed form, autodiff of Horner's rule, and finite differences agree."""
    logits = logits_of(game)
    noise = smfg.games.noise_path(game, jnp.full(game.horizon + 1, 0.3))
    aggregates = rollout(game, smfg.policies.tabular(game, jax.nn.softmax(logits)), noise).aggregates

    @jax.jit
    def closed(temperature, logits):
        return policy_gradient(game, aggregates, logits, temperature, form=form)

    soft_of = jax.jit(jax.value_and_grad(functools.partial(soft_return, game, form, aggregates), argnums=1))
    values = policy_values(game, aggregates, jax.nn.softmax(logits), form=form)
    direction = jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)
    for temperature in (jnp.asarray(0.0), jnp.asarray(0.7)):
        hard, soft, gradient = closed(temperature, logits)
        expected_soft, expected_gradient = soft_of(temperature, logits)
        np.testing.assert_allclose(hard, aggregates.mean_field[0] @ values[0], rtol=1e-12)
        np.testing.assert_allclose(soft, expected_soft, rtol=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12 * np.abs(expected_gradient).max())
        ahead, behind = (soft_of(temperature, logits + h * direction)[0] for h in (1e-5, -1e-5))
        np.testing.assert_allclose(jnp.vdot(gradient, direction), (ahead - behind) / 2e-5, rtol=1e-6)


def test_gradient_discount_weighs_the_steps(game, double):
    """`discount` replaces gamma in the weight of a step, and leaves the returns as they are."""
    logits, aggregates = logits_of(game), uniform_path(game)
    exact = policy_gradient(game, aggregates, logits, jnp.asarray(0.7))
    even = policy_gradient(game, aggregates, logits, jnp.asarray(0.7), discount=1.0)
    weights = game.discount ** np.arange(game.horizon)
    np.testing.assert_array_equal(exact[:2], even[:2])
    np.testing.assert_allclose(exact[2], weights[:, None, None] * even[2], rtol=1e-12, atol=1e-14)


def test_exponent_of_the_policy_in_the_gradient(game, double):
    """At 1 the gradient; elsewhere what the formula says, by NumPy."""
    logits, aggregates = logits_of(game), uniform_path(game)
    end = Backward(jnp.zeros(game.num_states), jnp.zeros(()))
    temperature = jnp.asarray(0.7)
    _, gradient, _ = gradient_along(game, aggregates, logits, temperature, end)
    at = {p: gradient_along(game, aggregates, logits, temperature, end, exponent=p)[1] for p in (0.0, 0.5, 1.0)}
    np.testing.assert_allclose(at[1.0], gradient, rtol=1e-10, atol=1e-13)
    mass = game.discount ** np.arange(game.horizon)[:, None, None] * np.asarray(aggregates.mean_field)[:-1, :, None]
    policy = np.asarray(jax.nn.softmax(logits))
    advantages = np.divide(gradient, mass * policy, out=np.zeros_like(policy), where=mass > 1e-9)
    for p, found in at.items():
        plain = policy**p * advantages
        expected = mass * (plain - policy * plain.sum(-1, keepdims=True))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_entropy_is_accounted_for(game, double):
    """The soft return exceeds the return by temperature times the discounted entropy of the population's choices."""
    logits = logits_of(game)
    log_policy = jax.nn.log_softmax(logits)
    noise = smfg.games.noise_path(game, jnp.full(game.horizon + 1, 0.3))
    aggregates = rollout(game, smfg.policies.tabular(game, jnp.exp(log_policy)), noise).aggregates
    hard, soft, _ = policy_gradient(game, aggregates, log_policy, jnp.asarray(0.4))
    entropy = sum(
        game.discount**t * float(aggregates.mean_field[t] @ -(jnp.exp(log_policy[t]) * log_policy[t]).sum(-1))
        for t in range(game.horizon)
    )
    assert float(soft - hard) == pytest.approx(0.4 * entropy, rel=1e-12)
    assert entropy > 0.1


@functools.cache
def small_solver(form="matrix_free"):
    game = smfg.games.make("linear_quadratic", **GAMES["linear_quadratic"])
    policy = smfg.policies.recurrent(game, hidden=4, width=4, depth=1, rank=2)
    # The clip never binds, so that the norm reported is that of the gradient applied.
    return game, RSPG(policy, num_paths=2, learning_rate=1e-2, clip=1e9, form=form)


def mean_return(game, policy, held, parameters):
    """The mean return over both noise paths; `held` keeps the population fixed under differentiation."""
    bound = policy.with_parameters(parameters)

    def along(noise):
        trajectory = rollout(game, bound, noise)
        aggregates = held(trajectory.aggregates)
        policy = jax.nn.softmax(bound.unroll(held(trajectory.observations)))
        return aggregates.mean_field[0] @ policy_values(game, aggregates, policy)[0]

    scenarios = game.scenarios()
    return scenarios.probabilities @ jax.vmap(along)(scenarios.noise)


@pytest.fixture
def gradients(double):
    """Of the mean return in the parameters: with the population held, and leaking through it."""
    game, solver = small_solver()
    state = solver.init(game, jax.random.key(0))
    return [
        jax.jit(jax.grad(functools.partial(mean_return, game, solver.policy, held)))(state.parameters)
        for held in (jax.lax.stop_gradient, lambda x: x)
    ]


def distance(one, other):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, one, other)))


def test_no_gradient_through_the_mean_field(gradients, double):
    """The leaky gradient differs plainly; the update's is the one that holds the population, in norm and direction."""
    held, leaky = gradients
    size = float(optax.tree.norm(held))
    assert distance(held, leaky) > 0.05 * size
    game, solver = small_solver()
    state = solver.init(game, jax.random.key(0))
    following, metrics = jax.jit(lambda state: solver.step(game, state, 100))(state)
    assert float(metrics.gradient_norm) == pytest.approx(size, rel=1e-10)
    adam = optax.adam(1e-2)
    change, _ = adam.update(jax.tree.map(jnp.negative, held), adam.init(state.parameters))
    expected = optax.apply_updates(state.parameters, change)
    # Adam's first step is nearly the sign of the gradient, which magnifies rounding where a component is near 1e-8.
    assert distance(following.parameters, expected) < 1e-6 * distance(expected, state.parameters)
    assert int(following.step) == 1


def test_update_reports_the_mean_return(double):
    game, solver = small_solver()
    state = solver.init(game, jax.random.key(0))
    _, metrics = jax.jit(lambda state: solver.step(game, state, 100))(state)
    expected = jax.jit(functools.partial(mean_return, game, solver.policy, lambda x: x))(state.parameters)
    assert float(metrics.mean_return) == pytest.approx(float(expected), rel=1e-12)


def test_update_is_the_same_in_both_forms(double):
    results = []
    for form in ("matrix_free", "explicit"):
        game, solver = small_solver(form)
        state = solver.init(game, jax.random.key(0))
        results.append(jax.jit(lambda state, game=game, solver=solver: solver.step(game, state, 100))(state))
    (one, one_metrics), (other, other_metrics) = results
    np.testing.assert_allclose(one_metrics, other_metrics, rtol=1e-10)
    assert distance(one.parameters, other.parameters) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recurrent", "memoryless"])
def test_update_in_parts_of_the_time(kind, monkeypatch, double):
    """How many steps are held at once changes nothing but the memory: all, some, or one."""
    game = smfg.games.make("linear_quadratic", num_states=9, horizon=6)
    build, train = {"recurrent": (smfg.policies.recurrent, RSPG), "memoryless": (smfg.policies.memoryless, SPG)}[kind]
    solver = train(
        build(game, hidden=4, width=4, depth=1, rank=2), num_paths=2, clip=1e9, temperature=2.0, final_temperature=0.1
    )
    state = solver.init(game, jax.random.key(0))
    results = {}
    for part in (6, 3, 2, 1):
        monkeypatch.setattr(_structural, "_MAX_CHUNK_NUMBERS", 2 * part * game.num_states * game.num_actions + 1)
        assert solver._chunk_steps(game, game.horizon) == part
        results[part] = jax.jit(lambda state: solver.step(game, state, 100))(state)
    (whole, whole_metrics), *others = results.values()
    for parameters, metrics in others:
        np.testing.assert_allclose(metrics, whole_metrics, rtol=1e-12)
        assert distance(parameters.parameters, whole.parameters) < 1e-9
