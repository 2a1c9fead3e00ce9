"""Who shares a batch, and what becomes of a batch that fails."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from potstill.core.types import Labels, Refused, Structure
from potstill.teacher.batching import (
    ATOMS_ON_GPU,
    BrokenDeviceError,
    asking,
    atoms_at_once,
    failed,
    gpus_of,
    is_out_of_memory,
    label_in_batches,
    pick_device,
)
from potstill.teacher.chgnet import CHGNet
from potstill.teacher.mace import MACE
from potstill.teacher.orb import OrbV2, OrbV3
from potstill.teacher.sevennet import SevenNet


def line(n: int, name: str = "", z: int = 6) -> Structure:
    return Structure(np.full(n, z), np.arange(3.0 * n).reshape(n, 3), id=name)


class Model:
    """Labels by the number of atoms; remembers its batches, and fails as told."""

    def __init__(self, fails=lambda structures: None, prepare=len):
        self.fails, self.prepare, self.batches = fails, prepare, []

    def evaluate(self, graphs, structures):
        self.batches.append(list(graphs))
        error = self.fails(structures)
        if error is not None:
            raise error
        return [Labels(float(g), np.zeros((g, 3))) for g in graphs]

    def label(self, structures, atoms_per_batch=10, elements=None):
        return label_in_batches(
            structures, elements=elements, atoms_per_batch=atoms_per_batch, prepare=self.prepare, evaluate=self.evaluate
        )


def test_neighbours_in_size_share_a_batch_and_answers_keep_their_order():
    model = Model()
    sizes = [7, 2, 30, 3, 4, 2, 1]
    answers = model.label([line(n) for n in sizes])
    assert [a.energy for a in answers] == sizes
    assert model.batches == [[1, 2, 2, 3], [4], [7], [30]]
    assert model.label([]) == []


def test_the_culprit_alone_is_refused():
    model = Model(lambda structures: ValueError("no") if any(s.id == "bad" for s in structures) else None)
    answers = model.label([line(2, name) for name in ("a", "b", "bad", "c", "d")])
    assert [isinstance(a, Refused) for a in answers] == [False, False, True, False, False]
    assert (answers[2].reason, answers[2].detail) == ("teacher_error", "ValueError: no")
    asked = [n for batch in model.batches for n in batch]
    assert len(asked) < 5 + 3 + 2 + 5  # halves, not one by one from the start


def test_a_structure_without_a_graph_is_refused_and_the_rest_is_batched_as_before():
    def prepare(structure):
        if structure.id == "bad":
            raise KeyError("graph")
        return len(structure)

    model = Model(prepare=prepare)
    answers = model.label([line(2), line(2, "bad"), line(3)])
    assert answers[1].detail == "KeyError: 'graph'"
    assert model.batches == [[2, 3]]


def test_foreign_elements_are_named_and_never_asked():
    model = Model()
    answers = model.label([line(2), line(2, z=94), line(1, z=8)], elements={6, 8})
    assert (answers[1].reason, answers[1].detail) == ("unsupported_element", "the teacher does not support Pu")
    assert model.batches == [[1, 2]]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_too_little_memory_halves_the_batches_that_follow(error):
    model = Model(lambda structures: error if sum(map(len, structures)) > 5 else None)
    assert is_out_of_memory(error)
    answers = model.label([line(2) for _ in range(12)] + [line(7)])
    assert [a.energy for a in answers[:-1]] == [2.0] * 12
    assert answers[-1].reason == "out_of_memory"
    sizes = [sum(batch) for batch in model.batches]
    assert sizes[0] == 10
    assert max(sizes[1:-1]) <= 6
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    again = Model()
    again.label([line(2) for _ in range(12)])
    assert max(map(sum, again.batches)) == 10  # the next task starts with whole batches


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
    ],
)
def test_no_structure_is_refused_for_a_gpu_that_answers_no_more(error):
    with pytest.raises(BrokenDeviceError, match="the GPU answers no more"):
        Model(lambda _: error).label([line(2), line(3)])
    assert failed(RuntimeError("CUDA error: invalid argument")).reason == "teacher_error"
    assert failed(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")).reason == (
        "out_of_memory"
    )


@contextmanager
def listening(calls):
    token = asking.set(calls.append)
    yield
    asking.reset(token)


def test_it_says_how_many_it_asks_for():
    calls = []
    with listening(calls):
        Model().label([line(4), line(4), line(4)])
    assert calls == [2, 1]


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for worker, index in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("POTSTILL_WORKER", worker)
        assert pick_device("auto") == torch.device("cuda", index)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("cpu") == torch.device("cpu")


class TestDevices:
    def test_a_stated_number_is_taken_anywhere(self):
        stated = SevenNet(atoms_per_batch=7)
        assert atoms_at_once(stated, torch.device("cuda")) == atoms_at_once(stated, torch.device("cpu")) == 7

    @pytest.mark.parametrize("teacher", [SevenNet(), CHGNet(), MACE(), OrbV2(), OrbV3()], ids=lambda t: t.name)
    def test_the_default_is_small_on_a_cpu_and_large_on_a_gpu(self, teacher):
        assert atoms_at_once(teacher, torch.device("cpu")) == teacher.atoms_per_batch < 1000
        assert atoms_at_once(teacher, torch.device("cuda", 1)) == ATOMS_ON_GPU

    def test_workers_share_the_gpus(self, monkeypatch):
        assert gpus_of("cpu") == 0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert gpus_of("auto") == 0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        assert (gpus_of("auto"), gpus_of("cuda:1"), gpus_of("cpu")) == (4, 1, 0)
