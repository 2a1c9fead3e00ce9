"""The range test: a rate from a curve, the same again, kept for a resumed run, and one that learns."""

import copy
import json

import numpy as np
import pytest
import torch

from potstill.config import parse_config
from potstill.core.errors import InputError, PotstillError
from potstill.dataset import Records
from potstill.train.data import LabelledStructures
from potstill.train.learning_rate import FILE, HIGHEST, LOWEST, find_learning_rate, known_rate, read_curve
from potstill.train.options import TrainConfig
from potstill.train.stage import initial_student, train_student
from training_kit import job_of

RATES = np.geomspace(LOWEST, HIGHEST, 200)


@pytest.fixture
def auto() -> TrainConfig:
    return TrainConfig(epochs=3, batch_structures=4, learning_rate="auto")


def test_the_middle_of_the_bottom_is_taken():
    decades = np.log10(RATES)
    valley = 0.3 + np.clip(-3.0 - decades, 0, None) + 4 * np.clip(decades + 2.0, 0, None)  # flat from 1e-3 to 1e-2
    assert read_curve(RATES, valley.tolist()).learning_rate == pytest.approx(10**-2.5, rel=0.15)
    noise = np.random.default_rng(0).normal(0, 0.1, len(RATES))
    assert read_curve(RATES, (valley * np.exp(noise)).tolist()).learning_rate == pytest.approx(10**-2.5, rel=0.5)


def test_losses_that_are_not_finite_end_the_curve():
    losses = [*np.geomspace(1.0, 0.1, 100), float("nan"), 1e-9]
    found = read_curve(RATES, losses)
    assert len(found.rates) == len(found.smoothed) == 100
    assert RATES[50] < found.learning_rate <= RATES[99]
    assert read_curve(RATES, [float("nan")]).learning_rate == LOWEST


def test_the_test_is_repeatable_and_leaves_the_student_alone(labelled, tiny, auto, tmp_path):
    records = Records.of(labelled)
    job = job_of(records, [], tiny, auto, tmp_path)
    student = initial_student(job)
    before = copy.deepcopy(student.state_dict())
    data = LabelledStructures(records, tiny.cutoff_angstrom)
    first, again = (find_learning_rate(student, auto, data, job.sampler(data.sizes)) for _ in range(2))
    assert first == again
    assert first.losses[0] == 1.0  # the untouched student against itself
    assert min(first.smoothed) < 0.7
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_a_found_rate_is_kept_and_trains_as_the_same_number_does(labelled, tiny, auto, tmp_path):
    records = Records.of(labelled)
    found = train_student(job_of(records, records, tiny, auto, tmp_path / "auto"))
    rate = json.loads((tmp_path / "auto" / FILE).read_text(encoding="utf-8"))["learning_rate"]
    fixed = auto.model_copy(update={"learning_rate": rate})
    given = train_student(job_of(records, records, tiny, fixed, tmp_path / "b"))
    assert not (tmp_path / "b" / FILE).exists()
    a, b = found.state_dict(), given.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_resumed_run_goes_on_with_the_rate_that_was_found(labelled, tiny, auto, tmp_path):
    records = Records.of(labelled)
    job = job_of(records, records, tiny, auto, tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"learning_rate": 3e-3, "made_from": job.made_from()}), encoding="utf-8")
    kept = train_student(job)
    fixed = auto.model_copy(update={"learning_rate": 3e-3})
    given = train_student(job_of(records, records, tiny, fixed, tmp_path / "b"))
    a, b = kept.state_dict(), given.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_rate_of_another_training_is_found_anew(labelled, tiny, auto, tmp_path):
    train_student(job_of(labelled, [], tiny, auto, tmp_path))
    kept = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    wider = tiny.model_copy(update={"hidden": 24})
    train_student(job_of(labelled, [], wider, auto, tmp_path))
    found = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert found["made_from"]["student"]["hidden"] == 24
    assert found["losses"] != kept["losses"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"learning_rate": "x"}', '{"learning_rate": -1}', None], ids=str)
def test_a_damaged_file_is_an_error_of_one_line_and_a_remedy(labelled, tiny, auto, tmp_path, text):
    if text is None:
        (tmp_path / FILE).mkdir()
    else:
        (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(
        PotstillError, match=rf"{FILE} is damaged \(.*\)\n  remove it to repeat the range test:  rm -r .*{FILE}"
    ):
        train_student(job_of(labelled, [], tiny, auto, tmp_path))


def test_a_rate_that_is_known(auto, tmp_path):
    assert known_rate(TrainConfig(learning_rate=5e-3), tmp_path) == 5e-3
    with pytest.raises(InputError, match=f"has no {FILE}"):
        known_rate(auto, tmp_path)


@pytest.mark.parametrize("value", ["automatic", 0, -1e-3, [], float("inf")])
def test_what_is_neither_a_rate_nor_auto_is_refused(value):
    sources = {"sources": [{"source": "benchmark", "count": 1}]}
    with pytest.raises(InputError, match=r"1 fault:\n  train\.learning_rate: found .*; it is a number above 0, or auto"):
        parse_config({"generate": sources, "train": {"learning_rate": value}})
