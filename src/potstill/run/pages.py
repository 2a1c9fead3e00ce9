"""The page ``report.html`` of a run, which a user opens first.

It can be written at any stage, also after a NO-GO or a failure.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from potstill.core.counts import several
from potstill.core.verdict import Verdict, is_failure
from potstill.dataset import Dataset
from potstill.evaluate.kept import read_trajectories
from potstill.report import plots
from potstill.report.elements import by_source, periodic_table
from potstill.report.evaluate import drift_tile, force_tile, kept_figures, speed_tile
from potstill.report.meaning import grouped
from potstill.report.page import tally, warned, write_page
from potstill.report.pictures import examples
from potstill.report.player import SCRIPT, players
from potstill.report.scripts import script, script_hash
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
from potstill.run.use import domain_sentences, exports, load_code, rounds, rounds_sentences, speed_sentences
from potstill.run.verdict import RunVerdict, run_verdict

EACH_SOURCE = 3


def write_run_page(run: RunFolder) -> None:
    """Write ``report.html`` from the files in the run folder."""
    record, audit, evaluation = run.record(), done_report(run, "audit"), done_report(run, "evaluate")
    data = open_data(run)
    rows = sources(run, data)
    verdict, learned = run_verdict(run, audit, evaluation), rounds(run)
    figures = kept_figures(run.path / "figures") if evaluation else {}
    write_page(
        run.report,
        "run.html",
        title=f"Run {run.path.resolve().name}",
        record=record,
        verdict=verdict,
        answer=answer(verdict),
        domain=[*domain_sentences(run, data), *rounds_sentences(learned)],
        speed=speed_sentences(evaluation, record, data),
        groups=grouped(evaluation),
        code=load_code(run),
        exports=exports(run),
        players=players(read_trajectories(run.path / "evaluate_data.npz")) if evaluation else [],
        rounds=learned,
        script=script(SCRIPT),
        script_hash=script_hash(SCRIPT),
        mix=mix.sentence() if (mix := run.mix()) else "",
        failed=[f for f in audit.get("findings", []) if is_failure(f["verdict"])],
        changed_gates={"audit": audit.get("changed_gates"), "evaluation": evaluation.get("changed_gates")},
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


def answer(verdict: RunVerdict) -> str:
    """Return the answer to the question whether the student may be used."""
    if verdict.verdict == Verdict.GO:
        return "Yes, for structures like those that it was trained on: the elements and the domain below."
    if verdict.verdict == Verdict.NOT_RUN:
        return f"Not yet: it was not judged. Next: {verdict.next}"
    if verdict.page.name == "audit.html":
        return f"No: nothing should be trained on these data yet. Next: {verdict.next}"
    return "Only for uses that none of the missed gates below rules out."


def _tiles(audit: dict[str, Any], evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the four headline figures, with a text in place of a missing one."""
    found = []
    if audit:
        passed, asked = tally(audit["findings"])
        detail = f"checks passed{warned(audit['findings'])}, on {several(audit['labelled'], 'labelled structure')}"
        found.append(
            {"name": "Data", "value": f"{passed} of {asked}", "detail": detail, "state": audit["verdict"], "word": None}
        )
    else:
        found.append(_unknown("Data", "not audited yet"))
    if not evaluation:
        names = ("Force error", "Speed beside the teacher", "Energy drift in dynamics")
        return [*found, *(_unknown(name, "not evaluated yet") for name in names)]
    gates = {f["check"]: f for f in evaluation.get("findings", [])}
    found.append(force_tile(evaluation, gates.get("force_error")))
    found.append(speed_tile(evaluation) or _unknown("Speed beside the teacher", "not timed"))
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
    table: Markup = periodic_table(total, f"Periodic table with the number of atoms of {several(len(total), 'element')}")
    caption = f"{several(len(total), 'element')}, {several(sum(total.values()), 'atom')} in all. Shades are logarithmic."
    return {"table": table, "caption": caption, "by_source": by_source(found)}
