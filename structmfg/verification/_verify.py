"""`verify`: everything that is checked about a game."""

import time
from collections.abc import Callable, Iterator

import jax
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_between, check_integer, check_kind
from structmfg._flags import own_rules
from structmfg.games import Game, as_game
from structmfg.verification import _stages as stages
from structmfg.verification import oracles
from structmfg.verification._report import Report, Stage
from structmfg.verification._stages import Task

Tell = Callable[[Stage], None]


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
    tell: Tell | None = None,
) -> Report:
    """Check a game: its laws, its definition, and populations of agents who move one by one.

    - Laws of kernels and of paths, along `num_points` random noise paths under random policies, kernels at times spread
      over 0..T-1; laws of policy evaluation and of gradients, in double precision. A law passes within a bound for
      rounding errors. `fuzz`: those of kernels at up to so many more points, chosen by hypothesis, at edges too.
    - The definition: `model`, a game in plain NumPy (`oracles.Model`); that of `oracles` for the package's own games.
    - Populations: statistical checks, which reject a game that is right with probability at most `level` in all.
    - `deep`: the definition along every path, larger populations, the variance of gradients and returns, and on tiny
      games the value of an agent's own past.

    A pass is evidence at the points looked at, not a proof. What a game raises is a failed check. The same `key` (fixed
    by default) gives the same report. `tell` is called after every stage.

    Raises `ValueError` if `game` is not a `Game`, `model` lacks a method, or a number is out of range.
    """
    game = as_game(game)
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
    return run(Task(game, key, num_points, deep=deep, fuzz=fuzz, model=model, level=level), tell)


def run(task: Task, tell: Tell | None = None) -> Report:
    """All stages of a task."""
    done = []
    for stage in timed(_stages(task)):
        done.append(stage)
        if tell:
            tell(stage)
    return Report(_named(task.game), tuple(done), _basis(task))


def _named(game: Game) -> str:
    """Its repr; its class where it has none of its own, or a user's fails."""
    try:
        return type(game).__name__ if type(game).__repr__ is object.__repr__ else repr(game)
    except Exception:  # whatever it raises
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
    """One by one, so that each can be shown when it is done; nothing follows where nothing can."""
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
    yield stages.monte_carlo(task)
    if task.fuzz:
        yield stages.fuzzed(task)
    if task.deep:
        yield stages.spread(task)
        if (remembered := stages.remembered(task)).results:
            yield remembered


def _basis(task: Task) -> tuple[str, ...]:
    told = type(task.game).move_agents is not Game.move_agents
    agents = (
        "Agents move by the game's own `move_agents`, which does without its kernel: the operators are tested against "
        "an independent statement of the same law of motion."
        if told
        else "Agents move by the kernel's own list of successors, as the game defines no `move_agents`: what the list "
        "and the products have wrong alike does not show."
    )
    definition = (
        "Every piece is held against a definition in plain NumPy."
        if task.model is not None
        else "There is no definition in plain NumPy to hold it against (`verify(game, model=...)` takes one)."
    )
    return (
        f"Laws pass within a bound for rounding errors, at {task.num_points} random paths. Statistical checks show the "
        f"evidence -log10 p against the game; all together, they reject one that is right with probability "
        f"{task.level:g} at most (the fitted rate apart, which presupposes that kernel and policy are smooth in the "
        "mean field). A pass is evidence, not a proof.",
        agents,
        definition,
    )
