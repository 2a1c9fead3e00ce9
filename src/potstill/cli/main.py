"""The command line: one command per stage, plus run, plan, status, check, template and doctor.

Heavy modules are imported inside the commands, so that ``potstill --help`` answers at once. Exit codes: 0 done (and GO),
1 a run or check that failed, 2 bad input or config, 3 NO-GO.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from potstill.cli.audit import audit
from potstill.cli.common import (
    ConfigFile,
    Fallback,
    RunArgument,
    names_of_any_encoding,
    read_config,
    say,
    unexpected,
    without_tracebacks,
)
from potstill.cli.convert import convert, verify
from potstill.cli.dataset import dataset_app
from potstill.cli.evaluate import evaluate
from potstill.cli.output import AsJson, kept_for_json, print_json, stopped
from potstill.cli.setup import setup
from potstill.cli.stages import deploy, generate, label, run, train
from potstill.cli.stops import EXIT_CODES, stops_as_exits
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import file_error

if TYPE_CHECKING:
    from potstill.config import Config

app = typer.Typer(
    name="potstill",
    help="Distil a big, slow machine-learned force field into a small, fast one that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

student_app = typer.Typer(name="student", help="About the student of a config.", no_args_is_help=True)


class Template(StrEnum):
    """Configs that come with potstill."""

    quickstart = "quickstart"
    small_6k = "small_6k"
    medium_10k = "medium_10k"
    production_120k = "production_120k"
    my_system = "my_system"
    my_labels = "my_labels"


def main() -> NoReturn:
    """Run the command line; the console script and ``python -m potstill``."""
    names_of_any_encoding()
    without_tracebacks()
    if not _folder_exists():
        say("potstill: the current folder does not exist any more\n  change to another one:  cd ~")
        sys.exit(InputError.exit_code)
    with stops_as_exits():
        try:
            app(standalone_mode=True)
        except PotstillError as error:
            say(f"potstill: {error}")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:
            told = file_error(error)
            say(f"potstill: {told}")
            sys.exit(told.exit_code)
        except SystemExit as stop:  # raised by the command line after Ctrl-C
            if stop.code in EXIT_CODES:
                say(stopped())
            raise
        except Exception as error:  # noqa: BLE001 - a fault of potstill, whose traceback belongs into a file
            say(f"potstill: {unexpected(error)}")
            sys.exit(1)
    sys.exit(0)


def _folder_exists() -> bool:
    """Return whether the current folder is there, without which no path is found."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from potstill import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def template(name: Annotated[Template, typer.Argument(help="Which config.")] = Template.quickstart) -> None:
    """Print a commented config."""
    from potstill.templates import read_template

    typer.echo(read_template(name.value), nl=False)


@app.command()
def check(config: ConfigFile, fallback: Fallback = False, as_json: AsJson = False) -> None:
    """Check a config and print its faults; exit 2 if there are any."""
    from potstill.run.foresee import contradictions
    from potstill.run.plan import missing_pieces, settle

    if as_json:
        _check_as_json(config, fallback=fallback)
        return
    checked = settle(read_config(config)) if fallback else read_config(config)
    missing = missing_pieces(checked)
    if missing:
        raise InputError(f"{config} is a valid config, but here it cannot run:\n" + "\n".join(f"  {m}" for m in missing))
    if faults := contradictions(checked):
        raise InputError(
            f"{config} is a valid config, but its run would end with NO-GO:\n" + "\n".join(f"  {f}" for f in faults)
        )
    asked = sum(s.count for s in checked.generate.sources)
    at_most = "at most " if any(s.kind == "own" for s in checked.generate.sources) else ""
    typer.echo(f"{config} is good: {at_most}{asked:,} structures, teacher {_teacher(checked)}")


def _check_as_json(path: Path, *, fallback: bool) -> None:
    """Print what ``check`` finds as JSON; exit 2 if anything is wrong."""
    from potstill.run.foresee import contradictions
    from potstill.run.plan import missing_pieces, settle

    facts: dict[str, Any] = {"config": str(path), "faults": [], "missing": [], "contradictions": []}
    facts |= {"structures": None, "teacher": None}
    with kept_for_json(wanted=True):
        try:
            checked = settle(read_config(path)) if fallback else read_config(path)
            facts |= {"structures": sum(s.count for s in checked.generate.sources), "teacher": _teacher(checked)}
            facts |= {"missing": missing_pieces(checked), "contradictions": contradictions(checked)}
        except InputError as error:
            facts["faults"] = str(error).splitlines()
    good = not (facts["faults"] or facts["missing"] or facts["contradictions"])
    print_json({"good": good, **facts})
    if not good:
        raise typer.Exit(InputError.exit_code)


@app.command()
def plan(
    config: ConfigFile,
    fallback: Fallback = False,
    gpu_price: Annotated[
        float | None, typer.Option("--gpu-price", min=0.0, help="Price of a GPU hour; the plan then has the cost.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate counts, time, GPU hours, disk and memory of each stage and batch, from a short measured probe."""
    from rich.console import Console

    from potstill.run.plan import (
        missing_pieces,
        plan_facts,
        print_counts,
        print_plan,
        print_subruns,
        settle,
    )
    from potstill.run.probe import as_available, probe

    checked = settle(read_config(config)) if fallback else read_config(config)
    missing = missing_pieces(checked)
    if missing and as_json:
        print_json(plan_facts(checked, [], missing=missing))
    for line in missing if not as_json else ():
        typer.echo(f"missing: {line}")
    if missing:
        raise typer.Exit(InputError.exit_code)
    with kept_for_json(as_json):
        costs = probe(checked)
    if as_json:
        print_json(plan_facts(checked, costs, gpu_price=gpu_price))
        return
    print_counts(checked, Console())
    print_plan(costs, Console())
    if checked.batches or gpu_price is not None:
        print_subruns(as_available(checked), costs, Console(), gpu_price)


@app.command()
def status(
    run: RunArgument,
    live: Annotated[
        bool, typer.Option("--live", help="Stay, and show it anew every two seconds, until the run ends.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is done, rates, time left, refusals by reason, alerts, and the verdict."""
    from rich.console import Console

    from potstill.run.status import follow_status, print_status
    from potstill.run.status_json import status_facts

    if as_json and live:
        raise InputError("--json and --live exclude each other: ask again for the next state")
    if as_json:
        print_json(status_facts(run))
    else:
        (follow_status if live else print_status)(run, Console())


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what is installed and working; for what is not, the command that installs it."""
    from dataclasses import asdict

    from rich.console import Console

    from potstill.cli.doctor import examine, print_findings

    with kept_for_json(as_json):
        findings = examine()
    works = all(finding.works for finding in findings if finding.required)
    if as_json:
        print_json({"works": works, "conditions": [asdict(finding) for finding in findings]})
    else:
        print_findings(findings, Console())
    if not works:
        raise typer.Exit(1)


@student_app.command()
def size(config: ConfigFile, as_json: AsJson = False) -> None:
    """Show parameters, FLOPs per atom, memory and measured speed; exit 2 outside student.parameters_between."""
    from dataclasses import asdict

    from rich.console import Console

    from potstill.deploy.size import measure_size, print_size

    checked = read_config(config)
    with kept_for_json(as_json):
        measured = measure_size(checked.student, checked.generate.elements)
    if as_json:
        print_json({"tier": checked.student.tier, **asdict(measured)})
    else:
        print_size(measured, checked.student, Console())


def _teacher(config: Config) -> str:
    return str(getattr(config.label.teacher, "name", "?"))


def _in_order() -> None:
    """Register commands of other modules, and list all in groups, in the order of their use."""
    for command in (run, generate, label, audit, train, evaluate, deploy, convert, verify, setup):
        app.command()(command)
    app.add_typer(dataset_app, rich_help_panel="Files and students")
    app.add_typer(student_app, rich_help_panel="Files and students")
    places = {name: (place, panel) for place, (name, panel) in enumerate((n, p) for p, of in GROUPS.items() for n in of)}
    named = {id(info): str(info.name or getattr(info.callback, "__name__", "")) for info in app.registered_commands}
    app.registered_commands.sort(key=lambda info: places[named[id(info)]][0])
    for info in app.registered_commands:
        info.rich_help_panel = places[named[id(info)]][1]


GROUPS = {
    "A run": ("template", "check", "plan", "run", "status"),
    "One stage of a run": ("generate", "label", "audit", "train", "evaluate", "deploy"),
    "This machine": ("doctor", "setup"),
    "Files and students": ("convert", "verify"),
}
_in_order()
