"""Training with batches of fixed shapes: the same batches, losses and weights as by other code, and no wait for the host.

There is no GPU here: the operations that a CUDA graph would repeat run one by one.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from no_wait_kit import NoWait
from potstill.core.types import Labels, Structure
from potstill.dataset import Records
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.train import graphs, stage
from potstill.train.chosen_losses import kinds_of
from potstill.train.data import LabelledStructures
from potstill.train.device_data import Chosen, DeviceStructures, Shape, bytes_needed
from potstill.train.graphs import GraphedDistillation, StepGraphs, device_structures
from potstill.train.module import Distillation
from potstill.train.options import TrainConfig
from potstill.train.stage import initial_student, train_student
from training_kit import job_of

CPU = torch.device("cpu")
MANY = StudentConfig(cutoff_angstrom=3.5, layers=2, features=8, channels=4, radial=4, hidden=16, experts=3)


@pytest.fixture
def student(labelled, tmp_path) -> Student:
    return initial_student(job_of(labelled, [], MANY, TrainConfig(), tmp_path))


def structures_of(labelled, student, weights=None) -> tuple[LabelledStructures, DeviceStructures]:
    data = LabelledStructures(Records.of(labelled), student.architecture.cutoff_angstrom, weights=weights)
    return data, DeviceStructures(data, student, CPU)


@pytest.fixture
def without_gpu(monkeypatch):
    """The data stay on the CPU, where the operations of a graph run one by one, also where there is a card."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(
        stage, "device_structures", lambda config, kinds, data, student: DeviceStructures(data, student, CPU)
    )


@pytest.mark.parametrize("room", [False, True])
def test_a_batch_is_that_of_the_host(labelled, student, room):
    weights = np.linspace(0.5, 1.5, len(labelled))
    data, on_device = structures_of(labelled, student, weights)
    chosen = on_device[np.array([7, 2, 0, 9, 5])]
    expected = data[np.array([7, 2, 0, 9, 5])]
    found = on_device.batch(chosen.indices, chosen.shape.widened() if room else chosen.shape)
    n = int(found.n_atoms)
    assert n == len(expected.forces)
    for name in ("energy", "stress", "has_stress", "sizes", "weight"):
        assert torch.equal(getattr(found, name)[:-1], getattr(expected, name)), name
    for name in ("forces", "atomic_numbers"):
        assert torch.equal(getattr(found, name)[:n], getattr(expected, name)), name
    assert torch.equal(found.structure[:n], expected.structure)
    assert (found.structure[n:] == len(chosen.indices)).all()
    vectors, neighbor, slot = student.pad(expected.inputs.edge_vectors, expected.inputs)
    width = neighbor.shape[1]
    assert torch.equal(found.atoms.vectors[:n, :, :width], vectors)
    assert found.atoms.occupied.sum() == len(slot)
    occupied = found.atoms.occupied[:n, :width]
    assert torch.equal(found.atoms.neighbor[:n, :width][occupied], neighbor[occupied])
    assert not found.atoms.occupied[n:].any()
    assert not found.forces[n:].any()


@pytest.mark.parametrize("huber", [0.0, 0.05])
def test_loss_and_derivatives_are_those_of_the_step_without_graphs(labelled, student, huber):
    config = TrainConfig(huber_ev_per_angstrom=huber, element_weights={"H": 0.5})
    weights = np.linspace(0.5, 1.5, len(labelled))
    data, on_device = structures_of(labelled, student, weights)
    module = Distillation(student, config, 100)
    steps = StepGraphs(module, on_device)
    indices = np.array([1, 3, 6, 10])
    loss = steps(on_device[indices], module.loss.weights_at(0.0))
    expected = module.weighted_loss(data[indices])
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    expected.backward()
    one = torch.cat([g.flatten() for g in steps.gradients])
    other = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.trainable()])
    assert (one - other).norm() < 1e-3 * other.norm()


@pytest.fixture
def with_products(labelled):
    """The same structures with directions and products, not those of a teacher."""
    rng = np.random.default_rng(5)
    found = []
    for s in labelled:
        extra = {name: rng.normal(size=(len(s), 3)) for name in ("hessian_directions", "hessian_products")}
        found.append(s.with_(labels=replace(s.labels, extra=extra)))
    return found


def test_hessian_products_are_those_of_the_step_without_graphs(with_products, student):
    config = TrainConfig(hessian_weight=0.7, hessian_fraction=0.5, element_weights={"O": 2.0})
    columns = ("hessian_directions", "hessian_products")
    weights = np.linspace(0.5, 1.5, len(with_products))
    data = LabelledStructures(Records.of(with_products), 3.5, weights=weights, extra=columns)
    module = Distillation(student, config, 100)
    on_device = DeviceStructures(data, student, CPU, columns)
    steps = StepGraphs(module, on_device)
    indices = np.array([1, 3, 6, 10])
    chosen = indices[module.in_turn(4).numpy()]
    assert len(chosen) == 2
    loss = steps(on_device[indices], module.loss.weights_at(0.0), on_device[chosen])
    expected = module.weighted_loss(data[indices])
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4)
    expected.backward()
    one = torch.cat([g.flatten() for g in steps.gradients])
    other = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.trainable()])
    assert (one - other).norm() < 2e-3 * other.norm()
    values = steps.take_means()
    assert float(values["hessian"]) > 0
    batch, some = on_device[indices], on_device[chosen]
    with NoWait():
        steps(batch, module.loss.weights_at(0.0), some)


@pytest.mark.usefixtures("without_gpu")
def test_a_training_with_products_ends_with_the_student_of_other_code(with_products, tmp_path, monkeypatch):
    config = TrainConfig(epochs=3, batch_structures=5, learning_rate=1e-2, backend="torch", hessian_weight=0.5)
    columns = ("hessian_directions", "hessian_products")
    monkeypatch.setattr(stage, "device_structures", lambda c, k, data, s: DeviceStructures(data, s, CPU, columns))
    found = train_student(job_of(with_products, [], MANY, config, tmp_path / "a"))
    monkeypatch.setattr(stage, "device_structures", lambda *_: None)
    expected = train_student(job_of(with_products, [], MANY, config, tmp_path / "b"))
    start = initial_student(job_of(with_products, [], MANY, config, tmp_path))
    one, other, before = (torch.cat([p.flatten() for p in s.parameters()]) for s in (found, expected, start))
    assert (one - other).norm() < 5e-2 * (other - before).norm()


def test_no_operation_waits_for_the_host(labelled, student):
    module = Distillation(student, TrainConfig(), 100)
    _, on_device = structures_of(labelled, student)
    steps = StepGraphs(module, on_device)
    first, second = on_device[np.arange(4)], on_device[np.arange(4) + 4]
    steps(first, module.loss.weights_at(0.0))
    with NoWait():
        steps(second, module.loss.weights_at(0.0))
    with pytest.raises(AssertionError, match="waits"), NoWait():
        student.predict(LabelledStructures(Records.of(labelled), 3.5)[np.arange(2)].inputs)


def test_batches_of_about_one_size_share_a_shape(labelled, student):
    module = Distillation(student, TrainConfig(), 100)
    _, on_device = structures_of(labelled, student)
    steps = StepGraphs(module, on_device)
    for start in (0, 4, 8, 0, 4):
        steps(on_device[np.arange(start, start + 4)], module.loss.weights_at(0.0))
    assert len(steps.shapes) == 1
    steps(on_device[np.arange(3)], module.loss.weights_at(0.0))
    assert len(steps.shapes) == 2  # the number of structures is exact


def test_a_shape_is_not_used_for_batches_far_smaller_until_there_are_many(labelled, student, monkeypatch):
    module = Distillation(student, TrainConfig(), 100)
    _, on_device = structures_of(labelled, student)
    monkeypatch.setattr(graphs, "SHAPES", 2)
    steps = StepGraphs(module, on_device)
    sizes = {len(s): k for k, s in enumerate(labelled)}
    for size in sorted(sizes, reverse=True):  # from large to small
        steps(on_device[np.array([sizes[size]])], module.loss.weights_at(0.0))
    assert len(steps.shapes) <= 2
    assert Shape(1, 100, 40, 5).holds(Shape(1, 90, 40, 5))
    assert not Shape(1, 100, 40, 5).holds(Shape(1, 90, 41, 5))
    assert not Shape(2, 100, 40, 5).holds(Shape(1, 90, 40, 5))


def test_means_are_over_all_structures_since_they_were_taken(labelled, student):
    module = Distillation(student, TrainConfig(), 100)
    _, on_device = structures_of(labelled, student)
    steps = StepGraphs(module, on_device)
    one, other = (steps(on_device[np.arange(*span)], module.loss.weights_at(0.0)).clone() for span in ((0, 4), (4, 6)))
    assert float(steps.take_means()["loss"]) == pytest.approx(float(4 * one + 2 * other) / 6, rel=1e-5)
    third = steps(on_device[np.arange(3)], module.loss.weights_at(0.0))
    assert float(steps.take_means()["loss"]) == pytest.approx(float(third), rel=1e-5)


@pytest.mark.parametrize("config", [{}, {"late_weights": {"energy": 20}, "late_from": 0.2}], ids=["plain", "late weights"])
@pytest.mark.usefixtures("without_gpu")
def test_a_training_ends_with_the_student_of_other_code(labelled, tmp_path, monkeypatch, config):
    short = TrainConfig(epochs=4, batch_structures=5, learning_rate=1e-2, backend="torch", **config)
    reports: dict[str, list] = {"a": [], "b": []}

    def trained(name: str) -> Student:
        job = job_of(labelled, labelled[:2], MANY, short, tmp_path / name)
        return train_student(job, on_epoch=lambda _, report: reports[name].append(report))

    found = trained("a")
    monkeypatch.setattr(stage, "device_structures", lambda *_: None)
    expected = trained("b")
    start = initial_student(job_of(labelled, [], MANY, short, tmp_path))
    one, other, before = (torch.cat([p.flatten() for p in s.parameters()]) for s in (found, expected, start))
    assert (one - other).norm() < 2e-2 * (other - before).norm()
    for one, other, near in zip(reports["a"], reports["b"], (1e-5, 1e-3, 2e-2, 5e-2), strict=True):  # rounding grows
        assert one.keys() == other.keys()
        assert all(value == pytest.approx(other[name], rel=near, abs=1e-4) for name, value in one.items())


@pytest.mark.usefixtures("without_gpu")
def test_a_stopped_training_goes_on(labelled, tmp_path):
    class StopError(Exception):
        pass

    def stop(epoch, _):
        if epoch == 2:
            raise StopError

    short = TrainConfig(epochs=4, batch_structures=5, learning_rate=1e-2)
    whole = train_student(job_of(labelled, [], MANY, short, tmp_path / "whole"))
    cut = job_of(labelled, [], MANY, short, tmp_path / "cut")
    with pytest.raises(StopError):
        train_student(cut, on_epoch=stop)
    resumed = train_student(replace(cut))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_without_a_gpu_or_with_other_losses_other_code_trains(labelled, student, monkeypatch, caplog):
    data, _ = structures_of(labelled, student)
    assert device_structures(TrainConfig(), kinds_of(TrainConfig()), data, student) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (bytes_needed(data), 10**9))
    caplog.set_level("INFO")
    embeddings = TrainConfig(node_embeddings_weight=1.0)
    assert device_structures(embeddings, kinds_of(embeddings), data, student) is None
    assert "the loss has node_embeddings" in caplog.text
    assert device_structures(TrainConfig(), kinds_of(TrainConfig()), data, student) is None
    assert "the data take" in caplog.text
    assert device_structures(TrainConfig(backend="torch"), kinds_of(TrainConfig()), data, student) is None


def test_steps_before_the_start_of_the_training_are_refused(labelled, student):
    _, on_device = structures_of(labelled, student)
    module = GraphedDistillation(on_device, student, TrainConfig(), 100)
    with pytest.raises(RuntimeError, match="has not started"):
        module.backward(torch.zeros(()))
    chosen = on_device[np.arange(2)]
    assert isinstance(chosen, Chosen)
    assert chosen.to("cpu") is chosen


def test_a_dataset_beyond_the_memory_of_the_host_is_read_by_other_code(labelled, student, monkeypatch, caplog):
    data, _ = structures_of(labelled, student)
    needed = bytes_needed(data)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 * needed, 100 * needed))
    monkeypatch.setattr(graphs.psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    caplog.set_level("INFO")
    assert device_structures(TrainConfig(), kinds_of(TrainConfig()), data, student) is None
    assert "of memory are free" in caplog.text


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("chosen", [[0], [0, 1], [2, 0, 1]], ids=["one atom", "no neighbors", "one with neighbors"])
@pytest.mark.parametrize("every", [False, True], ids=["alone in the data", "beside others"])
def test_atoms_without_neighbors(tmp_path, experts, chosen, every):
    """An atom alone has its energy, and no force; data may consist of such atoms."""
    lonely = [Atoms("H"), Atoms("HO", [[0, 0, 0], [9, 9, 9]]), Atoms("O")]
    made = [*lonely[:2], bulk("Al", cubic=True) if every else lonely[2]]
    structures = [
        Structure.from_ase(a, id=f"s{k}", family=f"s{k}").with_(labels=Labels(-1.5 * k, np.zeros((len(a), 3)), None))
        for k, a in enumerate(made)
    ]
    sizes = MANY.model_copy(update={"experts": experts})
    student = initial_student(job_of(structures, [], sizes, TrainConfig(), tmp_path))
    data, on_device = structures_of(structures, student)
    module = Distillation(student, TrainConfig(), 100)
    steps = StepGraphs(module, on_device)
    loss = steps(on_device[np.array(chosen)], module.loss.weights_at(0.0))
    expected = module.weighted_loss(data[np.array(chosen)])
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert all(torch.isfinite(gradient).all() for gradient in steps.gradients)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
class TestOnCard:
    """The same as CUDA graphs; other code on the card is the reference."""

    def test_loss_and_derivatives(self, labelled, student):
        student = student.to("cuda")
        module, other = (Distillation(s, TrainConfig(backend="torch"), 100) for s in (student, copy.deepcopy(student)))
        data = LabelledStructures(Records.of(labelled), student.architecture.cutoff_angstrom)
        on_card = DeviceStructures(data, student, torch.device("cuda", 0))
        steps = StepGraphs(module, on_card)
        for indices in (np.array([1, 3, 6, 10]), np.array([0, 2, 4, 5]), np.array([7, 8]), np.array([1, 3, 6, 10])):
            loss = float(steps(on_card[indices], module.loss.weights_at(0.0)))
            for parameter in other.trainable():
                parameter.grad = None
            expected = other.weighted_loss(data[indices].to("cuda"))  # of other weights: no capture may meet this graph
            assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
            expected.backward()
            found = torch.cat([g.flatten() for g in steps.gradients])
            true = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in other.trainable()])
            assert (found - true).norm() < 1e-3 * true.norm()
        assert len(steps.shapes) == 3  # 18 atoms of 8 neighbors, 14 of 12, and two structures

    def test_a_training_learns_as_other_code_does(self, labelled, tmp_path):
        reports: dict[str, list] = {"auto": [], "torch": []}
        for backend, said in reports.items():
            config = TrainConfig(epochs=20, batch_structures=5, learning_rate=1e-2, backend=backend)
            job = job_of(labelled, labelled[:2], MANY, config, tmp_path / backend)
            train_student(job, on_epoch=lambda _, report, said=said: said.append(report))
        graphs, other = (said[-1]["train_forces"] for said in reports.values())
        assert graphs == pytest.approx(other, rel=0.1)
        assert graphs < 0.8 * reports["auto"][0]["train_forces"]
