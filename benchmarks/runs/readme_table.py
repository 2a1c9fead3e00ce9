"""Print the README's tables of measured figures from the result files; ``--write`` puts them into the README."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PHYSICS = {
    "equilibrium_volume": "at rest",
    "bulk_modulus": "equation of state",
    "elastic_constants": "elastic constants, clamped ions",
    "vacancies": "vacancies",
    "phonons": "phonons",
}
TITLES = {
    "silicon": "silicon",
    "silicon_carbide": "silicon carbide",
    "magnesia_surface": "MgO (100) surface",
    "copper_nickel": "Cu-Ni alloy",
    "boron_nitride": "hexagonal BN",
    "molten_salt": "molten NaCl",
    "water": "water",
}
MODELS = {
    "student nano": "student",
    "SevenNet-0, kernel": "SevenNet-0 by the kernel of potstill",
    "SevenNet-0": "SevenNet-0",
    "orb-v2-compiled": "orb-v2",
}
SYSTEMS = {"Si216": "silicon, 216 atoms", "NaCl216": "NaCl, 216 atoms", "aspirin": "aspirin, 21 atoms"}


def table(results: dict[str, Any]) -> str:
    """Markdown lines."""
    rows = results["rows"]
    value = {row["what"]: row.get("value") for row in rows}
    machine = results["machine"]
    rounds = [row for row in rows if row["what"].startswith("round ")]
    judged = [row["verdict"] for row in rows if row["what"].startswith("evaluate ") and row["verdict"] != "DOES_NOT_APPLY"]
    labels = f"{value['labelled']:,}" + (f", {rounds[-1]['labels']:,} with those of {len(rounds)} rounds" if rounds else "")
    lines = [
        f"`make demo` after the install, {machine['cores']} cores ({machine['processor']}), no GPU, {results['date']}",
        "",
        "| measured | figure | asked |",
        "|---|---|---|",
        f"| labels | {labels} | |",
        f"| audit of the data | {value['audit']} | GO |",
        f"| gates of the evaluation that are met | {judged.count('GO')} of {len(judged)} that apply | all |",
        f"| wall time | {value['wall time'] / 60:.1f} min | < 12 min |",
        f"| peak memory, all processes | {value['peak memory']:.1f} GB | < 6 GB |",
        f"| student | {value['student parameters'] / 1e6:.2f} M parameters | |",
    ]
    lines += [_force_line(row) for row in rows if row["what"] == "held-out all sources"]
    lines += [_round_line(row) for row in rounds[-1:]]
    lines += [line for name in PHYSICS if (line := _physics_line(rows, name))]
    lines += [_nve_line(row) for row in rows if row["what"].startswith("NVE")]
    lines += [_speed_line(row) for row in rows if row["what"] == "speed"]
    return "\n".join(lines)


def _force_line(row: dict[str, Any]) -> str:
    figure = f"{1e3 * row['force_mae']:.0f} meV/Å, {row['ratio']:.3f} of predicting zero"
    return f"| force MAE, held-out structures ({row['structures']}) | {figure} | ≤ 1/3 |"


def _round_line(row: dict[str, Any]) -> str:
    error, limit = (f"{1e3 * row[name]:.0f}" for name in ("force_mae", "limit"))
    return f"| force MAE, frames of its own MD at 300 to 1,000 K | {error} meV/Å | ≤ {limit} |"


def _physics_line(rows: list[dict[str, Any]], name: str) -> str | None:
    """Return the line of one check of the first crystal; None where it was not made, or does not apply."""
    judged = next((row for row in rows if row["what"] == f"evaluate {name}"), None)
    found = next((row for row in rows if row["what"] == f"physics {name}"), None)
    if judged is None or found is None or judged["verdict"] == "DOES_NOT_APPLY":
        return None
    figures = []
    for what, mine in found["candidate"].items():
        quantity, unit = what.rsplit(", ", 1)
        figures.append(f"{quantity} {mine:.4g} {unit} (teacher {found['reference'][what]:.4g})")
    return (
        f"| {PHYSICS[name]}: {'; '.join(figures)} | {found['measured']:.2g} {judged['unit']} apart | ≤ {judged['limit']:g} |"
    )


def _nve_line(row: dict[str, Any]) -> str:
    length = row["steps"] * row["timestep_fs"] / 1000
    what = f"{row['what']} at 300 K, {length:g} ps, {row['atoms']} atoms: drift"
    return f"| {what} | {row['drift_mev_per_atom']:.3f} meV/atom | < 5 |"


def _speed_line(row: dict[str, Any]) -> str:
    what = f"speed against the teacher, {row['atoms']} atoms in {row['structures']} structure(s)"
    return f"| {what} | {row['ratio']:.0f}x ({1e3 * row['student_s']:.1f} ms against {1e3 * row['teacher_s']:.0f} ms) | |"


def my_system_table(results: dict[str, Any]) -> str:
    """Markdown lines: errors of students on their own trajectories."""
    head = (
        "system",
        "labels",
        "its rounds",
        "whole run, 2 cores",
        "force MAE",
        "in a far wider cell",
        "mean force component",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    found = {row["system"]: row for row in results["rows"] if not row.get("start")}
    for system, title in TITLES.items():
        if system not in found:
            continue
        row = found[system]
        error, mean = row["force_mae_mev_per_angstrom"], row["mean_force_component_mev_per_angstrom"]
        what = f"{title}, {row['atoms']} atoms, {row['kelvin']:,.0f} K"
        computed = row.get("busy") and row["processor_seconds"]
        minutes = f"{(computed or row['wall_seconds']) / 60:.0f} min" + (" of one core" if computed else "")
        minutes += " beside other work" if row.get("busy") and not computed else ""
        verdict = {True: "GO", False: "NO-GO", None: ""}[row.get("passed")]
        wide = f"{row['in_wide_cell']['force_mae_mev_per_angstrom']:.0f} meV/Å" if "in_wide_cell" in row else ""
        errors = f"{error:.0f} meV/Å | {wide} | {mean:.0f} meV/Å"
        lines.append(f"| {what} | {row['labels']} | {verdict} | {minutes} | {errors} |")
    return "\n".join(lines)


def speed_table(results: dict[str, Any]) -> str:
    """Markdown lines: one step of MD of the student and of two teachers on a CPU."""
    machine = results["machine"]
    head = f"| {machine['cores']} cores ({machine['processor']}), no GPU | " + " | ".join(SYSTEMS.values()) + " |"
    lines = [head, "|---|" + "---|" * len(SYSTEMS)]
    steps = {(row["model"], row["system"]): row["seconds"] for row in results["rows"] if row["mode"] == "md"}
    for model, title in MODELS.items():
        cells = [f"{1e3 * steps[model, system]:.1f} ms" for system in SYSTEMS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = {
    "measured": ("quickstart", table),
    "my system": ("my_system", my_system_table),
    "speed": ("student_speed", speed_table),
}


def marked(name: str) -> str:
    """Text of one table between its two marks."""
    file, make = TABLES[name]
    results = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
    return f"<!-- {name}: begin -->\n{make(results)}\n<!-- {name}: end -->"


def main() -> None:
    """Print, and on request write."""
    readme = ROOT / "README.md"
    content = readme.read_text(encoding="utf-8")
    for name in TABLES:
        text = marked(name)
        print(text)
        before, rest = content.split(f"<!-- {name}: begin -->")
        content = before + text + rest.split(f"<!-- {name}: end -->")[1]
    if "--write" in sys.argv:
        readme.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
