"""Every kernel and operator, in both forms and precisions, against its dense twin.

A fast test sees every second pair of a name and a precision, and another test the rest; the slow tests see all.
"""

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
    S,
    assert_close,
    crossed,
    in_both_forms,
    is_merged,
    made,
    with_slow_variants,
)

from structmfg.operators import PatchedKernel

FORMS = ("matrix_free", "explicit")


FIRST_KERNELS, SECOND_KERNELS, FIRST_OPERATORS, SECOND_OPERATORS = (
    pytest.mark.parametrize((f"{family}_name", "precision"), crossed(names, first=first), indirect=["precision"])
    for family, names in (("kernel", KERNELS), ("operator", OPERATORS))
    for first in (0, 1)
)


@pytest.fixture
def kernel(kernel_name, precision):
    return made("kernel", kernel_name, "matrix_free", precision == "float64")


@pytest.fixture
def operator(operator_name, precision):
    return made("operator", operator_name, "matrix_free", precision == "float64")


@pytest.fixture
def explicit(operator_name, precision):
    return made("operator", operator_name, "explicit", precision == "float64")


@pytest.fixture
def matrix(operator_name):
    return OPERATORS[operator_name].twin


@pytest.fixture
def close(precision):
    return functools.partial(assert_close, precision=precision)


@FIRST_KERNELS
def test_kernel_products(kernel, kernel_name, close):
    """P v and P^T m."""
    values, mass, twin = jnp.asarray(VALUES, float), jnp.asarray(JOINT_MASS, float), KERNELS[kernel_name].twin
    expected, arrived = jax.jit(lambda kernel, v, m: (kernel.expect(v), kernel.push(m)))(kernel, values, mass)
    close(expected, np.einsum("sat,t->sa", twin, VALUES))
    close(arrived, np.einsum("sa,sat->t", JOINT_MASS, twin))


def test_the_mass_inside(double):
    """`push_inside` leaves out the states near the ends; a patch of no state, S, changes nothing."""
    names = ("lattice_walls", "lattice_down_walls", "factored_walls", "mixture_even", "patched", "lottery")
    kernels = {name: made("kernel", name, "matrix_free", True) for name in names}

    @jax.jit
    def pushed(kernels, nowhere):
        patched = kernels["patched"]
        kernels |= {"nowhere": PatchedKernel(patched.base, patched.other, nowhere, checks=False)}
        return {
            name: [kernel.push_inside(jnp.asarray(POLICY), jnp.asarray(MASS), margin) for margin in (0, 2, 8, 12)]
            for name, kernel in kernels.items()
        }

    found = pushed(kernels, S)
    for name, arrived in found.items():
        twin = KERNELS["factored_walls" if name == "nowhere" else name].twin
        for margin, actual in zip((0, 2, 8, 12), arrived, strict=True):
            inside = np.where((np.arange(S) >= margin) & (np.arange(S) < S - margin), MASS, 0)
            assert_close(actual, np.einsum("s,sa,sat->t", inside, POLICY, twin), "float64")


@SECOND_KERNELS
def test_explicit_kernel(kernel_name, precision, close):
    """What the kernel's lists of successors make."""
    kernel, twin = made("kernel", kernel_name, "explicit", precision == "float64"), KERNELS[kernel_name].twin
    values, mass = jnp.asarray(VALUES, float), jnp.asarray(JOINT_MASS, float)
    dense, expected, arrived = jax.jit(lambda k, v, m: (k.as_dense(), k.expect(v), k.push(m)))(kernel, values, mass)
    close(dense, twin)
    close(expected, np.einsum("sat,t->sa", twin, VALUES))
    close(arrived, np.einsum("sa,sat->t", JOINT_MASS, twin))
    assert (twin > 0).any(axis=1).sum(-1).max() <= kernel.branching


@FIRST_KERNELS
def test_kernel_closed_by_a_policy(kernel_name, precision, close):
    """JAX or NumPy."""
    kernel, twin = made("kernel", kernel_name, "explicit", precision == "float64"), KERNELS[kernel_name].twin
    for policy in (jnp.asarray(POLICY, float), POLICY):
        close(kernel.under(policy).as_dense(), np.einsum("sa,sat->st", POLICY, twin))


@pytest.mark.parametrize(("name", "form"), crossed(KERNELS, FORMS))
def test_kernels_are_valid(name, form, double):
    made("kernel", name, form, True).validate()


@pytest.mark.parametrize(("name", "form"), crossed(OPERATORS, FORMS, first=1))
def test_operators_are_valid(name, form, double):
    made("operator", name, form, True).validate()


@SECOND_OPERATORS
def test_operator_products(operator, matrix, close):
    """A v and A^T mu, and what is true of a Markov operator: rows that sum to one, mass and sign kept, the adjoint."""

    @jax.jit
    def products(operator, values, mass, ones):
        return operator.mv(values), operator.T.mv(mass), operator.mv(ones)

    values, mass = jnp.asarray(VALUES, float), jnp.asarray(MASS, float)
    expected, arrived, rows = map(np.asarray, products(operator, values, mass, jnp.ones(S)))
    close(expected, matrix @ VALUES)
    close(arrived, matrix.T @ MASS)
    close(rows, np.ones(S))
    close(arrived.sum(), 1.0)
    assert arrived.min() >= 0
    close(expected @ np.asarray(mass), np.asarray(values) @ arrived)


@FIRST_OPERATORS
def test_transpose_of_the_transpose(operator):
    assert operator.T.T is operator


@FIRST_OPERATORS
def test_explicit_operator(explicit, matrix, close):
    """In every sparse layout, merged and sorted."""

    @jax.jit
    def products(explicit, values, mass):
        bcoo, transposed = explicit.as_bcoo(), explicit.T.as_bcoo()
        pulled = (explicit.mv(values), bcoo @ values, explicit.as_bcsr() @ values)
        return bcoo, pulled, (explicit.T.mv(mass), transposed @ mass), explicit.as_dense(), explicit.T.as_dense()

    values, mass = jnp.asarray(VALUES, float), jnp.asarray(MASS, float)
    bcoo, pulled, pushed, dense, transposed = products(explicit, values, mass)
    assert is_merged(bcoo)
    for expected in pulled:
        close(expected, matrix @ VALUES)
    for arrived in pushed:
        close(arrived, matrix.T @ MASS)
    close(dense, matrix)
    close(transposed, matrix.T)
    for sparse, dense in ((explicit.as_scipy(), matrix), (explicit.T.as_scipy(), matrix.T)):
        assert sparse.format == "csr"
        close(sparse.toarray(), dense)


@pytest.mark.parametrize(("name", "form"), crossed(["lattice_walls", "dense", "power", "kron_of_two"], FORMS))
@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.slow)], indirect=True)
def test_outside_jit(name, form, precision, close):
    """The same, one operation after another, and by SciPy's face."""
    operator, matrix = made("operator", name, form, precision == "float64"), OPERATORS[name].twin
    values, mass, linear = jnp.asarray(VALUES, float), jnp.asarray(MASS, float), operator.as_linear_operator()
    for expected in (operator.mv(values), operator.as_bcoo() @ values, operator.as_bcsr() @ values):
        close(expected, matrix @ VALUES)
    for arrived in (operator.T.mv(mass), operator.T.as_bcoo() @ mass):
        close(arrived, matrix.T @ MASS)
    for dense in (operator.as_dense(), operator.T.as_dense().T, operator.as_scipy().toarray()):
        close(dense, matrix)
    close(linear @ VALUES.astype(linear.dtype), matrix @ VALUES)
    close(linear.T @ MASS.astype(linear.dtype), matrix.T @ MASS)


@FIRST_KERNELS
def test_branching_is_a_bound(kernel, kernel_name):
    assert (KERNELS[kernel_name].twin > 0).any(axis=1).sum(-1).max() <= kernel.branching


@FIRST_KERNELS
def test_span_is_a_bound(kernel, kernel_name):
    reached = [np.flatnonzero(row) for row in (KERNELS[kernel_name].twin > 0).any(axis=1)]
    assert kernel.span is None or max(np.ptp(row) for row in reached) <= kernel.span


@pytest.mark.parametrize("name", [pytest.param(a, marks=[pytest.mark.slow] * (a in KERNELS)) for a in OPERATORS])
def test_inside_jit(name, double):
    """The operator is an argument of the compiled function, and its explicit form is built inside.

    For kernels under a policy, `test_vmap_is_a_loop` and `test_gradient_in_the_policy` do the same.
    """
    operator, matrix = made("operator", name, "matrix_free", True), OPERATORS[name].twin
    expected, arrived = jax.jit(in_both_forms)(operator, jnp.asarray(VALUES), jnp.asarray(MASS))
    for i in range(2):
        assert_close(expected[i], matrix @ VALUES, "float64")
        assert_close(arrived[i], matrix.T @ MASS, "float64")


@pytest.mark.parametrize("name", with_slow_variants(KERNELS))
def test_vmap_is_a_loop(name, double):
    """Over policies, values and mean fields at once, with an explicit form for each."""
    kernel = made("kernel", name, "matrix_free", True)
    policies = np.stack([np.roll(POLICY, i, axis=0) for i in range(3)])
    values, mass = (np.stack([np.roll(x, i) for i in range(3)]) for x in (VALUES, MASS))
    mapped = jax.jit(jax.vmap(lambda policy, v, m: in_both_forms(kernel.under(policy), v, m)))
    expected, arrived = mapped(policies, values, mass)
    dense = np.einsum("nsa,sat->nst", policies, KERNELS[name].twin)
    for i in range(2):
        assert_close(expected[i], np.einsum("nst,nt->ns", dense, values), "float64")
        assert_close(arrived[i], np.einsum("nst,ns->nt", dense, mass), "float64")
