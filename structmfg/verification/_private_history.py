"""The value of an agent's own past beyond its present state, in games small enough to enumerate."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from structmfg.evaluation import Kind, has_perfect_recall, in_double, public_sets, rollout, unroll_on_tree
from structmfg.games import AggregateState, Game, NoiseTree, as_game, make, noise_tree
from structmfg.policies import Policy, as_policy, uniform
from structmfg.solvers import RESULTS
from structmfg.solvers.exact import ExactEquilibrium
from structmfg.solvers.loop import solve
from structmfg.verification import oracles
from structmfg.verification._compiled import observation_at, reward_at
from structmfg.verification._tiny import Coin, Jammed, Swap
from structmfg.verification.oracles import FacedPopulation, PrivateHistory, private_history

_dense = eqx.filter_jit(lambda game, aggregate: game.kernel(aggregate).as_dense())


class ModelOfGame:
    """A game as a model of `oracles`, by the game's own functions in double precision; see `oracles.Model`."""

    def __init__(self, game: Game) -> None:
        self.game, self.horizon, self.discount = game, game.horizon, game.discount

    def start(self, z: Any) -> np.ndarray:
        """The mean field at t = 0."""
        with jax.enable_x64(True):
            return np.asarray(self.game.initial_mean_field(jax.tree.map(jnp.asarray, z)), float)

    def dense(self, mu: np.ndarray, z: Any, t: int) -> np.ndarray:
        """The kernel (S, A, S)."""
        with jax.enable_x64(True):
            return np.asarray(_dense(self.game, self._at(mu, z, t)))

    def reward(self, mu: np.ndarray, z: Any, t: int, next_mu: np.ndarray, next_z: Any) -> np.ndarray:
        """The rewards (S, A)."""
        with jax.enable_x64(True):
            return np.asarray(reward_at(self.game, self._at(mu, z, t), self._at(next_mu, next_z, t + 1)))

    def observe(self, mu: np.ndarray, z: Any, t: int) -> np.ndarray:
        """The public observation."""
        with jax.enable_x64(True):
            return np.asarray(observation_at(self.game, self._at(mu, z, t)))

    def _at(self, mu: np.ndarray, z: Any, t: int) -> AggregateState:
        return self.game.aggregate(mean_field=mu, noise=z, time=t)


@eqx.filter_jit
def _tables(game: Game, policy: Policy, noise: Any) -> Float[Array, "paths times states actions"]:
    return jax.vmap(lambda path: rollout(game, policy, path).policy)(noise)


def faced_population(game: Game, policy: Policy | ArrayLike, *, kind: Kind = "public") -> FacedPopulation:
    """The population that one small agent faces where all others follow a policy, along every noise path.

    Args:
        game: A game whose noise paths can be enumerated (`Game.scenarios`).
        policy: The policy of the others, or a table (S, A) or (T, S, A).
        kind: What the agent knows of the noise: "public", "non_anticipative" or "clairvoyant".

    Returns:
        Kernels, rewards and what is known, for N noise paths; see `oracles.FacedPopulation`.

    Raises:
        ValueError: If the game's noise is not finite.
    """
    game = as_game(game)
    if declared := game.declared & {"public", "actions", "price"}:
        raise ValueError(
            f"private histories are enumerated where the aggregate state is (mu, z, t), but {type(game).__name__} "
            f"declares {', '.join(sorted(declared))}"
        )
    with jax.enable_x64(True):
        scenarios = in_double(game.scenarios())
        if scenarios is None:
            raise ValueError("all noise paths are enumerated, but this game's common noise is not finite")
        tables = np.asarray(_tables(game, in_double(as_policy(game, policy)), scenarios.noise))
        noise = jax.tree.map(np.asarray, scenarios.noise)
        paths = [
            [jax.tree.map(lambda z, i=i, t=t: z[i, t], noise) for t in range(game.horizon + 1)]
            for i in range(scenarios.num_paths)
        ]
        return oracles.faced_population(ModelOfGame(game), tables, paths, np.asarray(scenarios.probabilities), kind)


def value_of_private_history(game: Game, policy: Policy | ArrayLike, *, kind: Kind = "public") -> PrivateHistory:
    """What a best response gains by the memory of its own states and actions, where the others follow a policy.

    Both best responses know what `kind` says of the noise: pi(a | h_t, o_{0:t}) against pi(a | s_t, o_{0:t}) for
    "public". The values are exact, by enumeration in double precision. A loss of zero is the reduction of Assumption 2
    of Wibault et al. 2026 (arXiv 2602.20141) for a single agent: an agent's own past has no information that the public
    observations lack.

    Args:
        game: A game whose noise paths can be enumerated (`Game.scenarios`).
        policy: The policy of the others, or a table (S, A) or (T, S, A).
        kind: What both best responses know of the noise: "public", "non_anticipative" or "clairvoyant".

    Returns:
        The values of both best responses, and the numbers of histories; see `oracles.PrivateHistory`.

    Raises:
        ValueError: If the game's noise is not finite, or the game is too large to enumerate.
    """
    return private_history(faced_population(game, policy, kind=kind))


def perfect_recall(game: Game, policy: Policy | ArrayLike) -> bool:
    """Whether backward induction gives the public best response where the others follow a policy."""
    game = as_game(game)
    with jax.enable_x64(True):
        tree = noise_tree(game, pad_levels=True)
        return bool(_recall(game, tree, in_double(as_policy(game, policy))))


@eqx.filter_jit
def _recall(game: Game, tree: NoiseTree, policy: Policy) -> Bool[Array, ""]:
    flow, _ = unroll_on_tree(game, tree, policy)
    return has_perfect_recall(game, tree, flow, public_sets(game, tree, flow))


class PrivateHistoryRow(NamedTuple):
    """A row of the table.

    Attributes:
        game: The name of the game.
        population: What the population plays.
        perfect_recall: Whether backward induction gives the public best response.
        value: What private history is worth against that population.
    """

    game: str
    population: str
    perfect_recall: bool
    value: PrivateHistory


_WALK = {"num_states": 3, "max_action": 1, "horizon": 3, "push": 2.0}
TINY_GAMES: Mapping[str, Game] = {
    "coin, revealed late": Coin(revealed=2),
    "coin, hidden at first": Coin(revealed=0, veiled=(0,), stakes=3.0),
    "coin, to be remembered": Coin(revealed=1, veiled=(2,), stakes=3.0),
    "coin, hidden twice, moves do not tell": Coin(revealed=1, veiled=(1, 2), tells=0.0, stakes=3.0),
    "coin, hidden twice, moves tell": Coin(revealed=1, veiled=(1, 2), stakes=3.0),
    "coin, hidden always, moves tell": Coin(revealed=0, veiled=(0, 1, 2), stakes=3.0),
    "coin, seen through the mean field": Coin(revealed=1, shows_noise=False, stakes=3.0),
    "coin, where agents mix": Jammed(revealed=1),
    "swap, hidden": Swap(),
    "swap, shown": Swap(shows_noise=True),
    "linear_quadratic, shock at once": make("linear_quadratic", **_WALK, first=1, last=1),
    "linear_quadratic, shock at the end": make("linear_quadratic", **_WALK, first=0, last=1),
    "beach_bar": make("beach_bar", num_states=5, max_action=1, horizon=3),
    "beach_bar_crowded": make("beach_bar_crowded", num_states=5, max_action=1, horizon=3),
    "crowd_modelling": make("crowd_modelling", num_states=5, horizon=3),
    "left_right": make("left_right"),
}


def private_history_table(
    games: Mapping[str, Game] = TINY_GAMES, *, equilibria: bool = True, tolerance: float = 1e-4
) -> tuple[PrivateHistoryRow, ...]:
    """The value of private history in tiny games, by game and by what the population plays.

    Args:
        games: The games by name; by default the package's own.
        equilibria: Whether the population also plays exact equilibria, with public and with full information, in
            addition to the uniform policy.
        tolerance: Only equilibria that the solver certifies to this exploitability are in the table.

    Returns:
        A row for every game and population.
    """
    return tuple(
        PrivateHistoryRow(name, played, perfect_recall(game, policy), value_of_private_history(game, policy))
        for name, game in games.items()
        for played, policy in _populations(game, equilibria, tolerance)
    )


def _populations(game: Game, equilibria: bool, tolerance: float) -> Iterator[tuple[str, Policy]]:
    yield "uniform", uniform(game)
    for information in ("public", "full") if equilibria else ():
        solver = ExactEquilibrium(tolerance=tolerance, information=information)
        solution = solve(game, solver, max_steps=2000, throw=False)
        if solution.result is RESULTS.converged:
            yield f"equilibrium, {information} information", solution.policy
