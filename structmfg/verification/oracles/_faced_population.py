"""The population that one small agent faces: along every noise path it is the same whatever the agent does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from structmfg.verification.oracles._model import Array, Model, rollout

_EQUAL = 1e-9  # observations that differ by less, relative to the largest one, count as equal


class FacedPopulation(NamedTuple):
    """Kernels and rewards of one small agent along N noise paths, and what it knows of the path.

    Attributes:
        probabilities: The probabilities of the noise paths, (N,).
        start: The mean field at t = 0, (N, S).
        kernels: The transition probabilities, (N, T, S, A, S).
        rewards: The rewards, (N, T, S, A).
        known: What the agent knows besides its own past, (N, T): it cannot distinguish paths with the same number at t.
            Nothing known is forgotten: paths that differ at t differ later.
        discount: The discount factor gamma.
    """

    probabilities: Array
    start: Array
    kernels: Array
    rewards: Array
    known: Array
    discount: float

    @property
    def horizon(self) -> int:
        """The number of steps T."""
        return int(self.known.shape[1])


def faced_population(
    model: Model, tables: Any, noise: Sequence[Any] | Array, probabilities: Any, kind: str = "public"
) -> FacedPopulation:
    """The population of a model that plays tables (N, T, S, A) along N noise paths z_0..z_T.

    Args:
        model: The game.
        tables: What the population plays on every path, (N, T, S, A).
        noise: The noise paths, N sequences of T+1 values.
        probabilities: Their probabilities, (N,).
        kind: What the agent knows. "public": the observations so far; "non_anticipative": the noise so far;
            "clairvoyant": all noise from the start.
    """
    paths = [rollout(model, table, path) for table, path in zip(tables, noise, strict=True)]
    if kind == "clairvoyant":
        known = np.repeat(np.arange(len(paths))[:, None], model.horizon, axis=1)
    else:
        signals = [path.observations for path in paths] if kind == "public" else [_flat(path)[:-1] for path in noise]
        known = known_by(np.array(signals, float))
    start, kernels, rewards = (np.array([getattr(path, name) for path in paths]) for name in _FIELDS)
    return FacedPopulation(np.asarray(probabilities, float), start[:, 0], kernels, rewards, known, model.discount)


_FIELDS = ("mean_fields", "kernels", "rewards")


def _flat(path: Any) -> list[Array]:
    return [np.ravel(np.asarray(z, float)) for z in path]


def known_by(signals: Array) -> Array:
    """Numbers (N, T) of the histories of signals (N, T, O): the first path with the same signals so far, to rounding.

    Raises `ValueError` where signals are too near to differ and too far to be equal, so that paths form no sets.
    """
    scale = _EQUAL * (1 + np.abs(signals).max(axis=(0, 1), initial=0))
    differ = np.any(np.abs(signals[:, None] - signals[None]) > scale, axis=-1)  # (N, N, T)
    same_history = ~np.logical_or.accumulate(differ, axis=-1)
    known = np.argmax(same_history, axis=1)
    if not np.array_equal(same_history, known[:, None] == known[None]):
        raise ValueError("some observations of different noise paths are neither equal nor clearly different")
    return known


def policy_values(faced: FacedPopulation, tables: Any) -> Array:
    """Values (N, S) at t = 0 of one agent who plays tables (N, T, S, A), path by path."""
    tables = np.asarray(tables)
    values = np.zeros(faced.start.shape)
    for t in reversed(range(faced.horizon)):
        values = np.sum(tables[:, t] * action_values(faced, t, values), axis=-1)
    return values


def action_values(faced: FacedPopulation, t: int, values: Array) -> Array:
    """r + gamma P v, from values (N, S) to (N, S, A), path by path."""
    return faced.rewards[:, t] + faced.discount * np.einsum("nsau,nu->nsa", faced.kernels[:, t], values)
