"""Tasks on workers that Parsl starts: on this machine, one per GPU, or in the jobs of a cluster's scheduler.

Parsl finds nodes, carries tasks and notices lost nodes. It stores nothing about a run: a task is done when its file exists.
Its processes run under a supervisor (:mod:`potstill.execute.parsl_supervisor`), so that none outlives the driver.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import queue
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.execute.local import Lost, available_cores, try_again
from potstill.execute.parsl_supervisor import Heartbeat
from potstill.execute.remote import Answer, perform

if TYPE_CHECKING:
    from potstill.execute.options import Parsl

log = logging.getLogger(__name__)

MAX_NODES_LOST = 20  # lost nodes over one task; the task does not cause the loss of a node
MAX_FAILED_JOBS = 5  # failed jobs before the first answer
MISSED_HEARTBEATS = 6
LOOK_SECONDS = 1.0
STRATEGY_SECONDS = 2.0
CLOSE_SECONDS = 4.0


@dataclass(slots=True)
class _Job:
    task: Any
    losses: int = 0
    nodes_lost: int = 0


class ParslExecutor:
    """Workers of Parsl, started with the first task and kept until it is closed.

    Parameters
    ----------
    options
        Section ``execute`` of the config.
    folder
        Folder for Parsl's logs and the driver's heartbeat; nodes must see it under the same path.
    workers
        Number of processes on a node where neither ``workers_per_node`` nor ``accelerators`` is set.
    """

    def __init__(self, options: Parsl, folder: Path, workers: int = 0) -> None:
        self._options = options
        self._folder = folder.resolve()
        self._per_node = options.workers_per_node or len(options.accelerators) or workers or available_cores()
        self._heartbeat: Heartbeat | None = None
        self._kernel: Any = None
        self._executor: Any = None
        self._answered = False

    @property
    def workers(self) -> int:
        """Return the number of workers of all jobs."""
        return self._options.jobs * self._options.nodes_per_job * self._per_node

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        *,
        on_done: Callable[[Any, Any], None],
        on_lost: Callable[[Lost[Any]], Sequence[Any]] = try_again,
        isolated: bool = False,  # a task always has a process of its own
        at_most: int | None = None,
    ) -> None:
        """Run ``function`` on every task; see :class:`potstill.execute.executor.Executor`.

        Raises
        ------
        PotstillError
            If nodes keep being lost over one task, no job of the scheduler works, or Parsl itself ends.
        """
        if not tasks:
            return
        self._start()
        jobs = deque(_Job(task) for task in tasks)
        ended: queue.SimpleQueue[tuple[_Job, Any]] = queue.SimpleQueue()
        in_flight = 0
        at_once = at_most or 2 * self.workers
        watch = _Watch(self._options.join_minutes)
        while jobs or in_flight:
            while jobs and in_flight < at_once:
                self._submit(function, jobs.popleft(), ended)
                in_flight += 1
            try:
                job, future = ended.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                watch.look(self._executor, answered=self._answered)
                continue
            in_flight -= 1
            answer = _answer(future)
            self._answered |= not isinstance(answer, _NodeLost)
            if isinstance(answer, _NodeLost):
                jobs.appendleft(_once_more(job, answer.why))
            elif answer.error is not None:
                raise answer.error
            elif answer.why:
                job.losses += 1
                lost = Lost(job.task, job.losses, answer.doing, answer.timed_out, answer.why)
                jobs.extendleft(job if task is job.task else _Job(task) for task in reversed(on_lost(lost)))
            else:
                on_done(job.task, answer.result)

    def close(self) -> None:
        """Release the nodes and end every process."""
        if self._kernel is not None:
            kernel, self._kernel = self._kernel, None
            started = self._processes_here()
            kernel.cleanup()
            for process in psutil.wait_procs(started, timeout=CLOSE_SECONDS)[1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _start(self) -> None:
        if self._kernel is not None:
            return
        borrow("parsl", "parsl", "the executor 'parsl'")
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel

        self._folder.mkdir(parents=True, exist_ok=True)
        self._heartbeat = Heartbeat(self._folder / "driver.json", self._options.heartbeat_seconds)
        os.environ["PATH"] = f"{_programs()}{os.pathsep}{os.environ.get('PATH', '')}"
        self._executor = self._make_executor()
        self._kernel = DataFlowKernel(
            Config(
                executors=[self._executor],
                run_dir=str(self._folder),
                strategy="simple",  # replaces jobs that ended
                strategy_period=STRATEGY_SECONDS,
                retries=0,  # tasks are repeated here, which distinguishes a lost node from a teacher that crashes
                initialize_logging=False,
                usage_tracking=0,
            )
        )
        log.info(
            "Parsl: %d job(s) of %d node(s) with %d worker(s) each, provider %s; its logs are in %s",
            self._options.jobs,
            self._options.nodes_per_job,
            self._per_node,
            self._options.provider,
            self._folder,
        )

    def _make_executor(self) -> Any:
        from parsl.addresses import address_by_hostname
        from parsl.executors import HighThroughputExecutor
        from parsl.executors.high_throughput import executor, interchange

        local = self._options.provider == "local"
        python = "python3" if self._options.provider == "kubernetes" else sys.executable
        # -P keeps the current folder off the path of modules
        supervisor = [python, "-P", "-m", "potstill.execute.parsl_supervisor", str(self._folder / "driver.json")]
        return HighThroughputExecutor(
            label="workers",
            address=self._options.address or ("127.0.0.1" if local else address_by_hostname()),
            provider=provider(self._options),
            launch_cmd=f"{shlex.join(supervisor)} {executor.DEFAULT_LAUNCH_CMD}",
            interchange_launch_cmd=[sys.executable, *supervisor[1:], sys.executable, interchange.__file__],
            max_workers_per_node=self._per_node,
            cores_per_worker=1e-3,  # the number of workers is stated and does not depend on cores
            available_accelerators=list(self._options.accelerators),
            heartbeat_period=self._options.heartbeat_seconds,
            heartbeat_threshold=MISSED_HEARTBEATS * self._options.heartbeat_seconds,
            block_error_handler=False,  # by default a job that ends takes all tasks with it
        )

    def _processes_here(self) -> list[psutil.Process]:
        """Return Parsl's processes on this machine; those of jobs elsewhere end with their jobs."""
        jobs = getattr(self._executor.provider, "resources", {}).values()
        numbers = [self._executor.interchange_proc.pid, *(job["remote_pid"] for job in jobs if "remote_pid" in job)]
        found = []
        for number in numbers:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(number)
                found += [process, *process.children(recursive=True)]
        return found

    def _submit(self, function: Callable[[Any], Any], job: _Job, ended: queue.SimpleQueue[tuple[_Job, Any]]) -> None:
        work = pickle.dumps((function, job.task))
        future = self._kernel.submit(
            perform, app_args=(work,), executors="all", cache=False, ignore_for_cache=(), app_kwargs={}
        )
        future.add_done_callback(lambda future: ended.put((job, future)))


@dataclass(frozen=True, slots=True)
class _NodeLost:
    why: str


def _answer(future: Any) -> Answer | _NodeLost:
    """Return the answer of a worker, or a loss of its node, its manager or itself."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    error = future.exception()
    if error is None:
        answer = future.result()
        assert isinstance(answer, Answer)  # noqa: S101 - for the type checker
        return answer
    if isinstance(error, ManagerLost | WorkerLost):
        return _NodeLost(str(error))
    raise PotstillError(f"Parsl failed: {type(error).__name__}: {error}\n  run again with --resume: finished work is kept")


def _once_more(job: _Job, why: str) -> _Job:
    job.nodes_lost += 1
    if job.nodes_lost >= MAX_NODES_LOST:
        raise PotstillError(
            f"{job.nodes_lost} nodes or workers were lost over one task ({why}; out of memory, or jobs too short for it?).\n"
            "  run again with --resume, fewer workers_per_node or a longer walltime: finished work is kept"
        )
    log.warning("%s; its task is done again", why)
    return job


class _Watch:
    """Checks Parsl's own processes and jobs while no answer arrives."""

    def __init__(self, join_minutes: float) -> None:
        self._every = 60.0 * join_minutes
        self._since = time.monotonic()

    def look(self, executor: Any, *, answered: bool) -> None:
        if executor.bad_state_is_set or executor.interchange_proc.poll() is not None:
            raise PotstillError("Parsl's interchange process ended\n  run again with --resume: finished work is kept")
        if answered:
            return
        states = list(executor.status_facade.values())
        failed = [status for status in states if status.state.name in ("FAILED", "MISSING")]
        if len(failed) >= MAX_FAILED_JOBS:
            said = next((text for s in reversed(failed) if (text := s.stderr_summary or s.stdout_summary or s.message)), "")
            raise PotstillError(
                f"{len(failed)} jobs ended before any worker answered; the last printed:\n  {said or 'nothing'}\n"
                "  check execute.worker_init, scheduler_options and partition, and Parsl's logs in the run folder"
            )
        if time.monotonic() - self._since > self._every:
            self._since = time.monotonic()
            jobs = ", ".join(status.state.name.lower() for status in states)
            log.warning("no node has joined yet; jobs: %s", jobs or "none")


def provider(options: Parsl) -> Any:
    """Return Parsl's provider for a config.

    Raises
    ------
    PotstillError
        If a package or program for the scheduler is missing.
    """
    import parsl.launchers
    import parsl.providers

    providers: Any = parsl.providers
    launchers: Any = parsl.launchers
    parallel = options.nodes_per_job > 1
    blocks: dict[str, Any] = {
        "nodes_per_block": options.nodes_per_job,
        "init_blocks": options.jobs,
        "min_blocks": 1,
        "max_blocks": options.jobs,
        "worker_init": f"export PATH={shlex.quote(str(_programs()))}:$PATH\n{options.worker_init}",
    }
    queued = {**blocks, "walltime": options.walltime, "scheduler_options": options.scheduler_options}
    try:
        match options.provider:
            case "slurm":
                launcher = launchers.SrunLauncher() if parallel else launchers.SingleNodeLauncher()
                names = {"partition": options.partition, "account": options.account}
                return providers.SlurmProvider(**queued, **names, exclusive=False, launcher=launcher)
            case "pbs":
                launcher = launchers.MpiExecLauncher() if parallel else launchers.SingleNodeLauncher()
                names = {"queue": options.partition, "account": options.account, "select_options": options.select_options}
                return providers.PBSProProvider(**queued, **names, launcher=launcher)
            case "lsf":
                launcher = launchers.JsrunLauncher() if parallel else launchers.SingleNodeLauncher()
                names = {"queue": options.partition, "project": options.account}
                return providers.LSFProvider(**queued, **names, launcher=launcher)
            case "gridengine":
                return providers.GridEngineProvider(**queued, queue=options.partition)
            case "kubernetes":
                blocks["worker_init"] = options.worker_init
                volumes = [tuple(volume) for volume in options.volumes]
                return providers.KubernetesProvider(
                    **blocks, image=options.image, namespace=options.namespace, persistent_volumes=volumes
                )
            case "local":
                return providers.LocalProvider(**blocks)
    except Exception as error:
        raise PotstillError(
            f"execute.provider: Parsl cannot use '{options.provider}' on {platform.node()}:\n"
            f"  {type(error).__name__}: {error}"
        ) from error


def _programs() -> Path:
    """Return the folder of this environment's programs: Parsl starts its own by their bare names."""
    return Path(sys.executable).parent
