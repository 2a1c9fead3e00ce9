"""Rows of an evaluation that was stopped."""

import json

import numpy as np
import pytest
from ase.calculators.emt import EMT

from potstill.evaluate import physics
from potstill.evaluate.measured import Curve, Row
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.remembered import Remembered
from potstill.teacher import load_teacher
from potstill.testing import copper

CURVE = Curve("x in Å", "y in eV", np.array([0.0, 1.0]), np.array([2.0, np.nan]), None, marks=[(0.5, "half")])
ROW = Row("phonons", 0.25, {"a in eV": 1.5}, {"a in eV": float("inf")}, {"dispersion": CURVE}, why="of a test")


def counting(rows, calls):
    def measure():
        calls.append(1)
        return rows

    return measure


def test_a_row_comes_back_from_its_report():
    report = Row.of_report(json.loads(json.dumps(ROW.report()))).report()
    assert json.dumps(report) == json.dumps(ROW.report())


def test_rows_are_measured_once_for_each_origin_system_and_check(tmp_path):
    calls = []
    for origin, system, check, times in (
        ({"seed": 1}, "a", "phonons", 1),
        ({"seed": 1}, "a", "phonons", 1),
        ({"seed": 1}, "b", "phonons", 2),
        ({"seed": 1}, "a", "torsions", 3),
        ({"seed": 1}, "b", "phonons", 3),
        ({"seed": 2}, "b", "phonons", 4),
    ):
        (row,) = Remembered(tmp_path / "rows.jsonl", origin).rows(system, (check,), counting([ROW], calls))
        assert len(calls) == times
        assert json.dumps(row.report()) == json.dumps(ROW.report())


@pytest.mark.parametrize(
    "damage", [b'{"of": "torsions of a", "ro', b"\x00\x00\x00", b"\xff\xfe\n", b'{"of": "torsions of a", "ro\n']
)
def test_lines_before_a_damaged_one_count(tmp_path, damage):
    path, calls = tmp_path / "rows.jsonl", []
    Remembered(path).rows("a", ("phonons",), counting([ROW], calls))
    with path.open("ab") as file:
        file.write(damage)
    for expected in (2, 2):
        for check in ("phonons", "torsions"):
            Remembered(path).rows("a", (check,), counting([ROW], calls))
        assert len(calls) == expected


@pytest.mark.parametrize("line", ["1", "[]", '{"of": "torsions of a"}', '{"of": "torsions of a", "rows": [{"curves": 1}]}'])
def test_a_line_of_another_shape_makes_all_be_measured_again(tmp_path, line):
    path, calls = tmp_path / "rows.jsonl", []
    Remembered(path).rows("a", ("phonons",), counting([ROW], calls))
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    for _ in range(2):
        Remembered(path).rows("a", ("phonons",), counting([ROW], calls))
    assert len(calls) == 2


@pytest.mark.parametrize("row", [Row("phonons", None, why="the teacher crashed"), None])
def test_what_did_not_run_is_tried_again(tmp_path, row):
    calls, path = [], tmp_path / "rows.jsonl"

    def measure():
        calls.append(1)
        if row is None:
            raise RuntimeError("no")
        return [row]

    for _ in range(2):
        try:
            Remembered(path).rows("a", ("phonons",), measure)
        except RuntimeError:
            assert row is None
    assert len(calls) == 2


def test_a_stopped_suite_goes_on_and_gives_the_same_rows(tmp_path, monkeypatch):
    structures = [copper().with_(labels=label, id="copper") for label in load_teacher("emt").label([copper()])]
    config = EvaluateConfig(physics_ps=0, stability_ps=0, physics_pairs=0, physics_crystals=1, physics_molecules=0)
    begun = []
    measured = physics.solids.equation_of_state

    def counted(*models):
        begun.append(1)
        return measured(*models)

    monkeypatch.setattr(
        physics, "OF_CRYSTALS", ((counted, ("equilibrium_volume", "bulk_modulus")), *physics.OF_CRYSTALS[1:])
    )

    def stop(step):
        if step.startswith("phonons"):
            raise KeyboardInterrupt

    def rows(**options):
        return [row.report() for row in physics.measure(EMT(), EMT(), structures, config, **options)]

    at_once = rows()
    begun.clear()
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        rows(remembered=Remembered(path), on_step=stop)
    assert rows(remembered=Remembered(path)) == at_once
    assert len(begun) == 1
