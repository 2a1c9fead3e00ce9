"""The command ``potstill evaluate``: the student of a run, the same judged again, or a comparison of any two models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.output import AsJson, judged_facts, kept_for_json, print_json
from potstill.core.errors import InputError
from potstill.core.files import quoted

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig
    from potstill.run.folder import RunFolder


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
    errors_only: Annotated[
        bool, typer.Option("--errors-only", help="With two models: errors of energy, forces and stress alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold the student of a run against its teacher, or two models against each other: GO or NO-GO (exit 3)."""
    if bool(candidate) != bool(reference):
        raise InputError("--candidate and --reference come together: the model to judge, and the one taken for the truth")
    if errors_only and not candidate:
        raise InputError("--errors-only needs two models: name them by --candidate and --reference")
    if out and not candidate:
        raise InputError("--out goes with two models: the evaluation of a run stays in its folder; leave --out away")
    if candidate:
        with kept_for_json(as_json):
            report = _compare_pair(data, gates, (candidate, reference), out or data.parent, errors_only=errors_only)
        then = "potstill evaluate STRUCTURES --candidate … --reference … for others"
        _tell(report, out or data.parent, then, as_json=as_json, each=True)
    elif not data.is_dir():
        raise InputError(f"{data} is no run folder; for structures name two models with --candidate and --reference")
    elif gates:
        with kept_for_json(as_json):
            report = _judge_again(data, gates)
        _tell(report, data, "", as_json=as_json, each=True)
    else:
        from potstill.cli.common import one_stage
        from potstill.core.files import read_json

        with kept_for_json(as_json):
            one_stage(data, "evaluate")
        report = read_json(data / "evaluate.json", f"evaluate again:  potstill evaluate {quoted(data)}")
        _tell(report, data, "", as_json=as_json, each=False)


def _compare_pair(
    data: Path, gates: Path | None, models: tuple[str, str], folder: Path, *, errors_only: bool
) -> dict[str, Any]:
    from potstill.audit.files import refuse_run_folder
    from potstill.core.section import read_section
    from potstill.evaluate.options import EvaluateConfig
    from potstill.evaluate.pair import evaluate_pair
    from potstill.report.evaluate import write_evaluate_page
    from potstill.run.progress import Progress

    settings = read_section(gates, "evaluate", EvaluateConfig) if gates else None
    refuse_run_folder(folder, "potstill evaluate")
    evaluation = evaluate_pair(*models, data, folder, settings, errors_only=errors_only, on_step=Progress().note)
    write_evaluate_page(evaluation, folder / "evaluate.html")
    return evaluation.report


def _judge_again(folder: Path, gates: Path) -> dict[str, Any]:
    from potstill.core.section import read_section
    from potstill.dataset import open_file
    from potstill.deploy.student import load_student
    from potstill.evaluate.kept import judged_again, read_evaluation, write_evaluation
    from potstill.evaluate.made_from import refuse_others
    from potstill.evaluate.options import EvaluateConfig
    from potstill.report.evaluate import write_evaluate_page
    from potstill.run.folder import RunFolder
    from potstill.run.made_from import files_of
    from potstill.run.pages import write_run_page
    from potstill.run.upgrade import read_config
    from potstill.run.verdict import state_in_exports

    run = RunFolder(folder)
    report, kept = run.json("evaluate"), folder / "evaluate_data.npz"
    given = read_section(gates, "evaluate", EvaluateConfig)
    if not run.dataset.is_file():
        raise InputError(f"{folder} is no run folder with a dataset.h5; models beside each other are evaluated anew")
    own = read_config(run).evaluate if run.config.is_file() else EvaluateConfig()
    _refuse_measures(given, own, run)
    changed = {name: getattr(given, name) for name in given.model_fields_set} | {"limits": {**own.limits, **given.limits}}
    with run.locked():
        run.note_killed()
        dataset = open_file(run.dataset)
        held_out = [dataset[int(k)] for k in dataset.split("test")]
        stored = read_evaluation(report, kept, held_out)
        refuse_others(stored.report, load_student(run.student), dataset)
        evaluation = judged_again(stored, own.model_copy(update=changed))
        write_evaluation(evaluation, report, kept)
        write_evaluate_page(evaluation, run.html("evaluate"))
        entry = run.stage("evaluate")
        run.set_stage(
            "evaluate", entry["state"], entry["seconds"], files=files_of(run, "evaluate"), gates=str(gates.resolve())
        )
        state_in_exports(run)
        write_run_page(run)
    return evaluation.report


def _refuse_measures(given: EvaluateConfig, own: EvaluateConfig, run: RunFolder) -> None:
    """Refuse options that say what is measured, where figures of a run are judged again.

    Raises
    ------
    InputError
        With the options that differ from those of the run.
    """
    others = [name for name in given.model_fields_set if not name.startswith(("max_", "min_")) and name != "limits"]
    if names := sorted(name for name in others if getattr(given, name) != getattr(own, name)):
        raise InputError(
            f"--gates judges again what was measured, and these are no limits: {', '.join(names)}\n"
            f"  set them in {run.config} and evaluate again:  potstill evaluate {quoted(run.path)}"
        )


def _tell(report: dict[str, Any], folder: Path, then: str, *, as_json: bool, each: bool) -> None:
    """Print verdict, page and next step, as lines or as JSON, and every finding where ``each`` is set.

    Of a run, where ``then`` is empty, its whole verdict follows if it is no GO beside an evaluation that is.

    Raises
    ------
    typer.Exit
        With code 3 where a gate is not met, or could not be measured, or the run is NO-GO.
    """
    from potstill.core.verdict import overall, word_of
    from potstill.report.evaluate import sentence
    from potstill.run.folder import RunFolder
    from potstill.run.no_go import NoGoError
    from potstill.run.verdict import student_verdict

    whole = None if then else student_verdict(RunFolder(folder))
    then = then or (whole.next if whole else "")
    verdict = overall(finding["verdict"] for finding in report["findings"])
    page = folder / "evaluate.html"
    if as_json:
        errors: dict[str, Any] = {key: report[key] for key in ("forces", "energy", "stress") if key in report}
        facts: dict[str, Any] = {"verdict": verdict, "reason": sentence(report), "report": str(page), "next": then}
        of_run = {"verdict": whole.verdict, "reason": whole.reason} if whole else None
        print_json({**facts, **judged_facts(report), **errors, "run": of_run})
    else:
        for finding in report["findings"] if each else ():
            typer.echo(f"{word_of(finding['verdict']):14} {finding['check']}: {finding['why']}")
        typer.echo(f"{word_of(verdict)}: {sentence(report)}")
        if whole and verdict == "GO" and whole.verdict != "GO":
            typer.echo(f"the run: {whole.sentence}")
        typer.echo(f"report: {page}")
        typer.echo(f"next: {then}")
    if verdict != "GO" or (whole and whole.verdict == "NO_GO"):
        raise typer.Exit(NoGoError.exit_code)
