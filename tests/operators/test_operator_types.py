"""Whatever type indices, weights and vectors come in, every kernel is its dense twin."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels as twin

from structmfg import operators as ops
from structmfg.operators._base import PRODUCTS, Transitions, takes_vectors

pytestmark = pytest.mark.usefixtures("unchecked")

OUTER, INNER, A, K = 20, 10, 2, 3  # 200 states: indices that 8 bits hold, made into numbers that they do not
STEPS = ((-3, 1), (0, 2), (0.25, 0.75))


class Case(NamedTuple):
    """A builder from arrays that are first passed through `kind`, and the dense twin."""

    build: Any
    twin: np.ndarray


class Draw(NamedTuple):
    """Random kernels by the names of their classes, and random vectors."""

    cases: dict[str, Case]
    policy: np.ndarray
    values: np.ndarray
    mass: np.ndarray

    @property
    def given(self):
        """For `all_products`."""
        return self.values, self.mass, self.mass[:, None] * self.policy, self.policy


def drawn(seed, outer, inner):
    """The same shapes for all seeds."""
    rng, size = np.random.default_rng(seed), outer * inner

    def rows(*shape):
        raw = rng.random(shape) * (rng.random(shape) < 0.8) + 1e-3
        return raw / raw.sum(-1, keepdims=True)

    low, probabilities = rng.integers(0, min(size, 128), (size, A, K)), rows(size, A, K)
    first, chain, weights = low[:outer] % outer, rows(inner, inner), rows(size, 2).T
    index, weight = rng.integers(0, outer - 1, (size, A)), rng.random((size, A))
    wall, end, state, shift = (np.array(n) for n in (*rng.integers(0, min(size, 128), 3), rng.integers(-2, 3)))
    successors, line = twin.successors(low, probabilities), twin.lattice(size, STEPS[0])
    lottery = np.zeros((size, A, size))
    for (s, a), i in np.ndenumerate(index):
        lottery[s, a, [i * inner + s % inner, (i + 1) * inner + s % inner]] = 1 - weight[s, a], weight[s, a]

    def lists(kind):
        return ops.SuccessorKernel(kind(low), kind(probabilities))

    def noise(kind):
        return ops.LatticeNoise(size, STEPS[1], kind(np.array(STEPS[2])), barriers=kind(end[None]))

    def lattice(kind):
        return ops.LatticeKernel(size, STEPS[0], shift=kind(shift), max_shift=2, barriers=kind(wall[None]))

    cases = {
        "dense": Case(lambda kind: ops.DenseKernel(kind(successors)), successors),
        "successors": Case(lists, successors),
        "lottery": Case(lambda kind: ops.LotteryKernel(outer, kind(index), kind(weight)), lottery),
        "lattice": Case(lattice, twin.lattice(size, STEPS[0], shift=int(shift), barriers=(int(wall),))),
        "factored": Case(
            lambda kind: lists(kind) >> noise(kind),
            twin.followed_by(successors, twin.noise(size, *STEPS[1:], barriers=(int(end),))),
        ),
        "mixture": Case(
            lambda kind: ops.MixtureKernel([lists(kind), ops.LatticeKernel(size, STEPS[0])], kind(weights)),
            twin.mixture([successors, line], weights),
        ),
        "patched": Case(
            lambda kind: ops.PatchedKernel(ops.LatticeKernel(size, STEPS[0]), lists(kind), kind(state)),
            twin.patched(line, successors, int(state)),
        ),
        "kron": Case(
            lambda kind: ops.kron(ops.SuccessorKernel(kind(first), kind(probabilities[:outer])), kind(chain)),
            twin.kron(twin.successors(first, probabilities[:outer]), chain),
        ),
    }
    return Draw(cases, rows(size, A), rng.normal(size=size), rows(size))


DRAW = drawn(15, OUTER, INNER)
CASES, POLICY, VALUES, MASS = DRAW
S = OUTER * INNER
QUICK = {"lottery"}  # compiled one by one, the others take too long for what they show


def in_type(whole, floating=float, way=np.asarray):
    """Whole numbers in one type, the others in another, as arrays of NumPy or of JAX."""
    return lambda array: way(array, whole if array.dtype.kind == "i" else floating)


def all_products(kernel, values, mass, joint, policy):
    """By name, what every form makes of the vectors, in one program or one by one."""
    operator = kernel.under(policy)
    forms = {"free": operator, "explicit": operator.explicit(), "compressed": operator.compressed()}
    result = {f"{name}.mv": form.mv(values) for name, form in forms.items()}
    result |= {f"{name}.rmv": form.rmv(mass) for name, form in forms.items()}
    result |= {f"{name}.T.mv": form.T.mv(mass) for name, form in forms.items()}
    result |= {f"{name}.move": form.move(mass) for name, form in forms.items()}
    explicit = kernel.explicit()
    result |= {"expect": kernel.expect(values), "explicit.expect": explicit.expect(values)}
    result |= {"push": kernel.push(joint), "explicit.push": explicit.push(joint)}
    result |= {"expect_under": kernel.expect_under(policy, values), "push_under": kernel.push_under(policy, mass)}
    return result


def expected_products(dense, values, mass, joint, policy):
    matrix = np.einsum("sa,sat->st", policy, dense)
    pulled, pushed, moved = matrix @ values, mass @ matrix, mass @ matrix
    result = {f"{name}.mv": pulled for name in ("free", "explicit", "compressed")}
    for way in ("rmv", "T.mv", "move"):
        result |= {f"{name}.{way}": moved for name in ("free", "explicit", "compressed")}
    result |= {"expect": dense @ values, "explicit.expect": dense @ values}
    result |= dict.fromkeys(("push", "explicit.push"), np.einsum("sa,sat->t", joint, dense))
    return result | {"expect_under": pulled, "push_under": pushed}


def assert_all(got, expected, tolerance=2e-6):
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert isinstance(array, jax.Array), name
        assert array.dtype == jnp.result_type(float), name
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


WHOLE = ("int8", "uint8", "int16", "uint16", "uint32", "int32", "int64", "uint64")


@pytest.mark.parametrize(
    "name", [name if i % 2 == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(CASES)]
)
def test_indices_of_every_type(name):
    """Narrow ones would overflow in products such as index * inner size, and unsigned ones below zero."""
    build, dense = CASES[name]
    arrays = []
    kernel = build(lambda array: arrays.append(array) or in_type(np.int32)(array))
    for whole in WHOLE:
        if name == "lattice" and whole.startswith("u") and kernel.shift < 0:
            continue
        for way in (np.asarray, jnp.asarray)[: 1 if "64" in whole else 2]:
            assert eqx.tree_equal(build(in_type(whole, way=way)), kernel)
    some = np.array([3, 126], np.uint8)
    for full, part in zip(kernel.successors(), kernel.successors_of(some), strict=True):
        np.testing.assert_array_equal(full[some], part)

    @jax.jit
    def products_of_traced(*traced):
        handed = iter(traced)
        return all_products(build(lambda _: next(handed)), *DRAW.given)

    assert_all(products_of_traced(*map(in_type(np.int8, np.float32), arrays)), expected_products(dense, *DRAW.given))


def test_successors_of_a_kernel_of_ones_own_in_a_narrow_type():
    """Its rows are numbered in a type that counts them all."""

    class Narrow(ops.SuccessorKernel):
        def successors(self):
            return ops.Successors(self.indices.astype(jnp.uint8), self.probabilities)

    build, dense = CASES["successors"]
    lists = build(in_type(int))
    kernel = Narrow(lists.indices, lists.probabilities)
    np.testing.assert_allclose(kernel.explicit().expect(VALUES), dense @ VALUES, atol=1e-5)
    arrived = kernel.under(POLICY).compressed().rmv(MASS)
    np.testing.assert_allclose(arrived, MASS @ twin.under(dense, POLICY), atol=1e-6)


KINDS = {
    "numpy float64": lambda x: x,
    "numpy float32": lambda x: x.astype(np.float32),
    "lists": lambda x: x.tolist(),
    "whole numbers": lambda x: np.round(1000 * x).astype(np.int64),
    "whole numbers of JAX": lambda x: jnp.asarray(np.round(1000 * x).astype(np.int32)),
    "small whole numbers": lambda x: np.round(100 * x).astype(np.int8),
    "large whole numbers": lambda x: np.round(2e12 * x).astype(np.int64),
    "lists of whole numbers": lambda x: np.round(1e12 * x).astype(int).tolist(),
    "booleans": lambda x: x > 0.3,
}


def test_every_product_takes_vectors_of_every_kind():
    """Whoever defines one, in the package or outside; the tests below look at what comes of it."""
    defined = [cls for cls in vars(ops).values() if isinstance(cls, type) and issubclass(cls, Transitions)]
    for cls in defined:
        for name in {*PRODUCTS} & {*cls.__dict__}:
            assert cls.__dict__[name].__code__ is takes_vectors(lambda self: None, ()).__code__, (cls, name)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_vectors_of_every_kind(name):
    """An array of JAX comes back, and a whole number of people moves by weights that are none."""
    build, dense = CASES[name]
    kernel = build(in_type(int))
    actions = (np.arange(S) % A)[:, None] == np.arange(A)
    for kind, make in KINDS.items():
        given = [make(x) for x in (VALUES % 1, MASS, MASS[:, None] * POLICY)]
        policies = {"whole numbers": actions.astype(int), "booleans": actions, "lists": POLICY.tolist()}
        policy = policies.get(kind, POLICY)
        known = [np.asarray(x, float) for x in (*given, policy)]
        got = all_products(kernel, *given, policy)
        expected = expected_products(dense, *known)
        for key in [key for key in got if key.endswith("move")]:  # it leaves mass alone that is not one
            if abs(known[1].sum() - 1) > 1e-3:
                np.testing.assert_allclose(got[key].sum(), known[1].sum(), rtol=1e-5)
        assert_all(got, expected, 5e-6)


def test_vectors_take_the_precision_of_the_operator(double):
    """The wider of both, so that no weight is rounded to that of the vector."""
    build, dense = CASES["lottery"]
    kernel = build(np.asarray)
    for low in (np.float16, np.float32, np.int8):
        mass = jnp.asarray(np.round(10 * MASS[:, None] * POLICY), low)
        for form in (kernel, kernel.explicit()):
            np.testing.assert_allclose(form.push(mass), np.einsum("sa,sat->t", mass, dense), rtol=0, atol=1e-13)
    single = build(in_type(int, np.float32))
    assert single.push(np.ones((S, A), int)).dtype == np.float32
    assert single.push(np.ones((S, A))).dtype == np.float64


def test_programs_stay_as_they_were():
    """A vector in the operator's own precision passes untouched."""
    kernel = CASES["successors"].build(in_type(int))

    def plain(indices, probabilities, values):
        return jnp.sum(probabilities * values[indices], axis=-1)

    values = jnp.asarray(VALUES, float)
    want = jax.make_jaxpr(plain)(kernel.indices, kernel.probabilities, values)
    assert str(jax.make_jaxpr(lambda i, p, v: ops.SuccessorKernel(i, p).expect(v))(*want.in_avals)) == str(want)


TOLERANCES = {"float64": 1e-13, "float32": 3e-6, "float16": 3e-2, "bfloat16": 2e-1}


@pytest.mark.slow
@pytest.mark.parametrize("floating", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_random_study(name, floating, double):
    """Twenty draws of every class in every type, on twelve states, all near a wall, against their dense twins."""
    products = jax.jit(all_products)
    for seed in range(20):
        draw, whole = drawn(seed, 4, 3), WHOLE[seed % len(WHOLE)]
        build, dense = draw.cases[name]
        whole = whole.removeprefix("u") if name == "lattice" else whole
        kernel = build(in_type(whole, jnp.dtype(floating), jnp.asarray))
        given = [jnp.asarray(array, floating) for array in draw.given]
        got = products(kernel, *given)
        for key, want in expected_products(dense, *draw.given).items():
            scale = max(1, abs(want).max())
            np.testing.assert_allclose(
                got[key].astype(float), want, rtol=0, atol=TOLERANCES[floating] * scale, err_msg=key
            )
