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
from potstill.audit.checks import CHECKS, Check, Evidence
from potstill.audit.process import mix_of
from potstill.core.files import sealed
from potstill.core.types import Teacher
from potstill.core.verdict import Finding, changed_gates, not_run, overall_verdict
from potstill.dataset import Dataset
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
) -> tuple[dict[str, Any], Statistics]:
    """Judge a dataset.

    Parameters
    ----------
    dataset
        A labelled dataset.
    gates
        Section ``audit`` of the config.
    teacher
        Loads the teacher for the replay; without it the replay is NOT_RUN and the verdict NO_GO.
    seed
        Chooses the replayed structures.
    checks
        All of them unless a test says otherwise.
    kept
        File where the statistics are kept, and read from while the dataset is the same; None to collect them anew.

    Returns
    -------
    report, statistics
        The contents of ``audit.json``, and what the pages draw.
    """
    dataset = Dataset(dataset.path, compare_blocks=False)  # a damaged file gets its verdict, by the check integrity
    stats = collect_once(dataset, kept) if kept else collect(dataset)
    evidence = Evidence(dataset, stats, gates, teacher, seed)
    findings = [run_check(check, evidence) for check in checks]
    report = {
        "verdict": str(overall_verdict(findings)),
        "structures": len(dataset) + sum(r.stage == "label" for r in dataset.refused),
        "labelled": len(dataset) if dataset.labelled else 0,
        "sources": _sources(dataset, stats),
        "findings": [_row(finding) for finding in findings],
        "changed_gates": changed_gates(gates),
        "advice": rows(advise(findings, evidence)),
        "mix": mix.sentence() if (mix := mix_of(dataset)) else "",
        "dataset": str(dataset.path.name),
    }
    return report, stats


def run_check(check: Check, evidence: Evidence) -> Finding:
    """One check's finding; NOT_RUN where it raises."""
    try:
        return check(evidence)
    except Exception as error:
        log.exception("the check %s failed", check.__name__)
        return not_run(check.__name__, "", f"the check failed: {type(error).__name__}: {error}")


def write_advice(report: dict[str, Any], config: str, path: Path) -> None:
    """``advice.yaml``: the config of a run with every change that the advice names; removed where there is none."""
    advice = [Advice(**row) for row in report["advice"]]
    if not any(row.change for row in advice):
        path.unlink(missing_ok=True)
        return
    with sealed(path) as temporary:
        temporary.write_text(mended(yaml.safe_load(config), advice), encoding="utf-8")


def write_report(report: dict[str, Any], path: Path) -> None:
    """``audit.json``, sealed."""
    with sealed(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _row(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it, which knows no infinity and no NaN."""
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
