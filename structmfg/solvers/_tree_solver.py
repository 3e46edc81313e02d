"""What all exact solvers have in common: they work on a game's noise tree, in double precision, without sampling."""

import abc
import sys
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg._checks import check_between, check_name, plain_fields
from structmfg.evaluation import Certificate, Information, Table, TreeProblem

INFORMATION: tuple[Information, ...] = ("full", "public")


class Judged(eqx.Module):
    """What is known of the policy to be returned: its exploitability `gain`, by the certificate, and its return."""

    gain: Float[Array, ""]
    mean_return: Float[Array, ""]

    @classmethod
    def of(cls, certificate: Certificate) -> "Judged":
        """Summed over groups."""
        return cls(jnp.sum(certificate.gain), jnp.sum(certificate.mean_return))


class TreeSolver(eqx.Module):
    """An iteration on a tree.

    `tolerance`: the exploitability at which it stops, as converged if that is exact; zero to make all steps.
    `information`: whether the policy knows the noise so far ("full") or only the observations so far ("public").
    """

    tolerance: eqx.AbstractVar[float]
    information: eqx.AbstractVar[Information]

    def __post_init__(self) -> None:
        plain_fields(self)

    def __check_init__(self) -> None:
        check_between("tolerance", self.tolerance, 0, sys.float_info.max)
        check_name("information", self.information, INFORMATION)

    def stride(self, state: Any) -> int:
        """How many steps are made before a certificate is looked at."""
        return 1

    @abc.abstractmethod
    def init(self, problem: TreeProblem) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, problem: TreeProblem, state: Any) -> Any:
        """One step."""

    @abc.abstractmethod
    def judge(self, problem: TreeProblem, state: Any) -> tuple[Any, Judged]:
        """The state, which a certificate may change, and what is known of `table`."""

    @abc.abstractmethod
    def table(self, problem: TreeProblem, state: Any) -> Table:
        """The policy to be returned (D, S, A)."""
