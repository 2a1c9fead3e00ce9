"""Results of another origin: renamed, never deleted, before a stage begins anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from potstill.core.files import name_aside
from potstill.run.folder import RunFolder
from potstill.run.made_from import files_of

log = logging.getLogger(__name__)


def set_aside(run: RunFolder, stage: str, other: Sequence[str]) -> list[Path]:
    """Rename a stage's results that have another origin, and return the new names.

    Parameters
    ----------
    run
        Run folder.
    stage
        Name of the stage that is about to begin.
    other
        Dotted names that differ from the origin of the partial results, see :func:`potstill.run.made_from.changed`.
    """
    names = {name if name.endswith(".h5") else name.partition(".")[0] for name in other}
    state = run.stage(stage)["state"]
    unknown = state == "waiting"  # run.json was lost, or a user put files there
    moved: list[Path] = []
    match stage:
        case "generate" if names or unknown or state in ("done", "stale"):
            moved = [run.structures.parent]  # the file is missing: its parts may be of another run, too
        case "label":
            if names - {"dataset"}:
                moved = [run.labelled_parts]  # otherwise each part states its request
            if names - {"dataset"} or unknown:
                moved += [run.selected, run.first]
            if _is_foreign(run, stage):
                moved.append(run.dataset)
        case "batches" if _is_foreign(run, stage):
            moved = [run.dataset]
        case "train":
            if names - {"active_learning", "label"} or unknown or (state in ("done", "stale") and _is_foreign(run, stage)):
                moved = [run.student]
            if names or unknown:
                moved.append(run.active_learning)
    return [_rename(path) for path in moved if path.exists()]


def _is_foreign(run: RunFolder, stage: str) -> bool:
    """Return whether the file that a stage will replace differs from the one that it wrote."""
    entry = run.stage(stage)
    stated, found = entry.get("files", {}), files_of(run, stage)
    if not stated:
        return bool(found) and entry["state"] == "waiting"
    return any(stated.get(name) != checksum for name, checksum in found.items())


def _rename(path: Path) -> Path:
    target = name_aside(path, path.suffix if path.suffix == ".h5" else "")
    path.rename(target)
    log.warning("%s was made from other input or options: it is kept as %s", path, target)
    return target
