"""The stages that make and judge the student: ``train`` with active learning, ``evaluate`` and ``deploy``."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

from potstill import __version__
from potstill.active_learning.options import ActiveLearningConfig
from potstill.dataset import open_file
from potstill.report.meaning import figure_of
from potstill.run.context import Context
from potstill.run.progress import Counter

log = logging.getLogger(__name__)


def run_train(context: Context) -> None:
    """Make ``student/``, and ``active_learning/`` where the config has that section."""
    from potstill.train.job import TrainJob
    from potstill.train.stage import train
    from potstill.train.start import start_of
    from potstill.train.tensorboard import TensorBoardWriter

    run, config = context.run, context.config
    dataset = open_file(run.dataset)
    board = TensorBoardWriter(run.path / "tensorboard") if config.train.tensorboard else None
    with context.progress.counts(config.train.epochs, "epochs") as bar:

        def report(epoch: int, errors: dict[str, float]) -> None:
            bar.set(epoch, errors)
            run.log_metrics(stage="train", epoch=epoch, **errors)
            if board is not None:
                board.add(epoch, errors)
            if config.train.processes == 1:  # the others would wait for this one
                context.stop_in_time()

        start = start_of(config.train, dataset)
        train(
            TrainJob.on(dataset, config.student, config.train, run.student, seed=config.seed, start=start),
            on_epoch=report,
            provenance={
                "dataset": json.loads(dataset.attributes["checksums"]),
                "teacher": json.loads(dataset.attributes["teacher"]),
                "potstill": __version__,
            },
        )
    if config.active_learning is not None:
        _learn_actively(context, config.active_learning)


def run_evaluate(context: Context) -> None:
    """Make ``evaluate.json`` and its page."""
    from potstill.deploy.stated_verdict import state_beside
    from potstill.deploy.student import open_student
    from potstill.evaluate.kept import write_evaluation
    from potstill.evaluate.stage import evaluate
    from potstill.evaluate.start import seen_by_start
    from potstill.report.evaluate import write_evaluate_page
    from potstill.student.shipped import student_folder

    run, start = context.run, context.config.train.start
    remember = run.path / "evaluate_rows.jsonl"
    state_beside(run.student, "NOT RUN: the evaluation of this student has not ended")  # also after a kill
    dataset = open_file(run.dataset)
    evaluation = evaluate(
        open_student(run.student),
        dataset,
        context.config.evaluate,
        teacher=context.teacher,
        seed=context.config.seed,
        start=seen_by_start(start, student_folder(start), dataset) if start else None,
        on_step=context.progress.note,
        remember=remember,
    )
    evaluation.report["held_out"] = "structures" if context.config.generate.families == "structure" else "families"
    write_evaluation(evaluation, run.json("evaluate"), run.path / "evaluate_data.npz")
    remember.unlink(missing_ok=True)
    write_evaluate_page(evaluation, run.html("evaluate"))
    for finding in evaluation.report["findings"]:
        if finding["verdict"] != "GO":
            log.info("%s: %s: %s. %s", finding["verdict"], finding["check"], figure_of(finding), finding["why"])


def run_deploy(context: Context) -> None:
    """Make ``deploy/``, one folder for each format."""
    from potstill.deploy.stage import deploy
    from potstill.evaluate.systems import pick
    from potstill.run.verdict import student_verdict

    run = context.run
    dataset = open_file(run.dataset)
    held_out = [dataset[int(k)] for k in dataset.split("test")] or dataset[:16]
    example = pick(held_out, periodic=False) or pick(held_out, periodic=True) or held_out[0]
    verdict = student_verdict(run).sentence
    deploy(run.student, run.deploy, context.formats or context.config.deploy.formats, example, verdict)


def _learn_actively(context: Context, options: ActiveLearningConfig) -> None:
    from potstill.active_learning.advice import unmet, what_would_help
    from potstill.active_learning.stage import learn_actively
    from potstill.report.active_learning import write_round_page

    run, config = context.run, context.config
    shown = ExitStack()  # counter of the epochs of one round, while there is one
    counters: dict[int, Counter] = {}
    step_began = perf_counter()

    def step(text: str) -> None:
        nonlocal step_began
        step_began = perf_counter()
        shown.close()
        context.progress.note(text)

    def report(number: int, epoch: int, errors: dict[str, float]) -> None:
        if number not in counters:
            counters[number] = shown.enter_context(context.progress.counts(options.epochs, "epochs", step_began))
        counters[number].set(epoch, errors)
        run.log_metrics(stage="active_learning", round=number, epoch=epoch, **errors)
        if config.train.processes == 1:
            context.stop_in_time()

    def page(reports: list[dict[str, Any]], folder: Path) -> None:
        told = {name: reports[-1][name] for name in ("round", "passed", "forces")}
        run.log_metrics(stage="active_learning", event="judged", **told)
        write_round_page(reports, open_file(folder / "new.h5"), folder / "round.html")

    executor = config.execute.start(run.active_learning / "execute", config.workers)
    try:
        judged = learn_actively(
            config,
            run.dataset,
            run.student,
            run.active_learning,
            executor=executor,
            on_step=step,
            on_epoch=report,
            on_round=page,
        )
    finally:
        shown.close()
        executor.close()
    if missed := unmet(judged):
        log.warning("active learning ended: %s; %s", missed, what_would_help(judged))
