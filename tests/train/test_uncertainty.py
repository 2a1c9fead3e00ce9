"""Expected errors: what they are made of, that they tell of true errors, and that atoms unlike all others are found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atom
from ase.build import bulk, fcc111
from ase.io import read, write
from ase.io.trajectory import Trajectory
from safetensors.torch import load_file, save_file

from potstill.core.errors import InputError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.deploy import load_student
from potstill.deploy.engine import Stepper
from potstill.deploy.langevin import Langevin, Walker
from potstill.evaluate.errors import Comparison
from potstill.student.fused import FusedKernel
from potstill.student.options import StudentConfig
from potstill.student.uncertainty import (
    FILE,
    Neighborhood,
    Uncertainty,
    auroc,
    conformal_factor,
    judge,
    read_uncertainty,
    save_uncertainty,
)
from potstill.teacher.classical import EMT, LennardJones
from potstill.teacher.options import TeacherOptions
from potstill.testing import all_structures, copper, random_student, rattled
from potstill.testing.models import in_elements
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train
from potstill.train.uncertainty import EXPONENTS, Examined, calibration_curve, examined, fit_uncertainty, recalibrate

ALONE = Neighborhood(torch.zeros(2, 0, dtype=torch.int32), torch.zeros(0))  # atoms without neighbors
LJ = LennardJones(sigma_angstrom=1.2)
ELEMENTS = [1, 6, 8, 14, 29]
SIZES = {
    "nano": {"tier": "nano"},
    "odd sizes": {"features": 11, "channels": 5, "vectors": 3, "products": 7, "hidden": 21, "experts": 3, "radial": 5},
}


def labelled(teacher: TeacherOptions, structures: list[Structure]) -> list[Structure]:
    answers = teacher.load().label(structures)
    return [s.with_(labels=a) for s, a in zip(structures, answers, strict=True)]


def supercell() -> Structure:
    return Structure.from_ase(bulk("Cu", "fcc", a=3.61).repeat((2, 2, 2)))


def slab_of_copper() -> Structure:
    return Structure.from_ase(fcc111("Cu", (2, 2, 3), vacuum=6.0, periodic=True))


def rattles(rattle: float, seeds: range) -> list[Structure]:
    makes = (copper, supercell, slab_of_copper)
    return labelled(
        EMT(), [rattled(make(), k, rattle).with_(id=f"{make.__name__}-{k}-{rattle}") for k in seeds for make in makes]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """A student of rattles of 0.05 Å."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
        yield _trained(tmp_path_factory)


def _trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run")
    structures = rattles(0.05, range(10))
    write_part(path / "part.h5", structures, labelled=True)
    splits = (np.arange(len(structures)) >= 24).astype(np.uint8)
    merge([path / "part.h5"], path / "d.h5", attributes={}, splits=splits)
    student = StudentConfig(
        cutoff_angstrom=3.5, layers=2, features=16, channels=8, vectors=4, products=8, radial=4, hidden=32
    )
    config = TrainConfig(epochs=40, batch_structures=8, learning_rate=1e-2, ema_decay=0.9)
    return train(TrainJob.on(Dataset(path / "d.h5"), student, config, path / "student", seed=1))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_kernel_gives_the_last_features_of_pytorch(sizes):
    student = random_student(ELEMENTS, backend="torch", **sizes).model
    structures = [in_elements(rattled(s), ELEMENTS) for s in all_structures()]
    records = Records.of(labelled(LJ, structures))
    found = examined(student, records, None, 0)
    fused = examined(student, records, FusedKernel(student), 0)
    assert found.features.shape[1] == student.architecture.hidden
    assert np.bincount(found.structure).tolist() == [len(s) for s in structures]
    torch.testing.assert_close(fused.features, found.features, rtol=0, atol=1e-5)
    torch.testing.assert_close(fused.errors, found.errors, rtol=1e-3, atol=1e-3)


def test_expected_errors_are_those_of_the_formula():
    student = random_student(ELEMENTS, backend="torch").model
    structures = labelled(LJ, [in_elements(rattled(s), ELEMENTS) for s in all_structures()])
    records = Records.of(structures)
    fit, report = fit_uncertainty(student, records, records)
    atoms = examined(student, records, None, 0)
    features, errors = atoms.features.float(), atoms.errors
    covariance = (atoms.features.T @ atoms.features / len(features)).numpy()
    covariance += 1e-5 * float(atoms.features.square().mean()) * np.eye(len(covariance))
    distance = np.sqrt(np.einsum("ni,ij,nj->n", atoms.features.numpy(), np.linalg.inv(covariance), atoms.features.numpy()))
    distance = averaged(distance**2, structures, student.architecture.cutoff_angstrom) ** 0.5
    found = fit.log_distance(features, atoms.neighborhood.means)
    np.testing.assert_allclose(found.exp(), distance, rtol=2e-2)
    assert float(fit.reach) == pytest.approx(np.quantile(np.log(distance), 0.9), abs=0.02)
    length = atoms.forces.norm(dim=1)
    assert float(fit.force[1]) == pytest.approx(0.1 * float(length.mean()))
    (a, b, c), reach = fit.coefficients, float(fit.reach)
    log_distance = torch.from_numpy(distance).log()
    score = a * fit.log_noise(features) + b * log_distance.clamp(max=reach) + c
    score += max(float(b), 1.0) * (log_distance - reach).clamp(min=0.0) + fit.force[0] * (length + fit.force[1]).log()
    logs = fit.log_noise(features), found, fit.log_force(atoms.forces.float())
    np.testing.assert_allclose(fit.log_score(*logs), score, atol=2e-2)
    expected = fit.expected_errors(features, atoms.forces.float(), atoms.neighborhood.means)
    assert float(expected.mean()) == pytest.approx(float(errors.mean()), rel=0.1)  # scaled to it
    assert report["of"] == "valid"
    assert report["flagged"] == pytest.approx(0.05, abs=0.02)


def averaged(values: np.ndarray, structures: list[Structure], cutoff_angstrom: float) -> np.ndarray:
    """Means of values of atoms over each atom and its neighbors, weighed by the cosine of their distance."""
    found, start = [], 0
    for structure in structures:
        near = structure_neighbors(structure, cutoff_angstrom)
        weights = np.eye(len(structure))
        for i, j, distance in zip(*near.edge_index, near.distance, strict=True):
            weights[i, j] += (1 + np.cos(np.pi * distance / cutoff_angstrom)) / 2
        found.append(weights @ values[start : start + len(structure)] / weights.sum(axis=1))
        start += len(structure)
    return np.concatenate(found)


def test_an_atom_is_as_far_from_the_data_as_the_mean_of_its_neighbors():
    student = random_student(ELEMENTS, backend="torch").model
    structures = labelled(LJ, [in_elements(rattled(s), ELEMENTS) for s in all_structures()])
    found = examined(student, Records.of(structures), None, 0)
    values = torch.rand(len(found.errors), generator=torch.Generator().manual_seed(1)).double()
    cutoff = student.architecture.cutoff_angstrom
    np.testing.assert_allclose(found.neighborhood.means(values), averaged(values.numpy(), structures, cutoff), rtol=1e-5)
    some = torch.isin(found.structure, torch.tensor([1, 3]))
    part = averaged(values[some].numpy(), [structures[1], structures[3]], cutoff)
    np.testing.assert_allclose(found[some].neighborhood.means(values[some]), part, rtol=1e-5)


def test_atoms_beside_a_strange_one_are_expected_to_be_wrong_too(folder):
    student = load_student(folder)
    crystal = bulk("Cu", "fcc", a=3.61, cubic=True).repeat((3, 3, 3))
    crowded = crystal.copy()
    crowded.append(Atom("Cu", (1.805, 0.0, 0.0)))
    whole, strange = (
        student.label([Structure.from_ase(atoms)], uncertainty=True)[0].extra["uncertainty"] for atoms in (crystal, crowded)
    )
    distance = crowded.get_distances(len(crystal), np.arange(len(crystal)), mic=True)
    beside, away = strange[:-1][(distance > 2.0) & (distance < 3.4)], strange[:-1][distance > 5.3]
    assert beside.min() > 3 * whole.max()
    assert away.max() < beside.min()


def test_beyond_the_reach_expectations_grow_with_the_distance():
    one, zero = torch.eye(1), torch.zeros(())
    features = torch.tensor([[1.0], [np.e], [np.e**3]])
    around, forces = ALONE.means, torch.ones(3, 3)
    line, ends, one_step = torch.zeros(2), torch.tensor([-9.0, 9.0]), torch.tensor([0.0, 1.0])
    for b, reach, expected in ((0.5, 1.0, [0.0, 0.5, 2.5]), (0.5, 1e6, [0.0, 0.5, 1.5]), (1.5, 1.0, [0.0, 1.5, 4.5])):
        a = torch.tensor([0.0, b, 0.0])
        found = Uncertainty(one, line, ends, a, zero, force=one_step, reach=torch.tensor(reach))
        torch.testing.assert_close(found.expected_errors(features, forces, around).log(), torch.tensor(expected))


def test_training_errors_determine_neither_exponents_nor_a_bound():
    student = random_student(ELEMENTS, backend="torch").model
    records = Records.of(labelled(LJ, [in_elements(rattled(s, k), ELEMENTS) for k in (1, 2) for s in all_structures()]))
    fit, report = fit_uncertainty(student, records, Records.of([]))
    assert (*fit.coefficients[:2].tolist(), float(fit.force[0])) == pytest.approx(EXPONENTS)
    assert report["of"] == "train"
    assert report["within_bound"] is None
    assert fit.curve.shape == (2, 0)
    assert np.isnan(fit.bounds(np.ones(2))).all()


def drawn(structures: int, *, force: float, seed: int = 0) -> Examined:
    """Atoms whose errors grow with a power of the force, and with nothing else."""
    rng = torch.Generator().manual_seed(seed)
    features, forces = (torch.randn(20 * structures, n, generator=rng).double() for n in (6, 3))
    errors = forces.norm(dim=1) ** force * torch.rand(len(forces), generator=rng).double()
    return Examined(features, forces, errors, torch.arange(structures).repeat_interleave(20), ALONE)


@pytest.mark.parametrize(("structures", "found"), [(1, (0.1, 0.5)), (200, (0.9, 1.2))])
def test_exponents_follow_many_structures_and_not_a_few(structures, found, monkeypatch):
    atoms = drawn(structures, force=1.1)
    monkeypatch.setattr("potstill.train.uncertainty.examined", lambda *_: atoms)
    model = random_student([29]).model
    known = Uncertainty(
        torch.eye(6),
        torch.zeros(7),
        torch.tensor([-9.0, 9.0]),
        torch.zeros(3),
        torch.tensor(1.0),
        force=torch.tensor([0.0, 0.05]),
    )
    again, report = recalibrate(model, known, Records.of([]), Records.of([]))
    assert found[0] < float(again.force[0]) < found[1]
    assert report["within_bound"] == pytest.approx(0.9, abs=0.06)
    if structures > 1:
        fresh = drawn(50, force=1.1, seed=1)
        expected = again.expected_errors(fresh.features.float(), fresh.forces.float(), ALONE.means)
        share = float((fresh.errors <= again.bound * expected).double().mean())
        assert share == pytest.approx(0.9, abs=0.03)


def test_held_out_families_correct_what_training_errors_say_wrongly(monkeypatch):
    """The errors of held-out atoms grow along a feature along which training errors fall."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(4000, 6, generator=rng).double()
    forces, structure = torch.ones(4000, 3).double(), torch.arange(4000) // 20
    seen = Examined(features, forces, (-features[:, 0]).exp(), structure, ALONE)
    held = Examined(features, forces, (0.5 * features[:, 0]).exp(), structure, ALONE)
    each = {"seen": seen, "held": held}
    monkeypatch.setattr("potstill.train.uncertainty.examined", lambda _student, source, *_: each[source])
    found, _ = fit_uncertainty(random_student([29]).model, "seen", "held")  # type: ignore[arg-type]
    fresh = torch.randn(500, 6, generator=rng)
    expected = found.expected_errors(fresh, torch.ones(500, 3), ALONE.means)
    assert auroc(expected.numpy(), fresh[:, 0].numpy() > 1.0) > 0.95


def test_what_is_expected_tells_of_true_errors(folder):
    student = load_student(folder)
    fresh = rattles(0.05, range(30, 36)) + rattles(0.25, range(30, 36))
    comparison = Comparison(fresh, student.label(fresh, uncertainty=True))
    figures = judge(*comparison.expectations(), float(student.uncertainty.threshold))
    assert figures["auroc"] > 0.7
    assert figures["spearman"] > 0.4
    assert figures["mean_error_flagged"] > 2 * figures["mean_error_not_flagged"]


def test_the_bound_holds_for_nine_tenths_of_new_errors():
    rng = np.random.default_rng(2)
    expected = rng.lognormal(-2.0, 0.7, 4000)
    errors = expected * rng.lognormal(0.0, 0.6, 4000)
    factor = conformal_factor(expected[::2], errors[::2])
    report = judge(expected[1::2], errors[1::2], 1.0, factor)
    assert report["within_bound"] == pytest.approx(0.9, abs=0.02)
    assert judge(expected, errors, 1.0)["within_bound"] is None


def test_a_student_states_its_bound(folder):
    student = load_student(folder)
    assert float(student.uncertainty.bound) > 0
    atoms = rattles(0.05, [40])[0].to_ase()
    atoms.calc = student.calculator()
    atoms.get_forces()
    assert atoms.calc.error_bounds == pytest.approx(float(student.uncertainty.bound) * atoms.calc.results["uncertainty"])


def test_a_student_of_an_earlier_version_states_no_bound(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    path = tmp_path / "old" / "uncertainty.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "bound"}, path)
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["uncertainty"]["checksum"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    student = load_student(tmp_path / "old")
    assert np.isnan(student.uncertainty.bounds(np.ones(3))).all()


def test_tenths_of_the_atoms_have_the_errors_that_are_expected():
    rng = np.random.default_rng(1)
    score = torch.from_numpy(rng.normal(-2.0, 1.0, 4000))
    true = (1.5 * score.clamp(max=-2.0) - 1.0).exp()  # steeper than the score, then flat
    errors = true * torch.from_numpy(rng.lognormal(0.0, 0.5, 4000))
    curve = calibration_curve(score[::2], errors[::2])
    expected = through(curve, score[1::2])
    report = judge(expected.numpy(), errors[1::2].numpy(), 1.0)
    for row in report["bins"]:
        assert row["expected"] == pytest.approx(row["error"], rel=0.25)


def test_beyond_the_curve_expectations_go_on():
    curve = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, -2.0, 0.5]])
    expected = through(curve, torch.tensor([-3.0, -1.0, -0.5, 0.5, 1.0, 4.0])).log()
    torch.testing.assert_close(expected, torch.tensor([-4.0, -2.0, -2.0, -0.75, 0.5, 3.5]))


def test_few_atoms_or_equal_scores_have_no_curve():
    assert calibration_curve(torch.randn(50).double(), torch.rand(50).double()).shape == (2, 0)
    assert calibration_curve(torch.ones(500).double(), torch.rand(500).double()).shape == (2, 0)


def test_a_file_from_before_the_curve_and_the_force_opens(folder, tmp_path):
    kept = load_file(folder / FILE)
    curve, force, _, _ = (kept.pop(name) for name in ("curve", "force", "neighbors", "reach"))
    assert (curve.shape[0], len(force)) == (2, 2)
    save_file(kept, tmp_path / FILE)
    found = read_uncertainty(tmp_path, len(kept["factor"]))
    assert found.curve.shape == (2, 0)
    features, forces = torch.randn(5, 32), torch.randn(5, 3)
    expected = [found.expected_errors(features, x, ALONE.means) for x in (forces, torch.zeros(5, 3))]
    assert torch.equal(*expected)


def test_coefficients_of_other_shapes_are_refused(folder, tmp_path):
    kept = load_file(folder / FILE)
    for name in ("coefficients", "force"):
        save_file({**kept, name: torch.zeros(4)}, tmp_path / FILE)
        with pytest.raises(InputError, match="is damaged: its coefficients have other shapes"):
            read_uncertainty(tmp_path, 32)


def through(curve: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """Expected errors of atoms with these scores: one feature, which is the logarithm of the training error."""
    line = torch.tensor([1.0, 0.0], dtype=score.dtype)
    ends = torch.tensor([-100.0, 100.0], dtype=score.dtype)
    one, a = torch.eye(1, dtype=score.dtype), torch.tensor([1.0, 0.0, 0.0], dtype=score.dtype)
    found = Uncertainty(one, line, ends, a, torch.zeros(()), curve)
    return found.expected_errors(score[:, None], torch.ones(len(score), 3), ALONE.means)


def test_strange_atoms_are_expected_to_be_wrong_and_flagged(folder):
    student = load_student(folder)
    known, strange = (rattles(rattle, range(40, 44)) for rattle in (0.05, 0.5))
    near, far = (
        np.concatenate([labels.extra["uncertainty"] for labels in student.label(some, uncertainty=True)])
        for some in (known, strange)
    )
    assert auroc(np.concatenate([near, far]), np.arange(len(near) + len(far)) >= len(near)) > 0.8
    threshold = float(student.uncertainty.threshold)
    assert (far > threshold).mean() > 3 * (near > threshold).mean()


def test_an_atom_pushed_into_another_is_beyond_all_bounds(folder):
    student = load_student(folder)
    crystal = copper()
    positions = crystal.positions.copy()
    positions[1] = positions[0] + [0.9, 0.0, 0.0]
    (before,), (after,) = (student.label([s], uncertainty=True) for s in (crystal, crystal.with_(positions=positions)))
    assert after.extra["uncertainty"][:2].min() > 3 * before.extra["uncertainty"].max()


class TestCalculator:
    def test_has_the_expected_errors_and_flags(self, folder):
        student = load_student(folder)
        (strange,) = rattles(0.5, range(50, 51))[:1]
        atoms = strange.to_ase()
        atoms.calc = student.calculator()
        atoms.get_forces()
        (labels,) = student.label([strange], uncertainty=True)
        np.testing.assert_allclose(atoms.calc.results["uncertainty"], labels.extra["uncertainty"], rtol=1e-3)
        assert atoms.calc.uncertain.tolist() == (labels.extra["uncertainty"] > float(student.uncertainty.threshold)).tolist()
        assert atoms.calc.uncertain.any()

    def test_warns_once_where_a_large_error_is_expected(self, folder, caplog):
        student = load_student(folder)
        student.domain = None
        atoms = bulk("Cu", "fcc", a=3.61, cubic=True).repeat((3, 3, 3))
        atoms.calc = student.calculator()
        with caplog.at_level("WARNING", logger="potstill"):
            atoms.get_forces()
            assert caplog.text == ""
            for move in (1.4, 1.5):
                strange = atoms.copy()
                strange.positions[5, 0] += move
                strange.calc = atoms.calc
                strange.get_forces()
        assert caplog.text.count("the force on atom") == 1
        (told,) = student.foreign(Structure.from_ase(strange))
        worst = int(np.argmax(strange.calc.results["uncertainty"]))
        assert told.startswith(f"the force on atom {worst} has an expected error of ")

    def test_engines_warn_of_a_large_error_too(self, folder, caplog):
        student = load_student(folder)
        student.domain = None
        crystal = Structure.from_ase(bulk("Cu", "fcc", a=3.61, cubic=True).repeat((3, 3, 3)))
        moved = crystal.positions.copy()
        moved[5, 0] += 1.4
        with caplog.at_level("WARNING", logger="potstill"):
            for positions, warnings in ((crystal.positions, 0), (moved, 1)):
                Stepper(student)(crystal.atomic_numbers, positions, crystal.cell, crystal.pbc)
                assert caplog.text.count("the force on atom") == warnings

    def test_dynamics_that_look_for_large_errors_are_not_warned_of_them(self, folder, caplog):
        student = load_student(folder)
        student.domain = None
        crystal = Structure.from_ase(bulk("Cu", "fcc", a=3.61, cubic=True).repeat((3, 3, 3)))
        positions = crystal.positions.copy()
        positions[5, 0] += 1.4
        still = np.zeros((len(crystal), 3))
        walker = Walker(crystal.with_(positions=positions), still, 300.0, np.random.default_rng(1))
        with caplog.at_level("WARNING", logger="potstill"):
            Langevin(student, [walker], timestep_fs=1.0, friction_per_ps=10.0).run(1)
        assert caplog.text == ""

    def test_frames_can_be_written(self, folder, tmp_path):
        atoms = copper().to_ase()
        atoms.calc = load_student(folder).calculator()
        atoms.get_forces()
        with Trajectory(tmp_path / "md.traj", "w", atoms) as file:
            file.write()
        write(tmp_path / "md.extxyz", atoms)
        for name in ("md.traj", "md.extxyz"):
            np.testing.assert_allclose(read(tmp_path / name).get_forces(), atoms.get_forces(), atol=1e-6)

    def test_without_one_there_is_none(self):
        student = random_student([29])
        atoms = copper().to_ase()
        atoms.calc = student.calculator()
        atoms.get_forces()
        assert "uncertainty" not in atoms.calc.results
        assert not atoms.calc.uncertain.any()
        with pytest.raises(InputError, match="predicts no uncertainty"):
            student.label([copper()], uncertainty=True)


class TestFile:
    def test_what_is_written_is_read(self, folder, tmp_path):
        known = load_student(folder).uncertainty
        save_uncertainty(known, tmp_path)
        again = read_uncertainty(tmp_path, 32)
        features = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
        forces = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
        expected = [each.expected_errors(features, forces, ALONE.means) for each in (again, known)]
        assert torch.equal(*expected)
        assert read_uncertainty(tmp_path / "elsewhere", 32) is None

    def test_a_damaged_one_is_refused(self, folder, tmp_path):
        (tmp_path / FILE).write_bytes((folder / FILE).read_bytes()[:100])
        with pytest.raises(InputError, match="damaged"):
            read_uncertainty(tmp_path, 32)

    def test_that_of_another_student_is_refused(self, folder):
        with pytest.raises(InputError, match="belongs to another student: it has 32 features, expected 16"):
            read_uncertainty(folder, 16)

    def test_that_of_another_student_of_its_size_is_refused(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "mixed")
        path = tmp_path / "mixed" / FILE
        save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
        with pytest.raises(InputError, match="the checksum differs"):
            load_student(tmp_path / "mixed")

    def test_a_missing_one_is_said(self, folder, tmp_path, caplog):
        shutil.copytree(folder, tmp_path / "short")
        (tmp_path / "short" / FILE).unlink()
        assert load_student(tmp_path / "short").uncertainty is None
        assert "the student gives no expected errors" in caplog.text

    def test_how_good_it_is_stands_in_the_students_config(self, folder):
        stated = load_student(folder).config["uncertainty"]
        assert stated["of"] == "valid"
        assert stated["threshold"] == pytest.approx(float(load_student(folder).uncertainty.threshold))


def test_auroc_counts_pairs():
    rng = np.random.default_rng(1)
    score, positive = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(pairs))
    assert auroc(score, np.ones(60, bool)) is None
