"""How good a mean-field policy is in the game with N players.

For every N: the return when all N play the policy; and the gain of one of them who deviates, so that the policy is an
eps-Nash equilibrium of the N-player game, among the deviators considered, with eps the gain. As N grows both approach
what they are in the mean field, the gain its exploitability: at rate 1 / N where values are smooth in the mean field.

What a deviator knows:

- `non_anticipative`: its own state and the noise so far, but not the others' luck.
- `clairvoyant`: its own state and the whole noise path; the only kind where the noise is continuous.
- `full`: everything so far, where everybody is and how the noise went. Exact, by enumeration, in tiny games.

The first two are sampled. On one half of the games action values are averaged over what the deviator does not know, and
backward induction gives a response; on the other half it is held against the policy, by the values of both along what
the others did. Where nothing is `neglected` the gain is an unbiased estimate of what this response gains, and a lower
bound, but for its standard error, of what the best one does.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_name
from structmfg._flags import own_rules
from structmfg.evaluation import Estimate, best_response, in_double
from structmfg.games import Game, NoisePaths, as_game, history_indices, noise_paths
from structmfg.policies import Policy, TabularPolicy, TreePolicy, as_policy
from structmfg.solvers.n_players._deviation import Played, deviate, moves_depend, play, respond, unroll
from structmfg.solvers.n_players._enumeration import enumerate_players

Deviator = Literal["non_anticipative", "clairvoyant", "full"]
Neglected = Literal["reaction", "own weight"]

MAX_PLAYERS = 2**31 - 1
MAX_STRATA = 512  # noise paths that are all played; where there are more, some are drawn
_AGENTS, _GAMES = 2_000_000, 1024  # at most in all games of one N, unless every path would get too few
_LEAST_REPEATS = 2  # games a path in either half
_OWN_PAIRS = 4096  # state-action pairs up to which the agent's own weight is counted: the work is their square


class PlayersEvaluation(NamedTuple):
    """A policy among `num_players`, N.

    - `mean_return`: of a player when all play the policy, the mean over games, players and the common noise.
    - `mean_field_return`: its limit, that of the mean field on the same noise paths.
    - `gain`: what one player gains who deviates, with the knowledge that `deviator` names.
    - `mean_field_gain`: its limit, the exploitability (for `full`, where the limit knows no more, non-anticipative).
    - `num_games`: games that were played, in both halves together; 0 where the values are exact.
    - `neglected`: effects of order 1 / N that the gain leaves out, in either direction, and that may be large for few
      players: the `reaction` of the others, and of the policy itself, to the mean field that the deviation changes,
      where the policy may observe it or the others' moves depend on it; the agent's `own weight` in the mean field it
      lives in, where the game is too large.
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
    """A policy (a table (S, A) or (T, S, A), or any `Policy`) in the games of so many players, each given by itself.

    - `deviator`: None for `non_anticipative` where the noise is finite (at most `MAX_STRATA` paths), else
      `clairvoyant`.
    - `num_games`: for every N, in both halves together, rounded up to equally many, and at least two, a path and half;
      None for about 2e6 agents in all, at most 1024 games.
    - `num_paths`: of the common noise, to be drawn where it is not finite.

    Finite noise is stratified: every path is played, and counts with its probability. Drawn paths are the same for all
    N, and standard errors are then those over paths; the limits are those of these paths.

    The expected return has a second estimate, the return of independent copies of the players, of which the mean is
    known (see `_deviation`): `mean_return` is the known mean plus the mean difference, with the same expectation as the
    plain mean and a smaller error.

    Raises `ValueError` on fewer than two players or paths, an unknown deviator, `non_anticipative` where the noise is
    not finite, a missing key where games are drawn, and for `full` where the game is too large to enumerate.
    """
    check_kind("num_players", num_players, Sequence | np.ndarray)
    most = MAX_PLAYERS
    counts = [check_integer("every number of players", count, at_least=2, at_most=most) for count in num_players]
    if not counts:
        raise ValueError("num_players must hold one number of players at least, but is empty")
    game = as_game(game)
    bound = as_policy(game, policy)
    finite = _all_paths(game)
    deviator = deviator or ("clairvoyant" if finite is None else "non_anticipative")
    check_name("deviator", deviator, get_args(Deviator))
    if deviator == "full":
        limit = best_response(game, bound)
        exact = [enumerate_players(game, bound, count) for count in counts]
        return [
            PlayersEvaluation(
                count, Estimate(all_, 0.0), limit.mean_return, Estimate(gain, 0.0), limit.exploitability, "full", 0, ()
            )
            for count, (all_, gain) in zip(counts, exact, strict=True)
        ]
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
        setting = _Setting(game, in_double(bound), in_double(paths), finite is not None, deviator)
        return [_sampled(setting, count, num_games, k) for count, k in zip(counts, keys[1:], strict=True)]


def gain_rate(evaluations: Sequence[PlayersEvaluation]) -> Estimate | None:
    """The slope of log(gain - its limit) on log N by least squares, over those N where that is above two errors.

    The limit is `mean_field_gain`. The standard error is the larger of those that the residuals and the errors of the
    gains give. None where fewer than three such N are left. At rate 1 / N the slope is -1.
    """
    kept = [found for found in evaluations if is_fitted(found)]
    sizes = np.log([found.num_players for found in kept])
    if len(set(sizes)) < 3:
        return None
    gains, errors = np.array([(found.gain.value - found.mean_field_gain, found.gain.stderr) for found in kept]).T
    centred = sizes - sizes.mean()
    spread = float(centred @ centred)
    slope = float(centred @ np.log(gains)) / spread
    residuals = np.log(gains) - np.log(gains).mean() - slope * centred
    by_residuals = float(residuals @ residuals) / (len(kept) - 2) / spread
    by_errors = float(centred**2 @ (errors / gains) ** 2) / spread**2
    return Estimate(slope, float(np.sqrt(max(by_residuals, by_errors))))


def is_fitted(evaluation: PlayersEvaluation) -> bool:
    """Whether the gain is above its limit by more than two standard errors."""
    return evaluation.gain.value - evaluation.mean_field_gain > 2 * evaluation.gain.stderr


def _all_paths(game: Game) -> NoisePaths | None:
    """The game's noise paths where they are few enough to play them all; those that can happen."""
    scenarios = game.scenarios()
    if scenarios is None or scenarios.num_paths > MAX_STRATA:
        return None
    can = np.flatnonzero(np.asarray(scenarios.probabilities))
    return NoisePaths(jax.tree.map(lambda z: jnp.asarray(z)[can], scenarios.noise), scenarios.probabilities[can])


class _Setting:
    """What is the same for all N."""

    def __init__(self, game: Game, policy: Policy, paths: NoisePaths, finite: bool, deviator: Deviator):
        self.game, self.policy, self.paths, self.finite, self.deviator = game, policy, paths, finite, deviator
        self.along = unroll(game, policy, paths.noise)
        assert deviator != "full"
        found = best_response(game, policy, kind=deviator, paths=paths)
        self.mean_return, self.gain = found.mean_return, found.exploitability
        every = np.broadcast_to(np.arange(paths.num_paths), (game.horizon + 1, paths.num_paths))
        self.nodes = jnp.asarray(every if deviator == "clairvoyant" else history_indices(paths))
        self.weighed = game.num_states * game.num_actions <= _OWN_PAIRS
        blind = isinstance(policy, TabularPolicy) or (isinstance(policy, TreePolicy) and policy.informed)
        blind = blind and not bool(moves_depend(game, self.along))
        left_out: list[tuple[Neglected, bool]] = [("reaction", not blind), ("own weight", not self.weighed)]
        self.neglected = tuple(effect for effect, applies in left_out if applies)

    def repeats(self, num_players: int, num_games: int | None) -> int:
        """Games a path in either half."""
        wanted = min(_AGENTS // num_players, _GAMES) if num_games is None else num_games
        return max(_LEAST_REPEATS, -(-wanted // (2 * self.paths.num_paths)))

    def estimate(self, values: Float[np.ndarray, "games paths"]) -> Estimate:
        """The mean, and its error: within the paths where they are all the paths there are, else over paths."""
        chances, means = np.asarray(self.paths.probabilities), values.mean(axis=0)
        within = chances**2 @ np.var(values, axis=0, ddof=1) / len(values) if len(values) > 1 else np.nan
        variance = within if self.finite else np.var(means, ddof=1) / len(means)
        return Estimate(float(chances @ means), float(np.sqrt(variance)))


def _sampled(setting: _Setting, num_players: int, num_games: int | None, key: PRNGKeyArray) -> PlayersEvaluation:
    game, paths = setting.game, setting.paths.num_paths
    repeats = setting.repeats(num_players, num_games)
    index = jnp.tile(jnp.arange(paths), 2 * repeats)
    games = play(game, setting.policy, setting.along, index, num_players, key)
    games = jax.tree.map(lambda x: x.reshape(2 * repeats, paths, *x.shape[1:]), games)
    weight = jnp.asarray(1 / num_players) if setting.weighed else None
    response = _response(setting, weight, _slice(games, 0, repeats))
    gains = _gains(setting, weight, response, _slice(games, repeats, 2 * repeats))
    excess = setting.estimate(np.asarray(games.excess))
    return PlayersEvaluation(
        num_players=num_players,
        mean_return=Estimate(setting.mean_return + excess.value, excess.stderr),
        mean_field_return=setting.mean_return,
        gain=setting.estimate(gains),
        mean_field_gain=setting.gain,
        deviator=setting.deviator,
        num_games=2 * repeats * paths,
        neglected=setting.neglected,
    )


def _response(setting: _Setting, weight: Float[Array, ""] | None, games: Played) -> Int[Array, "times paths states"]:
    """The response to the averages over games, or, where these are too few to be of use, that to the mean field.

    At an equilibrium many actions are equally good, so that of noisy averages the best is the most flattered. Which of
    the two responses gains more is found out on one half of these games, with the averages over the other.
    """
    half, mean = len(games.excess) // 2, setting.along.aggregates.mean_field[None]
    crowd = Played(mean, mean, games.signals[:1], games.excess[:1])
    learned, plain = (_respond(setting, weight, among) for among in (_slice(games, 0, half), crowd))
    found = [
        setting.estimate(_gains(setting, weight, response, _slice(games, half, None))).value
        for response in (learned, plain)
    ]
    return _respond(setting, weight, games) if found[0] > found[1] else plain


def _respond(setting: _Setting, weight: Float[Array, ""] | None, games: Played) -> Int[Array, "times paths states"]:
    return respond(setting.game, weight, setting.along, setting.paths.probabilities, setting.nodes, games)


def _gains(
    setting: _Setting, weight: Float[Array, ""] | None, response: Int[Array, "times paths states"], games: Played
) -> Float[np.ndarray, "games paths"]:
    return np.asarray(deviate(setting.game, setting.policy, weight, setting.along, response, games))


def _slice(games: Played, start: int, stop: int | None) -> Played:
    return jax.tree.map(lambda x: x[start:stop], games)
