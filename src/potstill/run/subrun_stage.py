"""The stage ``batches``: each batch is a subrun up to its audit, then one ``dataset.h5`` is made from all.

batches/01, 02, … (each a subrun up to its audit) -> batches -> dataset.h5 -> audit -> …
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from potstill import __version__
from potstill.config import Config
from potstill.core.counts import several
from potstill.core.errors import InputError, OutOfTimeError
from potstill.core.files import quoted
from potstill.run.context import Context
from potstill.run.folder import RunFolder
from potstill.run.foresee import short_of_frames
from potstill.run.no_go import NoGoError
from potstill.run.stages.data import note_teacher
from potstill.run.subruns import advice_for_all, claim, join, refuse_other_labels, subrun_configs

log = logging.getLogger(__name__)


def finish_subruns(context: Context, work: Callable[[Context], None]) -> None:
    """Finish every subrun that has not passed yet, and merge them; at the time limit, those that are labelled so far.

    Parameters
    ----------
    context
        Context of the whole run.
    work
        Function that runs all stages of a subrun up to its audit.
    """
    if not context.run.subruns() and (short := short_of_frames(context.config)):
        raise InputError("\n".join(short))
    configs = subrun_configs(context.config)
    refuse_other_labels(context.run.subruns(), context.config)
    try:
        for number, config in enumerate(configs, 1):
            _do_subrun(context, number, config, work)
    except OutOfTimeError:
        _join(context)
        raise
    _join(context)


def _do_subrun(context: Context, number: int, config: Config, work: Callable[[Context], None]) -> None:
    run, count = context.run.subrun(number), len(context.config.batches)
    own = claim(run, config)
    if own is None:
        return
    wanted = several(sum(s.count for s in config.generate.sources), "structure")
    context.progress.note(f"batch {number} of {count}: {wanted}")
    log.info("batch %d of %d begins or goes on", number, count)
    with run.locked():
        subrun = context.of_subrun(own, run)
        try:
            work(subrun)
        except NoGoError as error:
            first, *rest = str(error).splitlines()
            rest = [line for line in rest if not line.startswith("next: ")]  # a batch is no run of its own
            raise NoGoError("\n".join([f"batch {number} of {count}: {first}", *rest, _remedy(context, run)])) from error
        finally:
            subrun.executor.close()
    log.info("batch %d of %d: GO", number, count)
    context.run.log_metrics(stage="batches", batch=number, verdict="GO")


def _remedy(context: Context, subrun: RunFolder) -> str:
    """Write ``advice.yaml`` for the whole run, where there is advice, and return the user's next command."""
    advice = advice_for_all(subrun, context.config)
    mend = f"correct the config ({subrun.html('audit')} states the reasons)"
    if advice:
        path = context.run.path / "advice.yaml"
        path.write_text(advice, encoding="utf-8")
        mend = f"use the config {path}, or correct yours ({subrun.html('audit')} states the reasons)"
    return f"next: {mend}, then continue with this batch:  potstill run CONFIG --out {quoted(context.run.path)} --resume"


def _join(context: Context) -> None:
    """Make ``dataset.h5`` from the subruns that are labelled, completely or in part."""
    run = context.run
    labelled = [subrun for subrun in run.subruns() if subrun.dataset.exists()]
    if labelled:
        join(labelled, context.config, run.dataset, {"potstill": __version__, "created": run.created})
        note_teacher(run)
