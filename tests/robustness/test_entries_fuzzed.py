"""What is given in code and in settings.json: a result, or a `ValueError` that says what is wrong; nothing else."""

import collections
import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from structmfg import games, operators, policies, runs, solvers

SETTINGS = settings(deadline=20_000, suppress_health_check=list(HealthCheck), database=None)
pytestmark = pytest.mark.usefixtures("unchecked")  # what is wrong has to be found by the package itself
EXAMPLES = {"settings": 80, "tables": 120, "pieces": 350}
ran: collections.Counter[str] = collections.Counter()
ended: collections.Counter[str] = collections.Counter()


def tried(entry: str, call: Callable[[], Any]) -> Any:
    """The result, or None where it was refused with some words."""
    ran[entry] += 1
    result, said = None, ""
    try:
        result = call()
    except ValueError as error:
        said = str(error) or "nothing"
    if said:
        assert len(said) > 10
        ended[f"{entry} refused"] += 1
        return None
    ended[f"{entry} taken"] += 1
    return result


def check_counts(entry: str) -> None:
    """So many were really tried, of both kinds."""
    assert ran[entry] >= 0.8 * EXAMPLES[entry], ran
    assert ended[f"{entry} refused"] > 0, ended
    assert ended[f"{entry} taken"] > 0, ended


# What anybody might give for anything.

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([10**400, -(10**20), 2**31, 2**32, 2**63])
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=3)
)
arrays = npst.arrays(
    npst.boolean_dtypes()
    | npst.integer_dtypes()
    | npst.floating_dtypes()
    | npst.complex_number_dtypes()
    | npst.unicode_string_dtypes()
    | npst.datetime64_dtypes()
    | st.just(np.dtype(object)),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
things = (
    scalars
    | arrays
    | st.lists(scalars, max_size=4)
    | st.lists(st.lists(scalars, max_size=3), max_size=3)
    | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
    | st.sampled_from([object(), object, len, jax.random.key(0), jnp.ones((3, 2)), np.ma.masked_array(np.ones((3, 2)))])
)

# Tables for `left_right` (S, A) = (3, 2), T = 1.

GAME = games.LeftRight()
GOOD = np.full((3, 2), 0.5)


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """A good table made wrong in an entry, a type or a shape; or anything."""
    if draw(st.integers(0, 2)) == 0:
        return draw(things)
    table = GOOD.copy()
    for _ in range(draw(st.integers(0, 2))):
        table[draw(st.integers(0, 2)), draw(st.integers(0, 1))] = draw(st.floats())
    change = draw(
        st.sampled_from(
            [
                *[lambda x: x] * 4,
                *[lambda x: x[None], lambda x: x[:, :, None], lambda x: x.T, lambda x: x[:2], lambda x: x.ravel()],
                *[lambda x: x.tolist(), lambda x: x.astype(np.float16), lambda x: x.astype(object), jnp.asarray],
                *[lambda x: x.astype(str), lambda x: x.astype(complex), lambda x: x > 0, np.ma.masked_array],
                lambda x: policies.TabularPolicy(jnp.asarray(x)),
            ]
        )
    )
    with np.errstate(all="ignore"):
        return change(table)


def takers(table: Any) -> dict[str, Callable[[], Any]]:
    """Everything that takes a policy."""
    return {
        "as_policy": lambda: policies.as_policy(GAME, table),
        "exploitability": lambda: solvers.exploitability(GAME, table).value,
        "best_response": lambda: solvers.best_response(GAME, table).exploitability,
        "evaluate_paths": lambda: solvers.evaluate_paths(GAME, table, GAME.scenarios().noise).returns,
        "players": lambda: solvers.players(GAME, table, [2], deviator="full"),
        "under": lambda: GAME.kernel(GAME.initial(jax.random.key(0))).under(table),
    }


def fuzz_tables(**options: Any) -> None:
    @settings(SETTINGS, **options)
    @given(tables(), st.sampled_from(sorted(takers(None))))
    def run(table: Any, name: str) -> None:
        result = tried("tables", takers(table)[name])
        if name == "exploitability" and result is not None:
            assert np.isfinite(result)
            assert result >= -1e-9

    run()


@pytest.mark.filterwarnings("ignore")
def test_policy_tables():
    fuzz_tables(max_examples=EXAMPLES["tables"])
    check_counts("tables")


# settings.json of a run.


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without its report."""
    folder, game = tmp_path_factory.mktemp("run"), games.make("linear_quadratic", num_states=9, horizon=3)
    network = {"hidden": 4, "width": 4}
    solver = solvers.preset(game, **network).solver
    solution = solvers.solve(game, solver, key=jax.random.key(0), max_steps=2)
    asked = runs.Settings.of(
        game, solver, name="rspg", preset="default", overrides=network, max_steps=2, max_seconds=None, seed=0
    )
    runs.save_settings(folder, asked)
    runs.save_policy(folder, solution)
    return folder


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from([-1, 0, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON value."""
    found = [path] if path else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        found += places(part, (*path, name))
    return found


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """One or two parts exchanged, left out, added or turned round."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 2))):
        found = places(value)
        if not found:
            return value
        *way, last = draw(st.sampled_from(found))
        parent = value
        for name in way:
            parent = parent[name]
        what = draw(st.sampled_from(["exchange", "exchange", "drop", "add", "nest"]))
        if what == "drop":
            del parent[last]
        elif what == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=4))] = draw(json_values)
        elif what == "nest":
            parent[last] = {"x": parent[last]}
        else:
            parent[last] = draw(json_values)
    return value


@pytest.mark.filterwarnings("ignore")
def test_settings_files(run_folder):
    file = run_folder / "settings.json"
    written = file.read_text()
    good = json.loads(written)

    @settings(SETTINGS, max_examples=EXAMPLES["settings"])
    @given(spoilt(good))
    def run(value: Any) -> None:
        file.write_text(json.dumps(value))
        result = tried("settings", lambda: runs.load_run(run_folder))
        assert result is None or isinstance(result, runs.Run)

    try:
        run()
    finally:
        file.write_text(written)
    check_counts("settings")


# Constructors and functions, one argument of each.

KERNEL = operators.LatticeKernel(4, (0, 1))
OPERATOR = KERNEL.under(np.full((4, 2), 0.5))
POPULATION = games.PopulationGame(GAME, 4)
KEY = jax.random.key(0)


def _parameters() -> dict[str, Callable[[Any], Any]]:
    fields = [(name, field.name) for name, kind in games.GAMES.items() for field in dataclasses.fields(kind)]
    return {f"{game}.{field}": lambda x, g=game, f=field: games.make(g, **{f: x}) for game, field in fields}


PIECES: dict[str, Callable[[Any], Any]] = {
    "mean field": lambda x: GAME.aggregate(mean_field=x, noise=0, time=0),
    "time": lambda x: GAME.aggregate(mean_field=np.full(3, 1 / 3), noise=0, time=x),
    "noise": lambda x: GAME.aggregate(mean_field=np.full(3, 1 / 3), noise=x, time=0),
    "actions": lambda x: POPULATION.step(KEY, POPULATION.reset(KEY)[1], x),
    "population": lambda x: games.PopulationGame(GAME, x),
    "population of": lambda x: games.PopulationGame(x, 3),
    "innovations": lambda x: games.innovations(KEY, 2, 2, x),
    "innovations, key": lambda x: games.innovations(x, 2, 2, "iid"),
    "noise paths": lambda x: games.noise_paths(x, key=KEY, num_paths=2),
    "lattice states": lambda x: operators.LatticeKernel(x, (0, 1)),
    "lattice offsets": lambda x: operators.LatticeKernel(4, x),
    "lattice offset": lambda x: operators.LatticeKernel(4, [x]),
    "lattice shift": lambda x: operators.LatticeKernel(4, (0,), shift=x, max_shift=3),
    "lattice max_shift": lambda x: operators.LatticeKernel(4, (0,), max_shift=x),
    "lattice barriers": lambda x: operators.LatticeKernel(4, (0,), barriers=x),
    "noise offsets": lambda x: operators.LatticeNoise(4, x, (1.0,)),
    "noise probabilities": lambda x: operators.LatticeNoise(4, (0, 1), x),
    "dense": operators.DenseKernel,
    "successors": lambda x: operators.SuccessorKernel(x, jnp.ones((3, 2, 1))),
    "successor probabilities": lambda x: operators.SuccessorKernel(jnp.zeros((3, 2, 1), int), x),
    "lottery index": lambda x: operators.LotteryKernel(3, x, jnp.ones((3, 2))),
    "lottery weight": lambda x: operators.LotteryKernel(3, jnp.zeros((3, 2), int), x),
    "lottery outer": lambda x: operators.LotteryKernel(x, jnp.zeros((3, 2), int), jnp.ones((3, 2))),
    "kronecker states": lambda x: operators.KroneckerOperator(x, jnp.eye(2)),
    "kronecker chain": lambda x: operators.KroneckerOperator(6, x),
    "kron move": lambda x: operators.kron(x, jnp.eye(2)),
    "kron chain": lambda x: operators.kron(KERNEL, x),
    "lifted move": lambda x: operators.LiftedKernel(x, 2),
    "lifted size": lambda x: operators.LiftedKernel(KERNEL, x),
    "mixture": lambda x: operators.MixtureKernel(x, (1.0,)),
    "mixture of": lambda x: operators.MixtureKernel([x], (1.0,)),
    "mixture weights": lambda x: operators.MixtureKernel([KERNEL, KERNEL], x),
    "patched base": lambda x: operators.PatchedKernel(x, KERNEL, 0),
    "patched state": lambda x: operators.PatchedKernel(KERNEL, KERNEL, x),
    "factored": lambda x: operators.FactoredKernel(KERNEL, x),
    "product": lambda x: operators.product(x),
    "power": lambda x: operators.power(x, 2),
    "A @": lambda x: OPERATOR @ x,
    "A^T @": lambda x: OPERATOR.T @ x,
    "A v": OPERATOR.mv,
    "A^T mu": OPERATOR.T.mv,
    "move": OPERATOR.move,
    "expect": KERNEL.expect,
    "push": KERNEL.push,
    "grid points": lambda x: operators.GeometricGrid(x, 0.0, 1.0),
    "grid lower": lambda x: operators.GeometricGrid(3, x, 1.0),
    "grid pivot": lambda x: operators.GeometricGrid(3, 0.0, 1.0, pivot=x),
    "grid": operators.ArbitraryGrid,
    "resolvent of": lambda x: solvers.resolvent(x, jnp.ones(4), 0.9),
    "resolvent rewards": lambda x: solvers.resolvent(OPERATOR, x, 0.9, method="direct"),
    "resolvent discount": lambda x: solvers.resolvent(OPERATOR, jnp.ones(4), x, method="direct"),
    "stationary of": lambda x: solvers.stationary(x),
    "stationary from": lambda x: solvers.stationary(OPERATOR, method="power", initial=x),
    "preset of": lambda x: solvers.preset(x),
    "preset steps": lambda x: solvers.preset(GAME, max_steps=x),
    "preset name": lambda x: solvers.preset(GAME, "rspg", x),
    "solve": lambda x: solvers.solve(x, solvers.ExactEquilibrium(), max_steps=1),
    "players": lambda x: solvers.players(GAME, GOOD, x, deviator="full"),
    "kind": lambda x: solvers.exploitability(GAME, GOOD, kind=x),
    "uniform": policies.uniform,
    **_parameters(),
}


def fuzz_pieces(**options: Any) -> None:
    @settings(SETTINGS, **options)
    @given(st.sampled_from(sorted(PIECES)), things)
    def run(name: str, thing: Any) -> None:
        tried("pieces", lambda: PIECES[name](thing))

    run()


@pytest.mark.filterwarnings("ignore")
def test_pieces():
    fuzz_pieces(max_examples=EXAMPLES["pieces"])
    check_counts("pieces")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_more_pieces_and_tables():
    """Others every time."""
    fuzz_tables(max_examples=1500, derandomize=False)
    fuzz_pieces(max_examples=4000, derandomize=False)
