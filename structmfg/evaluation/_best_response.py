"""What evaluations return: estimates, returns along paths, best responses and their gains."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from structmfg.games import AggregateState, NoisePaths, NoiseTree, Population
from structmfg.policies import StationaryPolicy, TreePolicy

_NORMAL_QUANTILE = 1.959964  # 97.5 % of the standard normal distribution lies below


class Estimate(NamedTuple):
    """A value and its standard error, which is zero if the value is exact."""

    value: float
    stderr: float

    @classmethod
    def of(cls, samples: Float[np.ndarray, " samples"]) -> "Estimate":
        """The mean of n >= 2 independent samples (n,), with its standard error."""
        return cls(float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(len(samples))))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval under the normal distribution."""
        return self.value - _NORMAL_QUANTILE * self.stderr, self.value + _NORMAL_QUANTILE * self.stderr


class PathEvaluation(NamedTuple):
    """A policy along N noise paths.

    Attributes:
        aggregates: The aggregate states (N, T+1, ...).
        returns: The return (N,) from t = 0, the mean over all agents.
        by_population: Of each of several populations by name, the return (N,) of one of its agents; else empty.
    """

    aggregates: AggregateState
    returns: Float[Array, " paths"]
    by_population: dict[str, Float[Array, " paths"]]


def means_by_population(
    populations: Sequence[Population], weighted: Float[Any, "*paths states"]
) -> dict[str, Float[Any, "*paths"]]:
    """Means over the agents of each population, by name, of numbers by state times the mean field (..., S)."""
    return {each.name: weighted[..., each.block].sum(-1) / each.mass for each in populations}


class GainsOverTime(NamedTuple):
    """What an agent gains who plays a best response from some time on, in units of the return.

    Gains from t on are not discounted back to t = 0. The best response knows what its kind of exploitability says.

    Attributes:
        by_state: (T, S); the gain from t on of an agent in state s at t: the mean over all noise.
        total: (T,); the mean gain from t on of the population at t, over all noise; at t = 0 the exploitability.
    """

    by_state: Float[np.ndarray, "times states"]
    total: Float[np.ndarray, " times"]

    @classmethod
    def along_paths(cls, paths: NoisePaths, mean_field: np.ndarray, gains: np.ndarray) -> "GainsOverTime":
        """Means of gains (N, T, S) along paths with the mean fields (N, T+1, S)."""
        weights = np.asarray(paths.probabilities)
        total = np.einsum("n,nts,nts->t", weights, mean_field[:, :-1], gains)
        return cls(np.tensordot(weights, gains, 1), total)

    @classmethod
    def on_tree(cls, tree: NoiseTree, flow: np.ndarray, gains: np.ndarray) -> "GainsOverTime":
        """Means of gains (M, S) on a tree with the mean fields (M, S): at every time over its slots."""
        times, by_state, total = np.asarray(tree.slot_time), [], []
        starts = np.searchsorted(times, np.arange(times[-1] + 1))  # slots are in order of time
        for first, end in itertools.pairwise(starts):
            weights = np.asarray(tree.probability)[first:end]
            by_state.append(weights @ gains[first:end])
            total.append(weights @ np.sum(flow[first:end] * gains[first:end], axis=-1))
        return cls(np.stack(by_state), np.stack(total))


class BestResponse(NamedTuple):
    """The best response to a population along N noise paths.

    Attributes:
        values: (N, S); the values of the best response at t = 0.
        policy_values: (N, S); the values of the policy at t = 0.
        mean_field: (N, S); the mean field at t = 0.
        probabilities: (N,); of the paths.
        policy: A policy that plays the best response; None if clairvoyant, as it knows the future. For an infinite
            horizon it has the mean field that it is a response to.
        gains: (N, S); what an agent gains who starts in a state, given what is known of the path at t = 0.
        over_time: The gains from every t on; None where they were not asked for (clairvoyant).
        populations: The populations of the game, where it has several.
    """

    values: Float[np.ndarray, "paths states"]
    policy_values: Float[np.ndarray, "paths states"]
    mean_field: Float[np.ndarray, "paths states"]
    probabilities: Float[np.ndarray, " paths"]
    policy: TreePolicy | StationaryPolicy | None
    gains: Float[np.ndarray, "paths states"]
    over_time: GainsOverTime | None = None
    populations: tuple[Population, ...] = ()

    @property
    def by_path(self) -> Float[np.ndarray, " paths"]:
        """The mean gain (N,) of the population on every path."""
        return np.sum(self.mean_field * self.gains, axis=-1)

    @property
    def returns(self) -> Float[np.ndarray, " paths"]:
        """The mean return (N,) of the policy over the population, on every path."""
        return np.sum(self.mean_field * self.policy_values, axis=-1)

    @property
    def mean_return(self) -> float:
        """The mean return of the policy over paths and the population."""
        return float(self.probabilities @ self.returns)

    @property
    def exploitability(self) -> float:
        """The mean gain over paths and the population."""
        return float(self.probabilities @ self.by_path)

    @property
    def by_population(self) -> dict[str, float]:
        """Of each of several populations, by name, the mean gain of one of its agents; else empty.

        The exploitability is the mean of these by the masses of the populations. In equilibrium each is zero.
        """
        return {name: float(self.probabilities @ gains) for name, gains in self.by_population_and_path.items()}

    @property
    def by_population_and_path(self) -> dict[str, Float[np.ndarray, " paths"]]:
        """The same on every path (N,)."""
        return means_by_population(self.populations, self.mean_field * self.gains)

    @property
    def returns_by_population(self) -> dict[str, float]:
        """Of each of several populations, by name, the mean return of one of its agents; else empty."""
        return {name: float(self.probabilities @ each) for name, each in self.returns_by_population_and_path.items()}

    @property
    def returns_by_population_and_path(self) -> dict[str, Float[np.ndarray, " paths"]]:
        """The same on every path (N,)."""
        return means_by_population(self.populations, self.mean_field * self.policy_values)
