"""`trade_crowding`: many traders unwind positions, and the mean rate at which they trade moves the price.

Cardaliaguet & Lehalle 2018 (Mean field game of controls and an application to trade crowding, arXiv 1610.09904). In
the limit of fine grids the mean inventory E solves a linear equation,

    2 kappa E'' + alpha E' - 2 phi E = 0,    E(0) given,    kappa E'(T) = -A E(T),

with kappa the cost of trading fast, alpha the permanent impact, phi the cost of holding, A that of what is left. A
signal on the drift of the price, which the paper does not have, is the common noise here.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._kinds import DisplacementGame
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.operators import LatticeKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class TradeCrowding(DisplacementGame):
    """Traders unwind positions, and the mean rate at which they trade moves the price.

    A state is an inventory q on an equally spaced grid from -q_max / 2 to q_max; an action is a whole number of cells
    by which it changes in a step of length dt = final_time / horizon, a rate nu = cells * spacing / dt. Moves are held
    back at the ends of the grid.

    Reward of a step: dt * (q * (impact * n + z) - trading_cost * nu^2 - holding_cost * q^2); on the last one also
    -terminal_cost * q'^2 with the inventory q' after it. Statistic of actions: n, the mean rate of all traders.
    Common noise: z in (-drift, drift), the drift of the price, a chain that keeps its sign with probability
    `persistence`; none where `drift` is zero. Observation: (mean inventory, z).

    Attributes:
        num_states: Points of the grid.
        max_action: Cells of the largest trade in a step.
        largest: q_max.
        mean_inventory: The mean of q at t = 0; inventories are spread over a quarter of q_max on either side.
        impact: alpha, the change of the price per unit of the mean rate and of time.
        trading_cost: kappa.
        holding_cost: phi.
        terminal_cost: A.
        drift: The size of the signal.
        persistence: Probability that the signal keeps its sign in a step.
        final_time: T, in units of time.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 61
    max_action: int = 4
    largest: float = 2.0
    mean_inventory: float = 1.0
    impact: float = 1.0
    trading_cost: float = 0.5
    holding_cost: float = 0.3
    terminal_cost: float = 2.0
    drift: float = 0.5
    persistence: float = 0.9
    final_time: float = 2.0
    horizon: int = 20
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_states", self.num_states, at_least=3)
        check_integer("max_action", self.max_action, at_least=1)
        for name in ("largest", "trading_cost", "final_time"):
            check_positive(name, getattr(self, name))
        for name in ("impact", "holding_cost", "terminal_cost", "drift"):
            check_between(name, getattr(self, name), 0, float("inf"))
        check_between("mean_inventory", self.mean_inventory, -self.largest / 4, 3 * self.largest / 4)
        check_between("persistence", self.persistence, 0, 1)
        check_game(self)

    @property
    def inventories(self) -> Float[Array, " states"]:
        """The inventory (S,) of every state."""
        return jnp.linspace(-self.largest / 2, self.largest, self.num_states)

    @property
    def spacing(self) -> float:
        """The distance of neighbouring inventories."""
        return 1.5 * self.largest / (self.num_states - 1)

    @property
    def time_step(self) -> float:
        """dt, in units of time."""
        return self.final_time / self.horizon

    @property
    def _traded(self) -> Float[Array, "states actions"]:
        """The change of inventory, held back at the ends of the grid."""
        state = jnp.arange(self.num_states)[:, None]
        after = jnp.clip(state + jnp.asarray(self.actions), 0, self.num_states - 1)
        return self.spacing * (after - state)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        return LatticeKernel(self.num_states, self.actions.tolist())

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        assert aggregate.actions is not None
        held, traded = self.inventories[:, None], self._traded
        drift = self.impact * aggregate.actions[0] + self._signal(aggregate.noise)
        costs = self.trading_cost * (traded / self.time_step) ** 2 + self.holding_cost * held**2
        running = self.time_step * (held * drift - costs)
        return running - self.is_last(aggregate) * self.terminal_cost * (held + traded) ** 2

    def _signal(self, noise: Int[Array, ""]) -> Float[Array, ""]:
        return self.drift * jnp.asarray(noise, float)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        mean = jnp.dot(aggregate.mean_field, self.inventories, precision="highest")
        return jnp.stack([mean, self._signal(aggregate.noise)])

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The mean rate of trading."""
        return jnp.sum(joint * self._traded)[None] / self.time_step

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: traders meet through the mean rate alone."""
        return mean_field[:0]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform > 0.5, 1, -1) if self.drift else jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < self.persistence, noise, -noise)

    @override
    def noise_chain(self) -> NoiseChain:
        if not self.drift:
            return NoiseChain(np.zeros(1, int), np.ones(1), np.ones((1, 1)))
        stay = self.persistence
        return NoiseChain(np.array([-1, 1]), np.full(2, 0.5), np.array([[stay, 1 - stay], [1 - stay, stay]]))

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        """A hill of width q_max / 2 around the mean, as near to it as the grid allows."""
        distance = jnp.abs(self.inventories - self.mean_inventory) / (self.largest / 4)
        weights = jnp.maximum(1 - distance**2, 0)
        return weights / weights.sum()

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        shown = {"mean inventory": jnp.dot(aggregate.mean_field, self.inventories, precision="highest")}
        if aggregate.actions is not None:
            shown["trading rate"] = aggregate.actions[0]
        return shown | {"signal": self._signal(aggregate.noise)}

    @override
    def state_axis(self) -> tuple[str, Any]:
        return "inventory", self.inventories

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return (
            f"signal up in {int(np.sum(np.asarray(noise) > 0))} of {self.horizon + 1} steps"
            if self.drift
            else "no signal"
        )
