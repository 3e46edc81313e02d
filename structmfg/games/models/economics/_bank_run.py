"""`bank_run`: depositors wait or withdraw, and withdrawals eat the assets of which the others are paid.

Diamond & Dybvig 1983 (Bank runs, deposit insurance, and liquidity, doi:10.1086/261155) with several dates, at which
depositors see what is left, and a return of the bank's assets of which they hear by a noisy signal, as in Goldstein &
Pauzner 2005 (Demand-deposit contracts and the probability of bank runs, doi:10.1111/j.1540-6261.2005.00762.x).

Where the return R > promise > 1 is known and nobody must withdraw early, there are two equilibria: all wait until the
end and get R; and all withdraw at once, when each is paid 1 in the mean and who waits gets nothing. If a share w
withdraws at once and nobody later, waiting pays R (1 - promise w) / (1 - w), which is more than the promise if

    w < (R - promise) / (promise (R - 1)).
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_LEAST = 1e-12  # keeps shares of nobody finite


@dataclasses.dataclass(frozen=True)
class BankRun(Game):
    """Depositors wait or withdraw, and withdrawals eat the assets of which the others are paid.

    States 0 (patient), 1 (in need of money), 2 (has left); actions 0 (wait) and 1 (withdraw). A patient depositor may
    do either, who needs money must withdraw, who has left can only wait. A patient one who waits needs money in the
    next step with probability `need`. At the start all are patient.

    Statistic of actions: n, the share that withdraws. Public state: x, what is left of the assets, 1 at the start; a
    step takes promise * n of them, or all. Reward of withdrawing: promise, or where that is more than is left, x / n.
    Who is patient at the last step and waits is paid the return R times the assets that are left per depositor who is
    left, at most R.

    Common noise: z = 2 * f + s, the fundamental f (R is the first of `returns` if it is 0, the second if it is 1),
    which stays with probability `persistence`, and the signal s, which is f with probability `accuracy`. R is that of f
    at the end. Observation: the signal and the assets left.

    Attributes:
        promise: What a withdrawal is paid per unit of deposits, at least 1.
        returns: The low and the high return R.
        need: Probability that a patient depositor needs money in the next step.
        persistence: Probability that the fundamental stays.
        accuracy: Probability that the signal is right.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    promise: float = 1.1
    returns: tuple[float, float] = (0.6, 1.8)
    need: float = 0.05
    persistence: float = 0.9
    accuracy: float = 0.8
    horizon: int = 5
    discount: float = 1.0

    num_states = 3
    num_actions = 2

    def __post_init__(self) -> None:
        plain_fields(self)
        check_between("promise", self.promise, 1, 1e6)
        if not isinstance(self.returns, tuple | list) or len(self.returns) != 2:
            raise ValueError(f"returns must hold two numbers, the low and the high return, but is {self.returns!r:.60}")
        for number in self.returns:
            check_between("returns", number, 0, 1e6)
        for name in ("need", "persistence", "accuracy"):
            check_between(name, getattr(self, name), 0, 1)
        check_game(self)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        targets = jnp.array([[[0, 1], [2, 2]], [[1, 1], [2, 2]], [[2, 2], [2, 2]]])
        probabilities = jnp.broadcast_to(jnp.array([1 - self.need, self.need]), targets.shape)
        return SuccessorKernel(targets, probabilities, checks=False)

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"]:
        return jnp.array([[True, True], [False, True], [True, False]])

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        """The share that withdraws, and the share that is patient and waits."""
        return jnp.stack([joint[0, 1] + joint[1, 1], joint[0, 0]])

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        assert aggregate.actions is not None
        withdrawn, waiting = aggregate.actions
        left = jnp.asarray(aggregate.public, float)
        paid = jnp.minimum(self.promise, left / jnp.maximum(withdrawn, _LEAST))
        share = jnp.minimum(self._after(aggregate) / jnp.maximum(waiting, _LEAST), 1.0)
        late = self.is_last(aggregate) * share * jnp.asarray(self.returns, float)[following.noise // 2]
        return jnp.stack([jnp.stack([late, paid]), jnp.stack([jnp.zeros_like(paid), paid]), jnp.zeros(2)])

    def _after(self, aggregate: AggregateState) -> Float[Array, ""]:
        """The assets that are left after the withdrawals of this step."""
        assert aggregate.actions is not None
        left = jnp.asarray(aggregate.public, float)
        return jnp.maximum(left - self.promise * aggregate.actions[0], 0.0)

    @override
    def initial_public(self, noise: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.ones(())

    @override
    def next_public(self, aggregate: AggregateState, next_noise: Int[Array, ""]) -> Float[Array, ""]:
        return self._after(aggregate)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        return jnp.stack([jnp.asarray(aggregate.noise % 2, float), jnp.asarray(aggregate.public, float)])

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: depositors meet through their withdrawals alone."""
        return mean_field[:0]

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().first(uniform)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().following(noise, uniform)

    @override
    def noise_chain(self) -> NoiseChain:
        right = self.accuracy
        signal = np.array([[right, 1 - right], [1 - right, right]])  # [f, s]
        stay = np.array([[self.persistence, 1 - self.persistence], [1 - self.persistence, self.persistence]])
        following = (stay[:, :, None] * signal).reshape(2, 4)
        return NoiseChain(np.arange(4), signal.ravel() / 2, np.repeat(following, 2, axis=0))

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.array([1.0, 0.0, 0.0])

    @override
    def state_features(self) -> Float[Array, "states features"]:
        return jnp.eye(3)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        shown = {
            "assets left": jnp.asarray(aggregate.public, float),
            "share that has not left": aggregate.mean_field[0] + aggregate.mean_field[1],
        }
        return shown | {"return": jnp.asarray(self.returns, float)[aggregate.noise // 2]}

    @override
    def state_axes(self) -> Sequence[tuple[str, Sequence[str]]]:
        return [("depositor", ["patient", "in need of money", "has left"])]

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "share that withdraws", np.arange(2.0)

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        path = np.asarray(noise)
        return f"return {self.returns[int(path[-1]) // 2]:g}, good news {int(np.sum(path % 2))} times of {len(path)}"
