"""Training: it learns, it is repeatable, and a killed run ends with the weights of one that was not."""

import json
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.deploy import load_student
from potstill.student.files import FORMAT_VERSION
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture, StudentConfig
from potstill.testing import copper, rattled
from potstill.train import distributed, stage
from potstill.train.checkpoints import read_checkpoint
from potstill.train.data import LabelledStructures
from potstill.train.device_data import DeviceStructures
from potstill.train.graphs import GraphedDistillation
from potstill.train.job import TrainJob
from potstill.train.losses import mean_errors
from potstill.train.module import Distillation
from potstill.train.options import TrainConfig
from potstill.train.stage import train, train_student
from training_kit import TRAINING, begin_training, job_of


def same_weights(a: Student, b: Student) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def train_structures(
    training: list[Structure], watching: list[Structure], student: StudentConfig, config: TrainConfig, folder: Path, **more
) -> Student:
    return train_student(job_of(training, watching, student, config, folder), **more)


class StopError(Exception):
    """Stands for whatever stops a run."""


def stop_after(epoch: int):
    def report(done: int, _: dict[str, float]) -> None:
        if done == epoch:
            raise StopError

    return report


def test_training_is_repeatable(labelled, tiny, short, tmp_path):
    first = train_structures(labelled, labelled[:2], tiny, short, tmp_path / "a")
    again = train_structures(labelled, labelled[:2], tiny, short, tmp_path / "b")
    other = train_student(replace(job_of(labelled, labelled[:2], tiny, short, tmp_path / "c"), seed=2))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_watching_does_not_change_what_is_learnt(labelled, tiny, short, tmp_path):
    watched = train_structures(labelled, labelled[:2], tiny, short, tmp_path / "a")
    alone = train_structures(labelled, [], tiny, short, tmp_path / "b")
    assert same_weights(watched, alone)


@pytest.mark.parametrize("epoch", [1, 3])
def test_stopped_and_resumed_training_ends_with_the_same_weights(labelled, tiny, short, tmp_path, epoch):
    whole = train_structures(labelled, labelled[:2], tiny, short, tmp_path / "whole")
    with pytest.raises(StopError):
        train_structures(labelled, labelled[:2], tiny, short, tmp_path / "cut", on_epoch=stop_after(epoch))
    epochs = []
    resumed = train_structures(labelled, labelled[:2], tiny, short, tmp_path / "cut", on_epoch=lambda e, _: epochs.append(e))
    assert same_weights(whole, resumed)
    assert epochs == list(range(epoch + 1, short.epochs + 1))  # an epoch that was reported is not done again


def test_a_finished_training_is_not_done_again(labelled, tiny, short, tmp_path):
    whole = train_structures(labelled, [], tiny, short, tmp_path)
    epochs = []
    again = train_structures(labelled, [], tiny, short, tmp_path, on_epoch=lambda e, _: epochs.append(e))
    assert epochs == []
    assert same_weights(whole, again)


def test_ctrl_c_stays_what_it_is(labelled, tiny, short, tmp_path):
    def interrupt(_: int, __: dict[str, float]) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_structures(labelled, [], tiny, short, tmp_path, on_epoch=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


KILLED = TRAINING.replace(
    "def report(epoch, errors):",
    """
import os, signal
def report(epoch, errors):
    if epoch == 3:
        print("epoch", epoch, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
""",
)


@pytest.fixture
def dataset(labelled, tmp_path) -> Dataset:
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    splits = np.array([0] * (len(labelled) - 4) + [1, 1, 2, 2], np.uint8)
    merge([tmp_path / "part.h5"], tmp_path / "dataset.h5", attributes={"seed": 1}, splits=splits)
    return Dataset(tmp_path / "dataset.h5")


def test_kill_9_and_resume_ends_with_the_same_weights(dataset, tiny, short, tmp_path):
    killed = begin_training(dataset.path, tmp_path / "killed", tiny, short, script=KILLED)
    _, err = killed.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL, err
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    resumed = begin_training(dataset.path, tmp_path / "killed", tiny, short)
    out, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    assert out.split("\n")[:2] == ["epoch 4", ""]
    train(TrainJob.on(dataset, tiny, short, tmp_path / "whole", seed=1))
    a, b = (load_student(tmp_path / name).model for name in ("whole", "killed"))
    assert same_weights(a, b)


@pytest.mark.parametrize("written", [2, 7])
def test_killed_within_an_epoch_and_resumed_ends_with_the_same_weights(dataset, tiny, short, tmp_path, written):
    """Killed while a checkpoint is about to get its name: the one before is whole."""
    config = short.model_copy(update={"batch_structures": 2, "checkpoint_minutes": 0.0, "epochs": 3})
    killing = f"""
import os, signal, sys
renamed = 0
def watch(event, given):
    global renamed
    if event == "os.rename" and str(given[1]).endswith("last.ckpt"):
        renamed += 1
        if renamed == {written}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""
    killed = begin_training(dataset.path, tmp_path / "killed", tiny, config, script=killing + TRAINING)
    _, err = killed.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL, err
    resumed = begin_training(dataset.path, tmp_path / "killed", tiny, config)
    _, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    train(TrainJob.on(dataset, tiny, config, tmp_path / "whole", seed=1))
    a, b = (load_student(tmp_path / name).model for name in ("whole", "killed"))
    assert same_weights(a, b)


def test_train_writes_a_student_that_loads(dataset, tiny, short, tmp_path):
    folder = train(
        TrainJob.on(dataset, tiny, short, tmp_path / "student", seed=1), provenance={"teacher": {"name": "lennard-jones"}}
    )
    student = load_student(folder)
    assert student.config["epochs"] == short.epochs
    assert student.config["teacher"] == {"name": "lennard-jones"}
    assert set(student.elements) == {"H", "C", "O", "Na", "Cl", "Cu"}
    (labels,) = student.label([dataset[0]])
    assert np.isfinite(labels.energy)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["format_version"] == FORMAT_VERSION


def test_train_without_training_families_is_refused(labelled, tiny, short, tmp_path):
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    held_out = np.full(len(labelled), 2, np.uint8)
    merge([tmp_path / "part.h5"], tmp_path / "dataset.h5", attributes={}, splits=held_out)
    with pytest.raises(InputError, match="training part of the split is empty"):
        TrainJob.on(Dataset(tmp_path / "dataset.h5"), tiny, short, tmp_path / "student", seed=1)


ALONE = {"energy_weight": 0.0, "forces_weight": 0.0, "stress_weight": 0.0}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (ALONE, "the weights of all losses are 0"),
        ({**ALONE, "stress_weight": 1.0}, "the only losses with a weight: stress"),
        ({**ALONE, "forces_weight": 1.0, "element_weights": {"H": 0.0, "O": 0.0}}, "the only losses with a weight: forces"),
    ],
)
def test_a_loss_that_is_zero_for_everything_is_refused(labelled, tiny, short, tmp_path, weights, message):
    waters = [s for s in labelled if set(s.atomic_numbers) == {1, 8}]
    config = TrainConfig(**{**short.model_dump(), **weights})
    with pytest.raises(InputError, match=message):
        train_structures(waters, [], tiny, config, tmp_path)


def test_weights_of_zero_for_all_structures_are_refused(labelled, tiny, short, tmp_path):
    job = replace(job_of(labelled, [], tiny, short, tmp_path), weights=np.zeros(len(labelled)))
    with pytest.raises(InputError, match=r"train\.source_weights is 0 for all 12 structures"):
        train_student(job)


@pytest.mark.parametrize("weights", [{"late_weights": {"forces": 1.0}}, {"stress_weight": 1.0}, {"forces_weight": 1.0}])
def test_one_loss_is_enough(labelled, tiny, short, tmp_path, weights):
    config = TrainConfig(**{**short.model_dump(), **ALONE, "element_weights": {"H": 0.0}, **weights, "epochs": 1})
    train_structures(labelled, [], tiny, config, tmp_path)


def test_a_training_that_diverges_ends_with_its_epoch_and_rate(labelled, tiny, tmp_path):
    config = TrainConfig(epochs=40, batch_structures=4, learning_rate=1e12, warmup_fraction=0.0)
    reports = []
    with pytest.raises(
        PotstillError, match=r"diverged: epoch \d+ has .*learning rate of 1e\+12\n  lower train\.learning_rate"
    ):
        train_structures(labelled, labelled[:2], tiny, config, tmp_path, on_epoch=lambda _, r: reports.append(r))
    assert all(np.isfinite(report["loss"]) for report in reports)
    last = tmp_path / "checkpoints" / "last.ckpt"
    kept = read_checkpoint(last)["state_dict"] if last.exists() else {}
    assert all(bool(weight.isfinite().all()) for weight in kept.values())


def test_a_finished_training_without_numbers_is_no_student(labelled, tiny, short, tmp_path):
    """An earlier version went on to the end, and left such a checkpoint."""
    train_structures(labelled, [], tiny, short, tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    found = torch.load(last, weights_only=True)
    for weight in found["state_dict"].values():
        if weight.is_floating_point():
            weight.fill_(np.nan)
    torch.save(found, last)
    with pytest.raises(PotstillError, match=r"diverged: epoch 4 has weights that are no numbers"):
        train_structures(labelled, [], tiny, short, tmp_path)


def test_global_random_numbers_stay_as_they_are(labelled, tiny, short, tmp_path):
    torch.manual_seed(7)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train_structures(labelled, labelled[:2], tiny, short, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_a_few_structures_are_learnt(labelled, tiny, tmp_path):
    """Overfit: errors of forces, energy and stress fall far below where they started."""
    config = TrainConfig(epochs=150, batch_structures=12, learning_rate=2e-2, ema_decay=0.9)
    reports = []
    student = train_structures(labelled, [], tiny, config, tmp_path, on_epoch=lambda _, r: reports.append(r))
    assert reports[-1]["loss"] < 0.3 * reports[0]["loss"]
    batch = LabelledStructures(Records.of(labelled), tiny.cutoff_angstrom)[list(range(len(labelled)))]
    errors = mean_errors(student.predict(batch.inputs), batch)
    zero = batch.forces.norm(dim=1).mean()
    assert errors["forces"] < 0.3 * zero


def test_report_is_the_mean_over_the_epoch(labelled, tiny, tmp_path):
    """With a learning rate of next to nothing the mean over batches is the error of all structures together."""
    periodic = [s.with_(labels=s.labels) for s in labelled if s.pbc.all() and len(s) == 4]
    config = TrainConfig(epochs=1, batch_structures=1, learning_rate=1e-12, weight_decay=0)
    reports = []
    student = train_structures(periodic, [], tiny, config, tmp_path, on_epoch=lambda _, r: reports.append(r))
    batch = LabelledStructures(Records.of(periodic), tiny.cutoff_angstrom)[list(range(len(periodic)))]
    errors = mean_errors(student.predict(batch.inputs), batch)
    for name, error in errors.items():
        assert reports[0][f"train_{name}"] == pytest.approx(float(error), rel=1e-4), name


@pytest.mark.parametrize("graphs", [False, True])
def test_report_is_the_mean_over_the_epoch_after_a_stop_within_it(labelled, tiny, short, tmp_path, monkeypatch, graphs):
    if graphs:  # as on a GPU, without capturing them
        monkeypatch.setattr(
            stage, "device_structures", lambda *given: DeviceStructures(given[2], given[3], torch.device("cpu"))
        )
    kind = GraphedDistillation if graphs else Distillation
    config = short.model_copy(update={"batch_structures": 2, "checkpoint_minutes": 0.0, "epochs": 2})
    whole, resumed = [], []
    train_structures(labelled, [], tiny, config, tmp_path / "whole", on_epoch=lambda _, r: whole.append(r))
    step = kind.training_step

    def stopping(module, batch, batch_idx):
        if module.global_step == 3:
            raise StopError
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "training_step", stopping)
        with pytest.raises(StopError):
            train_structures(labelled, [], tiny, config, tmp_path / "cut")
    train_structures(labelled, [], tiny, config, tmp_path / "cut", on_epoch=lambda _, r: resumed.append(r))
    assert resumed == whole


def test_a_checkpoint_within_an_epoch_has_the_means_of_all_processes(tiny, monkeypatch):
    student = Student(StudentArchitecture(**tiny.model_dump(), atomic_numbers=(1, 8)))
    module, checkpoint = Distillation(student, TrainConfig(), total_steps=10), {}
    module._means.add({"loss": torch.tensor(3.0)}, 4)
    monkeypatch.setattr(distributed, "mean", lambda value: value / 2)
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    means, structures = module._means.taken()
    assert float(means["loss"]) == 1.5
    assert structures == 4


def test_a_checkpoint_of_an_earlier_version_has_no_means(labelled, tiny, short, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.delattr(Distillation, "on_save_checkpoint")
        with pytest.raises(StopError):
            train_structures(labelled, [], tiny, short, tmp_path / "cut", on_epoch=stop_after(1))
    resumed = train_structures(labelled, [], tiny, short, tmp_path / "cut")
    assert same_weights(resumed, train_structures(labelled, [], tiny, short, tmp_path / "whole"))


def test_watched_errors_are_those_of_the_averaged_student(labelled, tiny, short, tmp_path):
    reports = []
    student = train_structures(labelled, labelled[:4], tiny, short, tmp_path, on_epoch=lambda _, r: reports.append(r))
    batch = LabelledStructures(Records.of(labelled[:4]), tiny.cutoff_angstrom)[[0, 1, 2, 3]]
    errors = mean_errors(student.predict(batch.inputs), batch)
    assert reports[-1]["valid_forces"] == pytest.approx(float(errors["forces"]), rel=1e-4)


def test_mean_errors_of_exact_labels_are_zero_and_stress_counts_only_where_known(labelled, tiny, tmp_path):
    config = TrainConfig(epochs=1, batch_structures=4)
    student = train_structures(labelled, [], tiny, config, tmp_path)
    batch = LabelledStructures(Records.of(labelled[:4]), tiny.cutoff_angstrom)[[0, 1, 2, 3]]
    predicted = student.predict(batch.inputs)
    perfect = type(batch)(batch.inputs, predicted.energy, predicted.forces, predicted.stress, batch.has_stress)
    assert all(float(e) == 0 for e in mean_errors(predicted, perfect).values())
    unknown = type(batch)(
        batch.inputs, predicted.energy, predicted.forces, predicted.stress + 5.0, torch.zeros(4, dtype=bool)
    )
    assert float(mean_errors(predicted, unknown)["stress"]) == 0


def test_learning_rate_warms_up_and_decays(tiny):
    config = TrainConfig(epochs=10, warmup_fraction=0.1)
    student = Student(StudentArchitecture(**tiny.model_dump(), atomic_numbers=(1, 8)))
    module = Distillation(student, config, total_steps=100)
    rates = [module.rate_at(step) for step in range(100)]
    assert rates[0] < rates[5] < rates[9]
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.01


def test_training_does_not_change_the_structures(labelled, tiny, short, tmp_path):
    crystal = rattled(copper(), 5).with_(labels=labelled[0].labels)
    before = crystal.positions.copy()
    train_structures([crystal], [], tiny, short, tmp_path)
    assert np.array_equal(crystal.positions, before)
