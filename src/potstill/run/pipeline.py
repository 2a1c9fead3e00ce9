"""The stages in order, each from files to files; the README's figure as code.

generate -> structures/structures.h5 -> label -> dataset.h5 -> audit -> audit.json
                                                  dataset.h5 -> train -> student/ -> evaluate -> evaluate.json
                                                                         student/ -> deploy -> deploy/

batches/01, 02, … (each a run as far as its audit) -> batches -> dataset.h5 -> audit -> …
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from potstill import __version__
from potstill.active_learning.options import ActiveLearningConfig
from potstill.config import Config
from potstill.core.errors import InputError, OutOfTimeError, PotstillError
from potstill.core.registry import nearest
from potstill.core.types import Teacher
from potstill.core.units import duration
from potstill.dataset import open_file
from potstill.execute import Executor
from potstill.generate.mix import as_json
from potstill.run.batches import advice_for_all, batch_configs, claim, join
from potstill.run.folder import STAGES, RunFolder
from potstill.run.progress import Counter, Progress
from potstill.run.status import told

log = logging.getLogger(__name__)
METRICS_EVERY_SECONDS = 5.0


class NoGoError(PotstillError):
    """The audit says NO-GO: what comes after it is not done."""

    exit_code = 3


class Pipeline:
    """One run: its config, its folder, and a teacher that is loaded once and only if needed.

    Parameters
    ----------
    config
        Checked.
    run
        Its folder.
    progress
        Shows what goes on.
    fallback
        Whether the contingency mix may take the place of a generative source that is missing or fails.
    until
        When to stop, by :func:`time.monotonic`, or None.
    """

    def __init__(
        self, config: Config, run: RunFolder, progress: Progress, *, fallback: bool = False, until: float | None = None
    ) -> None:
        self.config = config
        self.run = run
        self.progress = progress
        self.fallback = fallback
        self.until = until
        self.formats: tuple[str, ...] = config.deploy.formats
        self.teacher: Callable[[], Teacher] = cache(config.label.teacher.open)
        if config.batches:
            (run.path / "batches").mkdir(exist_ok=True)
        self.executor: Executor = config.execute.start(run.path / "execute", config.workers)

    def close(self) -> None:
        """End the workers."""
        self.executor.close()

    def all_stages(self, last: str = "deploy") -> None:
        """Every stage up to the last that is not done yet.

        Raises
        ------
        NoGoError
            If the audit does not pass; its report is written first.
        OutOfTimeError
            At the time limit, if there is one.
        """
        for stage in self.run.stages[: self.run.stages.index(last) + 1]:
            self.stage(stage)
            if stage == "audit":
                self.stop_on_no_go()

    def stop_in_time(self) -> None:
        """Raise :class:`OutOfTimeError` at the time limit."""
        if self.until is not None and monotonic() >= self.until:
            raise OutOfTimeError

    def stage(self, name: str, *, again: bool = False) -> None:
        """One stage, unless it is done and not asked for again; its time adds up over resumed runs."""
        before = self.run.stage(name)
        if before["state"] == "done" and not again:
            self.progress.skip(name, before["seconds"])
            return
        started = perf_counter() - (0.0 if again else before["seconds"])
        self.run.set_stage(name, "running", perf_counter() - started)
        log.info("%s: %s", name, "begins" if perf_counter() - started < 1 else "goes on")
        self.write_report()
        try:
            with self.progress.stage(name):
                _STAGES[name](self, lambda: perf_counter() - started)
        except BaseException as error:
            stopped = not isinstance(error, Exception) or isinstance(error, OutOfTimeError)  # little time is left
            self.run.set_stage(name, "stopped" if stopped else "failed", perf_counter() - started)
            if stopped:
                log.warning("%s: stopped after %s; what was finished is kept", name, duration(perf_counter() - started))
            else:
                log.info("%s: failed after %s: %s", name, duration(perf_counter() - started), error)
                with suppress(Exception):  # a page that fails must not hide why the stage failed
                    self.write_report()
            raise
        self.run.set_stage(name, "done", perf_counter() - started)
        self.run.log_metrics(stage=name, event="done", seconds=round(perf_counter() - started, 3))
        log.info("%s: done in %s%s", name, duration(perf_counter() - started), told(self.run, self.config, name))
        self.write_report()

    def require_name(self, name: str) -> None:
        """Raise where the run has no such stage."""
        if name in STAGES and name not in self.run.stages:
            raise InputError(f"'{name}' of a run in batches is done in each of them: {self.run.path / 'batches'}/*")
        if name not in self.run.stages:
            raise InputError(f"there is no stage '{name}': {nearest(name, self.run.stages)}")

    def require(self, name: str) -> None:
        """Raise where the stages that a stage starts from are not done."""
        self.require_name(name)
        data = self.run.stages[self.run.stages.index("audit") - 1]
        needed = {"label": "generate", "audit": data, "train": "audit", "evaluate": "train", "deploy": "train"}
        before = needed.get(name)
        if before is not None and self.run.stage(before)["state"] != "done":
            raise InputError(
                f"{self.run.path}: '{name}' needs '{before}' to be done, which is {self.run.stage(before)['state']}\n"
                f"  do all stages with:  potstill run {self.run.config} --out {self.run.path} --resume"
            )

    def stop_on_no_go(self) -> None:
        """Raise :class:`NoGoError` where ``audit.json`` does not say GO."""
        report = _read_json(self.run.json("audit"))
        if report["verdict"] != "GO":
            bad = [f for f in report["findings"] if f["verdict"] not in ("GO", "WARN")]
            failed = [f"  {f['check']}: {_figure(f)}. {f['why']}" for f in bad]
            raise NoGoError(f"NO-GO: {len(failed)} check(s) of the audit did not pass\n" + "\n".join(failed))

    def _batches(self, seconds: Callable[[], float]) -> None:
        configs = batch_configs(self.config)
        try:
            for number, config in enumerate(configs, 1):
                self._batch(number, config, len(configs))
        except OutOfTimeError:
            self._join()
            raise
        self._join()

    def _batch(self, number: int, config: Config, count: int) -> None:
        run = self.run.batch(number)
        own = claim(run, config)
        if own is None:
            return
        self.progress.note(f"batch {number} of {count}: {sum(s.count for s in config.generate.sources):,} structures")
        log.info("batch %d of %d begins or goes on", number, count)
        with run.locked():
            batch = Pipeline(own, run, self.progress, fallback=self.fallback, until=self.until)
            batch.teacher = self.teacher
            try:
                batch.all_stages("audit")
            except NoGoError as error:
                advice = advice_for_all(run, self.config)
                mend = f"mend the config ({run.html('audit')} says why)"
                if advice:
                    (self.run.path / "advice.yaml").write_text(advice, encoding="utf-8")
                    mend = f"take the config {self.run.path / 'advice.yaml'}, or mend yours ({run.html('audit')} says why)"
                raise NoGoError(
                    f"batch {number} of {count}: {error}\n"
                    f"  {mend}, then go on with this batch:  potstill run CONFIG --out {self.run.path} --resume"
                ) from error
            finally:
                batch.close()
        log.info("batch %d of %d: GO", number, count)
        self.run.log_metrics(stage="batches", batch=number, verdict="GO")

    def _join(self) -> None:
        """``dataset.h5`` from the batches that are labelled, wholly or in part."""
        labelled = [batch for batch in self.run.batches() if batch.dataset.exists()]
        if not labelled:
            return
        join(labelled, self.config, self.run.dataset, {"potstill": __version__})
        self._note_teacher()

    def write_report(self) -> None:
        """``report.html`` from whatever is there."""
        from potstill.run.pages import write_run_page

        write_run_page(self.run)

    def _generate(self, seconds: Callable[[], float]) -> None:
        from potstill.generate.stage import SourceCount, generate

        with self.progress.counts(sum(s.count for s in self.config.generate.sources), "structures") as bar:
            logged: dict[str, float] = {}

            def advance(count: SourceCount) -> None:
                bar.source(count.name, max(count.accepted, min(count.made, count.wanted)), count.refused)
                if perf_counter() - logged.get(count.name, 0.0) >= METRICS_EVERY_SECONDS:
                    self.stop_in_time()
                    logged[count.name] = perf_counter()
                    figures = {"wanted": count.wanted, "made": count.made, "accepted": count.accepted}
                    self.run.log_metrics(stage="generate", source=count.name, **figures, refused=count.refused)

            counts = generate(
                self.config.generate,
                self.run.structures.parent,
                seed=self.config.seed,
                executor=self.executor,
                fallback=self.fallback,
                teacher=self.config.label.teacher,
                on_progress=advance,
            )
        self.run.log_metrics(
            stage="generate",
            sources={c.name: {"wanted": c.wanted, "accepted": c.accepted, "refused": c.refused} for c in counts},
        )

    def _label(self, seconds: Callable[[], float]) -> None:
        self.run.log_metrics(stage="label", event="begun", workers=self.executor.workers)
        try:
            self._select()
            parts = self._ask_teacher(self.run.to_label)
        except OutOfTimeError:
            if some := sorted(self.run.labelled_parts.glob("*.h5")):
                self._assemble(some, seconds(), partial=True)
            raise
        self._assemble(parts, seconds(), partial=False)
        self._note_teacher()

    def _select(self) -> None:
        from potstill.active_learning.committee import disagreement
        from potstill.label.select import write_first, write_selected

        select, run, seed = self.config.label.select, self.run, self.config.seed
        if select is None or run.selected.exists():
            return
        if select.by != "committee":
            write_selected(run.structures, run.selected, select, seed=seed)
            return
        at_once = self.config.label.structures_per_task
        first = write_first(run.structures, run.first, select, seed=seed, at_once=at_once)
        apart = disagreement(
            self._ask_teacher(first),
            open_file(run.structures),
            run.committee,
            cutoff_angstrom=self.config.student.cutoff_angstrom,
            seed=seed,
            on_step=self.progress.note,
            on_epoch=self.stop_in_time,
        )
        write_selected(run.structures, run.selected, select, seed=seed, first=first, disagreement=apart)
        shutil.rmtree(run.committee)

    def _ask_teacher(self, structures: Path) -> list[Path]:
        """Labelled parts of a file; those that are there are kept."""
        from potstill.label.stage import label

        with self.progress.counts(len(open_file(structures)), "structures") as bar:

            def advance(count: Any) -> None:
                bar.advance(count.labelled, count.refused)
                figures = {"labelled": count.labelled, "refused": count.refused, "sources": dict(count.sources)}
                if count.worker:
                    figures |= {
                        "seconds": round(count.seconds, 3),
                        "worker": count.worker,
                        "memory_bytes": count.memory_bytes,
                    }
                else:
                    figures["event"] = "found"
                self.run.log_metrics(stage="label", **figures)
                self.stop_in_time()

            return label(self.config.label, structures, self.run.labelled_parts, executor=self.executor, on_progress=advance)

    def _assemble(self, parts: Sequence[Path], label_seconds: float, *, partial: bool) -> None:
        from potstill.label.stage import assemble

        self.executor.close()
        assemble(
            parts,
            self.run.to_label,
            self.run.dataset,
            split=self.config.dataset,
            seed=self.config.seed,
            attributes={
                "config": self.run.config.read_text(encoding="utf-8"),
                "potstill": __version__,
                "label_seconds": label_seconds,
                "mix": as_json(mix) if (mix := self.run.mix()) else "",
                "not_selected": open_file(self.run.to_label).attributes.get("not_selected", "{}"),
                "workers": self.executor.workers,
            },
            partial=partial,
        )

    def _note_teacher(self) -> None:
        fingerprint = json.loads(open_file(self.run.dataset).attributes["teacher"])
        self.run.update(teacher={"name": fingerprint["name"], "version": fingerprint["version"], "fingerprint": fingerprint})

    def _audit(self, seconds: Callable[[], float]) -> None:
        from potstill.audit.stage import audit, write_advice, write_report
        from potstill.report.audit import write_audit_page
        from potstill.report.markdown import write_audit_markdown

        kept = self.run.path / "audit_data.npz"  # judging again by other gates reads it
        gates, seed = self.config.audit, self.config.seed
        report, stats = audit(open_file(self.run.dataset), gates, teacher=self.teacher, seed=seed, kept=kept)
        write_report(report, self.run.json("audit"))
        write_advice(report, self.run.config.read_text(encoding="utf-8"), self.run.path / "advice.yaml")
        dataset = open_file(self.run.dataset)
        write_audit_page(report, stats, dataset, self.run.html("audit"))
        write_audit_markdown(report, dataset, self.run.path / "audit.md", record=self.run.record())

    def _train(self, seconds: Callable[[], float]) -> None:
        from potstill.train.job import TrainJob
        from potstill.train.stage import train
        from potstill.train.tensorboard import TensorBoardWriter

        dataset = open_file(self.run.dataset)
        board = TensorBoardWriter(self.run.path / "tensorboard") if self.config.train.tensorboard else None
        with self.progress.counts(self.config.train.epochs, "epochs") as bar:

            def report(epoch: int, errors: dict[str, float]) -> None:
                bar.set(epoch, errors)
                self.run.log_metrics(stage="train", epoch=epoch, **errors)
                if board is not None:
                    board.add(epoch, errors)

            config = self.config
            train(
                TrainJob.on(dataset, config.student, config.train, self.run.student, seed=config.seed),
                on_epoch=report,
                provenance={
                    "dataset": json.loads(dataset.attributes["checksums"]),
                    "teacher": json.loads(dataset.attributes["teacher"]),
                    "potstill": __version__,
                },
            )

        if self.config.active_learning is not None:
            self._learn_actively(self.config.active_learning)

    def _learn_actively(self, options: ActiveLearningConfig) -> None:
        from potstill.active_learning.stage import learn_actively
        from potstill.report.active_learning import write_round_page

        shown = ExitStack()  # the counter of the epochs of one round, while there is one
        counters: dict[int, Counter] = {}

        def step(text: str) -> None:
            shown.close()
            self.progress.note(text)

        def report(number: int, epoch: int, errors: dict[str, float]) -> None:
            if number not in counters:
                counters[number] = shown.enter_context(self.progress.counts(options.epochs, "epochs"))
            counters[number].set(epoch, errors)
            self.run.log_metrics(stage="active_learning", round=number, epoch=epoch, **errors)

        def page(reports: list[dict[str, Any]], folder: Path) -> None:
            write_round_page(reports, open_file(folder / "new.h5"), folder / "round.html")

        executor = self.config.execute.start(self.run.active_learning / "execute", self.config.workers)
        try:
            judged = learn_actively(
                self.config,
                self.run.dataset,
                self.run.student,
                self.run.active_learning,
                executor=executor,
                on_step=step,
                on_epoch=report,
                on_round=page,
            )
        finally:
            shown.close()
            executor.close()
        for row in judged:
            self.run.log_metrics(
                stage="active_learning", event="judged", **{k: row[k] for k in ("round", "passed", "forces")}
            )
        if not judged[-1]["passed"]:
            log.warning("the student did not pass its gate in %d rounds: see %s", len(judged), self.run.active_learning)

    def _evaluate(self, seconds: Callable[[], float]) -> None:
        from potstill.deploy.student import load_student
        from potstill.evaluate.kept import write_evaluation
        from potstill.evaluate.stage import evaluate
        from potstill.report.evaluate import write_evaluate_page

        evaluation = evaluate(
            load_student(self.run.student),
            open_file(self.run.dataset),
            self.config.evaluate,
            teacher=self.teacher,
            seed=self.config.seed,
            on_step=self.progress.note,
        )
        write_evaluation(evaluation, self.run.json("evaluate"), self.run.path / "evaluate_data.npz")
        write_evaluate_page(evaluation, self.run.html("evaluate"))
        for finding in evaluation.report["findings"]:
            if finding["verdict"] != "GO":
                log.warning("%s: %s: %s. %s", finding["verdict"], finding["check"], _figure(finding), finding["why"])

    def _deploy(self, seconds: Callable[[], float]) -> None:
        from potstill.deploy.stage import deploy
        from potstill.evaluate.stage import pick

        dataset = open_file(self.run.dataset)
        held_out = [dataset[int(k)] for k in dataset.split("test")] or dataset[:16]
        example = pick(held_out, periodic=False) or pick(held_out, periodic=True) or held_out[0]
        deploy(self.run.student, self.run.deploy, self.formats, example)


_STAGES: dict[str, Callable[[Pipeline, Callable[[], float]], None]] = {
    "batches": Pipeline._batches,
    "generate": Pipeline._generate,
    "label": Pipeline._label,
    "audit": Pipeline._audit,
    "train": Pipeline._train,
    "evaluate": Pipeline._evaluate,
    "deploy": Pipeline._deploy,
}


def _figure(finding: dict[str, Any]) -> str:
    if finding["measured"] is None:
        return "did not run" if finding["limit"] is None else f"no finite figure against {finding['limit']:.4g}"
    return f"{finding['measured']:.4g} {finding['unit']} against {finding['limit']:.4g}"


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
