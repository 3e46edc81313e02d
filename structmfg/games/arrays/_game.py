"""A game whose kernel, rewards and noise are given as arrays, or as functions of the aggregate state."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg._checks import brief, check_kind, check_rows
from structmfg.games._aggregate import AggregateState, Noise, Population, check_blocks_closed, kept_in_blocks
from structmfg.games._base import Declared, Game
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._validate import check_definition, check_game, check_stationary
from structmfg.games.arrays._laws import TOLERANCE, Function, check_count, law_of, picked
from structmfg.operators import TransitionKernel

_ALONE = NoiseChain(np.zeros(1, int), np.ones(1), np.ones((1, 1)))


class ArrayGame(Game):
    """The game that `from_arrays` makes; see there for the arguments.

    A run folder does not hold the arrays. To load runs again, derive a class whose `__init__` takes nothing and makes
    its arrays itself, and say `structmfg.load(path, game=Mine)`.
    """

    num_states: int
    num_actions: int
    horizon: Any
    discount: float
    populations: tuple[Population, ...]

    def __init__(
        self,
        *,
        kernel: Any = None,
        reward: Any = None,
        horizon: int | None = 1,
        discount: float = 1.0,
        initial: Any = None,
        noise: NoiseChain | None = None,
        allowed: Any = None,
        observe: Callable[[AggregateState], Any] | None = None,
        populations: tuple[Population, ...] = (),
    ) -> None:
        if kernel is None or reward is None:
            raise ValueError(
                "a game from arrays needs kernel and reward, which a run folder does not hold: to load a run, give a "
                "class derived from ArrayGame whose __init__ takes nothing"
            )
        if noise is not None:
            check_kind("noise", noise, NoiseChain)
        if observe is not None and not callable(observe):
            raise ValueError(f"observe must be a function of the aggregate state, but is {brief(observe)}")
        self.noise = (_ALONE if noise is None else noise).validate()
        self.horizon, self.discount, self.populations = horizon, discount, populations
        count = None if noise is None else self.noise.num_states
        self._has_noise, self._observe, self._law = noise is not None, observe, law_of(kernel, count)
        self._initial = None if initial is None else _tables("initial", initial, 1, count)
        self._reward = reward if callable(reward) else _tables("reward", reward, 2, count)
        self._allowed = allowed if allowed is None or callable(allowed) else _tables("allowed", allowed, 2, count, bool)
        self.num_states, self.num_actions = self._sizes()
        self._check()

    def _sizes(self) -> tuple[int, int]:
        """S and A, which every table must have."""
        if not isinstance(self._law, Function):
            sizes = self._law.shape
        elif not callable(self._reward):
            sizes = self._reward.shape[1], self._reward.shape[2]
        elif self._initial is not None:
            states = self._initial.shape[1]
            noise = jax.tree.map(lambda values: jnp.asarray(values)[0], self.noise.values)
            start = AggregateState(jnp.asarray(self._initial[0], float), noise, jnp.zeros((), int))
            sizes = states, self._law.at(start, jnp.zeros((), int)).num_actions
        else:
            raise ValueError("where kernel and reward are both functions, say initial=(S,), which tells S")
        tables = {"reward": self._reward, "allowed": self._allowed, "initial": self._initial}
        for name, table in tables.items():
            if isinstance(table, np.ndarray) and table.shape[1:] != (wanted := sizes[: table.ndim - 1]):
                raise ValueError(f"{name} must have shape {wanted} as kernel has, but has shape {table.shape[1:]}")
        return sizes

    def _check(self) -> None:
        """Check all tables, and at t = 0 what functions return."""
        check_game(self)
        if self._initial is not None:
            check_rows("initial", self._initial, tolerance=TOLERANCE)
        if isinstance(self._reward, np.ndarray):
            allowed = self._allowed if isinstance(self._allowed, np.ndarray) else True
            _check_entries("reward", np.isfinite(self._reward) | ~np.asarray(allowed), self._reward, "be finite")
        if isinstance(self._allowed, np.ndarray) and len(faults := np.argwhere(~self._allowed.any(-1))):
            raise ValueError(f"allowed must allow an action in every state, but allows none in state {faults[0][1]}")
        if callable(self._reward) or callable(self._allowed) or isinstance(self._law, Function) or self.populations:
            self._check_at_start()
        else:
            self._check_shapes()

    def _check_shapes(self) -> None:
        if self.horizon is None:
            check_stationary(self)
        else:
            check_definition(self, sampled=False)

    def _check_at_start(self) -> None:
        self._check_shapes()
        for state in range(self.noise.num_states):
            noise = jax.tree.map(lambda values, i=state: jnp.asarray(values)[i], self.noise.values)
            sums, least, kept, rewards = jax.tree.map(np.asarray, _at_start(self, noise))
            good = (np.abs(sums - 1) <= TOLERANCE) & (least >= -TOLERANCE)
            _check_entries("the rows of kernel", good, sums, "be nonnegative and sum to 1", " at time 0 (its sum)")
            _check_entries("reward", np.isfinite(rewards), rewards, "be finite", " at time 0")
            if kept is not None:
                check_blocks_closed(self.populations, kept, "")

    def _index(self, noise: Noise) -> Int[Array, ""]:
        return self.noise.state_of(noise)

    @property
    @override
    def declared(self) -> frozenset[Declared]:
        return super().declared - (frozenset({"allowed"}) if self._allowed is None else frozenset())

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        return self._law.at(aggregate, self._index(aggregate.noise))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        if isinstance(self._reward, np.ndarray):
            return picked(self._reward, self._index(aggregate.noise))
        return self._reward(aggregate, following)

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"] | None:
        if isinstance(self._allowed, np.ndarray):
            return picked(self._allowed, self._index(aggregate.noise)).astype(bool)
        return None if self._allowed is None else self._allowed(aggregate)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        """What was given; by default the mean field and, with common noise, which state of the chain it is in."""
        if self._observe is not None:
            return self._observe(aggregate)
        if not self._has_noise:
            return aggregate.mean_field
        state = jax.nn.one_hot(self._index(aggregate.noise), self.noise.num_states, dtype=aggregate.mean_field.dtype)
        return jnp.concatenate([aggregate.mean_field, state])

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        if self._observe is not None:
            return observation
        states = self.num_states
        return jnp.concatenate([states * observation[..., :states], observation[..., states:]], axis=-1)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        """The whole mean field where a function of it was given; none where all is in arrays: nobody interacts."""
        given = (self._reward, self._allowed, getattr(self._law, "function", None))
        return mean_field if any(map(callable, given)) else mean_field[:0]

    @override
    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        return super().initial_mean_field(noise) if self._initial is None else picked(self._initial, self._index(noise))

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Noise:
        return self.noise.first(uniform)

    @override
    def next_noise(self, noise: Noise, uniform: Float[Array, ""], time: Int[Array, ""]) -> Noise:
        return self.noise.following(noise, uniform)

    @override
    def noise_chain(self) -> NoiseChain:
        return self.noise

    @override
    def noise_label(self, noise: Noise) -> str:
        return "" if self._has_noise else "no common noise"


def from_arrays(
    kernel: Any,
    reward: Any,
    *,
    horizon: int | None,
    discount: float,
    initial: Any = None,
    noise: NoiseChain | None = None,
    allowed: Any = None,
    observe: Callable[[AggregateState], Any] | None = None,
    populations: tuple[Population, ...] = (),
) -> ArrayGame:
    """The game of tables of transition probabilities and rewards, all of which are checked here.

    Arrays are copied and kept in double precision. A part that depends on the mean field, the time or the value of the
    noise is given as a function, written with `jax.numpy`. Where kernel, rewards and allowed actions are all arrays,
    agents do not interact.

    Args:
        kernel: P[s, a, s'] (S, A, S); or a sparse matrix (S*A, S) of SciPy or JAX, whose row s * A + a is the
            distribution of the next state; or a `TransitionKernel`; or a function of the aggregate state that returns
            an array (S, A, S) or a kernel.
        reward: (S, A), or a function of the aggregate states at t and at t+1 that returns it.
        horizon: The number of steps T; None for a game that goes on for ever.
        discount: The weight of the next reward relative to this one, in (0, 1].
        initial: mu_0 (S,); uniform by default. It must be given where kernel and reward are both functions.
        noise: The common noise as a chain of Z states; none by default. Then every array above and below may have a
            leading axis Z, for one table for each state of the chain, and sparse matrices or kernels may be lists of Z.
        allowed: Which actions (S, A) are allowed, or a function of the aggregate state; all by default.
        observe: The public observation (O,) as a function of the aggregate state; by default the mean field and, with
            common noise, an indicator (Z,) of its state.
        populations: The blocks of states of several populations; see `Population`.

    Returns:
        The game.

    Raises:
        ValueError: If a table has another shape, a row is not a distribution, a reward is not finite (each names the
            state and the action), no action is allowed in a state, or a size makes no sense. What functions return is
            checked at t = 0.

    >>> import numpy as np, structmfg as smfg
    >>> stay_or_swap = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> def avoid_the_crowd(now, then):
    ...     return -now.mean_field[:, None] - np.array([[0.0, 0.1]] * 2)
    >>> game = smfg.games.from_arrays(stay_or_swap, avoid_the_crowd, horizon=3, discount=0.9, initial=[0.8, 0.2])
    >>> solution = smfg.solvers.solve(game, smfg.solvers.ExactEquilibrium(tolerance=1e-5), max_steps=500)
    >>> solution.result.name
    'converged'
    """
    return ArrayGame(
        kernel=kernel,
        reward=reward,
        horizon=horizon,
        discount=discount,
        initial=initial,
        noise=noise,
        allowed=allowed,
        observe=observe,
        populations=populations,
    )


def _tables(name: str, given: Any, ndim: int, num_noises: int | None, kind: type = float) -> np.ndarray:
    """An array with an axis for the states of the noise in front, of length one where all have the same."""
    wanted = "(S, A)" if ndim == 2 else "(S,)"
    try:
        array = np.array(given)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype.kind not in ("b" if kind is bool else "fiub") or array.ndim not in (ndim, ndim + 1):
        what = "booleans" if kind is bool else "real numbers"
        found = f"is of {array.dtype} with shape {array.shape}" if array.shape else f"is {brief(given)}"
        raise ValueError(f"{name} must be {what} of shape {wanted}, or (Z, ...) with a noise chain, but {found}")
    if array.ndim == ndim:
        return array.astype(kind)[None]
    check_count(name, len(array), num_noises)
    return array.astype(kind)


def _check_entries(name: str, good: np.ndarray, values: np.ndarray, rule: str, where: str = "") -> None:
    if len(faults := np.argwhere(~good)):
        *_, state, action = map(int, faults[0])
        value = values[tuple(faults[0])]
        raise ValueError(f"{name} must {rule}, but in state {state} under action {action} it is {value:g}{where}")


@eqx.filter_jit
def _at_start(game: ArrayGame, noise: Noise) -> tuple[Array, Array, Array | None, Array]:
    """Of the kernel at t = 0 the sums, least entries and what stays in a population; the rewards, 0 if forbidden."""
    table = jnp.full((game.num_states, game.num_actions), 1 / game.num_actions)
    start, table, _ = game.decide(game.at_start(noise), lambda _: (table, None))
    kernel = game.kernel(start)
    probabilities = kernel.successors().probabilities
    rewards, allowed = game.reward(start, game.follow(start, table, noise)), game.allowed(start)
    rewards = rewards if allowed is None else jnp.where(allowed, rewards, 0)
    least = jnp.min(probabilities, axis=-1)
    return jnp.sum(probabilities, axis=-1), least, kept_in_blocks(game.populations, kernel), rewards
