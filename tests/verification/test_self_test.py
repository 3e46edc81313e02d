"""The self-test finds its faults, names the checks that find them, and fails where no check does."""

import jax
import pytest

from structmfg.verification import CheckResult, Report, Stage, self_test
from structmfg.verification.selftest import _mutations as mutations
from structmfg.verification.selftest import _self_test as module

FAULTS = {fault.name: fault for fault in mutations.mutations()}


def test_there_are_many_faults_of_every_kind():
    assert len(FAULTS) == len(mutations.mutations()) >= 25
    assert {*module.STATISTICAL, module.SLIGHT} <= set(FAULTS)
    assert {*mutations.KERNELS, *mutations.METHODS} < set(FAULTS)


def reports(finding):
    """Reports of two checks; the second fails where `finding` says so."""

    def report(key, fault=None):
        wrong = fault is not None and finding(fault)
        first = CheckResult("first", 0.0, 1.0, True, "")
        return Report("", (Stage((first, CheckResult("second", 2.0, 1.0, not wrong, "", "there"))),))

    return report


def test_a_fault_that_nothing_finds_fails(monkeypatch):
    monkeypatch.setattr(module, "_report", reports(lambda fault: fault.name == "noise applied twice"))
    stage = module.mutation_tests(jax.random.key(0), [FAULTS["noise applied twice"], FAULTS["actions reversed"]])
    found, missed = stage.results
    assert found.passed
    assert found.where == "by second"
    assert not missed.passed
    assert stage.tables[0].rows == [("noise applied twice", 1, "second: there"), ("actions reversed", 0, "")]
    assert dict(stage.tables[1].rows) == {"first": 0, "second": 1}
    assert stage.pictures[0].png.startswith(b"\x89PNG")


@pytest.mark.parametrize(("alarms", "passed"), [(0, True), (1, True), (5, False)])
def test_false_alarms_are_counted(monkeypatch, alarms, passed):
    given = iter([True] * alarms + [False] * (200 - alarms))
    monkeypatch.setattr(module, "_report", lambda key: reports(lambda fault: True)(key, next(given) or None))
    (result,) = module.false_alarms(jax.random.key(0), 200).results
    assert result.value == alarms / 200
    assert result.passed is passed


@pytest.mark.slow
def test_all_faults_are_found_without_false_alarms():
    report = self_test()
    assert report.passed, str(report)


def test_a_check_that_is_made_only_where_something_raised_has_a_column(monkeypatch):
    def report(key, fault=None):
        made = CheckResult("first", 0.0, 1.0, True, "")
        return Report("", (Stage((made if fault is None else made._replace(name="runs to its end", passed=False),)),))

    monkeypatch.setattr(module, "_report", report)
    stage = module.mutation_tests(jax.random.key(0), [FAULTS["actions reversed"]])
    assert stage.passed
    assert dict(stage.tables[1].rows) == {"first": 0, "runs to its end": 1}
