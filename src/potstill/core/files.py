"""Files that are either complete or absent, and one-line errors for a file that cannot be read or written."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError, PotstillError

FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.EACCES: "change its permissions, or use another folder",
    errno.EPERM: "change its permissions, or use another folder",
    errno.EROFS: "use a folder that can be written",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the limit of this shell (ulimit -f unlimited), or use another file system",
    errno.EISDIR: "move the folder away: a file of this name is expected",
    errno.ENOTDIR: "move the file away: a folder of this name is expected",
    errno.EEXIST: "move it away",
    errno.ENOENT: "check the path",
    errno.ELOOP: "replace the symbolic link by the file itself",
}


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write under; on success sync the file and rename it to ``path``, otherwise remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        number = error.errno or _number_in(str(error))
        if error.filename is None and number in (*FULL, errno.EFBIG):  # they name no file
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole, see :func:`sealed`."""
    with sealed(path) as temporary:
        temporary.write_text(json.dumps(dict(content), indent=2, ensure_ascii=False), encoding="utf-8")


def h5_files(folder: Path) -> list[Path]:
    """Return the HDF5 files of a folder by name, without hidden ones, such as ``._data.h5`` that macOS adds to each file."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def name_aside(path: Path, suffix: str = "") -> Path:
    """Return the first free name ``STEM.aside-N`` beside a file or folder, for what is kept and not used any more.

    Parameters
    ----------
    path
        File or folder that will be renamed.
    suffix
        Ending of the new name, such as ``.h5``; an ending of the file is left out otherwise.
    """
    stem = path.stem if path.suffix == ".h5" else path.name
    return next(name for n in count(1) if not (name := path.with_name(f"{stem}.aside-{n}{suffix}")).exists())


def shown(path: Path | str) -> str:
    """Return a path as text that any file and terminal takes: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def quoted(path: Path | str) -> str:
    """Return a path as a command of a shell takes it: one with blanks stands in quotes."""
    return shlex.quote(shown(path))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path
        The file.
    remedy
        Second line of the error for a damaged file, such as a command that makes the file again.

    Raises
    ------
    PotstillError
        If the file holds no JSON object.
    OSError
        If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also text that is no UTF-8
        raise PotstillError(f"{path} is damaged ({error})\n  {remedy}") from error
    if not isinstance(content, dict):
        raise PotstillError(f"{path} is damaged (found a {type(content).__name__}, expected an object)\n  {remedy}")
    return content


def file_error(error: OSError, folder: Path | None = None) -> PotstillError:
    """Return the one-line form of an error of the operating system: the file, what is wrong, and the remedy.

    A full disk is a run that failed, and any other error is one of input.

    Parameters
    ----------
    error
        The error; a full disk is one without a file name.
    folder
        Folder that was written to, named where the error names no file.
    """
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = error.strerror or str(error) or type(error).__name__
    number = error.errno or _number_in(what)
    remedy = REMEDIES.get(number, "")
    if number in (*FULL, errno.EFBIG):
        what = os.strerror(number)
    if number in FULL:
        remedy += _free_space(Path(names[-1]) if names else folder)
    where = "a file" if folder is None else f"a file in {shown(folder)}"
    kind = PotstillError if number in (*FULL, errno.EFBIG) else InputError
    return kind(f"{' -> '.join(names) or where}: {what}" + (f"\n  {remedy}" if remedy else ""))


def _number_in(text: str) -> int:
    """Return the number of a full disk that a library states within its own text; 0 where it states none."""
    return next((number for number in (*FULL, errno.EFBIG) if os.strerror(number) in text), 0)


def _free_space(path: Path | None) -> str:
    """Return the free space of the file system of a path, as text to follow a remedy."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), None) if path is not None else None
    if existing is None:
        return ""
    return f": {shutil.disk_usage(existing).free / 1e6:,.1f} MB are free at {shown(existing)}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
