"""What a game is: a state grid, an action set, a kernel, a reward, a noise step, an observation.

An aggregate state (mu, z, t) is the mean field, the common noise and the time; whatever is common to all agents and is
neither mu nor t belongs to z, unless the population moves it (see below). A step leads from t to t+1, for t = 0..T-1. A
game's arrays take the dtype of JAX's default float (float64 where `jax_enable_x64` is set).

Common noise is driven by uniform innovations: z_0 = `initial_noise(u_0)`, z_{t+1} = `next_noise(z_t, u_{t+1}, t)` with
u in (0, 1). So one definition serves independent, antithetic and stratified noise paths.

A game may declare more that agents have in common: a public state x that the population moves, statistics n of what the
population does, prices p that clear markets, and actions that are allowed. At t agents observe x_t (and the price, if
`observe` reads it), and choose; p_t and n_t follow from their choices, and enter kernel, reward and x_{t+1}. Each agent
is small and takes all of them as given: no gradient passes through them.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from structmfg._checks import as_reals, check_kind, check_reals, check_rows, check_shape, check_whole, finite_horizon
from structmfg._flags import constants, known_at_once
from structmfg.games._aggregate import Agents, AggregateState, Noise, NoisePaths, Population, PublicState
from structmfg.games._content import digest_at_first_use, within_a_class
from structmfg.games._display import Displayed, evenly_spaced, midpoints
from structmfg.games._market import clear
from structmfg.games._noise_chain import MAX_SCENARIOS, NoiseChain
from structmfg.games._sampling import draw_categorical
from structmfg.operators import TransitionKernel

MAX_HORIZON = 10**6
Declared = Literal["public", "actions", "price", "allowed"]
Respond = Callable[[AggregateState], tuple[Float[Array, "states actions"], Any]]
FORBIDDEN_REWARD = -1e30  # of an action that is not allowed: finite, so that zero times it is zero


class Game(Displayed, abc.ABC):
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
                cls.__eq__ = within_a_class(vars(cls)["__eq__"])  # type: ignore[method-assign]

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
        @property
        def populations(self) -> tuple[Population, ...]: ...
    else:
        num_states: int
        num_actions: int
        horizon: int | None
        discount: float
        populations: tuple[Population, ...] = ()  # the blocks of several populations; see docs/populations.md

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
        """mu_0 (S,) given z_0; uniform by default, within every population where there are several."""
        uniform = jnp.full(self.num_states, 1 / self.num_states)
        for each in self.populations:
            uniform = uniform.at[each.block].set(each.mass / len(each.states))
        return uniform

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

    def innovation_quadrature(self) -> tuple[ArrayLike, ArrayLike] | None:
        """Nodes in (0, 1) and weights (K,) for means over the innovation of z_{t+1} (`normal_quadrature`), or None."""
        return None

    def scenarios(self) -> NoisePaths | None:
        """All noise paths with their probabilities; None if they are not finite, or too many.

        By default they are the paths of `noise_chain`, at most `MAX_SCENARIOS` of them.
        """
        with known_at_once():  # a chain of JAX arrays is known inside `jit`, too
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
        return evenly_spaced(self.num_states)[:, None]

    def action_positions(self) -> Float[Array, " actions"]:
        """Increasing positions of the actions in (0, 1), for ordered policies; midpoints of equal bins by default."""
        return constants(lambda: midpoints(self.num_actions))

    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        """An observation scaled to order one, the input of policy networks; unchanged by default."""
        return observation

    def as_noise(self, noise: Any) -> Any:
        """The game's own noise structure from what a user wrote; unchanged by default."""
        return noise

    # What a game may define where agents have more in common than (mu, z, t); see docs/games.md.

    def initial_public(self, noise: Noise) -> PublicState | None:
        """The public state x_0 that the population moves, any tree of arrays, given z_0; none by default."""
        return None

    def next_public(self, aggregate: AggregateState, next_noise: Noise) -> PublicState | None:
        """x_{t+1}, from the aggregate state at t (with its actions and price) and z_{t+1}; unchanged by default."""
        return aggregate.public

    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"] | None:
        """The statistics n_t (N,) of what the population does, through which alone its actions matter; none by default.

        `joint` (S, A) is the share of the population in each state that takes each action.
        """
        return None

    def price_bracket(
        self, aggregate: AggregateState
    ) -> tuple[Float[Array, " markets"], Float[Array, " markets"]] | None:
        """The lowest and the highest prices (P,) to look for at t; None, the default, where there are no markets.

        Excess demand must have opposite signs at the two. With several markets, each is cleared in turn at the prices
        of the others, until none moves.
        """
        return None

    def excess_demand(
        self, aggregate: AggregateState, price: Float[Array, " markets"], joint: Float[Array, "states actions"]
    ) -> Float[Array, " markets"]:
        """Demand less supply (P,) at given prices, given the shares (S, A) that take each action at these prices."""
        raise ValueError(f"{type(self).__name__} has a price_bracket, and needs excess_demand as well")

    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"] | None:
        """Which actions (S, A) are allowed in each state, at least one; None, the default, for all.

        Kernel and reward are evaluated for every action, and the rows of the kernel must be distributions for all.
        """
        return None

    # What every game has.

    @property
    def declared(self) -> frozenset[Declared]:
        """What the game declares beyond (mu, z, t): "public", "actions", "price", "allowed"."""
        methods = ("initial_public", "action_statistics", "price_bracket", "allowed")
        return frozenset(
            name
            for name, method in zip(get_args(Declared), methods, strict=True)
            if getattr(type(self), method) is not getattr(Game, method)
        )

    def initial(self, key: PRNGKeyArray) -> AggregateState:
        """Draw an initial aggregate state."""
        return self.at_start(self.initial_noise(jax.random.uniform(key)))

    def at_start(self, noise: Noise) -> AggregateState:
        """The aggregate state at t = 0, given z_0."""
        return self.aggregate(mean_field=self.initial_mean_field(noise), noise=noise, time=0)

    def aggregate(
        self,
        *,
        mean_field: ArrayLike,
        noise: Any,
        time: ArrayLike,
        public: Any = None,
        actions: ArrayLike | None = None,
        price: ArrayLike | None = None,
    ) -> AggregateState:
        """The aggregate state at any chosen point.

        Args:
            mean_field: mu (S,).
            noise: z, in any form that the game accepts.
            time: t.
            public: x, where the game declares a public state; by default x_0.
            actions: n (N,), where the game declares statistics of actions.
            price: p (P,), where the game declares prices.

        Returns:
            The aggregate state.

        Raises:
            ValueError: If the mean field is not a distribution (S,), the time not a whole number in 0..T, or something
                is given that the game does not declare. Values are checked where they are known, outside `jit`.
        """
        mean_field = as_reals("mean_field", mean_field, float)
        check_shape("mean_field", mean_field, (self.num_states,))
        check_rows("mean_field", mean_field[None], tolerance=1e-4)
        check_whole("time", time, 0, MAX_HORIZON if self.horizon is None else self.horizon)
        for name, given in (("public", public), ("actions", actions), ("price", price)):
            if given is not None and name not in self.declared:
                raise ValueError(f"{name} is given, but {type(self).__name__} declares no such part of its state")
        try:
            own = jax.tree.map(jnp.asarray, (self.as_noise(noise), public))
        except (TypeError, OverflowError):
            raise ValueError(f"noise must be the game's own, of numbers, but is {noise!r:.60}") from None
        for leaf in jax.tree.leaves(own):
            check_reals("noise", leaf)
        if public is None:
            own = (own[0], self.first_public(own[0]))
        vectors = (None if given is None else jnp.asarray(given, float) for given in (actions, price))
        return AggregateState(mean_field, own[0], jnp.asarray(time), own[1], *vectors)

    def first_public(self, noise: Noise) -> PublicState | None:
        """x_0 as arrays, whose real numbers have JAX's default precision."""
        return jax.tree.map(
            lambda x: jnp.asarray(x, float) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else jnp.asarray(x),
            self.initial_public(noise),
        )

    def decide(
        self, aggregate: AggregateState, respond: Respond
    ) -> tuple[AggregateState, Float[Array, "states actions"], Any]:
        """What happens at t: markets clear, the population acts, and its actions make up their statistics.

        Args:
            aggregate: The aggregate state before agents act.
            respond: The policy (S, A) and anything else, given the aggregate state with its price.

        Returns:
            The aggregate state with price and actions; the policy, with no mass on what is not allowed; what else
            `respond` returned. A price is NaN if its market has no root in the bracket.
        """
        if not self.declared:
            return aggregate, *respond(aggregate)

        def shares(at: AggregateState) -> tuple[Array, Array, Any]:
            policy, others = respond(at)
            policy = self.restricted(at, policy)
            return at.mean_field[:, None] * policy, policy, others

        if (bracket := self.price_bracket(aggregate)) is not None:

            def excess(price: Array) -> Array:
                joint = shares(dataclasses.replace(aggregate, price=price))[0]
                return self.excess_demand(aggregate, price, joint)

            aggregate = dataclasses.replace(aggregate, price=clear(excess, *bracket))
        joint, policy, others = shares(aggregate)
        if (actions := self.action_statistics(aggregate, joint)) is not None:
            aggregate = dataclasses.replace(aggregate, actions=actions)
        return aggregate, policy, others

    def restricted(
        self, aggregate: AggregateState, policy: Float[Array, "states actions"]
    ) -> Float[Array, "states actions"]:
        """The policy (S, A) given that its action is allowed; where it has no mass on these, the uniform one."""
        allowed = self.allowed(aggregate)
        if allowed is None:
            return policy
        kept = jnp.where(allowed, policy, 0)
        mass = jnp.sum(kept, axis=-1, keepdims=True)
        uniform = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1)
        return jnp.where(mass > 0, kept / jnp.where(mass > 0, mass, 1), uniform)

    def reward_of_allowed(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """The rewards (S, A) of a step, with a large finite loss for every action that is not allowed."""
        rewards, allowed = self.reward(aggregate, following), self.allowed(aggregate)
        return rewards if allowed is None else jnp.where(allowed, rewards, FORBIDDEN_REWARD)

    def advance(
        self, aggregate: AggregateState, mean_field: Float[Array, " states"], next_noise: Noise
    ) -> AggregateState:
        """The aggregate state at t+1 with a given mean field, from the one at t with its price and actions."""
        public = None
        if "public" in self.declared:
            new = self.next_public(aggregate, next_noise)
            public = jax.tree.map(lambda x, before: jnp.asarray(x, before.dtype), new, aggregate.public)
        return AggregateState(mean_field, next_noise, aggregate.time + 1, public)

    def follow(
        self, aggregate: AggregateState, policy: Float[Array, "states actions"], next_noise: Noise
    ) -> AggregateState:
        """The aggregate state one step later under a policy (S, A).

        Its mean field is mu' = (A^pi)^T mu, scaled such that errors of rounding do not add up over time.
        """
        aggregate, policy, _ = self.decide(aggregate, lambda _: (policy, None))
        return self.advance(aggregate, self.kernel(aggregate).under(policy).move(aggregate.mean_field), next_noise)

    def is_last(self, aggregate: AggregateState) -> Array:
        """Whether the step that starts at this aggregate state reaches T; never so where the game goes on for ever."""
        return aggregate.time == (-1 if self.horizon is None else self.horizon - 1)

    @property
    def observation_size(self) -> int:
        """The number of entries of a public observation."""

        def observed(key: PRNGKeyArray) -> Array:
            start = self.initial(key)
            bracket = self.price_bracket(start)
            return self.observe(start if bracket is None else dataclasses.replace(start, price=bracket[0]))

        shape = jax.eval_shape(observed, jax.random.key(0)).shape
        if len(shape) != 1:
            raise ValueError(f"observe must return an array of shape (observations,), but returned shape {shape}")
        return int(shape[0])
