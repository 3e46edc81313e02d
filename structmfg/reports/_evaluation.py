"""What is measured of a policy: its return, its exploitabilities, each with its kind, and the anchors beside them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_integer, check_name, check_positive, check_seed
from structmfg.evaluation import Estimate, Information, Kind, best_response, evaluate_paths, exploitability
from structmfg.games import Game, noise_paths, noise_tree
from structmfg.policies import Policy, TreePolicy, uniform
from structmfg.reports._published import Published, published
from structmfg.solvers import RESULTS
from structmfg.solvers.exact import ExactEquilibrium
from structmfg.solvers.loop import Progress, solve

KINDS: tuple[str, ...] = get_args(Kind)

HELD_OUT_PATHS = 32
TRAINING_PATHS = 8  # held-out paths of a checkpoint, and of the uniform anchor, where the noise is continuous
_FLOOR_TOLERANCE, _FLOOR_ACCEPTED = 1e-8, 1e-6  # of the uniform policy's exploitability: aimed at, and good enough
_FLOOR_STEPS, _FLOOR_WORK = 2000, 3e9  # at most so many steps, and so many of them times (node, state, action): seconds
_HELD_OUT = 0x68656C64  # the root of the held-out keys; a training key is key(seed) itself


class Evaluation(NamedTuple):
    """`exploitability` by kind, None where not asked for or not defined; `exact` where all paths were enumerated."""

    mean_return: Estimate
    exploitability: dict[str, Estimate | None]
    num_paths: int
    exact: bool
    seed: int


class Anchors(NamedTuple):
    """By kind the exploitabilities of the uniform policy, and the floors: those of the exact equilibrium.

    `information`: what that equilibrium knows, the run's own. None where a floor is not known. `paper`: its figure.
    `missing`: why, in words, of what is not there: by "uniform" or "floor" and the kind, or "floor" for all of them.
    """

    uniform: dict[str, Estimate | None]
    floor: dict[str, float | None]
    information: Information
    paper: Published | None
    missing: Mapping[str, str] = MappingProxyType({})


def held_out_key(seed: int = 0) -> PRNGKeyArray:
    """The key of the held-out noise paths; the same for all runs unless another `seed` is chosen."""
    return jax.random.fold_in(jax.random.key(_HELD_OUT), check_seed(seed))


def evaluate(
    game: Game, policy: Policy, *, kinds: Sequence[str] | None = None, num_paths: int = HELD_OUT_PATHS, seed: int = 0
) -> Evaluation:
    """Return and exploitabilities: exact where the noise is finite, else over `num_paths` held-out paths.

    `kinds` None stands for all that are defined for the game. Raises `ValueError` on an unknown kind, one that is not
    defined, or fewer than two paths.
    """
    num_paths = check_integer("num_paths", num_paths, at_least=2)
    for kind in kinds or ():
        check_name("kind of exploitability", kind, KINDS)
    key, scenarios = held_out_key(seed), game.scenarios()
    if scenarios is not None:
        return _exact(game, policy, kinds, scenarios.num_paths, seed)
    measured: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    for kind in ("clairvoyant",) if kinds is None else kinds:
        measured[kind] = _exploitability(game, policy, kind, key, num_paths)
    returns = evaluate_paths(game, policy, noise_paths(game, key=key, num_paths=num_paths).noise).returns
    error = float(jnp.std(returns, ddof=1) / np.sqrt(num_paths))
    return Evaluation(Estimate(float(jnp.mean(returns)), error), measured, num_paths, False, seed)


def _exact(game: Game, policy: Policy, kinds: Sequence[str] | None, num_paths: int, seed: int) -> Evaluation:
    measured: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    informed = isinstance(policy, TreePolicy) and policy.informed
    default = [kind for kind in KINDS if not (informed and kind == "public")]  # it knows more than that
    for kind in default if kinds is None else kinds:
        try:
            response = best_response(game, policy, kind=kind)  # type: ignore[arg-type]
        except ValueError:  # no perfect recall
            if kinds is not None:
                raise
        else:
            measured[kind] = Estimate(response.exploitability, 0.0)
    return Evaluation(Estimate(response.mean_return, 0.0), measured, num_paths, True, seed)


def _exploitability(
    game: Game, policy: Policy, kind: str, key: PRNGKeyArray | None = None, num_paths: int = HELD_OUT_PATHS
) -> Estimate:
    return exploitability(game, policy, kind=kind, key=key, num_paths=num_paths)  # type: ignore[arg-type]


def checkpoint_evaluation(game: Game) -> Callable[[Policy], Estimate]:
    """Measures the clairvoyant exploitability during training, on fewer held-out paths where noise is continuous."""
    key = held_out_key()
    return lambda policy: _exploitability(game, policy, "clairvoyant", key, TRAINING_PATHS)


def anchors(
    game: Game,
    solver: str,
    *,
    kinds: Sequence[str],
    information: Information = "public",
    max_seconds: float | None = 60.0,
    tell: Callable[[str], None] | None = None,
) -> Anchors:
    """What to hold the exploitabilities of these kinds against; what is not there is told in `missing`.

    Args:
        game: The game.
        solver: By name, for the figure of the paper.
        kinds: Of exploitability; one that is not defined for the game is left out.
        information: What the exact equilibrium knows, of which the floors are taken.
        max_seconds: For the search of that equilibrium, without compilation; None for no limit but that of its steps.
        tell: Called with what is being done, in words, before every part that may take long.

    Raises:
        ValueError: On an unknown kind, or a number out of range.
    """
    for kind in kinds:
        check_name("kind of exploitability", kind, KINDS)
    if max_seconds is not None:
        max_seconds = check_positive("max_seconds", max_seconds)
    tell = tell or (lambda _: None)
    policy, key = uniform(game), held_out_key()
    missing: dict[str, str] = {}
    measured: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    for kind in kinds:
        tell(f"measuring the uniform policy: {kind}")
        try:
            measured[kind] = _exploitability(game, policy, kind, key, TRAINING_PATHS)
        except ValueError as error:  # not defined for this game
            missing[f"uniform {kind}"] = str(error)
    scale = max((estimate.value for estimate in measured.values() if estimate), default=1.0)
    found: dict[str, float | None] = dict.fromkeys(KINDS)
    try:
        found |= _floors(game, kinds, information, scale, max_seconds, tell)
    except ValueError as error:
        missing["floor"] = str(error)
    else:
        missing |= {f"floor {kind}": f"{kind} is not defined for this game" for kind in kinds if found[kind] is None}
    return Anchors(measured, found, information, published(game, solver), missing)


def _floors(
    game: Game,
    kinds: Sequence[str],
    information: Information,
    scale: float,
    max_seconds: float | None,
    tell: Callable[[str], None],
) -> dict[str, float | None]:
    """The exploitabilities of the exact equilibrium by kind. `ValueError` where it is not found well enough."""
    solver = ExactEquilibrium(tolerance=max(_FLOOR_TOLERANCE * scale, 1e-12), information=information)
    tell("compiling the search for the floor")
    tree = noise_tree(game, pad_levels=information == "public")
    steps = int(_FLOOR_WORK / (tree.num_decisions * game.num_states * game.num_actions))
    steps = min(max(steps, 1), _FLOOR_STEPS)

    def follow(progress: Progress) -> None:
        tell(f"searching the floor: {progress.step}/{progress.max_steps}, exploitability {progress.exploitability:.3g}")

    solution = solve(game, solver, max_steps=steps, max_seconds=max_seconds, callback=follow, throw=False)
    reached, accepted = solution.stats["exploitability"], _FLOOR_ACCEPTED * scale
    if solution.result is RESULTS.uncertified:
        raise ValueError(f"the exact equilibrium is not certified: {solution.result.value}")
    if reached is None or reached > accepted:
        got = "nothing finite" if reached is None else f"{reached:.3g}"
        raise ValueError(
            f"the exact equilibrium was not found: its exploitability must be at most {accepted:.3g}, but after "
            f"{solution.stats['steps']} steps and {solution.stats['train_seconds']:.0f} s it is {got}"
        )
    found: dict[str, float | None] = {}
    own = "public" if information == "public" else "non_anticipative"
    for kind in kinds:
        if kind == own:
            found[kind] = 0.0
            continue
        tell(f"measuring the floor: {kind}")
        try:
            found[kind] = _exploitability(game, solution.policy, kind).value
        except ValueError:  # not defined for this game
            found[kind] = None
    return found
