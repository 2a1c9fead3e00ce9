"""Shared code of the commands: reading a config, locking a run folder, logs, and errors as one line."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.core.errors import InputError, PotstillError
from potstill.core.files import file_error, quoted

if TYPE_CHECKING:
    from potstill.config import Config
    from potstill.run.folder import RunFolder
    from potstill.run.pipeline import Pipeline

ConfigFile = Annotated[Path, typer.Argument(help="YAML config; print one with 'potstill template'.")]
Fallback = Annotated[
    bool,
    typer.Option("--fallback", help="Take the contingency mix where a generative source is missing or fails."),
]
RunArgument = Annotated[Path, typer.Argument(help="Run folder.")]


def read_config(path: Path, folder: Path | None = None) -> Config:
    """Read a config; the config of the run folder ``folder`` itself may be of an earlier format."""
    from potstill.config import load_config

    if folder is not None:
        from potstill.run.folder import RunFolder
        from potstill.run.upgrade import read_config as of_run

        run = RunFolder(folder)
        if run.config.is_file() and path.exists() and run.config.samefile(path):
            return of_run(run)
    return load_config(path)


def one_stage(folder: Path, name: str, formats: tuple[str, ...] = ()) -> None:
    """Run one stage of an existing run, again where it is done."""
    from potstill.run.folder import RunFolder
    from potstill.run.no_go import stop_on_no_go

    run = RunFolder(folder)
    if not run.config.exists():
        if name == "deploy":
            _refuse_student(folder)
        raise InputError(
            f"{folder} is no run folder (it holds no config.yaml)\n  start one with:  potstill run CONFIG --out {folder}"
        )
    with open_pipeline(read_config(run.config, folder), folder, resume=True, formats=formats) as pipeline:
        pipeline.require(name)
        if name == "train":
            stop_on_no_go(pipeline.run)
        pipeline.stage(name, again=True)
        if name == "audit":
            stop_on_no_go(pipeline.run)


def _refuse_student(folder: Path) -> None:
    """Raise InputError for a student without its run, which Python exports: a copy of ``student/``, or a shipped one."""
    from potstill.run.folder import RunFolder
    from potstill.student.shipped import CONFIG, shipped_students

    if not (folder / CONFIG).is_file() and (folder.exists() or str(folder) not in shipped_students()):
        return
    said = f"{folder} is a student, no run folder\n"
    if RunFolder(folder.parent).config.is_file():
        raise InputError(f"{said}  export it with:  potstill deploy {quoted(folder.parent)}")
    file = f"{folder.name}.potstill"
    raise InputError(
        f"{said}  write the file of LAMMPS in Python with:  from potstill.deploy.student_file import write_student_file; "
        f'write_student_file("{folder}", "{file}", ["Si", "O"])\n'
        f'  other engines load it by:  potstill.load_student("{folder}")'
    )


def refuse_nothing_labelled(run: RunFolder) -> None:
    """Raise PotstillError where the dataset of a run holds no structure: a teacher that refuses all has labelled nothing."""
    from potstill.dataset import open_file

    dataset = open_file(run.dataset)
    if len(dataset) == 0:
        raise PotstillError(
            f"{run.dataset} holds no labelled structure: the teacher refused all of them\n"
            f"  see why with:  potstill status {quoted(run.path)}"
        )


@contextmanager
def open_pipeline(
    config: Config,
    folder: Path,
    *,
    resume: bool,
    fallback: bool = False,
    hours: float | None = None,
    formats: tuple[str, ...] = (),
) -> Iterator[Pipeline]:
    """Lock a run folder and open its logs; a failure writes its traceback to ``error.log``."""
    from potstill.config import dump_config
    from potstill.run.context import Context
    from potstill.run.folder import RunFolder
    from potstill.run.metrics import monitored
    from potstill.run.pipeline import Pipeline
    from potstill.run.progress import Progress

    run = RunFolder(folder)
    with run.locked():
        run.begin(dump_config(config), config.seed, resume=resume)
        progress = Progress()
        with logs_in(run.path, progress.notices), monitored(run, config):
            until = None if hours is None else time.monotonic() + 3600 * hours
            pipeline = Pipeline(Context.start(config, run, progress, fallback=fallback, until=until, formats=formats))
            try:
                yield pipeline
            except PotstillError:
                raise
            except Exception as error:
                raise _told(error, run.path) from error
            finally:
                pipeline.close()
                progress.notices.repeat()


@contextmanager
def logs_in(folder: Path, notices: logging.Handler) -> Iterator[None]:
    """Log to ``log.txt`` (everything) and to ``notices`` (warnings), Python's own warnings included."""
    file = logging.FileHandler(folder / "log.txt", encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("potstill", "py.warnings")]
    loggers[0].setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for logger in loggers:
        logger.addHandler(file)
        logger.addHandler(notices)
    loggers[1].propagate = False
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        loggers[1].propagate = True
        for logger in loggers:
            logger.removeHandler(file)
            logger.removeHandler(notices)
        file.close()


def say(text: str) -> None:
    """Print a line to standard error."""
    typer.echo(text, err=True)


def names_of_any_encoding() -> None:
    """Make file names that are not UTF-8 printable, with their bytes as backslash escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class OneLine(logging.Formatter):
    """Messages without tracebacks, for commands on files, which have no log of their own."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own interface
        """Return nothing in the place of the traceback."""
        return ""


def without_tracebacks() -> None:
    """Print log messages of commands that open no log as one line each."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine())


def unexpected(error: Exception) -> str:
    """Write the traceback of a fault of potstill into a new temporary file, and return text that names it."""
    told = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="potstill-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return told
    return f"{told}\n  this is a fault of potstill: please report it with the traceback in {file.name}"


def _told(error: Exception, folder: Path) -> PotstillError:
    """Write the traceback into ``error.log`` and return the error as one line with its remedy."""
    log_file = folder / "error.log"
    with suppress(OSError):
        log_file.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    if isinstance(error, OSError):
        return file_error(error, folder)
    return PotstillError(
        f"{type(error).__name__}: {error}\n  the traceback is in {log_file}; what was finished is kept, go on with --resume"
    )
