"""`structmfg economy`: economies with heterogeneous households in sequence space."""

from structmfg.cli.economy._command import economy

__all__ = ["economy"]
