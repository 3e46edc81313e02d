"""The laws of kernels, of the operators A^pi, and of games; each is a function that returns a `CheckResult`.

A law of kernels takes a kernel and a `Probe` (a random one by default), a law of games an `AggregatePath`. The
docstring of a law says what its value is; a law passes where the value is within a bound for rounding errors.
"""

from structmfg.verification.laws._aggregates import aggregates_are_sufficient
from structmfg.verification.laws._gradients import (
    gradient_is_a_difference_quotient,
    no_gradient_through_the_mean_field,
    rspg_loss_gradient,
)
from structmfg.verification.laws._kernels import (
    KERNEL_LAWS,
    adjoint,
    forms_agree,
    linear,
    mass_kept,
    matches_scipy,
    permutation_invariance,
    policy_closes_kernel,
    rows_sum_to_one,
    sign_kept,
    structure_agrees,
)
from structmfg.verification.laws._operators import OPERATOR_LAWS, contraction, monotone, powers_repeat, resolvent_solves
from structmfg.verification.laws._paths import (
    AggregatePath,
    declared_parts_hold,
    forms_agree_along_the_path,
    mass_over_many_moves,
    noise_is_finite,
    observations_are_finite,
    path_of_distributions,
    paths_side_by_side,
    random_path,
    return_both_ways,
    rewards_along,
    rewards_are_finite,
    rows_along_the_path,
    values_are_sums_of_products,
)
from structmfg.verification.laws._probe import Probe, host, probe, rounding

__all__ = [
    "KERNEL_LAWS",
    "OPERATOR_LAWS",
    "AggregatePath",
    "Probe",
    "adjoint",
    "aggregates_are_sufficient",
    "contraction",
    "declared_parts_hold",
    "forms_agree",
    "forms_agree_along_the_path",
    "gradient_is_a_difference_quotient",
    "host",
    "linear",
    "mass_kept",
    "mass_over_many_moves",
    "matches_scipy",
    "monotone",
    "no_gradient_through_the_mean_field",
    "noise_is_finite",
    "observations_are_finite",
    "path_of_distributions",
    "paths_side_by_side",
    "permutation_invariance",
    "policy_closes_kernel",
    "powers_repeat",
    "probe",
    "random_path",
    "resolvent_solves",
    "return_both_ways",
    "rewards_along",
    "rewards_are_finite",
    "rounding",
    "rows_along_the_path",
    "rows_sum_to_one",
    "rspg_loss_gradient",
    "sign_kept",
    "structure_agrees",
    "values_are_sums_of_products",
]
