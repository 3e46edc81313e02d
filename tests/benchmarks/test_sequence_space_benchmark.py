"""The comparison with sequence-jacobian, and the cost of Jacobians, on tiny grids."""

import json

import pytest

from structmfg.benchmarks.sequence_space import __main__ as script
from structmfg.benchmarks.sequence_space import _cost as cost
from structmfg.benchmarks.sequence_space import _peer as peer


def test_seconds_are_those_after_the_first_round():
    calls = []
    found = cost.processor_seconds([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert calls == ["a", "b"] * 4
    assert all(0 <= each < 1 for each in found)


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False])
def test_script(installed, tmp_path, monkeypatch, capsys):
    if installed and peer.version() is None:
        pytest.skip("sequence-jacobian is not installed")
    monkeypatch.setattr(peer, "version", lambda: "1.0.0" if installed else None)
    small = ["--num-assets", "60", "--horizon", "60", "--rounds", "1", "--grids", "20", "40", "--horizons", "10", "20"]
    script.main([*small, "--memory-horizon", "20", "--out", str(tmp_path / "out")])
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "out" / "sequence_space.json").read_text())
    assert ("sequence-jacobian is not installed" in printed) == (not installed)
    assert [(row["states"], row["horizon"]) for row in found["costs"]] == [(140, 10), (280, 10), (140, 20)]
    assert all(row["base"] < row["peak"] for row in found["memory"])
    if installed:
        assert max(abs(row["difference"]) for row in found["steady"]) < 1e-5
        assert all(row["difference"] < 1e-6 * max(1.0, row["largest"]) for row in found["responses"])
