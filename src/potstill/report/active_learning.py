"""The page ``round.html``: structures from the student's own dynamics, and the student's errors on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.active_learning.advice import how_it_broke
from potstill.core.counts import several
from potstill.dataset import Dataset
from potstill.report import plots
from potstill.report.page import figure, write_page
from potstill.report.pictures import picture

MOST_PICTURES = 6


def write_round_page(reports: Sequence[dict[str, Any]], new: Dataset, path: Path) -> None:
    """Write the page of the last of several rounds of active learning.

    Parameters
    ----------
    reports
        Contents of each ``round.json`` up to the last round.
    new
        Labelled frames of the last round.
    path
        File to make.
    """
    last = reports[-1]
    points = [(float(r["round"]), r["forces"]["mae"]) for r in reports if r["forces"]["mae"] is not None]
    curve = {"regular frames": ([x for x, _ in points], [y for _, y in points])} if len(points) > 1 else {}
    worst = sorted(new, key=lambda s: -float(s.generator_metadata["expected_error"]))[:MOST_PICTURES]
    ended = Counter(t["ended"] for t in last["trajectories"])
    write_page(
        path,
        "round.html",
        title=f"Active learning, round {last['round']}",
        verdict="GO" if last["passed"] else "NO_GO",
        sentence=_sentence(last),
        tiles=[_tile(name, row) for name, row in last["by_reason"].items()] + [_known(last)],
        ended=", ".join(f"{several(n, 'trajectory')} {name.replace('_', ' ')}" for name, n in ended.items()),
        trajectories=last["trajectories"],
        refused=last["refused"],
        next=_next(last),
        curve=plots.lines(curve, "round", "Force MAE, eV/Å") if curve else None,
        pictures=[picture(s, f"expected error {s.generator_metadata['expected_error']:.2f} eV/Å") for s in worst],
    )


def _sentence(report: dict[str, Any]) -> str:
    mae, limit = report["forces"]["mae"], report["forces"]["limit"]
    where = f"{figure(mae)} eV/Å on frames at regular times, the gate is {figure(limit)}"
    broke = how_it_broke(report)
    return f"Force MAE {where}; {broke or 'no trajectory broke off'}."


def _next(report: dict[str, Any]) -> str:
    """Return a sentence on what the run does with the frames of this round."""
    if report["passed"]:
        return "The gate is met, so the rounds end here, and the student stays as it is."
    return "The gate is not met, so these frames joined the dataset, and the student trained on with them."


def _tile(name: str, row: dict[str, Any]) -> dict[str, Any]:
    detail = f"force MAE on {several(row['frames'], 'frame')} that the teacher labelled"
    return {
        "name": f"{name.capitalize()} frames",
        "value": f"{figure(row['mae'])} eV/Å",
        "detail": detail,
        "state": None,
        "word": None,
    }


def _known(report: dict[str, Any]) -> dict[str, Any]:
    told = report.get("uncertainty", {})
    atoms = several(told.get("atoms", 0), "atom")
    detail = f"area under the ROC curve of finding the worst tenth of {atoms}; 0.5 is guessing"
    return {"name": "Expected errors", "value": figure(told.get("auroc")), "detail": detail, "state": None, "word": None}
