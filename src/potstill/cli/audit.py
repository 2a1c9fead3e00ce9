"""The command ``potstill audit``: GO or NO-GO on a run, or on a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.common import one_stage
from potstill.cli.output import AsJson, judged_facts, kept_for_json, print_json
from potstill.core.errors import InputError
from potstill.core.files import quoted

if TYPE_CHECKING:
    from potstill.dataset import Dataset
    from potstill.stats import Statistics

TRAIN_ON_FILE = "potstill template my_labels > my_labels.yaml, with this file under paths, then potstill run my_labels.yaml"

DataArgument = Annotated[
    Path, typer.Argument(help="Run folder, or a file: .h5, .extxyz, or any other that is read (docs: inputs).")
]


def audit(
    data: DataArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write audit.json, audit.html and audit.md.")] = None,
    teacher: Annotated[str, typer.Option("--teacher", help="Teacher that repeats labels of a file (sevennet, …).")] = "",
    gates: Annotated[Path | None, typer.Option("--gates", help="YAML whose section audit has the gates for a file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run, or a file of your own: GO or NO-GO (exit 3)."""
    if data.is_dir():
        if not (data / "config.yaml").exists():
            from potstill.dataset.read import refuse_several

            refuse_several(data)
        if out or teacher or gates:
            raise InputError(
                "--out, --teacher and --gates are for files: a run is judged by the section 'audit' of its config.yaml\n"
                f"  judge its file by other gates:  potstill audit {quoted(data / 'dataset.h5')} --out FOLDER --gates YAML"
            )
        _audit_run(data, as_json=as_json)
    else:
        _audit_file(data, out or data.parent, teacher, gates, as_json=as_json)


def _audit_run(folder: Path, *, as_json: bool) -> None:
    from potstill.core.files import read_json
    from potstill.run.folder import RunFolder
    from potstill.run.no_go import NoGoError, next_after_audit
    from potstill.run.verdict import data_reason

    run = RunFolder(folder)
    with kept_for_json(as_json):
        try:
            one_stage(folder, "audit")
        except NoGoError:
            if not as_json:
                raise
    report = read_json(run.json("audit"), f"judge again:  potstill audit {quoted(folder)}")
    _tell(report, data_reason(report), folder, next_after_audit(run, report), folder / "advice.yaml", as_json=as_json)


def _audit_file(data: Path, folder: Path, teacher: str, gates: Path | None, *, as_json: bool) -> None:
    from potstill.audit.files import audit_file, read_gates
    from potstill.core.verdict import Verdict, word_of
    from potstill.report.audit import sentence, write_audit_page
    from potstill.report.markdown import write_audit_markdown
    from potstill.report.meaning import failure_of

    refuse_run_folder(folder, "audit")

    def write_pages(report: dict[str, Any], stats: Statistics, dataset: Dataset) -> None:
        write_audit_page(report, stats, dataset, folder / "audit.html")
        write_audit_markdown(report, dataset, folder / "audit.md")

    chosen = read_gates(gates) if gates else None
    advice = _free_of(folder, gates)
    with kept_for_json(as_json):
        report = audit_file(data, folder, teacher, chosen, advice=advice.name, on_judged=write_pages)
    if not as_json:
        for finding in report["findings"]:
            line = failure_of(finding) if finding["verdict"] == Verdict.NO_GO else f"{finding['check']}: {finding['why']}"
            typer.echo(f"{word_of(finding['verdict']):14} {line}")
        for row in report["advice"]:
            typer.echo(f"{'ADVICE':14} {row['check']}: {row['why']}")
    then = _after_file(data, advice, teacher, gates, folder) if report["verdict"] != "GO" else TRAIN_ON_FILE
    _tell(report, sentence(report), folder, then, advice, as_json=as_json)


def _free_of(folder: Path, gates: Path | None) -> Path:
    """Return the path of ``advice.yaml``, or of ``advice-2.yaml`` where the limits that judge stand in the first."""
    advice = folder / "advice.yaml"
    return folder / "advice-2.yaml" if gates and advice.exists() and advice.samefile(gates) else advice


def _after_file(data: Path, advice: Path, teacher: str, gates: Path | None, folder: Path) -> str:
    """Return the next step after a NO-GO on a file: new limits where the advice has some, else other data."""
    again = f"potstill audit {quoted(data)}"
    if teacher:
        again += f" --teacher {teacher}"
    if folder != data.parent:
        again += f" --out {quoted(folder)}"
    if advice.exists() and "audit:" in advice.read_text(encoding="utf-8").splitlines():
        return f"look at each limit in {advice}, or mend the data, then {again} --gates {quoted(advice)}"
    return f"mend the data, then {again}" + (f" --gates {quoted(gates)}" if gates else "")


def _tell(report: dict[str, Any], sentence: str, folder: Path, then: str, advice: Path, *, as_json: bool) -> None:
    """Print verdict, page and next step, as lines or as JSON; exit 3 where it is NO-GO."""
    from potstill.core.verdict import word_of
    from potstill.run.no_go import NoGoError

    page = folder / "audit.html"
    if as_json:
        facts = {"report": str(page), "advice": str(advice) if advice.exists() else None, "next": then}
        print_json({"verdict": report["verdict"], "reason": sentence, **facts, **judged_facts(report)})
    else:
        typer.echo(f"{word_of(report['verdict'])}: {sentence}")
        typer.echo(f"report: {page}" + (f"  advice: {advice}" if advice.exists() else ""))
        typer.echo(f"next: {then}")
    if report["verdict"] != "GO":
        raise typer.Exit(NoGoError.exit_code)


def refuse_run_folder(folder: Path, stage: str) -> None:
    """Raise where the verdict on a file would replace the verdict of a run."""
    if (folder / "run.json").exists():
        raise InputError(
            f"{folder} is a run folder, whose {stage}.json is the verdict of the run\n"
            f"  judge the run:  potstill {stage} {folder}   or give --out another folder"
        )
