"""`beach_bar_crowded`: Beach Bar among agents who dislike a crowd, so that where to lie depends on all others.

Crowd aversion of this kind is that of Perrin et al. 2020, arXiv 2007.03458.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg._checks import check_between
from structmfg.games._base import AggregateState
from structmfg.games._beach_bar import BeachBar

_LEAST_MASS = 1e-10  # keeps the reward finite in an empty cell


@dataclasses.dataclass(frozen=True)
class BeachBarCrowded(BeachBar):
    """As `BeachBar`, with -crowd_aversion * log(mu(s) + 1e-10) added to the reward in s, mu being that at t."""

    crowd_aversion: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("crowd_aversion", self.crowd_aversion, 0, jnp.inf)

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """See the class."""
        crowd = jnp.log(aggregate.mean_field + _LEAST_MASS)
        return super().reward(aggregate, following) - self.crowd_aversion * crowd[:, None]

    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        """The whole mean field."""
        return mean_field
