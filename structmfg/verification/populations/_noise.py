"""The check of sampled common noise against the game's list of scenarios and its Markov chain."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_integer
from structmfg._statistics import bonferroni, evidence
from structmfg.games import Game, Noise, NoiseChain, NoisePaths, history_indices, noise_paths
from structmfg.verification._check import CheckResult, check
from structmfg.verification.populations._multinomial import expected_counts, multinomial_p_values, worst_cells

_TOLERANCE = 1e-5  # of the sum of probabilities, and of the values of a chain

_sample = eqx.filter_jit(lambda game, key, num: noise_paths(game, key=key, num_paths=num, sampling="iid").noise)


def noise(game: Game, *, key: PRNGKeyArray, level: float, num_paths: int = 10**4) -> CheckResult | None:
    """Test sampled noise paths against `scenarios()` and `noise_chain()` of a game.

    - Scenarios: probabilities sum to one, every sampled path is listed, and the histories z_0..z_t are as frequent as
      their probabilities say, at every t.
    - Chain: every sampled value is one of the chain's, and initial states and transitions at every t are as frequent as
      their probabilities say.

    Args:
        game: The game.
        key: Random key.
        level: The level of the check.
        num_paths: The number of sampled noise paths.

    Returns:
        The result; None where the game has neither scenarios nor a chain.
    """

    @check("the common noise is drawn as its scenarios and its chain say")
    def noise() -> tuple[float, float, str]:
        check_integer("num_paths", num_paths, at_least=1)
        sampled = _sample(game, key, num_paths)
        tests = [*_scenario_tests(scenarios, sampled), *_chain_tests(chain, sampled, game.horizon)]
        p_values = np.array([p for p, _ in tests])
        return bonferroni(p_values), evidence(level), tests[int(p_values.argmin())][1]

    try:
        scenarios, chain = game.scenarios(), game.noise_chain()
    except Exception as error:  # whatever a user's game raises is a finding
        raised = error

        @check("scenarios and noise chain of the game can be made")
        def noise_can_be_made() -> tuple[float, float]:
            raise raised

        return noise_can_be_made()
    return None if scenarios is None and chain is None else noise()


def _scenario_tests(scenarios: NoisePaths | None, sampled: Noise) -> Iterator[tuple[float, str]]:
    """p-values of the histories at t = 0..T, each with a description."""
    if scenarios is None:
        return
    weights = np.asarray(scenarios.probabilities, float)
    yield float(abs(weights.sum() - 1) <= _TOLERANCE), f"the scenarios' probabilities sum to {weights.sum():.6g}"
    joined = jax.tree.map(lambda x, y: jnp.concatenate([jnp.asarray(x, y.dtype), y]), scenarios.noise, sampled)
    total = jax.tree.leaves(joined)[0].shape[0]
    for time, level in enumerate(history_indices(NoisePaths(joined, jnp.full(total, 1 / total)))):
        listed, drawn = level[: len(weights)], level[len(weights) :]
        probabilities = np.bincount(listed, weights, level.max() + 1)
        observed = np.bincount(drawn, minlength=level.max() + 1)
        cell, words = _worst_cell(observed, probabilities, len(drawn))
        matching = np.flatnonzero(listed == cell)
        which = f"like scenario {matching[0]}" if len(matching) else "like no scenario"
        yield _p_value(observed, probabilities, len(drawn)), f"t = {time}: {words.format('paths begin ' + which)}"


def _chain_tests(chain: NoiseChain | None, sampled: Noise, horizon: int) -> Iterator[tuple[float, str]]:
    """p-values of the values, the initial states, and the transitions from every state, each with a description."""
    if chain is None:
        return
    chain = chain.validate()
    states = np.asarray(jax.jit(jax.vmap(jax.vmap(chain.state_of)))(sampled))
    for values, drawn in zip(jax.tree.leaves(chain.values), jax.tree.leaves(sampled), strict=True):
        difference = np.abs(values[states] - np.asarray(drawn)).max()
        within = difference <= _TOLERANCE * max(np.abs(values).max(), np.finfo(float).tiny)
        yield float(within), f"sampled values differ by {difference:.3g} from the chain's"
    observed = np.bincount(states[:, 0], minlength=chain.num_states)
    cell, words = _worst_cell(observed, chain.initial, len(states))
    yield _p_value(observed, chain.initial, len(states)), f"t = 0: {words.format(f'paths start in state {cell}')}"
    for time in range(horizon):
        transitions = np.zeros((chain.num_states, chain.num_states), int)
        np.add.at(transitions, (states[:, time], states[:, time + 1]), 1)
        for state in np.flatnonzero(transitions.sum(-1)):
            row, probabilities, draws = transitions[state], chain.transition[state], int(transitions[state].sum())
            cell, words = _worst_cell(row, probabilities, draws)
            which = words.format(f"transitions from state {state} go to state {cell}")
            yield _p_value(row, probabilities, draws), f"t = {time}: {which}"


def _p_value(observed: np.ndarray, probabilities: np.ndarray, num_draws: int) -> float:
    return float(multinomial_p_values(observed[None], probabilities[None], num_draws)[0])


def _worst_cell(observed: np.ndarray, probabilities: np.ndarray, num_draws: int) -> tuple[int, str]:
    """The worst cell, and a sentence about it with a place {} for what was drawn."""
    expected = expected_counts(probabilities[None], num_draws)
    cell = int(worst_cells(observed[None], expected)[0])
    return cell, f"{observed[cell]} of {num_draws} {{}}, expected {expected[0, cell]:.6g}"
