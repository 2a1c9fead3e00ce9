"""Losses: what each is of, that its gradient reaches the weights, and that training by it lowers it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols

from potstill.config import parse_config
from potstill.core.batch import make_batch, some_of
from potstill.core.errors import InputError
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.student.fused import FusedTraining
from potstill.student.layer import ElementGroups
from potstill.student.model import Student
from potstill.teacher import extras
from potstill.teacher.classical import LennardJones
from potstill.teacher.extras import add_extras
from potstill.testing import copper, ethanol, random_student, rattled, rocksalt, water
from potstill.train import losses
from potstill.train.chosen_losses import total_loss, weights_by_atomic_number
from potstill.train.data import LabelledBatch, LabelledStructures
from potstill.train.hints import hints_for
from potstill.train.job import source_weights, tell_idle_weights
from potstill.train.losses import (
    Comparison,
    EnergyTerm,
    ForcesTerm,
    HessianTerm,
    LocalEnergiesTerm,
    LossTerm,
    NodeEmbeddingsTerm,
    StressTerm,
    TotalLoss,
    hessian_vector_products,
    mean_errors,
)
from potstill.train.module import Distillation
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student
from training_kit import job_of

LJ = LennardJones(sigma_angstrom=1.2)
ELEMENTS = [1, 6, 8, 11, 17, 29]
HESSIAN = ("hessian_directions", "hessian_products")


@pytest.fixture(scope="module")
def known() -> list[Structure]:
    """Structures with Hessian-vector products, and local energies that are half of each pair's energy."""
    makes = (copper, rocksalt, water, ethanol)
    structures = [rattled(make(), k, 0.08).with_(id=f"{make.__name__}-{k}") for k in range(3) for make in makes]
    teacher = LJ.load()
    answers = add_extras(["hessian_vector_products"], teacher, [], structures, teacher.label(structures))
    return [s.with_(labels=_with_local(a, s)) for s, a in zip(structures, answers, strict=True)]


def _with_local(labels: Labels, structure: Structure) -> Labels:
    """Shares of the energy by a rule that depends on the surroundings: the closer the neighbours, the larger the share."""
    atoms = structure.to_ase()
    close = (1.0 / (atoms.get_all_distances(mic=True) + 10.0 * np.eye(len(atoms))) ** 6).sum(1)
    seen = np.stack([np.log(close), structure.atomic_numbers / 10.0, np.ones(len(atoms))], axis=1)  # the last says nothing
    local = labels.energy * close / close.sum()
    return replace(labels, extra={**labels.extra, "local_energies": local, "node_embeddings": seen})


def batch_of(structures, extra=(), weights=None) -> LabelledBatch:
    data = LabelledStructures(Records.of(structures), 4.0, extra=extra, weights=weights)
    return data[np.arange(len(structures))]


def student(**options) -> Student:
    return random_student(ELEMENTS, backend="torch", **options).model.requires_grad_()


def losses_of(predicted, batch, config: TrainConfig, model: Student, by_element=None) -> dict[str, torch.Tensor]:
    seen = Comparison(model, predicted, batch, torch.arange(len(batch.energy)), element_weights=by_element)
    return total_loss(config).values(seen)


def hessian_loss(model: Student, batch: LabelledBatch, chosen: torch.Tensor, *, training: bool, kernel=None) -> torch.Tensor:
    predicted = model.predict(batch.inputs)
    return HessianTerm(1.0).value(Comparison(model, predicted, batch, chosen, kernel, training))


def double(model: Student) -> Student:
    exact = copy.deepcopy(model).double()
    exact.reference_energies = model.reference_energies
    return exact


def wide(batch: LabelledBatch) -> LabelledBatch:
    extra = {name: rows.double() for name, rows in batch.extra.items()}
    return replace(batch, inputs=batch.inputs.to(dtype=torch.float64), extra=extra)


def test_some_of_a_batch_is_the_batch_of_some(known):
    whole = make_batch(known, 4.0)
    some, atoms = some_of(whole, torch.tensor([1, 2, 7]))
    expected = make_batch([known[k] for k in (1, 2, 7)], 4.0)
    for name in ("atomic_numbers", "positions", "cell", "ptr", "structure", "edge_index", "edge_shift", "periodic"):
        assert torch.equal(getattr(some, name), getattr(expected, name)), name
    assert torch.equal(whole.positions[atoms], expected.positions)


class TestTerms:
    def test_add_up(self, known):
        total = EnergyTerm(1.0) + ForcesTerm(10.0, width=0.1) + HessianTerm(0.5)
        assert isinstance(total, TotalLoss)
        assert total.names == ["energy", "forces", "hessian"]
        assert (StressTerm(2.0) + total).weights_at(0.3) == {"stress": 2.0, "energy": 1.0, "forces": 10.0, "hessian": 0.5}
        with pytest.raises(ValueError, match="may be given once"):
            total + EnergyTerm(2.0)

    def test_count_what_their_means_are_over(self, known):
        batch, chosen = batch_of(known), torch.tensor([0, 2])
        atoms = [len(s) for s in known]
        total = total_loss(TrainConfig(hessian_weight=1.0, local_energies_weight=1.0))
        assert total.counts(batch.numbers(chosen)) == {
            "energy": len(known),
            "forces": sum(atoms),
            "stress": sum(bool(s.pbc.all()) for s in known),
            "local_energies": sum(atoms),
            "hessian": atoms[0] + atoms[2],
        }

    def test_one_of_your_own_is_a_class(self, known):
        class LargestForce(LossTerm):
            name = "forces"

            def value(self, seen: Comparison) -> torch.Tensor:
                return (seen.prediction.forces - seen.batch.forces).norm(dim=1).max()

        batch, model = batch_of(known), student()
        predicted = model.predict(batch.inputs)
        found = (EnergyTerm(1.0) + LargestForce(3.0)).values(Comparison(model, predicted, batch, torch.arange(2)))
        assert float(found["forces"]) > float(mean_errors(predicted, batch)["forces"])


class TestForces:
    def test_by_default_the_length_of_the_error(self, known):
        batch, model = batch_of(known), student()
        predicted = model.predict(batch.inputs)
        found, errors = losses_of(predicted, batch, TrainConfig(), model), mean_errors(predicted, batch)
        assert {name: float(x) for name, x in found.items()} == {name: float(x) for name, x in errors.items()}

    @pytest.mark.parametrize(("width", "scale"), [(0.0, 2.0), (0.3, None), (1e-9, None), (0.3, 2.0), (50.0, 5.0)])
    def test_hubers_loss_of_the_scaled_error(self, known, width, scale):
        batch, model = batch_of(known), student()
        config = TrainConfig(huber_ev_per_angstrom=width, force_scale_ev_per_angstrom=scale)
        predicted = model.predict(batch.inputs)
        error = np.linalg.norm(predicted.forces - batch.forces, axis=1)
        if scale is not None:
            error = error / (1 + np.linalg.norm(batch.forces, axis=1) / scale)
        expected = [e * e / (2 * width) if e < width else e - width / 2 for e in error]
        found = losses_of(predicted, batch, config, model)["forces"]
        assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


class TestWeights:
    def test_of_sources_count_structures(self, known):
        weights = np.arange(len(known), dtype=float)
        batch, model = batch_of(known, weights=weights), student()
        predicted = model.predict(batch.inputs)
        found = losses_of(predicted, batch, TrainConfig(), model)
        atoms = np.array([len(s) for s in known])
        energy = np.abs((predicted.energy - batch.energy).numpy()) / atoms
        forces = np.linalg.norm(predicted.forces - batch.forces, axis=1)
        assert float(found["energy"]) == pytest.approx((weights * energy).mean(), rel=1e-5)
        assert float(found["forces"]) == pytest.approx((np.repeat(weights, atoms) * forces).mean(), rel=1e-5)

    def test_of_elements_count_atoms(self, known):
        batch, model = batch_of(known), student()
        predicted = model.predict(batch.inputs)
        found = losses_of(predicted, batch, TrainConfig(), model, weights_by_atomic_number({"H": 0.0, "Cu": 3.0}))
        numbers = batch.inputs.atomic_numbers.numpy()
        each = np.where(numbers == 1, 0.0, np.where(numbers == 29, 3.0, 1.0))
        forces = np.linalg.norm(predicted.forces - batch.forces, axis=1)
        assert float(found["forces"]) == pytest.approx((each * forces).mean(), rel=1e-5)
        assert float(found["energy"]) == float(mean_errors(predicted, batch)["energy"])

    def test_move_late_to_others(self):
        config = TrainConfig(late_weights={"energy": 21.0, "forces": 1.0}, late_from=0.6)
        weights_at = total_loss(config).weights_at
        assert weights_at(0.0) == weights_at(0.6)
        assert weights_at(0.6)["energy"] == 1.0
        assert weights_at(0.8)["energy"] == pytest.approx(11.0)
        assert weights_at(1.0) == {"energy": 21.0, "forces": 1.0, "stress": 10.0}

    def test_that_comes_late_needs_its_term_from_the_start(self):
        total = total_loss(TrainConfig(late_weights={"hessian": 2.0}))
        assert total.names == ["energy", "forces", "stress", "hessian"]
        assert total.weights_at(0.2)["hessian"] == 0.0
        assert total.weights_at(1.0)["hessian"] == 2.0

    def test_of_the_dataset_follow_its_sources(self, known, tmp_path):
        some = [s.with_(source="crystals" if s.pbc.all() else "molecules") for s in known]
        write_part(tmp_path / "part.h5", some, labelled=True)
        merge([tmp_path / "part.h5"], tmp_path / "d.h5", attributes={}, splits=np.arange(len(known), dtype=np.uint8) // 8)
        dataset = Dataset(tmp_path / "d.h5")
        assert source_weights(dataset, TrainConfig()) is None
        found = source_weights(dataset, TrainConfig(source_weights={"crystals": 0.5}))
        assert found.tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5, 1, 1]
        with pytest.raises(InputError, match="no source 'crystal'; did you mean 'crystals'"):
            source_weights(dataset, TrainConfig(source_weights={"crystal": 0.5}))

    def test_a_weight_of_an_element_that_is_not_there_is_told(self, known, tmp_path, caplog):
        write_part(tmp_path / "d.h5", known, labelled=True)
        dataset = Dataset(tmp_path / "d.h5")
        here = chemical_symbols[int(dataset.column("atoms/atomic_numbers")[0])]
        tell_idle_weights(dataset, TrainConfig(element_weights={here: 2.0}))
        assert caplog.messages == []
        tell_idle_weights(dataset, TrainConfig(element_weights={here: 2.0, "Og": 2.0}))
        assert caplog.messages == ["train.element_weights: the dataset has no Og, so that this weight changes nothing"]


class TestHessian:
    def test_products_are_those_of_the_exact_hessian(self, known, monkeypatch):
        monkeypatch.setattr(losses, "STEP_ANGSTROM", 1e-4)
        model = double(student())
        structure = known[2]
        inputs = make_batch([structure], 4.0, dtype=torch.float64)
        species = model.species_of[inputs.atomic_numbers]
        receiver, sender = inputs.edge_index

        def energy(positions: torch.Tensor) -> torch.Tensor:
            vectors = positions[sender] - positions[receiver]
            padded, neighbor, slot = model.pad(vectors, inputs)
            flat = padded.transpose(1, 2).reshape(-1, 3).index_copy(0, slot, vectors)
            leaf = flat.view(*neighbor.shape, 3).transpose(1, 2)
            return model.local_energies(leaf, neighbor, species, ElementGroups.of(species)).sum()

        v = torch.from_numpy(structure.labels.extra["hessian_directions"])
        hessian = torch.autograd.functional.hessian(energy, inputs.positions)
        found = hessian_vector_products(model, inputs, v, training=False)
        expected = torch.einsum("iajb,jb->ia", hessian, v)
        assert (found - expected).norm() < 1e-4 * expected.norm()

    def test_steps_are_those_of_the_teacher(self):
        assert losses.STEP_ANGSTROM == extras.STEP_ANGSTROM

    def test_the_gradient_is_the_slope_by_the_weights(self, known):
        batch = batch_of(known, HESSIAN)
        model = double(student())
        exact = replace(
            batch, inputs=batch.inputs.to(dtype=torch.float64), extra={k: x.double() for k, x in batch.extra.items()}
        )
        chosen = torch.tensor([0, 2, 5])
        hessian_loss(model, exact, chosen, training=True).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is None or not parameter.grad.any():
                continue
            way = parameter.grad / parameter.grad.norm()
            sides = []
            for sign in (1e-5, -1e-5):
                with torch.no_grad():
                    parameter.add_(way, alpha=sign)
                sides.append(float(hessian_loss(model, exact, chosen, training=False)))
                with torch.no_grad():
                    parameter.sub_(way, alpha=sign)
            slope = (sides[0] - sides[1]) / 2e-5
            assert slope == pytest.approx(float(parameter.grad.norm()), rel=1e-4, abs=1e-8), name

    def test_the_kernel_gives_the_gradient_of_pytorch_in_float64(self, known):
        batch = batch_of(known, HESSIAN)
        model = student()
        every = torch.arange(len(known))
        hessian_loss(model, batch, every, training=True, kernel=FusedTraining(model)).backward()
        exact = double(model)
        wide = replace(
            batch, inputs=batch.inputs.to(dtype=torch.float64), extra={k: x.double() for k, x in batch.extra.items()}
        )
        hessian_loss(exact, wide, every, training=True).backward()
        one, other = (
            torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in m.parameters()])
            for m in (model, exact)
        )
        assert (one - other).norm() < 2e-2 * other.norm()


def test_local_energies_are_compared_with_references(known):
    batch, model = batch_of(known, ["local_energies"]), student()
    predicted = model.predict(batch.inputs)
    references = model.reference_energies[model.species_of[batch.inputs.atomic_numbers]]
    every = torch.arange(len(known))
    seen = Comparison(model, predicted, batch, every, element_weights=weights_by_atomic_number({"O": 0.0}))
    found = LocalEnergiesTerm(1.0).value(seen)
    error = np.abs(predicted.local_energies.numpy() + references.numpy() - batch.extra["local_energies"].numpy())
    assert float(found) == pytest.approx((error * (batch.inputs.atomic_numbers.numpy() != 8)).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "weight", "seed"), [("hessian", 1.0, 1), ("local_energies", 100.0, 2), ("node_embeddings", 3e3, 1)]
)
def test_training_by_a_loss_lowers_it(known, tiny, tmp_path, loss, weight, seed):
    shared = {"epochs": 120, "batch_structures": 12, "learning_rate": 2e-2, "ema_decay": 0.9, "hessian_fraction": 0.5}
    watched = {}
    for name, value in (("without", 1e-9), ("with", weight)):  # the first only so that it is watched
        reports = []
        config = TrainConfig(**shared, **{f"{loss}_weight": value})
        records = Records.of(known)
        job = job_of(records, records, tiny, config, tmp_path / name, seed=seed)
        train_student(job, on_epoch=lambda _, r, to=reports: to.append(r))
        watched[name] = [report[f"valid_{loss}"] for report in reports if f"valid_{loss}" in report]
    assert watched["with"][-1] < 0.5 * watched["with"][0]
    assert watched["with"][-1] < 0.8 * watched["without"][-1]


class TestHints:
    def test_a_map_is_judged_in_units_of_the_spread(self, known):
        records = Records.of(known)
        hints, model = hints_for(records, 16, seed=1), student(hidden=16)
        batch = batch_of(known, ["node_embeddings"])
        with torch.no_grad():
            hints.head.weight.zero_()
            hints.head.bias.zero_()
        rows = records.extra["node_embeddings"]
        spread = rows.std(axis=0)
        expected = np.abs((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).mean(axis=1)
        weights = weights_by_atomic_number({"O": 0.0})
        predicted = model.predict(batch.inputs, features=True)
        seen = Comparison(model, predicted, batch, torch.arange(len(known)), element_weights=weights)
        found = NodeEmbeddingsTerm(1.0, hints).value(seen).detach()
        assert float(found) == pytest.approx((expected * (records.atomic_numbers != 8)).mean(), rel=1e-4)

    @pytest.mark.parametrize("backend", ["torch", "fused"])
    def test_its_gradient_reaches_the_features_and_the_map(self, known, backend):
        hints = hints_for(Records.of(known), 16, seed=1)
        config = TrainConfig(
            node_embeddings_weight=1.0, energy_weight=0.0, forces_weight=0.0, stress_weight=0.0, backend=backend
        )
        module = Distillation(student(hidden=16), config, total_steps=10, hints=hints)
        module.on_train_start()
        module.weighted_loss(batch_of(known, ["node_embeddings"])).backward()
        before = {name: p for name, p in module.student.named_parameters() if not name.startswith("last.")}
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in before.values())
        assert all(bool(p.grad.abs().sum() > 0) for p in hints.parameters())

    def test_the_map_learns_with_the_student_and_goes_on_after_a_stop(self, known, tiny, tmp_path):
        config = TrainConfig(epochs=3, batch_structures=4, node_embeddings_weight=1.0)
        assert_resumes(known, tiny, tmp_path, config)


def test_resumed_training_by_hessians_ends_with_the_same_weights(known, tiny, tmp_path):
    config = TrainConfig(epochs=3, batch_structures=4, hessian_weight=1.0, late_weights={"energy": 9.0}, late_from=0.2)
    assert_resumes(known, tiny, tmp_path, config)


def assert_resumes(known, tiny, tmp_path, config) -> None:
    """Training stopped after its first epoch and taken up again ends with the weights of one that was not."""
    records = Records.of(known)

    class StopError(Exception):
        pass

    def stop(epoch: int, _: dict[str, float]) -> None:
        if epoch == 1:
            raise StopError

    whole = train_student(job_of(records, [], tiny, config, tmp_path / "whole"))
    with pytest.raises(StopError):
        train_student(job_of(records, [], tiny, config, tmp_path / "cut"), on_epoch=stop)
    resumed = train_student(job_of(records, [], tiny, config, tmp_path / "cut"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_loss_without_its_labels_is_refused(labelled, tiny, tmp_path):
    with pytest.raises(InputError, match=r"no hessian_directions and hessian_products\n.*hessian_vector_products"):
        train_student(job_of(labelled, [], tiny, TrainConfig(epochs=1, hessian_weight=1.0), tmp_path))


def test_a_config_that_does_not_store_what_it_learns_is_refused():
    generate = {"sources": [{"source": "benchmark", "count": 1}]}
    with pytest.raises(InputError, match=r"train\.hessian_weight needs 'hessian_vector_products' among label\.extra"):
        parse_config({"generate": generate, "train": {"late_weights": {"hessian": 1.0}}})
    with pytest.raises(InputError, match=r"train\.node_embeddings_weight needs 'node_embeddings' among label\.extra"):
        parse_config({"generate": generate, "train": {"node_embeddings_weight": 1.0}})
    with pytest.raises(InputError, match="not a chemical symbol: Xx"):
        parse_config({"generate": generate, "train": {"element_weights": {"Xx": 1.0}}})
    parse_config({"generate": generate, "train": {"hessian_weight": 1.0}, "label": {"extra": ["hessian_vector_products"]}})
