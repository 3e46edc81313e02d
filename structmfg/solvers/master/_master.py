"""The master equation of games with two or three states: values as functions of the distribution of agents.

With Markov common noise z and its transition probabilities Q,

    V_t(s, mu, z) = max_pi sum_a pi(a | s) q_t(s, a),

    q_t(s, a) = sum_z' Q(z, z') (r_t(s, a; mu, z, mu', z') + gamma (P V_{t+1}(., mu', z'))(s, a)),

with P at (mu, z, t), where mu' = (A^pi)^T mu is moved by the maximiser pi itself: every (mu, z) asks for a one-step
equilibrium, which `_stages` finds. Cardaliaguet, Delarue, Lasry & Lions (2019), The Master Equation and the Convergence
Problem in Mean Field Games; on finitely many states in discrete time Gomes, Mohr & Souza (2010),
doi:10.1016/j.matpur.2009.10.010.

Agents are paid `temperature` times the entropy of pi, so that pi = softmax(q / temperature) and
V = temperature * logsumexp(q / temperature). V(., mu', z') is interpolated on a triangular grid (`simplex_grid`,
`barycentric`): where V is smooth, errors fall as mesh^-2.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from structmfg._checks import check_integer, check_kind, check_positive, check_rows, check_shape
from structmfg._flags import own_rules
from structmfg._results import RESULTS
from structmfg.evaluation import ROW_TOLERANCE
from structmfg.games import Game, NoiseChain, as_game, check_game, truncated
from structmfg.solvers.master._simplex import barycentric, simplex_grid
from structmfg.solvers.master._stages import (
    STAGE_TOLERANCE,
    Stages,
    backward,
    iterate,
    kernels_and_rewards,
    rewards_over_grid,
)

_MAX_STATES = 3


class MasterSolution(NamedTuple):
    """Values and policies on the grid, in double precision; the leading axis of time only for a finite horizon.

    Attributes:
        points: Distributions mu (points, S).
        values: V, with the entropy bonus, ([T+1,] Z, points, S); V_T = 0.
        policy: pi ([T,] Z, points, S, A).
        next_mean_field: mu' ([T,] Z, points, S).
        mesh: n.
        result: A member of `RESULTS`.
        stats: See `master_equation`.
    """

    points: Float[np.ndarray, "points states"]
    values: Float[np.ndarray, "*times noises points states"]
    policy: Float[np.ndarray, "*times noises points states actions"]
    next_mean_field: Float[np.ndarray, "*times noises points states"]
    mesh: int
    result: RESULTS
    stats: dict[str, Any]

    def value(
        self, mean_field: ArrayLike | Sequence[float], noise_state: int, time: int = 0
    ) -> Float[np.ndarray, " states"]:
        """The values V_t(., mu, z) (S,), entropy bonus included, at any mu (S,), by interpolation.

        `noise_state` is the number of z in the game's noise chain; `time` counts for a finite horizon. Raises
        `ValueError` if mu is no distribution, or there is no such noise state or time.
        """
        return self._interpolate(self.values, mean_field, noise_state, time)

    def policy_at(
        self, mean_field: ArrayLike | Sequence[float], noise_state: int, time: int = 0
    ) -> Float[np.ndarray, "states actions"]:
        """The policy pi_t(. | ., mu, z) (S, A) at any mu, by interpolation; the arguments are those of `value`."""
        return self._interpolate(self.policy, mean_field, noise_state, time)

    def _interpolate(
        self, tables: np.ndarray, mean_field: ArrayLike | Sequence[float], noise_state: int, time: int
    ) -> np.ndarray:
        mu = np.asarray(mean_field, float)
        check_shape("mean_field", mu, self.points.shape[1:])
        check_rows("mean_field", mu[None])
        time = check_integer("time", time, at_least=0)
        noise_state = check_integer("noise_state", noise_state, at_least=0)
        if self.values.ndim == 4:
            if time >= len(tables):
                raise ValueError(f"time must lie in 0..{len(tables) - 1}, but is {time}")
            tables = tables[time]
        if noise_state >= len(tables):
            raise ValueError(f"noise_state must lie in 0..{len(tables) - 1}, but is {noise_state}")
        with jax.enable_x64(True):
            return np.asarray(barycentric(mu, self.mesh).interpolate(tables[noise_state]))


@own_rules()
def master_equation(
    game: Game,
    *,
    mesh: int = 32,
    horizon: int | Literal["game"] | None = None,
    temperature: float | None = None,
    tolerance: float | None = None,
    max_steps: int = 10_000,
    throw: bool = True,
) -> MasterSolution:
    """Solve the master equation of a game with two or three states and a finite noise chain, in double precision.

    What the errors are:

    - Temperature: against the mean field that it moves itself, the policy loses at most
      temperature * log(A) * sum_t gamma^t to the best response without the bonus, whose value V exceeds by no more
      than that. How far this mean field is from that of an equilibrium without the bonus, it does not say.
    - Value iteration, which is not proven to converge, since mu' moves as well: V is within
      `bound` = gamma / (1 - gamma) max |V - V_before| of the optimal value, with the bonus, against the law of motion
      mu' that was found.
    - Mesh: compare with twice the mesh.

    Where the game is not monotone, a stage can have several equilibria, one of which is found, and V may jump.

    Args:
        game: Its kernel and reward must be finite on the whole simplex, and continuous in mu'. Noise is its
            `noise_chain`; a game whose only scenario is constant noise has a chain of one state.
        mesh: n; the grid has n + 1 points for two states, (n + 1)(n + 2) / 2 for three.
        horizon: None for an infinite horizon, by value iteration. The game must then be the same at all times: it is
            given t = 0, and refused where its kernel or reward reads the clock (a terminal reward does). T, or "game"
            for the game's own horizon, for backward induction from V_T = 0, with the clock. V_0(., mu_0, z_0) is then
            the value of the equilibrium on the tree of noise histories from mu_0.
        temperature: The weight of the entropy bonus, in units of the reward. Default: 1/100 of the range of the rewards
            over the grid.
        tolerance: The largest max |V - V_before| for the infinite horizon. Default: 1e-9 times the range of the
            rewards.
        max_steps: The most steps of value iteration.
        throw: Whether to raise `RuntimeError` unless the result is `solved`.

    Returns:
        The values and policies on the grid. `stats` holds `temperature`; `steps`; `stage_residual`, the largest
        ||(A^pi)^T mu - mu'||_1 in what is returned; `seconds`, with compilation; for the infinite horizon `tolerance`,
        `residual`, which is max |V - V_before|, and `bound`.

    Raises:
        ValueError: The game has more than three states, no finite noise chain, or more than (mu, z, t) in common, its
            kernels are no distributions, it reads the clock without a horizon, or an argument is out of range.
        RuntimeError: The result is not `solved`, and `throw` is true.
    """
    game = as_game(game)
    if game.declared:
        raise ValueError(
            f"the master equation is solved for games whose aggregate state is (mu, z, t), but {type(game).__name__} "
            f"declares {', '.join(sorted(game.declared))}"
        )
    horizon = game.horizon if horizon == "game" else horizon
    if game.horizon is None:  # the game does not read the clock
        game = truncated(game, 1)
    chain = _checked_chain(game)
    mesh = check_integer("mesh", mesh, at_least=1)
    max_steps = check_integer("max_steps", max_steps, at_least=1)
    if horizon is not None:
        horizon = check_integer("horizon", horizon, at_least=1)
    elif game.discount >= 1:
        raise ValueError(f"an infinite horizon needs a discount below 1, but it is {game.discount:g}; give a horizon")
    if temperature is not None:
        temperature = check_positive("temperature", temperature)
    if tolerance is not None:
        tolerance = check_positive("tolerance", tolerance)
    began = time.perf_counter()
    with jax.enable_x64(True):
        points = simplex_grid(game.num_states, mesh)
        stages = Stages(game, mesh, jnp.asarray(points), jax.tree.map(jnp.asarray, chain))
        _check_stages(stages, clock=horizon is None)
        spread = float(np.ptp(rewards_over_grid(stages)))
        scale = spread if 0 < spread < math.inf else 1.0
        temperature = scale / 100 if temperature is None else float(temperature)
        tolerance = scale * 1e-9 if tolerance is None else float(tolerance)
        weight = jnp.asarray(temperature, float)
        if horizon is None:
            stage, change, made = iterate(stages, weight, jnp.asarray(tolerance, float), jnp.asarray(max_steps))
            residual, steps = float(change), int(made)
        else:
            stage, residual, steps = backward(stages, weight, horizon), 0.0, horizon
        stage = jax.tree.map(np.asarray, stage)
    values = stage.values if horizon is None else np.concatenate([stage.values, np.zeros_like(stage.values[:1])])
    worst = float(stage.residual.max())
    stats = {"temperature": temperature, "steps": steps, "stage_residual": worst}
    if horizon is None:
        bound = game.discount / (1 - game.discount) * residual
        stats |= {"tolerance": tolerance, "residual": residual, "bound": bound}
    stats["seconds"] = time.perf_counter() - began
    if not (np.isfinite(values).all() and math.isfinite(worst)):
        result = RESULTS.nonfinite
    elif worst > STAGE_TOLERANCE:
        result = RESULTS.stage
    else:
        result = RESULTS.solved if residual <= tolerance else RESULTS.max_steps
    if throw and not result.succeeded:
        figures = ", ".join(f"{name} {number:.4g}" for name, number in stats.items())
        raise RuntimeError(f"{result.value} ({figures})")
    return MasterSolution(points, values, stage.policy, stage.next_mean_field, mesh, result, stats)


def _checked_chain(game: Game) -> NoiseChain:
    check_game(game)
    if game.num_states > _MAX_STATES:
        raise ValueError(
            f"the master equation is solved for at most {_MAX_STATES} states, but this game has {game.num_states}"
        )
    chain = game.noise_chain()
    if chain is None and (paths := game.scenarios()) is not None and paths.num_paths == 1:
        noise = jax.tree.map(lambda z: np.asarray(z)[0], paths.noise)
        if all((z == z[0]).all() for z in jax.tree.leaves(noise)):
            return NoiseChain(jax.tree.map(lambda z: z[:1], noise), np.ones(1), np.ones((1, 1)))
    if chain is None:
        raise ValueError("the master equation needs noise that is a finite Markov chain, but noise_chain() is None")
    check_kind("what noise_chain returns", chain, NoiseChain)
    return chain.validate()


def _check_stages(stages: Stages, *, clock: bool) -> None:
    """Raise `ValueError` unless rows of kernels are distributions at some points of the simplex, and all times.

    With `clock` also raise it if kernel or reward at some time is not that at time 0.
    """
    tables = [np.asarray(table) for table in kernels_and_rewards(stages, jnp.arange(stages.game.horizon))]
    for at, kernels in enumerate(tables[0]):
        sums, least = kernels.sum(-1), kernels.min(-1)
        bad = np.isfinite(sums) & ((np.abs(sums - 1) > ROW_TOLERANCE) | (least < -ROW_TOLERANCE))
        if bad.any():
            noise, _, state, action = map(int, np.argwhere(bad)[0])
            raise ValueError(
                f"the rows of kernel must be nonnegative and sum to 1, but in state {state} under action {action} at "
                f"time {at} in noise state {noise} the sum is {sums[bad][0]:.6g} and the least probability "
                f"{least[bad][0]:.6g}"
            )
    if not clock:
        return
    for name, table in zip(("kernel", "reward"), tables, strict=True):
        same = np.isclose(table, table[:1], rtol=1e-9, atol=0, equal_nan=True).reshape(len(table), -1).all(1)
        if not same.all():
            raise ValueError(
                f"an infinite horizon needs a game that is the same at all times, but the {name} at time "
                f"{same.argmin()} is not that at time 0; give a horizon"
            )
