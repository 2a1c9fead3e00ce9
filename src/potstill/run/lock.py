"""The lock of a run folder: one process writes to it, and the lock ends with that process.

A folder that is no run folder is refused before anything in it is written or removed.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from potstill.core.errors import PotstillError, RunFolderError
from potstill.core.files import read_json, sealed

log = logging.getLogger(__name__)

LOCK = ".lock"
HELD_BY = "process "
FILE = "file "  # its number in the file system: a copy of a folder has the text of the lock, and another number
FOLDERS = frozenset({"structures", "label", "student", "active_learning", "rounds", "deploy", "batches", "figures"})
FILES = frozenset(
    {
        *("config.yaml", "run.json", "log.txt", "error.log", "metrics.jsonl", "metrics.prom", "advice.yaml", LOCK),
        *("dataset.h5", "audit.json", "audit.html", "audit.md", "audit_data.npz"),
        *("evaluate.json", "evaluate.html", "evaluate_data.npz", "evaluate_rows.jsonl"),
        *("report.html", "execute", "tensorboard"),
    }
)
APPENDED = ("log.txt", "error.log", "metrics.jsonl", "label/teacher.log")
TEMPORARY = re.compile(r"^\..+\.\d+\.tmp$")  # names that potstill.core.files.sealed writes under
ASIDE = re.compile(r"^.+\.aside-\d+(\.h5)?$")
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder, which is made if needed; remove the temporary files of killed writers.

    Raises
    ------
    RunFolderError
        If another process holds it, if it is no run folder and not empty, or if its file system has no locks.
    """
    refuse_foreign(folder)
    _refuse_links(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _open_lock(folder / LOCK) as file:
        _lock(file, folder)
        file.seek(0)
        file.truncate()
        file.write(f"{HELD_BY}{os.getpid()} on {platform.node()}\n{FILE}{os.fstat(file.fileno()).st_ino}\n")
        file.flush()
        _remove_leftovers(folder)
        _unshare(folder)
        yield


def _refuse_links(folder: Path) -> None:
    """Raise :class:`RunFolderError` where a text that is written in place is a link, such as in a copy made of links."""
    for path in (folder / name for name in APPENDED):
        if path.is_symlink():
            raise RunFolderError(
                f"{path} is a symbolic link, expected a file of this run: its target would be written to\n"
                f"  remove the link:  rm {path}"
            )
        if path.exists() and not path.is_file() and not path.is_dir():
            raise RunFolderError(f"{path} is no plain file\n  move it away")


def _unshare(folder: Path) -> None:
    """Copy files that are written in place, texts and exports, and that a copy of the run made of links has too."""
    for path in (*(folder / name for name in APPENDED), *sorted((folder / "deploy").rglob("*"))):
        if path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1):
            with sealed(path) as temporary:
                shutil.copy2(path, temporary)


def holder(folder: Path) -> tuple[int, str] | None:
    """Return number and host of the process that locked the folder; None where none did, or where the lock is a copy.

    The number of a file is compared on one machine only: another one may number the files of a network anew.
    """
    path = folder / LOCK
    try:
        first, _, second = path.read_text(encoding="utf-8", errors="replace").partition("\n")
        number, _, host = first.removeprefix(HELD_BY).partition(" on ")
        file = second.strip().removeprefix(FILE)
        copied = host == platform.node() and file.isdigit() and int(file) != path.stat().st_ino
    except OSError:
        return None
    return (int(number), host) if number.isdigit() and not copied else None


def refuse_foreign(folder: Path) -> None:
    """Raise :class:`RunFolderError` for a folder that contains files and is no run folder; it is not changed."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is no folder\n  give --out an empty or new folder")
    names = [entry.name for entry in folder.iterdir()]
    if not names or _has_record(folder):
        return
    if LOCK in names and all(n in FILES or n in FOLDERS or TEMPORARY.match(n) or ASIDE.match(n) for n in names):
        return  # a run whose run.json was not written yet, or was lost
    refuse_partial(folder)
    raise RunFolderError(f"{folder} contains files that are no run\n  give --out an empty or new folder")


def refuse_partial(folder: Path) -> None:
    """Raise :class:`RunFolderError` for files of a run without its ``run.json`` and lock, as a copy in part has them."""
    names = {entry.name for entry in folder.iterdir()}
    made = names & {*FOLDERS, "dataset.h5"}
    if not {LOCK, "run.json"} & names and "config.yaml" in names and made and names <= FILES | FOLDERS:
        raise RunFolderError(
            f"{folder} contains files of a run without its run.json, as a copy in part\n"
            "  copy the whole folder of the run, or give --out an empty or new folder"
        )


def _has_record(folder: Path) -> bool:
    """Return whether the folder has a config and a ``run.json`` of ours."""
    if not (folder / "config.yaml").is_file() or not (folder / "run.json").is_file():
        return False
    try:
        return "potstill" in read_json(folder / "run.json", "")
    except PotstillError:
        return False


def _open_lock(path: Path) -> IO[str]:
    """Open the lock file for reading and writing, never through a link and never another user's file."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunFolderError(f"{path} is a symbolic link, expected a file\n  remove the link:  rm {path}") from error
        raise
    ours = stat.S_ISREG(os.fstat(number).st_mode) and os.pread(number, len(HELD_BY), 0) in (b"", HELD_BY.encode())
    if not ours:
        os.close(number)
        raise RunFolderError(f"{path} is no lock of potstill\n  move it away, or give --out an empty or new folder")
    return os.fdopen(number, "r+", encoding="utf-8", errors="replace")


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise RunFolderError(f"{folder} is in use by another process ({file.readline().strip() or 'unknown'})") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() not in ("FALSE", "0", "BEST_EFFORT"):
            raise RunFolderError(
                f"{folder} is on a file system without locks ({error.strerror})\n"
                "  use a folder on another file system; or make sure that one process at a time works on the run, and "
                "set  export HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
        log.warning("%s is on a file system without locks: do not start a second process on it", folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers; no other process writes here now."""
    for name in (".", *sorted(FOLDERS)):
        for place, folders, names in os.walk(folder / name):
            if name == ".":
                folders.clear()
            for leftover in filter(TEMPORARY.match, names):
                (Path(place) / leftover).unlink(missing_ok=True)
