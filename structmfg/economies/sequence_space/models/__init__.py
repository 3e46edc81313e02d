"""Economies in sequence space with more than saving: the one-asset New Keynesian one, and two permanent types."""

from structmfg.economies.sequence_space.models._hank import OneAssetHANK, one_asset_hank
from structmfg.economies.sequence_space.models._permanent_types import PermanentTypes, permanent_types
from structmfg.economies.sequence_space.models._working import Work, WorkingBlock

__all__ = ["OneAssetHANK", "PermanentTypes", "Work", "WorkingBlock", "one_asset_hank", "permanent_types"]
