"""Captures of work on a GPU as CUDA graphs: any device, any thread, and nothing left behind where one fails."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_capturing = threading.Lock()  # PyTorch captures one graph at a time


def warm_up(work: Callable[[], None], device: torch.device, times: int = 1) -> None:
    """Do what will be captured on a stream of its own: kernels are compiled, and libraries allocate their memory.

    Parameters
    ----------
    work
        Function that enqueues kernels.
    device
        CUDA device with an index, the current one or not.
    times
        Number of calls.
    """
    with _capturing, torch.cuda.device(device):
        side, _ = _streams(device.index)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(times):
                work()
        torch.cuda.current_stream().wait_stream(side)
        side.synchronize()


def captured(work: Callable[[], None], device: torch.device, pool: Any = None) -> torch.cuda.CUDAGraph:
    """Return a graph of what a function enqueues, after :func:`warm_up`.

    Parameters
    ----------
    work, device
        As for :func:`warm_up`.
    pool
        Pool of the memory of another graph, which never runs at the same time; a new one where None.
    """
    graph = torch.cuda.CUDAGraph()
    with (
        _capturing,
        _nothing_collected(),
        torch.cuda.device(device),
        torch.cuda.stream(torch.cuda.current_stream(device)),  # set again where the capture fails
        torch.cuda.graph(graph, pool=pool, stream=_streams(device.index)[1], capture_error_mode="thread_local"),
    ):
        work()
    return graph


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Stop the garbage collector meanwhile: PyTorch would capture an event for host memory that it frees."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@cache
def _streams(device: int) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """Return the stream of all warm-ups and that of all captures: libraries keep a workspace, of up to 32 MiB, for each."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)
