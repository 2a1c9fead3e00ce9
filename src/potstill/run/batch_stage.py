"""The stage ``batches``: each batch is a run up to its audit, then one ``dataset.h5`` is made from all.

batches/01, 02, … (each a run up to its audit) -> batches -> dataset.h5 -> audit -> …
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from potstill import __version__
from potstill.config import Config
from potstill.core.errors import OutOfTimeError
from potstill.run.batches import advice_for_all, batch_configs, claim, join
from potstill.run.context import Context
from potstill.run.folder import RunFolder
from potstill.run.no_go import NoGoError
from potstill.run.stages.data import note_teacher

log = logging.getLogger(__name__)


def run_batches(context: Context, work: Callable[[Context], None]) -> None:
    """Run every batch that has not passed yet, and merge them; at the time limit, those that are labelled so far.

    Parameters
    ----------
    context
        Context of the whole run.
    work
        Function that runs all stages of a batch up to its audit.
    """
    configs = batch_configs(context.config)
    try:
        for number, config in enumerate(configs, 1):
            _do_batch(context, number, config, work)
    except OutOfTimeError:
        _join(context)
        raise
    _join(context)


def _do_batch(context: Context, number: int, config: Config, work: Callable[[Context], None]) -> None:
    run, count = context.run.batch(number), len(context.config.batches)
    own = claim(run, config)
    if own is None:
        return
    context.progress.note(f"batch {number} of {count}: {sum(s.count for s in config.generate.sources):,} structures")
    log.info("batch %d of %d begins or goes on", number, count)
    with run.locked():
        batch = context.of_batch(own, run)
        try:
            work(batch)
        except NoGoError as error:
            raise NoGoError(f"batch {number} of {count}: {error}\n  {_remedy(context, run)}") from error
        finally:
            batch.executor.close()
    log.info("batch %d of %d: GO", number, count)
    context.run.log_metrics(stage="batches", batch=number, verdict="GO")


def _remedy(context: Context, batch: RunFolder) -> str:
    """Write ``advice.yaml`` for the whole run, where there is advice, and return the user's next command."""
    advice = advice_for_all(batch, context.config)
    mend = f"correct the config ({batch.html('audit')} states the reasons)"
    if advice:
        path = context.run.path / "advice.yaml"
        path.write_text(advice, encoding="utf-8")
        mend = f"use the config {path}, or correct yours ({batch.html('audit')} states the reasons)"
    return f"{mend}, then continue with this batch:  potstill run CONFIG --out {context.run.path} --resume"


def _join(context: Context) -> None:
    """Make ``dataset.h5`` from the batches that are labelled, completely or in part."""
    run = context.run
    labelled = [batch for batch in run.batches() if batch.dataset.exists()]
    if labelled:
        join(labelled, context.config, run.dataset, {"potstill": __version__})
        note_teacher(run)
