"""The command ``potstill audit``: GO or NO-GO on a run, or on a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.common import one_stage
from potstill.core.errors import InputError

if TYPE_CHECKING:
    from potstill.dataset import Dataset
    from potstill.stats import Statistics

DataArgument = Annotated[Path, typer.Argument(help="Run folder, or a file: .h5, .extxyz, anything that ASE reads.")]


def audit(
    data: DataArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write audit.json, audit.html and audit.md.")] = None,
    teacher: Annotated[str, typer.Option("--teacher", help="Teacher that repeats labels of a file (sevennet, …).")] = "",
    gates: Annotated[Path | None, typer.Option("--gates", help="YAML whose section audit has the gates for a file.")] = None,
) -> None:
    """Judge a run, or a file of your own: GO or NO-GO (exit 3)."""
    if data.is_dir():
        if out or teacher or gates:
            raise InputError(
                "--out, --teacher and --gates are for files: a run is judged by the section 'audit' of its config.yaml\n"
                f"  judge its file by other gates:  potstill audit {data / 'dataset.h5'} --out FOLDER --gates YAML"
            )
        one_stage(data, "audit")
        typer.echo(_verdict_line("GO", data))
    else:
        _audit_file(data, out or data.parent, teacher, gates)


def _audit_file(data: Path, folder: Path, teacher: str, gates: Path | None) -> None:
    from potstill.audit.files import audit_file, read_gates
    from potstill.report.audit import sentence, write_audit_page
    from potstill.report.markdown import write_audit_markdown

    refuse_run_folder(folder, "audit")

    def write_pages(report: dict[str, Any], stats: Statistics, dataset: Dataset) -> None:
        write_audit_page(report, stats, dataset, folder / "audit.html")
        write_audit_markdown(report, dataset, folder / "audit.md")

    chosen = read_gates(gates) if gates else None
    report = audit_file(data, folder, teacher, chosen, on_judged=write_pages)
    for finding in report["findings"]:
        typer.echo(f"{finding['verdict']:8} {finding['check']}: {finding['why']}")
    for row in report["advice"]:
        typer.echo(f"ADVICE   {row['check']}: {row['why']}")
    typer.echo(sentence(report))
    typer.echo(_verdict_line(report["verdict"], folder))
    if report["verdict"] != "GO":
        raise typer.Exit(3)


def _verdict_line(verdict: str, folder: Path) -> str:
    """Return the verdict of an audit with its page, and with the config that fixes it where there is one."""
    advice = folder / "advice.yaml"
    return f"{verdict}  {folder / 'audit.html'}" + (f"  {advice}" if advice.exists() else "")


def refuse_run_folder(folder: Path, stage: str) -> None:
    """Raise where the verdict on a file would replace the verdict of a run."""
    if (folder / "run.json").exists():
        raise InputError(
            f"{folder} is a run folder, whose {stage}.json is the verdict of the run\n"
            f"  judge the run:  potstill {stage} {folder}   or give --out another folder"
        )
