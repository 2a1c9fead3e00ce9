"""Stored figures are judged again for the dataset and the student that they were made from, and for no others."""

import pytest
import torch

from potstill.core.errors import InputError
from potstill.dataset import open_dataset
from potstill.evaluate.made_from import made_from, refuse_others, weights_checksum
from potstill.evaluate.options import EvaluateConfig
from potstill.testing import random_student


def test_another_student_or_dataset_is_refused(build, labelled, lj):
    student, dataset = random_student([1, 6]), open_dataset(build(labelled))
    stored = {"made_from": made_from(student, dataset, EvaluateConfig(), lj)}
    assert stored["made_from"]["teacher"] == dict(lj.fingerprint)
    refuse_others(stored, student, dataset)
    with torch.no_grad():
        next(student.model.parameters()).add_(1e-3)
    with pytest.raises(InputError, match="made from another student than"):
        refuse_others(stored, student, dataset)
    with pytest.raises(InputError, match="made from another dataset and another student than"):
        refuse_others(stored, student, open_dataset(build(labelled[1:])))
    refuse_others({}, student, dataset)  # of a version that did not store it


def test_the_same_weights_have_the_same_checksum():
    one, other = random_student([1, 6]), random_student([1, 6])
    assert weights_checksum(one) == weights_checksum(other)


def test_other_limits_are_another_section(build, labelled):
    student, dataset = random_student([1, 6]), open_dataset(build(labelled))
    one, other = (made_from(student, dataset, EvaluateConfig(nve_ps=x), None) for x in (1.0, 2.0))
    assert (one["dataset"], one["student"]) == (other["dataset"], other["student"])
    assert one["section"] != other["section"]
