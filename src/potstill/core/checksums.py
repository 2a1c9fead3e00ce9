"""SHA-256 of texts and of plain data, for results that store what they were made from."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def sha256_of_text(text: str) -> str:
    """Return ``sha256:`` and the hexadecimal digest of a text in UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sha256_of_json(value: Any) -> str:
    """Return the checksum of plain data, whatever the order of their keys."""
    return sha256_of_text(json.dumps(value, sort_keys=True, ensure_ascii=False))
