"""Paths of aggregates over time, with what comes before and after them."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import check_between, check_integer, concrete

if TYPE_CHECKING:
    AnyArray: TypeAlias = Any
else:  # of JAX, or of NumPy where values are known
    AnyArray = Array | np.ndarray

Path = Float[AnyArray, " horizon"]


class Paths(Mapping[str, Path]):
    """Named paths x_0..x_{T-1}; x_t is `before` for t < 0 and `after` for t >= T, the steady states at both ends."""

    def __init__(self, values: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
        self._values, self._before, self._after = values, before, after

    def __getitem__(self, name: str) -> Path:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def lag(self, name: str, periods: int = 1) -> Path:
        """Return x_{t - periods} (T,)."""
        check_integer("periods", periods, at_least=0)
        here = self._values[name]
        return jnp.concatenate([jnp.full(periods, self._before[name], here.dtype), here])[: len(here)]

    def lead(self, name: str, periods: int = 1) -> Path:
        """Return x_{t + periods} (T,)."""
        check_integer("periods", periods, at_least=0)
        here = self._values[name]
        return jnp.concatenate([here, jnp.full(periods, self._after[name], here.dtype)])[periods:]


@contextlib.contextmanager
def double_precision(*values: Any) -> Iterator[None]:
    """Set double precision for a `with`; raise `ValueError` if a value is traced in single precision.

    JAX transposes a program in the precision that is set where `jax.grad` is called, and it cannot in another one.
    """
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))
    if traced and jnp.result_type(float) != jnp.float64:
        raise ValueError(
            "inside jit, grad and vmap, sequence space needs double precision there too, but single precision is set: "
            "call them within jax.enable_x64(True), or set jax_enable_x64"
        )
    with jax.enable_x64(True):
        yield


def autoregressive(size: Any, persistence: Any, horizon: int = 300) -> Any:
    """Return the path size * persistence^t (T,): how an AR(1) process responds to an innovation of this size.

    Raises:
        ValueError: If the persistence is not in [0, 1), or a number is not finite.
    """
    for name, value, low, high in (("size", size, -np.inf, np.inf), ("persistence", persistence, 0, 1)):
        if (known := concrete(value)) is not None:
            check_between(name, float(known), low, high)
            if name == "persistence" and float(known) == 1:
                raise ValueError("persistence must be below 1, or the path does not return, but is 1")
    check_integer("horizon", horizon, at_least=1)
    with double_precision(size, persistence):
        powers = jnp.cumprod(jnp.full(horizon, persistence, float).at[0].set(1.0))
        return on_host(size * powers)


def traced(tree: Any) -> Any:
    """The same tree with its plain numbers as arrays, so that compiled programs serve all of them."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float) if isinstance(leaf, float) else leaf, tree)


def on_host(tree: Any) -> Any:
    """The same tree with NumPy's arrays instead of JAX's, which JAX would round to its default, unless it is traced."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, tree)
