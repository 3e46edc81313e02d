"""What an update costs on so many devices, by how noise paths and states are split among them.

The update is compiled for as many devices of a processor, with abstract arguments, so that nothing is allocated. What
one device does is counted in its program (`parallel.program_cost`), and what it holds is what XLA says. Seconds follow
from the speed of a device:

    max(flops / peak, bytes moved / bandwidth, instructions * launch) + messages * latency + bytes sent / link
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from structmfg._checks import check_integer
from structmfg._flags import for_accelerator
from structmfg.benchmarks._devices import Device
from structmfg.games import Game
from structmfg.parallel import ProgramCost, make_mesh, program_cost
from structmfg.solvers.gradient import StructuralSolver
from structmfg.solvers.loop import lower_update

MAX_DEVICES = 256  # with so many a game of some actions can still be compiled, to be extrapolated
_MAX_SPLITS = 12
_MAX_COMPILED = 2**24  # states of a game that is compiled as it is
_OWN_STATES = 2**18, 2**19  # of a device, from which the cost of more is extrapolated

Make = Callable[[int | None], tuple[Game, StructuralSolver]]


class Split(NamedTuple):
    """An update on `paths` x `states` devices. All figures are those of one device; seconds are those of an update.

    Attributes:
        paths: Over how many devices noise paths are spread.
        states: Over how many devices states are spread.
        refused: Why the game cannot be split so; None where it can.
        cost: What the device does.
        memory: The bytes that it holds.
        seconds: The seconds that an update takes.
        bound: What takes most of them: "flops", "bandwidth", "launches", "latency" or "link".
        fits: Whether the device has so much memory.
    """

    paths: int
    states: int
    refused: str | None = None
    cost: ProgramCost = ProgramCost()
    memory: float = math.inf
    seconds: float = math.inf
    bound: str = ""
    fits: bool = False


class UpdatePlan(NamedTuple):
    """The splits of an update.

    Attributes:
        num_paths: The noise paths of an update.
        num_states: The states of the game.
        extrapolated_from: The numbers of states of a device that were compiled instead; empty where none were.
        splits: The splits that divide the states and leave every device a path, at most twelve.
        best: The fastest split that fits; None where none does.
    """

    num_paths: int
    num_states: int
    extrapolated_from: tuple[int, ...]
    splits: list[Split]
    best: Split | None


def plan_update(
    make: Make,
    num_states: int | None,
    *,
    devices: int,
    device: Device,
    callback: Callable[[int, int], None] = lambda paths, states: None,
) -> UpdatePlan:
    """The cost of an update for every split of the devices.

    Args:
        make: Makes the game with so many states, and the solver for it; with those that it has for None.
        num_states: How many states the game has; None where its parameters do not say it. Above 2^24 the update is
            compiled for devices with fewer states, and all but messages grows linearly with the states of a device.
        devices: The number of devices. The process must have as many (`jax_num_cpu_devices`).
        device: What each of them does.
        callback: Called before a split is compiled, with its two numbers.

    Returns:
        The plan.

    Raises:
        ValueError: Too many devices for the paths and states, or the game cannot be spread over them.
    """
    check_integer("devices", devices, at_least=1, at_most=MAX_DEVICES)
    extrapolate = num_states is not None and num_states > _MAX_COMPILED
    game, solver = make(_OWN_STATES[0] if extrapolate else num_states)
    if extrapolate and game.num_states != _OWN_STATES[0]:  # the parameter of this name says something else
        extrapolate, (game, solver) = False, make(num_states)
    total = num_states if num_states is not None and extrapolate else game.num_states
    drawn = jax.eval_shape(lambda key: solver.draw_noise_paths(game, key).probabilities, jax.random.key(0))
    num_paths = int(drawn.shape[0])
    gpu = device.launch > 0 and not extrapolate  # all splits alike: fewer states may run side by side, and more not
    splits = []
    for paths, states in _shapes(devices, num_paths, total):
        callback(paths, states)
        try:
            if extrapolate and total // states > _OWN_STATES[1]:
                cost, memory = _extrapolated(make, paths, states, total // states)
            else:
                made = make(total if extrapolate else num_states)
                cost, memory = update_cost(*made, paths=paths, states=states, accelerator=gpu)
        except ValueError as error:  # a kernel that cannot be spread over so many devices
            splits.append(Split(paths, states, refused=str(error)))
            continue
        seconds, bound = predicted(cost, device)
        splits.append(Split(paths, states, None, cost, memory, seconds, bound, fits=memory <= device.memory))
    if all(split.refused for split in splits):
        raise ValueError(f"{total} states cannot be planned on {devices} devices: {splits[-1].refused}")
    best = min((split for split in splits if split.fits), key=lambda split: split.seconds, default=None)
    return UpdatePlan(num_paths, total, _OWN_STATES if extrapolate else (), splits, best)


def update_cost(
    game: Game, solver: StructuralSolver, *, paths: int = 1, states: int = 1, accelerator: bool = False
) -> tuple[ProgramCost, float]:
    """What one of `paths` x `states` devices does in an update, and the bytes that it holds.

    Args:
        game: The game.
        solver: The solver.
        paths: The number of devices that share the paths.
        states: The number of devices that share the states.
        accelerator: Whether the update is arranged as on an accelerator, where paths run side by side and steps are
            written out; else as on the device that JAX computes on. XLA compiles it for the latter in any case.

    Raises:
        ValueError: The game cannot be spread over so many devices, or there are fewer.
    """
    arranged = for_accelerator() if accelerator else contextlib.nullcontext()
    with jax.set_mesh(make_mesh(paths=paths, states=states)), arranged:
        # The code that a processor runs is not needed, and is made in half the time without optimisation.
        compiled = lower_update(game, solver).compile(compiler_options={"xla_backend_optimization_level": 0})
    used = compiled.memory_analysis()
    memory = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
    return program_cost(compiled.as_text()), float(memory - used.alias_size_in_bytes)


def predicted(cost: ProgramCost, device: Device) -> tuple[float, str]:
    """The seconds that a device takes, and what takes most of them."""
    work = {
        "flops": cost.flops / device.flops,
        "bandwidth": cost.bytes_moved / device.bandwidth,
        "launches": cost.kernels * device.launch,
    }
    sent = {"latency": cost.messages * device.latency, "link": cost.bytes_sent / device.link}
    parts = {**work, **sent}
    return max(work.values()) + sum(sent.values()), max(parts, key=lambda name: parts[name])


def _extrapolated(make: Make, paths: int, states: int, own: int) -> tuple[ProgramCost, float]:
    """The cost with `own` states on each device, from two smaller numbers."""
    (low, less), (high, more) = (update_cost(*make(states * size), paths=paths, states=states) for size in _OWN_STATES)
    share = (own - _OWN_STATES[0]) / (_OWN_STATES[1] - _OWN_STATES[0])
    cost = ProgramCost(*(float(a + share * (b - a)) for a, b in zip(low, high, strict=True)))
    return cost._replace(messages=high.messages, open_loops=high.open_loops), less + share * (more - less)


def _shapes(devices: int, num_paths: int, num_states: int) -> list[tuple[int, int]]:
    """The splits that leave every device a path and as many states, at most `_MAX_SPLITS`, evenly chosen."""
    allowed = list(_dividing(devices, num_paths, num_states))
    if not allowed:
        fewer = next(n for n in range(devices - 1, 0, -1) if any(_dividing(n, num_paths, num_states)))
        raise ValueError(
            f"{devices} devices cannot share {num_paths} noise paths and {num_states} states, as each needs a path and "
            f"as many states as the others: the next number of devices that fits is {fewer}"
        )
    places = np.unique(np.linspace(0, len(allowed) - 1, _MAX_SPLITS).round().astype(int))
    return [allowed[place] for place in places]


def _dividing(devices: int, num_paths: int, num_states: int) -> Iterator[tuple[int, int]]:
    for paths in range(1, min(devices, num_paths) + 1):
        if devices % paths == 0 and num_states % (devices // paths) == 0:
            yield paths, devices // paths


def plan_object(plan: UpdatePlan, device: Device) -> dict[str, Any]:
    """The plan for JSON."""
    return {
        "num_paths": plan.num_paths,
        "num_states": plan.num_states,
        "extrapolated_from": list(plan.extrapolated_from),
        "device": device._asdict(),
        "basis": basis(device),
        "splits": [_split_object(split) for split in plan.splits],
        "best": None if plan.best is None else _split_object(plan.best),
    }


def basis(device: Device) -> str:
    """What the seconds rest on."""
    if device.measured:
        return "predicted from the speed of this processor, measured now"
    return "predicted, not measured: from the data sheet of the device, and the time of a launch on an H200"


def _split_object(split: Split) -> dict[str, Any]:
    if split.refused:
        return {"paths": split.paths, "states": split.states, "refused": split.refused}
    figures = {**split._asdict(), **split.cost._asdict()}
    del figures["cost"], figures["refused"]
    return figures
