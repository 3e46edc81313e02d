"""`structmfg games` and `structmfg solvers`: list what there is."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import jax
from rich.console import Group
from rich.table import Table
from rich.text import Text

from structmfg._text import display_name
from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments
from structmfg.games import GAMES, Game, make, truncated


def games(arguments: Arguments) -> int:
    """Print every game with its sizes, parameters and defaults."""
    described = [_describe(name, make(name)) for name in GAMES]
    for game in described:
        console(arguments).print(_table(game))
    if arguments.json:
        print_json({"games": described})
    return 0


def _describe(name: str, game: Game) -> dict[str, Any]:
    """A game with its sizes and parameters, as `--json` prints it."""
    listed = truncated(game, 1) if game.horizon is None else game
    scenarios = jax.eval_shape(listed.scenarios)  # only their number is asked for
    return {
        "name": name,
        "description": _first_line(game),
        "num_states": game.num_states,
        "num_actions": game.num_actions,
        "horizon": game.horizon,
        "noise_paths": None if scenarios is None else scenarios.num_paths,
        "parameters": dataclasses.asdict(game),  # type: ignore[call-overload]
    }


def _first_line(game: Game) -> str:
    return inspect.cleandoc(type(game).__doc__ or "").partition("\n")[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _table(game: dict[str, Any]) -> Group:
    noise = "continuous noise" if game["noise_paths"] is None else _count(game["noise_paths"], "noise path")
    sizes = ", ".join(_count(game[f"num_{what}s"], what) for what in ("state", "action"))
    steps = "for ever" if game["horizon"] is None else _count(game["horizon"], "step")
    sizes = f"{sizes}, {steps}, {noise}"
    table = Table.grid(padding=(0, 2))
    table.add_row("", Text(game["description"]))
    table.add_row("", Text(sizes, style="dim"))
    options = (f"--{name.replace('_', '-')} {value}" for name, value in game["parameters"].items())
    table.add_row("", Text("  ".join(option.replace(" ", "\u00a0") for option in options), style="cyan"))
    return Group(Text(game["name"], style="bold"), table, Text())


class _About(NamedTuple):
    guarantees: str
    use: str


_TRAINED = "The policy of the last update; its exploitability is measured afterwards on all or on held-out noise paths."
_CERTIFIED = "The exploitability of the policy that is returned, exact over the noise tree."
_ABOUT = {
    "rspg": _About(_TRAINED, "First of all: any noise, policies with memory of the public observations."),
    "rspg_gae": _About(_TRAINED, "Long horizons: it trains on windows of them, with a critic."),
    "spg": _About(_TRAINED, "Where the latest observation says all that is public, or to see what memory is worth."),
    "tabular_spg": _About(_TRAINED, "One or two observations in a known range: a table over bins of them."),
    "deep_fictitious_play": _About(_TRAINED, "Where RSPG cycles: a network of the average of all responses so far."),
    "ippo": _About(_TRAINED, "Comparison with reinforcement learning from samples, without memory."),
    "rippo": _About(_TRAINED, "Comparison with reinforcement learning from samples, with memory."),
    "m_omd": _About(_TRAINED, "Comparison with value-based learning from samples."),
    "exact": _About(
        f"{_CERTIFIED} `converged` says that it is at most the tolerance.",
        "Finite noise whose tree fits into memory: the equilibrium, with full or public information.",
    ),
    "fictitious_play": _About(_CERTIFIED, "Monotone games: slow and steady, by averages of mean fields."),
    "fixed_point": _About(_CERTIFIED, "Weak interaction: the fastest where it converges; it may cycle."),
    "mirror_descent": _About(_CERTIFIED, "Monotone games: faster than fictitious play, by sums of action values."),
    "munchausen": _About(_CERTIFIED, "Mirror descent whose former values are kept in the policy."),
    "policy_iteration": _About(_CERTIFIED, "Weak interaction: evaluates the policy instead of best responses."),
    "prior_descent": _About(_CERTIFIED, "Where the fixed point cycles: soft responses around a prior."),
    "accelerated_mirror_descent": _About(_CERTIFIED, "Mirror descent in about the square root of the steps."),
    "occupation_inclusion": _About(
        _CERTIFIED, "Monotone games with moves that nobody changes: steps along the rewards."
    ),
    "mf_omo": _About(_CERTIFIED, "Games that are not monotone: descent of all residuals of an equilibrium at once."),
    "stationary": _About(
        "The exact exploitability of the policy that is returned, and how far its mean field is from stationary.",
        "Games that go on for ever: Newton's method, or the classical iterations by --method.",
    ),
}


def solvers(arguments: Arguments) -> int:
    """Print every solver with what it guarantees and when to use it."""
    from structmfg.solvers import SOLVERS, StationarySolver, TreeSolver  # `games` should not wait for them

    kinds = {StationarySolver: "exact, for ever", TreeSolver: "exact, on the noise tree", object: "trained"}
    described = [
        _describe_solver(name, next(text for base, text in kinds.items() if issubclass(kind, base)))
        for name, kind in SOLVERS.items()
    ]
    for solver in described:
        table = Table.grid(padding=(0, 2))
        table.add_row("", Text("use it for"), Text(solver["use"]))
        table.add_row("", Text("guarantees", style="dim"), Text(solver["guarantees"], style="dim"))
        heading = Text(solver["name"], style="bold") + Text(f"  {solver['title']}", style="dim")
        console(arguments).print(Group(heading, table, Text()))
    if arguments.json:
        print_json({"solvers": described})
    return 0


def _describe_solver(name: str, kind: str) -> dict[str, Any]:
    """A solver as `--json` prints it."""
    return {"name": name, "title": f"{display_name(name)}, {kind}", **_ABOUT[name]._asdict()}
