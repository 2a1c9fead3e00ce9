"""Energies of lone atoms beside those of bonded structures of their elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule

from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.core.types import Labels, Structure
from potstill.teacher import load_teacher

ORIGIN = {1: -13.6, 8: -430.0, 29: -1300.0, 79: -900.0}  # eV, as of DFT with all or some electrons


def bonded(kind: str) -> list[Structure]:
    rng, made = np.random.default_rng(2), []
    for k in range(16):
        atoms = molecule("H2O") if kind == "water" else bulk("Cu", cubic=True)
        if kind == "alloys":
            atoms.numbers[rng.random(4) < 0.5] = 79
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        made.append(Structure.from_ase(atoms, id=f"s-{k}", source="s", family=f"f{k}"))
    answers = load_teacher("emt").label(made)
    return [
        s.with_(labels=replace(a, energy=a.energy + sum(ORIGIN[int(z)] for z in s.atomic_numbers)))
        for s, a in zip(made, answers, strict=True)
    ]


def lone(element: int, energy: float, box: float | None = None) -> Structure:
    cell = {} if box is None else {"cell": np.eye(3) * box, "pbc": [True] * 3}
    return Structure([element], np.zeros((1, 3)), id=f"lone-{element}", source="s", family=f"lone{element}", **cell).with_(
        labels=Labels(energy, np.zeros((1, 3)), None if box is None else np.zeros((3, 3)))
    )


def judged(build, tmp_path, structures) -> dict:
    report = audit_file(build(structures), tmp_path / "out", "", AuditConfig())
    return next(f for f in report["findings"] if f["check"] == "lone_atoms")


@pytest.mark.parametrize("box", [None, 12.0])
@pytest.mark.parametrize(
    ("kind", "shifts", "wrong"),
    [
        ("alloys", {29: 3.5, 79: 3.8}, set()),
        ("alloys", {29: 9.0, 79: 0.0}, set()),
        ("alloys", {29: -100.0, 79: 3.8}, {29}),
        ("alloys", {29: 1300.0, 79: 900.0}, {29, 79}),  # zeros for missing energies
        ("copper", {29: 25.0}, {29}),
        ("copper", {29: 3.5, 79: -500.0}, set()),  # gold is in no other structure
        ("water", {1: 3.0, 8: 3.0}, set()),
        ("water", {1: 3.0, 8: -100.0}, {1, 8}),  # one composition does not tell which
    ],
)
def test_lone_atoms_that_do_not_fit_are_named(build, tmp_path, kind, shifts, wrong, box):
    atoms = [lone(z, ORIGIN[z] + shift, box) for z, shift in shifts.items()]
    finding = judged(build, tmp_path, [*bonded(kind), *atoms])
    assert finding["verdict"] == ("WARN" if wrong else "GO"), finding
    assert set(finding["worst"]) == {f"lone-{z}" for z in wrong}
    assert finding["measured"] == len(wrong)


def test_it_does_not_apply_without_lone_atoms_or_structures_of_them_alone(build, tmp_path):
    assert judged(build, tmp_path, bonded("alloys"))["verdict"] == "DOES_NOT_APPLY"
    finding = judged(build, tmp_path, [*bonded("water"), lone(8, 0.0)])
    assert finding["verdict"] == "DOES_NOT_APPLY"
    assert "the lone atoms alone (O)" in finding["why"]
