"""What all tests share: shapes and types are checked while they run, in single and in double precision."""

import atexit
import functools
import gc
import io
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import helpers.typechecker
import jaxtyping

jaxtyping.jaxtyped = helpers.typechecker.jaxtyped
jaxtyping.install_import_hook("structmfg", None)  # before anything imports structmfg

# Most of the time of the tests goes into compiling small programs. So they are compiled without costly optimisations,
# by XLA's older code generator, which takes half the time of the newer one, and without its threads
# (JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles them as for users). A program that several files or processes need is
# compiled once: a folder keeps it, which is new for every run of the tests.
quick = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
if quick and version("jaxlib").startswith("0.10."):  # another might not know these flags, which would end the process
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="structmfg-programs-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

gc.set_threshold(100_000, 50, 1000)  # looking for garbage among all that JAX caches takes time

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

# JAX lowers every program in an MLIR context of its own, which takes 2 ms to make, and 1 MB until it is collected.
# Tests lower thousands of small programs, so one context serves all but those that are lowered within another.
if hasattr(mlir, "make_ir_context"):  # another version of JAX might not have it
    own_context, shared_context = mlir.make_ir_context, functools.cache(mlir.make_ir_context)
    mlir.make_ir_context = lambda: own_context() if mlir.ir.Context.current else shared_context()

settings.register_profile("ci", max_examples=15, deadline=None, derandomize=True, database=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("ci")  # `pytest --hypothesis-profile=thorough` looks further


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: more than a few seconds")


def pytest_collection_finish():
    gc.freeze()  # what all tests need stays: not looked at again


def _drop_programs(clear=jax.clear_caches):
    """Drop the compiled programs where they have become many.

    Each takes several memory maps, of which Linux gives a process 65530 (vm.max_map_count), and XLA crashes without.
    """
    maps = Path("/proc/self/maps")  # only Linux has it
    if not maps.exists() or maps.read_bytes().count(b"\n") > 30_000:
        clear()


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop programs after a file of tests."""
    yield
    _drop_programs()


@pytest.fixture(autouse=True)
def few_programs_of_slow_tests(request):
    """Drop programs after a slow test, too, as one may compile thousands."""
    yield
    if request.node.get_closest_marker("slow"):
        _drop_programs()


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """The dtype that the package works in during the test."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def double():
    """Double precision, where finite differences or tight comparisons need it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Annotations unchecked, as for a user: the package's own `ValueError` must then name a wrong shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def spared_estimates():
    """For tests that train many tiny policies by the command line: their memory is not estimated."""
    from structmfg import runs
    from structmfg.solvers import MemoryEstimate, TrainingSolver

    check, spared = runs.check_memory, MemoryEstimate(2**30, 2**30, 0, "spared", 2**34, 0.0)

    def quick(game, solver, **options):
        return spared if isinstance(solver, TrainingSolver) else check(game, solver, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "check_memory", quick)
        yield


@pytest.fixture(scope="module")
def first_method_alone():
    """For tests in which exact solvers are beside the point.

    Where the first method fails, no second is compiled, and the search for a floor ends soon.
    """
    from structmfg.reports import _evaluation
    from structmfg.solvers.exact import _alternating

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_alternating, "_PATIENCE", 10**9)
        patch.setattr(_evaluation, "_FLOOR_MAX_STEPS", 300)
        yield


@pytest.fixture(scope="module")
def blank_figures():
    """For tests of what surrounds the figures of a report: they are made, but drawing them would take seconds."""
    import matplotlib.figure
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, [[0.0]], format="png")

    def blank(figure, file, **_):
        file.write(buffer.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", blank)
        yield


@pytest.fixture(scope="module")
def programs_kept():
    """The package drops compiled programs after a run, and its tests need those for the next one: counted in place.

    Where programs become many, `few_programs` drops them after the file.
    """
    dropped = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "clear_caches", lambda: dropped.append("all"))
        yield dropped


@pytest.fixture(autouse=True, scope="module")
def names_as_they_were():
    """Games and solvers that the tests of a file have given a name lose it again."""
    from structmfg.games import GAMES
    from structmfg.solvers import SOLVERS

    before = [(names, dict(names)) for names in (GAMES, SOLVERS)]
    yield
    for names, content in before:
        names.clear()
        names.update(content)
