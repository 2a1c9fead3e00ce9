"""Installed environments: the folder of each and the record in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.files import write_json

RECORD = "environment.json"


def home() -> Path:
    """Return the folder of files that outlive a run: ``$POTSTILL_HOME``, or ``~/.local/share/potstill``."""
    chosen = os.environ.get("POTSTILL_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".local" / "share" / "potstill"


@dataclass(frozen=True)
class Installed:
    """An environment on this machine, complete or in part."""

    name: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def python(self) -> Path:
        """Return the path of its interpreter."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def repository(self) -> Path | None:
        """Return the path of its checkout, or None where there is none."""
        path = self.record.get("repository", {}).get("path")
        return Path(path) if path else None

    @property
    def weights(self) -> Path:
        """Return the folder of its weights."""
        return self.folder / "weights"

    @property
    def proved(self) -> bool:
        """Return whether it has made or labelled structures."""
        return bool(self.record.get("proof", {}).get("structures"))

    def update(self, **changes: Any) -> Installed:
        """Replace entries of the record, on disk too."""
        record = {**self.record, **changes}
        write_json(self.folder / RECORD, record)
        return Installed(self.name, self.folder, record)


def installed(name: str) -> Installed:
    """Return the environment of a name; its record is empty where it was never set up.

    Raises
    ------
    InputError
        If its record cannot be read.
    """
    folder = home() / "environments" / name
    path = folder / RECORD
    if not path.exists():
        return Installed(name, folder, {})
    try:
        return Installed(name, folder, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}\n  remove it and run:  potstill setup {name}") from error
