"""Comparison of any two models on structures of the user's: no run, no dataset, no training part.

A model is the folder of a student, ``module:callable`` that makes an ASE calculator, or the name of a teacher.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.checksums import sha256_of_file, sha256_of_json
from potstill.core.errors import InputError
from potstill.core.files import read_json
from potstill.core.types import Array, Labels, Structure, Teacher
from potstill.dataset.convert import read_structures
from potstill.deploy.student import DeployedStudent
from potstill.evaluate.contents import BROKEN
from potstill.evaluate.gates import judge
from potstill.evaluate.kept import write_evaluation
from potstill.evaluate.made_from import weights_checksum
from potstill.evaluate.model import Model, TeacherModel
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.stage import Evaluation, compare
from potstill.evaluate.start import trained_on
from potstill.stats.references import RELATIVE_CUTOFF, fit_reference_energies
from potstill.student.shipped import shipped_students, student_folder
from potstill.teacher.choices import parse_teacher
from potstill.teacher.opening import open_teacher

log = logging.getLogger(__name__)
MOST_STRUCTURES = 1000
DETERMINED = 1e-6  # 1 - leverage of a structure below which the others say nothing about its energy
NO_PHYSICS = {"nve_ps": 0.0, "physics_crystals": 0, "physics_molecules": 0, "physics_pairs": 0}


def evaluate_pair(
    candidate: str,
    reference: str,
    path: Path,
    folder: Path,
    config: EvaluateConfig | None = None,
    *,
    errors_only: bool = False,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Compare one model with another, and write ``evaluate.json`` and its origin.

    A student in its run folder is judged for the kinds of structures in its training data, as in its run.

    Parameters
    ----------
    candidate
        Student, teacher or calculator to judge.
    reference
        Teacher or calculator that is taken as the truth.
    path
        File of structures that ``potstill convert`` or ASE can read. The first thousand are used, without their labels.
    folder
        Target folder, made if needed.
    config
        Section ``evaluate``; the defaults where None.
    errors_only
        Whether errors of energy, forces and stress are all: no physics, no timing, one call of the reference for each
        structure.
    seed
        Seed of velocities.
    on_step
        Function called with a text before each step.

    Raises
    ------
    InputError
        If a model or the file cannot be opened, or the reference labels none of the structures.
    """
    truth = load_model(reference)
    if not isinstance(truth, TeacherModel):
        raise InputError(
            f"--reference {reference} is a student; name a teacher or module:callable, and the student as --candidate"
        )
    model = load_model(candidate)  # before the labels, which take longest
    on_step(f"labels of {reference}")
    structures, refused = _labelled(truth.teacher, path)
    settings = (config or EvaluateConfig()).model_copy(update=NO_PHYSICS if errors_only else {})

    def teacher() -> Teacher:
        return truth.teacher

    asked = None if errors_only else teacher
    evaluation = compare(
        model, structures, composition_baseline(structures), settings, teacher=asked, seed=seed, on_step=on_step
    )
    evaluation.report["models"] = {"candidate": candidate, "reference": reference}
    if isinstance(model, DeployedStudent):
        evaluation.report["trained_on"] = trained_on(student_folder(candidate), structures)
        evaluation.report["kinds"] |= _broken_bonds_trained_on(Path(candidate), model)
    evaluation.report["findings"] = [asdict(finding) for finding in judge(evaluation.report, settings)]
    evaluation.report["refused_by_reference"] = refused
    evaluation.report["made_from"] = {
        "dataset": sha256_of_file(path) if path.is_file() else None,
        "section": sha256_of_json(settings.model_dump(mode="json")),
        "candidate": _identity(model),
        "teacher": dict(truth.teacher.fingerprint),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(evaluation, folder / "evaluate.json", folder / "evaluate_data.npz")
    return evaluation


@cache
def load_model(name: str) -> Model:
    """Load a student by its folder, a calculator by ``module:callable``, else a teacher by its name.

    Raises
    ------
    InputError
        If there is no such model.
    """
    if Path(name).is_dir() or name in shipped_students():
        from potstill.deploy.student import load_student

        return load_student(name)
    options = {"name": "ase", "calculator": name} if ":" in name else {"name": name}
    return TeacherModel(open_teacher(parse_teacher(options), supervised=True))


def _broken_bonds_trained_on(folder: Path, student: DeployedStudent) -> dict[str, bool]:
    """Return which kinds of broken bonds the training data contain, by the evaluation of the student's run.

    Empty where the folder is not in a run, or the run has been evaluated with other weights. All gates then hold.
    """
    for place in (folder, folder.parent):
        path = place / "evaluate.json"
        report = read_json(path, "evaluate the run again") if path.is_file() else {}
        if report.get("made_from", {}).get("student") == weights_checksum(student):
            return {kind: report["kinds"][kind] for kind in BROKEN if kind in report.get("kinds", {})}
    return {}


def _identity(model: Model) -> Any:
    """Return the fingerprint of a teacher, or the checksum of a student's weights."""
    if isinstance(model, TeacherModel):
        return dict(model.teacher.fingerprint)
    return weights_checksum(model) if isinstance(model, DeployedStudent) else None


def _labelled(teacher: Teacher, path: Path) -> tuple[list[Structure], dict[str, int]]:
    """Return the structures that the reference labels, and the number of the others by reason."""
    found: list[Structure] = []
    refused: Counter[str] = Counter()
    plain = [
        s.with_(labels=None, id=s.id or f"{path.stem}-{k:06d}", source=s.source or path.stem, family=s.family or s.formula)
        for k, s in enumerate(islice(read_structures(path), MOST_STRUCTURES + 1))
    ]
    if len(plain) > MOST_STRUCTURES:
        log.warning("%s has more structures than are compared: the first %d are used", path, MOST_STRUCTURES)
        plain.pop()
    if not plain:
        raise InputError(f"{path} has no structure: name a file that has")
    for structure, answer in zip(plain, teacher.label(plain), strict=True):
        if isinstance(answer, Labels):
            found.append(structure.with_(labels=answer))
        else:
            refused[answer.reason] += 1
            log.warning("the reference refuses %s: %s: %s", structure.id, answer.reason, answer.detail)
    if not found:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        raise InputError(f"the reference labels none of the {len(plain)} structures of {path}: {reasons}")
    return found, dict(refused)


def composition_baseline(structures: list[Structure]) -> Array:
    """Return (S,) energies per atom in eV by reference energies fitted to all other structures of these.

    NaN where the others do not determine them. The residual without a structure is its residual over 1 - its leverage.
    """
    elements, places = np.unique(np.concatenate([s.atomic_numbers for s in structures]), return_inverse=True)
    owner = np.repeat(np.arange(len(structures)), [len(s) for s in structures])
    amounts = np.zeros((len(structures), len(elements)))
    np.add.at(amounts, (owner, places), 1.0)
    energies = np.array([s.labels.energy for s in structures if s.labels is not None])
    shares = amounts / amounts.sum(axis=1, keepdims=True)
    per_atom = energies / amounts.sum(axis=1)
    residual = per_atom - shares @ fit_reference_energies(amounts, energies)
    leverage = np.einsum("sz,zs->s", shares, np.linalg.pinv(shares, rcond=RELATIVE_CUTOFF))
    alone = leverage > 1 - DETERMINED
    return np.asarray(per_atom - np.where(alone, np.nan, residual / np.where(alone, 1.0, 1 - leverage)))
