"""The self-test finds the faults it sows, tells by what, and would tell of one that nothing finds."""

import jax
import pytest

from structmfg.verification import _mutations as mutations
from structmfg.verification import _self_test as self_test
from structmfg.verification._stages import Methods

FAULTS = {fault.name: fault for fault in mutations.mutations()}


def test_there_are_many_faults_of_every_kind():
    assert len(FAULTS) == len(mutations.mutations()) >= 25
    assert set(self_test.STATISTICAL) <= set(FAULTS)
    assert {*mutations.KERNELS, *mutations.METHODS} < set(FAULTS)


def test_faults_are_found_and_what_is_none_is_not():
    none = mutations.Mutation("none", mutations.healthy(), Methods())
    chosen = [FAULTS["noise applied twice"], FAULTS["gradient through the mean field"], none]
    with jax.disable_jit():
        stage = self_test.sown(jax.random.key(0), chosen)
    found, leaked, missed = stage.results
    assert found.passed
    assert {"transitions match oracle", "transitions", "counts"} <= set(found.where.removeprefix("by ").split(", "))
    assert leaked.where == "by no gradient through the mean field"
    assert not missed.passed
    assert dict(stage.tables[1].rows)["counts"] == 1
    assert [row[1] for row in stage.tables[0].rows] == [5, 1, 0]


@pytest.mark.slow
def test_all_faults_are_found_without_false_alarms():
    report = self_test.self_test()
    assert report.passed, str(report)
