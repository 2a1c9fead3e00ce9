"""Processes that train one student: each has its part of every batch, and gradients are those of the whole batch.

The process that the user started has rank 0: it starts the others (:mod:`potstill.train.rank`), on other nodes of a SLURM
job by ``srun``, tells of errors, and alone writes. They find each other through a store that it offers on a port of its
machine, and end with it.
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
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from potstill.core.errors import InputError, PotstillError
from potstill.train.options import TrainConfig

HOST = "127.0.0.1"
PATIENCE = timedelta(hours=12)  # one may wait so long for the others: while the first looks for a learning rate, say
SECONDS_TO_END = 60.0
JOB = "job"


@dataclass(frozen=True, slots=True)
class Share:
    """What part of a batch this process has.

    Parameters
    ----------
    of
        By loss: factor of the mean over this process' part. The mean over processes is then that over the whole batch.
    structures
        In the whole batch.
    """

    of: Mapping[str, torch.Tensor | float]
    structures: int


def rank() -> int:
    """Of this process, 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(counts: Mapping[str, int], device: torch.device) -> Share:
    """What part of a batch this process has, by how many of what each loss is the mean over; 'energy' counts structures."""
    own = torch.tensor(list(counts.values()), dtype=torch.float64, device=device)
    whole = own.clone()
    distributed.all_reduce(whole)
    parts = (own * processes() / whole.clamp(min=1.0)).float()
    return Share(dict(zip(counts, parts, strict=True)), int(dict(zip(counts, whole.tolist(), strict=True))["energy"]))


def of_first(value: float) -> float:
    """What the first process says, in all."""
    if processes() == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64, device="cuda" if backend() == "nccl" else "cpu")
    distributed.broadcast(told, 0)
    return float(told)


def backend() -> str:
    """Of the communication."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def devices(config: TrainConfig) -> dict[str, Any]:
    """What Lightning's trainer is to be told of the devices."""
    if processes() == 1:
        return {"devices": 1}
    strategy = _Together(_Place(config.processes))
    return {"devices": config.processes, "num_nodes": config.nodes, "strategy": strategy, "use_distributed_sampler": False}


class _Place(LightningEnvironment):
    """Where this process stands, as Lightning asks for it."""

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


class _Together(DDPStrategy):
    """Starts no process and leaves Ctrl-C alone: the processes are there already."""

    def __init__(self, place: _Place) -> None:
        super().__init__(cluster_environment=place, process_group_backend=backend())

    def _configure_launcher(self) -> None:
        self._launcher = None


@contextmanager
def together(config: TrainConfig, job: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Train with the processes of a config within; ``job`` is what the others are told, as JSON.

    Raises
    ------
    InputError
        If there are not as many nodes.
    PotstillError
        If one of the others ended.
    """
    count = config.processes * config.nodes
    if count == 1 or distributed.is_initialized():
        yield
        return
    host = _host(config.nodes)
    store = TCPStore(host, 0, count, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    store.set(JOB, json.dumps(dict(job)))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as said:
        others = [_start(k // config.processes, (host, store.port, k, count), said) for k in range(1, count)]
        try:
            _wait_for(others, store)
            _meet(store, 0, count, config.processes)
            yield
            distributed.destroy_process_group()
            with suppress(subprocess.TimeoutExpired):  # all is done; who is slow to end is killed
                for other in others:
                    other.wait(SECONDS_TO_END)
        except Exception as error:
            if any(other.poll() not in (None, 0) for other in others):  # its end broke the line of the first
                said.seek(0)
                text = said.read().decode(errors="replace").strip()
                raise PotstillError(
                    f"a process that trained along has ended: {text.splitlines()[-1] if text else 'it said nothing'}\n"
                    "  what was trained is kept, go on with --resume"
                ) from error
            raise
        finally:
            for other in others:
                other.kill()
                other.communicate()
            with suppress(Exception):  # it is broken already where another process ended
                if distributed.is_initialized():
                    distributed.destroy_process_group()


def _host(nodes: int) -> str:
    """Name by which the others find this machine."""
    if nodes == 1:
        return HOST
    if shutil.which("srun") is None or int(os.environ.get("SLURM_JOB_NUM_NODES", "0")) < nodes:
        raise InputError(
            f"train.nodes is {nodes}, but this is no SLURM job of so many nodes\n"
            f"  submit it with  sbatch --nodes={nodes} --ntasks-per-node=1  or set train.nodes to 1"
        )
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _start(node: int, arguments: tuple[str, int, int, int], said: Any) -> subprocess.Popen[bytes]:
    elsewhere = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--relative={node}"] if node else []
    command = [*elsewhere, sys.executable, "-m", "potstill.train.rank", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)


def _wait_for(others: Sequence[subprocess.Popen[bytes]], store: TCPStore) -> None:
    """Until all have found the store."""
    while not all(store.check([f"{JOB}-{k}"]) for k in range(1, len(others) + 1)):
        if any(other.poll() is not None for other in others):
            raise PotstillError("a process ended before the training began")
        time.sleep(0.05)


def join(host: str, port: int, number: int, count: int) -> dict[str, Any]:
    """Become one of the processes; what the first tells comes back."""
    store = TCPStore(host, port, count, is_master=False, timeout=PATIENCE)
    job: dict[str, Any] = json.loads(store.get(JOB))
    store.set(f"{JOB}-{number}", "here")
    _meet(store, number, count, job["train"]["processes"])
    return job


def _meet(store: TCPStore, number: int, count: int, on_each_node: int) -> None:
    if backend() == "nccl":
        torch.cuda.set_device(number % on_each_node)
    distributed.init_process_group(backend(), store=store, rank=number, world_size=count, timeout=PATIENCE)
