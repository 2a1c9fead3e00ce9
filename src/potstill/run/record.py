"""The record of a run, ``run.json``: its format version, its stages, and the origin of each.

The file is replaced as a whole after every change. An entry of ``stages`` has ``seconds``, ``state``, ``made_from`` (its
origin) and ``files`` (its output); see :mod:`potstill.run.made_from`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from potstill.core.errors import RunFolderError
from potstill.core.files import quoted, read_json, sealed

FORMAT = 2
"""Version of run folders that is written. A change of names or keys needs a new version, with its step in ``upgrade.py``."""

STATES = ("waiting", "running", "done", "stale", "failed", "stopped")


def read_record(path: Path) -> dict[str, Any]:
    """Return the contents of ``run.json``; empty where there is none.

    Raises
    ------
    PotstillError
        If the file is damaged.
    RunFolderError
        If a later version of potstill wrote it.
    """
    if not path.exists():
        return {}
    config = quoted(path.with_name("config.yaml"))
    remedy = f"remove it and go on:  potstill run {config} --out {quoted(path.parent)} --resume"
    content = read_json(path, remedy)
    version = content.get("format", 1)
    if (
        not isinstance(version, int)
        or isinstance(version, bool)
        or version < 1
        or not _are_stages(content.get("stages", {}))
    ):
        raise RunFolderError(f"{path} is damaged (it is no record of a run)\n  {remedy}")
    if version > FORMAT:
        raise RunFolderError(
            f"{path.parent} is a run folder of format {version}, this potstill reads up to {FORMAT}\n"
            "  install a newer version:  pip install --upgrade potstill"
        )
    return content


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Replace ``run.json``."""
    with sealed(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8", errors="replace")


def _are_stages(stages: Any) -> bool:
    return isinstance(stages, dict) and all(map(_is_stage, stages.values()))


def _is_stage(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("state") in STATES
        and isinstance(entry.get("seconds"), int | float)
        and all(isinstance(entry.get(key, {}), dict) for key in ("made_from", "files"))
    )
