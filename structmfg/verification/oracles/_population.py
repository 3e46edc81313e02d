"""What one small agent faces: a population that goes its way along every noise path, whatever the agent does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from structmfg.verification.oracles._model import Array, Model, rollout

_ALIKE = 1e-9  # relative to the largest observation: how near two of them count as equal


class Population(NamedTuple):
    """N noise paths: `probabilities` (N,), mu_0 (N, S), `kernels` (N, T, S, A, S), `rewards` (N, T, S, A).

    `known` (N, T) says what the agent knows besides its own past: paths with the same number at t cannot be told apart
    at t. Nothing known is forgotten: paths apart at t are apart later.
    """

    probabilities: Array
    start: Array
    kernels: Array
    rewards: Array
    known: Array
    discount: float

    @property
    def horizon(self) -> int:
        """T."""
        return int(self.known.shape[1])


def population(
    model: Model, tables: Any, noise: Sequence[Any] | Array, probabilities: Any, kind: str = "public"
) -> Population:
    """A population with tables (N, T, S, A) along N noise paths z_0..z_T, and an agent who knows what `kind` says.

    "public": the observations so far; "non_anticipative": the noise so far; "clairvoyant": all noise from the start.
    """
    paths = [rollout(model, table, path) for table, path in zip(tables, noise, strict=True)]
    if kind == "clairvoyant":
        known = np.repeat(np.arange(len(paths))[:, None], model.horizon, axis=1)
    else:
        seen = [path.observations for path in paths] if kind == "public" else [_flat(path)[:-1] for path in noise]
        known = known_by(np.array(seen, float))
    start, kernels, rewards = (np.array([getattr(path, name) for path in paths]) for name in _FIELDS)
    return Population(np.asarray(probabilities, float), start[:, 0], kernels, rewards, known, model.discount)


_FIELDS = ("mean_fields", "kernels", "rewards")


def _flat(path: Any) -> list[Array]:
    return [np.ravel(np.asarray(z, float)) for z in path]


def known_by(seen: Array) -> Array:
    """Numbers (N, T) of the histories of signals (N, T, O): the first path with the same signals so far, to rounding.

    `ValueError` where that does not divide the paths into sets: signals too near to differ, too far to be equal.
    """
    scale = _ALIKE * (1 + np.abs(seen).max(axis=(0, 1), initial=0))
    apart = np.any(np.abs(seen[:, None] - seen[None]) > scale, axis=-1)  # (N, N, T)
    together = ~np.logical_or.accumulate(apart, axis=-1)
    known = np.argmax(together, axis=1)
    if not np.array_equal(together, known[:, None] == known[None]):
        raise ValueError("some observations of different noise paths are neither equal nor clearly different")
    return known


def policy_values(faced: Population, tables: Any) -> Array:
    """Values (N, S) at t = 0 of one agent who plays tables (N, T, S, A), path by path."""
    tables = np.asarray(tables)
    values = np.zeros(faced.start.shape)
    for t in reversed(range(faced.horizon)):
        values = np.sum(tables[:, t] * action_values(faced, t, values), axis=-1)
    return values


def action_values(faced: Population, t: int, values: Array) -> Array:
    """r + gamma P v, from values (N, S) to (N, S, A), path by path."""
    return faced.rewards[:, t] + faced.discount * np.einsum("nsau,nu->nsa", faced.kernels[:, t], values)
