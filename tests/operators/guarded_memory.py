"""Products of vectors that lie beside memory which nobody may read: a process of its own, as a wrong read ends it."""

import ctypes
import mmap

import jax
import jax.numpy as jnp
import numpy as np

from structmfg import operators as ops

SIZE, OFFSETS = 512, (-12, -3, 0, 3, 12)


def beside_a_guard(values, at_end):
    """The values in the last or the first bytes of a page whose neighbours are protected; and what keeps it alive."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    place = 2 * page - values.nbytes if at_end else page
    array = np.frombuffer(memory, values.dtype, values.size, place)
    array[...] = values
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for guard in (start, start + 2 * page):
        assert protect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    return array, memory


def products(weights, values):
    noise = ops.LatticeNoise(SIZE, OFFSETS, weights, checks=False)
    return noise.mv(values), noise.rmv(values)


def derivatives(weights, values):
    return jax.grad(lambda *at: sum(jnp.sum(jnp.sin(each)) for each in products(*at)), (0, 1))(weights, values)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    alive = []
    for dtype in (np.float32, np.float64):
        weights, plain = np.full(len(OFFSETS), 0.2, dtype), np.cos(np.arange(SIZE)).astype(dtype)
        for function in (products, derivatives):
            compiled = jax.jit(function).lower(weights, plain).compile()
            expected = compiled(weights, plain)
            for at_end in (False, True):
                array, memory = beside_a_guard(plain, at_end)
                given = jax.device_put(array)
                assert given.unsafe_buffer_pointer() == array.ctypes.data, "the values were copied"
                jax.tree.map(np.testing.assert_array_equal, compiled(weights, given), expected)
                alive.append((memory, array, given))
    print("all read within bounds")
