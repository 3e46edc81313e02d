"""Policies as tables over time, bins of the public observation, individual states and actions.

Structural policy gradient was first used with such tables, over a grid of prices, for economies with heterogeneous
agents (Yang et al. 2025). A table needs no network and forgets the past; its size is a product over the observations.
"""

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_kind, check_name, finite_horizon, plain
from structmfg.games import Game, check_game
from structmfg.policies._base import Head, Hidden, ParametricPolicy, ordered_logits

_MAX_NUMBERS = 2**27  # in a table; training holds about ten arrays of its size


class BinnedSettings(NamedTuple):
    """The bins of a table; see `binned`.

    Attributes:
        bins: Bins of an observation; one number, or one for each.
        lowest: Lower end of the bins of normalised observations.
        highest: Upper end of the bins of normalised observations.
        head: Logits of all actions, or a Beta density over ordered ones.
    """

    bins: int | tuple[int, ...] = 8
    lowest: float | tuple[float, ...] = 0.0
    highest: float | tuple[float, ...] = 1.0
    head: Head = "categorical"


class BinnedPolicy(ParametricPolicy):
    """pi(a | s, t, bin of o_t), a table (T, B, S, n) with B the product of the bins of all observations.

    Its n numbers are the logits of all actions, or with the ordered head two, which make a Beta density over them.
    """

    kind_name = "table"
    parameters: PyTree[Array] | None
    game: Game = eqx.field(static=True)
    settings: BinnedSettings = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (T, B, S, n) of the table."""
        game = self.game
        return game.horizon, math.prod(_tuple(self.settings.bins)), game.num_states, _numbers(game, self.settings.head)

    @override
    def initialised(self, key: PRNGKeyArray) -> "BinnedPolicy":
        """All logits zero, whatever the key: with the categorical head this is the uniform policy."""
        return self.with_parameters({"logits": jnp.zeros(self.shape)})

    @override
    def prepare(self) -> None:
        return None

    @override
    def start(self) -> Hidden:
        return jnp.zeros((), int)

    @override
    def update(self, hidden: Hidden, observation: Float[Array, " observation"], time: Int[Array, ""]) -> Hidden:
        """The number t * B + b of the row of the table for time t and bin b of o_t."""
        bins, lowest, highest = map(np.asarray, self.settings[:3])
        relative = (self.game.normalise(observation) - lowest) / (highest - lowest)
        cells = jnp.clip(jnp.floor(relative * bins), 0, bins - 1).astype(int)
        return time * self.shape[1] + jnp.ravel_multi_index(tuple(cells), tuple(bins), mode="clip")

    @override
    def decode(self, prepared: None, hidden: Hidden) -> Float[Array, "states actions"]:
        logits = self.require_parameters()["logits"].reshape(-1, *self.shape[2:])[hidden]
        return ordered_logits(logits, self.game.action_positions()) if self.settings.head == "ordered" else logits


def binned(game: Game, **settings: Any) -> BinnedPolicy:
    """A policy pi(a | s, t, bin of o_t), a table over equal bins of the normalised observations (`game.normalise`).

    Args:
        game: The game.
        **settings: Fields of `BinnedSettings`. `bins`: how many, one number for all observations or one for each.
            `lowest`, `highest`: the range of the normalised observations that is divided into bins, for all or for
            each; the bins at its ends take what lies beyond. `head`: "categorical" or "ordered", as for `recurrent`.

    Returns:
        The policy, without parameters.

    Raises:
        ValueError: If a setting is unknown, numbers do not fit the game's observations, a range is empty, or the table
            would have more than 2**27 numbers.
    """
    check_kind("game", game, Game)
    check_game(game)
    finite_horizon(game)
    for name in settings:
        check_name("table setting", name, BinnedSettings._fields)
    count = game.observation_size
    given = BinnedSettings(**settings)
    check_name("head", given.head, get_args(Head))
    page = (game.horizon, game.num_states, _numbers(game, given.head))
    _check_size(page, ())  # before anything is made for each of the observations, which may be as many as the states
    bins, lowest, highest = (_one_for_each(name, getattr(given, name), count) for name in ("bins", "lowest", "highest"))
    for number, low, high in zip(bins, lowest, highest, strict=True):
        check_integer("bins", number, at_least=1)
        check_between("lowest", low, -float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
        check_between("highest", high, low, float(np.finfo(np.float32).max), open_low=True)
    bins, lowest, highest = tuple(map(int, bins)), tuple(map(float, lowest)), tuple(map(float, highest))
    _check_size(page, bins)
    return BinnedPolicy(None, game, BinnedSettings(bins, lowest, highest, given.head))


def _check_size(page: tuple[int, int, int], bins: Iterable[int]) -> None:
    """Raise `ValueError` for a table (T, B, S, n) with T, S, n = page that has more numbers than are allowed."""
    most_bins = _MAX_NUMBERS // math.prod(page)
    if not most_bins or any(product > most_bins for product in itertools.accumulate(bins, operator.mul)):
        times, states, numbers = page
        raise ValueError(
            f"a table (T, B, S, n) with T, S, n = {times}, {states}, {numbers} "
            f"would have more than the {_MAX_NUMBERS} numbers that are allowed"
            + (f": bins must multiply to at most {most_bins}" if most_bins else ", even with one bin")
        )


def _one_for_each(name: str, value: Any, count: int) -> tuple[Any, ...]:
    """A tuple of one value for each observation, from one value for all or a sequence."""
    value = plain(value)
    if not isinstance(value, Sequence | np.ndarray | jax.Array):
        return (value,) * count
    if len(value) != count:
        raise ValueError(f"{name} must be one number or {count}, one for each observation, but are {len(value)}")
    return tuple(map(plain, value))


def _numbers(game: Game, head: Head) -> int:
    return 2 if head == "ordered" else game.num_actions


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
