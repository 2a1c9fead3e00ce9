"""Kits for models: a teacher that labels, a student that takes its place."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.errors import InputError
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import MAX_ATOMIC_NUMBER, PROPERTIES, Labels, Refused, Structure, Teacher
from potstill.deploy.student import DeployedStudent
from potstill.student.files import read_student, save_student
from potstill.student.model import Student
from potstill.student.options import Backend, StudentArchitecture
from potstill.testing import physics
from potstill.testing.physics import CUTOFF_STEP_ANGSTROM, FLOAT32, FLOAT64, Label, Tolerances, at_most, require
from potstill.testing.structures import all_structures, rattled

TEACHER_FORCE_COMPONENTS = 12  # number of components per structure that are compared with a central difference
SCALED_DISTANCE = 0.95  # scaled distance of the closest atoms in the test structures of a student
TINY = {
    "cutoff_angstrom": 4.0,
    "layers": 2,
    "features": 8,
    "channels": 4,
    "vectors": 4,
    "products": 4,
    "radial": 4,
    "hidden": 16,
    "experts": 2,
}
UNTRAINED_ENERGY_EV = -3.0  # reference energies of a random student, so that the checks notice a lost one
EXTENSIVITY_EV_PER_ATOM = 1e-5  # between a cell and its supercell, in any precision and for any energy
STEEPEST_AT_CUTOFF = 1e-2  # slope of the energy in eV/Å, and of forces in eV/Å^2, where an atom crosses the cutoff


def check_teacher(
    teacher: Teacher,
    structures: Sequence[Structure],
    *,
    conservative: bool = True,
    equivariant: bool = True,
    stress: bool | None = None,
    tolerances: Tolerances | None = None,
) -> None:
    """Check a teacher for everything that the pipeline relies on.

    The teacher must give as many answers as structures, in their order, and the same answers alone and in a batch. The check
    covers rotation, permutation, translation by lattice vectors, and forces and stress as derivatives of the energy (+ is
    tension). Input must not change, the fingerprint must be complete, elements and properties must be true, and an
    unsupported element must be refused by name.

    Parameters
    ----------
    teacher
        Loaded teacher.
    structures
        Structures of supported elements, at least one of them periodic in three directions unless ``stress`` is False.
    conservative
        False for a teacher that predicts forces directly: forces and stress are not compared with the energy then.
        :func:`potstill.teacher.floor.force_floor` measures the resulting error.
    equivariant
        False for a model that is not equivariant by construction: labels of a rotated structure are not compared.
    stress
        Whether it predicts stress; as its properties state where None.
    tolerances
        Tolerances; where None, ``FLOAT64`` for the dtype ``"float64"`` of the fingerprint, else ``FLOAT32``.

    Raises
    ------
    AssertionError
        If a check fails; the message states the measured value and its limit.
    """
    structures = list(structures)
    periodic = [s for s in structures if s.pbc.all()]
    require(bool(structures), "no structure was given: nothing would be tested")
    stress = _check_properties(teacher, stress)
    _check_elements(teacher, structures)
    require(bool(periodic) or not stress, "no structure is periodic in three directions: the stress would not be tested")
    _check_fingerprint(teacher)
    if tolerances is None:
        tolerances = FLOAT64 if teacher.fingerprint["dtype"] == "float64" else FLOAT32

    def label(asked: Sequence[Structure]) -> list[Labels]:
        return _labels(teacher.label(asked), asked)

    for structure, labels in zip(structures, label(structures), strict=True):
        physics.well_formed(structure, labels)
        require(labels.stress is not None or not (stress and structure.pbc.all()), f"{structure.id}: there is no stress")
        if "node_embeddings" in teacher.properties:
            _check_node_embeddings(structure, labels)
        if "local_energies" in teacher.properties:
            _check_local_energies(structure, labels, tolerances)
    physics.untouched(label, structures)
    physics.batch_is_single(label, structures, tolerances)
    for structure in structures:
        if equivariant:
            physics.rotation(label, structure, tolerances)
        physics.permutation(label, structure, tolerances)
        physics.translation(label, structure, tolerances)
        if conservative:
            physics.force_is_slope(label, structure, tolerances, TEACHER_FORCE_COMPONENTS)
    for structure in periodic if conservative and stress else []:
        physics.stress_is_slope(label, structure, tolerances)


def random_student(
    atomic_numbers: Sequence[int], *, seed: int = 0, backend: Backend = "auto", **sizes: Any
) -> DeployedStudent:
    """Return an untrained student, tiny unless a tier or sizes are given.

    Parameters
    ----------
    atomic_numbers
        Atomic numbers of its elements.
    seed
        Seed of its weights; PyTorch's global random numbers do not change.
    backend
        See :class:`~potstill.deploy.student.DeployedStudent`.
    sizes
        Options of :class:`~potstill.student.options.StudentConfig`.
    """
    start: dict[str, Any] = {} if "tier" in sizes else TINY
    architecture = StudentArchitecture(**{**start, **sizes}, atomic_numbers=tuple(atomic_numbers))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Student(architecture).eval().requires_grad_(requires_grad=False)
    model.reference_energies.copy_(UNTRAINED_ENERGY_EV * torch.arange(1, len(atomic_numbers) + 1))
    return DeployedStudent(model, {"elements": [symbols_of([z])[0] for z in atomic_numbers]}, backend=backend)


def check_student(student: DeployedStudent) -> None:
    """Check the physics of a student that does not depend on its weights.

    Checks in float64: forces and stress are derivatives of the energy; rotation, reflection, permutation, translation by
    lattice vectors, supercells. A batch equals single calls, and no structure of a batch affects another. Single atoms and
    atoms without neighbors work. Energy and forces are smooth at the cutoff. Then the same in float32, in PyTorch and on the
    student's own backend, and float32 against float64 (:func:`check_engine`). An unsupported element is refused by name, and
    saving and loading changes nothing.

    Parameters
    ----------
    student
        Student in either precision; it is copied and not changed.

    Raises
    ------
    AssertionError
        If a check fails; the message states the measured value and its limit.
    """
    exact = _copy(student, torch.float64)
    structures = _structures(student)
    for structure, labels in zip(structures, exact.label(structures), strict=True):
        physics.well_formed(structure, labels)
        there = labels.stress is not None
        require(
            there == physics.has_volume(structure), f"{structure.id}: stress only where the cell has a volume, and there"
        )
    _check_physics(exact.label, student, FLOAT64)
    for backend in dict.fromkeys(["torch", student.backend]):
        single = _copy(student, torch.float32, backend)
        check_engine(single.label, student, "float32" if backend == "torch" else f"float32, backend {backend},")
    _check_unknown_element(exact)
    _check_saved(student)


def check_engine(label: Label, student: DeployedStudent, name: str = "engine") -> None:
    """Compare another path to a student's float32 labels, such as a compiled kernel or an exported file.

    The labels must be those of the student in float64 within the tolerances of float32, and pass all physics checks of
    :func:`check_student` by themselves.

    Parameters
    ----------
    label
        Function from structures to labels.
    student
        Student that it replaces, in either precision; it is copied and not changed.
    name
        Name for messages.

    Raises
    ------
    AssertionError
        If a check fails; the message states the measured value and its limit.
    """
    structures = _structures(student)
    exact = _copy(student, torch.float64).label(structures)
    for structure, found, expected in zip(structures, label(structures), exact, strict=True):
        physics.well_formed(structure, found)
        physics.same(f"{structure.id}: {name} against float64", found, expected, FLOAT32)
    _check_physics(label, student, FLOAT32)


def in_elements(structure: Structure, atomic_numbers: Sequence[int]) -> Structure:
    """Return the same arrangement of other elements, scaled so that the closest atoms touch."""
    numbers = np.array([atomic_numbers[k % len(atomic_numbers)] for k in range(len(structure))])
    changed = structure.with_(atomic_numbers=numbers)
    scaled, _ = smallest_scaled_distance(changed)
    factor = SCALED_DISTANCE / scaled if np.isfinite(scaled) else 1.0
    return changed.with_(positions=factor * changed.positions, cell=factor * changed.cell)


def _labels(answers: Sequence[Any], asked: Sequence[Structure]) -> list[Labels]:
    require(len(answers) == len(asked), f"length: {len(answers)} answers to {len(asked)} structures, expected as many")
    for structure, answer in zip(asked, answers, strict=True):
        require(isinstance(answer, Labels), f"{structure.id}: expected Labels, found {answer!r}")
    return list(answers)


def _check_fingerprint(teacher: Teacher) -> None:
    fingerprint = dict(teacher.fingerprint)
    for key in ("name", "version", "weights", "dtype"):
        value = fingerprint.get(key)
        require(
            isinstance(value, str) and bool(value), f"fingerprint: '{key}' must be a text that is not empty, found {value!r}"
        )
    require(dict(teacher.fingerprint) == fingerprint, "fingerprint: it is another one when asked again")


def _check_properties(teacher: Teacher, stress: bool | None) -> bool:
    """Check that the teacher states stress if and only if the caller expects it."""
    for name in ("elements", "properties"):
        require(hasattr(teacher, name), f"{name}: the teacher does not say them; see potstill.core.types.Teacher")
    properties = teacher.properties
    require(
        {"energy", "forces"} <= properties <= PROPERTIES | {"local_energies", "node_embeddings"},
        f"properties: expected energy, forces, perhaps stress, local_energies, node_embeddings; found {sorted(properties)}",
    )
    given = "stress" in properties
    require(
        stress in (None, given), f"properties: {sorted(properties)} of a teacher that gives {'a' if stress else 'no'} stress"
    )
    return given


def _check_node_embeddings(structure: Structure, labels: Labels) -> None:
    """Check that promised embeddings are finite numbers for each atom."""
    rows = labels.extra.get("node_embeddings")
    require(
        rows is not None and rows.ndim == 2 and rows.shape[0] == len(structure) and bool(np.isfinite(rows).all()),
        f"{structure.id}: node_embeddings: expected finite rows for {len(structure)} atoms, "
        f"found {None if rows is None else rows.shape}",
    )


def _check_local_energies(structure: Structure, labels: Labels, tolerances: Tolerances) -> None:
    """Check that there is one local energy per atom and that their sum is the energy."""
    local = labels.extra.get("local_energies")
    if local is None or np.shape(local) != (len(structure),):
        raise AssertionError(f"{structure.id}: no local energy of each atom")
    gap = abs(float(np.sum(local)) - labels.energy) / len(structure)
    limit = tolerances.energy * max(1.0, abs(labels.energy) / len(structure))
    at_most(f"{structure.id}: sum of the local energies", gap, limit, "eV/atom")


def _check_elements(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Check that known elements are labelled and an unknown one is refused by name."""
    elements = teacher.elements
    if elements is None:
        return
    asked = {z for s in structures for z in s.atomic_numbers.tolist()}
    require(
        asked <= elements,
        f"elements: the teacher does not support {', '.join(symbols_of(asked - elements))} of the structures",
    )
    unknown = max(set(range(1, MAX_ATOMIC_NUMBER + 1)) - elements, default=None)
    if unknown is None:
        return
    first = structures[0]
    odd = first.with_(atomic_numbers=np.array([unknown, *first.atomic_numbers[1:]]), labels=None)
    refused, labelled = teacher.label([odd, first])
    symbol = symbols_of([unknown])[0]
    require(
        isinstance(refused, Refused) and refused.reason == "unsupported_element" and symbol in refused.detail,
        f"elements: expected {symbol} to be refused as unsupported_element and by name, found {refused!r}",
    )
    require(isinstance(labelled, Labels), f"elements: the structure beside the one with {symbol} got {labelled!r}")


def _copy(student: DeployedStudent, dtype: torch.dtype, backend: Backend = "torch") -> DeployedStudent:
    return DeployedStudent(copy.deepcopy(student.model), student.config, student.device, dtype, backend)


def _structures(student: DeployedStudent) -> list[Structure]:
    """Return every kind of structure, rattled, of the student's elements."""
    numbers = list(student.model.architecture.atomic_numbers)
    return [in_elements(rattled(s), numbers[k % len(numbers) :] + numbers) for k, s in enumerate(all_structures())]


def _check_physics(label: Label, student: DeployedStudent, tolerances: Tolerances) -> None:
    structures = _structures(student)
    physics.untouched(label, structures)
    physics.batch_is_single(label, structures, tolerances)
    for structure in structures:
        physics.rotation(label, structure, tolerances)
        physics.rotation(label, structure, tolerances, mirror=True)
        physics.permutation(label, structure, tolerances)
        physics.translation(label, structure, tolerances)
        physics.force_is_slope(label, structure, tolerances)
        if structure.pbc.any():
            physics.supercell(label, structure, tolerances)
            _check_extensive(label, structure)
        if structure.pbc.all():
            physics.stress_is_slope(label, structure, tolerances)
    _check_nothing_leaks(label, structures, tolerances)
    _check_far_apart(label, student, tolerances)
    _check_cutoff(label, student, tolerances)


def _check_extensive(label: Label, structure: Structure) -> None:
    """Check that three cells have three times the energy of one."""
    repeats = [1, 1, 1]
    repeats[int(np.flatnonzero(structure.pbc)[0])] = 3
    large = Structure.from_ase(structure.to_ase().repeat(repeats), id=structure.id)
    before, after = label([structure, large])
    gap = abs(after.energy - 3 * before.energy) / len(large)
    at_most(f"{structure.id}: energy of a supercell of 3 cells against 3 times one", gap, EXTENSIVITY_EV_PER_ATOM, "eV/atom")


def _check_nothing_leaks(label: Label, structures: Sequence[Structure], tolerances: Tolerances) -> None:
    """Check that moving one structure changes no label of another in the batch."""
    for k, structure in enumerate(structures):
        other = structures[(k + 1) % len(structures)]
        before, _ = label([structure, other])
        after, _ = label([structure, rattled(other, seed=1)])
        physics.same(f"{structure.id}: when {other.id} beside it in the batch moves", after, before, tolerances)


def _check_far_apart(label: Label, student: DeployedStudent, tolerances: Tolerances) -> None:
    """Check that atoms beyond the cutoff of each other have no forces."""
    numbers, distance = student.model.architecture.atomic_numbers, 1.1 * student.model.architecture.cutoff_angstrom
    pair = np.array([numbers[0], numbers[-1]])
    alone = label([Structure(pair[k : k + 1], np.zeros((1, 3)), id="alone") for k in (0, 1)])
    (apart,) = label([Structure(pair, np.array([[0.0, 0.0, 0.0], [0.0, distance, 0.0]]), id="apart")])
    at_most("two atoms without neighbors: forces", float(np.abs(apart.forces).max()), 0.0, "eV/Å")
    gap = abs(apart.energy - sum(x.energy for x in alone))
    at_most("two atoms without neighbors: energy against the atoms alone", gap, tolerances.energy, "eV")


def _check_cutoff(label: Label, student: DeployedStudent, tolerances: Tolerances) -> None:
    """Check that energy and forces are continuous where an atom crosses the cutoff of another."""
    numbers, cutoff = student.model.architecture.atomic_numbers, student.model.architecture.cutoff_angstrom
    bond = SCALED_DISTANCE * float(covalent_radii()[numbers[0]] + covalent_radii()[numbers[-1]])
    drift = 2 * CUTOFF_STEP_ANGSTROM * STEEPEST_AT_CUTOFF
    for waiting in ("an atom", "a pair"):
        crossing = []
        for step in (-CUTOFF_STEP_ANGSTROM, CUTOFF_STEP_ANGSTROM):
            positions = np.array([[0.0, 0.0, 0.0], [cutoff + step, 0.0, 0.0], [0.0, bond, 0.0]])
            n = 2 if waiting == "an atom" else 3
            kinds = np.array([numbers[0], numbers[-1], numbers[-1]])
            crossing.append(Structure(kinds[:n], positions[:n], id="crossing"))
        inside, outside = label(crossing)
        gap = abs(inside.energy - outside.energy)
        at_most(f"jump of the energy at the cutoff of {waiting}", gap, drift + tolerances.energy, "eV")
        gap = float(np.abs(inside.forces - outside.forces).max())
        at_most(f"jump of the forces at the cutoff of {waiting}", gap, drift + tolerances.forces, "eV/Å")


def _check_unknown_element(student: DeployedStudent) -> None:
    known = set(student.model.architecture.atomic_numbers)
    unknown = next((z for z in range(1, 119) if z not in known), None)
    if unknown is None:
        return
    symbol = symbols_of([unknown])[0]
    try:
        student.label([Structure(np.array([unknown]), np.zeros((1, 3)), id="unknown")])
    except InputError as error:
        require(
            symbol in str(error).split("supports")[0], f"the refusal of an unknown element does not name {symbol}: {error}"
        )
        return
    raise AssertionError(f"the unknown element {symbol} was not refused, expected InputError")


def _check_saved(student: DeployedStudent) -> None:
    """Check that a student read again equals the written one to the last bit."""
    with tempfile.TemporaryDirectory() as folder:
        save_student(student.model, Path(folder), {})
        read, config = read_student(Path(folder))
    require(read.architecture == student.model.architecture, "saved and loaded: the architecture is another one")
    require(config["elements"] == student.elements, "saved and loaded: the elements are other ones")
    before, after = student.model.state_dict(), read.state_dict()
    require(before.keys() == after.keys(), "saved and loaded: names of tensors differ")
    for name, tensor in before.items():
        require(torch.equal(after[name], tensor.to(after[name])), f"saved and loaded: '{name}' is changed")
