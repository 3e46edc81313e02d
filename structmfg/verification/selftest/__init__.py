"""The self-test: faults that are put in on purpose, and that verification must find."""

from structmfg.verification.selftest._self_test import self_test

__all__ = ["self_test"]
