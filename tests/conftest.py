"""Shapes and types are checked while the tests run; every numerical test runs in single and in double precision."""

import helpers.typechecker  # noqa: F401
from jaxtyping import install_import_hook

install_import_hook("structmfg", "helpers.typechecker.typechecker")  # before anything imports structmfg

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("ci", max_examples=15, deadline=None, derandomize=True, database=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("ci")  # `pytest --hypothesis-profile=thorough` looks further


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: more than a few seconds")


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Compiled programs are dropped after every file.

    Each takes several memory maps, of which Linux gives a process 65530 (vm.max_map_count), and XLA crashes without.
    """
    yield
    jax.clear_caches()


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
def compiled_once(tmp_path_factory):
    """For tests that solve one tiny game again and again: what was compiled is kept."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0.05), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


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
