"""A frame of a file, and the reason why content gives none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from potstill.core.files import quoted
from potstill.core.types import Structure

COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, written by Notepad and Excel before the first character
MARKS = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ"}  # first bytes of a compressed file
NOT_THAT = "; if the file is of another format, give it the ending of that one"
TAR_MARK = slice(257, 262)  # of a tar archive: b"ustar"


class UnusableError(Exception):
    """Content that gives no structure.

    Parameters
    ----------
    reason
        Short word that is counted.
    detail
        Content found, and the next action.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """A structure of a file.

    Parameters
    ----------
    structure
        Structure, with labels where they were read.
    remarks
        A remark about each thing that the file states and the structure lacks.
    ours
        Whether potstill wrote the frame, so that its names and metadata are whole.
    labels_of
        Calculator that the file names for the labels, else the key of their energy; empty where there are none.
    """

    structure: Structure
    remarks: tuple[str, ...] = ()
    ours: bool = False
    labels_of: str = ""

    def with_remarks(self, *remarks: str) -> Frame:
        """Return the frame with more remarks."""
        return replace(self, remarks=(*self.remarks, *remarks)) if remarks else self


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of foreign readers, except for those about atoms or symmetry left out: these become errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Wrong number")  # ASE, of a row in a CIF table
        warnings.filterwarnings("error", message=".*Defaulting to P1")  # pymatgen, of a space group that it does not know
        yield


def content_of(path: Path) -> bytes:
    """Return the content of a file, decompressed."""
    return _decompressed(path, path.stat().st_mtime_ns) if path.suffix in COMPRESSED else path.read_bytes()


@contextmanager
def plain_file(path: Path, text: str = "") -> Iterator[Path]:
    """Yield the path of a file, or that of its decompressed copy: some readers of ASE read no other.

    Parameters
    ----------
    path
        Path of the file.
    text
        Text of a copy that is read in place of the file.
    """
    if path.suffix not in COMPRESSED and not text:
        yield path
        return
    with TemporaryDirectory() as folder:
        plain = Path(folder) / uncompressed(path).name
        plain.write_bytes(text.encode() if text else content_of(path))
        yield plain


def text_of(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, decompressed, without byte order mark, with the ends of lines of Unix."""
    return as_text(content_of(path), encoding)


def as_text(content: bytes, encoding: str = "utf-8") -> str:
    """Return content as text, without byte order mark, with the ends of lines of Unix."""
    text = content.removeprefix(BYTE_ORDER_MARK).decode(encoding, errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def uncompressed(path: Path) -> Path:
    """Return the path without the ending of a compressed file."""
    return path.with_suffix("") if path.suffix in COMPRESSED else path


def ending_of(path: Path) -> str:
    """Return the ending of a name in lower case, without that of its compression."""
    return uncompressed(path).suffix.lower()


def refuse_wrong_ending(path: Path) -> None:
    """Refuse a file that is compressed and not named so, or named so and not compressed.

    Raises
    ------
    UnusableError
        ``unreadable`` with the name that the file should have.
    """
    with path.open("rb") as file:
        head = file.read(6)
    ending = next((ending for ending, mark in MARKS.items() if head.startswith(mark)), "")
    if ending and path.suffix not in COMPRESSED:
        raise UnusableError("unreadable", f"its content is compressed; name it {path.name}{ending}")
    if path.suffix in COMPRESSED and ending != path.suffix:
        right = path.with_suffix(ending).name
        raise UnusableError("unreadable", f"its content is not that of a {path.suffix} file; name it {right}")


def refuse_archive(path: Path) -> None:
    """Refuse a tar archive, compressed or not: a reader that is chosen by its name would fail with a false reason.

    Raises
    ------
    UnusableError
        ``unknown_format`` with the command that unpacks it.
    """
    with path.open("rb") as file:
        start = file.read(6)
    ending = next((ending for ending, mark in MARKS.items() if start.startswith(mark)), "")
    with COMPRESSED.get(ending, open)(path, "rb") as file, suppress(EOFError, OSError, lzma.LZMAError):
        head = bytes(file.read(TAR_MARK.stop))
        if head[TAR_MARK] == b"ustar":
            raise UnusableError("unknown_format", f"it is an archive of files; unpack it with  tar -xf {quoted(path.name)}")


@lru_cache(maxsize=2)
def _decompressed(path: Path, _mtime_ns: int) -> bytes:
    with COMPRESSED[path.suffix](path, "rb") as file:
        return bytes(file.read())
