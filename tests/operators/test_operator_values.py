"""Values that make no law of motion are refused when an operator is built, in one line; all others are taken."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels as twin
from helpers.kernels import stochastic
from jax.experimental import sparse
from jax.test_util import check_grads

from structmfg import operators as ops

pytestmark = pytest.mark.usefixtures("unchecked")

S, A, K = 40, 2, 3
VALUES = np.arange(float(S))
_low, _rows = np.random.default_rng(15).integers(0, S, (S, A, K)), stochastic(S, A, K)
_dense = twin.successors(_low, _rows)


def replaced(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


def coordinates(dense):
    return sparse.BCOO.fromdense(jnp.asarray(dense, float))


_line = ops.LatticeKernel(4, (0, 1))
_two = np.full((4, 2), 0.5)
REFUSED = {
    "a dense row short": (lambda **o: ops.DenseKernel(0.9 * _dense, **o), r"row \(0, 0\) is .* with sum 0\.(9|8999)"),
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
    "noise": (lambda **o: ops.LatticeNoise(4, (0, 1), (1.5, -0.5), **o), r"the whole is \[1.5, -0.5\]"),
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
        r"row 0 has the entries \[0.5\], with sum 0.5",
    ),
    "a matrix with an empty row": (
        lambda **o: ops.ExplicitOperator(coordinates(np.diag([1, 0, 1])), **o),
        r"row 1 has the entries \[\], with sum 0",
    ),
    "a matrix with a sign": (
        lambda **o: ops.ExplicitKernel(coordinates([[1.5, -0.5], [0, 1]]), 1, **o),
        r"row 0 \(state 0, action 0\) has the entries \[1.5, -0.5\]",
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

    monkeypatch.setattr(_checks, "known_values", lambda array: array)
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


_offsets = [np.arange(-2, 3), np.arange(-30, 41)]
_offsets += [
    pytest.param(each, marks=pytest.mark.slow) for each in (np.arange(32), np.arange(33), 1 - 2 * np.arange(22))
]


@pytest.mark.parametrize("offsets", _offsets)
@pytest.mark.usefixtures("double")
def test_noise_with_many_points(offsets):
    """Products and their derivatives, in blocks where there are many offsets; some lead beyond walls and a barrier."""
    size, points = 300, len(offsets)
    probabilities, vector = stochastic(points), np.cos(np.arange(size))
    dense = twin.noise(size, offsets, probabilities, barriers=[90])

    def products(weights, values):
        noise = ops.LatticeNoise(size, offsets.tolist(), weights, barriers=[90], checks=False)
        return jnp.stack([noise.mv(values), noise.rmv(values)])

    assert 6 * np.abs(offsets).max() < size, "all rows are near a wall"
    expected = np.stack([dense @ vector, dense.T @ vector])
    np.testing.assert_allclose(products(probabilities, vector), expected, rtol=1e-12, atol=1e-13)
    check_grads(products, (probabilities, vector), order=1, atol=1e-6, rtol=1e-6)


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


def test_products_outside_of_jit_are_compiled_once(caplog):
    """Also where the slices are added up in blocks."""
    noise, vector = ops.LatticeNoise(400, range(-20, 21), np.full(41, 1 / 41)), jnp.ones(400)
    noise.mv(vector)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        noise.mv(vector)
        assert not [record for record in caplog.records if "Compiling" in record.getMessage()]
        noise.mv(jnp.ones(400, jnp.float16))
        assert [record for record in caplog.records if "Compiling" in record.getMessage()]


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages of memory as Linux does")
def test_no_product_reads_beyond_its_vector():
    """XLA's convolution in double precision did so on CPU, which ended processes now and then."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    command = [sys.executable, str(Path(__file__).with_name("guarded_memory.py"))]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.stdout.strip() == "all read within bounds", f"exit code {ran.returncode}: {ran.stderr[-500:]}"
