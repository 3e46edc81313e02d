"""`epidemic`: how much contact to seek while infection spreads, and the public hears of it a period late.

People are susceptible, infected or recovered, and have a level of contact, which they change slowly. Contagion is high
or low, a regime that nobody sees. What everybody sees is last period's prevalence. So whoever remembers the reports
knows more than whoever sees the latest only: whether they rise tells the regime.

The utility of contact is that of Farboodi, Jarosch & Shimer 2021 (Internal and external effects of social distancing
in a pandemic, doi:10.1016/j.jet.2021.105293); people choose contact in a mean field game as in Aurell, Carmona,
Dayanikli & Lauriere 2022 (Optimal incentives to mitigate epidemics, arXiv 2011.03105). The regime, the levels and the
late report are ours.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_MOVES = np.array([-1, 0, 1])


@dataclasses.dataclass(frozen=True)
class Epidemic(Game):
    """How much contact to seek while infection spreads.

    A state is a compartment (susceptible, infected, recovered) and one of `num_levels` levels of contact, equally
    spaced from `least_contact` to 1; an action lowers, keeps or raises the level by one, before the step. With contact
    c after the action, a susceptible is infected with probability 1 - exp(-contagion * c * n), n being the contact of
    the infected: the sum of their levels over the population. The infected recover, the recovered become susceptible
    again, with constant probabilities.

    Reward: log c - c + 1, less `illness` while infected, less `adjustment` where the level changes.
    Common noise: whether contagion is low or high, a chain that keeps its regime with probability `persistence`.
    Public state: the prevalence reported, that of the step before. Observation: the report.

    Attributes:
        num_levels: Levels of contact.
        least_contact: The lowest level.
        contagion: The rates of infection per contact of the low and the high regime, a step.
        recovery: Probability of recovery in a step.
        waning: Probability that a recovered person becomes susceptible in a step.
        illness: Cost of a step of illness, in units of the reward.
        adjustment: Cost of a change of the level.
        persistence: Probability that the regime stays.
        infected: Share of the population that is infected at t = 0.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_levels: int = 3
    least_contact: float = 0.2
    contagion: tuple[float, float] = (0.02, 0.6)
    recovery: float = 0.1
    waning: float = 0.05
    illness: float = 1.2
    adjustment: float = 0.0
    persistence: float = 0.95
    infected: float = 0.1
    horizon: int = 40
    discount: float = 0.97

    num_actions = 3

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_levels", self.num_levels, at_least=2)
        check_between("least_contact", self.least_contact, 0, 1, open_low=True)
        for name in ("recovery", "waning", "persistence"):
            check_between(name, getattr(self, name), 0, 1)
        check_between("infected", self.infected, 0, 1)
        if not isinstance(self.contagion, tuple | list) or len(self.contagion) != 2:
            raise ValueError(f"contagion must hold two rates, of the low and the high regime, but is {self.contagion}")
        for rate in self.contagion:
            check_positive("contagion", rate)
        for name in ("illness", "adjustment"):
            check_between(name, getattr(self, name), 0, float("inf"))
        check_game(self)

    @property
    def num_states(self) -> int:
        """Three compartments times the levels of contact."""
        return 3 * self.num_levels

    @property
    def levels(self) -> Float[Array, " levels"]:
        """The levels of contact (L,)."""
        return jnp.linspace(self.least_contact, 1.0, self.num_levels)

    @property
    def _level(self) -> Int[Array, " states"]:
        return jnp.arange(self.num_states) % self.num_levels

    @property
    def _next_level(self) -> Int[Array, "states 3"]:
        """The number of the level after every action."""
        return jnp.clip(self._level[:, None] + jnp.asarray(_MOVES, int), 0, self.num_levels - 1)

    @property
    def _compartment(self) -> Int[Array, " states"]:
        return jnp.arange(self.num_states) // self.num_levels

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        assert aggregate.actions is not None
        rate = jnp.asarray(self.contagion)[aggregate.noise]
        exposure = rate * self.levels[self._next_level] * aggregate.actions[0]
        compartment = self._compartment[:, None]
        leaves = jnp.where(
            compartment == 0, -jnp.expm1(-exposure), jnp.where(compartment == 1, self.recovery, self.waning)
        )
        stay = compartment * self.num_levels + self._next_level
        leave = (compartment + 1) % 3 * self.num_levels + self._next_level
        probabilities = jnp.stack([1 - leaves, leaves], axis=-1)
        return SuccessorKernel(jnp.stack([stay, leave], axis=-1), probabilities, checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        contact = self.levels[self._next_level]
        changed = self._next_level != self._level[:, None]
        ill = (self._compartment == 1)[:, None]
        return jnp.log(contact) - contact + 1 - self.illness * ill - self.adjustment * changed

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return jnp.asarray(aggregate.public, float)[None]

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return jnp.log(observation + 1e-3) / 3 + 1

    @override
    def initial_public(self, noise: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(self.infected, float)

    @override
    def next_public(self, aggregate: AggregateState, next_noise: Int[Array, ""]) -> Float[Array, ""]:
        return self.prevalence(aggregate.mean_field)

    def prevalence(self, mean_field: Float[Array, " states"]) -> Float[Array, ""]:
        """The share of the population that is infected."""
        return jnp.sum(mean_field[self.num_levels : 2 * self.num_levels])

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The contact of the infected, and that of all people."""
        contact = joint * self.levels[self._next_level]
        return jnp.stack([jnp.sum(contact[self.num_levels : 2 * self.num_levels]), jnp.sum(contact)])

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: people meet through the contact of the infected alone."""
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
        """Everybody at the highest level, a share infected."""
        top = self._level == self.num_levels - 1
        return top * jnp.asarray([1 - self.infected, self.infected, 0.0])[self._compartment]

    @override
    def state_features(self) -> Float[Array, "states features"]:
        level = jnp.linspace(-1.0, 1.0, self.num_levels)[self._level]
        return jnp.concatenate([jnp.eye(3)[self._compartment], level[:, None]], axis=1)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        shown = {
            "reported prevalence": jnp.asarray(aggregate.public, float),
            "prevalence": self.prevalence(aggregate.mean_field),
        }
        if aggregate.actions is not None:
            shown["contact"] = aggregate.actions[1]
        return shown | {"contagion": jnp.asarray(self.contagion)[aggregate.noise]}

    @override
    def state_axes(self) -> list[tuple[str, Any]]:
        return [("compartment", ["susceptible", "infected", "recovered"]), ("contact", self.levels)]

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean change of the level of contact", _MOVES.astype(float)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return f"high contagion in {int(np.sum(np.asarray(noise)))} of {self.horizon + 1} periods"

    @override
    def captions(self) -> dict[str, str]:
        return {
            "quantities": "People withdraw when reported prevalence rises, a period after infection did; contagion, "
            "which nobody sees, tells why.",
        }
