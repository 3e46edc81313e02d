"""Games of MFGLib: an `Environment` of tensors with a law of motion and rewards, written with PyTorch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg.games._aggregate import AggregateState, Noise
from structmfg.games._base import Game
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_definition, check_game
from structmfg.games.imports._host import call_on_host
from structmfg.games.imports._torch import CannotTranslateError, TorchFunction
from structmfg.operators import DenseKernel, SuccessorKernel, TransitionKernel

_MAX_ENTRIES = 2**27  # of the dense table that MFGLib makes of the transition probabilities
_AGREEMENT = 1e-4  # relative, of a translation with PyTorch, which computes in single precision
_NUM_POINTS = 6  # mean fields at which translations are compared, and dependence on actions is looked for
_PARTS = ("T", "S", "A", "mu0", "reward", "prob")


class MFGLibGame(NoiselessGame):
    """The game that `from_mfglib` makes of an environment whose functions read the mean field of states.

    Two of them are equal only if they are the same object: the environment is read once.
    """

    num_states: int
    num_actions: int
    horizon: int
    discount = 1.0

    def __init__(self, environment: Any = None) -> None:
        if environment is None:
            raise ValueError("a run folder does not hold the environment: give a function that makes the game")
        self.environment = environment
        self.state_shape, self.action_shape = tuple(environment.S), tuple(environment.A)
        self.num_states, self.num_actions = environment.n_states, environment.n_actions
        self.horizon = environment.T + 1
        self._initial = environment.mu0.detach().cpu().numpy().astype(float).ravel()
        self._initial /= self._initial.sum()
        self._rewards = _ByTime(environment.reward, environment, range(environment.T + 1))
        # The last step leads nowhere, and MFGLib asks for no probabilities there.
        self._moves = _ByTime(environment.prob, environment, [*range(environment.T), environment.T - 1])
        self._successors = None if self._moves.depends else self._listed(self._moves)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _joint(self, aggregate: AggregateState) -> Float[Array, "..."]:
        """L_t (*S, *A), as MFGLib's functions are given it; what they do not read of it is uniform over actions."""
        joint = jnp.broadcast_to(aggregate.mean_field[:, None] / self.num_actions, (self.num_states, self.num_actions))
        return joint.reshape(*self.state_shape, *self.action_shape)

    def _table(self, moves: Float[Array, "..."]) -> Float[Array, "states actions states"]:
        """MFGLib's probabilities (*S', *S, *A) as P[s, a, s']."""
        return jnp.transpose(moves.reshape(self.num_states, self.num_states, self.num_actions), (1, 2, 0))

    def _listed(self, moves: "_ByTime") -> tuple[np.ndarray, np.ndarray]:
        """The successors (D, S, A, K) of each of D laws of motion that do not depend on the mean field."""
        with jax.enable_x64(True):
            example = jnp.zeros((*self.state_shape, *self.action_shape))
            tables = np.stack([np.asarray(self._table(function(example))) for function in moves.functions])
        tables = tables / tables.sum(-1, keepdims=True)
        most = max(int((tables != 0).sum(-1).max()), 1)
        indices = np.argsort(tables == 0, axis=-1, kind="stable")[..., :most]
        return indices, np.take_along_axis(tables, indices, -1)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        if self._successors is None:
            return DenseKernel(self._table(self._moves(aggregate.time, self._joint(aggregate))), checks=False)
        which = jnp.asarray(self._moves.index)[aggregate.time]
        indices, probabilities = (jnp.asarray(listed)[which] for listed in self._successors)
        return SuccessorKernel(indices, jnp.asarray(probabilities, float))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        rewards = self._rewards(aggregate.time, self._joint(aggregate))
        return rewards.reshape(self.num_states, self.num_actions)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def initial_mean_field(self, noise: Noise) -> Float[Array, " states"]:
        return jnp.asarray(self._initial, float)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, " aggregates"]:
        """The whole mean field, or none of it where nothing depends on it."""
        return mean_field if self._rewards.depends or self._moves.depends else mean_field[:0]

    @override
    def state_features(self) -> Float[Array, "states features"]:
        axes = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in self.state_shape]
        return jnp.asarray(np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")], axis=1), float)

    @override
    def state_axes(self) -> list[tuple[str, np.ndarray]]:
        if len(self.state_shape) == 1:
            return [("state", np.arange(self.num_states, dtype=float))]
        return [(f"state, part {i + 1}", np.arange(size, dtype=float)) for i, size in enumerate(self.state_shape)]


class MFGLibGameOfActions(MFGLibGame):
    """The game that `from_mfglib` makes of an environment whose functions read what the population does.

    The statistics of actions are all shares (S * A,) of the population.
    """

    @override
    def action_statistics(
        self, aggregate: AggregateState, joint: Float[Array, "states actions"]
    ) -> Float[Array, " statistics"]:
        return joint.ravel()

    @override
    def _joint(self, aggregate: AggregateState) -> Float[Array, "..."]:
        shares: Any = aggregate.actions
        return shares.reshape(*self.state_shape, *self.action_shape)


def from_mfglib(environment: Any) -> Game:
    """The game of an environment of MFGLib (Hu et al. 2024, arXiv 2304.08630).

    MFGLib's functions of time and of the joint distribution L_t of states and actions are recorded once as graphs of
    tensor operations and evaluated by JAX, so that the game runs at this package's speed. Each graph is compared with
    PyTorch at several distributions. A function that decides by the values of its input is called as it is at every
    step (`jax.pure_callback`), which is slower and gives the same numbers.

    MFGLib acts at t = 0..T, so the horizon here is T + 1, and nothing is discounted. States and actions of several
    parts are numbered row by row. Where the functions read L_t only through the mean field of states, the game
    declares no statistics of actions; that they do is judged at six random distributions and the actions there.

    Args:
        environment: An `mfglib.env.Environment`, of the library or your own.

    Returns:
        The game. Its field `environment` is what was given.

    Raises:
        ValueError: If it is no such environment, its functions fail or return other shapes, its tables have more than
            2^27 entries, rows of probabilities do not sum to one, or a number is not finite.
    """
    try:
        import torch
    except ImportError:
        raise ValueError("from_mfglib needs PyTorch and mfglib: pip install 'structmfg[peers]'") from None
    missing = [part for part in _PARTS if not hasattr(environment, part)]
    if missing:
        raise ValueError(
            f"environment must be an mfglib.env.Environment, but is {environment!r:.60}, without {', '.join(missing)}"
        )
    states, actions = int(np.prod(environment.S)), int(np.prod(environment.A))
    if (entries := states * states * actions) > _MAX_ENTRIES:
        raise ValueError(
            f"MFGLib lists {entries} transition probabilities of {states} states and {actions} actions; at most "
            f"{_MAX_ENTRIES} are read"
        )
    with torch.no_grad():
        _check_shapes(environment)
        kind = MFGLibGameOfActions if _reads_actions(environment) else MFGLibGame
        game = kind(environment)
    check_game(game)
    check_definition(game, sampled=False)
    return game


class _ByTime:
    """A function of time and of L_t: distinct functions of L_t, and which of them each time has."""

    def __init__(self, function: Callable[[int, Any], Any], environment: Any, times: Any) -> None:
        self._function, self._times = function, list(times)
        self._points = _points(environment)
        self.functions: list[Callable[[Array], Array]] = []
        self.index: list[int] = []
        known: dict[bytes, int] = {}
        for time in self._times:
            values = np.stack([_called(function, time, point) for point in self._points])
            self._shape = values.shape[1:]
            if values.tobytes() not in known:
                known[values.tobytes()] = len(self.functions)
                self.functions.append(self._translated(time, values))
            self.index.append(known[values.tobytes()])
        self.depends = any(getattr(each, "depends", True) for each in self.functions)

    def _translated(self, time: int, values: np.ndarray) -> Callable[[Array], Array]:
        """The function at a time by JAX, or by a callback where it has no translation that agrees with PyTorch."""
        try:
            graph = TorchFunction(lambda joint: self._function(time, joint), _tensor(self._points[0]))
            translated = np.stack([np.asarray(graph(jnp.asarray(point))) for point in self._points])
        except (CannotTranslateError, TypeError, ValueError):
            return _Callback(self._function, time, self._shape)
        with np.errstate(invalid="ignore"):
            scale = max(float(np.abs(values).max()), 1.0)
            agrees = translated.shape == values.shape and (np.abs(translated - values) <= _AGREEMENT * scale).all()
        return graph if agrees else _Callback(self._function, time, self._shape)

    def __call__(self, time: Array, joint: Array) -> Array:
        if len(self.functions) == 1:
            return jnp.asarray(self.functions[0](joint), float)
        branches = [lambda x, each=each: jnp.asarray(each(x), float) for each in self.functions]
        return jax.lax.switch(jnp.asarray(self.index)[time], branches, joint)


class _Callback:
    """MFGLib's own function at a time, called by PyTorch from within compiled programs."""

    depends = True

    def __init__(self, function: Callable[[int, Any], Any], time: int, shape: tuple[int, ...]) -> None:
        self._function, self._time, self._shape = function, time, shape

    def __call__(self, joint: Array) -> Array:
        return call_on_host(lambda value: _called(self._function, self._time, value), self._shape, joint)


def _tensor(array: Any) -> Any:
    import torch

    return torch.tensor(np.asarray(array), dtype=torch.get_default_dtype())


def _called(function: Callable[[int, Any], Any], time: int, joint: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return function(time, _tensor(joint)).detach().cpu().numpy()


def _points(environment: Any) -> list[np.ndarray]:
    """Joint distributions (*S, *A): the uniform one, one of a single state and action, and random ones."""
    shape = (*environment.S, *environment.A)
    random = np.random.default_rng(0)
    size = int(np.prod(shape))
    concentrated = np.zeros(size)
    concentrated[size // 2] = 1.0
    drawn = [random.dirichlet(np.full(size, weight)) for weight in (1.0, 1.0, 0.1, 10.0)]
    return [each.reshape(shape) for each in (np.full(size, 1 / size), concentrated, *drawn)][:_NUM_POINTS]


def _reads_actions(environment: Any) -> bool:
    """Whether rewards or probabilities change if the population does other things in the same states."""
    num_states, num_actions = int(np.prod(environment.S)), int(np.prod(environment.A))
    for point in _points(environment):
        mean_field = point.reshape(num_states, num_actions).sum(axis=1, keepdims=True)
        others = [np.broadcast_to(mean_field / num_actions, (num_states, num_actions))]
        others += [mean_field * np.eye(num_actions)[action] for action in (0, num_actions - 1)]
        for time in {0, environment.T // 2, environment.T}:
            for function in (environment.reward, environment.prob):
                if function == environment.prob and time == environment.T:
                    continue
                value = _called(function, time, point)
                for other in others:
                    changed = _called(function, time, other.reshape(point.shape))
                    if not np.allclose(value, changed, rtol=1e-4, atol=1e-6):
                        return True
    return False


def _check_shapes(environment: Any) -> None:
    point = _points(environment)[0]
    shapes = {
        "reward": (*environment.S, *environment.A),
        "prob": (*environment.S, *environment.S, *environment.A),
    }
    for name, wanted in shapes.items():
        try:
            value = _called(getattr(environment, name), 0, point)
        except Exception as error:  # whatever a user's function raises
            raise ValueError(f"environment.{name}(0, L) fails: {type(error).__name__}: {error}") from error
        if value.shape != wanted:
            raise ValueError(f"environment.{name}(0, L) must have shape {wanted}, but has {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"environment.{name}(0, L) must be finite at the uniform distribution, but is not")
    sums = value.reshape(int(np.prod(environment.S)), -1).sum(axis=0)
    if (worst := float(np.abs(sums - 1).max())) > 1e-4:
        raise ValueError(f"the probabilities of environment.prob(0, L) must sum to 1, but a sum differs by {worst:g}")
