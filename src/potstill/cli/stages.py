"""The commands that work on a run: ``run`` for all stages, and ``generate``, ``label``, ``train`` and ``deploy`` for one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from potstill.cli.common import (
    ConfigFile,
    Fallback,
    RunArgument,
    one_stage,
    open_pipeline,
    read_config,
    refuse_nothing_labelled,
    say,
)
from potstill.cli.output import AsJson, ended_as_json, kept_for_json, print_json
from potstill.core.errors import InputError

if TYPE_CHECKING:
    from potstill.run.pipeline import Pipeline


def run(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", help="Run folder to make.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a long run.")] = False,
    fallback: Fallback = False,
    hours: Annotated[
        float | None,
        typer.Option("--hours", min=0.0, help="Stop after this time with a dataset of what is labelled (exit code 124)."),
    ] = None,
    last: Annotated[str, typer.Option("--last", help="Stage to end with, such as audit.")] = "deploy",
    as_json: AsJson = False,
) -> None:
    """Do all stages in order; with --resume also after a kill."""
    from potstill.core.registry import nearest
    from potstill.run.folder import STAGES, STAGES_WITH_SUBRUNS, RunFolder
    from potstill.run.plan import ask_before_long_run, missing_pieces, settle
    from potstill.run.verdict import run_verdict

    with _ended(out, as_json):
        if last not in (names := dict.fromkeys((*STAGES, *STAGES_WITH_SUBRUNS))):
            part = "; it is a part of train" if last == "active_learning" else ""
            raise InputError(f"--last: there is no stage '{last}'{part}: {nearest(last, names)}")
        checked = read_config(config, out)
        if resume and not RunFolder(out).config.exists():
            say(f"there is no run in {out} to go on with: a new one begins")
        made = RunFolder(out).has_structures()
        settled = settle(checked) if fallback and not made else checked
        missing = missing_pieces(settled, made=made)
        if missing:
            raise InputError("this config cannot run here:\n" + "\n".join(f"  {m}" for m in missing))
        with open_pipeline(checked, out, resume=resume, fallback=fallback, hours=hours) as pipeline:
            pipeline.require_name(last)
            if not yes and pipeline.run.stage("batches" if settled.batches else "label")["state"] == "waiting":
                ask_before_long_run(settled)
            _all_stages(pipeline, last)
        for line in run_verdict(RunFolder(out)).lines if not as_json else ():
            typer.echo(line)


def _all_stages(pipeline: Pipeline, last: str) -> None:
    """Run the stages up to ``last``, and say where the dataset is if the time ends before them."""
    from potstill.core.errors import OutOfTimeError

    try:
        pipeline.all_stages(last)
    except OutOfTimeError:
        if pipeline.run.dataset.exists():
            say(f"labelled so far: {pipeline.run.dataset}")
        raise
    if last == "label":
        refuse_nothing_labelled(pipeline.run)


def generate(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", help="Run folder to make or go on with.")],
    fallback: Fallback = False,
    as_json: AsJson = False,
) -> None:
    """Make the structures of a config."""
    from potstill.run.folder import RunFolder

    with _ended(out, as_json, "generate"):
        checked = read_config(config, out)
        if checked.batches:
            why = "works in batches, each of which is generated, labelled and judged: use 'potstill run'"
            raise InputError(f"{config} {why}")
        with open_pipeline(checked, out, resume=True, fallback=fallback) as pipeline:
            pipeline.stage("generate")
        if not as_json:
            typer.echo(str(RunFolder(out).structures))


def label(run: RunArgument, as_json: AsJson = False) -> None:
    """Label the structures of a run and write its dataset.h5."""
    from potstill.run.folder import RunFolder

    with _ended(run, as_json, "label"):
        one_stage(run, "label")
        refuse_nothing_labelled(RunFolder(run))


def train(run: RunArgument, as_json: AsJson = False) -> None:
    """Train the student of a run whose audit said GO."""
    with _ended(run, as_json, "train"):
        one_stage(run, "train")


def _ended(folder: Path, as_json: bool, stage: str | None = None) -> AbstractContextManager[None]:
    """Print how a command on a run ended, also by an error, where JSON is wanted; the last stage begun if not named."""
    from potstill.run.status_json import ended_facts

    return ended_as_json(as_json, lambda: ended_facts(folder, stage))


def deploy(
    run: RunArgument,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Engine to export for, once or more (default: those of the config)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export the student of a run: ase, lammps, openmm, torchsim, metatomic, ipi, pt2."""
    from potstill.deploy.commands import COMMANDS
    from potstill.run.facts import exports
    from potstill.run.folder import RunFolder
    from potstill.run.next_step import shown_path
    from potstill.run.verdict import run_verdict

    with kept_for_json(as_json):
        one_stage(run, "deploy", formats=_formats(to))
    there = exports(RunFolder(run))
    folders = [run / "deploy" / name for name in COMMANDS if name in there and (not to or name in to)]
    verdict = run_verdict(RunFolder(run))
    if as_json:
        made = [{"format": f.name, "folder": str(f), "command": COMMANDS[f.name]} for f in folders]
        print_json({"verdict": verdict.verdict, "reason": verdict.reason, "exports": made})
        return
    for folder in folders:
        typer.echo(f"{folder.name:10} cd {shown_path(folder)} && {COMMANDS[folder.name]}")
    typer.echo(verdict.sentence)


def _formats(names: list[str] | None) -> tuple[str, ...]:
    """Return the formats of ``--to``, or raise with the nearest name."""
    from potstill.core.registry import nearest
    from potstill.deploy.options import DeployFormat

    for name in names or ():
        if name not in get_args(DeployFormat):
            raise InputError(f"there is no format '{name}': {nearest(name, get_args(DeployFormat))}")
    return tuple(names or ())
