"""The costly part of an evaluation, stored in a file: labels and trajectories, for judging gates again.

Takes an evaluation and writes ``evaluate_data.npz``, or reads the files of a run and returns their evaluation.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from potstill.core.checksums import sha256_of_json
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import read_json, sealed
from potstill.core.types import Labels, Structure
from potstill.evaluate.dynamics import Trajectory
from potstill.evaluate.errors import Comparison
from potstill.evaluate.gates import changed_limits, judge
from potstill.evaluate.stage import Evaluation

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig

RECORDS = ("time_ps", "total_energy", "temperature")
AGAIN = "evaluate again:  potstill evaluate RUN"


def write_evaluation(evaluation: Evaluation, report: Path, data: Path) -> None:
    """Write ``evaluate.json``, and beside it the arrays that the pages plot."""
    with sealed(report) as temporary:
        text = json.dumps(finite_or_none(evaluation.report), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text, encoding="utf-8")
    student = evaluation.comparison.student
    nothing = np.full((3, 3), np.nan)
    arrays: dict[str, Any] = {
        "ids": np.array([s.id for s in evaluation.comparison.structures]),
        "energy": np.array([x.energy for x in student]),
        "forces": np.concatenate([x.forces for x in student]),
        "stress": np.stack([nothing if x.stress is None else x.stress for x in student]),
    }
    for k, run in enumerate(evaluation.trajectories):
        arrays |= {f"run{k}_{name}": getattr(run, name) for name in RECORDS}
        arrays |= {f"run{k}_{name}": getattr(run.final, name) for name in ("atomic_numbers", "positions", "cell", "pbc")}
        if run.frames is not None:
            arrays[f"run{k}_frames"] = run.frames.astype(np.float32)
        facts = {name: getattr(run, name) for name in ("system", "kind", "atoms", "steps", "timestep_fs", "seconds")}
        arrays[f"run{k}_facts"] = np.array(json.dumps(facts))
    with sealed(data) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_evaluation(report: Path, data: Path, structures: Sequence[Structure]) -> Evaluation:
    """Read a written evaluation.

    Parameters
    ----------
    report, data
        Files of :func:`write_evaluation`.
    structures
        Structures with the teacher's labels, in the same order.

    Raises
    ------
    InputError
        If a file is missing, or belongs to other structures.
    PotstillError
        If a file is damaged.
    """
    for path in (report, data):
        if not path.is_file():
            raise InputError(f"no {path.name} in {path.parent}\n  evaluate first:  potstill evaluate RUN")
    with _opened(data) as arrays:
        if arrays["ids"].tolist() != [s.id for s in structures]:
            raise InputError(f"{data} is of other structures than the dataset has now\n  {AGAIN}")
        ends = np.cumsum([len(s) for s in structures])
        stress = arrays["stress"]
        student = [
            Labels(float(e), f, None if np.isnan(s).all() else s)
            for e, f, s in zip(arrays["energy"], np.split(arrays["forces"], ends[:-1]), stress, strict=True)
        ]
        runs = _trajectories(arrays)
    return Evaluation(read_json(report, AGAIN), Comparison(structures, student), runs)


def read_trajectories(data: Path) -> list[Trajectory]:
    """Return the trajectories of :func:`write_evaluation`; empty where the file is missing or damaged."""
    try:
        with _opened(data) as arrays:
            return _trajectories(arrays)
    except (OSError, PotstillError):
        return []


@contextmanager
def _opened(data: Path) -> Iterator[Mapping[str, Any]]:
    """Open a file of :func:`write_evaluation`; whatever is wrong with its content is one error.

    Raises
    ------
    PotstillError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    try:
        with data.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except (ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise PotstillError(f"{data} is damaged: {type(error).__name__}: {error}\n  {AGAIN}") from error


def _trajectories(arrays: Mapping[str, Any]) -> list[Trajectory]:
    runs: list[Trajectory] = []
    while f"run{len(runs)}_facts" in arrays:
        name = f"run{len(runs)}_"
        final = Structure(*(arrays[name + field] for field in ("atomic_numbers", "positions", "cell", "pbc")))
        facts = json.loads(str(arrays[f"{name}facts"]))
        records = {record: arrays[name + record] for record in RECORDS}
        frames = arrays.get(f"{name}frames")
        runs.append(Trajectory(**facts, **records, final=final.with_(id=facts["system"]), frames=frames))
    return runs


def judged_again(evaluation: Evaluation, gates: EvaluateConfig) -> Evaluation:
    """Return the same figures judged by other gates; nothing is computed."""
    findings = [asdict(finding) for finding in judge(evaluation.report, gates)]
    report = {**evaluation.report, "findings": findings, "changed_gates": changed_limits(gates)}
    if "made_from" in report:
        report["made_from"] = {**report["made_from"], "section": sha256_of_json(gates.model_dump(mode="json"))}
    return Evaluation(report, evaluation.comparison, evaluation.trajectories)


def finite_or_none(value: Any) -> Any:
    """Return the same value with None for numbers that are not finite: JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
