"""The page ``report.html`` of a run, which a user opens first.

It can be written at any stage, also after a NO-GO or a failure.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from potstill.core.verdict import is_failure
from potstill.dataset import Dataset
from potstill.report import plots
from potstill.report.audit import sentence as audit_sentence
from potstill.report.elements import by_source, periodic_table
from potstill.report.evaluate import drift_tile, force_tile, kept_figures, speed_tile
from potstill.report.page import readable, tally, verdict_of, write_page
from potstill.report.pictures import examples
from potstill.run.facts import (
    done_report,
    elements_by_source,
    flow,
    links,
    open_data,
    sources,
    stage_rows,
    training_curve,
)
from potstill.run.folder import RunFolder

EACH_SOURCE = 3


def write_run_page(run: RunFolder) -> None:
    """Write ``report.html`` from the files in the run folder."""
    record, audit, evaluation = run.record(), done_report(run, "audit"), done_report(run, "evaluate")
    data = open_data(run)
    rows = sources(run, data)
    state, sentence = status(run, audit, evaluation)
    figures = kept_figures(run.path / "figures") if evaluation else {}
    write_page(
        run.report,
        "run.html",
        title=f"Run {run.path.resolve().name}",
        record=record,
        state=state,
        mix=mix.sentence() if (mix := run.mix()) else "",
        sentence=sentence,
        failed=[f for f in audit.get("findings", []) if is_failure(f["verdict"])],
        changed_gates=audit.get("changed_gates", {}),
        tiles=_tiles(audit, evaluation),
        stages=stage_rows(run, audit, evaluation, data),
        flow=flow(rows, data),
        sources=rows,
        labelled=data is not None and data.labelled,
        curve=plots.lines(training_curve(run.metrics), "epoch", "Force error, eV/Å", logarithmic=True),
        figures=figures,
        pictures=examples(data, EACH_SOURCE) if data is not None and len(data) else [],
        elements=_elements(data),
        links=links(run),
    )


def status(run: RunFolder, audit: dict[str, Any], evaluation: dict[str, Any]) -> tuple[tuple[str, str], str]:
    """Return kind and word of the badge at the top, and its sentence."""
    states = {stage: run.stage(stage)["state"] for stage in run.stages}
    failed = [stage for stage, state in states.items() if state == "failed"]
    running = [stage for stage, state in states.items() if state == "running"]
    waiting = [stage for stage, state in states.items() if state in ("waiting", "stale", "stopped")]
    if failed:
        return ("failed", "FAILED"), (
            f"The stage {failed[0]} failed; error.log says why. What was finished before it is kept, "
            "and --resume goes on from there."
        )
    if audit and audit["verdict"] != "GO":
        return ("NO_GO", "NO-GO"), f"The data did not pass its audit. {audit_sentence(audit)}"
    if running:
        return ("running", "RUNNING"), f"The stage {running[0]} is under way."
    if waiting:
        done = [stage for stage in run.stages if stage not in waiting]
        before = f"Done: {', '.join(done)}. " if done else "Nothing is done yet. "
        return ("idle", "IN PROGRESS"), f"{before}Next: {waiting[0]}."
    findings = evaluation.get("findings", [])
    if findings and verdict_of(findings) != "GO":
        missed = [readable(f["check"]) for f in findings if is_failure(f["verdict"])]
        return ("NO_GO", "GATES MISSED"), (
            f"All stages are done and the data is GO, but the student does not meet "
            f"{len(missed)} of {tally(findings)[1]} gates: {', '.join(missed)}."
        )
    return ("GO", "GO"), "All stages are done: the data passed its audit and the student meets its gates."


def _tiles(audit: dict[str, Any], evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the four headline figures, with a text in place of a missing one."""
    found = []
    if audit:
        passed, asked = tally(audit["findings"])
        word = "GO" if audit["verdict"] == "GO" else "NO-GO"
        detail = f"{passed} of {asked} checks passed on {audit['labelled']:,} labelled structures"
        found.append({"name": "Data", "value": word, "detail": detail, "state": audit["verdict"], "word": None})
    else:
        found.append(_unknown("Data", "not audited yet"))
    if not evaluation:
        names = ("Force error", "Faster than the teacher", "Energy drift in dynamics")
        return [*found, *(_unknown(name, "not evaluated yet") for name in names)]
    gates = {f["check"]: f for f in evaluation.get("findings", [])}
    found.append(force_tile(evaluation, gates.get("force_error")))
    found.append(speed_tile(evaluation) or _unknown("Faster than the teacher", "not timed"))
    found.append(drift_tile(evaluation) or _unknown("Energy drift in dynamics", "no run was made"))
    return found


def _unknown(name: str, detail: str) -> dict[str, Any]:
    return {"name": name, "value": "–", "detail": detail, "state": None, "word": None}


def _elements(data: Dataset | None) -> dict[str, Any] | None:
    """Return the periodic table with its caption, and the table by source."""
    if data is None or not len(data):
        return None
    found = elements_by_source(data)
    total: dict[int, int] = {}
    for counts in found.values():
        for z, n in counts.items():
            total[z] = total.get(z, 0) + n
    table: Markup = periodic_table(total, f"Periodic table with the number of atoms of {len(total)} elements")
    caption = f"Atoms of each of {len(total)} elements, {sum(total.values()):,} in all. Shades are logarithmic."
    return {"table": table, "caption": caption, "by_source": by_source(found)}
