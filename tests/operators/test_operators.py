"""Every kernel and operator, in both forms and precisions, against its dense twin."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import (
    JOINT_MASS,
    KERNELS,
    MASS,
    OPERATORS,
    POLICY,
    VALUES,
    assert_close,
    in_both_forms,
    is_merged,
    made,
)

FORMS = ("matrix_free", "explicit")


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=KERNELS)
def kernel(request, form, precision):
    return made("kernel", request.param, form, precision == "float64")


@pytest.fixture
def kernel_twin(request):
    return KERNELS[request.node.callspec.params["kernel"]].twin


@pytest.fixture(params=OPERATORS)
def operator(request, form, precision):
    return made("operator", request.param, form, precision == "float64")


@pytest.fixture
def matrix(request):
    return OPERATORS[request.node.callspec.params["operator"]].twin


@pytest.fixture
def close(precision):
    return functools.partial(assert_close, precision=precision)


def test_expect(kernel, kernel_twin, close):
    close(kernel.expect(jnp.asarray(VALUES, float)), np.einsum("sat,t->sa", kernel_twin, VALUES))


def test_push(kernel, kernel_twin, close):
    close(kernel.push(jnp.asarray(JOINT_MASS, float)), np.einsum("sa,sat->t", JOINT_MASS, kernel_twin))


def test_kernel_as_dense(kernel, kernel_twin, close):
    close(kernel.as_dense(), kernel_twin)


def test_kernel_closed_by_a_policy(kernel, kernel_twin, close):
    """JAX or NumPy."""
    for policy in (jnp.asarray(POLICY, float), POLICY):
        close(kernel.under(policy).as_dense(), np.einsum("sa,sat->st", POLICY, kernel_twin))


def test_kernel_is_valid(kernel):
    kernel.validate()


def test_mv(operator, matrix, close):
    close(operator.mv(jnp.asarray(VALUES, float)), matrix @ VALUES)


def test_transposed_mv(operator, matrix, close):
    close(operator.T.mv(jnp.asarray(MASS, float)), matrix.T @ MASS)


def test_transpose_of_the_transpose(operator):
    assert operator.T.T is operator


def test_adjoint(operator, close):
    values, mass = jnp.asarray(VALUES, float), jnp.asarray(MASS, float)
    close(operator.mv(values) @ mass, values @ operator.T.mv(mass))


def test_rows_sum_to_one(operator, close):
    close(operator.mv(jnp.ones(operator.num_states)), np.ones(operator.num_states))


def test_mass_and_sign_are_kept(operator, close):
    arrived = operator.T.mv(jnp.asarray(MASS, float))
    close(arrived.sum(), 1.0)
    assert arrived.min() >= 0


def test_operator_is_valid(operator):
    operator.validate()


def test_bcoo(operator, matrix, close):
    close(operator.as_bcoo() @ jnp.asarray(VALUES, float), matrix @ VALUES)
    close(operator.T.as_bcoo() @ jnp.asarray(MASS, float), matrix.T @ MASS)


def test_bcsr(operator, matrix, close):
    close(operator.as_bcsr() @ jnp.asarray(VALUES, float), matrix @ VALUES)


def test_dense(operator, matrix, close):
    close(operator.as_dense(), matrix)
    close(operator.T.as_dense(), matrix.T)


def test_scipy(operator, matrix, close):
    for sparse, dense in ((operator.as_scipy(), matrix), (operator.T.as_scipy(), matrix.T)):
        assert sparse.format == "csr"
        close(sparse.toarray(), dense)


def test_scipy_linear_operator(operator, matrix, close):
    linear = operator.as_linear_operator()
    close(linear @ VALUES.astype(linear.dtype), matrix @ VALUES)
    close(linear.T @ MASS.astype(linear.dtype), matrix.T @ MASS)


def test_explicit_matrix_is_merged_and_sorted(operator):
    assert is_merged(operator.as_bcoo())


def test_branching_is_a_bound(kernel, kernel_twin):
    assert (kernel_twin > 0).any(axis=1).sum(-1).max() <= kernel.branching


def test_span_is_a_bound(kernel, kernel_twin):
    reached = [np.flatnonzero(row) for row in (kernel_twin > 0).any(axis=1)]
    assert kernel.span is None or max(np.ptp(row) for row in reached) <= kernel.span


@pytest.mark.parametrize("name", OPERATORS)
def test_inside_jit(name, precision, close):
    """The operator is an argument of the compiled function, and its explicit form is built inside."""
    operator = made("operator", name, "matrix_free", precision == "float64")
    values, mass = jnp.asarray(VALUES, float), jnp.asarray(MASS, float)
    expected, arrived = jax.jit(in_both_forms)(operator, values, mass)
    for i in range(2):
        close(expected[i], operator.mv(values))
        close(arrived[i], operator.T.mv(mass))


@pytest.mark.parametrize("name", KERNELS)
def test_vmap_is_a_loop(name, precision, close):
    """Over policies, values and mean fields at once, with an explicit form for each."""
    kernel = made("kernel", name, "matrix_free", precision == "float64")
    policies = jnp.stack([jnp.roll(jnp.asarray(POLICY, float), i, axis=0) for i in range(3)])
    values, mass = (jnp.stack([jnp.roll(jnp.asarray(x, float), i) for i in range(3)]) for x in (VALUES, MASS))
    mapped = jax.jit(jax.vmap(lambda policy, v, m: in_both_forms(kernel.under(policy), v, m)))
    expected, arrived = mapped(policies, values, mass)
    dense = np.einsum("nsa,sat->nst", np.asarray(policies), KERNELS[name].twin)
    for i in range(2):
        close(expected[i], np.einsum("nst,nt->ns", dense, values))
        close(arrived[i], np.einsum("nst,ns->nt", dense, mass))
