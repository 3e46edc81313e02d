"""JAX's debugging flags stop neither the package's own code nor a sound run."""

import jax
import jax.numpy as jnp
import pytest

import structmfg as smfg
from structmfg import games, policies, solvers

FLAGS = {
    "nans": lambda: jax.debug_nans(True),
    "infs": lambda: jax.debug_infs(True),
    "types": lambda: jax.numpy_dtype_promotion("strict"),
    "axes": lambda: jax.numpy_rank_promotion("raise"),
}
LINE = games.make("linear_quadratic", num_states=7, horizon=3, first=1, last=1, push=1.0)
GAMES = [games.make("left_right"), LINE]


@pytest.mark.parametrize("flag", [pytest.param(f, marks=[pytest.mark.slow] * (f == "infs")) for f in FLAGS])
def test_operators_and_solves(flag):
    with FLAGS[flag]():
        operator = LINE.kernel(LINE.initial(jax.random.key(0))).under(jnp.full((7, 7), 1 / 7))
        assert float(operator.T.mv(jnp.full(7, 1 / 7)).sum()) == pytest.approx(1)
        assert operator.explicit().mv(jnp.ones(7)) == pytest.approx(1, abs=1e-5)
        assert solvers.resolvent(operator, jnp.ones(7), discount=0.5).value == pytest.approx(2, abs=1e-3)
        game = GAMES[0]
        for kind in ("clairvoyant", "non_anticipative", "public"):
            assert solvers.exploitability(game, policies.uniform(game), kind=kind).value == pytest.approx(0.25)
        assert solvers.solve(game, solvers.ExactEquilibrium(), max_steps=200).result.succeeded
        net = policies.recurrent(game, hidden=4, width=4, rank=2)
        assert solvers.solve(game, solvers.RSPG(net), key=jax.random.key(0), max_steps=3).result.succeeded


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
def test_all_solvers(flag):
    net = {"hidden": 4, "width": 4, "rank": 2}
    with FLAGS[flag]():
        for game in GAMES:
            memoryless = policies.memoryless(game, **net)
            agents = {"num_agents": 8, "num_populations": 2}
            for solver in (
                solvers.SPG(memoryless),
                solvers.TabularSPG(policies.binned(game, bins=3)),
                solvers.IPPO(memoryless, num_minibatches=2, **agents),
                solvers.MunchausenOMD(memoryless),
                solvers.FictitiousPlay(),
                solvers.OnlineMirrorDescent(),
            ):
                solution = solvers.solve(game, solver, key=jax.random.key(0), max_steps=2)
                assert solution.result.succeeded
                assert solvers.exploitability(game, solution.policy).value >= 0
        assert smfg.verification.verify(games.make("left_right")).passed
