"""A user's game with a fault: solved, found out by a status or a report, or refused in words."""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import structmfg as smfg
from structmfg.operators import DenseKernel, LatticeKernel, SuccessorKernel

pytestmark = pytest.mark.usefixtures("unchecked")  # what is wrong has to be found by the package itself
S, A = 4, 2
ran: collections.Counter[str] = collections.Counter()


class OwnError(Exception):
    """A user's own."""


def raises(*_: Any) -> Any:
    raise OwnError("of the user's")


class Line(smfg.Game):
    """Right, but for what is replaced."""

    num_states, num_actions, horizon, discount = S, A, 2, 0.9

    def kernel(self, aggregate: Any) -> Any:
        return LatticeKernel(S, [0, 1])

    def reward(self, aggregate: Any, following: Any) -> Any:
        return jnp.zeros((S, A)) - aggregate.mean_field[:, None]

    def initial_noise(self, uniform: Any) -> Any:
        return jnp.zeros(())

    def next_noise(self, noise: Any, uniform: Any, time: Any) -> Any:
        return noise

    def observe(self, aggregate: Any) -> Any:
        return aggregate.mean_field

    def noise_chain(self) -> Any:
        return smfg.games.NoiseChain(np.zeros(1), np.ones(1), np.ones((1, 1)))


NAN, INF, TABLE = float("nan"), float("inf"), jnp.zeros((S, A))
ONES, NEGATIVE = jnp.ones((S, A, S)), jnp.zeros((S, A, S)).at[..., 0].set(2.0).at[..., 1].set(-1.0)
WRONG: dict[str, list[Any]] = {
    "reward": [
        jnp.zeros((S, 1)), jnp.zeros((S + 1, A)), jnp.zeros(S), TABLE + NAN, TABLE + INF, None, 3.0, "x",
        np.zeros((S, A)), TABLE.astype(int), TABLE + 1e38, raises,
    ],
    "kernel": [
        LatticeKernel(S + 1, [0, 1]), LatticeKernel(S, [0, 1, 2]), DenseKernel(ONES, checks=False), None, raises,
        DenseKernel(ONES * NAN, checks=False), jnp.ones((S, A)), LatticeKernel, LatticeKernel(S, [0, 10**9]),
        SuccessorKernel(jnp.full((S, A, 1), S + 3), jnp.ones((S, A, 1)), checks=False),
        DenseKernel(NEGATIVE, checks=False),
    ],
    "observe": [jnp.zeros(()), jnp.zeros((2, 2)), None, "x", jnp.full(2, NAN), np.zeros(1), raises, jnp.zeros(0)],
    "initial_mean_field": [jnp.ones(S), jnp.zeros(S), jnp.full(S + 1, 0.2), None, jnp.full(S, NAN), raises],
    "initial_noise": [None, "x", jnp.zeros(3), NAN, raises],
    "next_noise": [None, "x", jnp.zeros(3), NAN, raises, 1],
    "noise_chain": [None, 3, smfg.games.NoiseChain(np.zeros(2), np.ones(2), np.eye(2)), raises],
    "aggregates": [None, jnp.zeros(2), jnp.zeros((2, 2)), "x", raises],
    "num_states": [0, -1, 1, 2.5, "4", None, np.int64(S), 10**12, NAN, True, S + 1],
    "num_actions": [0, 1, 3, 2.0, None, 10**12],
    "horizon": [0, -3, 1.0, None, "2", 10**12],
    "discount": [0, 1, 1.5, -1, None, "0.9", NAN, jnp.asarray(0.9), 10**400],
}  # fmt: skip


@st.composite
def spoilt_games(draw: st.DrawFn) -> tuple[str, smfg.Game]:
    """With one or two faults."""
    names = draw(st.lists(st.sampled_from(sorted(WRONG)), min_size=1, max_size=2, unique=True))
    body: dict[str, Any] = {}
    for name in names:
        wrong = draw(st.sampled_from(WRONG[name]))
        of_class = name in ("num_states", "num_actions", "horizon", "discount")
        body[name] = wrong if of_class or wrong is raises else (lambda self, *_, value=wrong: value)
    return ", ".join(f"{name}={value!r:.60}" for name, value in body.items()), type("Spoilt", (Line,), body)()


def trained(game: smfg.Game) -> Any:
    network = smfg.policies.memoryless(game, hidden=2, width=2, rank=1)
    solver = smfg.solvers.SPG(network, num_paths=1, sampling="iid")
    return smfg.solvers.solve(game, solver, key=jax.random.key(0), max_steps=1, throw=False).result


ENTRIES = {
    "trained": trained,
    "exact": lambda game: smfg.solvers.solve(game, smfg.solvers.ExactEquilibrium(), max_steps=2, throw=False).result,
    "verified": lambda game: smfg.verification.verify(game, num_points=1).passed,
    "exploited": lambda game: smfg.solvers.exploitability(game, np.full((S, A), 1 / A)).value,
    "watched": lambda game: smfg.solvers.exploitability(game, np.full((S, A), 1 / A), kind="non_anticipative").value,
}


def fuzz(name: str, **how: Any) -> None:
    @settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **how)
    @given(spoilt_games())
    def run(spoilt: tuple[str, smfg.Game]) -> None:
        ran[name] += 1
        try:
            ENTRIES[name](spoilt[1])
        except (ValueError, OwnError):
            return
        finally:
            jax.clear_caches()

    run()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "count"), [("trained", 8), ("exact", 8), ("exploited", 8), ("watched", 4)])
def test_faults_of_a_user(name, count):
    fuzz(name, max_examples=count)
    assert ran[name] >= count


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENTRIES)
def test_more_faults_of_a_user(name):
    """Others every time."""
    fuzz(name, max_examples=20 if name == "verified" else 150, derandomize=False)
