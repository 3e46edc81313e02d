"""The mean field of a long line with its states over devices, against one device.

Agents of `linear_quadratic` follow a fixed policy that leads to the middle of the line, under the common shock. For
every number of states this prints what the mass is off one after all steps, the largest difference from one device
relative to the largest mass of a state (up to `--compare` states), and what the compiled step sends: the operations by
kind, and the numbers in each. It writes states.json. A processor counts as so many devices.

    python -m structmfg.benchmarks.states 1000000 10000000 --devices 4 --out runs/states
"""

import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.games import AggregateState, LinearQuadratic
from structmfg.parallel import make_mesh, over_states, spread

_COLUMNS = {
    "states": "states", "devices": "devices", "mass_error": "mass off by", "difference": "from one device",
    "seconds": "seconds a step", "sent": "sent in a step",
}  # fmt: skip
_SENDS = re.compile(
    r"= [a-z0-9]+\[([\d,]*)\]\S* (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\("
)


def policy_to_the_middle(game: LinearQuadratic) -> Float[Array, "states actions"]:
    """Probabilities (S, A) of moves, which lead to the middle of the line the faster the farther it is."""
    aim = game.max_action * (1 - 2 * jnp.arange(game.num_states) / (game.num_states - 1))
    return over_states(jax.nn.softmax(-((jnp.asarray(game.actions) - aim[:, None]) ** 2) / 2))


def mean_field_after(game: LinearQuadratic, steps: Int[Array, ""]) -> Float[Array, " states"]:
    """The mean field (S,) after so many steps from a mean field with a slope."""
    policy = policy_to_the_middle(game)
    density = 0.5 + jnp.arange(game.num_states) / (game.num_states - 1)
    start = game.aggregate(mean_field=over_states(density / game.num_states), noise=1, time=0)

    def step(_: Int[Array, ""], now: AggregateState) -> AggregateState:
        moved = spread(game.kernel(now)).under(policy).move(now.mean_field)
        return game.advance(now, moved, now.noise)

    return jax.lax.fori_loop(0, steps, step, start).mean_field


def measure(num_states: int, devices: int, steps: int, *, compare: bool) -> dict[str, Any]:
    """One row of the table."""
    game = LinearQuadratic(num_states=num_states, horizon=steps)

    def run(count: int) -> tuple[Any, Array]:
        with jax.set_mesh(make_mesh(states=count)):
            program = jax.jit(lambda steps: mean_field_after(game, steps)).lower(jnp.asarray(steps)).compile()
            return program, jax.block_until_ready(program(jnp.asarray(steps)))

    program, mean_field = run(devices)
    begin = time.perf_counter()
    jax.block_until_ready(program(jnp.asarray(steps)))
    seconds = (time.perf_counter() - begin) / steps
    total = jax.jit(lambda mu: jnp.sum(jnp.sum(mu.reshape(-1, _part(num_states)), axis=1)))(mean_field)
    difference = None
    if compare:
        alone = run(1)[1]
        difference = float(jnp.max(jnp.abs(jax.device_put(mean_field, alone.sharding) - alone)) / jnp.max(alone))
    sent = sorted({f"{kind}[{shape}]" for shape, kind in _SENDS.findall(program.as_text())})
    return {
        "states": num_states, "devices": devices, "mass_error": abs(float(total) - 1), "difference": difference,
        "seconds": seconds, "sent": ", ".join(sent),
    }  # fmt: skip


def _part(num_states: int) -> int:
    """A divisor of S near its root: sums of sums round less."""
    return next(d for d in range(int(num_states**0.5), 0, -1) if num_states % d == 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("states", nargs="*", type=int, default=[1_000_000], help="numbers of states")
    parser.add_argument("--devices", type=int, default=4, help="over how many devices the states are spread")
    parser.add_argument("--steps", type=int, default=50, help="steps of the mean field")
    parser.add_argument("--compare", type=int, default=10_000_000, help="most states that one device computes, too")
    options = parser.parse_args(arguments)
    jax.config.update("jax_num_cpu_devices", options.devices)
    rows = []
    with output_folder(options.out, "states") as folder:
        for states in options.states:
            rows.append(measure(states, options.devices, options.steps, compare=states <= options.compare))
            print(rows[-1], flush=True)
        print(table("states", _COLUMNS, rows))
        write_results(folder, "states", rows=rows)


if __name__ == "__main__":
    main()
