"""Games of MFGLib: an `Environment` of tensors with a law of motion and rewards, written with PyTorch."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_rows
from structmfg.games._aggregate import AggregateState, Noise
from structmfg.games._base import Game
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_definition, check_game
from structmfg.games.imports._host import call_on_host
from structmfg.games.imports._torch import CannotTranslateError, TorchFunction
from structmfg.operators import DenseKernel, SuccessorKernel, TransitionKernel

_MAX_ENTRIES = 2**27  # of the dense table that MFGLib makes of the transition probabilities
_AGREEMENT = 1e-4  # relative, of a translation with PyTorch, which computes in single precision
_ROUNDING = 1e-5  # how far probabilities may lie below zero; their sums may differ from one by as much
_POINT_NAMES = ("the uniform distribution", "a distribution on one state and action", *4 * ("a random distribution",))
_FOR_ACTIONS = [1, 2, 4]  # of these points: where dependence on actions is looked for, at all times
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
        tables = np.maximum(tables, 0.0)
        tables = tables / tables.sum(-1, keepdims=True)  # what rounding has left; `_check_environment` saw the rows
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
    declares no statistics of actions; that they do is judged at all times t, at three distributions with other actions.

    Args:
        environment: An `mfglib.env.Environment`, of the library or your own.

    Returns:
        The game. Its field `environment` is what was given.

    Raises:
        ValueError: If it is no such environment, its functions fail or return other shapes, its tables have more than
            2^27 entries, `mu0` or a row of probabilities has negative entries or does not sum to one, or a number is
            not finite. Functions are looked at at all times, for six joint distributions. Infinite numbers are refused
            only at those that are positive everywhere.
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
        _check_environment(environment)
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
    return [each.reshape(shape) for each in (np.full(size, 1 / size), concentrated, *drawn)]


def _reads_actions(environment: Any) -> bool:
    """Whether rewards or probabilities change, at some time, if the population does other things in the same states."""
    num_states, num_actions = int(np.prod(environment.S)), int(np.prod(environment.A))
    for point in (_points(environment)[i] for i in _FOR_ACTIONS):
        mean_field = point.reshape(num_states, num_actions).sum(axis=1, keepdims=True)
        others = [np.broadcast_to(mean_field / num_actions, (num_states, num_actions))]
        others += [mean_field * np.eye(num_actions)[action] for action in (0, num_actions - 1)]
        for function, _, time in _asked(environment):
            value = _called(function, time, point)
            for other in others:
                changed = _called(function, time, other.reshape(point.shape))
                if not np.allclose(value, changed, rtol=1e-4, atol=1e-6, equal_nan=True):
                    return True
    return False


def _asked(environment: Any) -> Iterator[tuple[Callable[[int, Any], Any], str, int]]:
    """The functions of an environment, with their names, at all times at which MFGLib asks for them."""
    for time in range(environment.T + 1):
        yield environment.reward, "reward", time
        if time < max(environment.T, 1):
            yield environment.prob, "prob", time


def _check_environment(environment: Any) -> None:
    """Look at what an environment says at all times, for all joint distributions of `_points`.

    Raises:
        ValueError: If something is no distribution, not finite, of another shape, or fails.
    """
    check_rows("environment.mu0", environment.mu0.detach().cpu().numpy().ravel(), least=-_ROUNDING)
    states, pairs = int(np.prod(environment.S)), (*environment.S, *environment.A)
    shapes = {"reward": pairs, "prob": (*environment.S, *pairs)}
    points = list(zip(_POINT_NAMES, _points(environment), strict=True))
    for function, name, time in _asked(environment):
        for where, point in points:
            try:
                value = _called(function, time, point)
            except Exception as error:  # whatever a user's function raises
                raise ValueError(f"environment.{name}({time}, L) fails: {type(error).__name__}: {error}") from error
            if value.shape != shapes[name]:
                raise ValueError(f"environment.{name}({time}, L) must have shape {shapes[name]}, but has {value.shape}")
            if not np.isfinite(value).all():
                if point.astype(np.float32).min() > 0:  # a logarithm may be infinite where a state is empty
                    raise ValueError(f"environment.{name}({time}, L) must be finite, but is not at {where}")
            elif name == "prob":
                rows = np.moveaxis(value.reshape(states, *pairs), 0, -1)
                check_rows(f"environment.prob({time}, L) at {where}", rows, least=-_ROUNDING)
