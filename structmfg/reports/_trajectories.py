"""Follow a policy along chosen noise paths, for figures and files."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg.evaluation import rollout
from structmfg.games import Game, Noise
from structmfg.policies import Policy
from structmfg.reports._views import noise_series, shown_paths

_MAX_POLICY_ENTRIES = 1_000_000  # beyond that, the policy is kept at fewer times


class Trajectories(NamedTuple):
    """What happens along N noise paths.

    Attributes:
        labels: The names of the paths.
        noise: The paths, with leading axes (N, T+1).
        mean_field: The mean fields (N, T+1, S).
        quantities: The game's aggregate quantities by name (N, T+1).
        policy: Action probabilities (N, K, S, A) at some times.
        policy_times: These times (K,).
    """

    labels: list[str]
    noise: Noise
    mean_field: Float[np.ndarray, "paths times states"]
    quantities: dict[str, Float[np.ndarray, "paths times"]]
    policy: Float[np.ndarray, "paths kept states actions"]
    policy_times: np.ndarray


def trajectories(game: Game, policy: Policy) -> Trajectories:
    """Follow a policy along the noise paths that `shown_paths` chooses for the game."""
    shown = shown_paths(game)
    times = kept_times(game, shown.paths.num_paths)
    mean_field, quantities, kept = quantities_along(game, policy, shown.paths.noise, jnp.asarray(times))
    means_first = sorted(quantities, key=lambda name: not name.startswith("mean "))
    arrays = {name: np.asarray(quantities[name]) for name in means_first}
    return Trajectories(shown.labels, shown.paths.noise, np.asarray(mean_field), arrays, np.asarray(kept), times)


def kept_times(game: Game, num_paths: int) -> np.ndarray:
    """The times in 0..T-1 at which the policy is kept: all where it is small, else some, closer near the end."""
    end = game.horizon - 1
    if num_paths * game.horizon * game.num_states * game.num_actions <= _MAX_POLICY_ENTRIES:
        return np.arange(game.horizon)
    before_end = end - np.array([32, 16, 8, 4, 2, 1, 0])
    return np.union1d(np.linspace(0, end, 8).round().astype(int), before_end[before_end >= 0])


@eqx.filter_jit
def quantities_along(game: Game, policy: Policy, noise: Noise, times: Array) -> tuple[Array, dict[str, Array], Array]:
    """Mean fields, quantities, and the policy at the given times, along every noise path."""

    def along(path: Noise) -> tuple[Array, dict[str, Array], Array]:
        trajectory = rollout(game, policy, path)
        quantities = jax.vmap(game.quantities)(trajectory.aggregates) | noise_series(game, path)
        return trajectory.aggregates.mean_field, quantities, trajectory.policy[times]

    return jax.lax.map(along, noise)
