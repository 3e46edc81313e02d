"""`garnet`: a random sparse game of any size, monotone, for scaling.

Garnets are random Markov decision processes with a few successors for each state and action (Archibald, McKinnon &
Thomas 1995, doi:10.1057/jors.1995.50); Geist et al. 2022 (arXiv 2106.03787) make mean field games of them by a reward
that falls with the logarithm of the crowd, which is monotone: the equilibrium mean field is the only one. OpenSpiel's
`mfg_garnet` is of this kind, with random numbers of its own.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_seed, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_LEAST_MASS = 1e-10  # keeps the reward finite in an empty state


@dataclasses.dataclass(frozen=True)
class Garnet(NoiselessGame):
    """A random sparse game of any size, whose agents avoid the crowd.

    Each state and action has `branching` successors, drawn uniformly, a state perhaps twice; their probabilities are
    uniform on the simplex. Reward: r(s, a) - interaction * log(mu(s) + 1e-10), r uniform on (0, 1). At the start all
    states are equally likely. Observation: the entropy of the mean field, relative to that of the uniform one.

    The numbers are those of `numpy.random.default_rng(seed)`: first the successors, by `integers`, then exponential
    numbers that are divided by their sums, by `standard_exponential`, at last the rewards, by `random`.

    Attributes:
        num_states: S.
        num_actions: A.
        branching: Successors of a state and an action.
        interaction: Weight of the crowd.
        seed: Of the random numbers.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 100
    num_actions: int = 4
    branching: int = 5
    interaction: float = 0.3
    seed: int = 0
    horizon: int = 20
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("branching", self.branching, at_least=1, at_most=1000)
        check_between("interaction", self.interaction, 0, 1e6)
        check_seed(self.seed)
        check_game(self)

    @property
    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _draw(self.num_states, self.num_actions, self.branching, self.seed)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        successors, probabilities, _ = self._tables
        return SuccessorKernel(jnp.asarray(successors, int), jnp.asarray(probabilities, float), checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        crowd = self.interaction * jnp.log(aggregate.mean_field + _LEAST_MASS)
        return jnp.asarray(self._tables[2], float) - crowd[:, None]

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        mu = aggregate.mean_field
        return -jnp.sum(mu * jnp.log(mu + _LEAST_MASS))[None] / np.log(self.num_states)

    @override
    def state_features(self) -> Float[Array, "states features"]:
        """The state by itself where there are few; else its rewards, which are all that tells states apart."""
        if self.num_states <= 1000:
            return jnp.eye(self.num_states)
        return 2 * jnp.asarray(self._tables[2], float) - 1

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"relative entropy of the mean field": self.observe(aggregate)[0]}


@functools.lru_cache(maxsize=4)
def _draw(states: int, actions: int, branching: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Successors and their probabilities (S, A, K), and rewards (S, A)."""
    random = np.random.default_rng(seed)
    shape = (states, actions, branching)
    successors = random.integers(states, size=shape)
    weights = random.standard_exponential(shape)
    return successors, weights / weights.sum(-1, keepdims=True), random.random(shape[:2])
