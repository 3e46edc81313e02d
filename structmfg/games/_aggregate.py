"""The aggregate state, what all agents have in common; paths of the common noise; the blocks of several populations."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from structmfg._checks import brief, check_between
from structmfg.operators import TransitionKernel

_MASS_TOLERANCE = 1e-5  # of the mass of a population, and of what leaves it
_WEIGHT_TOLERANCE = 1e-4  # of the sum of 2^14 probabilities in single precision

Agents: TypeAlias = Int[Array, " agents"]  # a number, of a state or an action, for every agent
if TYPE_CHECKING:
    Noise: TypeAlias = Any
    PublicState: TypeAlias = Any
else:
    Noise = PyTree[Array]
    PublicState = PyTree[Array]


class AggregateState(eqx.Module):
    """The aggregate state: all that agents have in common at a time.

    The last three are None unless the game declares them. At t, `public` is known from the start, `price` is found
    when agents choose, and `actions` after they have chosen.

    Attributes:
        mean_field: mu (S,), which sums to one.
        noise: z, of the game's own structure.
        time: t in 0..T.
        public: x, the public state that the population moves, of the game's own structure.
        actions: n (N,), the statistics of what the population does at t.
        price: p (P,), the prices at which the markets clear at t.
    """

    mean_field: Float[Array, "*paths states"]
    noise: Noise
    time: Int[Array, "*paths"]
    public: PublicState | None = None
    actions: Float[Array, "*paths statistics"] | None = None
    price: Float[Array, "*paths markets"] | None = None

    def as_observed(self) -> "AggregateState":
        """The same state without actions, which agents do not know when they observe it."""
        return AggregateState(self.mean_field, self.noise, self.time, self.public, None, self.price)

    def before_acting(self) -> "AggregateState":
        """The same state without price and actions: what is known of t when a step ends there."""
        return AggregateState(self.mean_field, self.noise, self.time, self.public)


class NoisePaths(eqx.Module):
    """N paths z_0..z_T of the common noise.

    Attributes:
        noise: The noise, with leading axes (N, T+1).
        probabilities: (N,); they sum to one.
    """

    noise: Noise
    probabilities: Float[Array, " paths"]

    def validate(self) -> "NoisePaths":
        """The same paths, with probabilities divided by their sum where it differs from one by more than rounding.

        Raises:
            ValueError: If the probabilities are negative or do not sum to one, their number is not that of the paths,
                or the noise is not finite.
        """
        weights = np.asarray(self.probabilities, float)
        name = "the probabilities of the noise paths (scenarios)"
        if weights.ndim != 1 or not weights.size:
            raise ValueError(f"{name} must be a vector, but have shape {weights.shape}")
        total = weights.sum()
        if not (np.isfinite(weights).all() and (weights >= 0).all() and abs(total - 1) <= _WEIGHT_TOLERANCE):
            raise ValueError(
                f"{name} must be nonnegative and sum to 1, but the least is {weights.min():g} and they sum to "
                f"{total:.8g}; counts or percentages must be divided by their sum"
            )
        for leaf in map(np.asarray, jax.tree.leaves(self.noise)):
            if leaf.shape[:1] != weights.shape:
                raise ValueError(f"{name} are {len(weights)}, but the noise has shape {leaf.shape}")
            if not (finite := np.isfinite(leaf)).all():
                path, time, *_ = map(int, np.argwhere(~finite)[0])
                raise ValueError(f"noise must be finite, but is {leaf[path, time]} on path {path} at time {time}")
        dtype = np.asarray(self.probabilities).dtype
        if (
            jnp.issubdtype(dtype, jnp.floating)
            and abs(total - 1) <= 4 * float(jnp.finfo(dtype).eps) * weights.size**0.5
        ):
            return self  # division would only replace one rounding error by another
        return NoisePaths(self.noise, jnp.asarray(weights / total))

    @property
    def num_paths(self) -> int:
        """N, the number of paths."""
        return int(self.probabilities.shape[0])


@dataclasses.dataclass(frozen=True, init=False)
class Population:
    """One of several populations: a block of states that its agents never leave.

    Args:
        name: Its name, in messages and reports.
        states: Its states, a `range`, or a `slice` with an end; neither has a step.
        mass: Its share of all agents, above 0; those of all populations sum to one.
    """

    name: str
    states: range
    mass: float

    def __init__(self, name: str, states: range | slice, mass: float) -> None:
        if not (isinstance(name, str) and name):
            raise ValueError(f"the name of a population must be a text that is not empty, but is {name!r:.60}")
        block = states
        if isinstance(block, slice) and all(isinstance(each, int | None) for each in (block.start, block.stop)):
            block = range(block.start or 0, -1 if block.stop is None else block.stop, block.step or 1)
        if not isinstance(block, range) or block.step != 1 or not 0 <= block.start < block.stop:
            raise ValueError(
                f"the states of population {name!r} must be a range or a slice of at least one state, from 0 on and "
                f"without a step, but are {states!r:.60}"
            )
        mass = check_between(f"the mass of population {name!r}", mass, 0, 1, open_low=True)
        for field, value in (("name", name), ("states", block), ("mass", float(mass))):
            object.__setattr__(self, field, value)

    @property
    def block(self) -> slice:
        """Its states as a slice."""
        return slice(self.states.start, self.states.stop)


def check_populations(populations: Any, num_states: int) -> None:
    """Check that populations share out all states, and all mass, among them.

    Raises:
        ValueError: If they overlap or leave states out, two have one name, or their masses do not sum to one.
    """
    if not isinstance(populations, tuple) or not all(isinstance(each, Population) for each in populations):
        raise ValueError(f"populations must be a tuple of Population(name, states, mass), but is {brief(populations)}")
    ends = 0
    before = ""
    for each in sorted(populations, key=lambda each: each.states.start):
        first, last = each.states[0], each.states[-1]
        if last >= num_states:
            raise ValueError(
                f"population {each.name!r} has the states {first}..{last}, but the game has 0..{num_states - 1}"
            )
        if first < ends:
            raise ValueError(f"populations must not overlap, but {before!r} and {each.name!r} both have state {first}")
        if first > ends:
            break
        before, ends = each.name, last + 1
    if ends < num_states:
        raise ValueError(f"populations must share out all {num_states} states, but none has state {ends}")
    names = [each.name for each in populations]
    if len(set(names)) < len(names):
        raise ValueError(f"populations must have different names, but have {names}")
    total = math.fsum(each.mass for each in populations)
    if not abs(total - 1) <= 1e-6:
        masses = ", ".join(f"{each.name} {each.mass:g}" for each in populations)
        raise ValueError(f"the masses of the populations must sum to 1, but {masses} sum to {total:.8g}")


def check_block_masses(populations: tuple[Population, ...], mean_field: np.ndarray, where: str, steps: int = 0) -> None:
    """Check that a mean field (S,), reached after so many steps, gives every population its mass.

    Raises:
        ValueError: If it does not.
    """
    for each in populations:
        if (
            not abs((found := float(mean_field[each.block].sum(dtype=float))) - each.mass)
            <= (1 + steps) * _MASS_TOLERANCE
        ):
            raise ValueError(f"population {each.name!r} has the mass {each.mass:g}, but {where} it has {found:.6g}")


def check_blocks_closed(populations: tuple[Population, ...], kept: np.ndarray, where: str) -> None:
    """Check that nobody leaves a population: `kept` (S, A) are the probabilities to stay in one's own.

    Raises:
        ValueError: If somebody does.
    """
    for each in populations:
        left = 1 - kept[each.block].astype(float)
        if left.max() > _MASS_TOLERANCE:
            state, action = map(int, np.unravel_index(left.argmax(), left.shape))
            raise ValueError(
                f"agents of population {each.name!r} must stay in its states, but kernel leads from state "
                f"{each.states.start + state} under action {action}{where} to another population with probability "
                f"{left.max():.6g}"
            )


def kept_in_blocks(
    populations: tuple[Population, ...], kernel: TransitionKernel
) -> Float[Array, "states actions"] | None:
    """The probability that an agent stays in its own population; None where there are not several."""
    if not populations:
        return None
    kept = jnp.ones((kernel.num_states, kernel.num_actions))
    for each in populations:
        inside = jnp.zeros(kernel.num_states).at[each.block].set(1.0)
        kept = kept.at[each.block].set(kernel.expect(inside)[each.block])
    return kept
