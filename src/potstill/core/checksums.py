"""SHA-256 of texts, plain data, files and folders, for results that store their origin."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000_000  # below a folder, so that a look at it takes seconds
MOST_FILES = 10_000
OF_A_RUN = {"config.yaml", "run.json"}  # in the folder of a run
OF_A_STUDENT = ("config.json", "weights.safetensors", "uncertainty.safetensors")
WRITTEN = ("directory", "outdir", "scratch", "tmpdir", "wfcdir", "workdir")  # options of folders that a calculator writes


def sha256_of_text(text: str) -> str:
    """Return ``sha256:`` and the hexadecimal digest of a text in UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sha256_of_json(value: Any) -> str:
    """Return the checksum of plain data, whatever the order of their keys."""
    return sha256_of_text(json.dumps(value, sort_keys=True, ensure_ascii=False))


def sha256_of_file(path: Path) -> str:
    """Return ``sha256:`` and the digest of a file's content; a file is read again only if its size or time changed."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


def sha256_of_folder(folder: Path) -> str | None:
    """Return one checksum for the names, sizes and contents of the visible files below a folder; None for too many files.

    Beyond :data:`MOST_BYTES` the contents do not count. A student counts by its own files, also as that of a run, for the
    verdict beside them changes. Runs below the folder do not count.
    """
    for student in (folder, folder / "student"):
        if (student / OF_A_STUDENT[0]).is_file() and (student / OF_A_STUDENT[1]).is_file():
            return _told(student, [student / name for name in OF_A_STUDENT])
    files: list[Path] = []
    for root, folders, names in os.walk(folder):
        if set(names) >= OF_A_RUN:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        files += [Path(root) / name for name in names if not name.startswith(".")]
        if len(files) > MOST_FILES:
            return None
    return _told(folder, files)


def _told(folder: Path, files: Sequence[Path]) -> str:
    sizes = {path: path.stat().st_size for path in sorted(files) if path.is_file()}
    whole = sum(sizes.values()) <= MOST_BYTES
    told = [[str(p.relative_to(folder)), size, sha256_of_file(p) if whole else ""] for p, size in sizes.items()]
    return sha256_of_json(told)


def with_contents(value: Any, *, folders: bool = False, relative: bool = False) -> Any:
    """Return JSON data with a checksum in place of each path of a file: a moved file counts as the same file.

    Parameters
    ----------
    value
        JSON data.
    folders
        Whether folders count by the files below them too, except under the names of :data:`WRITTEN`.
    relative
        Whether paths from the current folder, and those that begin with ``~``, count beside absolute ones.
    """
    if isinstance(value, Mapping):
        within = {key: folders and key not in WRITTEN for key in value}
        return {key: with_contents(item, folders=within[key], relative=relative) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_contents(item, folders=folders, relative=relative) for item in value]
    if isinstance(value, str) and (relative or value.startswith("/")):
        return _checksum_of_named(value, folders=folders) or value
    return value


def _checksum_of_named(text: str, *, folders: bool) -> str | None:
    """Return the checksum of the file that a text names, or of the folder where folders count; None where it names none."""
    try:
        path = Path(text).expanduser() if text.strip("./") else Path(os.devnull)
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError):  # a text that no path can be
        return None
    if is_file:
        return sha256_of_file(path)
    return sha256_of_folder(path) if folders and is_folder else None


@lru_cache(maxsize=4096)
def _sha256(path: Path, _size: int, _written: int) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
