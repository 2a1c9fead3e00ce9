"""The evaluation of a teacher by itself passes every gate; each spoiled student fails the checks meant for it, no others."""

import pytest
from ase.calculators.emt import EMT

from potstill.testing.spoiled import SPOILED

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # students that give no number


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr("potstill.evaluate.stage.available_cores", lambda: 1)


def failed(evaluation) -> set[str]:
    return {f["check"] for f in evaluation.report["findings"] if f["verdict"] not in ("GO", "DOES_NOT_APPLY")}


def test_a_teacher_passes_beside_itself(beside_emt):
    evaluation = beside_emt()
    assert failed(evaluation) == set()
    assert [f["check"] for f in evaluation.report["findings"] if f["verdict"] != "GO"] == [
        "torsions"
    ]  # no bond can be turned
    assert len(evaluation.report["findings"]) > 30


@pytest.mark.slow
@pytest.mark.parametrize("spoiled", SPOILED, ids=lambda s: s.name)
def test_a_spoiled_student_fails_what_is_meant_for_it(spoiled, beside_emt):
    assert failed(beside_emt(lambda: spoiled.make(EMT()))) == spoiled.checks


def test_there_are_enough_faults_and_each_is_meant_for_something():
    assert len(SPOILED) >= 11
    assert all(spoiled.checks for spoiled in SPOILED)
    assert len({spoiled.name for spoiled in SPOILED}) == len(SPOILED)
