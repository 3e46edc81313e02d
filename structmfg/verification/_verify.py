"""`verify`: everything that is checked about a game."""

import time
from collections.abc import Callable, Iterator

import jax
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_between, check_integer, check_kind
from structmfg._flags import own_rules
from structmfg.games import Game, as_game, check_stationary, truncated
from structmfg.verification import _stages as stages
from structmfg.verification import oracles
from structmfg.verification._report import Report, Stage
from structmfg.verification._stages import Task

_STEPS_OF_FOREVER = 3  # on which a game of infinite horizon is checked
StageCallback = Callable[[Stage], None]


@own_rules()
def verify(
    game: Game,
    *,
    key: PRNGKeyArray | None = None,
    num_points: int = 3,
    deep: bool = False,
    fuzz: int = 0,
    model: oracles.Model | None = None,
    level: float = 1e-3,
    callback: StageCallback | None = None,
) -> Report:
    """Check a game: its laws, its definition, and populations of agents who move one by one.

    - Laws of kernels and of paths, along random noise paths under random policies, kernels at times spread over 0..T-1;
      laws of policy evaluation and of gradients, in double precision. A law passes within a bound for rounding errors.
    - The definition: every piece of the game against `model`, the same game in plain NumPy.
    - Of a game that was imported from OpenSpiel or MFGLib: mean fields, return and exploitability of two policies
      against that library's own.
    - Populations: statistical checks of agents who are drawn, act and move one by one, against the operators.

    A pass is evidence at the points where the game was checked, not a proof. An error that the game raises is a failed
    check.

    A game that goes on for ever is checked on its first steps; that its noise is one point, before that.

    Args:
        game: The game.
        key: Random key; the same key (a fixed one by default) gives the same report.
        num_points: The number of random noise paths.
        deep: Whether to check the definition along every path, larger populations, the variance of gradients and
            returns, and on tiny games the value of an agent's own past.
        fuzz: The largest number of further points, chosen by hypothesis, at which the laws of kernels are checked.
        model: The game in plain NumPy, an `oracles.Model`; by default that of `oracles` for the package's own games.
        level: The nominal level of all statistical checks together: the probability, up to the approximation of
            p-values of counts, that they reject a game that is right.
        callback: Called with every stage when it is done.

    Returns:
        The report; it `passed` where all checks did.

    Raises:
        ValueError: If `game` is not a `Game`, `model` lacks a method, or a number is out of range.
    """
    game = as_game(game)
    if game.horizon is None:
        check_stationary(game)
        game = truncated(game, _STEPS_OF_FOREVER)
    num_points = check_integer("num_points", num_points, at_least=1)
    fuzz = check_integer("fuzz", fuzz, at_least=0)
    level = check_between("level", level, 0, 1, open_low=True)
    if model is None:
        model = oracles.model(game)
    check_kind("model", model, oracles.Model | None)
    key = jax.random.key(0) if key is None else key
    try:
        jax.random.fold_in(key, 0)
    except TypeError:
        raise ValueError(f"key must be one of jax.random.key, but is {key!r}") from None
    return run(Task(game, key, num_points, deep=deep, fuzz=fuzz, model=model, level=level), callback)


def run(task: Task, callback: StageCallback | None = None) -> Report:
    """The report of all stages of a task."""
    done = []
    for stage in timed(_stages(task)):
        done.append(stage)
        if callback:
            callback(stage)
    return Report(_name_of(task.game), tuple(done), _basis(task, done))


def _name_of(game: Game) -> str:
    """The repr of a game; the name of its class where it has no repr of its own, or where that raises."""
    try:
        return type(game).__name__ if type(game).__repr__ is object.__repr__ else repr(game)
    except Exception:  # whatever a user's repr raises
        return type(game).__name__


def timed(stages: Iterator[Stage]) -> Iterator[Stage]:
    """The stages with the seconds that each took."""
    while True:
        started = time.perf_counter()
        stage = next(stages, None)
        if stage is None:
            return
        yield stage._replace(seconds=time.perf_counter() - started)


def _stages(task: Task) -> Iterator[Stage]:
    """The stages, one by one, so that each can be shown when it is done; none follows where the first ones fail."""
    first = stages.sizes(task)
    yield first
    if not first.passed:
        return
    laws = stages.kernels_and_paths(task)
    yield laws
    if not laws.results[0].passed:
        return
    yield stages.evaluation(task)
    if task.model is not None:
        yield stages.definition(task)
    if (imported := stages.library(task)).results:
        yield imported
    yield stages.monte_carlo(task)
    if task.fuzz:
        yield stages.fuzzed(task)
    if task.deep:
        yield stages.variance_of_gradients(task)
        if (history := stages.private_history(task)).results:
            yield history


def _basis(task: Task, done: list[Stage]) -> tuple[str, ...]:
    has_own_moves = type(task.game).move_agents is not Game.move_agents
    agents = (
        "Agents move by the game's own `move_agents`, which does not use its kernel: the operators are tested against "
        "an independent statement of the same law of motion."
        if has_own_moves
        else "Agents move by the kernel's own list of successors, as the game defines no `move_agents`: errors that "
        "the list and the products share do not show."
    )
    definition = (
        "Every piece is compared with a definition in plain NumPy."
        if task.model is not None
        else "There is no definition in plain NumPy to compare it with (`verify(game, model=...)` takes one)."
    )
    if any(stage.title == stages.LIBRARY for stage in done):
        definition += (
            " The library that the game comes from measured two policies by its own code; of a game of OpenSpiel's "
            "whose rewards depend on the way into a node, it is the import with rewards as valued that was measured."
        )
    return (
        f"Laws pass within a bound for rounding errors, at {task.num_points} random paths. Statistical checks show the "
        f"evidence -log10 p against the game; all together, they have the nominal level {task.level:g}, at which one "
        "that is right is rejected (the fitted rate apart, which presupposes that kernel and policy are smooth in the "
        "mean field, and that populations are large enough). A pass is evidence, not a proof.",
        agents,
        definition,
    )
