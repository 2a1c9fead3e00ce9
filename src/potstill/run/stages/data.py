"""The stages that make the data: ``generate``, ``label`` and ``audit``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from potstill import __version__
from potstill.core.errors import OutOfTimeError
from potstill.dataset import open_file
from potstill.generate.mix import as_json
from potstill.label.tasks import parts_in
from potstill.run.context import Context
from potstill.run.folder import RunFolder

if TYPE_CHECKING:
    from potstill.generate.source_count import SourceCount

METRICS_EVERY_SECONDS = 5.0


def run_generate(context: Context) -> None:
    """Make ``structures/structures.h5``."""
    from potstill.generate.stage import generate

    config, run = context.config, context.run
    with context.progress.counts(sum(s.count for s in config.generate.sources), "structures") as bar:
        logged: dict[str, float] = {}

        def advance(count: SourceCount) -> None:
            bar.source(count.name, max(count.accepted, min(count.made, count.wanted)), count.refused)
            if perf_counter() - logged.get(count.name, 0.0) >= METRICS_EVERY_SECONDS:
                context.stop_in_time()
                logged[count.name] = perf_counter()
                figures = {"wanted": count.wanted, "made": count.made, "accepted": count.accepted}
                run.log_metrics(stage="generate", source=count.name, **figures, refused=count.refused)

        counts = generate(
            config.generate,
            run.structures.parent,
            seed=config.seed,
            executor=context.executor,
            fallback=context.fallback,
            teacher=config.label.teacher,
            on_progress=advance,
        )
    run.log_metrics(
        stage="generate",
        sources={c.name: {"wanted": c.wanted, "accepted": c.accepted, "refused": c.refused} for c in counts},
    )


def run_label(context: Context) -> None:
    """Make ``dataset.h5``; at the time limit, from the structures that are labelled so far."""
    run = context.run
    run.log_metrics(stage="label", event="begun", workers=context.executor.workers)
    try:
        _select(context)
        parts = _ask_teacher(context, run.to_label)
    except OutOfTimeError:
        if some := parts_in(run.labelled_parts):
            _assemble(context, some, partial=True)
        raise
    _assemble(context, parts, partial=False)
    note_teacher(run)


def run_audit(context: Context) -> None:
    """Make ``audit.json`` with the verdict, its pages, and ``advice.yaml``."""
    from potstill.audit.stage import audit, write_advice, write_report
    from potstill.report.audit import write_audit_page
    from potstill.report.markdown import write_audit_markdown

    run, config = context.run, context.config
    kept = run.path / "audit_data.npz"  # a later audit by other gates reads it
    of_batch = run.is_batch()
    report, stats = audit(
        open_file(run.dataset), config.audit, teacher=context.teacher, seed=config.seed, kept=kept, of_batch=of_batch
    )
    write_report(report, run.json("audit"))
    write_advice(report, run.config.read_text(encoding="utf-8"), run.path / "advice.yaml")
    dataset = open_file(run.dataset)
    write_audit_page(report, stats, dataset, run.html("audit"))
    write_audit_markdown(report, dataset, run.path / "audit.md", record=run.record())


def note_teacher(run: RunFolder) -> None:
    """Write the teacher of ``dataset.h5`` into ``run.json``."""
    fingerprint = json.loads(open_file(run.dataset).attributes["teacher"])
    run.update(teacher={"name": fingerprint["name"], "version": fingerprint["version"], "fingerprint": fingerprint})


def _select(context: Context) -> None:
    """Select the structures to label, if the config has a selection and none was made."""
    from potstill.active_learning.committee import disagreement
    from potstill.label.select import write_first, write_selected

    select, run, seed = context.config.label.select, context.run, context.config.seed
    if select is None or run.selected.exists():
        return
    if select.by != "committee":
        write_selected(run.structures, run.selected, select, seed=seed)
        return
    at_once = context.config.label.structures_per_task
    first = write_first(run.structures, run.first, select, seed=seed, at_once=at_once)
    apart = disagreement(
        _ask_teacher(context, first),
        open_file(run.structures),
        run.committee,
        cutoff_angstrom=context.config.student.cutoff_angstrom,
        seed=seed,
        on_step=context.progress.note,
        on_epoch=context.stop_in_time,
    )
    write_selected(run.structures, run.selected, select, seed=seed, first=first, disagreement=apart)
    shutil.rmtree(run.committee)


def _ask_teacher(context: Context, structures: Path) -> list[Path]:
    """Return the labelled parts of a file; existing parts are kept."""
    from potstill.label.stage import label

    run = context.run
    with context.progress.counts(len(open_file(structures)), "structures") as bar:

        def advance(count: Any) -> None:
            bar.advance(count.labelled, count.refused, before=not count.worker)
            figures = {"labelled": count.labelled, "refused": count.refused, "sources": dict(count.sources)}
            figures["beyond_limits"] = count.beyond_limits
            if count.worker:
                figures |= {
                    "seconds": round(count.seconds, 3),
                    "worker": count.worker,
                    "memory_bytes": count.memory_bytes,
                }
            else:
                figures["event"] = "found"
            run.log_metrics(stage="label", **figures)
            context.stop_in_time()

        config = context.config.label
        return label(config, structures, run.labelled_parts, executor=context.executor, on_progress=advance)


def _assemble(context: Context, parts: Sequence[Path], *, partial: bool) -> None:
    """Merge labelled parts into ``dataset.h5``."""
    from potstill.label.stage import assemble, workers_at_once

    run, config = context.run, context.config
    context.executor.close()
    assemble(
        parts,
        run.to_label,
        run.dataset,
        split=config.dataset,
        seed=config.seed,
        attributes={
            "config": run.config.read_text(encoding="utf-8"),
            "potstill": __version__,
            "created": run.created,
            "label_seconds": context.seconds(),
            "mix": as_json(mix) if (mix := run.mix()) else "",
            "not_selected": open_file(run.to_label).attributes.get("not_selected", "{}"),
            "workers": workers_at_once(config.label.teacher, context.executor),
        },
        partial=partial,
    )
