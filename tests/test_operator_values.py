"""Whatever type indices, weights and vectors come in, a kernel is its dense twin, or is refused in one line."""

import re
import time
from types import SimpleNamespace

import _numpy_kernels as twin
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _kernels import stochastic
from jax.experimental import sparse

from structmfg import operators as ops
from structmfg.operators._vectors import PRODUCTS, takes_vectors

pytestmark = pytest.mark.usefixtures("unchecked")

OUTER, INNER, A, K = 20, 10, 2, 3
S = OUTER * INNER  # indices that 8 bits hold, made into numbers that they do not
_random = np.random.default_rng(15)
POLICY, VALUES, MASS = stochastic(S, A), _random.normal(size=S), stochastic(S)
_low = _random.integers(0, 100, (S, A, K))
_low[0], _low[1] = 0, 127 - np.arange(K)
_rows, _index, _weight = stochastic(S, A, K), _random.integers(0, OUTER - 1, (S, A)), _random.random((S, A))
_dense, _chain = twin.successors(_low, _rows), stochastic(INNER, INNER)
_outer = twin.successors(_low[:OUTER] % OUTER, _rows[:OUTER])


def _lottery():
    dense = np.zeros((S, A, S))
    for (s, a), i in np.ndenumerate(_index):
        dense[s, a, i * INNER + s % INNER] = 1 - _weight[s, a]
        dense[s, a, (i + 1) * INNER + s % INNER] = _weight[s, a]
    return dense


def _successors(kind):
    return ops.SuccessorKernel(kind(_low), kind(_rows))


STEPS = ((-3, 1), (0, 2), (0.25, 0.75))
# By the name of a class: its builder from arrays that are first passed through `kind`, and its dense twin.
CASES = {
    "dense": (lambda kind: ops.DenseKernel(kind(_dense)), _dense),
    "successors": (_successors, _dense),
    "lottery": (lambda kind: ops.LotteryKernel(OUTER, kind(_index), kind(_weight)), _lottery()),
    "lattice": (
        lambda kind: ops.LatticeKernel(
            S, STEPS[0], shift=kind(np.array(-2)), max_shift=2, barriers=kind(np.array([99]))
        ),
        twin.lattice(S, STEPS[0], shift=-2, barriers=(99,)),
    ),
    "factored": (
        lambda kind: _successors(kind) >> ops.LatticeNoise(S, *STEPS[1:], barriers=kind(np.array([120]))),
        twin.followed_by(_dense, twin.noise(S, *STEPS[1:], barriers=(120,))),
    ),
    "mixture": (
        lambda kind: ops.MixtureKernel([_successors(kind), ops.LatticeKernel(S, STEPS[0])], kind(stochastic_halves())),
        twin.mixture([_dense, twin.lattice(S, STEPS[0])], np.full((2, S), 0.5)),
    ),
    "patched": (
        lambda kind: ops.PatchedKernel(ops.LatticeKernel(S, STEPS[0]), _successors(kind), kind(np.array(126))),
        twin.patched(twin.lattice(S, STEPS[0]), _dense, 126),
    ),
    "kron": (
        lambda kind: ops.kron(ops.SuccessorKernel(kind(_low[:OUTER] % OUTER), kind(_rows[:OUTER])), kind(_chain)),
        twin.kron(_outer, _chain),
    ),
}

QUICK = {"lottery"}  # compiled one by one, the others take longer than they tell


def stochastic_halves():
    return np.full((2, S), 0.5)


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


@pytest.mark.parametrize("name", CASES)
def test_indices_of_every_type(name):
    """Narrow ones would overflow in products such as index * inner size, and unsigned ones below zero."""
    build, dense = CASES[name]
    given, arrays = (VALUES, MASS, MASS[:, None] * POLICY, POLICY), []
    kernel = build(lambda array: arrays.append(array) or in_type(np.int32)(array))
    for whole in WHOLE:
        if name == "lattice" and whole.startswith("u"):
            continue  # its shift is negative
        for way in (np.asarray, jnp.asarray)[: 1 if "64" in whole else 2]:
            assert eqx.tree_equal(build(in_type(whole, way=way)), kernel)
    some = np.array([3, 126], np.uint8)
    for full, part in zip(kernel.successors(), kernel.successors_of(some), strict=True):
        np.testing.assert_array_equal(full[some], part)

    @jax.jit
    def products_of_traced(*traced):
        handed = iter(traced)
        return all_products(build(lambda _: next(handed)), *given)

    assert_all(products_of_traced(*map(in_type(np.int8, np.float32), arrays)), expected_products(dense, *given))


@pytest.mark.slow
def test_successors_of_a_kernel_of_ones_own_in_a_narrow_type():
    class Own(ops.DenseKernel):
        def successors(self):
            return ops.Successors(jnp.asarray(_low, jnp.uint8), jnp.asarray(_rows, float))

    kernel = Own(_dense)
    np.testing.assert_allclose(kernel.explicit().expect(VALUES), _dense @ VALUES, atol=1e-5)
    np.testing.assert_allclose(
        kernel.under(POLICY).compressed().rmv(MASS), MASS @ twin.under(_dense, POLICY), atol=1e-6
    )


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
    defined = [cls for cls in vars(ops).values() if isinstance(cls, type) and issubclass(cls, ops._base._Convertible)]
    for cls in defined:
        for name in {*PRODUCTS} & {*cls.__dict__}:
            assert cls.__dict__[name].__code__ is takes_vectors(lambda self: None).__code__, (cls, name)


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
    kernel = ops.LotteryKernel(OUTER, _index, _weight)
    for low in (np.float16, np.float32, np.int8):
        mass = jnp.asarray(np.round(10 * MASS[:, None] * POLICY), low)
        for form in (kernel, kernel.explicit()):
            np.testing.assert_allclose(form.push(mass), np.einsum("sa,sat->t", mass, _lottery()), rtol=0, atol=1e-13)
    single = ops.LotteryKernel(OUTER, _index, _weight.astype(np.float32))
    assert single.push(np.ones((S, A), int)).dtype == np.float32
    assert single.push(np.ones((S, A))).dtype == np.float64


def test_programs_stay_as_they_were():
    """A vector in the operator's own precision passes untouched."""
    kernel = _successors(in_type(int))

    def plain(indices, probabilities, values):
        return jnp.sum(probabilities * values[indices], axis=-1)

    values = jnp.asarray(VALUES, float)
    want = jax.make_jaxpr(plain)(kernel.indices, kernel.probabilities, values)
    assert str(jax.make_jaxpr(lambda i, p, v: ops.SuccessorKernel(i, p).expect(v))(*want.in_avals)) == str(want)


def replaced(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


def coordinates(dense):
    return sparse.BCOO.fromdense(jnp.asarray(dense, float))


_line = ops.LatticeKernel(4, (0, 1))
_two = np.full((4, 2), 0.5)
REFUSED = {
    "a dense row short": (lambda **o: ops.DenseKernel(0.9 * _dense, **o), r"row \(0, 0\) is .* with sum 0.89999998"),
    "a dense row with a sign": (
        lambda **o: ops.DenseKernel(np.array([[[1.2, -0.2]], [[0, 1]]]), **o),
        r"row \(0, 0\) is \[1.2, -0.2\], with sum 1$",
    ),
    "no number": (
        lambda **o: ops.DenseKernel(replaced(_dense, (3, 1, 2), np.nan), **o),
        r"row \(3, 1\) is .*nan.* with sum nan",
    ),
    "infinite": (lambda **o: ops.SuccessorKernel(_low, replaced(_rows, (5, 0, 1), np.inf), **o), r"row \(5, 0\)"),
    "a list of successors short": (
        lambda **o: ops.SuccessorKernel(_low, replaced(_rows, (7, 1), (0.5, 0.2, 0.2)), **o),
        r"row \(7, 1\) is \[0.5, 0.2, 0.2\], with sum 0.9",
    ),
    "a successor beyond": (
        lambda **o: ops.SuccessorKernel(replaced(_low, (2, 1, 0), S), _rows, **o),
        rf"0..{S - 1}, but indices\[2, 1, 0\] is {S}; states are counted from 0",
    ),
    "a successor below": (
        lambda **o: ops.SuccessorKernel(jnp.asarray(replaced(_low, (2, 1, 0), -1)), _rows, **o),
        r"indices\[2, 1, 0\] is -1",
    ),
    "a successor past 32 bits": (lambda **o: ops.SuccessorKernel(_low + 2**32, _rows, **o), "is 4294967"),
    "an outer index beyond": (
        lambda **o: ops.LotteryKernel(2, [[0], [1]], np.ones((2, 1)), **o),
        r"index\[1, 0\] is 1",
    ),
    "a weight that is no number": (
        lambda **o: ops.LotteryKernel(2, [[0], [0]], [[0.5], [np.nan]], **o),
        r"\[0, 1\], but weight\[1, 0\] is nan",
    ),
    "a lattice's barrier": (lambda **o: ops.LatticeKernel(4, (0,), barriers=(1, 4), **o), "barrier 1 is 4"),
    "a barrier past 32 bits": (
        lambda **o: ops.LatticeKernel(4, (0,), barriers=np.array([2**32 + 1]), **o),
        "barrier 0 is 4294967297",
    ),
    "a barrier that is no number": (lambda **o: ops.LatticeNoise(4, (0,), (1.0,), barriers=[np.nan], **o), "is nan"),
    "a shift whose size overflows": (
        lambda **o: ops.LatticeKernel(4, (0,), shift=np.int8(-128), max_shift=127, **o),
        "within max_shift, 127, of 0, but is -128",
    ),
    "noise": (lambda **o: ops.LatticeNoise(4, (0, 1), (1.5, -0.5), **o), r"their row is \[1.5, -0.5\]"),
    "a chain": (lambda **o: ops.KroneckerOperator(4, [[1, 0], [1, 1]], **o), r"row 1 is \[1, 1\], with sum 2"),
    "a chain of a product": (lambda **o: ops.kron(_line, [[0.5, 0.6], [1, 0]], **o), r"row 0 is \[0.5, 0.6\]"),
    "weights of a mixture": (
        lambda **o: ops.MixtureKernel([_line] * 2, replaced(np.full((2, 4), 0.5), (1, 2), 0.6), **o),
        r"row 2 is \[0.5, 0.6\]",
    ),
    "a patched state": (lambda **o: ops.PatchedKernel(_line, _line, -1, **o), "0..3, but is -1"),
    "a patched state past 32 bits": (
        lambda **o: ops.PatchedKernel(_line, _line, np.int64(2**32), **o),
        "is 4294967296",
    ),
    "a policy that sums to three": (
        lambda **o: _line.under(3 * _two, **o),
        r"policy .* row 0 is \[1.5, 1.5\], with sum 3",
    ),
    "a policy with a sign": (lambda **o: _line.under(replaced(_two, 2, (1.5, -0.5)), **o), r"row 2 is \[1.5, -0.5\]"),
    "a policy of no number": (lambda **o: _line.under(replaced(_two, (1, 0), np.nan), **o), "row 1 is .nan, 0.5."),
    "actions for a policy": (lambda **o: _line.under(np.ones((4, 2), int), **o), r"row 0 is \[1, 1\], with sum 2"),
    "an operator under a policy": (lambda **o: ops.ControlledOperator(_line, 0 * _two, **o), "with sum 0"),
    "a matrix short": (
        lambda **o: ops.ExplicitOperator(coordinates(0.5 * np.eye(3)), **o),
        r"row 0 are \[0.5\], with sum 0.5",
    ),
    "a matrix with an empty row": (
        lambda **o: ops.ExplicitOperator(coordinates(np.diag([1, 0, 1])), **o),
        r"row 1 are \[\], with sum 0",
    ),
    "a matrix with a sign": (
        lambda **o: ops.ExplicitKernel(coordinates([[1.5, -0.5], [0, 1]]), 1, **o),
        r"row 0 are \[1.5, -0.5\]",
    ),
    "a matrix's column": (
        lambda **o: ops.ExplicitOperator(sparse.BCOO((jnp.ones(2), jnp.array([[0, 2], [1, 0]])), shape=(2, 2)), **o),
        "columns of the matrix must lie in 0..1, but that of entry 0 is 2",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_values_are_refused_when_a_kernel_is_built(fault):
    """In one line that names the place; not where the user has said so."""
    build, message = REFUSED[fault]
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
    with np.errstate(invalid="ignore"):
        build(checks=False)


TYPES = {
    "indices of floats": lambda: ops.SuccessorKernel(_low.astype(float), _rows),
    "indices of booleans": lambda: ops.SuccessorKernel(_low > 3, _rows),
    "traced booleans": lambda: jax.jit(lambda i: ops.SuccessorKernel(i, _rows).expect(VALUES))(_low > 3),
    "index of booleans": lambda: ops.LotteryKernel(2, [[True], [False]], np.ones((2, 1))),
    "state of booleans": lambda: ops.PatchedKernel(_line, _line, True),
    "barriers as a mask": lambda: ops.LatticeKernel(4, (0,), barriers=np.array([False, True, False, False])),
    "shift of booleans": lambda: ops.LatticeKernel(4, (0,), shift=np.True_, max_shift=1),
    "states of floats": lambda: _line.successors_of(np.array([1.0])),
    "states beyond": lambda: _line.successors_of([1, 4]),
    "words": lambda: ops.SuccessorKernel("words", _rows),
    "words as values": lambda: _line.expect("words"),
    "complex values": lambda: _line.under(_two).mv(np.ones(4) * 1j),
    "no policy": lambda: _line.under(None),
    "no states": lambda: ops.DenseKernel(np.zeros((0, 2, 0))),
    "no actions": lambda: ops.DenseKernel(np.zeros((2, 0, 2))),
    "no successors": lambda: ops.SuccessorKernel(np.zeros((2, 1, 0), int), np.zeros((2, 1, 0))),
    "no index": lambda: ops.LotteryKernel(2, np.zeros((0, 1), int), np.zeros((0, 1))),
    "no chain": lambda: ops.KroneckerOperator(4, np.zeros((0, 0))),
    "no kernel": lambda: ops.ControlledOperator(ops.LatticeNoise(4, (0,), (1.0,)), _two),
    "a line too long": lambda: ops.LatticeKernel(2**30, (0,)),
}


@pytest.mark.parametrize("fault", TYPES)
def test_types_are_refused(fault):
    with pytest.raises(ValueError, match=r"must|needs") as caught:
        TYPES[fault]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [name for name in REFUSED if "kernel" not in name][:4])
def test_nothing_is_looked_at_inside_jit(fault):
    build, _ = REFUSED[fault]
    leaves = jax.tree.leaves(build(checks=False))
    kind = ops.DenseKernel if len(leaves) == 1 else ops.SuccessorKernel
    jax.jit(lambda *arrays: kind(*arrays))(*leaves)


def test_what_rounding_leaves_is_accepted():
    """Long rows that were normalised in single precision, half precision, and the rest of a sum below zero."""
    weights = np.random.default_rng(0).exponential(size=(1, 1, 10**6)).astype(np.float32)
    rows = weights / np.cumsum(weights, axis=-1)[..., -1:]  # off by 1e-4, the error of a plain sum
    assert abs(rows.sum(dtype=float) - 1) > 2e-5
    ops.SuccessorKernel(np.zeros(rows.shape, int), rows)
    with pytest.raises(ValueError, match=r"within 0\.00023"):
        ops.SuccessorKernel(np.zeros(rows.shape, int), rows * np.float32(1.001))
    for dtype in (jnp.float16, jnp.bfloat16):
        low = jnp.asarray(_rows, dtype)
        assert ops.SuccessorKernel(_low, low).probabilities.dtype == dtype
        _line.under(jnp.asarray(stochastic(4, 2), dtype))
        with pytest.raises(ValueError, match="sum to 1 within"):
            ops.SuccessorKernel(_low, 0.8 * low)
    rest = 1 - 0.9 - 0.1
    assert rest < 0
    ops.DenseKernel(np.array([[[0.9, 0.1, rest]]] * 3))


def test_values_on_another_device_are_looked_at_there(monkeypatch):
    """Only extremes and sums of rows are fetched, unless there is a fault to name."""
    from structmfg import _checks

    monkeypatch.setattr(_checks, "where_they_lie", lambda array: array)
    rows = jnp.asarray(_rows, float)
    with monkeypatch.context() as patch:
        patch.setattr(_checks, "np", SimpleNamespace(errstate=np.errstate, ndarray=np.ndarray))
        _checks.check_rows("rows", rows)
        _checks.check_entries("rows", rows, 0, 1)
    with pytest.raises(ValueError, match=r"row \(3, 1\)"):
        _checks.check_rows("rows", rows.at[3, 1].mul(1.1))


def test_positions_and_grids_of_every_type():
    """Whole numbers of few bits would overflow in differences, and half precision names no index of a fine grid."""
    points = np.array([-100, -20, 0, 40, 100])
    positions = np.array([-120, -100, -21, 0, 39, 100, 127])
    index, weight = ops.ArbitraryGrid(jnp.asarray(points, float)).lottery(jnp.asarray(positions, float))
    for kind in (np.int8, np.int16, np.int64, np.float32):
        for given in (positions.astype(kind), positions.tolist(), jnp.asarray(positions)):
            i, w = ops.ArbitraryGrid(points.astype(kind)).lottery(given)
            np.testing.assert_array_equal(i, index)
            np.testing.assert_allclose(w, weight, rtol=1e-6)
    grid = ops.GeometricGrid(2000, 0.0, 100.0)
    for kind in (np.float16, jnp.bfloat16, np.uint8):
        given = jnp.asarray(np.arange(1, 100, 7), kind)
        i, w = grid.lottery(given)
        np.testing.assert_allclose(
            (1 - w) * grid.points()[i] + w * grid.points()[i + 1], given.astype(float), rtol=1e-5
        )
    with pytest.raises(ValueError, match=r"weight\[2, 0\] is nan"):
        ops.LotteryKernel(5, *ops.ArbitraryGrid(points).lottery(np.array([[0.0], [1], [np.nan], [2], [3]])))


def test_a_shift_takes_back_what_an_offset_overshoots():
    """Offsets beyond the line were cut before the shift was added."""
    kernel = ops.LatticeKernel(10, (-20, 3), shift=20, max_shift=20)
    np.testing.assert_allclose(kernel.as_dense(), twin.lattice(10, (-20, 3), shift=20))
    far = ops.LatticeKernel(2**30 - 1, (2**31, -(2**31)))
    np.testing.assert_array_equal(far.successors_of([2**30 - 2, 5]).indices[..., 0], [[2**30 - 2, 0]] * 2)


def test_long_signals_are_padded():
    """XLA's convolution on CPU is wrong at the end of more than 2^24 entries, unless they are a multiple of 4."""
    for size, padded in ((2**24, 2**24), (2**24 + 1, 2**24 + 4), (2**24 + 2, 2**24 + 4)):
        noise = ops.LatticeNoise(size, (-1, 0, 1), (0.25, 0.5, 0.25))
        for product in (noise.mv, noise.rmv):
            program = str(jax.make_jaxpr(product)(jax.ShapeDtypeStruct((size,), np.float32)))
            assert re.search(rf"f32\[1,1,{padded}\] = conv", program)
            assert ("pad[" in program) == (size != padded)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2**24 + 1, 2**24 + 2, 2**24 + 3])
def test_long_lattices(size):
    """The mass of the last cells arrives, as on a short line."""
    noise, short = (ops.LatticeNoise(n, (-2, 0, 1), (0.25, 0.5, 0.25)) for n in (size, 40))
    vector = np.arange(40) % 7 + 1.0
    for product in ("mv", "rmv"):
        long = np.zeros(size)
        long[:20], long[-20:] = vector[:20], vector[-20:]
        got, want = np.asarray(getattr(noise, product)(long)), np.asarray(getattr(short, product)(vector))
        np.testing.assert_allclose(np.r_[got[:17], got[-17:]], np.r_[want[:17], want[-17:]], rtol=1e-6)


@pytest.mark.slow
def test_checks_take_little_of_the_first_product(capsys):
    """At 10^6 states of 5 successors: below a tenth of the time to the first result, its compilation included."""
    size, rng = 10**6, np.random.default_rng(0)
    rows = rng.random((size, 1, 5), np.float32)
    rows /= rows.sum(-1, keepdims=True)
    indices, rows = jnp.asarray(rng.integers(0, size, rows.shape), jnp.int32), jnp.asarray(rows)
    values = jnp.ones(size)

    def took(work):
        start = time.perf_counter()
        jax.block_until_ready(work())
        return time.perf_counter() - start

    first = took(lambda: ops.SuccessorKernel(indices, rows, checks=False).expect(values))
    with_checks, without = (
        min(took(lambda flag=flag: ops.SuccessorKernel(indices, rows, checks=flag)) for _ in range(5))
        for flag in (True, False)
    )
    again = min(took(lambda: ops.SuccessorKernel(indices, rows, checks=False).expect(values)) for _ in range(5))
    with capsys.disabled():
        print(f"\nchecks {with_checks - without:.4f} s, first product {first:.4f} s, every later one {again:.4f} s")
    assert with_checks - without < 0.1 * first
