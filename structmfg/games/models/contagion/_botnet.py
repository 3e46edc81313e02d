"""`botnet`: owners of computers decide whether to defend them against a botnet that spreads (Kolokoltsov & Bensoussan).

Kolokoltsov & Bensoussan 2016, Mean-field-game model for botnet defense in cyber-security (arXiv 1511.06642): four
states in continuous time. The rates are those of Carmona & Lauriere 2021 (Convergence analysis of machine learning
algorithms for the numerical solution of mean field control and games I, arXiv 1907.05980). Here time goes by small
steps, and the effort of the botmaster is not known and changes, which is ours.

If all leave their computers undefended and the effort v is constant, the share x of infected goes to the root in (0, 1)
of

    (v q + beta x) (1 - x) = r x,    q, beta, r of undefended computers,

whatever the step, .4377 with v = .6.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.operators import DenseKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class Botnet(Game):
    """Owners of computers decide whether to defend them against a botnet that spreads.

    States 0 (defended, infected), 1 (defended, susceptible), 2 (undefended, infected), 3 (undefended, susceptible);
    actions 0 (keep the defence as it is) and 1 (switch it). In a step of length dt one of these happens, or nothing:
    a computer whose owner wants to switch does so with probability switching * dt; a susceptible one is infected with
    probability (v * attack + from_defended * mu(0) + from_undefended * mu(2)) * dt, v being the effort of the
    botmaster; an infected one recovers with probability recovery * dt. Each of these pairs of rates is that of
    defended and of undefended computers.

    Reward: -dt * (defence while defended + damage while infected).
    Common noise: the effort, a chain of two values that keeps its value with probability `persistence` and starts with
    either; none where they are equal. Nobody sees it. Observation: the share of infected.

    Attributes:
        effort: The low and the high effort of the botmaster.
        persistence: Probability that the effort stays in a step.
        attack: Rates of infection by the botmaster per effort, of defended and of undefended computers.
        from_defended: Rates of infection by infected computers that are defended, of both kinds of computers.
        from_undefended: Rates of infection by infected computers that are not, of both kinds of computers.
        recovery: Rates of recovery of both kinds of computers.
        switching: Rate at which whoever wants to switch does so.
        defence: Cost of a unit of time of defence.
        damage: Cost of a unit of time of being infected.
        start: Shares of the four states at t = 0.
        time_step: dt.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    effort: tuple[float, float] = (0.2, 1.0)
    persistence: float = 0.9
    attack: tuple[float, float] = (0.4, 0.3)
    from_defended: tuple[float, float] = (0.4, 0.3)
    from_undefended: tuple[float, float] = (0.4, 0.3)
    recovery: tuple[float, float] = (0.5, 0.4)
    switching: float = 0.8
    defence: float = 0.3
    damage: float = 0.5
    start: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25)
    time_step: float = 0.25
    horizon: int = 40
    discount: float = 1.0

    num_states = 4
    num_actions = 2

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("effort", "attack", "from_defended", "from_undefended", "recovery"):
            pair = getattr(self, name)
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"{name} must hold two numbers, but is {pair!r:.60}")
            for number in pair:
                check_between(name, number, 0, 1e6)
        check_between("persistence", self.persistence, 0, 1)
        for name in ("switching", "defence", "damage"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_positive("time_step", self.time_step)
        four = isinstance(self.start, tuple | list) and len(self.start) == 4
        if not four or abs(sum(check_between("start", share, 0, 1) for share in self.start) - 1) > 1e-6:
            raise ValueError(f"start must hold four shares that sum to one, but is {self.start!r:.60}")
        infection = [
            max(self.effort) * attack + max(*spread)
            for attack, *spread in zip(self.attack, self.from_defended, self.from_undefended, strict=True)
        ]
        fastest = self.switching + max(*infection, *self.recovery)
        if fastest * self.time_step > 1:
            raise ValueError(
                f"time_step must be at most {1 / fastest:g}, so that no probability exceeds one at these rates, but is "
                f"{self.time_step}"
            )
        check_game(self)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        effort = jnp.asarray(self.effort, float)[aggregate.noise]
        infection = self.time_step * (
            effort * jnp.asarray(self.attack, float)
            + aggregate.mean_field[0] * jnp.asarray(self.from_defended, float)
            + aggregate.mean_field[2] * jnp.asarray(self.from_undefended, float)
        )
        recovery = self.time_step * jnp.asarray(self.recovery, float)
        changes = jnp.stack([recovery[0], infection[0], recovery[1], infection[1]])
        switch = self.time_step * self.switching
        to_other = jnp.asarray(np.eye(4)[[1, 0, 3, 2]], float) * changes[:, None]
        to_switched = jnp.asarray(np.eye(4)[[2, 3, 0, 1]], float) * switch
        moving = jnp.stack([to_other, to_other + to_switched], axis=1)
        return DenseKernel(moving + jnp.eye(4)[:, None] * (1 - moving.sum(-1, keepdims=True)), checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        defended, infected = jnp.array([1.0, 1.0, 0.0, 0.0]), jnp.array([1.0, 0.0, 1.0, 0.0])
        cost = self.time_step * (self.defence * defended + self.damage * infected)
        return jnp.broadcast_to(-cost[:, None], (4, 2))

    def infected(self, mean_field: Float[Array, "4"]) -> Float[Array, ""]:
        """The share of infected."""
        return mean_field[0] + mean_field[2]

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return self.infected(aggregate.mean_field)[None]

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "2"]:
        return mean_field[jnp.array([0, 2])]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return (uniform > 0.5).astype(int) if self._is_noisy else jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(uniform < self.persistence, noise, 1 - noise) if self._is_noisy else noise

    @property
    def _is_noisy(self) -> bool:
        return self.effort[0] != self.effort[1]

    @override
    def noise_chain(self) -> NoiseChain:
        if not self._is_noisy:
            return NoiseChain(np.zeros(1, int), np.ones(1), np.ones((1, 1)))
        stay = self.persistence
        return NoiseChain(np.arange(2), np.full(2, 0.5), np.array([[stay, 1 - stay], [1 - stay, stay]]))

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.asarray(self.start, float)

    @override
    def state_features(self) -> Float[Array, "states features"]:
        return jnp.eye(4)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {
            "share of infected": self.infected(aggregate.mean_field),
            "share of defended": aggregate.mean_field[0] + aggregate.mean_field[1],
            "effort of the botmaster": jnp.asarray(self.effort, float)[aggregate.noise],
        }

    @override
    def state_axes(self) -> Sequence[tuple[str, Sequence[str]]]:
        return [("defence", ["defended", "undefended"]), ("infection", ["infected", "susceptible"])]

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "share that wants to switch", np.arange(2.0)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return f"high effort in {int(np.sum(np.asarray(noise)))} of {self.horizon + 1} steps" if self._is_noisy else ""
