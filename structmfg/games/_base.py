"""What a game is: a state grid, an action set, a kernel, a reward, a noise step, an observation.

An aggregate state (mu, z, t) is the mean field, the common noise and the clock; whatever is common to all agents and is
neither mu nor the clock belongs to z. A step from t to t+1 exists for t = 0..T-1, and a game's arrays take the dtype of
JAX's default float (float64 where `jax_enable_x64` is set).

Common noise is driven by uniform innovations: z_0 = `initial_noise(u_0)`, z_{t+1} = `next_noise(z_t, u_{t+1}, t)` with
u in (0, 1). One definition then serves independent, antithetic and stratified paths.
"""

import abc
import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from structmfg._checks import (
    as_reals,
    brief,
    check_between,
    check_integer,
    check_kind,
    check_reals,
    check_rows,
    check_shape,
    check_whole,
    plain,
)
from structmfg.games._content import digest_at_first_use, settled
from structmfg.games._methods import check_methods
from structmfg.games._noise_chain import MAX_SCENARIOS, NoiseChain
from structmfg.games._sampling import draw_categorical
from structmfg.operators import TransitionKernel

MAX_PAIRS = 2**31 - 1  # of a state and an action: JAX counts no further in 32 bits
MAX_HORIZON = 10**6
_WEIGHT_TOLERANCE = 1e-4  # of the sum of 2^14 probabilities in single precision

if TYPE_CHECKING:
    Noise: TypeAlias = Any
else:
    Noise = PyTree[Array]


class AggregateState(eqx.Module):
    """The aggregate state (mu, z, t): `mean_field` (S,), sums to one; `noise`, the game's own; `time`, in 0..T."""

    mean_field: Float[Array, "*paths states"]
    noise: Noise
    time: Int[Array, "*paths"]


class NoisePaths(eqx.Module):
    """N paths of the common noise, z_0..z_T: `noise` has leading axes (N, T+1), `probabilities` (N,) sum to one."""

    noise: Noise
    probabilities: Float[Array, " paths"]

    def validate(self) -> "NoisePaths":
        """The same with probabilities divided by their sum, where that is not one but for rounding.

        Raises `ValueError` unless they are nonnegative and sum to one, one a path, and the noise is finite.
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
            if not (good := np.isfinite(leaf)).all():
                path, time, *_ = map(int, np.argwhere(~good)[0])
                raise ValueError(f"noise must be finite, but is {leaf[path, time]} on path {path} at time {time}")
        kind = np.asarray(self.probabilities).dtype
        if jnp.issubdtype(kind, jnp.floating) and abs(total - 1) <= 4 * float(jnp.finfo(kind).eps) * weights.size**0.5:
            return self  # but for rounding, which dividing would only move about
        return NoisePaths(self.noise, jnp.asarray(weights / total))

    @property
    def num_paths(self) -> int:
        """N."""
        return int(self.probabilities.shape[0])


def _within_a_class(equal: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same comparison, for objects of one class: JAX's caches compare a game with games of any other class."""

    @functools.wraps(equal)
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        return equal(self, other) if type(self) is type(other) else NotImplemented

    return __eq__


class Game(abc.ABC):
    """A mean field game with common noise and partial observation.

    Subclasses set `num_states`, `num_actions`, `horizon`, `discount` (as attributes of the class, of a frozen
    dataclass, or in `__init__`) and write the abstract methods with `jax.numpy`: they are called inside `jit`.

    Games are equal where they are of one class and held the same when they were first used (see `games._content`), so
    that arrays, lists and other objects may be fields. A game that has changed is compiled anew when it is used again.
    A class that defines `__eq__` and `__hash__` itself answers for them: equal games share compiled programs. Its
    `__eq__` is asked about games of the same class only.
    """

    _own_equality: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_own_equality" not in vars(cls):  # else `dataclass(slots=True)` has made the class again
            cls._own_equality = frozenset({"__eq__", "__hash__"} & vars(cls).keys())
            if "__eq__" in cls._own_equality:
                cls.__eq__ = _within_a_class(vars(cls)["__eq__"])  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Before the first object: the equality that a dataclass brings would fail on arrays."""
        for of in (of for of in cls.__mro__ if issubclass(of, Game) and of is not Game):
            for name in {"__eq__", "__hash__"} & vars(of).keys() - of._own_equality:
                delattr(of, name)
            if vars(of).get("__hash__", Game) is None:  # which Python sets where only __eq__ is defined
                of.__hash__ = Game.__hash__  # type: ignore[method-assign]
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
        def horizon(self) -> int: ...
        @property
        def discount(self) -> float: ...
    else:
        num_states: int
        num_actions: int
        horizon: int
        discount: float

    # What a game must define.

    @abc.abstractmethod
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """The law of motion from t to t+1 at (mu_t, z_t, t)."""

    @abc.abstractmethod
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """Rewards (S, A) of the step from `aggregate` at t to `following` at t+1."""

    @abc.abstractmethod
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        """The public observation o_t = U(mu_t, z_t), in the game's own units."""

    @abc.abstractmethod
    def initial_noise(self, uniform: Float[Array, ""]) -> Noise:
        """z_0, from an innovation in (0, 1)."""

    @abc.abstractmethod
    def next_noise(self, noise: Noise, uniform: Float[Array, ""], time: Int[Array, ""]) -> Noise:
        """z_{t+1} given z_t at t = `time`, from an innovation in (0, 1)."""

    # What a game may define.

    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        """mu_0 (S,); uniform unless overridden."""
        return jnp.full(self.num_states, 1 / self.num_states)

    def move_agents(
        self,
        aggregate: AggregateState,
        states: Int[Array, " agents"],
        actions: Int[Array, " agents"],
        key: PRNGKeyArray,
    ) -> Int[Array, " agents"]:
        """The next states (N,) of agents in given states who take given actions, each drawn by itself.

        By default from the kernel's list of successors. A game that tells the move of one agent here in its own words,
        without the kernel, gives its operators something to be tested against (`structmfg.verification`).
        """
        kernel = self.kernel(aggregate)
        indices, probabilities = (list_[states, actions] for list_ in kernel.successors())
        return jnp.take_along_axis(indices, draw_categorical(key, probabilities)[:, None], axis=-1)[:, 0]

    def noise_chain(self) -> NoiseChain | None:
        """The common noise as a Markov chain of finitely many states, the same at all times, where it is one."""
        return None

    def scenarios(self) -> NoisePaths | None:
        """All noise paths with their probabilities where they are finite and not too many, else None.

        By default the paths of `noise_chain`, up to `MAX_SCENARIOS` of them.
        """
        chain = self.noise_chain()
        if chain is None:
            return None
        check_kind("what noise_chain returns", chain, NoiseChain)
        chain = chain.validate()
        if chain.widths(self.horizon)[-1] > MAX_SCENARIOS:
            return None
        states, probabilities = chain.paths(self.horizon)
        return NoisePaths(jax.tree.map(lambda z: jnp.asarray(z)[states], chain.values), jnp.asarray(probabilities))

    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        """The linear functions of the mean field (means, say) through which alone it enters kernel and reward.

        The whole mean field unless overridden; an empty array where agents do not interact. Equilibrium solvers look
        for a fixed point in these, so that few of them make it cheap.
        """
        return mean_field

    def state_features(self) -> Float[Array, "states features"]:
        """Features of the individual states for policy networks, of order one; the relative index by default."""
        return jnp.linspace(-1.0, 1.0, self.num_states)[:, None]

    def action_positions(self) -> Float[Array, " actions"]:
        """Increasing positions in (0, 1) of the actions, for ordered policies; by default midpoints of equal bins."""
        with jax.ensure_compile_time_eval():
            edges = jnp.linspace(0.0, 1.0, self.num_actions + 1)
            return (edges[1:] + edges[:-1]) / 2

    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        """An observation scaled to order one, as policy networks see it."""
        return observation

    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """Named scalars worth plotting over time (prices, for instance), from (mu_t, z_t, t)."""
        return {}

    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        """The name and the coordinate (S,) of the states for figures."""
        return "state", jnp.arange(self.num_states, dtype=float)

    def noise_label(self, noise: Noise) -> str:
        """A short name of a whole noise path z_0..z_T, for figures."""
        return ""

    # What every game has.

    def initial(self, key: PRNGKeyArray) -> AggregateState:
        """A random initial aggregate state."""
        noise = self.initial_noise(jax.random.uniform(key))
        return self.aggregate(mean_field=self.initial_mean_field(noise), noise=noise, time=0)

    def aggregate(self, *, mean_field: ArrayLike, noise: Any, time: ArrayLike) -> AggregateState:
        """The aggregate state at any chosen point.

        Raises `ValueError` unless the mean field is a distribution (S,) and the time a whole number in 0..T; values are
        looked at where they are known, outside `jit`.
        """
        mean_field = as_reals("mean_field", mean_field, float)
        check_shape("mean_field", mean_field, (self.num_states,))
        check_rows("mean_field", mean_field[None], tolerance=1e-4)
        check_whole("time", time, 0, self.horizon)
        try:
            own = jax.tree.map(jnp.asarray, self.as_noise(noise))
        except (TypeError, OverflowError):
            raise ValueError(f"noise must be the game's own, of numbers, but is {noise!r:.60}") from None
        for leaf in jax.tree.leaves(own):
            check_reals("noise", leaf)
        return AggregateState(mean_field, own, jnp.asarray(time))

    def as_noise(self, noise: Any) -> Any:
        """The game's own noise structure from what a user wrote."""
        return noise

    def follow(
        self, aggregate: AggregateState, policy: Float[Array, "states actions"], next_noise: Noise
    ) -> AggregateState:
        """The aggregate state one step later under a policy (S, A): mu' = (A^pi)^T mu; rounding does not add up."""
        mean_field = self.kernel(aggregate).under(policy).move(aggregate.mean_field)
        return AggregateState(mean_field, next_noise, aggregate.time + 1)

    def is_last(self, aggregate: AggregateState) -> Array:
        """Whether the step that starts here reaches T."""
        return aggregate.time == self.horizon - 1

    @property
    def observation_size(self) -> int:
        """The number of public observations."""
        shape = jax.eval_shape(lambda key: self.observe(self.initial(key)), jax.random.key(0)).shape
        if len(shape) != 1:
            raise ValueError(
                f"observe must return an array of shape (observations,), but returned one of shape {shape}"
            )
        return int(shape[0])


def as_game(game: Any) -> Game:
    """The game as it is now, for compiled programs to know it by. `ValueError` on anything else than a game."""
    check_kind("game", game, Game)
    _plain_sizes(game)
    return settled(game)


def _plain_sizes(game: Game) -> None:
    """Make numbers of NumPy and JAX plain ones where they are attributes: programs need them while they are made."""
    for name in ("num_states", "num_actions", "horizon", "discount"):
        if (number := plain(given := getattr(game, name))) is not given:
            with contextlib.suppress(AttributeError):  # of a property
                object.__setattr__(game, name, number)


def check_game(game: Game) -> None:
    """Raise `ValueError` unless sizes, horizon and discount make sense, and methods take what they are given."""
    _plain_sizes(game)
    states = check_integer("num_states", game.num_states, at_least=2)
    actions = check_integer("num_actions", game.num_actions, at_least=1)
    if states * actions > MAX_PAIRS:
        raise ValueError(
            f"a game may have at most {MAX_PAIRS} pairs of a state and an action, but {brief(states)} states and "
            f"{brief(actions)} actions make {brief(states * actions)}"
        )
    check_integer("horizon", game.horizon, at_least=1, at_most=MAX_HORIZON)
    check_between("discount", game.discount, 0, 1, open_low=True)
    check_methods(game)
