"""The stages of a run in order, with the report after each; finished stages are repeated where their input changed."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from potstill.core.errors import InputError, OutOfTimeError, PotstillError
from potstill.core.files import quoted
from potstill.core.registry import nearest
from potstill.core.units import duration
from potstill.run.context import Context
from potstill.run.folder import STAGES
from potstill.run.made_from import changed, files_of, made_from, missing_files, why_not_done
from potstill.run.metrics_file import ANEW
from potstill.run.no_go import stop_on_no_go
from potstill.run.set_aside import set_aside
from potstill.run.stages import STAGE_FUNCTIONS
from potstill.run.status import told
from potstill.run.subrun_stage import finish_subruns
from potstill.run.verdict import state_in_exports
from potstill.student.shipped import student_folder

log = logging.getLogger(__name__)
UNFINISHED = ("running", "stopped", "failed")


class Pipeline:
    """One run: its stages in order.

    Parameters
    ----------
    context
        Context of the run.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.run = context.run
        self.run.note_killed()
        self._adopt()

    def close(self) -> None:
        """End the workers."""
        self.context.executor.close()

    def all_stages(self, last: str = "deploy") -> None:
        """Run every stage that is not done yet, up to ``last``.

        Raises
        ------
        NoGoError
            If the audit does not pass; its report is written first.
        OutOfTimeError
            At the time limit, if there is one.
        """
        for stage in self.run.stages[: self.run.stages.index(last) + 1]:
            if stage in ("train", "evaluate", "deploy") and self.run.stage(stage)["state"] != "done":
                self.context.stop_in_time()  # the stages before it keep what they have by then
            self.stage(stage)
            if stage == "audit":
                stop_on_no_go(self.run)

    def stage(self, name: str, *, again: bool = False) -> None:
        """Run a stage, unless it is done and ``again`` is false.

        Its time adds up over resumed runs. Earlier results are used if they have the same origin, and renamed if not.
        """
        before = self.run.stage(name)
        if before["state"] == "done" and not again:
            why = why_not_done(self.run, self.context.config, name)
            if not why:
                self.context.progress.skip(name, before["seconds"])
                return
            self.context.progress.note(f"{name} is done again: {why}")
            log.warning("%s runs again: %s", name, why)
        moved = self._begin(name)
        goes_on = before["state"] in UNFINISHED and not moved
        if name == "train" and not goes_on:
            self.run.log_metrics(stage=name, event=ANEW)
        self._work(name, perf_counter() - (before["seconds"] if goes_on else 0.0))

    def require_name(self, name: str) -> None:
        """Raise where the run has no such stage."""
        if name in STAGES and name not in self.run.stages:
            raise InputError(f"'{name}' of a run in batches is done in each of them: {self.run.path / 'batches'}/*")
        if name not in self.run.stages:
            raise InputError(f"there is no stage '{name}': {nearest(name, self.run.stages)}")

    def require(self, name: str) -> None:
        """Raise where the stage before it is not done, or it or an earlier one is stale."""
        self.require_name(name)
        data = self.run.stages[self.run.stages.index("audit") - 1]
        needed = {"label": "generate", "audit": data, "train": "audit", "evaluate": "train", "deploy": "train"}
        before = needed.get(name)
        if before is None:
            return
        state, fault = self.run.stage(before)["state"], ""
        if state == "done":
            upstream = (before, *self.run.stages[: self.run.stages.index(before)])
            before, fault = next(((stage, why) for stage in upstream if (why := self._why_stale(stage))), (before, ""))
        if state != "done" or fault:
            why = f"but {fault}" if fault else f"which is {state}"
            raise InputError(
                f"{self.run.path}: '{name}' needs '{before}' to be done, {why}\n"
                f"  do all stages with:  potstill run {quoted(self.run.config)} --out {quoted(self.run.path)} --resume"
            )

    def _why_stale(self, name: str) -> str:
        """Return why a stage that was done no longer counts as done; empty where it does, or it never was."""
        state = self.run.stage(name)["state"]
        if state == "stale":
            return "it is stale"
        return why_not_done(self.run, self.context.config, name) if state == "done" else ""

    def write_report(self) -> None:
        """Write ``report.html`` from the present files; a page that fails stops no stage."""
        from potstill.run.pages import write_run_page

        try:
            write_run_page(self.run)
        except Exception as error:
            log.warning("report.html was not written: %s: %s", type(error).__name__, error)
            log.debug("report.html was not written", exc_info=True)

    def _begin(self, name: str) -> bool:
        """Record the origin of a stage, and rename results of another origin; return whether there were any."""
        if name == "train":
            self._refuse_own_start()
        entry = self.run.stage(name)
        now = made_from(self.run, self.context.config, name, self.context.formats)
        other = changed(entry["made_from"], now) if "made_from" in entry else []
        moved = set_aside(self.run, name, other)
        others = {"gates": ""} if name == "evaluate" else {}  # by which the last evaluation was judged again
        self.run.set_stage(name, "running", entry["seconds"], made_from=now, **others)
        return bool(moved)

    def _refuse_own_start(self) -> None:
        """Refuse to start a training from the student that it replaces."""
        start = self.context.config.train.start
        if start and student_folder(start).resolve() == self.run.student.resolve():
            raise InputError(
                "train.start is the student of this run, which the training replaces\n"
                f"  keep a copy of it first:  cp -r {quoted(self.run.student)} start    and set  train.start: start"
            )

    def _work(self, name: str, started: float) -> None:
        """Run the function of a stage and record its end; ``started`` is its start time less the time of earlier runs."""
        self.run.set_stage(name, "running", perf_counter() - started)
        log.info("%s: %s", name, "begins" if perf_counter() - started < 1 else "goes on")
        self.write_report()
        if name in ("audit", "evaluate"):
            state_in_exports(self.run)  # which say GO no longer, also if this is killed
        try:
            with self.context.progress.stage(name):
                self._call(name, replace(self.context, seconds=lambda: perf_counter() - started))
        except BaseException as error:
            stopped = not isinstance(error, Exception) or isinstance(error, OutOfTimeError)  # little time is left
            how, seconds = "stopped" if stopped else "failed", perf_counter() - started
            self.run.set_stage(name, how, seconds)
            kept = "; what was finished is kept" if stopped else f": {error}"
            log.info("%s: %s after %s%s", name, how, duration(seconds), kept)
            self.context.progress.ended(name, seconds, kept.removeprefix("; ") if stopped else "", how)
            if name in ("audit", "evaluate"):
                with suppress(PotstillError, OSError):
                    state_in_exports(self.run)  # that it is no longer under way
            if not stopped:
                self.write_report()
            raise
        seconds = perf_counter() - started
        self.run.set_stage(name, "done", seconds, files=self._files(name))
        self._mark_stale(name)
        if name in ("audit", "train", "evaluate"):
            state_in_exports(self.run)
        self.run.log_metrics(stage=name, event="done", seconds=round(seconds, 3))
        result = told(self.run, self.context.config, name)
        log.info("%s: done in %s%s", name, duration(seconds), f": {result}" if result else "")
        self.context.progress.ended(name, seconds, result)
        self.write_report()

    def _files(self, name: str) -> dict[str, str]:
        """Return the files of a stage that ended; of formats that were exported earlier, those of then."""
        chosen = self.context.formats
        found = files_of(self.run, name, chosen or self.context.config.deploy.formats)
        if name != "deploy" or not chosen:
            return found
        others = set(self.run.stage(name)["made_from"]["deploy"]["formats"]) - set(chosen)
        earlier = self.run.stage(name).get("files", {})
        return {**{path: sum_ for path, sum_ in earlier.items() if Path(path).parts[1] in others}, **found}

    def _call(self, name: str, context: Context) -> None:
        if name == "batches":
            finish_subruns(context, lambda subrun: Pipeline(subrun).all_stages("audit"))
        else:
            STAGE_FUNCTIONS[name](context)

    def _mark_stale(self, name: str) -> None:
        """Mark the stages after a repeated one whose results have another origin."""
        for later in self.run.stages[self.run.stages.index(name) + 1 :]:
            entry = self.run.stage(later)
            if entry["state"] == "done" and why_not_done(self.run, self.context.config, later):
                self.run.set_stage(later, "stale", entry["seconds"])

    def _adopt(self) -> None:
        """Record the present origin of the stages of a run folder of an earlier format."""
        for name in self.run.stages:
            entry = self.run.stage(name)
            formats = self.context.config.deploy.formats
            if entry["state"] != "waiting" and "made_from" not in entry and not missing_files(self.run, name, formats):
                with suppress(OSError):
                    now = made_from(self.run, self.context.config, name)
                    files = files_of(self.run, name, formats) if entry["state"] == "done" else {}
                    self.run.set_stage(name, entry["state"], entry["seconds"], made_from=now, files=files)
