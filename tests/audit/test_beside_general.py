"""Labels all in another unit, and energies with an offset: found beside those of the student ``general``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.core.types import Structure
from potstill.report.page import warned
from potstill.teacher import load_teacher


@pytest.fixture(scope="module")
def alloys() -> list[Structure]:
    rng = np.random.default_rng(5)
    made = []
    for k in range(24):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.numbers[rng.random(len(atoms)) < 0.5] = 28
        atoms.set_cell(atoms.cell * rng.uniform(0.97, 1.05), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        made.append(Structure.from_ase(atoms, id=f"s-{k}", source="s", family=f"f{k}"))
    return [s.with_(labels=a) for s, a in zip(made, load_teacher("emt").label(made), strict=True)]


def scaled(structures, factor) -> list[Structure]:
    def times(labels):
        return replace(labels, energy=factor * labels.energy, forces=factor * labels.forces, stress=factor * labels.stress)

    return [s.with_(labels=times(s.labels)) for s in structures]


def judged(build, tmp_path, structures, teacher="") -> tuple[dict, dict]:
    report = audit_file(build(structures), tmp_path / "out", teacher, AuditConfig())
    return next(f for f in report["findings"] if f["check"] == "label_scale"), report


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1.0, "GO"),
        (1 / units.Hartree, "WARN"),
        (1 / units.Rydberg, "WARN"),
        (units.mol / units.kcal, "WARN"),
        (units.mol / units.kJ, "WARN"),
    ],
)
def test_labels_in_one_other_unit_are_warned_of(build, tmp_path, alloys, factor, verdict):
    finding, report = judged(build, tmp_path, scaled(alloys, factor))
    assert finding["verdict"] == verdict, finding
    fit = next(f for f in report["findings"] if f["check"] == "pair_fit_slope")
    assert fit["verdict"] == "GO", "energies, forces and stresses agree with each other"
    assert ("label scale" in warned(report["findings"])) == (verdict == "WARN")
    if factor == units.mol / units.kcal:
        (row,) = [row for row in report["advice"] if row["check"] == "force_limits"]
        assert not row["change"], "a wider gate would let another unit pass"
        assert "times those of general" in row["why"]
        assert "convert" in row["why"]


def test_gradients_in_place_of_forces_are_no_go(build, tmp_path, alloys):
    turned = [s.with_(labels=replace(s.labels, forces=-s.labels.forces)) for s in alloys]
    finding, _ = judged(build, tmp_path, turned)
    assert finding["verdict"] == "NO_GO"
    assert "as gradients are" in finding["why"]


def test_it_does_not_tell_where_forces_do_not_follow_or_elements_are_unknown(build, tmp_path, alloys):
    rng = np.random.default_rng(0)
    noise = [s.with_(labels=replace(s.labels, forces=rng.normal(0, 30, (len(s), 3)))) for s in alloys]
    finding, _ = judged(build, tmp_path, noise)
    assert finding["verdict"] == "DOES_NOT_APPLY"
    assert "do not follow" in finding["why"]
    foreign = [s.with_(atomic_numbers=np.full(len(s), 85)) for s in alloys]  # astatine
    finding, _ = judged(build, tmp_path, foreign)
    assert finding["verdict"] == "DOES_NOT_APPLY"
    assert "elements that general knows" in finding["why"]


def test_a_teacher_that_repeats_the_labels_needs_no_other_judge(build, tmp_path, alloys):
    finding, _ = judged(build, tmp_path, alloys, teacher="emt")
    assert finding["verdict"] == "DOES_NOT_APPLY"


@pytest.mark.parametrize("offset", [0.0, 1.9, -3.0])
@pytest.mark.parametrize("of", ["alloys of nickel in copper", "every fourth"])
def test_an_offset_of_some_energies_is_warned_of(build, tmp_path, alloys, offset, of):
    pure = [s.with_(id=f"{z}{s.id}", atomic_numbers=np.full(len(s), z), labels=None) for z in (28, 29) for s in alloys]
    pure = [s.with_(labels=a) for s, a in zip(pure, load_teacher("emt").label(pure), strict=True)]
    moved = [
        s.with_(labels=replace(s.labels, energy=s.labels.energy + offset * len(s)))
        if (k % 4 == 0 if of == "every fourth" else len(set(s.atomic_numbers.tolist())) > 1)
        else s
        for k, s in enumerate([*pure, *alloys])
    ]
    report = audit_file(build(moved), tmp_path / "out", "", AuditConfig())
    finding = next(f for f in report["findings"] if f["check"] == "energies_apart")
    told = finding["verdict"] == "WARN"
    assert told == bool(offset), finding
    assert bool(finding["worst"]) == told


@pytest.mark.parametrize(
    ("factor", "named"),
    [
        (1 / units.Hartree, "Hartree/Å or Rydberg/Bohr?"),
        (units.Bohr / units.Hartree, "Hartree/Bohr?"),
        (units.mol / units.kcal, "kcal/mol/Å?"),
        (units.mol / units.kJ, "kJ/mol/Å?"),
        (units.mol / units.kJ * units.nm, "meV/Å?"),
        (0.003, "those of general"),
    ],
)
def test_the_nearest_unit_is_named(build, tmp_path, alloys, factor, named):
    finding, _ = judged(build, tmp_path, scaled(alloys, 0.7 * factor))  # EMT's are 1.4 times those of general
    assert finding["verdict"] == "WARN"
    assert named in finding["why"]
    assert finding["why"].count("?") == ("?" in named), finding["why"]
    assert "energies" not in finding["why"], "one remark is enough"


@pytest.mark.parametrize("origin", [0.0, -1000.0])
def test_energies_per_atom_or_in_another_unit_alone_are_warned_of(build, tmp_path, alloys, origin):
    larger = [s.with_(labels=replace(s.labels, energy=s.labels.energy + origin * len(s))) for s in two_sizes(alloys)]
    for name, change, check in (
        ("none", lambda s: s.labels.energy, ""),
        ("Hartree", lambda s: s.labels.energy / units.Hartree, "label_scale"),
        ("per atom", lambda s: s.labels.energy / len(s), "labels_follow_general" if origin else "label_scale"),
    ):
        wrong = [s.with_(labels=replace(s.labels, energy=change(s))) for s in larger]
        report = audit_file(build(wrong), tmp_path / name, "", AuditConfig())
        told = {f["check"]: f["why"] for f in report["findings"] if f["verdict"] == "WARN"}
        ours = {k: v for k, v in told.items() if k in ("label_scale", "labels_follow_general")}
        assert set(ours) == ({check} if check else set()), ours
        assert all(name in why for why in ours.values()), ours


def two_sizes(structures) -> list[Structure]:
    """Return the structures, half of them doubled along a."""
    return [
        s
        if k % 2
        else s.with_(
            atomic_numbers=np.tile(s.atomic_numbers, 2),
            positions=np.concatenate([s.positions, s.positions + s.cell[0]]),
            cell=s.cell * [[2], [1], [1]],
            labels=replace(s.labels, energy=2 * s.labels.energy, forces=np.tile(s.labels.forces, (2, 1))),
        )
        for k, s in enumerate(structures)
    ]


def test_few_energies_are_not_compared(build, tmp_path, alloys):
    report = audit_file(build(alloys[:6]), tmp_path / "out", "", AuditConfig())
    assert next(f for f in report["findings"] if f["check"] == "energies_apart")["verdict"] == "DOES_NOT_APPLY"
