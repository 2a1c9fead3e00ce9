"""The format of a run folder changes with its version only: the names of its files, and the keys and types of its record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from potstill.config import dump_config, parse_config
from potstill.run.folder import STAGES_WITH_SUBRUNS, RunFolder
from potstill.run.made_from import made_from
from potstill.run.record import FORMAT

DIGESTS = {2: "f8673ab96364c7d2"}
"""Digest of the layout of each format that had this test; format 1 has a stored folder in ``stored/``."""
CONFIG = {"generate": {"sources": [{"source": "alloys", "count": 4}]}, "deploy": {"formats": ["ase", "lammps"]}}
VARIABLE = {"created", "git", "machine", "seed"}  # facts whose value depends on the machine; their names count


def layout(value: Any) -> Any:
    """Names and types of plain data, without the values."""
    return {key: layout(item) for key, item in value.items()} if isinstance(value, dict) else type(value).__name__


def paths_of(run: RunFolder) -> dict[str, str]:
    """Path in the folder of everything that a run folder names."""
    names = [name for name, item in vars(RunFolder).items() if isinstance(item, property)]
    found = {name: getattr(run, name) for name in names}
    found |= {f"json {stage}": run.json(stage) for stage in ("audit", "evaluate")}
    found |= {f"html {stage}": run.html(stage) for stage in ("audit", "evaluate")}
    found["batch"] = run.subrun(1).path
    return {name: str(path.relative_to(run.path)) for name, path in found.items() if isinstance(path, Path)}


def described(folder: Path) -> dict[str, Any]:
    """Layout of a run folder: its paths, the keys of ``run.json``, and the origin of each stage."""
    config = parse_config(CONFIG)
    run = RunFolder(folder)
    run.begin(dump_config(config), config.seed, resume=False)
    stages = (*run.stages, *STAGES_WITH_SUBRUNS)
    for stage in stages:
        run.set_stage(stage, "done", 1.0, made_from=made_from(run, config, stage), files={"dataset.h5": "present"})
    record = run.record()
    entries = record.pop("stages")
    return {
        "paths": paths_of(run),
        "record": {key: "any" if key in VARIABLE else layout(value) for key, value in record.items()},
        "stages": {stage: {key: type(value).__name__ for key, value in entry.items()} for stage, entry in entries.items()},
        "made_from": {
            stage: {key: type(value).__name__ for key, value in entry["made_from"].items()}
            for stage, entry in entries.items()
        },
    }


def test_the_format_changes_with_its_version_only(tmp_path):
    found = described(tmp_path / "run")
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    assert DIGESTS.get(FORMAT) == digest, (
        "the format of run folders has changed: raise FORMAT in run/record.py, write its step in run/upgrade.py, "
        f"store a folder of the old format in the tests, and add the digest {digest} here\n{json.dumps(found, indent=1)}"
    )


def test_the_layout_tells_names_and_types_from_values(tmp_path):
    one, other = described(tmp_path / "one"), described(tmp_path / "other")
    assert one == other
    assert layout({"a": 1, "b": {"c": "x"}}) == layout({"a": 2, "b": {"c": "y"}}) != layout({"a": 1.0, "b": {"c": "x"}})
    assert one["record"]["format"] == "int"
    assert one["paths"]["dataset"] == "dataset.h5"
