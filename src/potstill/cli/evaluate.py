"""The command ``potstill evaluate``: the student of a run, the same judged again, or a comparison of any two models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.core.errors import InputError

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig
    from potstill.evaluate.stage import Evaluation


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="RUN|STRUCTURES", help="Run folder; or structures, with --reference.")],
    gates: Annotated[
        Path | None, typer.Option("--gates", help="YAML whose section evaluate has the gates: judge a run again by them.")
    ] = None,
    candidate: Annotated[
        str, typer.Option("--candidate", help="Folder of a student, module:callable (ASE calculator), or a teacher's name.")
    ] = "",
    reference: Annotated[str, typer.Option("--reference", help="module:callable or a teacher's name; the truth.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Where to write evaluate.json and evaluate.html.")] = None,
) -> None:
    """Hold the student of a run against its teacher, or any two models beside each other (exit 1: a gate is missed)."""
    if bool(candidate) != bool(reference):
        raise InputError("--candidate and --reference come together: the model to judge, and the one taken for the truth")
    if candidate:
        from potstill.audit.files import refuse_run_folder
        from potstill.core.section import read_section
        from potstill.evaluate.options import EvaluateConfig
        from potstill.evaluate.pair import evaluate_pair
        from potstill.report.evaluate import write_evaluate_page
        from potstill.run.progress import Progress

        settings = read_section(gates, "evaluate", EvaluateConfig) if gates else None
        folder = out or data.parent
        refuse_run_folder(folder, "potstill evaluate")
        evaluation = evaluate_pair(candidate, reference, data, folder, settings, on_step=Progress().note)
        write_evaluate_page(evaluation, folder / "evaluate.html")
        _tell(evaluation, folder)
    elif not data.is_dir():
        raise InputError(f"{data} is no run folder; for structures name two models with --candidate and --reference")
    elif gates:
        _judge_again(data, gates)
    else:
        from potstill.cli.common import one_stage

        one_stage(data, "evaluate")
        _say_verdict(data)


def _say_verdict(run: Path) -> None:
    """Print the verdict on the student of a run, with its page, in one line."""
    import json

    from potstill.core.verdict import overall
    from potstill.report.evaluate import sentence

    report = json.loads((run / "evaluate.json").read_text(encoding="utf-8"))
    typer.echo(sentence(report))
    typer.echo(f"{overall(f['verdict'] for f in report['findings'])}  {run / 'evaluate.html'}")


def _judge_again(folder: Path, gates: Path) -> None:
    from potstill.core.section import read_section
    from potstill.dataset import open_file
    from potstill.deploy.student import load_student
    from potstill.evaluate.kept import judged_again, read_evaluation, write_evaluation
    from potstill.evaluate.made_from import refuse_others
    from potstill.evaluate.options import EvaluateConfig
    from potstill.report.evaluate import write_evaluate_page
    from potstill.run.folder import RunFolder

    run = RunFolder(folder)
    report, kept = run.json("evaluate"), folder / "evaluate_data.npz"
    config: EvaluateConfig = read_section(gates, "evaluate", EvaluateConfig)
    if not run.dataset.is_file():
        raise InputError(f"{folder} is no run folder with a dataset.h5; models beside each other are evaluated anew")
    with run.locked():
        dataset = open_file(run.dataset)
        held_out = [dataset[int(k)] for k in dataset.split("test")]
        stored = read_evaluation(report, kept, held_out)
        refuse_others(stored.report, load_student(run.student), dataset)
        evaluation = judged_again(stored, config)
        write_evaluation(evaluation, report, kept)
        write_evaluate_page(evaluation, run.html("evaluate"))
    _tell(evaluation, folder)


def _tell(evaluation: Evaluation, folder: Path) -> None:
    """Print every finding, and then the verdict with the page in one line; exit with 1 where a gate is not met."""
    from potstill.core.verdict import overall
    from potstill.report.evaluate import sentence

    findings = evaluation.report["findings"]
    for finding in findings:
        typer.echo(f"{finding['verdict']:8} {finding['check']}: {finding['why']}")
    verdict = overall(finding["verdict"] for finding in findings)
    typer.echo(sentence(evaluation.report))
    typer.echo(f"{verdict}  {folder / 'evaluate.html'}")
    if verdict != "GO":
        raise typer.Exit(1)
