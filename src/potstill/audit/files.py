"""Audit of a file of the user's own: HDF5 of ours, extended XYZ, or any other file that is read.

Checks about a run (counts requested, duration, split) do not apply to a file without a run. Without a named teacher, checks
that call a teacher do not apply either, and the verdict says so. A file that contains the config of a run must contain all
that a run writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from potstill.audit.asked import config_in
from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit, write_advice, write_report
from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.section import read_section
from potstill.core.types import Teacher
from potstill.dataset import Dataset, open_file
from potstill.dataset.convert import convert
from potstill.dataset.formats import hdf5
from potstill.dataset.inputs import ReadOptions
from potstill.stats import Statistics
from potstill.teacher.choices import parse_teacher
from potstill.teacher.opening import open_teacher


def audit_file(
    data: Path,
    folder: Path,
    teacher: str,
    gates: AuditConfig | None = None,
    *,
    advice: str = "advice.yaml",
    on_judged: Callable[[dict[str, Any], Statistics, Dataset], None] = lambda report, stats, dataset: None,
) -> dict[str, Any]:
    """Judge a file and write ``audit.json`` into a folder.

    Parameters
    ----------
    data
        File of labelled structures.
    folder
        Folder of the reports, made if needed.
    teacher
        Name of the teacher that repeats some labels; empty for none.
    gates
        Limits of the checks; the default ones where None.
    advice
        Name of the file of proposed changes.
    on_judged
        Function called with the report, the statistics and the dataset while the file is open, to write pages.

    Raises
    ------
    InputError
        If there is no such file, its structures have no labels, a gate names a source that it does not have, or the teacher
        cannot be opened.
    """
    if not data.exists():
        raise InputError(f"no file at {data}")
    refuse_run_folder(folder, "potstill audit")
    ask = _teacher(teacher) if teacher else None
    with tempfile.TemporaryDirectory() as scratch:
        path = data
        if data.suffix not in hdf5.FORMAT.endings:
            path = Path(scratch) / "data.h5"
            convert(data, path, options=ReadOptions(keep_not_finite=True))  # kept for the check 'finite'
        kept = folder / "audit_data.npz" if path == data else None  # a file of another format states no checksums
        dataset = _labelled(open_file(path), data)
        _refuse_unknown_sources(gates or AuditConfig(), dataset, data)
        if ask is not None:
            ask()  # one that cannot be opened is refused, and is no list of checks that could not run
        of_run = bool(config_in(dataset.attributes))
        report, stats = audit(dataset, gates or AuditConfig(), teacher=ask, kept=kept, of_run=of_run, name=data.name)
        write_report(report, folder / "audit.json")
        write_advice(report, dataset.attributes.get("config", ""), folder / advice, gates)
        on_judged(report, stats, dataset)
        return report


def refuse_run_folder(folder: Path, command: str) -> None:
    """Refuse to write the verdict on a file into the folder of a run, where it would replace that of the run.

    Raises
    ------
    InputError
        If the folder holds a run; ``command`` judges that run itself.
    """
    begun = (folder / "config.yaml").exists() and (folder / "log.txt").exists()
    if (folder / "run.json").exists() or begun:  # a config.yaml alone may be the user's, beside the data
        raise InputError(
            f"{folder} is a run folder, and its own verdict would be overwritten\n"
            f"  judge the run with:  {command} {folder}\n  or name another folder with --out"
        )


def _teacher(name: str) -> Callable[[], Teacher]:
    """Open a teacher by its name on the first call, in a process of its own."""
    options = parse_teacher({"name": name})

    @cache
    def opened() -> Teacher:
        return open_teacher(options, supervised=True)

    return opened


def read_gates(config: Path) -> AuditConfig:
    """Return the gates of the section ``audit`` of a YAML file; see :func:`~potstill.core.section.read_section`."""
    return read_section(config, "audit", AuditConfig)


def _refuse_unknown_sources(gates: AuditConfig, dataset: Dataset, data: Path) -> None:
    known = sorted({*dataset.sources.tolist(), *(refusal.source for refusal in dataset.refused)})
    for option, limits in gates.by_source.items():
        for name in sorted(set(limits) - set(known)):
            raise InputError(f"audit.{option}: {data.name} has no source '{name}'; {nearest(name, known)}")


def _labelled(dataset: Dataset, data: Path) -> Dataset:
    """Return a dataset whose structures all have labels.

    Raises
    ------
    InputError
        If a structure has none.
    """
    if not dataset.labelled:
        raise InputError(
            f"{data.name}: not every structure has energy and forces\n"
            "  expected REF_energy and REF_forces, or energy and forces, in every frame; where your file has other keys:\n"
            "  potstill convert IN.extxyz OUT.h5 --energy-key NAME --forces-key NAME --stress-key NAME"
        )
    return dataset
