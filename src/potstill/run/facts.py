"""Facts about a run folder at any stage, for the page of the run.

The functions take a run folder and return dictionaries. A file that does not exist yet gives an empty fact.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.counts import several
from potstill.core.errors import PotstillError
from potstill.core.files import read_json
from potstill.core.section import read_yaml
from potstill.dataset import Dataset, open_file
from potstill.generate.mix import MIX_FILE, read_mix
from potstill.report.page import figure, tally, warned
from potstill.run.folder import RunFolder
from potstill.run.made_from import file_fault, files_checksum, other_input, student_checksum
from potstill.run.metrics_file import epochs_of_training, read_metrics

FILES = (
    ("audit.html", "the audit in full"),
    ("evaluate.html", "the evaluation in full"),
    ("audit.json", "findings for scripts"),
    ("audit.md", "the audit for a repository"),
    ("evaluate.json", "figures for scripts"),
    ("dataset.h5", "labelled structures"),
    ("structures/structures.h5", "structures before labelling"),
    ("student", "weights and config"),
    ("deploy", "exports"),
    ("config.yaml", "every option"),
    ("run.json", "versions, times, machine"),
    ("metrics.jsonl", "progress, line by line"),
    ("log.txt", "log"),
    ("error.log", "errors with their traceback"),
)


ROUND = {"round", "passed", "forces", "broken_trajectories", "trajectories"}
TRAJECTORY = {"ended", "length_ps", "temperature_kelvin"}


def done_report(run: RunFolder, stage: str) -> dict[str, Any]:
    """Return ``audit.json`` or ``evaluate.json``; empty where the stage is not done, or its input has changed since."""
    if run.stage(stage)["state"] != "done" or file_fault(run.path, run.stage(stage)) or not run.json(stage).is_file():
        return {}
    if other_input(run, stage):
        return {}
    return read_json(run.json(stage), f"make it again:  potstill {stage} {run.path}")


def round_reports(run: RunFolder) -> list[dict[str, Any]]:
    """Return the contents of each ``round.json`` that can be read, in order."""
    found = []
    for path in sorted(run.active_learning.glob("[0-9][0-9]/round.json")):
        try:
            report = read_json(path, "go on with --resume")
        except PotstillError:
            continue
        whole = report.keys() >= ROUND and report["forces"].keys() >= {"mae", "limit"}
        if whole and all(row.keys() >= TRAJECTORY for row in report["trajectories"]):
            found.append(report)
    return found


def open_data(run: RunFolder) -> Dataset | None:
    """Return the labelled dataset, else the generated structures, else None; a file that cannot be opened counts as none."""
    for path in (run.dataset, run.structures):
        if path.exists():
            with suppress(PotstillError):
                return open_file(path)
    return None


def asked(run: RunFolder) -> dict[str, int]:
    """Return the number of structures wanted from each source, by the contingency mix or by the config."""
    mix = read_mix(run.structures.parent / MIX_FILE)
    if mix:
        return mix.counts
    config = read_yaml(run.config) if run.config.exists() else {}
    sources = ((config or {}).get("generate") or {}).get("sources") or []
    return {str(s.get("label") or s.get("source")): int(s.get("count", 0)) for s in sources}


def sources(run: RunFolder, data: Dataset | None) -> list[dict[str, Any]]:
    """Return for each source the structures wanted, generated, labelled, and refused by the filter and by the teacher."""
    wanted = asked(run)
    held: Counter[str] = Counter(data.sources.tolist() if data is not None else ())
    refused: dict[str, dict[str, Counter[str]]] = {"generate": {}, "label": {}}
    for r in data.refused if data is not None else ():
        refused.setdefault(r.stage, {}).setdefault(r.source, Counter())[r.reason] += 1
    names = [*wanted, *sorted({*held, *refused["generate"], *refused["label"]} - set(wanted))]
    rows = []
    for name in names:
        filtered, teacher = (refused[stage].get(name, Counter()) for stage in ("generate", "label"))
        rows.append(
            {
                "name": name,
                "asked": wanted.get(name),
                "generated": held[name] + teacher.total() if data is not None else None,
                "labelled": held[name] if data is not None and data.labelled else None,
                "filter": filtered.most_common(),
                "refused_by_filter": filtered.total(),
                "teacher": teacher.most_common(),
                "refused_by_teacher": teacher.total(),
            }
        )
    return rows


def _lost(count: int, where: str) -> str:
    return f"{count:,} refused by the {where}" if count else ""


def flow(rows: list[dict[str, Any]], data: Dataset | None) -> list[dict[str, Any]]:
    """Return the boxes of the pipeline figure, with the number of structures that reach each."""
    wanted = sum(r["asked"] or 0 for r in rows)
    if data is None:
        return [{"count": wanted, "name": "structures asked for", "lost": ""}] if wanted else []
    filtered, teacher = (sum(r[key] for r in rows) for key in ("refused_by_filter", "refused_by_teacher"))
    generated = len(data) + teacher
    boxes = [
        {"count": generated + filtered, "name": "candidates", "lost": _lost(filtered, "filter")},
        {"count": generated, "name": "structures", "lost": _lost(teacher, "teacher") if data.labelled else ""},
    ]
    if data.labelled:
        boxes.append({"count": len(data), "name": "labelled", "lost": ""})
        parts = split_sizes(data)
        if parts:
            text = f"{parts['valid']:,} valid, {parts['test']:,} held out"
            boxes.append({"count": parts["train"], "name": f"for training; {text}", "lost": ""})
    return boxes


def split_sizes(data: Dataset) -> dict[str, int]:
    """Return the number of structures in each part; empty where the file has no split."""
    from potstill.core.errors import DatasetError

    try:
        return {name: len(data.split(name)) for name in ("train", "valid", "test")}
    except DatasetError:
        return {}


def elements_by_source(data: Dataset) -> dict[str, dict[int, int]]:
    """Return the number of atoms of each element in each source."""
    numbers = np.asarray(data.column("atoms/atomic_numbers"))
    of_atom = np.repeat(data.sources.astype(str), np.diff(data.ptr))
    found = {}
    for name in sorted(set(data.sources.tolist())):
        counts = np.bincount(numbers[of_atom == name], minlength=119)
        found[name] = {int(z): int(counts[z]) for z in np.flatnonzero(counts)}
    return found


def stage_rows(run: RunFolder, audit: dict[str, Any], evaluation: dict[str, Any], data: Dataset | None) -> list[Any]:
    """Return name, state, time and result of each stage."""
    from potstill.core.units import duration

    epochs = epochs_of_training(read_metrics(run.metrics))
    results = {
        "generate": several(_held(data), "structure") if data is not None else "",
        "label": f"{len(data):,} labelled" if data is not None and data.labelled else "",
        "train": f"{epochs[-1]['epoch']} epochs" if epochs else "",
        "deploy": exports_told(run),
    }
    if audit:
        passed, asked = tally(audit["findings"])
        results["audit"] = f"{passed} of {asked} checks passed{warned(audit['findings'])}"
    if evaluation:
        results["evaluate"] = f"force error {figure(evaluation['forces']['mae'])} eV/Å"
    return [
        {
            "name": stage,
            "state": run.stage(stage)["state"],
            "time": duration(run.stage(stage)["seconds"]) if run.stage(stage)["seconds"] else "",
            "result": results.get(stage, ""),
        }
        for stage in run.stages
    ]


def _held(data: Dataset) -> int:
    return len(data) + sum(r.stage == "label" for r in data.refused)


def links(run: RunFolder) -> list[tuple[str, str, str]]:
    """Return relative address, text and remark of every file that exists."""
    from potstill.report.page import size

    found = []
    for name, remark in FILES:
        path = run.path / name
        if path.is_dir() and any(path.iterdir()):
            found.append((f"{name}/", f"{name}/", remark))
        elif path.is_file() and path.stat().st_size:
            found.append((name, name, f"{remark}, {size(path.stat().st_size)}"))
    return found


def training_curve(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return epochs and force errors of the present training; an epoch that was repeated after a resume counts once."""
    epochs = {line["epoch"]: line for line in epochs_of_training(read_metrics(path))}
    curves = {}
    for key, name in (("train_forces", "training"), ("valid_forces", "validation")):
        points = [(float(e), float(m[key])) for e, m in sorted(epochs.items()) if m.get(key) is not None]
        if points:
            curves[name] = ([e for e, _ in points], [y for _, y in points])
    return curves


def exports(run: RunFolder) -> list[str]:
    """Return the formats in which the present student lies in ``deploy/``, by name."""
    present = _present_student(run)
    return [name for name, student in _exported(run).items() if student == present]


def exports_told(run: RunFolder) -> str:
    """Return the same in words, with the formats in which the student of an earlier training lies there."""
    present = exports(run)
    earlier = [name for name in _exported(run) if name not in present]
    told = [", ".join(present), f"of another student: {', '.join(earlier)}" if earlier else ""]
    return "; ".join(filter(None, told))


def _exported(run: RunFolder) -> dict[str, str]:
    """Return for each format in ``deploy/``, by name, the checksum of its student."""
    folders = sorted(run.deploy.iterdir()) if run.deploy.is_dir() else []
    return {p.name: files_checksum(p / "student") for p in folders if (p / "student").is_dir()}


def _present_student(run: RunFolder) -> str:
    """Return the checksum of the run's student; where its files were deleted, that of the last export."""
    there = (run.student / "weights.safetensors").is_file()
    return student_checksum(run) if there else str(run.stage("deploy").get("made_from", {}).get("student", ""))
