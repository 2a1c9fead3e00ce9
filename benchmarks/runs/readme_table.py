"""Print the README's table of measured figures from ``results/quickstart.json``; ``--write`` puts it into the README."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(results: dict[str, Any]) -> str:
    """Markdown lines."""
    rows = results["rows"]
    value = {row["what"]: row.get("value") for row in rows}
    machine = results["machine"]
    lines = [
        f"`make demo` after the install, {machine['cores']} cores ({machine['processor']}), no GPU, {results['date']}",
        "",
        "| measured | figure | asked |",
        "|---|---|---|",
        f"| structures generated, labelled | {value['structures']:,}, {value['labelled']:,} | ≥ 1,000 |",
        f"| audit at the default gates | {value['audit']} | GO |",
        f"| wall time | {value['wall time'] / 60:.1f} min | < 12 min |",
        f"| peak memory, all processes | {value['peak memory']:.1f} GB | < 6 GB |",
        f"| student | {value['student parameters'] / 1e6:.2f} M parameters | |",
    ]
    lines += [_force_line(row) for row in rows if row["what"].startswith("held-out")]
    lines += [_nve_line(row) for row in rows if row["what"].startswith("NVE")]
    lines += [_speed_line(row) for row in rows if row["what"] == "speed"]
    return "\n".join(lines)


def _force_line(row: dict[str, Any]) -> str:
    limit = "1/3" if row["what"] == "held-out all sources" else "1/2"
    figure = f"{row['force_mae']:.3f} eV/Å, {row['ratio']:.2f} of predicting zero"
    return f"| force MAE, {row['what']} ({row['structures']} structures) | {figure} | ≤ {limit} |"


def _nve_line(row: dict[str, Any]) -> str:
    length = row["steps"] * row["timestep_fs"] / 1000
    what = f"{row['what']} at 300 K, {length:g} ps, {row['atoms']} atoms: drift"
    return f"| {what} | {row['drift_mev_per_atom']:.3f} meV/atom | < 5 |"


def _speed_line(row: dict[str, Any]) -> str:
    what = f"speed against the teacher, {row['atoms']} atoms in {row['structures']} structure(s)"
    return f"| {what} | {row['ratio']:.0f}x ({1e3 * row['student_s']:.1f} ms against {1e3 * row['teacher_s']:.0f} ms) | |"


def main() -> None:
    """Print, and on request write."""
    text = table(json.loads((ROOT / "benchmarks" / "results" / "quickstart.json").read_text(encoding="utf-8")))
    print(text)
    if "--write" in sys.argv:
        readme = ROOT / "README.md"
        content = readme.read_text(encoding="utf-8")
        before, rest = content.split(BEGIN)
        _, after = rest.split(END)
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
