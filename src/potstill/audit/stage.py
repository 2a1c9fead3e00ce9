"""The stage ``audit``: ``dataset.h5`` in, ``audit.json`` with the verdict out. Fail-closed.

The verdict is GO only where every check ran and passed. A check that raises is NOT_RUN, and so the verdict is NO_GO.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from potstill.audit.advice import Advice, advise, mended, rows
from potstill.audit.asked import mix_of
from potstill.audit.checks import CHECKS, Check, Evidence
from potstill.core.checksums import sha256_of_json
from potstill.core.files import sealed
from potstill.core.types import Teacher
from potstill.core.verdict import Finding, at_least, changed_gates, does_not_apply, not_run, overall_verdict
from potstill.dataset import Dataset
from potstill.dataset.checksum import checksum_of
from potstill.stats import Statistics, collect, collect_once

if TYPE_CHECKING:
    from potstill.audit.options import AuditConfig

log = logging.getLogger(__name__)


def audit(
    dataset: Dataset,
    gates: AuditConfig,
    *,
    teacher: Callable[[], Teacher] | None = None,
    seed: int = 0,
    checks: Sequence[Check] = CHECKS,
    kept: Path | None = None,
    of_run: bool = True,
    of_batch: bool = False,
    name: str = "",
) -> tuple[dict[str, Any], Statistics]:
    """Judge a dataset.

    Parameters
    ----------
    dataset
        A labelled dataset.
    gates
        Section ``audit`` of the config.
    teacher
        Function that opens the teacher which repeats labels; None where none was named.
    seed
        Seed of the choice of repeated structures.
    checks
        Checks to run; all of them by default.
    kept
        File of the statistics, read again while the dataset is the same; None to collect them each time.
    of_run
        Whether the dataset must contain all that a run writes. False for a file of the user's own, to which checks about a
        run do not apply.
    of_batch
        Whether it is one batch of a run: it need not hold out structures for the test.
    name
        Name of the user's file, where the dataset is a converted copy of it.

    Returns
    -------
    report, statistics
        The contents of ``audit.json``, and the data of the pages.
    """
    dataset = Dataset(dataset.path, compare_blocks=False)  # the check integrity judges a damaged file
    stats = collect_once(dataset, kept) if kept else collect(dataset)
    evidence = Evidence(dataset, stats, gates, teacher, seed, of_run, of_batch, name or dataset.path.name)
    findings = [run_check(check, evidence) for check in checks] if len(dataset) else _nothing_to_judge(checks, evidence)
    report = {
        "verdict": str(overall_verdict(findings)),
        "structures": len(dataset) + sum(r.stage == "label" for r in dataset.refused),
        "labelled": len(dataset) if dataset.labelled else 0,
        "sources": _sources(dataset, stats),
        "findings": [_row(finding) for finding in findings],
        "changed_gates": changed_gates(gates),
        "advice": rows(advise(findings, evidence)),
        "mix": mix.sentence() if (mix := mix_of(dataset)) else "",
        "dataset": evidence.name,
        "of_run": of_run,
        "made_from": {
            "dataset": checksum_of(dataset),
            "gates": sha256_of_json(gates.model_dump(mode="json")),
            "teacher": _fingerprint(teacher),
        },
    }
    return report, stats


def run_check(check: Check, evidence: Evidence) -> Finding:
    """Return the finding of a check; NOT_RUN where it raises."""
    try:
        return check(evidence)
    except Exception as error:
        log.exception("the check %s failed", check.__name__)
        return not_run(check.__name__, "", f"the check failed: {type(error).__name__}: {error}")


def _nothing_to_judge(checks: Sequence[Check], evidence: Evidence) -> list[Finding]:
    """Return the findings on an empty dataset: one that fails with the reason, and all others, which do not apply."""
    refused = evidence.dataset.refused
    (reason, count), *_ = Counter(r.reason for r in refused).most_common(1) or [("", 0)]
    detail = next((r.detail for r in refused if r.reason == reason and r.detail), "")
    why = "the dataset holds no structure"
    if count:
        why += f": {count} of {len(refused)} were refused as {reason}" + (f", such as: {detail}" if detail else "")
    limit = evidence.gates.min_teacher_success
    empty = at_least("teacher_success", 0.0, limit, "fraction", why, [r.id for r in refused])
    others = [check.__name__ for check in checks if check.__name__ != empty.check]
    return [empty, *(does_not_apply(name, "", "the dataset holds no structure") for name in others)]


def _fingerprint(teacher: Callable[[], Teacher] | None) -> dict[str, str] | None:
    """Return the fingerprint of the teacher that repeats labels; None where there is none, or it cannot be opened."""
    try:
        return None if teacher is None else dict(teacher().fingerprint)
    except Exception:  # noqa: BLE001 - the checks that ask the teacher say so
        return None


def write_advice(report: dict[str, Any], config: str, path: Path, gates: AuditConfig | None = None) -> bool:
    """Write ``advice.yaml``, the config with every proposed change; return whether there is any.

    Without a change, remove an ``advice.yaml`` of an earlier audit. For a file of the user's own the config is empty, and
    the file contains a section ``audit`` for ``--gates``: the changed limits by which it was judged, and the proposed ones.
    """
    advice = [Advice(**row) for row in report["advice"]]
    if not any(row.change for row in advice):
        path.unlink(missing_ok=True)
        return False
    judged_by = yaml.safe_load(config) or {}
    if gates is not None:
        judged_by["audit"] = gates.model_dump(mode="json", exclude_defaults=True)
    with sealed(path) as temporary:
        temporary.write_text(mended(judged_by, advice), encoding="utf-8", errors="backslashreplace")
    return True


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write ``audit.json`` completely or not at all."""
    with sealed(path) as temporary:
        temporary.write_text(
            json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False), encoding="utf-8", errors="backslashreplace"
        )


def _row(finding: Finding) -> dict[str, Any]:
    """Return a finding as a row of JSON, which has no infinity and no NaN."""
    if finding.measured is None or math.isfinite(finding.measured):
        return asdict(finding)
    return {**asdict(finding), "measured": None, "why": f"the figure is {finding.measured}: {finding.why}"}


def _sources(dataset: Dataset, stats: Statistics) -> dict[str, dict[str, Any]]:
    made = Counter(stats.sources)
    refused: dict[str, Counter[str]] = {}
    for r in dataset.refused:
        refused.setdefault(r.source, Counter())[r.reason] += 1
    return {
        name: {
            "structures": made[name],
            "refused": dict(refused.get(name, {})),
        }
        for name in sorted({*made, *refused})
    }
