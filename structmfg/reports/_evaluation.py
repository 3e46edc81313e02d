"""What is measured of a policy: its return, its exploitabilities, each with its kind, and the anchors beside them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_integer, check_name, check_seed
from structmfg.games import Game, NoisePaths, noise_paths
from structmfg.policies import Policy, uniform
from structmfg.reports._published import Published, clairvoyant_floor, published
from structmfg.solvers import Estimate, Kind, evaluate_paths, exploitability

KINDS: tuple[str, ...] = get_args(Kind)

HELD_OUT_PATHS = 32
TRAINING_PATHS = 8  # held-out paths of a checkpoint, and of the uniform anchor, where the noise is continuous
_HELD_OUT = 0x68656C64  # the root of the held-out keys; a training key is key(seed) itself


class Evaluation(NamedTuple):
    """`exploitability` by kind, None where not asked for or not defined; `exact` where all paths were enumerated."""

    mean_return: Estimate
    exploitability: dict[str, Estimate | None]
    num_paths: int
    exact: bool
    seed: int


class Anchors(NamedTuple):
    """The uniform policy's exploitabilities by kind; the clairvoyant floor and the paper's figure where known."""

    uniform: dict[str, Estimate | None]
    floor: float | None
    paper: Published | None


def held_out_key(seed: int = 0) -> PRNGKeyArray:
    """The key of the held-out noise paths; the same for all runs unless another `seed` is chosen."""
    return jax.random.fold_in(jax.random.key(_HELD_OUT), check_seed(seed))


def evaluate(
    game: Game, policy: Policy, *, kinds: Sequence[str] | None = None, num_paths: int = HELD_OUT_PATHS, seed: int = 0
) -> Evaluation:
    """Return and exploitabilities: exact where the noise is finite, else over `num_paths` held-out paths.

    `kinds` None stands for all that the game's noise allows. Raises `ValueError` on an unknown kind, one that the noise
    does not allow, or fewer than two paths.
    """
    check_integer("num_paths", num_paths, at_least=2)
    scenarios = game.scenarios()
    if kinds is None:
        kinds = KINDS if scenarios is not None else ("clairvoyant",)
    for kind in kinds:
        check_name("kind of exploitability", kind, KINDS)
    key = held_out_key(seed)
    measured = {kind: _exploitability(game, policy, kind, key, num_paths) if kind in kinds else None for kind in KINDS}
    paths = noise_paths(game, key=key, num_paths=num_paths) if scenarios is None else scenarios
    mean_return = _mean_return(paths, evaluate_paths(game, policy, paths.noise).returns, exact=scenarios is not None)
    return Evaluation(mean_return, measured, paths.num_paths, scenarios is not None, seed)


def _exploitability(game: Game, policy: Policy, kind: str, key: PRNGKeyArray, num_paths: int) -> Estimate:
    return exploitability(game, policy, kind=kind, key=key, num_paths=num_paths)  # type: ignore[arg-type]


def _mean_return(paths: NoisePaths, returns: Float[Array, " paths"], *, exact: bool) -> Estimate:
    value = float(paths.probabilities @ returns)
    return Estimate(value, 0.0 if exact else float(jnp.std(returns, ddof=1) / np.sqrt(paths.num_paths)))


def checkpoint_evaluation(game: Game) -> Callable[[Policy], Estimate]:
    """Measures the clairvoyant exploitability during training, on fewer held-out paths where noise is continuous."""
    key = held_out_key()
    return lambda policy: _exploitability(game, policy, "clairvoyant", key, TRAINING_PATHS)


def anchors(game: Game, solver: str, *, kinds: Sequence[str]) -> Anchors:
    """What to hold the exploitabilities of these kinds against."""
    policy, key = uniform(game), held_out_key()
    measured = {
        kind: _exploitability(game, policy, kind, key, TRAINING_PATHS) if kind in kinds else None for kind in KINDS
    }
    return Anchors(measured, clairvoyant_floor(game), published(game, solver))
