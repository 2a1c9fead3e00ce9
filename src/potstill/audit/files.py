"""The audit of anyone's file: HDF5 of ours, extended XYZ, or whatever ASE reads.

What such a file does not say (which teacher, how long, which split) is NOT_RUN, so its verdict is GO only with all of it.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from potstill.audit.stage import audit, write_report
from potstill.config import AuditConfig
from potstill.dataset import Dataset, open_file
from potstill.dataset.convert import convert
from potstill.dataset.formats import hdf5
from potstill.errors import InputError
from potstill.label import load_teacher
from potstill.report.audit import write_audit_page


def audit_file(data: Path, folder: Path, teacher: str) -> dict[str, Any]:
    """Judge a file by the default gates and write ``audit.json`` and ``audit.html`` into a folder.

    Parameters
    ----------
    data
        Labelled structures.
    folder
        Made if needed.
    teacher
        Name of the teacher that repeats some labels; empty for none.

    Raises
    ------
    InputError
        If there is no such file, or its structures have no labels.
    """
    if not data.exists():
        raise InputError(f"no file at {data}")
    with tempfile.TemporaryDirectory() as scratch:
        path = data
        if data.suffix not in hdf5.FORMAT.endings:
            path = Path(scratch) / "data.h5"
            convert(data, path)
        return _audit(open_file(path), folder, teacher)


def _audit(dataset: Dataset, folder: Path, teacher: str) -> dict[str, Any]:
    if not dataset.labelled:
        raise InputError(
            f"{dataset.path.name}: not every structure has energy and forces\n"
            "  extended XYZ needs REF_energy and REF_forces (or energy and forces) in every frame"
        )
    ask = cache(lambda: load_teacher(teacher)) if teacher else None
    report, stats = audit(dataset, AuditConfig(), teacher=ask)
    write_report(report, folder / "audit.json")
    write_audit_page(report, stats, dataset, folder / "audit.html")
    return report
