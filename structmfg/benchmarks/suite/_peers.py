"""Other libraries: the mean-field update of their linear-quadratic game.

A peer is any class with the methods of `Peer`. Name your own on the command line, `--peer module:Class`; it is imported
in the process that times it, which runs in the folder where the command was given.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from structmfg.benchmarks.suite._cases import NotRun
from structmfg.benchmarks.suite._timing import TimingBudget, time_plain

BUILT_IN = ("structmfg.benchmarks:OpenSpiel", "structmfg.benchmarks:MFGLib")


class Update(NamedTuple):
    """A mean-field update of a peer.

    Attributes:
        run: A function that makes `steps` updates.
        steps: The number of updates of a call.
        num_states: The number of states of the game.
        num_actions: The number of actions.
        what: The game in words, and what else the updates include.
    """

    run: Callable[[], object]
    steps: int
    num_states: int
    num_actions: int
    what: str


@runtime_checkable
class Peer(Protocol):
    """A library that is timed.

    Attributes:
        name: The name of the library.
    """

    name: str

    def version(self) -> str:
        """The version of the library; raises `ImportError` where it is not installed."""

    def update(self, num_states: int, num_actions: int) -> Update:
        """The mean-field update under the uniform policy, of the library's game that is nearest to these sizes."""


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
    """The module and the class of a peer's name; raises `ValueError` where the name is not of the form module:Class."""
    module, colon, attribute = peer.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"a peer is named module:Class, but was given as {peer!r}")
    return module, attribute


def load(peer: str) -> Peer:
    """Import and make the peer of this name; raises `ValueError` where it lacks a method of `Peer`."""
    module, attribute = check_peer(peer)
    loaded = getattr(importlib.import_module(module), attribute)()
    if not isinstance(loaded, Peer):
        raise ValueError(f"{peer} must have name, version() and update(), as benchmarks.Peer, but lacks some of them")
    return loaded


def peer_update(peer: str, num_states: int, num_actions: int, budget: list[float]) -> Callable[..., dict[str, Any]]:
    """A function that measures a peer's mean-field update."""

    def measure() -> dict[str, Any]:
        loaded = load(peer)
        try:
            version = loaded.version()
            update = loaded.update(num_states, num_actions)
        except ImportError as error:  # PackageNotFoundError is one
            cure = "pip install '.[peers]' in a copy of the repository"
            raise NotRun(f"{loaded.name} is not installed ({error}); {cure}") from error
        timing = time_plain(update.run, TimingBudget(budget[0], int(budget[1])))
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
