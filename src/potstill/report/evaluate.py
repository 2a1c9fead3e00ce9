"""The page ``evaluate.html``: errors of the student against its teacher, stability of its dynamics, and its speed.

The input is an evaluation. The output is one HTML file, and the figures in ``figures/`` that the page of the run shows too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from potstill.core.counts import several
from potstill.core.files import sealed
from potstill.core.types import Array
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MILLI
from potstill.core.verdict import Verdict
from potstill.evaluate.dynamics import Trajectory
from potstill.evaluate.errors import Comparison
from potstill.evaluate.stage import Evaluation
from potstill.report import plots
from potstill.report.meaning import grouped
from potstill.report.page import figure, readable, tally, verdict_of, worst_first, write_page
from potstill.report.physics import physics_figures, physics_table
from potstill.report.pictures import picture
from potstill.report.player import SCRIPT, players
from potstill.report.scripts import script, script_hash

KEPT = ("parity_forces", "parity_energy", "parity_stress", "nve_energy", "nve_temperature")
KEPT_PHYSICS = ("phonons", "rdf", "vibrations")
LONGEST_CHART = 40
SHOWN_FLOOR = 0.05  # of the student's error
SMALLEST_DRIFT = 0.001  # meV/atom; below, only that it is small matters


def write_evaluate_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page, and the figures that ``report.html`` shows again."""
    report = evaluation.report
    findings = report.get("findings", [])
    figures = _figures(evaluation)
    physics = physics_figures(report.get("physics", []))
    for name, svg in {**{name: figures[name] for name in KEPT}, **{name: physics[name][0] for name in KEPT_PHYSICS}}.items():
        keep_figure(path.parent / "figures" / f"{name}.svg", svg)
    write_page(
        path,
        "evaluate.html",
        title="The student beside its teacher",
        report=report,
        verdict=verdict_of(findings),
        sentence=sentence(report),
        findings=worst_first(findings),
        tiles=tiles(report),
        sources=[("all sources", _row(report)), *((name, _row(r)) for name, r in report["per_source"].items())],
        elements=report.get("per_element", {}),
        figures=figures,
        forces=report.get("per_force", []),
        physics=list(physics.values()),
        groups=grouped(report),
        players=players(evaluation.trajectories),
        script=script(SCRIPT),
        script_hash=script_hash(SCRIPT),
        student=_student(report.get("student") or {}),
        quantities=physics_table(report.get("physics", [])),
        finals=[picture(t.final, _about(t)) for t in evaluation.trajectories],
    )


def keep_figure(path: Path, svg: Markup | None) -> None:
    """Seal a figure at ``path``, or remove an earlier one if there is no figure now."""
    if svg is None:
        path.unlink(missing_ok=True)
        return
    with sealed(path) as temporary:
        temporary.write_text(svg, encoding="utf-8")


def sentence(report: dict[str, Any]) -> str:
    """Return the verdict of the gates in plain sentences, with what it does not cover."""
    findings = report.get("findings", [])
    held_out = held_out_by(report)
    if not findings:
        return f"Compared on {held_out}; no gate was asked for."
    by_verdict = {verdict: [readable(f["check"]) for f in findings if f["verdict"] == verdict] for verdict in Verdict}
    others = by_verdict[Verdict.DOES_NOT_APPLY]
    left_out = f" {len(others)} do{'' if len(others) > 1 else 'es'} not apply: {', '.join(others)}." if others else ""
    _, asked = tally(findings)
    missed, not_run = by_verdict[Verdict.NO_GO], by_verdict[Verdict.NOT_RUN]
    if not missed and not not_run:
        return f"All {asked} gates that apply are met on {held_out}.{left_out}"
    said = f"{len(missed) + len(not_run)} of {asked} gates that apply are not met: {', '.join([*missed, *not_run])}"
    said += f"; NOT RUN: {', '.join(not_run)}" if not_run and missed else " (NOT RUN)" if not_run else ""
    return f"{said}. Compared on {held_out}.{left_out}"


def held_out_by(report: dict[str, Any]) -> str:
    """Return how many structures were compared: held out by whole families or one by one, or those of a user's file.

    >>> held_out_by({"structures": 12, "held_out": "families"})
    '12 held-out structures of families that the training has not seen'
    >>> held_out_by({"structures": 12, "models": {}, "refused_by_reference": {"teacher_error": 3}})
    '12 of 15 structures, for the reference refuses 3 (teacher_error 3)'
    >>> held_out_by({"structures": 12, "models": {}, "trained_on": 4})
    '12 structures; the student was trained on 4 of them'
    """
    if "models" in report:
        refused = report.get("refused_by_reference", {})
        if not refused:
            return several(report["structures"], "structure") + _trained_on(report)
        count, reasons = sum(refused.values()), ", ".join(f"{name} {n}" for name, n in refused.items())
        asked = report["structures"] + count
        return (
            f"{report['structures']:,} of {several(asked, 'structure')}, for the reference refuses {count} ({reasons})"
            + _trained_on(report)
        )
    whole = " of families that the training has not seen" if report.get("held_out") == "families" else ""
    start = report.get("start") or {"seen": 0}
    seen = (
        f"; its start {start['name']} may have seen them, for the data of that are not at hand"
        if start["seen"] is None
        else ""
    )
    return several(report["structures"], "held-out structure") + whole + seen


def _trained_on(report: dict[str, Any]) -> str:
    """Return how many of the structures the candidate was trained on, or that nobody knows; empty for no student."""
    seen = report.get("trained_on", 0)
    if seen is None:
        return "; which of them the student was trained on is not known, for its training data are not at hand"
    return f"; the student was trained on {seen} of them" if seen else ""


def tiles(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the headline figures: force error, energy error, stress error, speed, energy conservation."""
    gates = {f["check"]: f for f in report.get("findings", [])}
    found = [force_tile(report, gates.get("force_error")), _energy_tile(report)]
    if "stress" in report:
        stress = {k: v * GPA_PER_EV_PER_CUBIC_ANGSTROM for k, v in report["stress"].items() if k != "unit"}
        found.append(
            _tile(
                "Stress error",
                f"{figure(stress['mae'])} GPa",
                f"mean absolute; predicting zero gives {figure(stress['zero_baseline_mae'])} GPa",
            )
        )
    return [*found, *(t for t in (speed_tile(report), drift_tile(report)) if t)]


def force_tile(report: dict[str, Any], gate: dict[str, Any] | None) -> dict[str, Any]:
    """Return the force error, its ratio to the error of zero forces, and the gate."""
    forces = report["forces"]
    ratio = forces.get("ratio_to_zero_baseline")
    detail = f"{figure(100 * ratio)} % of predicting zero ({figure(forces['zero_baseline_mae'])} eV/Å)" if ratio else ""
    if gate and gate["limit"] is not None:
        detail += f"; the gate is {figure(100 * gate['limit'])} %"
    floor = (report.get("force_floor") or {}).get("total")
    if floor is not None and floor > SHOWN_FLOOR * forces["rmse"]:
        detail += f"; {figure(forces['rmse'])} eV/Å rms, of which {figure(floor)} is the floor of any conservative student"
    return _tile("Force error", f"{figure(forces['mae'])} eV/Å", detail, gate["verdict"] if gate else None)


def _energy_tile(report: dict[str, Any]) -> dict[str, Any]:
    energy = report["energy"]
    baseline = energy.get("mean_baseline_mae_per_atom")
    detail = f"mean absolute; composition alone gives {figure(MILLI * baseline)} meV/atom" if baseline is not None else ""
    return _tile("Energy error", f"{figure(MILLI * energy['mae_per_atom'])} meV/atom", detail)


def speed_tile(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the speedup over the teacher, from the slowest to the fastest case; None if nothing was timed."""
    rows = report.get("speed", [])
    if not rows:
        return None
    low, high = (f(row["ratio"] for row in rows) for f in (min, max))
    value = f"{figure(low, 2)}×" if len(rows) == 1 else f"{figure(low, 2)}× to {figure(high, 2)}×"
    first = rows[0]
    threads = several(first["threads"], "thread") if "threads" in first else ""
    where = ", ".join(x for x in (first.get("device"), threads) if x)
    detail = f"times the teacher's, in {several(len(rows), 'system')}" + (f", {where}" if where else "")
    return _tile("Speed beside the teacher", value, detail)


def drift_tile(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the largest drift of the total energy in the constant-energy runs; None if there were none."""
    rows = report.get("nve", [])
    if not rows:
        return None
    gates = [f for f in report.get("findings", []) if f["check"].startswith("nve")]
    if not all(row["finite"] for row in rows):
        return _tile("Energy drift in dynamics", "not finite", "a constant-energy run exploded", "NO_GO")
    worst = max(rows, key=lambda row: row["drift_mev_per_atom"])
    length = worst["steps"] * worst.get("timestep_fs", 0.0) / 1e3
    detail = f"over {figure(length)} ps, the larger of {len(rows)} runs" if len(rows) > 1 else f"over {figure(length)} ps"
    limit = gates[0]["limit"] if gates else None
    detail += f"; the gate is {figure(limit)}" if limit is not None else ""
    drift = worst["drift_mev_per_atom"]
    value = f"{figure(drift)} meV/atom" if drift >= SMALLEST_DRIFT else f"< {SMALLEST_DRIFT} meV/atom"
    return _tile("Energy drift in dynamics", value, detail, verdict_of(gates) if gates else None)


def _tile(name: str, value: str, detail: str, state: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "detail": detail, "state": state, "word": None}


def _row(report: dict[str, Any]) -> dict[str, float | None]:
    forces, energy, stress = report["forces"], report["energy"], report.get("stress")
    to_gpa = GPA_PER_EV_PER_CUBIC_ANGSTROM
    baseline = energy.get("mean_baseline_mae_per_atom")
    return {
        "structures": report["structures"],
        "force": forces["mae"],
        "force_baseline": forces["zero_baseline_mae"],
        "ratio": forces.get("ratio_to_zero_baseline"),
        "energy": MILLI * energy["mae_per_atom"],
        "energy_baseline": MILLI * baseline if baseline is not None else None,
        "stress": stress["mae"] * to_gpa if stress else None,
        "stress_baseline": stress["zero_baseline_mae"] * to_gpa if stress else None,
    }


def _student(sizes: dict[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of each size of the student, in words of the documentation."""
    words = {"cutoff_angstrom": "cutoff, Å", "l_max": "l up to", "radial": "radial functions"}
    left_out = ("atomic_numbers", "parameters_between")
    return [
        (words.get(name, readable(name)), figure(value) if isinstance(value, int | float) else str(value))
        for name, value in sizes.items()
        if name not in left_out and value is not None
    ]


def _about(trajectory: Trajectory) -> str:
    length = trajectory.steps * trajectory.timestep_fs / 1e3
    end = "" if trajectory.finite else "; not finite"
    return f"{trajectory.kind}, {trajectory.atoms} atoms, after {figure(length)} ps{end}"


def _figures(evaluation: Evaluation) -> dict[str, Markup | None]:
    report, comparison = evaluation.report, evaluation.comparison
    sources, elements, speed = report["per_source"], report.get("per_element", {}), report.get("speed", [])
    pairs = _pairs(comparison)
    error_names = ("student", "predicting zero")
    runs = evaluation.trajectories
    return {
        "parity_forces": plots.parity(pairs["forces"], "eV/Å", "Force components"),
        "parity_energy": plots.parity(pairs["energy"], "eV/atom", "Energy per atom"),
        "parity_stress": plots.parity(pairs["stress"], "GPa", "Stress components"),
        "by_source": plots.paired_bars(
            list(sources), *_force_errors(sources.values()), error_names, "mean absolute force error, eV/Å"
        ),
        "by_element": plots.paired_bars(
            list(elements), *_force_errors(elements.values()), error_names, "mean absolute force error, eV/Å", compact=True
        ),
        "calibration": _calibration(report.get("uncertainty")),
        "by_force": plots.paired_bars(
            [_range(row) for row in report.get("per_force", [])],
            *_force_errors({"forces": row} for row in report.get("per_force", [])),
            error_names,
            "mean absolute force error, eV/Å, logarithmic",
            logarithmic=True,
            compact=True,
        ),
        **_speed_figures(report.get("speed_by_size", [])),
        "nve_energy": plots.lines(
            {_name(t): (t.time_ps, (t.total_energy - t.total_energy[0]) * MILLI) for t in runs},
            "time, ps",
            "Total energy from its start, meV/atom",
        ),
        "nve_temperature": plots.lines({_name(t): (t.time_ps, t.temperature) for t in runs}, "time, ps", "Temperature, K"),
        "speed": plots.paired_bars(
            [f"{row['system']}: {figure(row['ratio'], 2)}×" for row in speed[:LONGEST_CHART]],
            [row["student_s"] for row in speed[:LONGEST_CHART]],
            [row["teacher_s"] for row in speed[:LONGEST_CHART]],
            ("student", "teacher"),
            "seconds for one call, logarithmic",
            logarithmic=True,
        ),
    }


def _range(row: dict[str, Any]) -> str:
    return f"{row['from']:g} to {row['to']:g} eV/Å" if row["to"] is not None else f"{row['from']:g} eV/Å and more"


def _speed_figures(rows: list[dict[str, Any]]) -> dict[str, Markup | None]:
    """Draw steps per second and memory against the number of atoms."""

    def series(what: str, factor: float = 1.0) -> dict[str, tuple[list[float], list[float]]]:
        found = {}
        for who in ("student", "teacher"):
            kept = [r for r in rows if r[f"{who}_{what}"]]
            found[who] = ([r["atoms"] for r in kept], [r[f"{who}_{what}"] * factor for r in kept])
        return {who: line for who, line in found.items() if line[0]}

    return {
        "steps": plots.lines(series("steps_per_second"), "atoms", "Steps per second", logarithmic=True, logarithmic_x=True),
        "memory": plots.lines(
            series("memory_bytes", 1e-6), "atoms", "Memory of a call, MB", logarithmic=True, logarithmic_x=True
        ),
    }


def _calibration(told: dict[str, Any] | None) -> Markup | None:
    """Draw true force errors against the errors that the student expects, in tenths of the atoms."""
    if told is None:
        return None
    expected, found = ([row[name] for row in told["bins"]] for name in ("expected", "error"))
    ends = [min(expected), max(expected)]
    series = {"found": (expected, found), "as expected": (ends, ends)}
    return plots.lines(series, "expected, eV/Å", "Mean error of a force, eV/Å", logarithmic=True, logarithmic_x=True)


def _name(trajectory: Trajectory) -> str:
    return f"{trajectory.kind} {trajectory.system}"


def _force_errors(rows: Any) -> tuple[list[float], list[float]]:
    errors = [row["forces"] for row in rows]
    return [e["mae"] for e in errors], [e["zero_baseline_mae"] for e in errors]


def _pairs(comparison: Comparison) -> dict[str, dict[str, tuple[Array, Array]]]:
    """Return teacher and student values by source: force components, energies per atom, independent stresses in GPa."""
    found: dict[str, dict[str, tuple[Array, Array]]] = {"forces": {}, "energy": {}, "stress": {}}
    upper = np.triu_indices(3)
    for name in sorted(set(comparison.sources.tolist())):
        part = comparison.subset(np.flatnonzero(comparison.sources == name))
        found["forces"][name] = part.forces()
        found["energy"][name] = part.energies()
        teacher, student = (s[:, *upper] * GPA_PER_EV_PER_CUBIC_ANGSTROM for s in part.stresses())
        found["stress"][name] = (teacher, student)
    return found


def kept_figures(folder: Path, names: Sequence[str] = (*KEPT, *KEPT_PHYSICS)) -> dict[str, Markup]:
    """Read the figures of an earlier :func:`write_evaluate_page` in ``folder``; a figure that could run code is refused."""
    found = {}
    for name in names:
        path = folder / f"{name}.svg"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.startswith('<svg class="plot"') and "<script" not in text.lower():
            found[name] = Markup(text)  # noqa: S704 - made by this module; the page's policy forbids scripts besides
    return found
