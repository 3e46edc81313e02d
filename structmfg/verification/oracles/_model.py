"""The protocol of a model, and the path of its mean field under a policy."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Move: TypeAlias = tuple[int, int, int, float]


class Common(NamedTuple):
    """What a model is given for z where a game declares more than (mu, z, t): all that agents have in common.

    Attributes:
        noise: z.
        public: x, in the structure that the game has, of Python's numbers and arrays; None where there is none.
        actions: n (N,), or None.
        price: p (P,), or None.
    """

    noise: Any
    public: Any = None
    actions: Any = None
    price: Any = None


@runtime_checkable
class Model(Protocol):
    """A game in plain NumPy: S states, A actions, steps from t to t+1 for t = 0..T-1.

    A mean field `mu` is an array (S,); the noise `z` is the game's own in Python's numbers (an int, a float, a tuple of
    them). Where (S, A, S) numbers are too many, give a method `moves` too, as `Listed` has it.

    For a game that declares more than (mu, z, t), z is a `Common`, and the model has a method for each part as well:
    `public(z)` for x_0 (of the noise alone), `next_public(mu, z, t, next_z)` (of the next noise alone),
    `statistics(mu, z, t, joint)`, `excess(mu, z, t, price, joint)`, `allowed(mu, z, t)`.

    Attributes:
        horizon: The number of steps T.
        discount: The discount factor gamma, in (0, 1].
    """

    horizon: int
    discount: float

    def start(self, z: Any) -> Array:
        """mu_0 (S,) where z_0 = z."""

    def dense(self, mu: Array, z: Any, t: int) -> Array:
        """The probabilities (S, A, S) of the step from t."""

    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        """The rewards (S, A) of the step from t, which leads to (next_mu, next_z)."""

    def observe(self, mu: Array, z: Any, t: int) -> Sequence[float] | Array:
        """The public observation (O,)."""


class Listed(abc.ABC):
    """A model made from a game's parameters, whose transitions are listed one by one."""

    horizon: int
    discount: float
    num_states: int
    num_actions: int

    def __init__(self, game: Any) -> None:
        self.game, self.horizon, self.discount = game, game.horizon, game.discount
        self.num_states, self.num_actions = game.num_states, game.num_actions

    @abc.abstractmethod
    def moves(self, mu: Array, z: Any, t: int) -> Iterator[Move]:
        """Transitions (s, a, s', probability) with positive probability; several with the same (s, a, s') add up."""

    @abc.abstractmethod
    def start(self, z: Any) -> Array:
        """See `Model`."""

    @abc.abstractmethod
    def reward(self, mu: Array, z: Any, t: int, next_mu: Array, next_z: Any) -> Array:
        """See `Model`."""

    @abc.abstractmethod
    def observe(self, mu: Array, z: Any, t: int) -> Sequence[float] | Array:
        """See `Model`."""

    def dense(self, mu: Array, z: Any, t: int) -> Array:
        dense = np.zeros((self.num_states, self.num_actions, self.num_states))
        for s, a, target, probability in self.moves(mu, z, t):
            dense[s, a, target] += probability
        return dense


def moves(model: Model, mu: Array, z: Any, t: int) -> list[Move]:
    """The transitions (s, a, s', probability) that a model lists, or else the entries of its dense array."""
    if isinstance(model, Listed) or hasattr(model, "moves"):
        return list(model.moves(mu, z, t))
    dense = np.asarray(model.dense(mu, z, t))
    return [(int(s), int(a), int(u), float(dense[s, a, u])) for s, a, u in np.argwhere(dense)]


class Rollout(NamedTuple):
    """The path of a model along one noise path.

    Attributes:
        mean_fields: The mean fields, (T+1, S).
        observations: The public observations, (T, O).
        rewards: The rewards, (T, S, A).
        kernels: The transition probabilities, (T, S, A, S).
        total: The return of the policy, accumulated forward in time.
    """

    mean_fields: Array
    observations: Array
    rewards: Array
    kernels: Array
    total: float


def rollout(model: Model, table: Any, noise: Any) -> Rollout:
    """The path of the mean field under a policy table (T, S, A) along z_0..z_T, of a model without markets."""
    mean_fields, observations, rewards, kernels, total = [np.asarray(model.start(noise[0]))], [], [], [], 0.0
    extended: Any = model
    declared = hasattr(model, "public") or hasattr(model, "statistics")
    public = extended.public(noise[0]) if hasattr(model, "public") else None
    for t in range(model.horizon):
        mu, z, next_z = mean_fields[t], noise[t], noise[t + 1]
        if declared:
            z = Common(z, public)
            if hasattr(model, "statistics"):
                z = z._replace(actions=extended.statistics(mu, z, t, mu[:, None] * np.asarray(table[t])))
            if hasattr(model, "public"):
                public = extended.next_public(mu, z, t, next_z)
            next_z = Common(next_z, public)
        dense = np.asarray(model.dense(mu, z, t))
        next_mu = np.zeros(len(mu))
        for (s, a), probability in np.ndenumerate(np.asarray(table[t])):
            next_mu += mu[s] * probability * dense[s, a]
        reward = np.asarray(model.reward(mu, z, t, next_mu, next_z))
        for (s, a), probability in np.ndenumerate(np.asarray(table[t])):
            total += float(model.discount**t * mu[s] * probability * reward[s, a])
        observations.append(np.asarray(model.observe(mu, z, t)))
        rewards.append(reward)
        kernels.append(dense)
        mean_fields.append(next_mu)
    return Rollout(np.array(mean_fields), np.array(observations), np.array(rewards), np.array(kernels), total)
