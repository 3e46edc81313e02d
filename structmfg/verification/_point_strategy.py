"""The strategy by which hypothesis draws the points of `fuzz`; it is imported by the first call of `fuzz`."""

from typing import Any

from hypothesis import strategies as st

from structmfg.games import Game
from structmfg.verification._points import Exceptions, Point

_INNOVATIONS = (0.5, 0.25, 0.75, 0.01, 0.99)


def _index(count: int) -> st.SearchStrategy[int]:
    """Numbers 0..count-1, by digits, as hypothesis also tries numbers above 100 that it finds in imported modules."""
    if count <= 100:
        return st.integers(0, count - 1)
    digits = st.tuples(_index(-(-count // 100)), st.integers(0, 99))
    return digits.map(lambda pair: 100 * pair[0] + pair[1]).filter(lambda index: index < count)


def _few(places: int, values: st.SearchStrategy[Any], *, at_least: int = 0) -> st.SearchStrategy[Exceptions]:
    """Values at two places at most."""
    entries = st.lists(st.tuples(_index(places), values), min_size=at_least, max_size=2, unique_by=lambda pair: pair[0])
    return entries.map(lambda pairs: tuple(sorted(pairs)))


def points(game: Game) -> st.SearchStrategy[Point]:
    """Random points of a game."""
    scenarios = game.scenarios()
    innovation = st.sampled_from(_INNOVATIONS)
    action = _index(game.num_actions)
    return st.builds(
        Point,
        time=_index(game.horizon),
        path=_index(scenarios.num_paths)
        if scenarios is not None
        else st.tuples(innovation, _few(game.horizon + 1, innovation)),
        actions=st.tuples(st.sampled_from(("uniform", "random")) | action, _few(game.num_states, action)),
        crowd=st.sampled_from(("uniform", "random")) | _few(game.num_states, st.integers(1, 3), at_least=1),
        seed=st.integers(0, 9),
    )
