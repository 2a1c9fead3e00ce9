"""The verdict on a run: one word, one sentence and the next command, the same on the page, in status and on the terminal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.active_learning.advice import unmet, what_would_help
from potstill.core.errors import PotstillError
from potstill.core.files import quoted
from potstill.core.verdict import Verdict, is_failure, overall, word_of
from potstill.report.meaning import counts_by_group, figure_of
from potstill.report.page import readable, tally, uncompared, warned
from potstill.report.unjudged import unjudged
from potstill.run.facts import done_report, round_reports
from potstill.run.figures import driver_alive
from potstill.run.folder import RunFolder
from potstill.run.made_from import (
    file_fault,
    files_checksum,
    other_input,
    other_options,
    rounds_fault,
    student_checksum,
    why_not_done,
)
from potstill.run.next_step import after_no_go, mend_data, next_use, resume_command, shown_path
from potstill.run.upgrade import read_config

MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict on a run.

    Parameters
    ----------
    verdict
        GO where data and student passed, NO_GO where one did not, NOT_RUN where one was not judged yet.
    reason
        One sentence without the word of the verdict.
    next
        The next command, or what to do next.
    page
        The page that shows the reason.
    """

    verdict: Verdict
    reason: str
    next: str
    page: Path

    @property
    def sentence(self) -> str:
        """Return the word of the verdict with its reason."""
        return f"{word_of(self.verdict)}: {self.reason}"

    @property
    def lines(self) -> list[str]:
        """Return the last lines of a command on the terminal: verdict, page, next command."""
        return [self.sentence, f"report: {shown_path(self.page)}", f"next: {self.next}"]


def run_verdict(
    run: RunFolder,
    audit: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    *,
    needed: Collection[str] = (),
) -> RunVerdict:
    """Return the verdict on a run as it is now.

    Parameters
    ----------
    run
        The run folder.
    audit, evaluation
        Contents of ``audit.json`` and ``evaluate.json``; read where None, and empty where a stage is not done.
    needed
        Stages without which there is no GO; all of the run where empty.
    """
    audit = done_report(run, "audit") if audit is None else audit
    evaluation = done_report(run, "evaluate") if evaluation is None else evaluation
    found = _by_reports(run, audit, evaluation, needed or run.stages)
    if not (stale := _stale(run, edited_only=found.verdict == Verdict.NOT_RUN)):
        return found
    verdict = Verdict.NOT_RUN if found.verdict == Verdict.GO else found.verdict
    return RunVerdict(verdict, f"{found.reason}; {stale}", resume_command(run), found.page)


def student_verdict(run: RunFolder) -> RunVerdict:
    """Return the verdict on the student of a run, whether or not it was exported."""
    return run_verdict(run, needed=[stage for stage in run.stages if stage != "deploy"])


def state_in_exports(run: RunFolder) -> None:
    """Write the present verdict beside the student of a run, and into each of its exports."""
    from potstill.deploy.stated_verdict import state_beside, state_verdict

    verdict = student_verdict(run)
    if (run.student / "config.json").is_file():
        state_beside(run.student, verdict.sentence)
    for export in sorted(run.deploy.iterdir()) if run.deploy.is_dir() else ():
        if (export / "student").is_dir() and files_checksum(export / "student") == student_checksum(run):
            state_verdict(export, verdict.sentence)


def _by_reports(run: RunFolder, audit: dict[str, Any], evaluation: dict[str, Any], needed: Collection[str]) -> RunVerdict:
    """Return the verdict by the reports of the run, whatever its config says now."""
    page = run.report
    if audit and audit["verdict"] != "GO":
        return RunVerdict(Verdict.NO_GO, data_reason(audit), mend_data(run, audit), run.html("audit"))
    findings = evaluation.get("findings", [])
    by_others = _by_other_gates(run)
    if findings and overall(f["verdict"] for f in findings) != Verdict.GO:
        return RunVerdict(Verdict.NO_GO, student_reason(evaluation) + by_others, after_no_go(run, evaluation), page)
    if run.stage("train")["state"] == "done" and not rounds_fault(run) and (missed := _missed_in_own_md(run)):
        return RunVerdict(Verdict.NO_GO, *missed, page)
    if unjudged := _unjudged(run, audit, evaluation, needed):
        return RunVerdict(Verdict.NOT_RUN, unjudged, _next_of_unfinished(run), page)
    told = warned(audit["findings"]) + uncompared(audit)
    data = f"the data passed all {tally(audit['findings'])[0]} checks that apply{told}{';' if told else ','}"
    reason = f"{data} and {student_reason(evaluation)}{by_others}"
    return RunVerdict(Verdict.GO, reason, next_use(run), page)


def _next_of_unfinished(run: RunFolder) -> str:
    """Return the command that goes on with a run; before it the one that looks at it, while a process works on a stage."""
    working = driver_alive(run) and any(run.stage(stage)["state"] == "running" for stage in run.stages)
    look = f"potstill status {quoted(shown_path(run.path))}    or, once no process works on it any more:  "
    return (look if working else "") + resume_command(run)


def _by_other_gates(run: RunFolder) -> str:
    """Return the file of limits by which the student was judged again, in words; empty where it is by the run's config."""
    gates = run.stage("evaluate").get("gates", "")
    return f"; judged by the limits of {shown_path(Path(gates))}, not of the run's config" if gates else ""


def data_reason(audit: dict[str, Any]) -> str:
    """Return the reason of the verdict of an audit: how many checks passed, or which did not."""
    passed, asked = tally(audit["findings"])
    if audit["verdict"] == "GO":
        return f"the data passed all {passed} checks that apply{warned(audit['findings'])}{uncompared(audit)}"
    failed = [readable(f["check"]) for f in audit["findings"] if is_failure(f["verdict"])]
    named = ", ".join(failed[:MOST_NAMED]) + (", …" if len(failed) > MOST_NAMED else "")
    return f"the data did not pass {len(failed)} of {asked} checks that apply ({named})"


def student_reason(evaluation: dict[str, Any]) -> str:
    """Return the reason of the verdict of an evaluation: the number of gates that are met, or those that are not.

    A few are named with their figures, many are counted by group. Where all are met, it says what was not judged.
    """
    findings = evaluation["findings"]
    passed, asked = tally(findings)
    if passed == asked:
        met = f"the student meets all {passed} gates that apply"
        left = "; since ".join(u.short for u in unjudged(evaluation))
        start = evaluation.get("start") or {"seen": 0}
        unknown = f"; its start {start['name']} may have seen what judges it" if start["seen"] is None else ""
        return f"{met}{f'; not judged, since {left}' if left else ''}{unknown}"
    missed = [f"{readable(f['check'])}: {figure_of(f)}" for f in findings if is_failure(f["verdict"])]
    which = "; ".join(missed) if len(missed) <= MOST_NAMED else counts_by_group(findings)
    return f"the student does not meet {asked - passed} of {asked} gates that apply ({which})"


def _missed_in_own_md(run: RunFolder) -> tuple[str, str] | None:
    """Return the gate of active learning that the student does not meet, and what to do; None where it meets it."""
    reports = round_reports(run)
    missed = unmet(reports)
    if not missed:
        return None
    other, config = quoted(f"{shown_path(run.path)}-2"), shown_path(run.config)
    return missed, f"{what_would_help(reports)} (in a copy of {config}, then  potstill run COPY.yaml --out {other})"


def _unjudged(run: RunFolder, audit: dict[str, Any], evaluation: dict[str, Any], needed: Collection[str]) -> str:
    """Return why there is no verdict yet; empty where data and student are judged and all stages are done."""
    states = {stage: run.stage(stage)["state"] for stage in needed}
    open_ = [stage for stage, state in states.items() if state != "done"]
    if not open_ and audit and evaluation.get("findings"):
        return ""
    judged = "the data passed its audit, the student is not judged" if audit else "neither data nor student is judged"
    if audit and evaluation.get("findings"):
        again = states.get("train", "done") != "done"
        judged = "the data passed its audit, and its student is made again" if again else "data and student passed"
    failed = [stage for stage, state in states.items() if state == "failed"]
    running = [stage for stage, state in states.items() if state == "running" or run.stage(stage).get("killed")]
    if failed:
        return f"{judged}; the stage {failed[0]} failed, and error.log says why"
    if running:
        killed = run.stage(running[0]).get("killed") or not driver_alive(run)
        state = "was killed, and its finished parts are kept" if killed else "is under way"
        return f"{judged}; the stage {running[0]} {state}"
    judging = [stage for stage in ("audit", "evaluate") if stage in states]
    stale = [f"the stage {stage} was done with another {other}" for stage in judging if (other := other_input(run, stage))]
    stale += [fault for stage in judging if (fault := file_fault(run.path, run.stage(stage)))]
    if stale and not open_:
        return f"{judged}; {stale[0]}"
    if not open_:
        return f"{judged}; no gate was asked for"
    done = [stage for stage in needed if stage not in open_]
    return f"{judged}; {'done: ' + ', '.join(done) if done else 'nothing is done yet'}; next: {open_[0]}"


def _stale(run: RunFolder, *, edited_only: bool) -> str:
    """Return the first finished stage to which config or files of the run no longer belong; empty where there is none.

    Files are not looked at where ``edited_only`` is set, nor in a run folder of an earlier format. Formats of exports say
    nothing about data or student.
    """
    done = [stage for stage in run.stages if run.stage(stage)["state"] == "done" and stage != "deploy"]
    try:
        if not done:
            return ""
        config = read_config(run)
        for stage in done:
            if other := other_options(run, config, stage):
                return f"the config has another {' and another '.join(other[:MOST_NAMED])} since {stage} was done"
        for stage in () if edited_only else done:
            if "made_from" in run.stage(stage) and (why := why_not_done(run, config, stage)):
                return f"the stage {stage} is stale: {why}"
    except PotstillError:  # which status names itself
        return ""
    return ""
