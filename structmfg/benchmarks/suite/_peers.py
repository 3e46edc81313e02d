"""Other libraries, side by side: the mean-field update of their linear-quadratic game.

A peer is any class with the methods of `Peer`. Name one of your own on the command line, `--peer module:Class`; it is
imported in the process that times it, which runs in the folder where the command was given.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from structmfg.benchmarks.suite._cases import NotRun
from structmfg.benchmarks.suite._timing import Effort, time_plain

BUILT_IN = ("structmfg.benchmarks:OpenSpiel", "structmfg.benchmarks:MFGLib")


class Update(NamedTuple):
    """`run()` makes `steps` mean-field updates; `what` says of which game, and what else they include."""

    run: Callable[[], object]
    steps: int
    num_states: int
    num_actions: int
    what: str


@runtime_checkable
class Peer(Protocol):
    """A library to be timed."""

    name: str

    def version(self) -> str:
        """Its version. `ImportError` where it is not installed."""

    def update(self, num_states: int, num_actions: int) -> Update:
        """The mean-field update under the uniform policy, of a game as near to these sizes as it has."""


class OpenSpiel:
    """OpenSpiel (Lanctot et al. 2019, arXiv 1908.09453)."""

    name = "OpenSpiel"

    def version(self) -> str:
        """See `Peer`."""
        return importlib.metadata.version("open_spiel")

    def update(self, num_states: int, num_actions: int) -> Update:
        """`DistributionPolicy`: a dictionary of states by name, three node types a step."""
        from open_spiel.python import policy
        from open_spiel.python.mfg.algorithms import distribution
        from open_spiel.python.mfg.games import linear_quadratic

        steps = 4
        side = (num_actions - 1) // 2
        game = linear_quadratic.MFGLinearQuadraticGame(
            {**linear_quadratic._DEFAULT_PARAMS, "size": num_states, "n_actions_per_side": side, "horizon": steps}
        )
        uniform = policy.UniformRandomPolicy(game)
        return Update(
            run=lambda: distribution.DistributionPolicy(game, uniform),
            steps=steps,
            num_states=num_states,
            num_actions=2 * side + 1,
            what=f"mfg.algorithms.distribution.DistributionPolicy of python_mfg linear_quadratic, horizon {steps}, "
            f"divided by {steps}; positions on a circle, without common noise",
        )


class MFGLib:
    """MFGLib (Guo et al. 2023, arXiv 2304.08630)."""

    name = "MFGLib"

    def version(self) -> str:
        """See `Peer`."""
        return importlib.metadata.version("mfglib")

    def update(self, num_states: int, num_actions: int) -> Update:
        """`mean_field_from_policy`: dense transitions, filled entry by entry at every step."""
        import torch
        from mfglib.env import Environment
        from mfglib.utils import mean_field_from_policy

        steps = 2
        environment = Environment.linear_quadratic(T=steps, el=(num_states - 1) // 2, m=(num_actions - 1) // 2)
        sizes = environment.n_states, environment.n_actions
        uniform = torch.full((steps + 1, *sizes), 1 / environment.n_actions)
        return Update(
            run=lambda: mean_field_from_policy(uniform, env=environment),
            steps=steps,
            num_states=sizes[0],
            num_actions=sizes[1],
            what=f"utils.mean_field_from_policy of Environment.linear_quadratic, T={steps}, divided by {steps}; "
            "positions with walls, a drift to the mean, without common noise",
        )


def check_peer(peer: str) -> tuple[str, str]:
    """Module and class of a peer's name. `ValueError` where it is not such a name."""
    module, colon, attribute = peer.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"a peer is named module:Class, but was given as {peer!r}")
    return module, attribute


def load(peer: str) -> Peer:
    """The peer of this name. `ValueError` where there is something else."""
    module, attribute = check_peer(peer)
    found = getattr(importlib.import_module(module), attribute)()
    if not isinstance(found, Peer):
        raise ValueError(f"{peer} must have name, version() and update(), as benchmarks.Peer, but lacks some of them")
    return found


def peer_update(peer: str, num_states: int, num_actions: int, effort: list[float]) -> Callable[..., dict[str, Any]]:
    """Measures a peer's mean-field update."""

    def measure() -> dict[str, Any]:
        loaded = load(peer)
        try:
            version = loaded.version()
            update = loaded.update(num_states, num_actions)
        except ImportError as error:  # PackageNotFoundError is one
            missing = f"{loaded.name} is not installed ({error})"
            raise NotRun(f"{missing}; pip install 'structmfg[peers]' for OpenSpiel and MFGLib") from error
        timing = time_plain(update.run, Effort(effort[0], int(effort[1])))
        return {
            "library": loaded.name,
            "version": version,
            "seconds": timing.seconds / update.steps,
            "least": timing.least / update.steps,
            "spread": timing.spread,
            "calls": timing.calls,
            "states": update.num_states,
            "actions": update.num_actions,
            "what": update.what,
        }

    return measure
