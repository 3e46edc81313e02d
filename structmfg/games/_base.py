"""What a game is: a state grid, an action set, a kernel, a reward, a noise step, an observation.

An aggregate state (mu, z, t) is the mean field, the common noise and the time; whatever is common to all agents and is
neither mu nor t belongs to z. A step leads from t to t+1, for t = 0..T-1. A game's arrays take the dtype of JAX's
default float (float64 where `jax_enable_x64` is set).

Common noise is driven by uniform innovations: z_0 = `initial_noise(u_0)`, z_{t+1} = `next_noise(z_t, u_{t+1}, t)` with
u in (0, 1). So one definition serves independent, antithetic and stratified noise paths.
"""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree
from typing_extensions import override

from structmfg._checks import as_reals, check_kind, check_reals, check_rows, check_shape, check_whole, finite_horizon
from structmfg.games._content import digest_at_first_use
from structmfg.games._noise_chain import MAX_SCENARIOS, NoiseChain
from structmfg.games._sampling import draw_categorical
from structmfg.operators import Grid, TransitionKernel

MAX_HORIZON = 10**6
_WEIGHT_TOLERANCE = 1e-4  # of the sum of 2^14 probabilities in single precision

Agents: TypeAlias = Int[Array, " agents"]  # a number, of a state or an action, for every agent
if TYPE_CHECKING:
    Noise: TypeAlias = Any
else:
    Noise = PyTree[Array]


class AggregateState(eqx.Module):
    """The aggregate state (mu, z, t).

    Attributes:
        mean_field: mu (S,), which sums to one.
        noise: z, of the game's own structure.
        time: t in 0..T.
    """

    mean_field: Float[Array, "*paths states"]
    noise: Noise
    time: Int[Array, "*paths"]


class NoisePaths(eqx.Module):
    """N paths z_0..z_T of the common noise.

    Attributes:
        noise: The noise, with leading axes (N, T+1).
        probabilities: (N,); they sum to one.
    """

    noise: Noise
    probabilities: Float[Array, " paths"]

    def validate(self) -> "NoisePaths":
        """The same paths, with probabilities divided by their sum where it differs from one by more than rounding.

        Raises:
            ValueError: If the probabilities are negative or do not sum to one, their number is not that of the paths,
                or the noise is not finite.
        """
        weights = np.asarray(self.probabilities, float)
        name = "the probabilities of the noise paths (scenarios)"
        if weights.ndim != 1 or not weights.size:
            raise ValueError(f"{name} must be a vector, but have shape {weights.shape}")
        total = weights.sum()
        if not (np.isfinite(weights).all() and (weights >= 0).all() and abs(total - 1) <= _WEIGHT_TOLERANCE):
            raise ValueError(
                f"{name} must be nonnegative and sum to 1, but the least is {weights.min():g} and they sum to "
                f"{total:.8g}; counts or percentages must be divided by their sum"
            )
        for leaf in map(np.asarray, jax.tree.leaves(self.noise)):
            if leaf.shape[:1] != weights.shape:
                raise ValueError(f"{name} are {len(weights)}, but the noise has shape {leaf.shape}")
            if not (finite := np.isfinite(leaf)).all():
                path, time, *_ = map(int, np.argwhere(~finite)[0])
                raise ValueError(f"noise must be finite, but is {leaf[path, time]} on path {path} at time {time}")
        dtype = np.asarray(self.probabilities).dtype
        if (
            jnp.issubdtype(dtype, jnp.floating)
            and abs(total - 1) <= 4 * float(jnp.finfo(dtype).eps) * weights.size**0.5
        ):
            return self  # division would only replace one rounding error by another
        return NoisePaths(self.noise, jnp.asarray(weights / total))

    @property
    def num_paths(self) -> int:
        """N, the number of paths."""
        return int(self.probabilities.shape[0])


def _within_a_class(equal: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An `__eq__` for objects of one class only: JAX's caches compare a game with games of any other class."""

    @functools.wraps(equal)
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        return equal(self, other) if type(self) is type(other) else NotImplemented

    return __eq__


class Game(abc.ABC):
    """A mean field game with common noise and partial observation.

    A subclass sets `num_states`, `num_actions`, `horizon` and `discount` (as attributes of the class, as fields of a
    frozen dataclass, or in `__init__`) and writes the abstract methods with `jax.numpy`: they are called inside `jit`.
    `examples/own_game.py` shows one.

    With `horizon = None` the game goes on for ever: it is stationary. Then its discount is below one, its noise is one
    point that does not move, and no method reads the time.

    Two games are equal if they are of one class and had the same content when they were first used (see
    `games._content`), so fields may be arrays, lists and other objects. If a game has changed, its programs are
    compiled anew when it is used again. A class may define `__eq__` and `__hash__` itself: then equal games share
    compiled programs. Its `__eq__` is called with games of the same class only.
    """

    _own_equality: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_own_equality" not in vars(cls):  # `dataclass(slots=True)` makes the class a second time
            cls._own_equality = frozenset({"__eq__", "__hash__"} & vars(cls).keys())
            if "__eq__" in cls._own_equality:
                cls.__eq__ = _within_a_class(vars(cls)["__eq__"])  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Remove the equality that `dataclass` adds, which would fail on arrays, before the first object is made."""
        for base in (base for base in cls.__mro__ if issubclass(base, Game) and base is not Game):
            for name in {"__eq__", "__hash__"} & vars(base).keys() - base._own_equality:
                delattr(base, name)
            if vars(base).get("__hash__", Game) is None:  # Python sets None where only __eq__ is defined
                base.__hash__ = Game.__hash__  # type: ignore[method-assign]
        return super().__new__(cls)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and digest_at_first_use(self) == digest_at_first_use(other))

    def __hash__(self) -> int:
        return hash(digest_at_first_use(self))

    if TYPE_CHECKING:  # read-only, so that a subclass may also derive them by properties

        @property
        def num_states(self) -> int: ...
        @property
        def num_actions(self) -> int: ...
        @property
        def horizon(self) -> Any: ...  # a whole number, or None
        @property
        def discount(self) -> float: ...
    else:
        num_states: int
        num_actions: int
        horizon: int | None
        discount: float

    # What a game must define.

    @abc.abstractmethod
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """The transition kernel from t to t+1 at the aggregate state (mu_t, z_t, t)."""

    @abc.abstractmethod
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """Rewards (S, A) of the step from `aggregate`, at t, to `following`, at t+1."""

    @abc.abstractmethod
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        """The public observation o_t = U(mu_t, z_t), in the game's own units."""

    @abc.abstractmethod
    def initial_noise(self, uniform: Float[Array, ""]) -> Noise:
        """z_0, from an innovation in (0, 1)."""

    @abc.abstractmethod
    def next_noise(self, noise: Noise, uniform: Float[Array, ""], time: Int[Array, ""]) -> Noise:
        """z_{t+1}, from z_t at t = `time` and an innovation in (0, 1)."""

    # What a game may define.

    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        """mu_0 (S,) given z_0; uniform by default."""
        return jnp.full(self.num_states, 1 / self.num_states)

    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Draw the next state of each of N agents, independently of each other.

        By default they are drawn from the kernel's list of successors. A game that draws them here without its kernel
        gives its operators an independent definition to be tested against (`structmfg.verification`).

        Args:
            aggregate: The aggregate state at t.
            states: The state (N,) of every agent at t.
            actions: The action (N,) of every agent.
            key: A key of `jax.random`.

        Returns:
            The states (N,) at t+1.
        """
        indices, probabilities = (listed[states, actions] for listed in self.kernel(aggregate).successors())
        return jnp.take_along_axis(indices, draw_categorical(key, probabilities)[:, None], axis=-1)[:, 0]

    def noise_chain(self) -> NoiseChain | None:
        """The common noise as a Markov chain of finitely many states, the same at all times; None if it is not one."""
        return None

    def scenarios(self) -> NoisePaths | None:
        """All noise paths with their probabilities; None if they are not finite, or too many.

        By default they are the paths of `noise_chain`, at most `MAX_SCENARIOS` of them.
        """
        chain = self.noise_chain()
        if chain is None:
            return None
        check_kind("what noise_chain returns", chain, NoiseChain)
        chain = chain.validate()
        horizon = finite_horizon(self)
        if chain.widths(horizon)[-1] > MAX_SCENARIOS:
            return None
        states, probabilities = chain.paths(horizon)
        return NoisePaths(jax.tree.map(lambda z: jnp.asarray(z)[states], chain.values), jnp.asarray(probabilities))

    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        """The linear functions of the mean field, such as means, through which alone it enters kernel and reward.

        By default this is the whole mean field; it is an empty array where agents do not interact. Equilibrium solvers
        look for a fixed point in these functions, so a game with few of them is solved at less cost.
        """
        return mean_field

    def state_features(self) -> Float[Array, "states features"]:
        """Features of the individual states for policy networks, of order one; the relative index by default."""
        return jnp.linspace(-1.0, 1.0, self.num_states)[:, None]

    def action_positions(self) -> Float[Array, " actions"]:
        """Increasing positions of the actions in (0, 1), for ordered policies; midpoints of equal bins by default."""
        with jax.ensure_compile_time_eval():
            edges = jnp.linspace(0.0, 1.0, self.num_actions + 1)
            return (edges[1:] + edges[:-1]) / 2

    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        """An observation scaled to order one, the input of policy networks; unchanged by default."""
        return observation

    def as_noise(self, noise: Any) -> Any:
        """The game's own noise structure from what a user wrote; unchanged by default."""
        return noise

    # What a game may define for its figures; `examples/own_figure.py` shows how they are used.

    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """Named scalars to be drawn over time (prices, for instance), from (mu_t, z_t, t); none by default."""
        return {}

    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        """The name and the coordinate (S,) of the states in figures; the index by default."""
        return "state", jnp.arange(self.num_states, dtype=float)

    def state_axes(self) -> Sequence[tuple[str, Float[Array | np.ndarray, " points"] | Grid | Sequence[str]]]:
        """The name and the coordinates of every factor of a product state; the one of `state_axis` by default.

        The index of a state is row-major over the factors: that of the last factor runs fastest. A grid stands for its
        points, and figures show a `GeometricGrid` on a logarithmic axis. A factor without coordinates has a list of
        the names of its points.
        """
        return [self.state_axis()]

    def action_axis(self) -> tuple[str, Float[Array | np.ndarray, " actions"]]:
        """The name of the mean action in figures, and the number (A,) that stands for each; the index by default."""
        return "mean action (index)", np.arange(self.num_actions, dtype=float)

    def noise_label(self, noise: Noise) -> str:
        """A short name of a whole noise path z_0..z_T in figures; none by default."""
        return ""

    def captions(self) -> dict[str, str]:
        """What a reader should look at in a figure, by its name (mean_field, policy, ...); none by default."""
        return {}

    # What every game has.

    def initial(self, key: PRNGKeyArray) -> AggregateState:
        """Draw an initial aggregate state."""
        noise = self.initial_noise(jax.random.uniform(key))
        return self.aggregate(mean_field=self.initial_mean_field(noise), noise=noise, time=0)

    def aggregate(self, *, mean_field: ArrayLike, noise: Any, time: ArrayLike) -> AggregateState:
        """The aggregate state at any chosen point.

        Args:
            mean_field: mu (S,).
            noise: z, in any form that the game accepts.
            time: t.

        Returns:
            The aggregate state.

        Raises:
            ValueError: If the mean field is not a distribution (S,), or the time not a whole number in 0..T. Values are
                checked where they are known, outside `jit`.
        """
        mean_field = as_reals("mean_field", mean_field, float)
        check_shape("mean_field", mean_field, (self.num_states,))
        check_rows("mean_field", mean_field[None], tolerance=1e-4)
        check_whole("time", time, 0, MAX_HORIZON if self.horizon is None else self.horizon)
        try:
            own = jax.tree.map(jnp.asarray, self.as_noise(noise))
        except (TypeError, OverflowError):
            raise ValueError(f"noise must be the game's own, of numbers, but is {noise!r:.60}") from None
        for leaf in jax.tree.leaves(own):
            check_reals("noise", leaf)
        return AggregateState(mean_field, own, jnp.asarray(time))

    def follow(
        self, aggregate: AggregateState, policy: Float[Array, "states actions"], next_noise: Noise
    ) -> AggregateState:
        """The aggregate state one step later under a policy (S, A).

        Its mean field is mu' = (A^pi)^T mu, scaled such that errors of rounding do not add up over time.
        """
        mean_field = self.kernel(aggregate).under(policy).move(aggregate.mean_field)
        return AggregateState(mean_field, next_noise, aggregate.time + 1)

    def is_last(self, aggregate: AggregateState) -> Array:
        """Whether the step that starts at this aggregate state reaches T; never so where the game goes on for ever."""
        return aggregate.time == (-1 if self.horizon is None else self.horizon - 1)

    @property
    def observation_size(self) -> int:
        """The number of entries of a public observation."""
        shape = jax.eval_shape(lambda key: self.observe(self.initial(key)), jax.random.key(0)).shape
        if len(shape) != 1:
            raise ValueError(
                f"observe must return an array of shape (observations,), but returned one of shape {shape}"
            )
        return int(shape[0])


class NoiselessGame(Game):
    """A game without common noise: z is 0 at all times, and there is one noise path."""

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.zeros((), int)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return noise

    @override
    def scenarios(self) -> NoisePaths:
        return NoisePaths(jnp.zeros((1, finite_horizon(self) + 1), int), jnp.ones(1))

    @override
    def noise_label(self, noise: Int[Array, " times"]) -> str:
        return "no common noise"


class DisplacementGame(Game):
    """A game on a line whose actions are displacements by -max_action..max_action cells."""

    if TYPE_CHECKING:

        @property
        def max_action(self) -> int: ...

    @property
    @override
    def num_actions(self) -> int:
        return 2 * self.max_action + 1

    @property
    def actions(self) -> np.ndarray:
        """The displacement (A,) of every action."""
        return np.arange(-self.max_action, self.max_action + 1)

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean displacement (cells per step)", self.actions.astype(float)
