"""Origin of a student: a dataset, sections of the config, a seed and start weights in, a JSON object out.

``student/config.json``, each checkpoint and ``learning_rate.json`` contain it under ``made_from``. A result belongs to a
training only if both objects are equal. :func:`differences` lists the differences.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.types import Array
from potstill.dataset import Dataset, Records, RecordSource

if TYPE_CHECKING:
    from potstill.student.model import Student
    from potstill.student.options import StudentConfig
    from potstill.train.options import TrainConfig

log = logging.getLogger(__name__)
KEY = "made_from"
FORMAT = 1  # format of the origin: results of another format are made anew
MACHINE = frozenset({"processes", "nodes", "backend", "checkpoint_minutes", "tensorboard"})  # the student is the same
STRUCTURES_AT_ONCE = 4096
ADAMW = "adamw"


def made_from(
    dataset: Dataset,
    student: StudentConfig,
    config: TrainConfig,
    *,
    seed: int,
    start: Student | None = None,
    replay: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the origin of the student of a training on a dataset.

    Parameters
    ----------
    dataset
        Labelled and split dataset; its checksums and the fingerprint of its teacher count, its path does not.
    student, config
        Sections ``student`` and ``train``; options that name the machine (``processes``, ``backend`` …) do not count.
    seed
        Seed of the initial weights and of the order of batches.
    start
        Student whose weights the training starts from, or None for random ones.
    replay
        Origin of earlier structures (:meth:`potstill.train.replay.Replay.origin`); None where there are none.

    Returns
    -------
    dict
        JSON-serialisable: ``format``, ``dataset``, ``student``, ``train``, ``seed``, ``start``, and ``replay`` where given.
        Read it again from ``config.json`` with :func:`stated`, and compare both with :func:`differences`.
    """
    return described(digest_of_file(dataset), student, config, seed=seed, start=start, replay=replay)


def described(
    data: str,
    student: StudentConfig,
    config: TrainConfig,
    *,
    seed: int,
    start: Student | None,
    replay: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the same for data with a known digest."""
    options = config.model_dump(mode="json", exclude={*MACHINE, "start", "replay"})  # their contents count below
    if options["optimizer"] == ADAMW:  # earlier students name none
        del options["optimizer"]
    return {
        "format": FORMAT,
        "dataset": data,
        "student": student.model_dump(mode="json"),
        "train": {**options, "learning_rate": config.rate},
        "seed": seed,
        "start": None if start is None else weights_digest(start),
        **({} if replay is None else {"replay": dict(replay)}),
    }


def stated(folder: Path) -> dict[str, Any] | None:
    """Return the origin that the ``config.json`` of a student's folder states; None where it states none."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = found.get(KEY) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else None


def differences(found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each entry in which two origins differ; none where they are equal.

    >>> differences({"seed": 1, "train": {"epochs": 10}}, {"seed": 1, "train": {"epochs": 20}})
    ['train.epochs was 10, is 20']
    >>> differences(None, {"seed": 1})
    ['it does not say what it was made from']
    """
    if found is None:
        return ["it does not say what it was made from"]
    return _differences(found, expected, "")


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any], path: str) -> list[str]:
    phrases: list[str] = []
    for key in [*expected, *(key for key in found if key not in expected)]:
        old, new = found.get(key), expected.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases += _differences(old, new, f"{path}{key}.")
        elif old != new:
            phrases.append(f"{path}{key} was {_short(old)}, is {_short(new)}")
    return phrases


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return f"{text[:9]}…" if isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 else text


def set_aside(path: Path, found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> Path:
    """Rename a result of another job to ``NAME.old``, in place of an earlier one, and warn.

    Returns
    -------
    Path
        The new name.
    """
    aside = path.with_name(f"{path.name}.old")
    path.replace(aside)
    log.warning(
        "%s is from another training and was renamed to %s; this training begins anew (%s)",
        path,
        aside.name,
        "; ".join(differences(found, expected)),
    )
    return aside


def records_digest(*sources: RecordSource, weights: Array | None = None) -> str:
    """Return the SHA-256 of labelled records, in hexadecimal; a file's is that of its checksums."""
    digest = hashlib.sha256()
    for source in sources:
        if isinstance(source, Dataset):
            digest.update(digest_of_file(source).encode())
            continue
        for start in range(0, len(source), STRUCTURES_AT_ONCE):
            _add(digest, source.gather(np.arange(start, min(start + STRUCTURES_AT_ONCE, len(source)))))
        digest.update(b"end")
    if weights is not None:
        digest.update(np.ascontiguousarray(weights, dtype=np.float64).tobytes())
    return digest.hexdigest()


def weights_digest(student: Student) -> str:
    """Return the SHA-256 of a student's architecture and weights, in hexadecimal."""
    digest = hashlib.sha256(student.architecture.model_dump_json().encode())
    for name, tensor in student.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of_file(dataset: Dataset) -> str:
    """Return the SHA-256 of a file's checksums and teacher, in hexadecimal."""
    parts = [str(dataset.attributes.get(name, "")) for name in ("checksums", "teacher")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _add(digest: Any, records: Records) -> None:
    names = ("ptr", "atomic_numbers", "positions", "forces", "cell", "pbc", "energy", "stress", "has_stress")
    for array in (*(getattr(records, name) for name in names), *(records.extra[name] for name in sorted(records.extra))):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
