"""The aggregate state, what all agents have in common; and paths of the common noise."""

from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

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
