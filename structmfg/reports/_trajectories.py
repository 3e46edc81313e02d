"""Follow a policy along chosen noise paths, for figures and files."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._flags import own_rules
from structmfg.evaluation import StationaryProblem, rollout, settled
from structmfg.games import Game, Noise, noise_paths, truncated
from structmfg.policies import Policy
from structmfg.reports._views import action_axis, declared_series, noise_series, shown_paths

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
        mean_action: The mean action (N, T, S) in every state, in the numbers that the game gives its actions.
    """

    labels: list[str]
    noise: Noise
    mean_field: Float[np.ndarray, "paths times states"]
    quantities: dict[str, Float[np.ndarray, "paths times"]]
    policy: Float[np.ndarray, "paths kept states actions"]
    policy_times: np.ndarray
    mean_action: Float[np.ndarray, "paths steps states"]


@own_rules()
def trajectories(game: Game, policy: Policy) -> Trajectories:
    """Follow a policy along the noise paths that `shown_paths` chooses for the game."""
    if game.horizon is None:
        return _standing(game, policy)
    shown = shown_paths(game)
    times = kept_times(game, shown.paths.num_paths)
    values = jnp.asarray(action_axis(game).values)
    mean_field, quantities, kept, mean_action = quantities_along(
        game, policy, shown.paths.noise, jnp.asarray(times), values
    )
    means_first = sorted(quantities, key=lambda name: not name.startswith("mean "))
    arrays = {name: np.asarray(quantities[name]) for name in means_first}
    return Trajectories(
        shown.labels,
        shown.paths.noise,
        np.asarray(mean_field),
        arrays,
        np.asarray(kept),
        times,
        np.asarray(mean_action),
    )


def _standing(game: Game, policy: Policy) -> Trajectories:
    """A stationary mean field and its policy, as one step of one path."""
    table, mean_field = settled(StationaryProblem(game), policy)
    one = truncated(game, 1)
    noise = noise_paths(one, key=jax.random.key(0), num_paths=1).noise
    aggregate = one.aggregate(mean_field=mean_field, noise=jax.tree.map(lambda z: z[0, 0], noise), time=0)
    quantities = {name: np.full((1, 2), float(value)) for name, value in game.quantities(aggregate).items()}
    fields, mean_action = np.stack([mean_field] * 2)[None], (table @ action_axis(game).values)[None, None]
    return Trajectories(["for ever"], noise, fields, quantities, table[None, None], np.zeros(1, int), mean_action)


def kept_times(game: Game, num_paths: int) -> np.ndarray:
    """The times in 0..T-1 at which the policy is kept: all where it is small, else some, closer near the end."""
    end = game.horizon - 1
    if num_paths * game.horizon * game.num_states * game.num_actions <= _MAX_POLICY_ENTRIES:
        return np.arange(game.horizon)
    before_end = end - np.array([32, 16, 8, 4, 2, 1, 0])
    return np.union1d(np.linspace(0, end, 8).round().astype(int), before_end[before_end >= 0])


@eqx.filter_jit
def quantities_along(
    game: Game, policy: Policy, noise: Noise, times: Array, actions: Array
) -> tuple[Array, dict[str, Array], Array, Array]:
    """Along every noise path: mean fields, quantities, the policy at some times, and the mean of `actions` (A,)."""

    def along(path: Noise) -> tuple[Array, dict[str, Array], Array, Array]:
        trajectory = rollout(game, policy, path)
        own = jax.vmap(game.quantities)(trajectory.aggregates) | declared_series(game, trajectory.aggregates)
        quantities = own | noise_series(game, path)
        mean_action = trajectory.policy @ actions
        return trajectory.aggregates.mean_field, quantities, trajectory.policy[times], mean_action

    return jax.lax.map(along, noise)
