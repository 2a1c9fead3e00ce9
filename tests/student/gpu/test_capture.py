"""What CUDA graphs capture, and how, with stand-ins where there is no card."""

from __future__ import annotations

import copy
import gc
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import triton

from gpu_kit import ELEMENTS, SMALL, device, few, lively
from no_wait_kit import NoWait
from potstill.core.cpp import KernelError
from potstill.core.types import Structure
from potstill.student import cuda_graphs
from potstill.student.gpu import buffers, edges, geometry, launch, pointwise, products, search, session
from potstill.student.gpu.session import GpuStudent
from potstill.student.gpu.systems import Systems
from potstill.student.gpu.weights import gpu_weights


class Nothing:
    """A kernel that is launched and does nothing."""

    def __getitem__(self, grid):
        return lambda *args, **kwargs: None


@pytest.fixture
def without_kernels(monkeypatch):
    for module in (edges, geometry, pointwise, products, search):
        for name, value in list(vars(module).items()):
            if hasattr(value, "__getitem__") and hasattr(value, "fn"):
                monkeypatch.setattr(module, name, Nothing())


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("bins_from", [1, 10**9], ids=["in bins", "all pairs"])
def test_no_operation_between_the_kernels_waits_for_the_host(monkeypatch, bins_from):
    monkeypatch.setattr(launch, "BINS_FROM", bins_from)
    model = lively(ELEMENTS, **SMALL)
    program = launch.Program(gpu_weights(model), model.architecture, buffers.Bucket(32, 64, 1, len(ELEMENTS)))
    with NoWait():
        program.search()
        program.evaluate()


class Card:
    """Stand-in for ``torch.cuda`` with two devices."""

    def __init__(self, monkeypatch):
        self.told, self.at, self.now, self.made = [], 0, "main", 0
        for name in ("device", "stream", "current_stream", "Stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        cuda_graphs._streams.cache_clear()

    @contextmanager
    def device(self, device):
        before, self.at = self.at, device.index
        yield
        self.at = before

    @contextmanager
    def stream(self, stream):
        before, self.now = self.now, stream.name
        try:
            yield
        finally:
            self.now = before

    def current_stream(self, device=None):
        return SimpleNamespace(name=self.now, wait_stream=lambda other: None)

    def Stream(self, device):  # noqa: N802 - PyTorch's name
        self.made += 1
        return SimpleNamespace(name=f"{device}.{self.made}", wait_stream=lambda other: None, synchronize=lambda: None)

    def CUDAGraph(self):  # noqa: N802 - PyTorch's name
        return SimpleNamespace()

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.now = stream.name  # as PyTorch: where the capture fails, it stays so
        assert capture_error_mode == "thread_local"
        yield
        self.now = "main"

    def work(self):
        self.told.append((self.at, self.now))


def test_work_is_captured_on_its_device_and_on_one_stream(monkeypatch):
    card, there = Card(monkeypatch), torch.device("cuda", 1)
    for _ in range(2):
        cuda_graphs.warm_up(card.work, there, 2)
        cuda_graphs.captured(card.work, there)
    assert card.told == 2 * [(1, "1.1"), (1, "1.1"), (1, "1.2")]
    assert (card.at, card.now) == (0, "main")
    cuda_graphs._streams.cache_clear()


def test_a_failed_capture_gives_the_stream_back(monkeypatch):
    card = Card(monkeypatch)

    def fail():
        assert not gc.isenabled()
        raise RuntimeError("not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        cuda_graphs.captured(fail, torch.device("cuda", 0))
    assert card.now == "main"
    assert gc.isenabled()
    cuda_graphs._streams.cache_clear()


def test_copies_take_neither_memory_nor_graphs_along():
    student = GpuStudent(lively(ELEMENTS, **{**SMALL, "layers": 1, "radial": 2, "experts": 1}).to(device()))
    stepper, water = student.stepper(), few()[0]
    before = stepper(water)
    again = copy.deepcopy(stepper)
    assert again._slot is None
    assert not again.student._slots
    assert again(water).energy == before.energy


def test_less_memory_than_wanted_is_tried_once_more_without_other_batches(monkeypatch):
    student = GpuStudent(lively(ELEMENTS, **SMALL).to(device()))
    layout = student.layout(few()[:1])
    student._slots["other"] = object()
    made = []

    def new_slot(*_):
        made.append(len(student._slots))
        if len(made) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "slot"

    monkeypatch.setattr(student, "new_slot", new_slot)
    assert student._shared_slot(layout, 3.0, 0) == "slot"
    assert made == [1, 0]


def test_systems_that_need_more_room_keep_their_positions(monkeypatch):
    monkeypatch.setattr(session, "CANDIDATES_AT_FIRST", 1)
    monkeypatch.setattr(session, "rounded_up", lambda n, least=32: max(n, 1))
    crystal = Structure(np.array([14]), np.array([[0.1, 0.2, 0.3]]), 2.2 * np.eye(3), np.ones(3, bool))
    systems = Systems(GpuStudent(lively(ELEMENTS, **{**SMALL, "layers": 1, "experts": 1}).to(device())), [crystal])
    assert systems.searches == 2
    assert systems.positions.tolist() == [[0.1, 0.2, 0.3]]
    assert torch.isfinite(systems.energy).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton starts on a card")
def test_a_machine_where_triton_cannot_start_is_told_in_time():
    with pytest.raises(KernelError, match=r"Triton cannot start .*python3-dev"):
        session._refuse_without_triton()
    assert triton.knobs.runtime.interpret
