"""Processes that train one student: each computes a part of every batch, and gradients are those of the whole batch.

The process that the user started has rank 0. It starts the other ranks (:mod:`potstill.train.rank`), on other nodes of a
SLURM job by ``srun``. It reports errors, and it alone writes. The ranks find each other through a store on a port of its
machine, and they end with it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed as torch_distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from potstill.core.errors import InputError, PotstillError
from potstill.train.options import TrainConfig

HOST = "127.0.0.1"
TIMEOUT = timedelta(
    hours=12
)  # longest wait of a rank for the others, for example while rank 0 runs the learning-rate finder
SECONDS_TO_END = 60.0
JOB = "job"


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a batch that this process computes.

    Parameters
    ----------
    of
        By loss term: factor of the mean over this process' part. The mean over processes is then that over the whole batch.
    structures
        Structures in the whole batch.
    """

    of: Mapping[str, torch.Tensor | float]
    structures: int


def part_of_batches() -> slice:
    """Return the part of every batch that this process computes."""
    return slice(rank(), None, processes())


def rank() -> int:
    """Return the rank of this process, 0 where it trains alone."""
    return torch_distributed.get_rank() if torch_distributed.is_initialized() else 0


def processes() -> int:
    """Return the number of processes that train one student."""
    return torch_distributed.get_world_size() if torch_distributed.is_initialized() else 1


def mean(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes; every process must ask for it."""
    if processes() == 1:
        return value
    total = value.clone()
    torch_distributed.all_reduce(total)
    return total / processes()


def total(count: int, device: torch.device) -> int:
    """Return the sum of a number over all processes; every process must ask for it."""
    found = torch.tensor([float(count)], dtype=torch.float64, device=device)
    torch_distributed.all_reduce(found)
    return int(found)


def all_agree(*, holds: bool) -> bool:
    """Return whether something holds in every process; every process must ask for it."""
    if processes() == 1:
        return holds
    told = torch.tensor([float(holds)], device="cuda" if backend() == "nccl" else "cpu")
    return float(mean(told)) == 1.0


def average(tensors: Sequence[torch.Tensor]) -> None:
    """Replace tensors by their means over all processes; every process must ask for it."""
    joined = mean(torch.cat([tensor.flatten() for tensor in tensors]))
    parts = joined.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])


def share(counts: Mapping[str, int], device: torch.device) -> Share:
    """Return the part of a batch that this process computes, from the number of items in each term's mean.

    The term ``energy`` must be among them: it counts structures.
    """
    own = torch.tensor(list(counts.values()), dtype=torch.float64, device=device)
    whole = own.clone()
    torch_distributed.all_reduce(whole)
    parts = (own * processes() / whole.clamp(min=1.0)).float()
    return Share(dict(zip(counts, parts, strict=True)), int(dict(zip(counts, whole.tolist(), strict=True))["energy"]))


def share_of(parts: Sequence[Mapping[str, int]]) -> Share:
    """Return the same where the numbers of items in the part of each process are known.

    Parameters
    ----------
    parts
        For each process: number of items in each term's mean.
    """
    whole = {name: sum(part[name] for part in parts) for name in parts[0]}
    own = parts[rank()]
    return Share({name: own[name] * len(parts) / max(count, 1) for name, count in whole.items()}, whole["energy"])


def of_first(value: float) -> float:
    """Return the value that rank 0 gives; all ranks must call it."""
    if processes() == 1:
        return value
    sent = torch.tensor([value], dtype=torch.float64, device="cuda" if backend() == "nccl" else "cpu")
    torch_distributed.broadcast(sent, 0)
    return float(sent)


def backend() -> str:
    """Return the library for communication."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def devices(config: TrainConfig) -> dict[str, Any]:
    """Return the options of Lightning's trainer that name the devices."""
    if processes() == 1:
        return {"devices": 1}
    strategy = _RunningProcesses(_Environment(config.processes))
    return {"devices": config.processes, "num_nodes": config.nodes, "strategy": strategy, "use_distributed_sampler": False}


class _Environment(LightningEnvironment):
    """Place of this process among the nodes, as Lightning asks for it."""

    def __init__(self, on_each_node: int) -> None:
        super().__init__()
        self._on_each_node = on_each_node

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return rank() % self._on_each_node

    def node_rank(self) -> int:
        return rank() // self._on_each_node


class _RunningProcesses(DDPStrategy):
    """Data-parallel training that starts no process and leaves Ctrl-C alone: the processes are there already."""

    def __init__(self, environment: _Environment) -> None:
        super().__init__(cluster_environment=environment, process_group_backend=backend())

    def _configure_launcher(self) -> None:
        self._launcher = None


@contextmanager
def process_group(config: TrainConfig, job: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Start the other ranks of a config and train with them within; do nothing where there are none, or on another rank.

    Parameters
    ----------
    config
        Section ``train``.
    job
        The training as JSON, for :meth:`potstill.train.job.TrainJob.from_json` on the other ranks.
    folder
        Receives what the other ranks print, until they end.

    Raises
    ------
    InputError
        If the SLURM job has fewer nodes.
    PotstillError
        If another rank ended.
    """
    count = config.processes * config.nodes
    if count == 1 or torch_distributed.is_initialized():
        yield
        return
    host = _host(config.nodes)
    store = TCPStore(host, 0, count, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
    store.set(JOB, json.dumps(dict(job)))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as printed:
        others = [_start(k // config.processes, (host, store.port, k, count), printed) for k in range(1, count)]
        try:
            _wait_for(others, store)
            _initialize(store, 0, count, config.processes)
            yield
            torch_distributed.destroy_process_group()
            with suppress(subprocess.TimeoutExpired):  # the student is trained; a rank that does not end in time is killed
                for other in others:
                    other.wait(SECONDS_TO_END)
        except Exception as error:
            if any(other.poll() not in (None, 0) for other in others):  # its end broke the connection of rank 0
                raise _ended(printed) from error
            raise
        finally:
            for other in others:
                other.kill()
                other.communicate()
            with suppress(Exception):  # it is broken already where another rank ended
                if torch_distributed.is_initialized():
                    torch_distributed.destroy_process_group()


def _ended(printed: Any) -> PotstillError:
    printed.seek(0)
    lines = printed.read().decode(errors="replace").strip().splitlines()
    return PotstillError(
        f"another training process has ended: {lines[-1] if lines else 'it printed nothing'}\n"
        "  finished training is kept; continue with --resume"
    )


def _host(nodes: int) -> str:
    """Return the name by which the other ranks find this machine."""
    if nodes == 1:
        return HOST
    if shutil.which("srun") is None or int(os.environ.get("SLURM_JOB_NUM_NODES", "0")) < nodes:
        raise InputError(
            f"train.nodes is {nodes}, but this is no SLURM job of so many nodes\n"
            f"  submit it with  sbatch --nodes={nodes} --ntasks-per-node=1  or set train.nodes to 1"
        )
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _start(node: int, arguments: tuple[str, int, int, int], printed: Any) -> subprocess.Popen[bytes]:
    elsewhere = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--relative={node}"] if node else []
    command = [*elsewhere, sys.executable, "-m", "potstill.train.rank", *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=printed, start_new_session=True
    )


def _wait_for(others: Sequence[subprocess.Popen[bytes]], store: TCPStore) -> None:
    """Wait until all other ranks have found the store."""
    while not all(store.check([f"{JOB}-{k}"]) for k in range(1, len(others) + 1)):
        if any(other.poll() is not None for other in others):
            raise PotstillError("a process ended before the training began")
        time.sleep(0.05)


def join(host: str, port: int, number: int, count: int) -> dict[str, Any]:
    """Become one of the ranks, and return the job that rank 0 gives."""
    store = TCPStore(host, port, count, is_master=False, timeout=TIMEOUT)
    job: dict[str, Any] = json.loads(store.get(JOB))
    store.set(f"{JOB}-{number}", "here")
    _initialize(store, number, count, job["train"]["processes"])
    return job


def _initialize(store: TCPStore, number: int, count: int, on_each_node: int) -> None:
    if backend() == "nccl":
        torch.cuda.set_device(number % on_each_node)
    torch_distributed.init_process_group(backend(), store=store, rank=number, world_size=count, timeout=TIMEOUT)
