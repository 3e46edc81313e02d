"""`electricity_storage`: owners of batteries buy and sell electricity, and their trades move its price.

The model follows Alasseur, Ben Taher & Matoussi 2020 (An extended mean field game for storage in smart grids, arXiv
1710.08991): many batteries, a price that falls with the power that all of them supply, and a random supply of renewable
energy that all share. Levels, steps and the chain of the supply are ours.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_MOVES = np.array([-1, 0, 1])


@dataclasses.dataclass(frozen=True)
class ElectricityStorage(Game):
    """Owners of batteries buy and sell electricity, and their trades move its price.

    A state is a level of charge 0..num_levels - 1; actions 0 (discharge by one level), 1 (idle), 2 (charge by one
    level). An empty battery cannot be discharged, a full one cannot be charged. A level is one unit of energy when it
    is charged, and `efficiency` of one when it is discharged.

    Statistic of actions: n, the energy that batteries supply, less what they take, per battery. The price of step t is
    (d_t / (z + capacity * n))^(1 / elasticity), with demand d_t = 1 + swing * sin(2 pi t / period) and the supply z of
    wind and other plants. Reward: the price times the energy sold, less that of the energy bought, less `wear` for each
    change of the level. What is left at the end is worth nothing.

    Common noise: the supply z, low or high, a chain that keeps its value with probability `persistence` and starts with
    either. Public state: the last price, (1 / z_0)^(1 / elasticity) at t = 0.
    Observation: the last price; nobody sees the supply itself.

    Attributes:
        num_levels: Levels of charge.
        capacity: How much all batteries together supply in a step, relative to mean demand, if all discharge without
            loss.
        efficiency: Share of the energy that comes back.
        wear: Cost of each change of the level.
        supply: The low and the high supply, relative to mean demand.
        persistence: Probability that the supply stays.
        swing: How far demand swings around its mean.
        period: Steps of a day.
        elasticity: How strongly demand falls with the price.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_levels: int = 5
    capacity: float = 0.2
    efficiency: float = 0.9
    wear: float = 0.01
    supply: tuple[float, float] = (0.8, 1.2)
    persistence: float = 0.8
    swing: float = 0.3
    period: float = 8.0
    elasticity: float = 0.5
    horizon: int = 8
    discount: float = 1.0

    num_actions = 3

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_levels", self.num_levels, at_least=2)
        for name in ("capacity", "wear"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_between("efficiency", self.efficiency, 0, 1, open_low=True)
        check_between("persistence", self.persistence, 0, 1)
        check_between("swing", self.swing, 0, 0.99)
        for name in ("period", "elasticity"):
            check_positive(name, getattr(self, name))
        pair = isinstance(self.supply, tuple | list) and len(self.supply) == 2
        low, high = (check_positive("supply", value) for value in self.supply) if pair else (0.0, 0.0)
        if not low < high:
            raise ValueError(f"supply must hold two numbers, the low and the high one, but is {self.supply!r:.60}")
        if not min(self.supply) > self.capacity:
            raise ValueError(
                f"supply must exceed the capacity of the batteries, {self.capacity}, so that prices are finite, but "
                f"may be {min(self.supply)}"
            )
        highest = math.log((1 + self.swing) / (low - self.capacity))  # elasticity * log(price), where all charge
        lowest = math.log((1 - self.swing) / (high + self.capacity * self.efficiency))
        if self.elasticity < (least := max(highest, -lowest) / math.log(1e18)):
            raise ValueError(
                f"elasticity must be at least {least:.3g}, so that prices lie between 1e-18 and 1e18, but is "
                f"{self.elasticity}"
            )
        check_game(self)

    @property
    def num_states(self) -> int:
        """The levels of charge."""
        return self.num_levels

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        level = jnp.arange(self.num_levels)[:, None]
        targets = jnp.clip(level + jnp.asarray(_MOVES, int), 0, self.num_levels - 1)[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape), checks=False)

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"]:
        after = jnp.arange(self.num_levels)[:, None] + jnp.asarray(_MOVES, int)
        return (after >= 0) & (after < self.num_levels)

    @property
    def _sold(self) -> Float[Array, " actions"]:
        """The energy (A,) that each action sells, negative where it buys."""
        return jnp.array([self.efficiency, 0.0, -1.0])

    def price(
        self, time: Int[Array, ""] | int, noise: Int[Array, ""], traded: Float[Array, ""] | float
    ) -> Float[Array, ""]:
        """The price of step t, with so much energy from each battery."""
        demand = 1 + self.swing * jnp.sin(2 * jnp.pi * time / self.period)
        supply = jnp.asarray(self.supply, float)[noise] + self.capacity * traded
        return (demand / supply) ** (1 / self.elasticity)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        assert aggregate.actions is not None
        price = self.price(aggregate.time, aggregate.noise, aggregate.actions[0])
        earned = price * self._sold - self.wear * jnp.array([1.0, 0.0, 1.0])
        return jnp.broadcast_to(earned, (self.num_levels, 3))

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The energy that a battery supplies in the mean."""
        return jnp.dot(joint.sum(0), self._sold, precision="highest")[None]

    @override
    def initial_public(self, noise: Int[Array, ""]) -> Float[Array, ""]:
        return self.price(0, noise, 0.0)

    @override
    def next_public(self, aggregate: AggregateState, next_noise: Int[Array, ""]) -> Float[Array, ""]:
        """The price of this step."""
        assert aggregate.actions is not None
        return self.price(aggregate.time, aggregate.noise, aggregate.actions[0])

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return jnp.asarray(aggregate.public, float)[None]

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return self.elasticity * jnp.log(observation)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: owners meet through their trades alone."""
        return mean_field[:0]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return (uniform > 0.5).astype(int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < self.persistence, noise, 1 - noise)

    @override
    def noise_chain(self) -> NoiseChain:
        stay = self.persistence
        return NoiseChain(np.arange(2), np.full(2, 0.5), np.array([[stay, 1 - stay], [1 - stay, stay]]))

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        """All are equally likely to have any level."""
        return jnp.full(self.num_levels, 1 / self.num_levels)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        charge = jnp.dot(aggregate.mean_field, jnp.linspace(0.0, 1.0, self.num_levels), precision="highest")
        shown = {"last price": jnp.asarray(aggregate.public, float), "mean charge": charge}
        return shown | {"supply": jnp.asarray(self.supply, float)[aggregate.noise]}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "level of charge", jnp.arange(self.num_levels, dtype=float)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean change of the level", _MOVES.astype(float)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return f"high supply in {int(np.sum(np.asarray(noise)))} of {self.horizon + 1} steps"
