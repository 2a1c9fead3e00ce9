"""Early stop: the best student is kept, a killed training stops where it would have, and a patient one is as before."""

import json

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.train.data import LabelledStructures
from potstill.train.job import TrainJob
from potstill.train.losses import mean_errors
from potstill.train.options import TrainConfig
from potstill.train.stage import train, train_student
from training_kit import job_of


class StopError(Exception):
    """Stands for whatever stops a run."""


@pytest.fixture
def hasty() -> TrainConfig:
    """A rate far too high after the first epochs: the force error on what was watched goes up again."""
    return TrainConfig(
        epochs=40, batch_structures=3, learning_rate=0.1, warmup_fraction=0.5, ema_decay=0.5, patience_epochs=4
    )


def trained(labelled, tiny: StudentConfig, config: TrainConfig, folder, *, stop: int = -1) -> tuple[Student, list[dict]]:
    reports: list[dict] = []

    def report(epoch: int, errors: dict[str, float]) -> None:
        reports.append({"epoch": epoch, **errors})
        if epoch == stop:
            raise StopError

    try:
        student = train_student(job_of(labelled[4:], labelled[:4], tiny, config, folder), on_epoch=report)
    except StopError:
        return None, reports
    return student, reports


def same(a: Student, b: Student) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return all(torch.equal(x[name], y[name]) for name in x)


def test_the_best_student_is_kept_and_the_training_ends(labelled, tiny, hasty, tmp_path):
    student, reports = trained(labelled, tiny, hasty, tmp_path)
    errors = [r["valid_forces"] for r in reports]
    best = int(np.argmin(errors)) + 1
    assert 1 < best < len(reports) < hasty.epochs
    assert reports[-1]["stopped_early"] == 1
    assert [r["stopped_early"] for r in reports[:-1]] == [0] * (len(reports) - 1)
    assert reports[-1]["best_epoch"] == best == len(reports) - hasty.patience_epochs
    assert reports[-1]["best_valid_forces"] == min(errors)
    batch = LabelledStructures(Records.of(labelled[:4]), tiny.cutoff_angstrom)[[0, 1, 2, 3]]
    found = mean_errors(student.predict(batch.inputs), batch)
    assert float(found["forces"]) == pytest.approx(min(errors), rel=1e-4)


def test_stopped_and_resumed_anywhere_it_ends_with_the_same_student(labelled, tiny, hasty, tmp_path):
    whole, reports = trained(labelled, tiny, hasty, tmp_path / "whole")
    for epoch in sorted({1, reports[-1]["best_epoch"], reports[-1]["best_epoch"] + 2, len(reports)}):
        folder = tmp_path / f"cut-{epoch}"
        _, before = trained(labelled, tiny, hasty, folder, stop=epoch)
        resumed, after = trained(labelled, tiny, hasty, folder)
        assert before + after == reports
        assert same(whole, resumed)


def test_a_training_that_gets_better_is_not_cut_short(labelled, tiny, short, tmp_path):
    slow = short.model_copy(update={"learning_rate": 1e-3, "ema_decay": 0.5})
    patient, reports = trained(labelled, tiny, slow.model_copy(update={"patience_epochs": 4}), tmp_path / "a")
    plain, others = trained(labelled, tiny, slow, tmp_path / "b")
    assert [r["train_forces"] for r in reports] == [r["train_forces"] for r in others]
    assert "best_epoch" not in others[-1]
    assert reports[-1]["best_epoch"] == short.epochs  # the last is the best here
    assert same(patient, plain)


def test_patience_needs_something_to_watch_and_is_told_of(labelled, tiny, hasty, tmp_path):
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    for name, last in (("watched", 1), ("alone", 0)):
        splits = np.array([0] * (len(labelled) - 3) + [last] * 3, np.uint8)
        merge([tmp_path / "part.h5"], tmp_path / f"{name}.h5", attributes={"seed": 1}, splits=splits)
    with pytest.raises(InputError, match=r"train\.patience_epochs needs families in 'valid'"):
        TrainJob.on(Dataset(tmp_path / "alone.h5"), tiny, hasty, tmp_path / "alone", seed=1)
    train(TrainJob.on(Dataset(tmp_path / "watched.h5"), tiny, hasty, tmp_path / "student", seed=1))
    told = json.loads((tmp_path / "student" / "config.json").read_text(encoding="utf-8"))
    assert told["epochs"] == told["patience"]["best_epoch"] + hasty.patience_epochs
