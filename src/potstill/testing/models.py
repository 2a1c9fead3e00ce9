"""Kits for models: a teacher that labels, a student that takes its place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from potstill.deploy.student import DeployedStudent
from potstill.errors import InputError
from potstill.generate.geometry import covalent_radii, smallest_scaled_distance
from potstill.registry import symbols_of
from potstill.student.config import StudentArchitecture
from potstill.student.model import Student
from potstill.testing import physics
from potstill.testing.physics import CUTOFF_STEP_ANGSTROM, FLOAT32, FLOAT64, Tolerances, at_most, require
from potstill.testing.structures import all_structures, rattled
from potstill.types import Labels, Structure, Teacher

TEACHER_FORCE_COMPONENTS = 12  # of each structure that are held against a central difference
SCALED_DISTANCE = 0.95  # of the closest atoms in the structures that a student is tested with
TINY = {"cutoff_angstrom": 4.0, "layers": 2, "features": 8, "channels": 4, "radial": 4, "hidden": 16}
UNTRAINED_ENERGY_EV = -3.0  # reference energies of a random student, so that a lost one is noticed


def check_teacher(
    teacher: Teacher,
    structures: Sequence[Structure],
    *,
    conservative: bool = True,
    stress: bool = True,
    tolerances: Tolerances | None = None,
) -> None:
    """Hold a teacher to what the pipeline relies on.

    As many answers as structures and in their order; the same alone and in a batch; rotation, permutation, translation by
    lattice vectors; forces and stress that are the slope of the energy (+ is tension); input left untouched; a complete
    fingerprint.

    Parameters
    ----------
    teacher
        Loaded.
    structures
        Of elements that it knows, at least one of them periodic in three directions unless ``stress`` is False.
    conservative
        False for a teacher that predicts forces by themselves: forces and stress are not held against the energy then.
    stress
        False for a teacher that gives none.
    tolerances
        Chosen by the dtype of the fingerprint where None: ``FLOAT64`` for ``"float64"``, else ``FLOAT32``.

    Raises
    ------
    AssertionError
        With what was measured and its limit.
    """
    structures = list(structures)
    periodic = [s for s in structures if s.pbc.all()]
    require(bool(structures), "no structure was given: nothing would be tested")
    require(bool(periodic) or not stress, "no structure is periodic in three directions: the stress would not be tested")
    _check_fingerprint(teacher)
    if tolerances is None:
        tolerances = FLOAT64 if teacher.fingerprint["dtype"] == "float64" else FLOAT32

    def label(asked: Sequence[Structure]) -> list[Labels]:
        return _labels(teacher.label(asked), asked)

    for structure, labels in zip(structures, label(structures), strict=True):
        physics.well_formed(structure, labels)
        require(labels.stress is not None or not (stress and structure.pbc.all()), f"{structure.id}: there is no stress")
    physics.untouched(label, structures)
    physics.batch_is_single(label, structures, tolerances)
    for structure in structures:
        physics.rotation(label, structure, tolerances)
        physics.permutation(label, structure, tolerances)
        physics.translation(label, structure, tolerances)
        if conservative:
            physics.force_is_slope(label, structure, tolerances, TEACHER_FORCE_COMPONENTS)
    for structure in periodic if conservative and stress else []:
        physics.stress_is_slope(label, structure, tolerances)


def random_student(atomic_numbers: Sequence[int], *, seed: int = 0, **sizes: Any) -> DeployedStudent:
    """An untrained student, tiny unless told otherwise.

    Parameters
    ----------
    atomic_numbers
        Elements it shall know.
    seed
        Of its weights; PyTorch's global random numbers stay as they are.
    sizes
        Options of :class:`~potstill.student.config.StudentConfig`.
    """
    architecture = StudentArchitecture(**{**TINY, **sizes}, atomic_numbers=tuple(atomic_numbers))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Student(architecture).eval().requires_grad_(requires_grad=False)
    model.reference_energies.copy_(UNTRAINED_ENERGY_EV * torch.arange(1, len(atomic_numbers) + 1))
    return DeployedStudent(model, {"elements": [symbols_of([z])[0] for z in atomic_numbers]})


def check_student(student: DeployedStudent) -> None:
    """Hold a student, trained or not, to the physics that does not depend on its weights.

    In float64: forces and stress are the slope of the energy; rotation, reflection, permutation, translation by lattice
    vectors, supercells; batch equals single and nothing leaks between structures; single atoms, no neighbours; energy and
    forces smooth at the cutoff. Then float32 against float64, input left untouched, an unknown element refused by name.

    Parameters
    ----------
    student
        In either precision; it is copied and left as it is.

    Raises
    ------
    AssertionError
        With what was measured and its limit.
    """
    exact, single = (
        DeployedStudent(copy.deepcopy(student.model), student.config, student.device, dtype)
        for dtype in (torch.float64, torch.float32)
    )
    numbers = list(student.model.architecture.atomic_numbers)
    structures = [in_elements(rattled(s), numbers[k % len(numbers) :] + numbers) for k, s in enumerate(all_structures())]
    for structure, labels in zip(structures, exact.label(structures), strict=True):
        physics.well_formed(structure, labels)
        require(
            (labels.stress is not None) == bool(structure.pbc.all()), f"{structure.id}: stress where and only where periodic"
        )
    physics.untouched(exact.label, structures)
    physics.batch_is_single(exact.label, structures, FLOAT64)
    for structure in structures:
        physics.rotation(exact.label, structure, FLOAT64)
        physics.rotation(exact.label, structure, FLOAT64, mirror=True)
        physics.permutation(exact.label, structure, FLOAT64)
        physics.translation(exact.label, structure, FLOAT64)
        physics.force_is_slope(exact.label, structure, FLOAT64)
        if structure.pbc.any():
            physics.supercell(exact.label, structure, FLOAT64)
        if structure.pbc.all():
            physics.stress_is_slope(exact.label, structure, FLOAT64)
    _check_nothing_leaks(exact, structures)
    _check_far_apart(exact, numbers)
    _check_cutoff(exact, numbers)
    for structure, low, high in zip(structures, single.label(structures), exact.label(structures), strict=True):
        physics.same(f"{structure.id}: float32 against float64", low, high, FLOAT32)
    _check_unknown_element(exact)


def in_elements(structure: Structure, atomic_numbers: Sequence[int]) -> Structure:
    """The same arrangement of other elements, taken in turn, and scaled so that the closest atoms touch."""
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


def _check_nothing_leaks(student: DeployedStudent, structures: Sequence[Structure]) -> None:
    """Moving the atoms of one structure changes no label of another in the same batch."""
    for k, structure in enumerate(structures):
        other = structures[(k + 1) % len(structures)]
        before, _ = student.label([structure, other])
        after, _ = student.label([structure, rattled(other, seed=1)])
        physics.same(f"{structure.id}: when {other.id} beside it in the batch moves", after, before, FLOAT64)


def _check_far_apart(student: DeployedStudent, numbers: Sequence[int]) -> None:
    """Atoms beyond the cutoff of each other are atoms alone, without forces."""
    distance = 1.1 * student.model.architecture.cutoff_angstrom
    pair = np.array([numbers[0], numbers[-1]])
    alone = student.label([Structure(pair[k : k + 1], np.zeros((1, 3)), id="alone") for k in (0, 1)])
    (apart,) = student.label([Structure(pair, np.array([[0.0, 0.0, 0.0], [0.0, distance, 0.0]]), id="apart")])
    at_most("two atoms without neighbours: forces", float(np.abs(apart.forces).max()), 0.0, "eV/Å")
    gap = abs(apart.energy - sum(x.energy for x in alone))
    at_most("two atoms without neighbours: energy against the atoms alone", gap, FLOAT64.energy, "eV")


def _check_cutoff(student: DeployedStudent, numbers: Sequence[int]) -> None:
    """An atom that crosses the cutoff of a bonded pair changes neither energy nor forces abruptly."""
    cutoff = student.model.architecture.cutoff_angstrom
    first, last = numbers[0], numbers[-1]
    bond = SCALED_DISTANCE * float(covalent_radii()[first] + covalent_radii()[last])
    crossing = []
    for step in (-CUTOFF_STEP_ANGSTROM, CUTOFF_STEP_ANGSTROM):
        positions = np.array([[0.0, 0.0, 0.0], [0.0, bond, 0.0], [cutoff + step, 0.0, 0.0]])
        crossing.append(Structure(np.array([first, last, last]), positions, id="crossing"))
    inside, outside = student.label(crossing)
    drift = 2 * CUTOFF_STEP_ANGSTROM * 1e-2  # a slope of 0.01 eV/Å (or eV/Å^2) is still smooth
    at_most("jump of the energy at the cutoff", abs(inside.energy - outside.energy), drift, "eV")
    at_most("jump of the forces at the cutoff", float(np.abs(inside.forces - outside.forces).max()), drift, "eV/Å")


def _check_unknown_element(student: DeployedStudent) -> None:
    known = set(student.model.architecture.atomic_numbers)
    unknown = next((z for z in range(1, 119) if z not in known), None)
    if unknown is None:
        return
    symbol = symbols_of([unknown])[0]
    try:
        student.label([Structure(np.array([unknown]), np.zeros((1, 3)), id="unknown")])
    except InputError as error:
        require(symbol in str(error).split("knows")[0], f"the refusal of an unknown element does not name {symbol}: {error}")
        return
    raise AssertionError(f"the unknown element {symbol} was not refused, expected InputError")
