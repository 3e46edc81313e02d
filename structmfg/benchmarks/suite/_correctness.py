"""Whether what the device computes is right: every form of the operators, and an update, in the run that times them.

- Products are compared to sums over the list of successors, in double precision by NumPy. The list is made on the
  processor, and so is the kernel that the device multiplies with, except where the kernel is "rebuilt": then the device
  makes it, too, and its own rounding counts.
- An update is compared to the same one in double precision on the processor: the returns of its noise paths, and the
  direction in which it moves the parameters.

The difference is the largest of all entries, relative to the largest entry; a measurement beyond the tolerance fails.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from structmfg._flags import own_rules
from structmfg.benchmarks.suite._cases import FAILED, OK
from structmfg.benchmarks.suite._device import CPU
from structmfg.benchmarks.suite._forms import aggregates_of, allow_cusparse, check_cusparse, prebuild, product_of
from structmfg.evaluation import rollout
from structmfg.games import AggregateState, Game, NoisePaths, make, noise_paths
from structmfg.operators import Successors
from structmfg.solvers import preset
from structmfg.solvers.gradient import StructuralPolicyGradient

# Largest relative differences by dtype. GPUs that round the factors of products to 11 bits (TF32) err by 5e-4.
PRODUCTS = {"float32": 1e-5, "float64": 1e-12}
KERNELS = {"float32": 1e-4, "float64": 1e-11}  # and where the kernel is made on the device
UPDATES = {"float32": 1e-4}
_REPEATS = 3  # of a product, to see whether it has the same bits every time


def check_forms(precision: str, seed: int, parameters: dict[str, dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A function that checks one form of a game's operators, or an update, in this precision."""
    jax.config.update("jax_enable_x64", precision == "float64")
    games = {name: make(name, **chosen) for name, chosen in parameters.items()}
    point = functools.cache(lambda game, paths, batch: _Point.of(games[game], paths, batch, seed))

    def measure(*, game: str, form: str, kernel: str, direction: str, paths: int, batch: str) -> dict[str, Any]:
        built = games[game]
        if form == "update":
            return {**_outcome(_update_difference(built, paths, seed), UPDATES[precision]), "same_bits_again": None}
        with allow_cusparse(form):
            at = point(game, paths, batch)
            difference, repeats = _product_difference(built, at, form, kernel, direction == "forward", batch)
        tolerance = (KERNELS if kernel == "rebuilt" else PRODUCTS)[precision]
        return {**_outcome(difference, tolerance), "same_bits_again": repeats}

    return measure


def _outcome(difference: float, tolerance: float) -> dict[str, Any]:
    figures = {"difference": difference, "tolerance": tolerance}
    if difference <= tolerance:  # not so for NaN
        return {"status": OK, **figures}
    return {"status": FAILED, "reason": f"wrong by {difference:.2g}, and {tolerance:g} is allowed", **figures}


class _Point(NamedTuple):
    """What products are computed with, on the processor: of one path, or with a leading axis of paths."""

    aggregate: AggregateState
    policy: Array
    values: Array
    successors: Successors

    @classmethod
    def of(cls, game: Game, paths: int, batch: str, seed: int) -> "_Point":
        """The initial aggregate state, and a random policy and values."""
        random = np.random.default_rng(seed)
        with jax.default_device(jax.devices(CPU)[0]):
            at = aggregates_of(game, paths, batch, seed)
            policy = random.dirichlet(np.ones(game.num_actions), at.mean_field.shape)
            values = jnp.asarray(random.random(at.mean_field.shape), float)
            successors = _each(lambda at: game.kernel(at).successors(), batch)(at)
            return cls(at, jnp.asarray(policy, float), values, successors)


def _product_difference(
    game: Game, point: _Point, form: str, kernel: str, forward: bool, batch: str
) -> tuple[float, bool]:
    """The relative difference of a product, and whether it has the same bits when it is computed again."""
    at, policy, values, successors = point
    vector = at.mean_field if forward else values
    expected = _by_numpy(*map(np.asarray, (*successors, policy, vector)), forward=forward)
    with jax.default_device(jax.devices(CPU)[0]):
        made = None if kernel == "rebuilt" else _each(prebuild(game, form), batch)(at, policy)
    arguments = jax.device_put((made, policy, at, vector), jax.devices()[0])
    product = _each(product_of(game, form, kernel, forward), batch)
    if form == "jax_cusparse":
        check_cusparse(product, *arguments)
    found = [np.asarray(product(*arguments)) for _ in range(_REPEATS)]
    difference = np.abs(found[0] - expected).max() / np.abs(expected).max()
    return float(difference), all(np.array_equal(found[0], other) for other in found)


def _each(function: Callable[..., Any], batch: str) -> Callable[..., Any]:
    """The compiled function of one path, or of many at once."""
    return jax.jit(function if batch == "single" else jax.vmap(function))


def _by_numpy(
    targets: np.ndarray, probabilities: np.ndarray, policy: np.ndarray, vector: np.ndarray, *, forward: bool
) -> np.ndarray:
    """A^T m (forward) or A v, from the successors (..., S, A, K), the policy (..., S, A) and m or v (..., S)."""
    if vector.ndim > 1:
        each = zip(targets, probabilities, policy, vector, strict=True)
        return np.stack([_by_numpy(*path, forward=forward) for path in each])
    moves = policy.astype(np.float64)[..., None] * probabilities
    if not forward:
        return (moves * vector[targets]).sum((1, 2), dtype=np.float64)
    moved = moves * vector[:, None, None]
    return np.bincount(targets.ravel(), moved.ravel(), minlength=vector.size)


def _update_difference(game: Game, num_paths: int, seed: int) -> float:
    """The relative difference of an update's returns, or of its gradient, whichever is larger."""
    solver = preset(game, "rspg", num_paths=num_paths).solver
    assert isinstance(solver, StructuralPolicyGradient)
    host = jax.devices(CPU)[0]
    with jax.default_device(host):
        parameters = solver.init(game, jax.random.key(seed)).parameters
        paths = noise_paths(game, key=jax.random.key(seed), num_paths=num_paths, sampling="iid")

    def update(parameters: PyTree[Array], paths: NoisePaths) -> tuple[Array, Array]:
        policy = solver.policy.with_parameters(parameters)
        trajectories = jax.vmap(lambda noise: rollout(game, policy, noise))(paths.noise)
        temperature = jnp.asarray(solver.temperature, float)
        returns, gradient = solver.returns_and_loss_gradient(game, parameters, trajectories, paths, temperature)
        return returns, ravel_pytree(gradient)[0]

    with own_rules():
        found = jax.jit(update)(*jax.device_put((parameters, paths), jax.devices()[0]))
        with jax.enable_x64(True), jax.default_device(host):
            exact = jax.tree.map(_in_double, jax.device_put((parameters, paths), host))
            expected = jax.jit(update)(*exact)
    pairs = zip(map(np.asarray, found), map(np.asarray, expected), strict=True)
    return float(np.max([np.abs(one - other).max() / np.abs(other).max() for one, other in pairs]))


def _in_double(array: Array) -> Array:
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.inexact) else array


def check_keys(games: dict[str, tuple[tuple[str, str], ...]], precision: str, paths: int) -> list[dict[str, Any]]:
    """The keys of all checks: each form, in both directions, along one path and along several at once.

    In double precision one path suffices.

    Args:
        games: By name, the forms, and when their kernels are made.
        precision: "float32" or "float64".
        paths: The number of noise paths.
    """
    keys: list[dict[str, Any]] = []
    batches = ((1, "single"), (paths, "vmap")) if precision == "float32" else ((1, "single"),)
    for game, forms in games.items():
        for form, kernel in forms:
            for number, batch in batches:
                if batch == "single" or not (form.startswith("jax") or kernel == "rebuilt"):
                    shared = {"form": form, "kernel": kernel, "paths": number, "batch": batch}
                    keys += [{"game": game, "direction": way, **shared} for way in ("forward", "adjoint")]
    return keys


def update_key(game: str, paths: int) -> dict[str, Any]:
    """The key of the check of an update, along so many paths."""
    whole = {"form": "update", "kernel": "rebuilt", "direction": "backward", "paths": paths, "batch": "vmap"}
    return {"game": game, **whole}
