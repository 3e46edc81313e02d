"""How good a mean-field policy is in the game with N players.

For every N: the return when all N play the policy; and the gain of one of them who deviates, so that the policy is an
eps-Nash equilibrium of the N-player game, among the deviators considered, with eps the gain. As N grows both approach
what they are in the mean field, the gain its exploitability: at rate 1 / N where values are smooth in the mean field.

What a deviator knows:

- `non_anticipative`: its own state and the noise so far, but not the others' luck.
- `clairvoyant`: its own state and the whole noise path; the only kind where the noise is continuous.
- `full`: everything so far, where everybody is and how the noise went. Exact, by enumeration, in tiny games.

The first two are sampled (`_deviation`), in three steps:

1. Games of N players are played along every noise path, and split into two halves.
2. On the first half action values are averaged over what the deviator does not know, and backward induction gives a
   response (`_response`).
3. On the second half the response is compared with the policy, by the values of both along what the others did.

Where nothing is `neglected`, the mean of step 3 is an unbiased estimate of what this response gains, and a lower bound,
but for its standard error, of what the best response gains.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_name
from structmfg._flags import own_rules
from structmfg.evaluation import Estimate, best_response, in_double
from structmfg.games import Game, NoisePaths, as_game, history_indices, noise_paths
from structmfg.policies import Policy, TabularPolicy, TreePolicy, as_policy
from structmfg.solvers.n_players._deviation import (
    PopulationRollout,
    best_responses,
    gains,
    kernel_depends_on_mean_field,
    mean_field_paths,
    play,
    vectors_of,
)
from structmfg.solvers.n_players._enumeration import enumerate_players

Deviator = Literal["non_anticipative", "clairvoyant", "full"]
Neglected = Literal["reaction", "own weight"]

MAX_PLAYERS = 2**31 - 1
MAX_STRATA = 512  # noise paths that are all played; where there are more, some are drawn
_MAX_AGENTS, _MAX_GAMES = 2_000_000, 1024  # in all games of one N, unless every path would get too few games
_MIN_GAMES_PER_PATH = 2  # in either half
_MAX_PAIRS_WITH_OWN_WEIGHT = 4096  # state-action pairs up to which the agent's own weight counts: work is their square


class PlayersEvaluation(NamedTuple):
    """A policy in the game of N players.

    Attributes:
        num_players: N.
        mean_return: The return of a player when all play the policy, the mean over games, players and common noise.
        mean_field_return: Its limit, the return of the mean field on the same noise paths.
        gain: What one player gains who deviates with the knowledge that `deviator` names.
        mean_field_gain: Its limit, the exploitability (for `full`, where the limit knows no more, non-anticipative).
        deviator: What the deviator knows.
        num_games: The number of games that were played, in both halves together; 0 where the values are exact.
        neglected: The effects of order 1 / N that the gain leaves out, in either direction, and that may be large for
            few players: the `reaction` of the others, and of the policy itself, to the mean field that the deviation
            changes, where the policy may observe it or the others' moves depend on it; the agent's `own weight` in the
            mean field it lives in, where the game is too large, or in public state, actions and price.
    """

    num_players: int
    mean_return: Estimate
    mean_field_return: float
    gain: Estimate
    mean_field_gain: float
    deviator: Deviator
    num_games: int
    neglected: tuple[Neglected, ...]


@own_rules()
def players(
    game: Game,
    policy: Policy | ArrayLike,
    num_players: Sequence[int] = (10, 100, 1000),
    *,
    key: PRNGKeyArray | None = None,
    deviator: Deviator | None = None,
    num_games: int | None = None,
    num_paths: int = 16,
) -> list[PlayersEvaluation]:
    """Evaluate a policy in the games of N players, for several N, each by itself.

    Finite noise is stratified: every path is played, and counts with its probability. Drawn paths are the same for all
    N, and standard errors are then those over paths; the limits are those of these paths.

    The expected return has a second estimate, the return of the players' control variates, of which the mean is known
    (see `_deviation`): `mean_return` is the known mean plus the mean difference, with the same expectation as the plain
    mean and a smaller error.

    Args:
        game: The game.
        policy: A table (S, A) or (T, S, A), or any `Policy`.
        num_players: The numbers of players N, at least two each.
        key: A random key, needed where games are drawn.
        deviator: What the deviator knows. None for `non_anticipative` where the noise is finite (at most `MAX_STRATA`
            paths), else `clairvoyant`.
        num_games: The number of games for every N, in both halves together, rounded up to equally many, and at least
            two, a path and half. None for about 2e6 agents in all, at most 1024 games.
        num_paths: The number of paths of the common noise, to be drawn where it is not finite.

    Returns:
        An evaluation for every N, in the same order.

    Raises:
        ValueError: There are fewer than two players or paths, the deviator is unknown, it is `non_anticipative` where
            the noise is not finite, the key is missing where games are drawn, or the deviator is `full` and the game
            too large to enumerate.
    """
    given: Any = num_players
    if isinstance(given, np.ndarray):
        given = given.tolist()  # a number, where it has no axis
    check_kind("num_players", given, Sequence | np.ndarray)
    counts = [check_integer("every number of players", count, at_least=2, at_most=MAX_PLAYERS) for count in given]
    if not counts:
        raise ValueError("num_players must hold one number of players at least, but is empty")
    game = as_game(game)
    policy = as_policy(game, policy)
    finite = _all_paths(game)
    deviator = deviator or ("clairvoyant" if finite is None else "non_anticipative")
    check_name("deviator", deviator, get_args(Deviator))
    if deviator == "full":
        return _enumerated(game, policy, counts)
    if finite is None and deviator == "non_anticipative":
        raise ValueError(
            "a non_anticipative deviator needs finite common noise, but this game's is continuous, or has more than "
            f"{MAX_STRATA} paths; allowed: clairvoyant"
        )
    if key is None:
        raise ValueError("games of N players are drawn: give a key")
    if num_games is not None:
        num_games = check_integer("num_games", num_games, at_least=1)
    keys = jax.random.split(key, len(counts) + 1)
    if finite is None:
        count = check_integer("num_paths", num_paths, at_least=2)
        paths = noise_paths(game, key=keys[0], num_paths=count, sampling="iid")
    else:
        paths = finite
    with jax.enable_x64(True):
        study = _Study(game, in_double(policy), in_double(paths), finite is not None, deviator)
        return [study.evaluation(count, num_games, k) for count, k in zip(counts, keys[1:], strict=True)]


def gain_rate(evaluations: Sequence[PlayersEvaluation]) -> Estimate | None:
    """The slope of log(gain - mean_field_gain) on log N, by least squares. At rate 1 / N it is -1.

    Args:
        evaluations: The evaluations of one policy for several N. Only those count whose gain `is_fitted`.

    Returns:
        The slope; its standard error is the larger of those that the residuals and the errors of the gains give. None
        where fewer than three N are left.
    """
    kept = [evaluation for evaluation in evaluations if is_fitted(evaluation)]
    sizes = np.log([evaluation.num_players for evaluation in kept])
    if len(set(sizes)) < 3:
        return None
    excess, errors = np.array([(each.gain.value - each.mean_field_gain, each.gain.stderr) for each in kept]).T
    centred = sizes - sizes.mean()
    spread = float(centred @ centred)
    slope = float(centred @ np.log(excess)) / spread
    residuals = np.log(excess) - np.log(excess).mean() - slope * centred
    by_residuals = float(residuals @ residuals) / (len(kept) - 2) / spread
    by_errors = float(centred**2 @ (errors / excess) ** 2) / spread**2
    return Estimate(slope, float(np.sqrt(max(by_residuals, by_errors))))


def is_fitted(evaluation: PlayersEvaluation) -> bool:
    """Whether the gain is above its limit by more than two standard errors."""
    return evaluation.gain.value - evaluation.mean_field_gain > 2 * evaluation.gain.stderr


def _all_paths(game: Game) -> NoisePaths | None:
    """The noise paths of positive probability, where the game has few enough to play them all."""
    scenarios = game.scenarios()
    if scenarios is None or scenarios.num_paths > MAX_STRATA:
        return None
    possible = np.flatnonzero(np.asarray(scenarios.probabilities))
    return NoisePaths(
        jax.tree.map(lambda z: jnp.asarray(z)[possible], scenarios.noise), scenarios.probabilities[possible]
    )


def _enumerated(game: Game, policy: Policy, counts: Sequence[int]) -> list[PlayersEvaluation]:
    """The evaluations with a deviator who knows everything."""
    limit = best_response(game, policy)

    def evaluation(count: int, mean_return: float, gain: float) -> PlayersEvaluation:
        exact = Estimate(mean_return, 0.0), limit.mean_return, Estimate(gain, 0.0), limit.exploitability
        return PlayersEvaluation(count, *exact, "full", 0, ())

    return [evaluation(count, *enumerate_players(game, policy, count)) for count in counts]


class _Study:
    """What is the same for all N, and the evaluation of one N."""

    def __init__(self, game: Game, policy: Policy, paths: NoisePaths, finite: bool, deviator: Deviator):
        self.game, self.policy, self.paths, self.finite, self.deviator = game, policy, paths, finite, deviator
        self.along = mean_field_paths(game, policy, paths.noise)
        assert deviator != "full"
        limit = best_response(game, policy, kind=deviator, paths=paths)
        self.mean_return, self.gain = limit.mean_return, limit.exploitability
        every = np.broadcast_to(np.arange(paths.num_paths), (game.horizon + 1, paths.num_paths))
        self.nodes = jnp.asarray(every if deviator == "clairvoyant" else history_indices(paths))
        self.with_own_weight = game.num_states * game.num_actions <= _MAX_PAIRS_WITH_OWN_WEIGHT
        beyond = game.declared & {"public", "actions", "price"}
        blind = isinstance(policy, TabularPolicy) or (isinstance(policy, TreePolicy) and policy.informed)
        reacts = not blind or bool(beyond) or bool(kernel_depends_on_mean_field(game, self.along))
        weightless = not self.with_own_weight or bool(beyond)
        left_out: list[tuple[Neglected, bool]] = [("reaction", reacts), ("own weight", weightless)]
        self.neglected = tuple(effect for effect, applies in left_out if applies)

    def evaluation(self, num_players: int, num_games: int | None, key: PRNGKeyArray) -> PlayersEvaluation:
        """The three steps of the module."""
        paths, half = self.paths.num_paths, self._games_per_path(num_players, num_games)
        index = jnp.tile(jnp.arange(paths), 2 * half)
        games = play(self.game, self.policy, self.along, index, num_players, key)
        games = jax.tree.map(lambda x: x.reshape(2 * half, paths, *x.shape[1:]), games)
        weight = jnp.asarray(1 / num_players) if self.with_own_weight else None
        response = self._response(weight, _slice(games, 0, half))
        gain = self._gain(weight, response, _slice(games, half, 2 * half))
        excess = self._estimate(np.asarray(games.excess))
        return PlayersEvaluation(
            num_players=num_players,
            mean_return=Estimate(self.mean_return + excess.value, excess.stderr),
            mean_field_return=self.mean_return,
            gain=gain,
            mean_field_gain=self.gain,
            deviator=self.deviator,
            num_games=2 * half * paths,
            neglected=self.neglected,
        )

    def _games_per_path(self, num_players: int, num_games: int | None) -> int:
        """The number of games a path in either half."""
        wanted = min(_MAX_AGENTS // num_players, _MAX_GAMES) if num_games is None else num_games
        return max(_MIN_GAMES_PER_PATH, -(-wanted // (2 * self.paths.num_paths)))

    def _response(self, weight: Float[Array, ""] | None, games: PopulationRollout) -> Int[Array, "times paths states"]:
        """The response to averages over games, or, where these are too few to be of use, that to the mean field.

        At an equilibrium many actions are equally good, so luck decides which of them is the best of noisy averages.
        Which of the two responses gains more is measured on one half of these games, with averages over the other.
        """
        half, mean = len(games.excess) // 2, vectors_of(self.game, self.along.aggregates)[None]
        limit = PopulationRollout(mean, mean, games.signals[:1], games.excess[:1])
        learned, plain = (self._best_response(weight, played) for played in (_slice(games, 0, half), limit))
        rest = _slice(games, half, None)
        learned_gain, plain_gain = (self._gain(weight, response, rest).value for response in (learned, plain))
        return self._best_response(weight, games) if learned_gain > plain_gain else plain

    def _best_response(
        self, weight: Float[Array, ""] | None, games: PopulationRollout
    ) -> Int[Array, "times paths states"]:
        return best_responses(self.game, weight, self.along, self.paths.probabilities, self.nodes, games)

    def _gain(
        self, weight: Float[Array, ""] | None, response: Int[Array, "times paths states"], games: PopulationRollout
    ) -> Estimate:
        return self._estimate(np.asarray(gains(self.game, self.policy, weight, self.along, response, games)))

    def _estimate(self, values: Float[np.ndarray, "games paths"]) -> Estimate:
        """The mean, and its error: within the paths where they are all the paths there are, else over paths."""
        probabilities, means = np.asarray(self.paths.probabilities), values.mean(axis=0)
        within = probabilities**2 @ np.var(values, axis=0, ddof=1) / len(values) if len(values) > 1 else np.nan
        variance = within if self.finite else np.var(means, ddof=1) / len(means)
        return Estimate(float(probabilities @ means), float(np.sqrt(variance)))


def _slice(games: PopulationRollout, start: int, stop: int | None) -> PopulationRollout:
    return jax.tree.map(lambda x: x[start:stop], games)
