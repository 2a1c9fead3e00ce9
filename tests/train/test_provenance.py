"""What a student was made from: it stands in its config, and no checkpoint of another training is resumed from."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError, PotstillError
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.testing import random_student
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.provenance import differences, made_from, records_digest, stated
from potstill.train.stage import train, train_student
from training_kit import begin_training, job_of


@pytest.fixture
def dataset(labelled, tmp_path) -> Dataset:
    return dataset_of(labelled, tmp_path)


def dataset_of(structures, folder) -> Dataset:
    folder.mkdir(exist_ok=True)
    write_part(folder / "part.h5", structures, labelled=True)
    splits = np.array([0] * (len(structures) - 4) + [1, 1, 2, 2], np.uint8)
    merge([folder / "part.h5"], folder / "dataset.h5", attributes={"seed": 1}, splits=splits)
    return Dataset(folder / "dataset.h5")


def test_it_stands_in_the_config_of_the_student(dataset, tiny, short, tmp_path):
    config = short.model_copy(update={"epochs": 1, "uncertainty": False})
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "uncertainty.safetensors").write_bytes(b"of the student before")
    train(TrainJob.on(dataset, tiny, config, tmp_path / "student", seed=1))
    found = stated(tmp_path / "student")
    assert found == made_from(dataset, tiny, config, seed=1)
    assert differences(found, made_from(dataset, tiny, config.model_copy(update={"processes": 4}), seed=1)) == []
    assert differences(found, made_from(dataset, tiny, config, seed=2)) == ["seed was 1, is 2"]
    assert not (tmp_path / "student" / "uncertainty.safetensors").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"made_from": 1}'])
def test_a_damaged_config_says_nothing(tmp_path, text):
    assert stated(tmp_path) is None
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert stated(tmp_path) is None


def test_other_labels_another_teacher_and_another_start_are_something_else(labelled, dataset, tiny, short, tmp_path):
    before = made_from(dataset, tiny, short, seed=1)
    assert before == made_from(dataset_of(labelled, tmp_path / "again"), tiny, short, seed=1)
    labels = labelled[0].labels
    moved = labelled[0].with_(labels=type(labels)(labels.energy + 1e-3, labels.forces, labels.stress))
    (phrase,) = differences(before, made_from(dataset_of([moved, *labelled[1:]], tmp_path / "b"), tiny, short, seed=1))
    assert phrase.startswith("dataset was")
    start = random_student([1, 8], backend="torch").model
    first = made_from(dataset, tiny, short, seed=1, start=start)
    assert first != before
    with torch.no_grad():
        start.last.bias += 1.0
    assert made_from(dataset, tiny, short, seed=1, start=start) != first


def test_records_in_memory_have_a_digest(labelled):
    records = Records.of(labelled)
    assert records_digest(records) == records_digest(Records.of(labelled))
    assert records_digest(records) != records_digest(Records.of(labelled[::-1]))
    assert records_digest(records) != records_digest(records, weights=np.ones(len(records)))


class StopError(Exception):
    """Stands for whatever stops a run."""


def stop(*_) -> None:
    raise StopError


@pytest.mark.parametrize("change", ["config", "data"])
def test_a_checkpoint_of_another_training_is_set_aside(labelled, tiny, tmp_path, caplog, change):
    config = TrainConfig(epochs=2, batch_structures=4, learning_rate=1e-2)
    with pytest.raises(StopError):
        train_student(job_of(labelled, [], tiny, config, tmp_path), on_epoch=stop)
    kept = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    other = config.model_copy(update={"weight_decay": 0.5}) if change == "config" else config
    data = labelled if change == "config" else labelled[1:]
    epochs: list[int] = []
    found = train_student(job_of(data, [], tiny, other, tmp_path), on_epoch=lambda epoch, _: epochs.append(epoch))
    expected = train_student(job_of(data, [], tiny, other, tmp_path / "fresh"))
    assert epochs == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    assert (tmp_path / "checkpoints" / "last.ckpt.old").read_bytes() == kept
    assert "was renamed to last.ckpt.old" in caplog.text
    assert ("train.weight_decay was 0.001, is 0.5" if change == "config" else "dataset was") in caplog.text


@pytest.mark.parametrize("damage", ["empty", "half", "folder", "text", "foreign"])
def test_a_damaged_checkpoint_is_an_error_of_one_line_and_a_remedy(labelled, tiny, short, tmp_path, damage):
    job = job_of(labelled, [], tiny, short, tmp_path)
    with pytest.raises(StopError):
        train_student(job, on_epoch=stop)
    last = job.last_checkpoint
    whole = last.read_bytes()
    last.unlink()
    if damage == "folder":
        last.mkdir()
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(2)}, last)
    else:
        last.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"no checkpoint at all"}[damage])
    with pytest.raises(PotstillError) as caught:
        train_student(job)
    first, remedy = str(caught.value).splitlines()
    assert str(last) in first
    assert remedy == f"  remove it to train from the start:  rm -r {last}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_its_code_and_it_resumes(dataset, tiny, tmp_path, number):
    """Lightning alone ends with exit code 0 after SIGTERM, as if all epochs were done."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the signal is ignored here, as under nohup")
    config = TrainConfig(epochs=80, batch_structures=2, learning_rate=1e-2, uncertainty=False)
    folder = tmp_path / "cut"
    process = begin_training(dataset.path, folder, tiny, config)
    deadline = time.monotonic() + 200
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode in (-number, 128 + number), err
    assert not (folder / "config.json").exists()
    train(TrainJob.on(dataset, tiny, config, folder, seed=1))
    train(TrainJob.on(dataset, tiny, config, tmp_path / "whole", seed=1))
    for name in ("weights.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_several_processes_need_a_file(labelled, tiny, short, tmp_path):
    job = job_of(labelled, [], tiny, short.model_copy(update={"processes": 2}), tmp_path)
    with pytest.raises(InputError, match="train from a dataset file only"):
        train(job)


def test_the_job_that_other_ranks_get_is_the_same(dataset, tiny, short, tmp_path):
    start = random_student([1, 6, 8, 11, 17, 29], backend="torch").model
    job = TrainJob.on(dataset, tiny, short, tmp_path / "student", seed=3, start=start)
    other = TrainJob.from_json(json.loads(json.dumps(job.for_other_ranks())))
    assert other.made_from() == job.made_from()
    assert other.folder == job.folder
