"""Bounds of the exploitability by information relaxation, where the noise tree is infinite or does not fit."""

from structmfg.evaluation.bounds._bounds import (
    ExploitabilityBounds,
    check_bounds,
    exploitability_bounds,
    is_informative,
)

__all__ = ["ExploitabilityBounds", "check_bounds", "exploitability_bounds", "is_informative"]
