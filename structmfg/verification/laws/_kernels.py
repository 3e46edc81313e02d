"""The laws of a transition kernel P: its two directions, its forms, and A = A^pi, which a policy makes of it."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array

from structmfg.operators import SuccessorKernel, TransitionKernel
from structmfg.verification._check import CheckResult, Measured, check
from structmfg.verification.laws._probe import Probe, disagreement, entries, host, largest, prepare, worst

Law = Callable[[TransitionKernel, Probe | None], CheckResult]


@eqx.filter_jit
def backwards(kernel: TransitionKernel, policy: Array, values: Array) -> tuple[Array, Array]:
    """A v and P v."""
    return kernel.under(policy).mv(values), kernel.expect(values)


@eqx.filter_jit
def forwards(kernel: TransitionKernel, policy: Array, mean_field: Array) -> tuple[Array, Array]:
    """A^T mu, and P^T (mu * pi), which must be the same."""
    return kernel.under(policy).T.mv(mean_field), kernel.push(mean_field[:, None] * policy)


@eqx.filter_jit
def _explicit(kernel: TransitionKernel, policy: Array, values: Array, mean_field: Array) -> tuple[Array, ...]:
    """A v, P v and A^T mu by the sparse matrices."""
    matrix, operator = kernel.explicit(), kernel.under(policy).explicit()
    return operator.mv(values), matrix.expect(values), operator.T.mv(mean_field)


def _differences(kernel: TransitionKernel, at: Probe, others: tuple[np.ndarray, ...], bound: float) -> Measured:
    """The largest difference of A v, P v and A^T mu from the same computed otherwise."""
    matrix_free = (*backwards(kernel, at.policy, at.values), forwards(kernel, at.policy, at.mean_field)[0])
    axes = (("state",), ("state", "action"), ("successor",))
    names = ("A v", "P v", "A^T mu")
    differences = [
        (*worst(host(x) - host(y), axis), name)
        for x, y, axis, name in zip(matrix_free, others, axes, names, strict=True)
    ]  # fmt: skip
    value, place, name = max(differences, key=lambda entry: np.inf if np.isnan(entry[0]) else entry[0])
    if value <= bound:
        return value, bound
    entry = disagreement(kernel, "push" if name == "A^T mu" else "expect", "successors")
    return value, bound, f"{place}: {name} is off by {value:.3g}" + (f"; {entry}" if entry else "")


@check("P 1 = 1: the probabilities of every state and action sum to one")
def rows_sum_to_one(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """max |P 1 - 1|."""
    (policy, values, _), bound = prepare(kernel, at)
    sums = host(backwards(kernel, policy, jnp.ones_like(values))[1])
    value, place = worst(sums - 1, ("state", "action"))
    s, a = (int(word.split()[1]) for word in place.split(", "))
    return value, bound, f"{place}: they sum to {sums[s, a]:.7g}"


@check("sum A^T mu = sum mu: no mass is lost or created")
def mass_kept(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """|sum A^T mu - sum mu|."""
    (policy, _, mean_field), bound = prepare(kernel, at)
    value = abs(host(forwards(kernel, policy, mean_field)[0]).sum() - host(mean_field).sum())
    rows = None if value <= bound else entries(kernel, "push")
    if rows is None:
        return value, bound
    error, place = worst(rows.sum(-1) - 1, ("state", "action"))
    return value, bound, f"{place}: of a mass of 1, {error:.3g} is lost or created"


@check("P >= 0: no negative probability, mass, or expectation of nonnegative values")
def sign_kept(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The depth below zero of the probabilities listed, of P |v| and of A^T |mu|."""
    (policy, values, mean_field), bound = prepare(kernel, at)
    depths: dict[tuple[str, ...], Array] = {
        ("state", "action", "position in the list of successors"): kernel.successors().probabilities,
        ("state", "action"): backwards(kernel, policy, jnp.abs(values))[1],
        ("successor",): forwards(kernel, policy, jnp.abs(mean_field))[0],
    }
    value, place = largest(worst(np.minimum(host(array), 0), axes) for axes, array in depths.items())
    return value, bound, f"{place}: {-value:.3g}"


@check("<A v, mu> = <v, A^T mu>: the two directions are transposes of each other")
def adjoint(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """|<A v, mu> - <v, A^T mu>|; both sides have rounding errors: scale 2."""
    (policy, values, mean_field), bound = prepare(kernel, at)
    backward = host(backwards(kernel, policy, values)[0]) @ host(mean_field)
    value = abs(backward - host(values) @ host(forwards(kernel, policy, mean_field)[0]))
    return value, 2 * bound, "" if value <= 2 * bound else disagreement(kernel, "push", "expect")


@check("A (v - w) = A v - A w, and so for A^T: the operators are linear")
def linear(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest residual, where w is v reversed, and so for mu; errors of 2, 1 and 1: scale 4."""
    (policy, values, mean_field), bound = prepare(kernel, at)

    def residual(apply: Callable[[Array], Array], x: Array, axis: str) -> tuple[float, str]:
        y = x[::-1]
        return worst(host(apply(x - y)) - host(apply(x)) + host(apply(y)), (axis,))

    backward = residual(lambda v: backwards(kernel, policy, v)[0], values, "state")
    value, place = largest((backward, residual(lambda mu: forwards(kernel, policy, mu)[0], mean_field, "successor")))
    return value, 4 * bound, place


@check("A v = sum_a pi (P v) and A^T mu = P^T (mu * pi): a policy closes the kernel into A")
def policy_closes_kernel(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest difference; scale 2."""
    (policy, values, mean_field), bound = prepare(kernel, at)
    (operator, expected), (forward, pushed) = backwards(kernel, policy, values), forwards(kernel, policy, mean_field)
    backward = worst(host(operator) - (host(policy) * host(expected)).sum(-1), ("state",))
    value, place = largest((backward, worst(host(forward) - host(pushed), ("successor",))))
    return value, 2 * bound, place


@check("the sparse matrices (BCOO) and the matrix-free form give the same A v, P v and A^T mu")
def forms_agree(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest difference between the forms; both have rounding errors: scale 2."""
    at, bound = prepare(kernel, at)
    return _differences(kernel, at, tuple(map(host, _explicit(kernel, *at))), 2 * bound)


@check("the structured kernel and the generic one of its successors give the same A v, P v and A^T mu")
def structure_agrees(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest difference between the kernels; both have rounding errors: scale 2."""
    at, bound = prepare(kernel, at)
    generic = SuccessorKernel(*kernel.successors(), checks=False)
    products = (*backwards(generic, at.policy, at.values), forwards(generic, at.policy, at.mean_field)[0])
    return _differences(kernel, at, tuple(map(host, products)), 2 * bound)


@check("A v, P v and A^T mu are those of SciPy's matrix of the same entries, in double precision")
def matches_scipy(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest difference; only one side has rounding errors: scale 1."""
    at, bound = prepare(kernel, at)
    policy, values, mean_field = map(host, at)
    indices, probabilities = (np.asarray(array).reshape(policy.size, -1) for array in kernel.successors())
    rows = np.repeat(np.arange(policy.size), indices.shape[1])
    shape = (policy.size, kernel.num_states)
    matrix = scipy.sparse.coo_array((host(probabilities).ravel(), (rows, indices.ravel())), shape).tocsr()
    expected = (matrix @ values).reshape(policy.shape)
    others = ((policy * expected).sum(-1), expected, matrix.T @ (mean_field[:, None] * policy).ravel())
    return _differences(kernel, at, others, bound)


@check("states relabelled: the same A v, P v and A^T mu, relabelled")
def permutation_invariance(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest difference after a random permutation of the states; scale 2."""
    at, bound = prepare(kernel, at)
    label = np.random.default_rng(0).permutation(kernel.num_states)  # state s is now called label[s]
    back = np.argsort(label)
    indices, probabilities = kernel.successors()
    relabelled = SuccessorKernel(jnp.asarray(label)[indices][back], probabilities[back], checks=False)
    policy, values, mean_field = (array[back] for array in at)
    products = (*backwards(relabelled, policy, values), forwards(relabelled, policy, mean_field)[0])
    return _differences(kernel, at, tuple(host(product)[label] for product in products), 2 * bound)


KERNEL_LAWS: tuple[Law, ...] = (
    rows_sum_to_one,
    mass_kept,
    sign_kept,
    adjoint,
    linear,
    policy_closes_kernel,
    forms_agree,
    structure_agrees,
    matches_scipy,
    permutation_invariance,
)
