"""Differences between files are all found and measured, and equal files have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from potstill.core.errors import DatasetError
from potstill.core.types import Labels, Refused
from potstill.dataset import open_dataset
from potstill.dataset.diff import diff_datasets


@pytest.fixture
def differ(build, labelled, tmp_path):
    """The difference between the labelled structures and others, each with their own options."""
    splits = np.zeros(len(labelled), np.uint8)
    original = build(labelled, splits=splits).rename(tmp_path / "original.h5")

    def against(structures, **options):
        path = build(structures, **{"splits": splits[: len(structures)], **options})
        return diff_datasets(open_dataset(original), open_dataset(path))

    return against


def test_nothing(differ, labelled):
    found = differ(labelled)
    assert not found
    assert found.common == len(labelled)


def test_another_order_only(differ, labelled):
    found = differ(labelled[::-1])
    assert found.reordered
    assert (found.only_first, found.only_second, found.changes) == ((), (), ())


def test_ids(differ, labelled):
    found = differ([*labelled[1:], labelled[0].with_(id="new")])
    assert found.only_first == (labelled[0].id,)
    assert found.only_second == ("new",)
    assert found.changes == ()


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_largest_difference_of_each_field(differ, labelled, monkeypatch, block):
    monkeypatch.setattr("potstill.dataset.diff.BLOCK_STRUCTURES", block)
    changed = list(labelled)
    for k, gap in ((2, 0.5), (7, 2.0), (9, 1.0)):
        s = changed[k]
        forces = s.labels.forces.copy()
        forces[0, 1] += gap
        changed[k] = s.with_(labels=replace(s.labels, forces=forces, energy=s.labels.energy - 10 * gap))
    changed[4] = changed[4].with_(family="another")
    found = {c.field: c for c in differ(changed).changes}
    assert set(found) == {"atoms/forces", "structures/energy", "structures/family"}
    assert found["atoms/forces"].structures == 3
    assert found["atoms/forces"].largest == pytest.approx(2.0, abs=1e-5)
    assert (found["atoms/forces"].id, found["atoms/forces"].unit) == (labelled[7].id, "eV/Å")
    assert found["structures/energy"].largest == pytest.approx(20.0)
    assert found["structures/energy"].unit == "eV"
    assert (found["structures/family"].id, found["structures/family"].largest) == (labelled[4].id, None)


def test_number_of_atoms(differ, labelled):
    s = labelled[3]
    smaller = s.with_(
        atomic_numbers=s.atomic_numbers[1:],
        positions=s.positions[1:],
        labels=Labels(s.labels.energy + 3, s.labels.forces[1:]),
    )
    found = {c.field: c for c in differ([*labelled[:3], smaller, *labelled[4:]]).changes}
    assert not {"atoms/positions", "atoms/forces"} & set(found)
    assert (found["number of atoms"].structures, found["number of atoms"].largest) == (1, 1.0)
    assert (found["structures/energy"].largest, found["structures/energy"].id) == (pytest.approx(3.0), s.id)


def test_not_finite(differ, labelled):
    broken = labelled[0].with_(labels=replace(labelled[0].labels, energy=float("nan")))
    (change,) = differ([broken, *labelled[1:]]).changes
    assert (change.field, change.largest) == ("structures/energy", np.inf)


def test_nan_equals_nan(build, labelled):
    broken = labelled[0].with_(labels=replace(labelled[0].labels, energy=float("nan")))
    dataset = open_dataset(build([broken]))
    assert not diff_datasets(dataset, dataset)


def test_split_refusals_and_attributes(differ, labelled):
    splits = np.zeros(len(labelled), np.uint8)
    splits[5] = 2
    found = differ(labelled, splits=splits, refused=[Refused("odd")] * 2, teacher={"name": "another"}, note="new")
    assert [(c.field, c.id) for c in found.changes] == [("split", labelled[5].id)]
    assert (found.refused_only_first, found.refused_only_second) == (0, 2)
    assert set(found.attributes) == {"teacher", "note"}
    assert found.attributes["note"] == ("", "new")


def test_ids_that_occur_twice(differ, labelled):
    with pytest.raises(DatasetError, match="1 ids twice"):
        differ([labelled[0], *labelled[:-1]])
