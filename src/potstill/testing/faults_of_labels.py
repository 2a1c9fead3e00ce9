"""Faults of energies, forces and stresses, and of the teacher that made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from potstill.core.types import Array, Labels, Refused, Structure
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.testing.faults import Case, Rng, added, each, fault, is_crystal, is_molecule, one, pick, relabelled

KCAL_PER_MOL = 0.0433641  # eV
HARTREE = 27.211386  # eV
BOHR = 0.529177  # Å


def forces_of(structure: Structure) -> Array:
    """Return a copy of a structure's forces, (n, 3) in eV/Å."""
    assert structure.labels is not None  # noqa: S101 - for the type checker; a Case has labels
    return np.array(structure.labels.forces)


def energy_of(structure: Structure) -> float:
    """Return a structure's energy in eV."""
    assert structure.labels is not None  # noqa: S101
    return structure.labels.energy


def scaled(structure: Structure, *, energy: float = 1.0, forces: float = 1.0, stress: float = 1.0) -> Structure:
    """Return the structure with its labels multiplied by factors."""
    assert structure.labels is not None  # noqa: S101
    old = structure.labels.stress
    return relabelled(
        structure,
        energy=energy * energy_of(structure),
        forces=forces * forces_of(structure),
        stress=None if old is None else stress * old,
    )


def _strong(structure: Structure) -> bool:
    return len(structure) > 2 and float(np.abs(forces_of(structure)).max()) > 0.2


@fault("finite", "one number")
def nan_energy(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: relabelled(s, energy=float("nan")))


@fault("finite", "one number")
def infinite_force(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_molecule), lambda s: relabelled(s, forces=_with(forces_of(s), 0, np.inf)))


@fault("finite", "one number")
def nan_stress(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: relabelled(s, stress=np.full((3, 3), np.nan)))


@fault("force_limits", "one force above the limit")
def force_of_218(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_molecule), lambda s: relabelled(s, forces=_with(forces_of(s), 0, 218.0)))


@fault("force_limits", "one force above the limit")
def force_seven_orders_up(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, _strong), lambda s: scaled(s, forces=1e7))


@fault("stress_limits", "one component above the limit")
def stress_in_kilobar(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, stress=10 * GPA_PER_EV_PER_CUBIC_ANGSTROM * 100))


@fault("stress_limits", "one component above the limit")
def crystal_at_a_thousand_gigapascal(case: Case, rng: Rng) -> Case:
    pressure = -1000 / GPA_PER_EV_PER_CUBIC_ANGSTROM * np.eye(3)
    return one(case, pick(case, rng, is_crystal), lambda s: relabelled(s, stress=pressure))


@fault("label_replay", "all stresses, above 0.001 eV/Å^3")
def stress_in_gpa(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, stress=GPA_PER_EV_PER_CUBIC_ANGSTROM))


@fault("gradients", "all stresses")
def stress_sign(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, stress=-1.0))


@fault("label_replay", "all stresses with components off the diagonal that differ by 0.001 eV/Å^3")
def voigt_order(case: Case, rng: Rng) -> Case:
    order = [1, 2, 0]
    return each(
        case, lambda s: _stress_as(s, lambda x: np.diag(np.diag(x)) + (x - np.diag(np.diag(x)))[np.ix_(order, order)])
    )


@fault("stress_symmetry", "0.002 eV/Å^3")
def stress_without_symmetry(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: _stress_as(s, lambda x: x + 2e-3 * np.eye(3, k=1)))


@fault("missing_stress", "one structure")
def stress_lost(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: relabelled(s, stress=None))


@fault("energy_work_slope", "all energies")
def energies_in_kcal_per_mol(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, energy=1 / KCAL_PER_MOL))


@fault("energy_work_slope", "all energies")
def energies_in_hartree(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, energy=1 / HARTREE))


@fault("gradients", "all forces")
def forces_per_bohr(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, forces=BOHR))


@fault("pair_fit_slope", "all forces")
def forces_in_hartree_per_bohr(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, forces=BOHR / HARTREE))


@fault("stress_work_slope", "all stresses")
def stresses_in_other_units(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, stress=10.0))


@fault("energy_work_slope", "all forces")
def force_sign(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, forces=-1.0))


@fault("label_replay", "1 % of forces of 0.1 eV/Å or more")
def forces_one_percent_off(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, forces=1.01))


@fault("label_replay", "1 % of energies of 0.1 eV/atom or more")
def energies_one_percent_off(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: scaled(s, energy=1.01))


@fault("label_replay", "2 meV/atom on all energies")
def energies_shifted(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: relabelled(s, energy=energy_of(s) + 2e-3 * len(s)))


@fault("precision", "one structure with six forces that differ")
def float16_forces(case: Case, rng: Rng) -> Case:
    rounded = lambda s: relabelled(s, forces=forces_of(s).astype(np.float16).astype(float))  # noqa: E731
    return one(case, pick(case, rng, lambda s: _strong(s) and len(s) >= 4), rounded)


@fault("net_torque", "one molecule with forces of 0.2 eV/Å")
def shuffled_forces_of_a_molecule(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, lambda s: is_molecule(s) and _strong(s) and len(s) > 3)
    return one(case, k, lambda s: relabelled(s, forces=np.roll(forces_of(s), 1, axis=0)))


@fault(
    "label_replay",
    "0.001 eV/Å, in a share x of the structures with a chance of 1 - (1 - x)^m, m drawn",
)
def shuffled_forces_of_crystals(case: Case, rng: Rng) -> Case:
    def shuffle(s: Structure) -> Structure:
        return relabelled(s, forces=np.roll(forces_of(s), 1, axis=0)) if is_crystal(s) else s

    return each(case, shuffle)


@fault("net_force", "0.01 eV/Å on one atom of five, more in larger structures")
def one_component_changed(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, _strong)
    return one(case, k, lambda s: relabelled(s, forces=forces_of(s) + 0.004 * len(s) * np.eye(len(s), 3)))


@fault("net_force", "all structures")
def forces_without_a_column(case: Case, rng: Rng) -> Case:
    return each(case, lambda s: relabelled(s, forces=forces_of(s) + np.array([0.01, 0.0, 0.0])))


@fault("energy_work", "one pair of siblings whose energies differ by more than twice the second-order work")
def swapped_energies_of_two(case: Case, rng: Rng) -> Case:
    a = pick(case, rng, is_molecule)
    others = [k for k, s in enumerate(case.structures) if len(s) != len(case.structures[a])]
    b = int(rng.choice(others))
    energies = energy_of(case.structures[b]), energy_of(case.structures[a])
    return one(one(case, a, lambda s: relabelled(s, energy=energies[0])), b, lambda s: relabelled(s, energy=energies[1]))


@fault("repeated_labels", "one structure")
def labels_of_the_neighbor(case: Case, rng: Rng) -> Case:
    a = pick(case, rng, lambda s: _strong(s) and _has_twin(case, s))
    size, bare = len(case.structures[a]), is_crystal(case.structures[a])
    twins = [k for k, s in enumerate(case.structures) if k != a and len(s) == size and is_crystal(s) == bare]
    return one(case, int(rng.choice(twins)), lambda s: s.with_(labels=case.structures[a].labels))


@fault("energy_outliers", "one energy, 30 robust deviations of its source")
def one_energy_far_off(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: relabelled(s, energy=energy_of(s) - 100.0 * len(s)))


@fault("lone_atoms", "one lone atom, bonds of less than -2 or more than 15 eV/atom")
def lone_atom_of_another_code(case: Case, rng: Rng) -> Case:
    """Return the case with a lone atom of an element that a crystal of its own has, 100 eV below."""
    k = pick(case, rng, lambda s: is_crystal(s) and len(set(s.atomic_numbers.tolist())) == 1)
    of, energy = case.structures[k], energy_of(case.structures[k]) / len(case.structures[k]) - 100.0
    atom = Structure(of.atomic_numbers[:1], np.zeros((1, 3), np.float32), id="lone", source=of.source, family="lone")
    return added(case, atom.with_(labels=Labels(energy, np.zeros((1, 3)))), split=int(case.splits[k]))


@fault("zero_labels", "0.5 % of the labels")
def zeros_for_an_element(case: Case, rng: Rng) -> Case:
    """Return the case with zeros for labels, as of a calculator without parameters for one element."""
    lacking = pick(case, rng, _strong)
    element = int(case.structures[lacking].atomic_numbers[0])
    return each(case, lambda s: scaled(s, energy=0, forces=0, stress=0) if element in s.atomic_numbers else s)


@fault("label_replay", "one structure, where few others have as small forces")
def forces_of_one_lost(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, lambda s: is_molecule(s) and _strong(s))
    return one(case, k, lambda s: relabelled(s, forces=0 * forces_of(s)))


@fault("label_replay", "share x of the labels with a chance of 1 - (1 - x)^m, m drawn; 45 % at the fewest, m = 8")
def half_from_another_teacher(case: Case, rng: Rng) -> Case:
    half = rng.permutation(len(case.structures))[: len(case.structures) // 2]
    structures = list(case.structures)
    for k in half:
        structures[k] = scaled(structures[k], energy=1.02, forces=1.03, stress=1.03)
    return replace(case, structures=tuple(structures))


@fault("teacher_fingerprint", "any difference in name, version, weights or precision")
def another_teacher_at_hand(case: Case, rng: Rng) -> Case:
    recorded = {**case.teacher.fingerprint, "weights": "sha256:of another checkpoint"}
    return replace(case, attributes={**case.attributes, "teacher": recorded})


@fault("teacher_fingerprint", "one missing entry")
def teacher_without_weights(case: Case, rng: Rng) -> Case:
    recorded = {key: value for key, value in case.teacher.fingerprint.items() if key != "weights"}
    return replace(case, attributes={**case.attributes, "teacher": recorded})


@dataclass(frozen=True)
class _Adapter:
    """A teacher whose questions or answers pass a faulty conversion, today as when the labels were made."""

    case: Case
    through: Callable[[Structure, Labels], Labels] = lambda _, labels: labels
    asked: Callable[[Structure], Structure] = lambda structure: structure

    @property
    def fingerprint(self) -> dict[str, str]:
        return dict(self.case.teacher.fingerprint)

    @property
    def elements(self) -> frozenset[int] | None:
        return self.case.teacher.elements

    @property
    def properties(self) -> frozenset[str]:
        return self.case.teacher.properties

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        answers = zip(structures, self.case.teacher.label([self.asked(s) for s in structures]), strict=True)
        return [self.through(s, a) if isinstance(a, Labels) else a for s, a in answers]


@fault("conservative_forces", "2 % of the forces over displacements of 0.05 Å")
def forces_that_are_no_slope(case: Case, rng: Rng) -> Case:
    mean = float(np.sqrt(np.mean([np.mean(s.labels.forces**2) for s in case.structures if s.labels is not None])))
    strength = 0.02 * mean / (0.05 * np.sqrt(2 / 3))  # around an axis: 0.05 sqrt(2 n) / sqrt(3 n) of it has no potential

    def around(s: Structure, a: Labels) -> Labels:
        x, y = (s.positions - s.positions.mean(axis=0))[:, :2].T
        return Labels(a.energy, a.forces + strength * np.stack([-y, x, 0 * x], axis=1), a.stress)

    return replace(case, teacher=_Adapter(case, around))


@fault("equivalent_structures", "periodic images more than 0.05 eV per atom or eV/Å")
def adapter_that_ignores_the_cell(case: Case, rng: Rng) -> Case:
    return replace(case, teacher=_Adapter(case, asked=lambda s: s.with_(pbc=np.zeros(3, bool))))


@fault("repeated_cells", "images beyond the nearest ones more than 0.05 eV per atom or eV/Å")
def adapter_with_one_image_only(case: Case, rng: Rng) -> Case:
    return replace(case, teacher=_Adapter(case, asked=_wrapped_and_open))


@fault("rotated_structures", "an axis stretched by 5 %, so that the energy depends on the orientation")
def adapter_that_stretches_an_axis(case: Case, rng: Rng) -> Case:
    stretch = np.diag([1.0, 1.0, 1.05])

    def stretched(s: Structure) -> Structure:
        return s.with_(positions=s.positions @ stretch, cell=s.cell @ stretch)

    def as_slope(s: Structure, a: Labels) -> Labels:
        stress = None if a.stress is None else 1.05 * a.stress
        return Labels(a.energy, a.forces @ stretch, stress)

    return replace(case, teacher=_Adapter(case, as_slope, stretched))


@fault("gradients", "stress sign or unit wrong in the adapter itself, so that a replay repeats it")
def adapter_with_the_wrong_sign(case: Case, rng: Rng) -> Case:
    def turned(s: Structure, a: Labels) -> Labels:
        return Labels(a.energy, a.forces, None if a.stress is None else -a.stress)

    return replace(each(case, lambda s: scaled(s, stress=-1.0)), teacher=_Adapter(case, turned))


def _wrapped_and_open(structure: Structure) -> Structure:
    """Return the atoms of the cell alone, without their images."""
    if not structure.pbc.any():
        return structure
    scaled = structure.positions @ np.linalg.inv(structure.cell)
    scaled -= np.floor(scaled) * structure.pbc
    return structure.with_(positions=scaled @ structure.cell, pbc=np.zeros(3, bool))


def _with(values: Array, at: int, value: float) -> Array:
    values[at, 0] = value
    return values


def _stress_as(structure: Structure, change: object) -> Structure:
    assert structure.labels is not None  # noqa: S101
    stress = structure.labels.stress
    return structure if stress is None else relabelled(structure, stress=change(stress))  # type: ignore[operator]


def _has_twin(case: Case, s: Structure) -> bool:
    return any(o is not s and len(o) == len(s) and is_crystal(o) == is_crystal(s) for o in case.structures)
