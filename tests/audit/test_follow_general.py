"""Labels of other atoms, axes or frames than their structures, beside those of the student ``general``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

from potstill.audit.beside_general import _student
from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.core.types import Structure
from potstill.teacher import load_teacher

COUNT = 24


def made_of(atoms, rng, amplitude=0.1, strain=0.03) -> Structure:
    if strain:
        e = rng.normal(0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (e + e.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0, amplitude, atoms.positions.shape)
    return Structure.from_ase(atoms, source="s")


def labelled(structures, teacher="emt") -> list[Structure]:
    named = [s.with_(id=f"s-{k}", family=f"f{k}", labels=None) for k, s in enumerate(structures)]
    asked = load_teacher("emt") if teacher == "emt" else _student()
    return [s.with_(labels=a) for s, a in zip(named, asked.label(named), strict=True)]


@pytest.fixture(scope="module")
def alloys() -> list[Structure]:
    rng, made = np.random.default_rng(5), []
    for k in range(COUNT):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        gold = rng.random(len(atoms)) < rng.random()
        atoms.numbers[gold] = 79
        atoms.set_cell(atoms.cell * (1 + 0.12 * gold.mean()), scale_atoms=True)
        made.append(made_of(atoms, rng, 0.2 if k % 2 else 0.06))
    return labelled(made)


def relabelled(structures, change) -> list[Structure]:
    return [s.with_(labels=replace(s.labels, **change(k, s))) for k, s in enumerate(structures)]


def judged(build, tmp_path, structures) -> dict:
    report = audit_file(build(structures), tmp_path / "out", "", AuditConfig())
    return next(f for f in report["findings"] if f["check"] == "labels_follow_general")


def forces(change):
    return lambda k, s: {"forces": change(k, np.array(s.labels.forces))}


def shear_in_another_order(_, s):
    stress = np.array(s.labels.stress)
    yz, xy = stress[1, 2], stress[0, 1]
    stress[1, 2] = stress[2, 1] = xy
    stress[0, 1] = stress[1, 0] = yz
    return {"stress": stress}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(forces(lambda k, f: f), "", id="right"),
        pytest.param(forces(lambda k, f: f / 27.2), "", id="in Hartree"),
        pytest.param(forces(lambda k, f: np.roll(f, 1, axis=0)), "forces do not follow: x", id="of the next atoms"),
        pytest.param(forces(lambda k, f: f[:, [1, 2, 0]]), "forces do not follow: x", id="of other axes"),
        pytest.param(forces(lambda k, f: f * [1, 1, 0]), "forces do not follow: z 0.00", id="one component lost"),
        pytest.param(forces(lambda k, f: f * [1, -1, 1]), "forces do not follow: y -", id="one component reversed"),
        pytest.param(
            forces(lambda k, f: -f if k == 7 else f), "those of 1 of 24 structures are opposite", id="one reversed"
        ),
        pytest.param(forces(lambda k, f: -f), "minus those of general", id="gradients"),
        pytest.param(shear_in_another_order, "yz follows xy, xy follows yz", id="shear stresses in another order"),
    ],
)
def test_labels_of_other_atoms_and_axes_are_told(build, tmp_path, alloys, change, told):
    finding = judged(build, tmp_path, relabelled(alloys, change))
    verdict = "NO_GO" if change is shear_in_another_order else "WARN"  # no true stresses have another order
    assert finding["verdict"] == (verdict if told else "GO"), finding
    assert told in finding["why"]
    if told.startswith("those of"):
        assert finding["worst"] == ("s-7",)


def test_energies_of_other_frames_are_warned_of(build, tmp_path, alloys):
    energies = [s.labels.energy for s in alloys]
    other = relabelled(alloys, lambda k, s: {"energy": energies[k - 5]})
    finding = judged(build, tmp_path, other)
    assert finding["verdict"] == "WARN"
    assert "energies of 24 structures do not follow" in finding["why"]


def with_errors(structures, rng) -> list[Structure]:
    """Return the structures with labels of general and an error of a third, as right labels beside it."""
    own = labelled(structures, "general")
    return relabelled(own, forces(lambda k, f: f + rng.normal(0, 0.3 * float(f.std()), f.shape) * (np.abs(f) > 1e-3)))


def planar(rng):
    for k in range(COUNT):
        atoms = molecule(("C6H6", "C2H4", "H2CO", "H2O")[k % 4])
        axis = int(np.argmin(np.ptp(atoms.positions, axis=0)))
        atoms.positions = np.roll(atoms.positions, 2 - axis, axis=1)
        atoms.positions[:, :2] += rng.normal(0, 0.05, (len(atoms), 2))
        yield Structure.from_ase(atoms, source="s")


def kinds(rng) -> dict[str, list[Structure]]:
    copper = [bulk("Cu", cubic=True) * (2, 1, 1) for _ in range(COUNT)]
    minima = [made_of(a.copy(), rng, 0.002, 0) for a in copper]
    return {
        "planar molecules": with_errors(planar(rng), rng),
        "cubic cells without shear": labelled([made_of(a.copy(), rng, 0.03, 0) for a in copper]),
        "perfect crystals": labelled([made_of(a.copy(), rng, 0.0, 0) for a in copper]),
        "slabs": labelled([made_of(fcc111("Cu", (2, 2, 3), vacuum=8.0), rng, 0.05, 0) for _ in range(12)]),
        "near minima": relabelled(labelled(minima), forces(lambda k, f: rng.normal(0, 0.01, f.shape))),
    }


@pytest.mark.parametrize(
    "kind", ["planar molecules", "cubic cells without shear", "perfect crystals", "slabs", "near minima"]
)
def test_right_labels_of_special_structures_are_not_warned_of(build, tmp_path, kind):
    finding = judged(build, tmp_path, kinds(np.random.default_rng(3))[kind])
    assert finding["verdict"] in ("GO", "DOES_NOT_APPLY"), finding
    assert (finding["verdict"] == "DOES_NOT_APPLY") == (kind in ("perfect crystals", "near minima")), finding


def test_few_atoms_and_pairs_are_not_judged(build, tmp_path, alloys):
    assert judged(build, tmp_path, alloys[:4])["verdict"] == "DOES_NOT_APPLY"
