"""Policies of imported games as OpenSpiel's own, which its algorithms take."""

import importlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._checks import check_kind
from structmfg.games import Game, ImportedGame, OpenSpielGame, openspiel_name_of

Probabilities = dict[int, float]


def to_openspiel(policy: Any, game: Game) -> Any:
    """The policy as an `open_spiel.python.policy.Policy`; see `Policy.to_openspiel`."""
    check_kind("game", game, OpenSpielGame)
    assert isinstance(game, OpenSpielGame)
    try:
        base = importlib.import_module("open_spiel.python.policy").Policy
    except ImportError as error:
        raise ValueError(f"OpenSpiel is not installed ({error}): pip install structmfg[peers]") from error
    decisions = at_decisions(policy, game)

    class ExportedPolicy(base):  # type: ignore[misc, valid-type]
        """A policy by the names of decision nodes."""

        def action_probabilities(self, state: Any, player_id: int | None = None) -> Probabilities:
            """The probability of every legal action at a decision node."""
            return probabilities_at(decisions, state)

    return ExportedPolicy(game.walk.game, [0])


def at_decisions(policy: Any, game: ImportedGame) -> dict[str, Probabilities]:
    """The probabilities of actions by the name of a decision node.

    Where several states lead to one decision node under the policy's mean fields, agents who come from them act alike
    there: as all of them do on average.
    """
    flow, table = (np.asarray(x, float) for x in _play(policy, game))
    found: dict[str, Probabilities] = {}
    for time, stage in enumerate(game.walk.stages[:-1]):
        own: dict[str, list[tuple[float, np.ndarray, Any]]] = {}
        for state, node in enumerate(stage.nodes):
            decision = stage.after(node, flow[time, : len(stage.names)].tolist())
            own.setdefault(openspiel_name_of(decision), []).append((flow[time, state], table[time, state], decision))
        for name, reached in own.items():
            if name in found:
                raise ValueError(f"two decision nodes at different times have the name {name!r:.120}")
            mass = np.array([each[0] for each in reached])
            weights = mass / mass.sum() if mass.sum() > 0 else np.full(len(mass), 1 / len(mass))
            found[name] = _by_action(game, weights @ np.array([each[1] for each in reached]), reached[0][2])
    return found


def probabilities_at(decisions: dict[str, Probabilities], state: Any) -> Probabilities:
    """The probabilities at a decision node.

    Raises:
        ValueError: The policy has none there, and the agent has a choice.
    """
    name, legal = openspiel_name_of(state), [int(action) for action in state.legal_actions()]
    if name in decisions and decisions[name].keys() == set(legal):
        return dict(decisions[name])
    if len(legal) == 1:
        return {legal[0]: 1.0}
    raise ValueError(
        f"the policy knows no decision {name!r:.120}: it cannot be reached under the policy's own mean field"
    )


def _by_action(game: ImportedGame, row: np.ndarray, decision: Any) -> Probabilities:
    legal = [int(action) for action in decision.legal_actions()]
    mass = np.array([row[game.tables.action_ids.index(action)] for action in legal])
    mass = np.maximum(mass, 0)
    return dict(zip(legal, (mass / mass.sum()).tolist(), strict=True))


@eqx.filter_jit
def _play(policy: Any, game: Game) -> tuple[Array, Array]:
    """The mean fields (T + 1, S), and what the policy plays (T, S, A), of a game without common noise."""
    noise = jnp.zeros((), int)
    prepared = policy.prepare()

    def step(carry: Any, _: None) -> Any:
        aggregate, hidden = carry
        hidden = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), aggregate.time)
        played = game.restricted(aggregate, jax.nn.softmax(policy.decode(prepared, hidden)))
        return (game.follow(aggregate, played, noise), hidden), (aggregate.mean_field, played)

    (last, _), (flow, table) = jax.lax.scan(step, (game.at_start(noise), policy.start()), None, length=game.horizon)
    return jnp.concatenate([flow, last.mean_field[None]]), table
