"""What products with operators make of the arrays that they are given: arrays of JAX, in the operator's precision."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from structmfg._checks import as_indices, as_reals

PRODUCTS = ("mv", "rmv", "expect", "push", "expect_under", "push_under", "move")


def precision_of(operator: Any) -> np.dtype | None:
    """The widest floating type that an operator holds; None where it holds none."""
    kinds = [getattr(leaf, "dtype", None) for leaf in jax.tree.leaves(operator)]
    floating = [kind for kind in kinds if kind is not None and jnp.issubdtype(kind, jnp.floating)]
    return functools.reduce(jnp.promote_types, floating) if floating else None


def as_vector(operator: Any, name: str, values: Any) -> jax.Array:
    """The values as an array of JAX, in the operator's precision or their own, whichever is the wider.

    Whole numbers and booleans would take the weights they are multiplied with for whole numbers, too: they become
    floating, of 32 bits at least. A floating array of JAX that is wide enough is returned as it is.
    """
    own, given = precision_of(operator), getattr(values, "dtype", None)
    if given is None:  # nested sequences of Python's numbers
        given = jnp.result_type(float)
    elif not jnp.issubdtype(given, jnp.floating):
        given, own = np.dtype(np.float32), jnp.result_type(float) if own is None else own
    wide = given if own is None else jnp.promote_types(given, own)
    allowed = jnp.result_type(float) if wide == np.float64 else wide  # in the precision that JAX is set to
    if isinstance(values, jax.Array) and values.dtype in (wide, allowed):
        return values
    # In the dtype at once: a number of 64 bits would lose its upper ones on the way through whole numbers of 32.
    return as_reals(name, values, allowed)


def takes_vectors(product: Callable[..., Any]) -> Callable[..., Any]:
    """The product, for any arrays of numbers or nested sequences of them; see `as_vector`."""
    names = tuple(inspect.signature(product).parameters)[1:]

    @functools.wraps(product)
    def of_any(self: Any, *vectors: Any, **named: Any) -> Any:
        given = [as_vector(self, name, vector) for name, vector in zip(names, vectors, strict=False)]
        return product(self, *given, *vectors[len(given) :], **{k: as_vector(self, k, v) for k, v in named.items()})

    return of_any


def takes_states(successors_of: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for states in any type of whole numbers, which are looked at where they are known."""

    @functools.wraps(successors_of)
    def of_any(self: Any, states: Any) -> Any:
        return successors_of(self, as_indices("states", states, last=self.num_states - 1))

    return of_any
