"""What was installed: the folder of an environment and the record in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.files import sealed

RECORD = "environment.json"


def home() -> Path:
    """Where potstill keeps what outlives a run: ``$POTSTILL_HOME``, or ``~/.local/share/potstill``."""
    chosen = os.environ.get("POTSTILL_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".local" / "share" / "potstill"


@dataclass(frozen=True)
class Installed:
    """An environment as it stands on this machine, whole or in part."""

    name: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def repository(self) -> Path | None:
        """Its checkout, where one was made or named."""
        path = self.record.get("repository", {}).get("path")
        return Path(path) if path else None

    @property
    def weights(self) -> Path:
        """Folder of its weights."""
        return self.folder / "weights"

    @property
    def proved(self) -> bool:
        """Whether it has made or labelled structures."""
        return bool(self.record.get("proof", {}).get("structures"))

    def update(self, **changes: Any) -> Installed:
        """Replace entries of the record, on disk too."""
        record = {**self.record, **changes}
        with sealed(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        return Installed(self.name, self.folder, record)


def installed(name: str) -> Installed:
    """The environment of a name; its record is empty where it was never set up.

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
