"""Games of Bench-MFG: stationary environments whose moves and rewards are functions of one state and one action."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg.games._aggregate import AggregateState, Noise
from structmfg.games._base import Game
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game, check_stationary
from structmfg.operators import SuccessorKernel, TransitionKernel

_PARTS = ("environment", "transition", "reward")
_SIZES = ("N_states", "N_actions", "N_noises", "noise_prob", "stationary_mean_field", "gamma")


class BenchMFGGame(NoiselessGame):
    """The game that `from_benchmfg` makes. Two of them are equal only if they are the same object."""

    num_states: int
    num_actions: int
    horizon = None
    discount: float

    def __init__(self, specification: Any = None) -> None:
        if specification is None:
            raise ValueError("a run folder does not hold the environment: give a function that makes the game")
        self.specification = specification
        environment = specification.environment
        self.num_states, self.num_actions = int(environment.N_states), int(environment.N_actions)
        self.discount = float(environment.gamma)
        self._noise = np.asarray(environment.noise_prob, float)
        self._initial = np.asarray(environment.stationary_mean_field, float).ravel()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """One successor for each value of an agent's own noise."""
        given, states, actions = self.specification, jnp.arange(self.num_states), jnp.arange(self.num_actions)

        def follow(state: Array, action: Array, noise: Array) -> Array:
            return given.transition(aggregate.mean_field, state, action, noise, given.environment)

        over_noise = jax.vmap(follow, (None, None, 0))
        over_all = jax.vmap(jax.vmap(over_noise, (None, 0, None)), (0, None, None))
        targets = over_all(states, actions, jnp.arange(len(self._noise)))
        probabilities = jnp.broadcast_to(jnp.asarray(self._noise, float), targets.shape)
        return SuccessorKernel(targets.astype(int), probabilities)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        given, states, actions = self.specification, jnp.arange(self.num_states), jnp.arange(self.num_actions)
        over_actions = jax.vmap(given.reward, (None, None, 0, None))
        over_all = jax.vmap(over_actions, (None, 0, None, None))
        return jnp.asarray(over_all(aggregate.mean_field, states, actions, given.environment), float)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        return jnp.asarray(self._initial, float)


def from_benchmfg(specification: Any) -> Game:
    """The game of a specification of Bench-MFG (the package `bench-mfg-suite`), which goes on for ever.

    Bench-MFG writes moves and rewards with JAX, so the game is compiled like any other. It measures exploitability
    over its finite horizon, after 50 steps of the mean field; here values are for ever and the mean field is the
    stationary one.

    Args:
        specification: What `benchmfg.utility.create_solver.get_env_spec(environment, name)` returns: an object with
            `environment`, `transition(mean_field, state, action, noise, environment)`, the next state, and
            `reward(mean_field, state, action, environment)`.

    Returns:
        The game. Its field `specification` is what was given.

    Raises:
        ValueError: If it is no such specification, its functions fail, or what they return makes no game: states that
            there are not, probabilities that do not sum to one, a discount that is not below one.
    """
    missing = [part for part in _PARTS if not hasattr(specification, part)]
    if missing:
        raise ValueError(
            "specification must be an EnvSpec of benchmfg (its environment with the functions of JAX, from "
            f"get_env_spec), but is {specification!r:.60}, without {', '.join(missing)}"
        )
    missing = [name for name in _SIZES if not hasattr(specification.environment, name)]
    if missing:
        raise ValueError(f"the environment of a specification must have {', '.join(_SIZES)}, but lacks {missing[0]}")
    game = BenchMFGGame(specification)
    check_game(game)
    start = game.at_start(jnp.zeros((), int))
    try:
        game.kernel(start).validate()
        game.reward(start, start)
    except Exception as error:  # whatever a user's function raises
        raise ValueError(f"a function of the specification fails: {type(error).__name__}: {error}") from error
    check_stationary(game)
    return game
