"""The audit of anyone's file: HDF5 of ours, extended XYZ, or whatever ASE reads.

What such a file does not say (which teacher, how long, which split) is NOT_RUN, so its verdict is GO only with all of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit, write_report
from potstill.core.errors import InputError
from potstill.core.section import read_section
from potstill.dataset import Dataset, open_file
from potstill.dataset.convert import convert
from potstill.dataset.formats import hdf5
from potstill.dataset.inputs import ReadOptions
from potstill.stats import Statistics
from potstill.teacher import load_teacher


def audit_file(
    data: Path,
    folder: Path,
    teacher: str,
    gates: AuditConfig | None = None,
    *,
    on_judged: Callable[[dict[str, Any], Statistics, Dataset], None] = lambda report, stats, dataset: None,
) -> dict[str, Any]:
    """Judge a file and write ``audit.json`` into a folder.

    Parameters
    ----------
    data
        Labelled structures.
    folder
        Made if needed.
    teacher
        Name of the teacher that repeats some labels; empty for none.
    gates
        The default ones where None.
    on_judged
        Receives the report, the statistics and the dataset while the file is open, to write pages.

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
            convert(data, path, options=ReadOptions(keep_not_finite=True))  # the check 'finite' shall see them
        kept = folder / "audit_data.npz" if path == data else None  # a file of another format states no checksums
        return _audit(open_file(path), folder, teacher, gates or AuditConfig(), kept, on_judged)


def read_gates(config: Path) -> AuditConfig:
    """Gates of the section ``audit`` of a YAML file; see :func:`~potstill.core.section.read_section`."""
    return read_section(config, "audit", AuditConfig)


def _audit(
    dataset: Dataset,
    folder: Path,
    teacher: str,
    gates: AuditConfig,
    kept: Path | None,
    on_judged: Callable[[dict[str, Any], Statistics, Dataset], None],
) -> dict[str, Any]:
    if not dataset.labelled:
        raise InputError(
            f"{dataset.path.name}: not every structure has energy and forces\n"
            "  extended XYZ needs REF_energy and REF_forces (or energy and forces) in every frame"
        )
    ask = cache(lambda: load_teacher(teacher)) if teacher else None
    report, stats = audit(dataset, gates, teacher=ask, kept=kept)
    write_report(report, folder / "audit.json")
    on_judged(report, stats, dataset)
    return report
