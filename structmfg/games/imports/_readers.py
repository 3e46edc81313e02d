"""How a node depends on the mean field: its code is traced, or, where it takes floats alone, its rewards are probed."""

import abc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from structmfg.games.imports._nodes import Kind, asked, kind_of, name_of, reward_of, updated
from structmfg.games.imports._probe import identified
from structmfg.games.imports._programs import Formula, formula_of, is_linear, value_of
from structmfg.games.imports._trace import TO_WHOLE, Path, Traced, UntraceableError, entries, equal, selected

_MAX_WHOLE = 10_000  # whole numbers that one guard may take
_COMPARISONS = TO_WHOLE[4:]
_MAX_RUNS = 1_000  # of the code of one reward, each of which takes the branches in another way
_RANDOM_POINTS = 3


class Stage:
    """The nodes at one time that differ in their names.

    Attributes:
        time: t.
        names: Their names, which are the individual states.
        nodes: One node of each name.
        kind: Who moves there.
        place: The place of each name in the mean field.
        points: Mean fields to look at: all point masses, the uniform one and some random ones.
    """

    def __init__(self, time: int, names: list[str], nodes: list[Any]) -> None:
        self.time, self.names, self.nodes = time, names, nodes
        kinds = {kind_of(node): name_of(node) for node in self.nodes}
        if len(kinds) > 1:
            (one, first), (other, second) = list(kinds.items())[:2]
            raise ValueError(
                f"at time {time} the node {first!r:.80} is one of {one}, but {second!r:.80} one of {other}: only games "
                "whose agents all take the same kind of step can be imported"
            )
        self.kind: Kind = next(iter(kinds))
        self.place = {name: place for place, name in enumerate(self.names)}
        size = len(self.names)
        random = np.random.default_rng(time).dirichlet(np.full(size, 0.5), _RANDOM_POINTS)
        self.points = np.concatenate([random, np.full((1, size), 1 / size), np.eye(size)])
        self._supports: dict[str, list[int]] = {}

    def support(self, node: Any) -> list[int]:
        """Where the mean field has what a node asks for; -1 for what no agent can reach."""
        name = name_of(node)
        if name not in self._supports:
            self._supports[name] = [self.place.get(each, -1) for each in asked(node, "distribution_support")]
        return self._supports[name]

    def distribution(self, node: Any, mean_field: Any) -> list[Any]:
        """What `update_distribution` is given at a node under a mean field."""
        return [mean_field[place] if place >= 0 else 0.0 for place in self.support(node)]

    def after(self, node: Any, mean_field: Any) -> Any:
        """The node after the population has moved, which is the node itself where it does not move."""
        return updated(node, self.distribution(node, mean_field)) if self.kind == "mean field" else node

    def arrival(self, node: Any, mean_field: Any) -> Any:
        """The rewards that are paid at a node before and after the population has moved."""
        if self.kind != "mean field":
            return reward_of(node)
        return reward_of(node) + reward_of(self.after(node, mean_field))


class Reader(abc.ABC):
    """Reads how the nodes of a game depend on the mean field."""

    @abc.abstractmethod
    def begin(self, stage: Stage) -> None:
        """Prepare for the nodes of a stage."""

    @abc.abstractmethod
    def after(self, node: Any, stage: Stage) -> Any:
        """The node after the population has moved."""

    @abc.abstractmethod
    def arrival(self, node: Any, stage: Stage) -> Formula:
        """The rewards at a node as a formula of the mean field.

        Raises:
            UntraceableError: There is none.
        """

    @abc.abstractmethod
    def branches(self, stage: Stage, run: Callable[[], Any]) -> list[tuple[tuple[tuple[Formula, int], ...], Any]]:
        """All that `run` may return, with the guards under which it does: formulas and their values."""

    @abc.abstractmethod
    def first_branch(self, run: Callable[[], Any]) -> Any:
        """What `run` returns under one mean field."""


class Tracing(Reader):
    """Runs the game's code on traced numbers."""

    def begin(self, stage: Stage) -> None:
        self._stage, self._path = stage, Path(self._decide)
        self._numbers = entries(stage.time, len(stage.names), self._path)
        self._possible: dict[int, tuple[int, list[int]]] = {}

    def after(self, node: Any, stage: Stage) -> Any:
        return stage.after(node, self._numbers)

    def arrival(self, node: Any, stage: Stage) -> Formula:
        self._runs = 0
        return formula_of(self._selected(node, stage, ()), stage.time)

    def _selected(self, node: Any, stage: Stage, forced: tuple[int, ...]) -> Any:
        """The rewards at a node where the first guards are as they are told, selected by the guards that follow.

        A branch of the code that fails counts as not a number, since no mean field should lead there.
        """
        self._runs += 1
        if self._runs > _MAX_RUNS:
            raise UntraceableError("a reward compares or rounds the mean field in too many ways")
        self._path.restart(forced)
        failed = False
        try:
            result = stage.arrival(node, self._numbers)
        except UntraceableError:
            raise
        except Exception:
            if not forced:
                raise
            failed, result = True, math.nan
        guards = self._path.guards
        if failed and len(guards) < len(forced):
            return result
        for place in range(len(forced), len(guards)):
            number, before = guards[place].number, tuple(guard.result for guard in guards[:place])
            known = [guard.result for guard in guards[:place] if guard.number is number]
            if known:
                if known[0] == guards[place].result:
                    continue
                return self._selected(node, stage, (*before, known[0]))
            results = self._results(number)[1]
            if results == [guards[place].result]:
                continue
            values = [self._selected(node, stage, (*before, each)) for each in results]
            if number.operation in _COMPARISONS:
                return selected(number, values[1], values[0])
            total: Any = math.nan
            for whole, value in zip(results, values, strict=True):
                total = selected(equal(number, whole), value, total)
            return total
        return result

    def branches(self, stage: Stage, run: Callable[[], Any]) -> list[tuple[tuple[tuple[Formula, int], ...], Any]]:
        found: list[tuple[tuple[tuple[Formula, int], ...], Any]] = []
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            forced = waiting.pop()
            self._path.restart(forced)
            try:
                result = run()
            except UntraceableError:
                raise
            except Exception:  # the game's code refuses what no mean field brings about
                if not forced:
                    raise
                continue
            guards = tuple(self._path.guards)
            found.append((tuple((formula_of(g.number, stage.time), g.result) for g in guards), result))
            for place in range(len(forced), len(guards)):
                before = tuple(guard.result for guard in guards[:place])
                _, others = self._results(guards[place].number)
                waiting.extend((*before, other) for other in others if other != guards[place].result)
            if len(found) + len(waiting) > _MAX_WHOLE:
                raise UntraceableError("a move depends on the mean field in too many ways")
        return found

    def first_branch(self, run: Callable[[], Any]) -> Any:
        self._path.restart()
        return run()

    def _decide(self, number: Traced) -> int:
        return self._results(number)[0]

    def _results(self, number: Traced) -> tuple[int, list[int]]:
        """The whole number that a guard is at the first of the stage's mean fields, and all that it may be."""
        if id(number) not in self._possible:  # numbers are made once
            formula, points = formula_of(number, self._stage.time), self._stage.points
            with np.errstate(all="ignore"):
                values = np.broadcast_to(value_of(formula, points), len(points))
            if not np.isfinite(values).all() or np.ptp(values) > _MAX_WHOLE:
                raise UntraceableError("a whole number that depends on the mean field is too large, or not finite")
            seen = sorted({int(value) for value in values})
            every = list(range(seen[0], seen[-1] + 1))
            if number.operation in _COMPARISONS and not self._is_settled(number):
                every = [0, 1]
            self._possible[id(number)] = int(values[0]), every
        return self._possible[id(number)]

    def _is_settled(self, number: Traced) -> bool:
        """Whether a comparison comes out at some point mass as it may come out anywhere: one of linear numbers."""
        linear = all(is_linear(each, self._stage.time) for each in number.arguments)
        return linear and number.operation not in ("eq", "ne")


class Probing(Reader):
    """Calls the game with many mean fields: its moves may not depend on them, and its rewards in a simple way."""

    def __init__(self) -> None:
        self._known: dict[Any, Formula] = {}

    def begin(self, stage: Stage) -> None:
        self._known = {}

    def after(self, node: Any, stage: Stage) -> Any:
        return stage.after(node, stage.points[0].tolist())

    def arrival(self, node: Any, stage: Stage) -> Formula:
        def reward(mean_field: Float[np.ndarray, " states"]) -> float:
            return float(stage.arrival(node, mean_field.tolist()))

        name = name_of(node)
        own = stage.place.get(name, -1)
        alone = np.eye(len(stage.names))[max(own, 0)]
        seen = (name, *(reward(point) for point in (*stage.points[: _RANDOM_POINTS + 1], alone)))
        if seen not in self._known:
            self._known[seen] = identified(reward, own, len(stage.names))
        return self._known[seen]

    def branches(self, stage: Stage, run: Callable[[], Any]) -> list[tuple[tuple[tuple[Formula, int], ...], Any]]:
        return [((), run())]

    def first_branch(self, run: Callable[[], Any]) -> Any:
        return run()
