"""A household along paths of its inputs, with perfect foresight: backward for the choices, forward for the mean field.

v_T is that of the steady state at the end, mu_0 that of the steady state at the beginning.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from structmfg.economies.sequence_space._block import Choice, HouseholdSteadyState, Inputs
from structmfg.economies.sequence_space._paths import AnyArray


class HouseholdPath(NamedTuple):
    """A household along a path.

    Attributes:
        outputs: The mean outcomes, each (T,).
        mean_field: mu_T (S,), at the end of the path.
        choices: The choices, every array in them with a leading axis of T.
    """

    outputs: dict[str, Float[AnyArray, " horizon"]]
    mean_field: Float[AnyArray, " states"]
    choices: Choice


def follow(
    initial: HouseholdSteadyState, final: HouseholdSteadyState, inputs: dict[str, Float[AnyArray, " horizon"]]
) -> HouseholdPath:
    """The household from the mean field of `initial` along these inputs, in the end at the values of `final`."""
    block = final.block

    def choose(later: Any, now: Inputs) -> tuple[Any, Choice]:
        return block.backward(later, now)

    def move(mass: Array, now: tuple[Choice, Inputs]) -> tuple[Array, dict[str, Array]]:
        choice, given = now
        means = {name: mass @ outcome for name, outcome in block.outcomes(choice, given).items()}
        return block.operator(choice, given).rmv(mass), means

    _, choices = lax.scan(choose, jax.tree.map(jnp.asarray, final.value), inputs, reverse=True)
    mass, outputs = lax.scan(move, jnp.asarray(initial.mean_field), (choices, inputs))
    return HouseholdPath(outputs, mass, choices)
