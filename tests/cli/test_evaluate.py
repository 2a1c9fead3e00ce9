"""Structures that a student of a run was trained on, beside others, in a comparison of two models."""

import shutil

import ase.io

from potstill.dataset import open_dataset
from potstill.evaluate.pair import evaluate_pair
from potstill.report.evaluate import sentence

TEACHER = "ase.calculators.emt:EMT"


def test_structures_that_the_student_was_trained_on_are_counted(finished, tmp_path):
    dataset = open_dataset((run := finished / "run") / "dataset.h5")
    train, test = (dataset.split(part) for part in ("train", "test"))
    chosen = [dataset[int(k)].to_ase() for k in (*train[:3], *test[:1])]
    ase.io.write(tmp_path / "again.extxyz", chosen)
    report = evaluate_pair(str(run), TEACHER, tmp_path / "again.extxyz", tmp_path / "out", errors_only=True).report
    assert report["trained_on"] == 3
    assert "; the student was trained on 3 of them" in sentence(report)
    moved = [atoms[::-1] for atoms in chosen]
    for atoms in moved:
        atoms.positions += 1.3
        atoms.wrap()
    ase.io.write(tmp_path / "moved.extxyz", moved)
    report = evaluate_pair(str(run), TEACHER, tmp_path / "moved.extxyz", tmp_path / "out", errors_only=True).report
    assert report["trained_on"] == 3
    copy = tmp_path / "student"
    shutil.copytree(run / "student", copy)
    report = evaluate_pair(str(copy), TEACHER, tmp_path / "again.extxyz", tmp_path / "out", errors_only=True).report
    assert report["trained_on"] is None
    assert "its training data are not at hand" in sentence(report)
