"""A process that has lost another one says so, whatever JAX raised."""

import jax
import pytest

from structmfg.cli._solve import _error_hint


class JaxRuntimeError(RuntimeError):
    """An error of the name that JAX's has."""


LOST = [ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"), JaxRuntimeError("connection reset")]


@pytest.mark.parametrize(("processes", "hinted"), [(1, True), (2, False)])
@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_the_error_of_a_lost_process_is_left_as_it_is(error, processes, hinted, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    with pytest.raises(RuntimeError if hinted else type(error)) as raised, _error_hint("it failed", "go on"):
        raise error
    assert (str(raised.value) == f"it failed ({error}); go on") == hinted
