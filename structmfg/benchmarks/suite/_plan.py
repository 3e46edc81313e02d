"""The plan of a run: all its cases, in order."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from structmfg._checks import check_integer, check_name, check_seed
from structmfg.benchmarks._training_run import SHORT
from structmfg.benchmarks.suite._cases import Case
from structmfg.benchmarks.suite._correctness import PRODUCTS, check_keys, update_key
from structmfg.benchmarks.suite._forms import EXPLICIT
from structmfg.benchmarks.suite._peers import BUILT_IN, check_peer
from structmfg.benchmarks.suite._updates import UPDATES
from structmfg.games import make

GAMES = ("beach_bar", "linear_quadratic", "macro")  # those with sizes, peers and published results
PEER_SIZE = (99, 7)  # states and actions: those of the paper's table


class Plan(NamedTuple):
    """How much to measure.

    Attributes:
        sizes: The numbers of states, by game; structured operators and lists of successors are timed at all of them.
        many: The largest number of states at which all layouts are timed; they are at a game's least size in any case.
        matrices: The same for explicit matrices.
        listed: The largest number of successors in lists.
        layouts: Numbers of noise paths, and how they are run: "single", "vmap" or "map".
        explicit: The ways of running paths at which explicit matrices are timed.
        budget: The seconds of a call, and the number of calls.
        timeout: The seconds after which a case is stopped.
        updates: Names of `UPDATES`.
        training: The number of updates of each preset, by game.
        evaluations: The number of evaluations in each training run.
        paths: Numbers of noise paths with which updates are timed, in ascending order.
        update_seconds: The most that such an update may take.
        checked: Parameters by game, of which all forms are checked against the processor.
        checked_updates: The games of which an update is checked.
        seconds: The time of the whole run; what is not measured by then is left out.
    """

    sizes: dict[str, tuple[int, ...]]
    many: int
    matrices: int
    listed: int
    layouts: tuple[tuple[int, str], ...]
    explicit: tuple[str, ...]
    budget: tuple[float, int]
    timeout: float
    updates: tuple[str, ...]
    training: dict[str, dict[str, int]]
    evaluations: int
    paths: tuple[int, ...]
    update_seconds: float
    checked: dict[str, dict[str, int]]
    checked_updates: tuple[str, ...]
    seconds: float


_CHECKED = {
    "linear_quadratic": {"num_states": 1000},
    "beach_bar": {"num_states": 501},
    "macro": {"num_wealth": 100, "num_income": 5},
}
_CHECKED_PATHS = 4
_LATTICE = (10_000, 100_000, 1_000_000)

QUICK = Plan(
    sizes={"linear_quadratic": _LATTICE, "beach_bar": _LATTICE, "macro": (1000, 7000)},
    many=1000,
    matrices=1000,
    listed=6_000_000,
    layouts=((1, "single"), (8, "vmap")),
    explicit=("single",),
    budget=(0.05, 3),
    timeout=180,
    updates=("default, 8 paths", "paper, successors"),
    training={"linear_quadratic": {"default": 300}},
    evaluations=3,
    paths=(1, 32, 1024),
    update_seconds=1.0,
    checked=_CHECKED,
    checked_updates=GAMES[:1],  # two programs are compiled for each
    seconds=570,
)
FULL = Plan(
    sizes={
        "linear_quadratic": (99, 1000, *_LATTICE),
        "beach_bar": (101, 1000, *_LATTICE),
        "macro": (1000, 7000, 35_000),
    },
    many=10_000,
    matrices=1_000_000,  # those that do not fit are reported as not run
    listed=60_000_000,
    layouts=((1, "single"), (8, "vmap"), (8, "map")),
    explicit=("single", "vmap"),
    budget=(0.15, 7),
    timeout=900,
    updates=tuple(UPDATES),
    training={
        "linear_quadratic": {"default": SHORT["linear_quadratic"], "paper": 200},
        "beach_bar": {"default": SHORT["beach_bar"], "paper": 200},
        "macro": {"default": SHORT["macro"]},
    },
    evaluations=10,
    paths=(1, 8, 32, 128, 1024),
    update_seconds=20.0,
    checked=_CHECKED,
    checked_updates=GAMES,
    seconds=math.inf,
)


def cases(
    plan: Plan,
    *,
    games: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    peers: Sequence[str] = (),
    seed: int = 0,
) -> list[Case]:
    """The cases of a run.

    Args:
        plan: How much to measure.
        games: Names of `GAMES`; all by default.
        sizes: Numbers of states, at least 10; by default the plan's.
        peers: Other libraries, named module:Class, that are timed after those built in.
        seed: The seed of policies, mean fields and training.

    Raises:
        ValueError: If a game is unknown, a peer's name is malformed, or a size or seed is out of range.
    """
    check_seed(seed)
    games = list(GAMES) if games is None else list(dict.fromkeys(games))
    for game in games:
        check_name("game", game, GAMES)
    for size in sizes or ():
        check_integer("size", size, at_least=10)
    for peer in peers:
        check_peer(peer)
    planned = [Case("copy", {}, {}, [{}])]
    checked = {game: plan.checked[game] for game in games if game in plan.checked}
    planned += [_checks(checked, precision, seed) for precision in PRODUCTS if checked]
    planned += [_update_check(game, checked[game], seed) for game in plan.checked_updates if game in checked]
    for game in games:
        chosen = sorted(set(sizes or plan.sizes[game]))
        least = plan._replace(many=max(plan.many, chosen[0]), matrices=max(plan.matrices, chosen[0]))
        planned += [_operators(least, game, size, seed) for size in chosen]
    # A GPU takes longest to compile these, so they come last: the time of the run may not suffice for them.
    planned += [_paths(plan, game, seed) for game in games if plan.paths]
    planned += [_updates(plan, game, seed) for game in games if plan.updates]
    planned += [_training(plan, game, seed) for game in games if game in plan.training]
    if "linear_quadratic" in games:
        states, actions = PEER_SIZE
        if states not in (sizes or plan.sizes["linear_quadratic"]):  # the peers are compared with it
            planned.append(_operators(plan._replace(many=0, matrices=0), "linear_quadratic", states, seed))
        sized = {"num_states": states, "num_actions": actions, "budget": list(plan.budget)}
        planned += [Case("peer", {"peer": peer}, {"peer": peer, **sized}, [{}]) for peer in [*BUILT_IN, *peers]]
    return planned


def parameters(game: str, size: int) -> dict[str, int]:
    """The parameters of a game with about `size` states; a small `macro` has 5 incomes, a large one 7."""
    if game != "macro":
        return {"num_states": size}
    incomes = 5 if size < 2000 else 7
    return {"num_wealth": max(2, round(size / incomes)), "num_income": incomes}


def _labels(game: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """The name of a game, its states and actions."""
    built = make(game, **chosen)
    return {"game": game, "states": built.num_states, "actions": built.num_actions}


def _operators(plan: Plan, game: str, size: int, seed: int) -> Case:
    chosen = parameters(game, size)
    matrices = size <= plan.matrices
    keys: list[dict[str, Any]] = [
        {"form": form, "kernel": kernel, "direction": direction, "paths": paths, "batch": batch}
        for paths, batch in (plan.layouts if size <= plan.many else plan.layouts[:1])
        for form, kernel in _forms(game, matrices and batch in plan.explicit)
        if batch == "single" or not form.startswith("jax")
        for direction in ("forward", "adjoint")
    ]
    if matrices:
        build = {"kernel": "rebuilt", "direction": "build", "paths": 1, "batch": "single"}
        keys += [{"form": form, **build} for form in ("bcoo", "bcsr")]
    arguments = {
        "game": game, "parameters": chosen, "seed": seed, "budget": list(plan.budget), "listed": plan.listed
    }  # fmt: skip
    return Case("operator", _labels(game, chosen), arguments, keys)


def _forms(game: str, explicit: bool) -> list[tuple[str, str]]:
    """Forms, and when their kernels are made; leanest first. Only the kernel of `macro` depends on the mean field."""
    rebuilt = ("prebuilt", "rebuilt") if game == "macro" else ("prebuilt",)
    forms = [(form, kernel) for form in ("structured", "successors") for kernel in rebuilt]
    return forms + [(form, "prebuilt") for form in EXPLICIT if explicit]


def _checks(checked: dict[str, dict[str, int]], precision: str, seed: int) -> Case:
    # What multiplies by an explicit matrix does not know of which game it is.
    forms = {game: (*_forms(game, game == next(iter(checked))), ("structured", "rebuilt")) for game in checked}
    keys = check_keys({game: tuple(dict.fromkeys(each)) for game, each in forms.items()}, precision, _CHECKED_PATHS)
    arguments = {"precision": precision, "seed": seed, "parameters": checked}
    return Case("check", {"precision": precision}, arguments, keys)


def _update_check(game: str, chosen: dict[str, int], seed: int) -> Case:
    arguments = {"precision": "float32", "seed": seed, "parameters": {game: chosen}}
    return Case("check", {"precision": "float32"}, arguments, [update_key(game, _CHECKED_PATHS)])


def _paths(plan: Plan, game: str, seed: int) -> Case:
    arguments: dict[str, Any] = {"game": game, "parameters": {}, "seed": seed, "budget": list(plan.budget)}
    keys: list[dict[str, Any]] = [{"num_paths": number} for number in plan.paths]
    return Case("paths", _labels(game, {}), {**arguments, "most_seconds": plan.update_seconds}, keys)


def _updates(plan: Plan, game: str, seed: int) -> Case:
    arguments = {"game": game, "parameters": {}, "seed": seed, "budget": list(plan.budget)}
    return Case("update", _labels(game, {}), arguments, [{"update": name} for name in plan.updates])


def _training(plan: Plan, game: str, seed: int) -> Case:
    keys: list[dict[str, Any]] = [{"preset": preset, "steps": steps} for preset, steps in plan.training[game].items()]
    arguments: dict[str, Any] = {"game": game, "parameters": {}, "seed": seed, "evaluations": plan.evaluations}
    return Case("training", _labels(game, {}), arguments, keys)
