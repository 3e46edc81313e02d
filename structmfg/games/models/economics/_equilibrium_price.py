"""`equilibrium_price`: firms produce from an inventory of raw material at the price that all their output makes.

This is MFGLib's game of this name, after Guo, Hu, Xu & Zhang 2023 (A general framework for learning mean-field games,
arXiv 2003.06069). MFGLib's T is the last time at which agents act and are paid, so its T = 4 is `horizon=5` here. Its
`exploitability_score` of the uniform policy, in double precision, is 22.215185693237814.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class EquilibriumPrice(NoiselessGame):
    """Firms produce from an inventory of raw material, at the price that the output of all of them makes.

    A state is an inventory s = 0..max_inventory. An action is an output q = 0..max_output and an order h =
    0..max_order, index = q * (max_order + 1) + h. The next inventory is min(max(s - q, 0) + h, max_inventory).

    Statistic of actions: n, the mean output of all firms. The price is (demand / (n + outside_supply))^(1 /
    elasticity). Reward: (price - cost_of_output) q - cost_of_haste q^2 - cost_of_order h - (cost_of_order +
    cost_of_shortage) max(q - s, 0) - cost_of_storage s. Observation: the mean inventory.

    Attributes:
        max_inventory: The largest inventory.
        max_output: The largest output.
        max_order: The largest order.
        demand: Demand at the price one.
        outside_supply: Supply of others, above zero.
        elasticity: How strongly demand falls with the price.
        cost_of_output: Cost of a unit of output.
        cost_of_haste: Weight of the squared output.
        cost_of_order: Cost of a unit of raw material.
        cost_of_shortage: What a unit costs more that is bought at once as there is none in store.
        cost_of_storage: Cost of a unit in store for a step.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    max_inventory: int = 3
    max_output: int = 2
    max_order: int = 2
    demand: float = 1.0
    outside_supply: float = 1.0
    elasticity: float = 1.0
    cost_of_output: float = 1.0
    cost_of_haste: float = 1.0
    cost_of_order: float = 1.0
    cost_of_shortage: float = 1.0
    cost_of_storage: float = 1.0
    horizon: int = 5
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("max_inventory", "max_output", "max_order"):
            check_integer(name, getattr(self, name), at_least=1, at_most=10**6)
        for name in ("demand", "outside_supply", "elasticity"):
            check_positive(name, getattr(self, name))
        for name in ("output", "haste", "order", "shortage", "storage"):
            check_between(f"cost_of_{name}", getattr(self, f"cost_of_{name}"), 0, 1e6)
        check_game(self)

    @property
    def num_states(self) -> int:
        """The inventories."""
        return self.max_inventory + 1

    @property
    @override
    def num_actions(self) -> int:
        return (self.max_output + 1) * (self.max_order + 1)

    @property
    def outputs(self) -> np.ndarray:
        """The output (A,) of every action."""
        return np.arange(self.num_actions) // (self.max_order + 1)

    @property
    def orders(self) -> np.ndarray:
        """The order (A,) of every action."""
        return np.arange(self.num_actions) % (self.max_order + 1)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        left = jnp.maximum(jnp.arange(self.num_states)[:, None] - jnp.asarray(self.outputs), 0)
        targets = jnp.minimum(left + jnp.asarray(self.orders), self.max_inventory)[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape), checks=False)

    def price(self, mean_output: Float[Array, ""]) -> Float[Array, ""]:
        """The price at a mean output."""
        return (self.demand / (mean_output + self.outside_supply)) ** (1 / self.elasticity)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        assert aggregate.actions is not None
        store, output = jnp.arange(self.num_states, dtype=float)[:, None], jnp.asarray(self.outputs, float)
        earned = (self.price(aggregate.actions[0]) - self.cost_of_output) * output
        bought = self.cost_of_order * jnp.asarray(self.orders, float)
        missing = (self.cost_of_order + self.cost_of_shortage) * jnp.maximum(output - store, 0)
        return earned - self.cost_of_haste * output**2 - bought - missing - self.cost_of_storage * store

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The mean output."""
        return jnp.sum(joint * jnp.asarray(self.outputs, float))[None]

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: firms meet through the mean output alone."""
        return mean_field[:0]

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return jnp.dot(aggregate.mean_field, jnp.arange(self.num_states, dtype=float), precision="highest")[None]

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        shown = {"mean inventory": self.observe(aggregate)[0]}
        return shown if aggregate.actions is None else shown | {"price": self.price(aggregate.actions[0])}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "inventory", jnp.arange(self.num_states, dtype=float)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean action (output * orders + order)", np.arange(float(self.num_actions))
