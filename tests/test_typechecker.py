"""What checks annotations while tests run: it sees what is wrong, and lets pass what is right."""

import dataclasses
from typing import Any

import jaxtyping
import numpy as np
import pytest
from helpers.typechecker import jaxtyped
from jaxtyping import Float

from structmfg.policies import uniform


@jaxtyped
def product(left: Float[np.ndarray, "n m"], right: Float[np.ndarray, " m"], factor: float = 1.0) -> "Any":
    return factor * (left @ right)


@jaxtyped
def spoiled(values: Float[np.ndarray, " n"], known: "NotYetKnown" = None) -> Float[np.ndarray, " n"]:
    return values[1:] if known else values


@jaxtyped
@dataclasses.dataclass
class Pair:
    first: Float[np.ndarray, " n"]
    second: Float[np.ndarray, " n"]


def test_right_arguments_pass():
    """An int where a float is annotated, too; each call has lengths of its own."""
    for size in (2, 3):
        np.testing.assert_array_equal(product(np.ones((4, size)), np.ones(size), 2), np.full(4, 2.0 * size))
    assert Pair(np.ones(2), np.ones(2)).second.shape == spoiled(np.ones(2)).shape


@pytest.mark.parametrize(
    "call",
    [
        lambda: product(np.ones((4, 2)), np.ones(3)),
        lambda: product(np.ones(2), np.ones(2)),
        lambda: product(np.ones((4, 2), int), np.ones(2)),
        lambda: product(np.ones((4, 2)), np.ones(2), "1"),
        lambda: spoiled(np.ones(2), True),
        lambda: Pair(np.ones(2), np.ones(3)),
        lambda: uniform(None),  # the package is checked
    ],
)
def test_wrong_ones_do_not(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


@pytest.mark.usefixtures("unchecked")
def test_nothing_is_checked_where_it_is_asked_for():
    assert spoiled(np.ones(2), True).shape == (1,)
