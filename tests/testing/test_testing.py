"""The kits pass what is right, and fail on each fault for the reason of that fault."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from potstill.audit.checks import CHECKS, Evidence
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.core.verdict import Finding, Verdict, at_most, not_run
from potstill.deploy.student import DeployedStudent
from potstill.generate.perturb import Perturb
from potstill.generate.source import SourceOptions, random_generator
from potstill.student.model import Kernel, Prediction, Student
from potstill.teacher import load_teacher
from potstill.testing import (
    FLOAT32,
    all_structures,
    check_check,
    check_source,
    check_student,
    check_teacher,
    copper,
    lone_crystal,
    random_student,
    rattled,
    rocksalt,
    slab,
    triclinic,
    water,
)

NEEDS: dict[str, tuple[Any, ...]] = {
    "teacher_success": ("labels",),
    "within_limits": ("labels",),
    "finite": ("labels",),
    "force_limits": ("labels",),
    "zero_labels": ("labels",),
    "label_scale": ("labels",),
    "labels_follow_general": ("labels",),
    "lone_atoms": ("labels",),
    "label_replay": ("labels", "teacher"),
    "split_leakage": ("split",),
    "teacher_fingerprint": ("fingerprint",),
    "throughput": ("time",),
    "shares": ("config",),
    "elements_per_source": ("config",),
    "gradients": ("labels", "teacher"),
    "conservative_forces": ("labels", "teacher"),
    "equivalent_structures": ("labels", "teacher"),
    "repeated_cells": ("labels", "teacher"),
    "rotated_structures": ("labels", "teacher"),
    "near_leakage": ("split",),
    **dict.fromkeys(
        (
            *("stress_limits", "stress_symmetry", "missing_stress", "energy_outliers", "net_force", "net_torque"),
            *("precision", "repeated_labels", "energy_work", "energy_work_slope", "stress_work_slope", "pair_fit_slope"),
        ),
        ("labels",),
    ),
}


@pytest.fixture(scope="module")
def lennard_jones() -> Teacher:
    return load_teacher("lennard-jones", sigma_angstrom=2.0)


# structures


def test_structures_cover_what_breaks_code():
    structures = all_structures()
    assert len({s.id for s in structures}) == len(structures)
    assert {int(s.pbc.sum()) for s in structures} == {0, 1, 2, 3}
    assert min(len(s) for s in structures) == 1
    assert any(np.linalg.det(s.cell) < 0 for s in structures)


def test_rattled_is_a_copy_that_depends_on_its_seed():
    parent = copper()
    before = parent.positions.copy()
    assert np.array_equal(rattled(parent, 3).positions, rattled(parent, 3).positions)
    assert not np.array_equal(rattled(parent, 3).positions, rattled(parent, 4).positions)
    assert np.array_equal(parent.positions, before)


# teacher


class Wrapped:
    """A good teacher whose answers, structures or fingerprint something is done to."""

    def __init__(
        self,
        teacher: Teacher,
        answer: Callable[[Structure, Labels], Any] = lambda structure, labels: labels,
        answers: Callable[[list[Any]], list[Any]] = lambda answers: answers,
        **fingerprint: str,
    ) -> None:
        self._teacher, self._answer, self._answers = teacher, answer, answers
        self.fingerprint = {**teacher.fingerprint, **fingerprint}
        self.elements, self.properties = teacher.elements, teacher.properties

    def label(self, structures: Sequence[Structure]) -> list[Any]:
        given = zip(structures, self._teacher.label(structures), strict=True)
        return self._answers([self._answer(s, labels) for s, labels in given])


def crystal_and_molecule() -> list[Structure]:
    return [rattled(triclinic()), rattled(water())]


@pytest.mark.parametrize("name", ["lennard-jones", "emt"])
def test_built_in_teachers_pass(name):
    structures = [rattled(copper()), rattled(slab()), water()]
    check_teacher(load_teacher(name), structures)


def test_a_pretrained_teacher_in_float32_passes():
    pytest.importorskip("sevenn", reason="needs the extra 'sevennet'")
    check_teacher(load_teacher("sevennet", device="cpu"), [rattled(triclinic()), water()])


def test_teacher_kit_covers_every_kind_of_structure(lennard_jones):
    check_teacher(lennard_jones, [rattled(s) for s in all_structures()])


def test_teacher_without_stress_passes_where_that_is_said(lennard_jones):
    teacher = Wrapped(lennard_jones, lambda s, x: replace(x, stress=None))
    with pytest.raises(AssertionError, match="there is no stress"):
        check_teacher(teacher, crystal_and_molecule())
    with pytest.raises(AssertionError, match=r"properties.*gives no stress"):
        check_teacher(teacher, crystal_and_molecule(), stress=False)
    teacher.properties = frozenset({"energy", "forces"})
    check_teacher(teacher, crystal_and_molecule(), stress=False)
    check_teacher(teacher, crystal_and_molecule())


def test_teacher_that_predicts_forces_by_themselves_passes_where_that_is_said(lennard_jones):
    teacher = Wrapped(lennard_jones, lambda s, x: replace(x, forces=1.1 * x.forces))
    check_teacher(teacher, crystal_and_molecule(), conservative=False)


def test_teacher_that_does_not_know_rotations_passes_where_that_is_said(lennard_jones):
    teacher = Wrapped(lennard_jones, lambda s, x: replace(x, energy=x.energy + 0.1 * float(s.cell[0, 0])))
    with pytest.raises(AssertionError, match="rotation"):
        check_teacher(teacher, crystal_and_molecule(), conservative=False)
    check_teacher(teacher, crystal_and_molecule(), equivariant=False, conservative=False)


def test_teacher_kit_finds_untrue_elements_and_properties(lennard_jones):
    teacher = Wrapped(lennard_jones)
    teacher.elements = frozenset({1, 8})
    with pytest.raises(AssertionError, match="does not support Mg"):
        check_teacher(teacher, crystal_and_molecule())
    teacher.elements = frozenset({1, 8, 12})  # it labels anything
    with pytest.raises(AssertionError, match="expected Og to be refused"):
        check_teacher(teacher, crystal_and_molecule())
    teacher = Wrapped(lennard_jones)
    teacher.properties = frozenset({"energy"})
    with pytest.raises(AssertionError, match="properties"):
        check_teacher(teacher, crystal_and_molecule())
    del teacher.properties
    with pytest.raises(AssertionError, match="properties: the teacher does not say them"):
        check_teacher(teacher, crystal_and_molecule())


def turned_by_frame(structure: Structure, labels: Labels) -> Labels:
    return replace(labels, energy=labels.energy + 0.1 * float(np.ptp(structure.positions[:, 0])))


def by_first_atom(structure: Structure, labels: Labels) -> Labels:
    return replace(labels, energy=labels.energy + 0.1 * int(structure.atomic_numbers[0]))


def unwrapped(structure: Structure, labels: Labels) -> Labels:
    return replace(labels, energy=labels.energy + 0.1 * float(structure.positions.var(axis=0).sum()))


def shifting(structure: Structure, labels: Labels) -> Labels:
    structure.positions[:] += 1e-3
    return labels


BROKEN_ANSWERS = {
    "stress_sign": (lambda s, x: replace(x, stress=None if x.stress is None else -x.stress), r"stress.*sign is wrong"),
    "stress_unit": (
        lambda s, x: replace(x, stress=None if x.stress is None else 160.2 * x.stress),
        "stress.*central difference",
    ),
    "forces_factor": (lambda s, x: replace(x, forces=1.05 * x.forces), "forces against the central difference"),
    "forces_sign": (lambda s, x: replace(x, forces=-x.forces), r"forces.*sign is wrong"),
    "forces_shape": (lambda s, x: replace(x, forces=x.forces.reshape(-1)), "must have shape"),
    "energy_unit": (lambda s, x: replace(x, energy=23.06 * x.energy), "central difference"),
    "not_finite": (lambda s, x: replace(x, energy=float("nan")), "not finite"),
    "stress_of_molecule": (lambda s, x: replace(x, stress=np.zeros((3, 3))), "expected None"),
    "asymmetric": (
        lambda s, x: replace(x, stress=x.stress + np.triu(np.ones((3, 3)))) if x.stress is not None else x,
        "asym",
    ),
    "frame": (turned_by_frame, "rotation"),
    "order_of_atoms": (by_first_atom, "permutation"),
    "unwrapped": (unwrapped, "translation"),
    "touches_input": (shifting, "input was changed"),
    "refuses": (lambda s, x: Refused("teacher_error"), "expected Labels"),
}


@pytest.mark.parametrize("fault", BROKEN_ANSWERS)
def test_teacher_kit_finds(fault, lennard_jones):
    answer, message = BROKEN_ANSWERS[fault]
    with pytest.raises(AssertionError, match=message):
        check_teacher(Wrapped(lennard_jones, answer), crystal_and_molecule())


def test_teacher_kit_finds_reordered_and_lost_answers(lennard_jones):
    structures = [rattled(copper()), rattled(copper(), 1), rattled(copper(), 2)]
    by_energy = Wrapped(lennard_jones, answers=lambda answers: sorted(answers, key=lambda x: x.energy))
    with pytest.raises(AssertionError, match="order of the answers"):
        check_teacher(by_energy, structures)
    with pytest.raises(AssertionError, match="2 answers to 3 structures"):
        check_teacher(Wrapped(lennard_jones, answers=lambda answers: answers[1:]), structures)


def test_teacher_kit_finds_what_leaks_between_structures(lennard_jones):
    def mean(answers: list[Labels]) -> list[Labels]:
        return [replace(x, energy=x.energy + 1e-3 * len(answers)) for x in answers]

    with pytest.raises(AssertionError, match="in a batch and alone"):
        check_teacher(Wrapped(lennard_jones, answers=mean), crystal_and_molecule())


def test_teacher_kit_finds_an_incomplete_fingerprint(lennard_jones):
    with pytest.raises(AssertionError, match="fingerprint: 'weights'"):
        check_teacher(Wrapped(lennard_jones, weights=""), crystal_and_molecule())


def test_teacher_kit_refuses_to_test_nothing(lennard_jones):
    with pytest.raises(AssertionError, match="nothing would be tested"):
        check_teacher(lennard_jones, [])
    with pytest.raises(AssertionError, match="stress would not be tested"):
        check_teacher(lennard_jones, [water()])


def test_teacher_in_float32_is_given_more_room(lennard_jones):
    def rounded(_: Structure, labels: Labels) -> Labels:
        stress = None if labels.stress is None else labels.stress.astype(np.float32).astype(float)
        return Labels(float(np.float32(labels.energy)), labels.forces.astype(np.float32).astype(float), stress)

    check_teacher(Wrapped(lennard_jones, rounded, dtype="float32"), crystal_and_molecule())
    with pytest.raises(AssertionError):
        check_teacher(Wrapped(lennard_jones, rounded), crystal_and_molecule())
    wrong = Wrapped(lennard_jones, lambda s, x: replace(x, forces=1.2 * x.forces), dtype="float32")
    with pytest.raises(AssertionError, match="central difference"):  # and yet a fault is found
        check_teacher(wrong, crystal_and_molecule(), tolerances=FLOAT32)


# source


class Lattice(SourceOptions):
    """Rocksalt with a lattice constant that is drawn; faults are switched on by name."""

    source: Literal["lattice"] = "lattice"
    fault: str = ""

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        shared = np.random.default_rng(seed)
        made: list[Structure | Refused] = []
        for index in indices:
            rng = shared if self.fault == "one_stream" else random_generator(seed, self.name, index)
            made.append(self._make(rng, indices, parents))
        return made[1:] if self.fault == "loses_one" else made

    def _make(  # noqa: PLR0911 - one line for each fault
        self, rng: np.random.Generator, indices: Sequence[int], parents: Sequence[Structure]
    ) -> Structure | Refused:
        factor = float(rng.uniform(0.95, 1.05))
        crystal = rocksalt()
        crystal = crystal.with_(positions=factor * crystal.positions, cell=factor * crystal.cell)
        match self.fault:
            case "global_numbers":
                return crystal.with_(positions=crystal.positions + np.random.rand(2, 3))  # noqa: NPY002
            case "group_size":
                return crystal.with_(positions=crystal.positions + 0.01 * len(indices))
            case "no_reason":
                return Refused("")
            case "refuses_all":
                return Refused("too_close")
            case "fused":
                return crystal.with_(positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.01]]))
            case "writes_parents":
                parents[0].positions[:] += 0.1
            case "metadata":
                return crystal.with_(generator_metadata={"factor": np.float32(factor)})
            case "foreign_element":
                return crystal.with_(atomic_numbers=np.array([11, 67]))
            case "labelled":
                return crystal.with_(labels=Labels(0.0, np.zeros((2, 3))))
        return crystal


SOURCE_FAULTS = {
    "one_stream": "asked one by one",
    "group_size": "asked one by one",
    "global_numbers": "asked again",
    "loses_one": "7 answers to 8 indices",
    "no_reason": "without a reason",
    "refuses_all": "nothing is tested",
    "fused": "sum of their radii",
    "writes_parents": "a parent was changed",
    "metadata": "JSON",
    "foreign_element": "Ho",
    "labelled": "has labels",
}


def test_good_sources_pass():
    check_source(Lattice(count=8, elements=("Na", "Cl")))
    check_source(Perturb(count=8))


@pytest.mark.parametrize("fault", SOURCE_FAULTS)
def test_source_kit_finds(fault):
    with pytest.raises(AssertionError, match=SOURCE_FAULTS[fault]):
        check_source(Lattice(count=8, elements=("Na", "Cl"), fault=fault))


def test_source_kit_finds_seeding_of_the_global_random_numbers():
    class Seeds(Lattice):
        def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
            np.random.seed(seed)  # noqa: NPY002
            return super().propose(indices, seed, parents)

    before = np.random.get_state()  # noqa: NPY002
    try:
        with pytest.raises(AssertionError, match="global random numbers"):
            check_source(Seeds(count=8))
    finally:
        np.random.set_state(before)  # noqa: NPY002


def test_source_kit_finds_size_over_the_limit():
    with pytest.raises(AssertionError, match="2 atoms, limit 1"):
        check_source(Lattice(count=8, max_atoms=1))


# student


@dataclass(frozen=True)
class Fault:
    """Something done to a student's prediction, with what the kit must say of it."""

    change: Callable[[Prediction, Any], Prediction]
    message: str


class BrokenModel(torch.nn.Module):
    """A student whose prediction is tampered with."""

    def __init__(self, model: Student, change: Callable[[Prediction, Any], Prediction]) -> None:
        super().__init__()
        self.model = model
        self.change = change
        self.architecture = model.architecture

    @property
    def reference_energies(self) -> torch.Tensor:
        return self.model.reference_energies

    @reference_energies.setter
    def reference_energies(self, value: torch.Tensor) -> None:
        self.model.reference_energies = value

    def predict(self, batch: Any, *, kernel: Kernel | None = None, features: bool = False) -> Prediction:
        return self.change(self.model.predict(batch, kernel=kernel, features=features), batch)


def mirrored(p: Prediction, batch: Any) -> Prediction:
    """A handed term: the volume that the first four atoms of each structure span."""
    energy = p.energy.clone()
    for k in range(len(batch)):
        x = batch.positions[batch.ptr[k] : batch.ptr[k + 1]]
        if len(x) > 8:
            distances = torch.cdist(x, x).sum(1).sort().indices
            a, b, c = (x[distances[i]] - x[distances[0]] for i in (1, 2, 3))
            energy[k] += torch.dot(torch.linalg.cross(a, b), c)
    return replace(p, energy=energy)


def jumping(p: Prediction, batch: Any) -> Prediction:
    edges = torch.bincount(batch.structure[batch.edge_index[0]], minlength=len(batch))
    return replace(p, energy=p.energy + 1e-3 * edges)


STUDENT_FAULTS = {
    "stress_sign": Fault(lambda p, b: replace(p, stress=-p.stress, virial=-p.virial), "stress.*sign is wrong"),
    "forces_factor": Fault(lambda p, b: replace(p, forces=1.01 * p.forces), "forces against the central difference"),
    "leaks": Fault(lambda p, b: replace(p, energy=p.energy + 1e-4 * p.energy.mean()), "in a batch"),
    "handed": Fault(mirrored, "reflection"),
    "not_additive": Fault(lambda p, b: replace(p, energy=p.energy + 1e-3 * b.ptr.diff().sqrt()), "supercell"),
    "jump": Fault(jumping, "jump of the energy at the cutoff"),
    "low_precision": Fault(
        lambda p, b: replace(p, forces=p.forces.bfloat16().to(p.forces)) if p.forces.dtype == torch.float32 else p,
        "float32 against",
    ),
}


@pytest.mark.parametrize("fault", STUDENT_FAULTS)
def test_student_kit_finds(fault):
    good = random_student([8, 14])
    tampered = BrokenModel(good.model, STUDENT_FAULTS[fault].change)
    broken = DeployedStudent(tampered, good.config, backend="torch")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=STUDENT_FAULTS[fault].message):
        check_student(broken)


def test_student_kit_finds_a_student_that_takes_unknown_elements(monkeypatch):
    monkeypatch.setattr(DeployedStudent, "refuse_unknown", lambda self, structure: None)
    with pytest.raises((AssertionError, IndexError)):
        check_student(random_student([8]))


def test_student_kit_leaves_the_student_as_it_is():
    student = random_student([8, 14])
    before = {name: tensor.clone() for name, tensor in student.model.state_dict().items()}
    check_student(student)
    after = student.model.state_dict()
    assert student.dtype == torch.float32
    assert all(before[name].dtype == after[name].dtype and torch.equal(before[name], after[name]) for name in before)


def test_random_student_depends_on_its_seed_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = random_student([8, 14], seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    again, other = random_student([8, 14], seed=1), random_student([8, 14], seed=2)
    energies = [
        student.label([rattled(rocksalt()).with_(atomic_numbers=[8, 14])])[0].energy for student in (first, again, other)
    ]
    assert energies[0] == energies[1] != energies[2]


# audit check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in_checks_pass(check):
    check_check(check, needs=NEEDS.get(check.__name__, ()))


def open_without_labels(evidence: Evidence) -> Finding:
    """Passes without data: what the kit is for."""
    bad = 0 if not evidence.dataset.labelled else int(np.isnan(evidence.dataset.column("structures/energy")).sum())
    return at_most("open_without_labels", bad, 0, "structures", "energies that are not finite")


def misnamed(_: Evidence) -> Finding:
    return at_most("another", 0, 0, "structures", "nothing")


def never_runs(_: Evidence) -> Finding:
    return not_run("never_runs", "", "no time")


def says_nothing(_: Evidence) -> Finding:
    return at_most("says_nothing", 0, 0, "structures", " ")


def without_limit(_: Evidence) -> Finding:
    return Finding("without_limit", Verdict.GO, 1.0, None, "structures", "looks fine")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (open_without_labels, "GO without labels"),
        (misnamed, "name of the function"),
        (never_runs, "did not run although"),
        (says_nothing, "does not say why"),
        (without_limit, "no limit"),
    ],
)
def test_check_kit_finds(check, message):
    with pytest.raises(AssertionError, match=message):
        check_check(check, needs=("labels",))


def test_check_kit_refuses_an_unknown_need():
    with pytest.raises(AssertionError, match="is none of labels"):
        check_check(CHECKS[0], needs=("labelz",))  # type: ignore[arg-type]


def test_lone_atoms_have_no_stress_that_is_not_zero(lennard_jones):
    (labels,) = lennard_jones.label([lone_crystal()])
    assert np.array_equal(labels.stress, np.zeros((3, 3)))
