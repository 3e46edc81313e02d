"""`carmona_fouque_sun`: track the mean under common noise; a game with a closed form (Carmona, Fouque & Sun 2015).

Inter-bank lending of arXiv 1308.2172: dX = [a (m - X) + alpha] dt + sigma (rho dW0 + sqrt(1 - rho^2) dW) at the cost
E int_0^T [alpha^2 / 2 - q alpha (m - X) + (eps / 2) (m - X)^2] dt + (c / 2) (m_T - X_T)^2, with m = E[X | W0] and
q^2 <= eps. At the equilibrium alpha = (q + eta_t) (m - X), where eta' = 2 (a + q) eta + eta^2 - (eps - q^2), eta_T = c,
and neither the control nor the law of X - m depends on W0. Here it is put on a lattice, so that it converges to this at
first order in the time step: what a discrete equilibrium solver finds can be held against a formula.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import Agents, AggregateState, NoisePaths
from structmfg.games._base import MAX_HORIZON
from structmfg.games._kinds import DisplacementGame
from structmfg.games._noise_chain import MAX_SCENARIOS
from structmfg.games._validate import check_game
from structmfg.operators import LatticeKernel, LatticeNoise, TransitionKernel

_LARGEST = 1e100  # of a parameter, so that its square is finite


@dataclasses.dataclass(frozen=True)
class CarmonaFouqueSun(DisplacementGame):
    """Banks track their mean reserves under common noise; the game has a closed form.

    Positions x = i h around 0, steps of length dt = T / num_steps, actions k = -max_action..max_action.

    Action k moves by k whole cells, so nothing is interpolated and no diffusion added: the control it stands for is
    alpha = k h / dt - a (m - x), m being the mean position at the start of the step. Then come noise of 0 and +-n cells
    of variance sigma^2 (1 - rho^2) dt exactly, n the least possible, and in `num_shocks` steps, equally spread, a shift
    of all by +-j cells, a fair coin, num_shocks (j h)^2 = sigma^2 rho^2 T up to rounding. z_t is the sign of the shift
    in the step from t, 0 where there is none; as it moves x and m alike, nobody gains by knowing it.

    The reward is minus the running cost at (x, m, alpha) times dt, and on the last step also minus the expected
    terminal cost after the step. Observation: m. mu_0 is uniform on |x| <= spread.

    Controls are multiples of h / dt. With h = granularity * dt^2 their rounding error, h / (2 dt) at most, vanishes at
    first order in dt, as does that of the explicit time step; h in proportion to dt^1.5 would do for their average over
    neighbouring cells, but not cell by cell. The grid extends, beyond all shocks in one direction, to where `reach`
    deviations of the noise carry an agent in the closed form; the largest action is the closed form's drift there.
    Twice the num_steps take four times the states and twice the actions.

    Attributes:
        num_steps: Steps of time.
        final_time: Time T.
        mean_reversion: Rate a at which reserves return to the mean.
        incentive: Weight q of the reward for controls towards the mean.
        tracking: Weight eps of the squared distance from the mean.
        terminal_weight: Weight c of that distance at the end.
        volatility: Standard deviation sigma of all noise in unit time.
        correlation: Correlation rho of a bank's noise with the common noise.
        num_shocks: Steps in which the common noise comes.
        spread: Half the width of the initial reserves.
        granularity: Width of a cell over the square of a step.
        reach: Deviations of the noise that the grid holds.
    """

    num_steps: int = 16
    final_time: float = 1.0
    mean_reversion: float = 1.0  # a
    incentive: float = 1.0  # q
    tracking: float = 10.0  # eps
    terminal_weight: float = 0.0  # c
    volatility: float = 1.0  # sigma
    correlation: float = 0.5  # rho
    num_shocks: int = 2
    spread: float = 0.75
    granularity: float = 6.0
    reach: float = 5.0

    discount = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_steps", self.num_steps, at_least=1, at_most=MAX_HORIZON)
        for name in ("final_time", "volatility", "spread", "granularity", "reach"):
            check_positive(name, getattr(self, name))
        check_positive("tracking", self.tracking)
        for name in ("mean_reversion", "terminal_weight", "tracking", "volatility", "spread", "final_time", "reach"):
            check_between(name, getattr(self, name), 0, _LARGEST)
        check_between("incentive", self.incentive, 0, math.sqrt(self.tracking))
        check_between("correlation", self.correlation, 0, 1)
        check_integer("num_shocks", self.num_shocks, at_least=0)
        check_between("num_shocks", self.num_shocks, 0, min(self.num_steps, math.log2(MAX_SCENARIOS)))
        check_game(self)

    # The closed form.

    def eta(self, time: ArrayLike) -> Float[np.ndarray, "*times"]:
        """eta at times in [0, T], in the continuous model: its equilibrium control is (q + eta_t) (m - x)."""
        gain, c = self.tracking - self.incentive**2, self.terminal_weight
        centre = -self.mean_reversion - self.incentive
        root = math.sqrt(centre**2 + gain)
        low, high = centre - root, centre + root
        decay = np.exp((low - high) * (self.final_time - np.asarray(time, float)))
        return np.asarray((gain * (1 - decay) + c * (high - low * decay)) / (high * decay - low + c * (1 - decay)))

    # The lattice.

    @property
    def time_step(self) -> float:
        """The length dt of a step."""
        return self.final_time / self.num_steps

    @property
    def spacing(self) -> float:
        """The distance h between neighbouring positions."""
        return self.granularity * self.time_step**2

    @property
    def shock_cells(self) -> int:
        """The number j of cells of a shift."""
        size = self.volatility * self.correlation * math.sqrt(self.final_time / max(self.num_shocks, 1))
        return round(size / self.spacing) if self.num_shocks else 0

    @property
    def shock_times(self) -> np.ndarray:
        """The times of the steps with a shift, in the middle of `num_shocks` equal parts of the horizon."""
        return ((np.arange(self.num_shocks) + 0.5) * self.num_steps / max(self.num_shocks, 1)).astype(int)

    @property
    def _own_variance(self) -> float:
        """The variance of the idiosyncratic noise per unit of time."""
        return self.volatility**2 * (1 - self.correlation**2)

    @property
    def _drifts(self) -> tuple[float, float]:
        """The least and the largest a + q + eta_t, which is monotonic in t."""
        ends = self.mean_reversion + self.incentive + self.eta(np.array([0.0, self.final_time]))
        return float(ends.min()), float(ends.max())

    @property
    def _reached(self) -> float:
        """The distance from the mean that the grid and the actions allow for.

        X - m is (X_0 - m_0) e plus noise of variance at most (1 - e^2) s^2 / (2 g), e = exp(-g t), for the least g of
        a + q + eta, and at most s^2 T: over t, spread * e and so many deviations have this as their largest sum.
        """
        least = max(self._drifts[0], 1e-12)
        return math.hypot(self.spread, self.reach * math.sqrt(self._own_variance * min(self.final_time, 0.5 / least)))

    @property
    def _half(self) -> int:
        """The number of cells on either side of 0."""
        return math.ceil(self._reached / self.spacing) + self.num_shocks * self.shock_cells

    @property
    def max_action(self) -> int:
        """The largest displacement, in cells."""
        return max(1, math.ceil(self._drifts[1] * self._reached * self.time_step / self.spacing))

    @property
    @override
    def num_states(self) -> int:
        return 2 * self._half + 1

    @property
    @override
    def horizon(self) -> int:
        return self.num_steps

    @property
    def positions(self) -> Float[np.ndarray, " states"]:
        """The position x (S,) of every state."""
        return np.arange(-self._half, self._half + 1) * self.spacing

    # The game.

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """A shift with walls, then noise of three points."""
        cells, variance = self.shock_cells, self._own_variance * self.time_step / self.spacing**2
        step = max(1, math.ceil(math.sqrt(variance) - 1e-9))
        out = min(variance / (2 * step**2), 0.5)
        move = LatticeKernel(self.num_states, self.actions.tolist(), shift=aggregate.noise * cells, max_shift=cells)
        return move >> LatticeNoise(self.num_states, (-step, 0, step), (out, 1 - 2 * out, out))

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Action and shift, clipped to the grid; then noise of 0 or +-n cells, clipped."""
        top, variance = self.num_states - 1, self._own_variance * self.time_step
        cells = max(1, math.ceil(math.sqrt(variance) / self.spacing - 1e-9))
        moves = variance / (cells * self.spacing) ** 2  # the probability of moving at all, to either side alike
        up, moved = jax.random.uniform(key, (2, *states.shape)) < jnp.array([[0.5], [moves]])
        noise = jnp.where(moved, jnp.where(up, cells, -cells), 0)
        x = jnp.clip(states + jnp.asarray(self.actions)[actions] + aggregate.noise * self.shock_cells, 0, top)
        return jnp.clip(x + noise, 0, top)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        positions = jnp.asarray(self.positions)
        distance = (self._mean(aggregate) - positions)[:, None]
        alpha = jnp.asarray(self.actions * (self.spacing / self.time_step)) - self.mean_reversion * distance
        running = alpha**2 / 2 - self.incentive * alpha * distance + self.tracking / 2 * distance**2
        if not self.terminal_weight:
            return -self.time_step * running
        missed = self.kernel(aggregate).expect((self._mean(following) - positions) ** 2)
        return -self.time_step * running - self.is_last(aggregate) * (self.terminal_weight / 2) * missed

    def _mean(self, aggregate: AggregateState) -> Float[Array, ""]:
        return jnp.matmul(aggregate.mean_field, jnp.asarray(self.positions), precision="highest")

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "1"]:
        return self._mean(aggregate)[None]

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation / (self._half * self.spacing)

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        inside = np.abs(self.positions) <= self.spread * (1 + 1e-9)
        return jnp.asarray(inside / inside.sum())

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "1"]:
        return jnp.matmul(mean_field, jnp.asarray(self.positions), precision="highest")[None]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return self._sign(uniform, jnp.zeros((), int))

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return self._sign(uniform, time + 1)

    def _sign(self, uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(jnp.isin(time, self.shock_times), jnp.where(uniform < 0.5, -1, 1), 0)

    @override
    def scenarios(self) -> NoisePaths:
        signs = np.array(list(itertools.product((-1, 1), repeat=self.num_shocks)), int)
        noise = np.zeros((len(signs), self.num_steps + 1), int)
        noise[:, self.shock_times] = signs
        return NoisePaths(jnp.asarray(noise), jnp.full(len(signs), 1 / len(signs)))

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        mean = self._mean(aggregate)
        return {"mean x": mean, "variance of x - m": aggregate.mean_field @ (jnp.asarray(self.positions) - mean) ** 2}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "x", jnp.asarray(self.positions)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        signs = "".join("+" if noise[time] > 0 else "-" for time in self.shock_times)
        return f"shifts {signs}" if signs else "no common noise"
