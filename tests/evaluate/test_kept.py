"""Figures that are kept are judged again without being computed again."""

import json

import numpy as np
import pytest

from potstill.core.errors import InputError
from potstill.evaluate.kept import judged_again, read_evaluation, write_evaluation
from potstill.evaluate.options import EvaluateConfig


@pytest.fixture(scope="module")
def evaluation(beside_emt):
    cheap = {"physics_molecules": 0, "physics_pairs": 0, "physics_ps": 0, "stability_ps": 0, "speed_atoms": 0}
    return beside_emt(config=EvaluateConfig(nve_ps=0.01, speed_repeats=1, min_atoms_of_judged_element=5, **cheap))


def test_what_is_written_is_read(evaluation, alloys, tmp_path):
    write_evaluation(evaluation, tmp_path / "evaluate.json", tmp_path / "evaluate_data.npz")
    found = read_evaluation(tmp_path / "evaluate.json", tmp_path / "evaluate_data.npz", alloys)
    assert found.report["findings"] == json.loads((tmp_path / "evaluate.json").read_text())["findings"]
    for a, b in zip(found.comparison.student, evaluation.comparison.student, strict=True):
        assert a.energy == b.energy
        assert np.array_equal(a.forces, b.forces)
        assert (a.stress is None) == (b.stress is None)
    assert len(found.trajectories) == len(evaluation.trajectories) == 2
    for a, b in zip(found.trajectories, evaluation.trajectories, strict=True):
        assert a.report() == b.report()
        assert np.array_equal(a.final.positions, b.final.positions)


def test_other_limits_other_verdicts(evaluation):
    strict = judged_again(evaluation, EvaluateConfig(limits={"extensivity": 0.0, "bulk_modulus": 0.0}))
    verdicts = {f["check"]: (f["verdict"], f["limit"]) for f in strict.report["findings"]}
    assert verdicts["bulk_modulus"] == ("GO", 0.0)
    assert verdicts["extensivity"][1] == 0.0
    assert {name: v["now"] for name, v in strict.report["changed_gates"].items()} == {
        "extensivity": 0.0,
        "bulk_modulus": 0.0,
    }
    assert strict.report["physics"] == evaluation.report["physics"]


def test_data_of_other_structures_is_refused(evaluation, alloys, tmp_path):
    write_evaluation(evaluation, tmp_path / "evaluate.json", tmp_path / "evaluate_data.npz")
    with pytest.raises(InputError, match="other structures"):
        read_evaluation(tmp_path / "evaluate.json", tmp_path / "evaluate_data.npz", alloys[:-1])
    with pytest.raises(InputError, match="evaluate first"):
        read_evaluation(tmp_path / "none.json", tmp_path / "evaluate_data.npz", alloys)
