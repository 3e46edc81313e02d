"""The common noise as it is drawn, against its list of scenarios and its Markov chain."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_integer
from structmfg._statistics import bonferroni, evidence
from structmfg.games import Game, Noise, NoiseChain, NoisePaths, histories, noise_paths
from structmfg.verification._check import CheckResult, check
from structmfg.verification.populations._multinomial import expected_counts, multinomial_p_values, worst_cells

_TOLERANCE = 1e-5  # of the sum of probabilities, and of the values of a chain

_sample = eqx.filter_jit(lambda game, key, num: noise_paths(game, key=key, num_paths=num, sampling="iid").noise)


def noise(game: Game, *, key: PRNGKeyArray, level: float, num_paths: int = 10**4) -> CheckResult | None:
    """Sampled noise paths against `scenarios()` and `noise_chain()`. None where the noise is neither: not applicable.

    - Scenarios: probabilities sum to one, every sampled path is listed, and the histories z_0..z_t are as frequent as
      their probabilities say, at every t.
    - Chain: every sampled value is one of its, and initial states and one-step transitions are as frequent. Every path
      gives one transition, path i that at t = i mod T, so that they are independent.
    """

    @check("the common noise is drawn as its scenarios and its chain say")
    def noise() -> tuple[float, float, str]:
        check_integer("num_paths", num_paths, at_least=1)
        sampled = _sample(game, key, num_paths)
        found = [*_listed(scenarios, sampled), *_chained(chain, sampled, game.horizon)]
        p_values = np.array([p for p, _ in found])
        return bonferroni(p_values), evidence(level), found[int(p_values.argmin())][1]

    try:
        scenarios, chain = game.scenarios(), game.noise_chain()
    except Exception as error:  # whatever a user's game raises is a finding
        raised = error

        @check("scenarios and noise chain of the game can be made")
        def noise_is_told() -> tuple[float, float]:
            raise raised

        return noise_is_told()
    return None if scenarios is None and chain is None else noise()


def _listed(scenarios: NoisePaths | None, sampled: Noise) -> Iterator[tuple[float, str]]:
    """p-values of the histories at t = 0..T, with what they are about."""
    if scenarios is None:
        return
    weights = np.asarray(scenarios.probabilities, float)
    yield float(abs(weights.sum() - 1) <= _TOLERANCE), f"the scenarios' probabilities sum to {weights.sum():.6g}"
    joined = jax.tree.map(lambda x, y: jnp.concatenate([jnp.asarray(x, y.dtype), y]), scenarios.noise, sampled)
    total = jax.tree.leaves(joined)[0].shape[0]
    for time, level in enumerate(histories(NoisePaths(joined, jnp.full(total, 1 / total)))):
        listed, drawn = level[: len(weights)], level[len(weights) :]
        probabilities = np.bincount(listed, weights, level.max() + 1)
        observed = np.bincount(drawn, minlength=level.max() + 1)
        cell, told = _told(observed, probabilities, len(drawn))
        like = np.flatnonzero(listed == cell)
        which = f"like scenario {like[0]}" if len(like) else "like no scenario"
        yield _p_value(observed, probabilities, len(drawn)), f"t = {time}: {told.format('paths begin ' + which)}"


def _chained(chain: NoiseChain | None, sampled: Noise, horizon: int) -> Iterator[tuple[float, str]]:
    """p-values of the values, the initial states, and the transitions from every state."""
    if chain is None:
        return
    chain = chain.validate()
    states = np.asarray(jax.jit(jax.vmap(jax.vmap(chain.state_of)))(sampled))
    for values, drawn in zip(jax.tree.leaves(chain.values), jax.tree.leaves(sampled), strict=True):
        apart = np.abs(values[states] - np.asarray(drawn)).max()
        within = apart <= _TOLERANCE * max(np.abs(values).max(), np.finfo(float).tiny)
        yield float(within), f"sampled values differ by {apart:.3g} from the chain's"
    observed = np.bincount(states[:, 0], minlength=chain.num_states)
    cell, told = _told(observed, chain.initial, len(states))
    yield _p_value(observed, chain.initial, len(states)), f"t = 0: {told.format(f'paths start in state {cell}')}"
    for time in range(horizon):
        moves = np.zeros((chain.num_states, chain.num_states), int)
        np.add.at(moves, (states[:, time], states[:, time + 1]), 1)
        for state in np.flatnonzero(moves.sum(-1)):
            row, probabilities, draws = moves[state], chain.transition[state], int(moves[state].sum())
            cell, told = _told(row, probabilities, draws)
            which = told.format(f"transitions from state {state} go to state {cell}")
            yield _p_value(row, probabilities, draws), f"t = {time}: {which}"


def _p_value(observed: np.ndarray, probabilities: np.ndarray, num_draws: int) -> float:
    return float(multinomial_p_values(observed[None], probabilities[None], num_draws)[0])


def _told(observed: np.ndarray, probabilities: np.ndarray, num_draws: int) -> tuple[int, str]:
    """The worst cell, and a sentence about it that wants to know of what."""
    expected = expected_counts(probabilities[None], num_draws)
    cell = int(worst_cells(observed[None], expected)[0])
    return cell, f"{observed[cell]} of {num_draws} {{}}, expected {expected[0, cell]:.6g}"
