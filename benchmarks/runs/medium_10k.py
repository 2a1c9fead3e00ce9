"""The 10,000: the run of the template ``medium_10k`` with its contingency mix, and the report of it for this repository.

    python -m benchmarks.runs.medium_10k RUN

Runs, or goes on with, the folder RUN; stages that are done are not done again. Writes ``results/medium_10k.json`` with the
figures of the run, and ``docs/10K_VALIDATION_REPORT.md``: the run's ``audit.md``, and what its student reached.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.lib.common import write_results
from benchmarks.runs.quickstart import ROOT, figures_of

REPORT = ROOT / "docs" / "10K_VALIDATION_REPORT.md"


def student_section(rows: list[dict[str, Any]]) -> str:
    """Errors on held-out families, speed beside the teacher, and the gates that it missed, as Markdown."""
    errors = [row for row in rows if row["what"].startswith("held-out ") and "force_mae" in row]
    speed = [row for row in rows if row["what"] == "speed"]
    parameters = next(row["value"] for row in rows if row["what"] == "student parameters")
    lines = [
        "## The student",
        "",
        f"{parameters:,} parameters. Errors on families that neither the training nor its end has seen:",
        "",
        "| source | structures | force MAE, eV/Å | of predicting zero | energy MAE, meV/atom |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in errors:
        ratio = row["force_mae"] / row["zero_baseline_mae"]
        name = row["what"].removeprefix("held-out ")
        energy = 1e3 * row["energy_mae_per_atom"]
        lines.append(f"| {name} | {row['structures']} | {row['force_mae']:.3f} | {ratio:.0%} | {energy:.0f} |")
    lines += ["", "| system | atoms | teacher's time over the student's |", "| --- | ---: | ---: |"]
    lines += [f"| {row['system']} | {row['atoms']} | {row['ratio']:.0f} |" for row in speed]
    judged = [row for row in rows if row["what"].startswith("evaluate ")]
    missed = [row for row in judged if row["verdict"] != "GO"]
    lines += ["", f"Of {len(judged)} gates of the evaluation it missed {len(missed)}:", ""]
    lines += ["| gate | measured | limit | unit |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {row['what'].removeprefix('evaluate ')} | {row['value']:.3g} | {row['limit']:.3g} | {row['unit']} |"
        if row["value"] is not None
        else f"| {row['what'].removeprefix('evaluate ')} | {row['verdict']} | | |"
        for row in missed
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, collect, write."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    going_on = ["--resume"] if (run / "config.yaml").exists() else []
    command = [
        "run",
        str(ROOT / "src" / "potstill" / "templates" / "medium_10k.yaml"),
        "--out",
        str(run),
        "--fallback",
        "--yes",
        *going_on,
    ]
    subprocess.run([sys.executable, "-m", "potstill", *command], check=True)
    rows = figures_of(run)
    REPORT.write_text((run / "audit.md").read_text(encoding="utf-8") + "\n" + student_section(rows), encoding="utf-8")
    print(write_results("medium_10k", rows), REPORT)


if __name__ == "__main__":
    main()
