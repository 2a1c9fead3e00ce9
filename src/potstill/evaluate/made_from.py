"""Origin of an evaluation, so that its figures are never judged again for other data or another student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.checksums import sha256_of_json
from potstill.core.errors import InputError
from potstill.dataset import Dataset
from potstill.dataset.checksum import checksum_of

if TYPE_CHECKING:
    from potstill.core.types import Teacher
    from potstill.deploy.student import DeployedStudent
    from potstill.evaluate.options import EvaluateConfig


def weights_checksum(student: DeployedStudent) -> str:
    """Return the checksum of a student's weights: of names, shapes and bytes, independent of their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(student.model.state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return f"sha256:{digest.hexdigest()}"


def made_from(student: DeployedStudent, dataset: Dataset, config: EvaluateConfig, teacher: Teacher | None) -> dict[str, Any]:
    """Return the checksums of dataset, section and weights, and the fingerprint of the teacher."""
    return {
        "dataset": checksum_of(dataset),
        "section": sha256_of_json(config.model_dump(mode="json")),
        "student": weights_checksum(student),
        "teacher": None if teacher is None else dict(teacher.fingerprint),
    }


def refuse_others(report: Mapping[str, Any], student: DeployedStudent, dataset: Dataset) -> None:
    """Refuse to judge stored figures for another dataset or student than they were made from.

    Raises
    ------
    InputError
        If one differs. A report of an earlier version states neither, and is accepted.
    """
    stored = report.get("made_from", {})
    now = {"dataset": checksum_of(dataset), "student": weights_checksum(student)}
    changed = [name for name, checksum in now.items() if stored.get(name, checksum) != checksum]
    if changed:
        raise InputError(
            f"evaluate.json was made from another {' and another '.join(changed)} than there is now\n"
            "  evaluate again:  potstill evaluate RUN"
        )
