"""The classical iterations against plain NumPy, and against values from outside."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_classical as reference
from helpers.tiny_game import Coin, Jammed

import structmfg as smfg
from structmfg.solvers import (
    RESULTS,
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
    exploitability,
    solve,
)

STEPS = 5
CASES = {
    "best_response": (FixedPoint(), lambda tree: reference.fixed_point(tree)),
    "damped": (FixedPoint(damping=0.3, temperature=0.5), lambda tree: reference.fixed_point(tree, 0.3, 0.5)),
    "fictitious_play": (FictitiousPlay(), reference.fictitious_play),
    "fading": (FictitiousPlay(weight=0.3), lambda tree: reference.fictitious_play(tree, 0.3)),
    "mirror_descent": (OnlineMirrorDescent(0.2), lambda tree: reference.online_mirror_descent(tree, 0.2)),
    "munchausen": (MunchausenMirrorDescent(0.5), lambda tree: reference.prior_descent(tree, 2.0, 1)),
    "prior_descent": (PriorDescent(0.7, inner=2), lambda tree: reference.prior_descent(tree, 0.7, 2)),
    "policy_iteration": (PolicyIteration(), lambda tree: reference.policy_iteration(tree)),
    "accelerated": (
        ExactEquilibrium(method="mirror", stiffness=2.0, tolerance=0.0),
        lambda tree: reference.accelerated(tree, 2.0),
    ),
    "boltzmann": (PolicyIteration(temperature=0.5), lambda tree: reference.policy_iteration(tree, 0.5)),
}


def crowd(solver, max_steps):
    return solve(smfg.games.make("crowd_modelling"), solver, max_steps=max_steps)


@pytest.mark.parametrize("case", CASES)
def test_against_numpy(case, double):
    """Policies after five steps at every node of a game whose moves depend on the mean field, certificates at each."""
    solver, iterate = CASES[case]
    game, model = Jammed(revealed=1), reference.CrossedCoin(revealed=1, jammed=True)
    tree = reference.Tree(model)
    policies = list(itertools.islice(iterate(tree), STEPS))
    solution = solve(game, solver, max_steps=STEPS)
    for path in model.paths:
        found = smfg.solvers.rollout(game, solution.policy, jnp.array(path)).policy
        for t in range(model.horizon):
            np.testing.assert_allclose(found[t], policies[-1][path[: t + 1]], rtol=1e-9, atol=1e-9)
    expected = [tree.exploitability(policy) for policy in policies]
    certified = [STEPS] if case == "accelerated" else list(range(1, STEPS + 1))
    assert solution.stats["certified"] == certified
    np.testing.assert_allclose(
        solution.stats["exploitabilities"], [expected[step - 1] for step in certified], rtol=1e-9, atol=1e-11
    )
    assert solution.result is RESULTS.completed


@pytest.mark.parametrize(("revealed", "jammed"), [(0, True), (2, False)])
def test_exploitability_by_numpy(revealed, jammed, double):
    """The reference and the package agree on the uniform policy in other games too."""
    game = (Jammed if jammed else Coin)(revealed=revealed)
    tree = reference.Tree(reference.CrossedCoin(revealed, jammed))
    actual = exploitability(game, smfg.policies.uniform(game), kind="non_anticipative").value
    assert actual == pytest.approx(tree.exploitability(tree.uniform), abs=1e-12)


def test_best_responses_in_a_crowd():
    assert crowd(FixedPoint(), 10).stats["exploitability"] == pytest.approx(54.512571, abs=1e-6)


def test_fictitious_play_in_a_crowd():
    """Of actions equally good the middle one is played; other ways to break exact ties give .282998 after ten steps."""
    found = np.array(crowd(FictitiousPlay(), 100).stats["exploitabilities"])
    assert found[9] == pytest.approx(0.2824409, abs=1e-6)
    assert (np.diff(found[[4, 19, 99]]) < 0).all()


def test_mirror_descent_in_a_crowd():
    """In single precision as well, the policy returned has the exploitability certified."""
    game, solution = smfg.games.make("crowd_modelling"), crowd(OnlineMirrorDescent(learning_rate=1.0), 100)
    assert solution.stats["exploitability"] < 5e-3
    assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(solution.policy))
    fresh = exploitability(game, solution.policy, kind="non_anticipative").value
    assert fresh == pytest.approx(solution.stats["exploitability"], abs=1e-6)


@pytest.mark.parametrize("tolerance", [0.1, 1e-9])
def test_tolerance(tolerance):
    """The solve stops at the first certificate that is small enough, or says that there was none."""
    solution = crowd(OnlineMirrorDescent(learning_rate=1.0, tolerance=tolerance), 30)
    history = np.array(solution.stats["exploitabilities"])
    assert (history[:-1] > tolerance).all()
    assert solution.result is (RESULTS.converged if history[-1] <= tolerance else RESULTS.not_converged)
    assert (len(history) < 30) == solution.result.succeeded == (tolerance == 0.1)


def test_public_information_is_all_where_the_noise_is_observed(double):
    full, public = (solve(Coin(), FictitiousPlay(information=known), max_steps=3) for known in ("full", "public"))
    np.testing.assert_allclose(public.stats["exploitabilities"], full.stats["exploitabilities"], rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FixedPoint(damping=0.0), r"damping must lie in \(0, 1\], but is 0"),
        (lambda: FixedPoint(damping=2.0), r"damping must lie in \(0, 1\], but is 2"),
        (lambda: FixedPoint(temperature=-1.0), "temperature must lie in"),
        (lambda: PolicyIteration(temperature=-0.1), "temperature must lie in"),
        (lambda: OnlineMirrorDescent(learning_rate=0.0), "learning_rate must be finite and above 0"),
        (lambda: MunchausenMirrorDescent(learning_rate=-1.0), "learning_rate must be finite and above 0"),
        (lambda: PriorDescent(temperature=0.0), "temperature must be finite and above 0"),
        (lambda: PriorDescent(inner=0), "inner must be a whole number of at least 1, but is 0"),
        (lambda: FictitiousPlay(weight=0.0), r"weight must lie in \(0, 1\], but is 0"),
        (lambda: FictitiousPlay(tolerance=-1e-3), "tolerance must lie in"),
        (lambda: OnlineMirrorDescent(tolerance=float("nan")), "tolerance must lie in"),
        (lambda: PolicyIteration(information="publik"), "unknown information 'publik'; did you mean public"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
