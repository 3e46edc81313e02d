"""Every law finds the faults that are its own, says where they are, and passes what is right."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.wrong_games import Transposed, random_probabilities
from jaxtyping import Array

import structmfg as smfg
from structmfg import evaluation
from structmfg.operators import DenseKernel, SuccessorKernel, Successors
from structmfg.verification import laws
from structmfg.verification.laws import KERNEL_LAWS, OPERATOR_LAWS, Probe, probe

ENTRIES = random_probabilities()


class Leaky(DenseKernel):
    """Loses mass in `push` from one state and action, while `expect` is right."""

    def push(self, mass: Array) -> Array:
        return super().push(mass.at[4, 2].multiply(0.9))


class Clipped(DenseKernel):
    """Not linear."""

    def expect(self, values: Array) -> Array:
        return jnp.maximum(super().expect(values), 0)


class Disagreeing(DenseKernel):
    """Lists its successors one state off."""

    def successors(self) -> Successors:
        indices, probabilities = super().successors()
        return Successors((indices + 1) % self.num_states, probabilities)


class Unclosed(DenseKernel):
    """Forgets the policy's last action in A, in both directions alike."""

    def expect_under(self, policy: Array, values: Array) -> Array:
        return super().expect_under(policy.at[:, -1].set(0.0), values)

    def push_under(self, policy: Array, mass: Array) -> Array:
        return super().push_under(policy.at[:, -1].set(0.0), mass)


class Raising(DenseKernel):
    """Cannot push."""

    def push(self, mass: Array) -> Array:
        raise RuntimeError("no <push> here")


class Lost(DenseKernel):
    """Pushes to nowhere."""

    def push(self, mass: Array) -> Array:
        return jnp.nan * super().push(mass)


def with_negative_entry() -> np.ndarray:
    """Rows that still sum to one."""
    wrong = ENTRIES.copy()
    wrong[2, :, 0] += 1.5 + wrong[2, :, 3]
    wrong[2, :, 3] = -1.5
    return wrong


def with_long_row() -> np.ndarray:
    wrong = ENTRIES.copy()
    wrong[5, 0] *= 1.001
    return wrong


SAME_PRODUCTS = {"forms agree", "structure agrees", "matches scipy", "permutation invariance"}


@pytest.mark.parametrize(
    ("kind", "entries", "found", "where"),
    [
        (DenseKernel, ENTRIES, set(), ""),
        (Transposed, ENTRIES, {"adjoint", "mass kept", *SAME_PRODUCTS}, r"state \d, action \d, successor \d"),
        (Leaky, ENTRIES, {"adjoint", "mass kept", *SAME_PRODUCTS}, "state 4, action 2"),
        (Clipped, ENTRIES, {"adjoint", "linear", "powers repeat", "resolvent solves", *SAME_PRODUCTS}, "state"),
        (Disagreeing, ENTRIES, {"powers repeat", *SAME_PRODUCTS}, "by successors"),
        (Unclosed, ENTRIES, {"policy closes kernel", "mass kept", "powers repeat", *SAME_PRODUCTS}, "state"),
        (DenseKernel, with_long_row(), {"rows sum to one", "mass kept", "contraction"}, "state 5, action 0"),
        (DenseKernel, with_negative_entry(), {"sign kept", "monotone", "contraction"}, "state 2"),
        (Raising, ENTRIES, {law.__name__.replace("_", " ") for law in KERNEL_LAWS[1:]}, "no <push> here"),
    ],
)
def test_laws_find_what_is_wrong_and_where(kind, entries, found, where):
    kernel = kind(jnp.asarray(entries), checks=False)
    results = [law(kernel, probe(kernel)) for law in (*KERNEL_LAWS, *OPERATOR_LAWS)]
    failed = {result.name: result for result in results if not result.passed}
    extra = {"policy closes kernel", "powers repeat", "resolvent solves", "monotone", "contraction"}
    assert found <= set(failed) <= found | (extra if found else set())
    assert not failed or any(re.search(where, result.where) for result in failed.values()), failed


def test_the_place_is_that_of_the_entry_which_is_wrong():
    kernel = Leaky(jnp.asarray(ENTRIES))
    wrong = laws.adjoint(kernel)
    assert wrong.where.startswith("state 4, action 2, successor")
    entry = ENTRIES[4, 2].max()
    assert f"{0.9 * entry:.4f}" in wrong.where
    assert f"{entry:.4f}" in wrong.where
    assert laws.rows_sum_to_one(DenseKernel(jnp.asarray(with_long_row()), checks=False)).where.startswith(
        "state 5, action 0: they sum"
    )


def test_what_is_not_a_number_passes_no_law():
    kernel = Lost(jnp.asarray(ENTRIES))
    failed = {law.__name__ for law in (*KERNEL_LAWS, *OPERATOR_LAWS) if not law(kernel).passed}
    assert failed == {law.__name__ for law in (*KERNEL_LAWS, *OPERATOR_LAWS)} - {
        "rows_sum_to_one", "contraction", "powers_repeat", "resolvent_solves",
    }  # fmt: skip


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("lists", [False, True])
def test_laws_hold_in_both_precisions(explicit, lists):
    with jax.enable_x64(True):
        values = np.random.default_rng(1).normal(size=7)
        mean_field, policy = np.full(7, 1 / 7), np.full((7, 3), 1 / 3)
        for dtype in (jnp.float32, jnp.float64):
            kernel = DenseKernel(jnp.asarray(ENTRIES, dtype))
            kernel = SuccessorKernel(*kernel.successors()) if lists else kernel
            kernel = kernel.explicit() if explicit else kernel
            at = Probe(*(jnp.asarray(x, dtype) for x in (policy, values, mean_field)))
            results = [law(kernel, at) for law in (*KERNEL_LAWS, *OPERATOR_LAWS)]
            assert all(result.passed for result in results), results
            assert max(result.bound for result in results) < (1e-2 if dtype == jnp.float32 else 1e-11)


def test_a_law_that_raises_says_what():
    result = laws.mass_kept(Raising(jnp.asarray(ENTRIES)))
    assert not result.passed
    assert np.isnan(result.value)
    assert re.fullmatch(r"raised RuntimeError: no <push> here \(test_laws.py, line \d+, in push\)", result.where)


GAME = smfg.games.make("linear_quadratic", num_states=9, max_action=1, horizon=4, first=1, last=2, push=4.0)


def test_a_path_has_a_policy_of_its_own_at_every_time():
    path = laws.random_path(GAME, jax.random.key(0))
    assert path.policy.shape == (4, 9, 3)
    assert path.aggregates.mean_field.shape == (5, 9)
    assert np.abs(np.diff(path.policy, axis=0)).max() > 0.1
    assert int(path.at(3).time) == 3


def test_sums_of_products_see_an_error_at_one_time(double):
    path = laws.random_path(GAME, jax.random.key(0))
    right = laws.values_are_sums_of_products(GAME, path)
    assert right.passed
    assert right.value < 1e-14

    def late(game, aggregates, policy):
        return evaluation.policy_values(game, aggregates, policy.at[2].set(policy[1]))

    assert not laws.values_are_sums_of_products(GAME, path, evaluate=late).passed


def test_gradients_are_seen_to_a_part_in_a_million():
    def slightly(*given):
        plain, soft, gradient = evaluation.policy_gradient(*given)
        return plain, soft, (1 + 1e-4) * gradient

    key = jax.random.key(0)
    assert laws.gradient_is_a_difference_quotient(GAME, key).value < 1e-9
    wrong = laws.gradient_is_a_difference_quotient(GAME, key, gradient=slightly)
    assert not wrong.passed
    assert "quotient is" in wrong.where


def test_what_enters_beside_the_aggregates_is_seen():
    class Crowded(smfg.games.LinearQuadratic):
        def reward(self, aggregate, following):
            return super().reward(aggregate, following) - following.mean_field[:, None]

    class Bent(smfg.games.LinearQuadratic):
        def aggregates(self, mean_field):
            return super().aggregates(mean_field) ** 2

    sizes = {"num_states": 9, "max_action": 1, "horizon": 4}

    class Fullest(smfg.games.LinearQuadratic):
        def aggregates(self, mean_field):
            return jnp.max(mean_field)[None]

    for kind, words in ((Crowded, "the reward at state"), (Bent, "not linear"), (Fullest, "not linear")):
        game = kind(**sizes)
        result = laws.aggregates_are_sufficient(game, laws.random_path(game, jax.random.key(0)), 1)
        assert not result.passed
        assert words in result.where


class Brief(smfg.games.LinearQuadratic):
    """Wrong at t = 1 alone; nothing is paid."""

    def kernel(self, aggregate):
        dense = super().kernel(aggregate).as_dense()
        wrong = dense.at[3, 1, 6].add(-0.002).at[3, 1, 7].add(0.002)
        return DenseKernel(jnp.where(aggregate.time == 1, wrong, dense), checks=False)

    def reward(self, aggregate, following):
        return jnp.zeros((self.num_states, self.num_actions))


def test_every_time_of_a_path_is_looked_at():
    game = Brief(num_states=9, max_action=1, horizon=4)
    result = laws.rows_along_the_path(game, laws.random_path(game, jax.random.key(0)))
    assert not result.passed
    assert result.value == pytest.approx(0.002, rel=1e-3)
    assert result.where.startswith("t = 1, state 3, action 1: they sum to 1")
    assert "the least is -0.002" in result.where


def test_nothing_paid_is_no_fault():
    game, key = Brief(num_states=9, max_action=1, horizon=4), jax.random.key(0)
    for result in (
        laws.gradient_is_a_difference_quotient(game, key),
        laws.no_gradient_through_the_mean_field(game, key),
    ):
        assert result.passed, result


def test_noise_that_is_not_a_number_is_seen():
    class Rough(smfg.games.Macro):
        def next_noise(self, noise, uniform, time):
            return jnp.where((time == 2) & (uniform < 0.1), jnp.nan, super().next_noise(noise, uniform, time))

    result = laws.noise_is_finite(Rough(num_wealth=5, num_income=2, horizon=4), jax.random.key(0))
    assert not result.passed
    assert result.where.startswith("first at t = 3, on ")
