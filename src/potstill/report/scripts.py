"""Scripts of the pages: each a file of this package, after the functions that several of them call."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).parent
SHARED = "shared.js"


def script(name: str) -> Markup:
    """Return the script of a page, such as ``explorer.js``, with the shared functions before it."""
    texts = [(FOLDER / file).read_text(encoding="utf-8") for file in (SHARED, name)]
    return Markup("".join(texts))  # noqa: S704 - files of this package


def script_hash(name: str) -> Markup:
    """Return the hash of a script for the content security policy, by which a browser runs this script only."""
    digest = hashlib.sha256(script(name).encode()).digest()
    return Markup("sha256-" + base64.b64encode(digest).decode())  # noqa: S704 - base64
