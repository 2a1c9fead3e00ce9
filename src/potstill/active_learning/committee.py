"""A committee of small students: labelled structures and a pool in, the disagreement on each structure of the pool out.

Where students trained on the same labels from other random weights disagree, those labels do not determine the forces. A
further label has the largest value there (query by committee, Seung, Opper and Sompolinsky, COLT (1992)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from potstill.core.counts import several
from potstill.core.errors import InputError
from potstill.core.types import Array
from potstill.dataset import Dataset, merge
from potstill.deploy.student import DeployedStudent
from potstill.student.options import StudentConfig
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

MEMBERS = 2
LOOKED_AT = 30_000  # number of structures in a member's training, repeated where there are fewer
AT_ONCE = 32  # structures, in training and in prediction


def member_options(labelled: int, cutoff_angstrom: float) -> tuple[StudentConfig, TrainConfig]:
    """Return student and training of a member, from the number of labelled structures."""
    epochs = max(1, round(LOOKED_AT / labelled))
    config = TrainConfig(epochs=epochs, batch_structures=AT_ONCE, energy_weight=5.0, weight_decay=0.1, uncertainty=False)
    return StudentConfig(tier="nano", cutoff_angstrom=cutoff_angstrom), config


def disagreement(
    parts: Sequence[Path],
    pool: Dataset,
    folder: Path,
    *,
    cutoff_angstrom: float,
    seed: int,
    on_step: Callable[[str], None] = lambda step: None,
    on_epoch: Callable[[], None] = lambda: None,
) -> Array:
    """Return the (S,) sum over a structure's atoms of the mean distance of the members' forces from their mean, in eV/Å.

    Infinite where a structure has an element that no labelled one has.

    Parameters
    ----------
    parts
        Files of labelled structures.
    pool
        S structures, with labels or without.
    folder
        Folder of the members' checkpoints; a training that was stopped continues from them.
    cutoff_angstrom
        Cutoff of the members in Å.
    seed
        Seed of the first member.
    on_step
        Function called with a line of text before each step.
    on_epoch
        Function called after each epoch.

    Raises
    ------
    InputError
        If no structure has labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merge(parts, folder / "labelled.h5", attributes={})
    labelled = Dataset(folder / "labelled.h5")
    if not len(labelled):
        raise InputError(
            "the teacher labelled none of the committee's training structures\n"
            "  see the refusals with  potstill status RUN  or set  label.select.by: random"
        )
    student, config = member_options(len(labelled), cutoff_angstrom)
    members = []
    for k in range(1, MEMBERS + 1):
        on_step(f"committee: student {k} of {MEMBERS} is trained on {several(len(labelled), 'structure')}")
        job = TrainJob(training=labelled, student=student, config=config, folder=folder / str(k), seed=seed + k)
        trained = train_student(job, on_epoch=lambda epoch, report: on_epoch())
        members.append(DeployedStudent(trained, {}))
    known = set(members[0].model.architecture.atomic_numbers)
    apart = np.full(len(pool), np.inf)
    for start in range(0, len(pool), AT_ONCE):
        structures = pool[start : start + AT_ONCE]
        asked = [k for k, s in enumerate(structures) if set(s.atomic_numbers.tolist()) <= known]
        if not asked:
            continue
        answers = [member.label([structures[k] for k in asked]) for member in members]
        for k, *forces in zip(asked, *([a.forces for a in member] for member in answers), strict=True):
            every = np.stack(forces)
            apart[start + k] = np.linalg.norm(every - every.mean(axis=0), axis=2).mean(axis=0).sum()
    return apart
