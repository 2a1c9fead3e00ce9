"""Section ``execute`` of the config: the executor, and its options for a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from potstill.core.section import Section
from potstill.execute.executor import Executor, LocalExecutor

WALLTIME = r"^\d{1,3}:\d{2}:\d{2}$"


class ExecuteOptions(Section, ABC):
    """Base of the executors' options."""

    @abstractmethod
    def start(self, folder: Path, workers: int) -> Executor:
        """Start the executor, with its files in ``folder``; ``workers`` is the config's own option."""

    def requires(self) -> tuple[str, str] | None:
        """Return the package and the extra that it needs, or None."""
        return None


class Local(ExecuteOptions):
    """Worker processes on this machine, as many as ``workers`` says."""

    executor: Literal["local"] = "local"

    def start(self, folder: Path, workers: int) -> Executor:
        """Return the executor of this machine's cores."""
        return LocalExecutor(workers, keep=True)


class Parsl(ExecuteOptions):
    """Workers that Parsl starts: on this machine, one per GPU, or in the jobs of a cluster's scheduler."""

    executor: Literal["parsl"] = "parsl"
    provider: Annotated[
        Literal["local", "slurm", "pbs", "lsf", "gridengine", "kubernetes"],
        Field(description="provider of the nodes: this machine, or the scheduler of a cluster"),
    ] = "local"
    jobs: Annotated[int, Field(gt=0, description="largest number of jobs at the same time (Parsl's blocks)")] = 1
    nodes_per_job: Annotated[int, Field(gt=0, description="number of nodes of one job")] = 1
    workers_per_node: Annotated[
        int,
        Field(ge=0, description="number of processes on a node; 0: one per accelerator, or 'workers' without accelerators"),
    ] = 0
    accelerators: Annotated[
        tuple[str, ...], Field(description="GPUs of a node, such as ['0', '1']; each worker uses one of them")
    ] = ()
    walltime: Annotated[str, Field(pattern=WALLTIME, description="time limit of a job, HH:MM:SS")] = "01:00:00"
    partition: Annotated[str | None, Field(description="partition (slurm) or queue (pbs, lsf, gridengine)")] = None
    account: Annotated[str | None, Field(description="account (slurm, pbs) or project (lsf) of the jobs")] = None
    scheduler_options: Annotated[
        str, Field(description="lines for the head of the job script, such as '#SBATCH --gres=gpu:4'")
    ] = ""
    select_options: Annotated[str, Field(description="requirements of a node, such as 'ngpus=4' (pbs)")] = ""
    worker_init: Annotated[str, Field(description="shell commands on a node before the workers start")] = ""
    address: Annotated[
        str | None, Field(description="IP address of this machine for the nodes; that of its host name where null")
    ] = None
    image: Annotated[str | None, Field(description="container image that contains potstill (kubernetes)")] = None
    namespace: Annotated[str, Field(description="namespace of the pods (kubernetes)")] = "default"
    volumes: Annotated[
        tuple[tuple[str, str], ...],
        Field(description="persistent volume claims and their mount paths; one must hold the run folder (kubernetes)"),
    ] = ()
    heartbeat_seconds: Annotated[
        int,
        Field(gt=0, description="time between two heartbeats in s; nodes and driver count as lost after six missing ones"),
    ] = 5
    join_minutes: Annotated[
        float, Field(gt=0, description="time in minutes without a joined node after which the log gets a line")
    ] = 10.0

    @model_validator(mode="after")
    def _consistent(self) -> Parsl:
        if self.provider == "kubernetes" and self.image is None:
            raise ValueError("the provider kubernetes needs an 'image'")
        if self.accelerators and self.workers_per_node > len(self.accelerators):
            raise ValueError(
                f"{self.workers_per_node} workers_per_node for {len(self.accelerators)} accelerators, one for each"
            )
        return self

    def start(self, folder: Path, workers: int) -> Executor:
        """Return a Parsl executor with its logs in ``folder``."""
        from potstill.execute.parsl import ParslExecutor

        return ParslExecutor(self, folder, workers)

    def requires(self) -> tuple[str, str] | None:
        """Return Parsl's package and extra."""
        return "parsl", "parsl"


EXECUTORS: dict[str, type[ExecuteOptions]] = {"local": Local, "parsl": Parsl}
"""Executors by name."""
