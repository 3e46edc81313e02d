"""The laws of kernels and of games, each a function that measures how far one is broken."""

from structmfg.verification.laws._kernels import (
    KERNEL_LAWS,
    Probe,
    adjoint,
    forms_agree,
    linear,
    mass_kept,
    probe,
    rounding,
    rows_sum_to_one,
    sign_kept,
)

__all__ = [
    "KERNEL_LAWS",
    "Probe",
    "adjoint",
    "forms_agree",
    "linear",
    "mass_kept",
    "probe",
    "rounding",
    "rows_sum_to_one",
    "sign_kept",
]
