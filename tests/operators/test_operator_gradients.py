"""Gradients through every kernel, in the policy and in the kernel's own data, against finite differences."""

import equinox as eqx
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
    in_both_forms,
    made,
    with_slow_variants,
)

from structmfg import operators as ops


def assert_gradient(function, point):
    """Reverse mode against a central difference along one direction that moves every component.

    The function returns its value and what it was made of, which is returned for the point itself.
    """
    leaves, structure = jax.tree.flatten(point)
    direction = jax.tree.unflatten(structure, [jnp.cos(1 + jnp.arange(x.size)).reshape(x.shape) for x in leaves])
    value_and_grad = jax.jit(jax.value_and_grad(function, has_aux=True))
    (_, made_of), gradient = value_and_grad(point)
    ahead, behind = (
        value_and_grad(jax.tree.map(lambda x, d, h=h: x + h * d, point, direction))[0][0] for h in (1e-5, -1e-5)
    )
    slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    assert abs(slope) > 1e-6, "a gradient of zero would show nothing"
    # The maps are smooth of order one: a central difference with step 1e-5 errs by about 1e-10.
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-7, atol=1e-8)
    return made_of


def score(expected, arrived):
    """A curved function of A v and A^T mu in both forms, that weighs each component and form differently; and these."""
    weights = 1 + jnp.arange(len(expected) * expected[0].size).reshape(len(expected), -1)
    curved = jnp.sum(weights * jnp.sin(jnp.stack(expected))) + jnp.sum(jnp.cos(weights) * jnp.stack(arrived) ** 2)
    return curved, (expected, arrived)


@pytest.mark.parametrize("name", with_slow_variants(KERNELS))
def test_gradient_in_the_policy(name, double):
    kernel = made("kernel", name, "matrix_free", True)
    values, mass = jnp.asarray(VALUES), jnp.asarray(MASS)
    matrix = OPERATORS[name].twin
    expected, arrived = assert_gradient(
        lambda policy: score(*in_both_forms(kernel.under(policy), values, mass)), jnp.asarray(POLICY)
    )
    for form in range(2):
        np.testing.assert_allclose(expected[form], matrix @ VALUES, atol=1e-14)
        np.testing.assert_allclose(arrived[form], matrix.T @ MASS, atol=1e-14)


@pytest.mark.parametrize("name", with_slow_variants([name for name in KERNELS if not name.startswith("lattice")]))
def test_gradient_in_the_data_of_a_kernel(name, double):
    """Probabilities, lottery weights, noise: whatever floats it holds, through `expect` and `push` in both forms."""
    floats, rest = eqx.partition(made("kernel", name, "matrix_free", True), eqx.is_inexact_array)

    def function(floats):
        kernel = eqx.combine(floats, rest)
        forms = (kernel, kernel.explicit())
        expected = [form.expect(jnp.asarray(VALUES)).ravel() for form in forms]
        return score(expected, [form.push(jnp.asarray(JOINT_MASS)).repeat(kernel.num_actions) for form in forms])

    assert jax.tree.leaves(floats)
    assert_gradient(function, floats)


@pytest.mark.parametrize("name", ["kronecker", "noise_walls"])
def test_gradient_in_the_data_of_an_operator(name, double):
    floats, rest = eqx.partition(made("operator", name, "matrix_free", True), eqx.is_inexact_array)
    values, mass = jnp.asarray(VALUES), jnp.asarray(MASS)
    assert_gradient(lambda floats: score(*in_both_forms(eqx.combine(floats, rest), values, mass)), floats)


@pytest.mark.parametrize("name", ["kronecker", "noise_walls", "factored"])
def test_gradient_is_the_adjoint(name, double):
    """The gradient of mu . A v is A^T mu in v, and A v in mu, in both forms."""
    values, mass, matrix = jnp.asarray(VALUES), jnp.asarray(MASS), OPERATORS[name].twin
    for form in ("matrix_free", "explicit"):
        operator = made("operator", name, form, True)
        in_values = jax.jit(jax.grad(lambda v, operator: mass @ operator.mv(v)))(values, operator)
        in_mass = jax.jit(jax.grad(lambda m, operator: operator.T.mv(m) @ values))(mass, operator)
        np.testing.assert_allclose(in_values, matrix.T @ MASS, atol=1e-14)
        np.testing.assert_allclose(in_mass, matrix @ VALUES, atol=1e-14)


@pytest.mark.parametrize("name", with_slow_variants(OPERATORS))
def test_linear_transpose(name, double):
    """JAX can transpose A v and A^T mu, as Krylov solvers ask of it, and finds each other."""
    operator, values, mass = made("operator", name, "matrix_free", True), jnp.asarray(VALUES), jnp.asarray(MASS)

    @jax.jit
    def transposed(operator, values, mass):
        return jax.linear_transpose(operator.mv, values)(mass), jax.linear_transpose(operator.rmv, mass)(values)

    (arrived,), (expected,) = transposed(operator, values, mass)
    np.testing.assert_allclose(arrived, OPERATORS[name].twin.T @ MASS, atol=1e-14)
    np.testing.assert_allclose(expected, OPERATORS[name].twin @ VALUES, atol=1e-14)


@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_of_dense_forms_under_vmap(axis, double):
    """For a block of vectors, where only one factor of the product is mapped over; JAX's `todense` failed there."""
    block, mass, size = np.arange(12.0).reshape(4, 3) % 5, np.array([0.1, 0.2, 0.3, 0.4]), 4
    start = jnp.array([0.25, 0.75])

    def walk(weights):
        return ops.LatticeNoise(size, (0, 1), weights, checks=False)

    forms = {
        "matrix-free": lambda a, v: a.mv(v),
        "dense": lambda a, v: a.as_dense() @ v,
        "transposed": lambda a, v: v @ a.T.as_dense(),
        "dense of an explicit one": lambda a, v: a.explicit().as_dense() @ v,
        "dense of a compressed one": lambda a, v: a.compressed().as_dense() @ v,
        "power of an explicit one": lambda a, v: (a.explicit() ** 1).as_dense() @ v,
        "kernel": lambda a, v: (ops.LatticeKernel(size, (0,)) >> a).as_dense()[:, 0] @ v,
        "explicit kernel": lambda a, v: (ops.LatticeKernel(size, (0,)) >> a).explicit().as_dense()[:, 0] @ v,
    }

    def gradients(form):
        of_one = jax.grad(lambda weights, v: mass @ form(walk(weights), v))
        return jax.vmap(of_one, in_axes=(None, axis))(start, jnp.asarray(block.T if axis == 0 else block))

    moved = np.stack([block, block[[1, 2, 3, 3]]])  # what stays, and what goes on by one
    results = jax.jit(lambda: {name: gradients(form) for name, form in forms.items()})()
    for name, result in results.items():
        np.testing.assert_allclose(result, np.einsum("s,osk->ko", mass, moved), atol=1e-12, err_msg=name)
