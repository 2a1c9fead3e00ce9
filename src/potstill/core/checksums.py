"""SHA-256 of texts, plain data and files, for results that store their origin."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any


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


def with_contents(value: Any) -> Any:
    """Return JSON data with a checksum in place of each absolute path of a file: a moved file counts as the same file."""
    if isinstance(value, dict):
        return {key: with_contents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_contents(item) for item in value]
    if isinstance(value, str) and value.startswith("/") and Path(value).is_file():
        return sha256_of_file(Path(value))
    return value


@lru_cache(maxsize=4096)
def _sha256(path: Path, _size: int, _written: int) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
