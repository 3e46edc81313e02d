"""The self-test: faults put in on purpose, which verification must find."""

from structmfg.verification.selftest._self_test import self_test

__all__ = ["self_test"]
