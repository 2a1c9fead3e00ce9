"""The lines of ``metrics.jsonl``: facts with their time, one per line, appended during a run."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

ANEW = "anew"  # event of a stage that begins from nothing
NUMBERS = ("labelled", "seconds", "memory_bytes", "epoch", "round", "wanted", "made", "accepted")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``; empty where there is no file.

    A line that is incomplete or damaged is left out.
    """
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if _is_sound(line):
            found.append(line)
    return found


def of_present_training(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines since a training last began from nothing; those before are of a student that was set aside."""
    begun = [k for k, line in enumerate(lines) if line["stage"] == "train" and line.get("event") == ANEW]
    return lines[begun[-1] :] if begun else lines


def epochs_of_training(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of the epochs of the present training, in the order in which they were done."""
    return [line for line in of_present_training(lines) if line["stage"] == "train" and "epoch" in line]


def _is_sound(line: Any) -> bool:
    """Return whether a line has the keys and types that readers rely on."""
    if not isinstance(line, dict) or not isinstance(line.get("stage"), str) or not _is_time(line.get("time")):
        return False
    if not all(type(line[key]) in (int, float) for key in NUMBERS if key in line):
        return False
    sources = line.get("sources", {})
    if not isinstance(sources, dict):
        return False
    if line["stage"] == "label" and "labelled" in line:
        return type(line.get("refused")) is int and all(map(_is_pair, sources.values()))
    if line["stage"] == "generate":
        said = [line] if "source" in line else sources.values()
        return all(isinstance(one, dict) and isinstance(one.get("refused", {}), dict) for one in said)
    return True


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)
