"""What is stored beside the labels is right, for every structure or for none, and survives on its way through the files."""

from __future__ import annotations

import json
from itertools import pairwise

import h5py
import numpy as np
import pytest

from potstill.config import parse_config
from potstill.core.errors import DatasetError, InputError
from potstill.core.types import Labels, Refused
from potstill.dataset import Dataset, merge, open_dataset, write_part
from potstill.dataset.combine import Choice, choose, write_subset
from potstill.dataset.options import SplitConfig
from potstill.label.options import LabelConfig
from potstill.label.stage import assemble, label
from potstill.teacher.classical import EMT, LennardJones
from potstill.teacher.extras import add_extras, direction_of
from potstill.testing import copper, rattled, water

LJ = LennardJones(sigma_angstrom=0.9)
OTHER = LennardJones(sigma_angstrom=0.95)
EVERY = ("hessian_vector_products", "force_disagreement")


def made(structures, folder, path, workers=1) -> Dataset:
    config = LabelConfig(teacher=LJ, extra=EVERY, committee=(OTHER,), structures_per_task=10)
    parts = label(config, structures, folder, workers=workers)
    assemble(parts, structures, path, split=SplitConfig(), seed=1, attributes={})
    return open_dataset(path)


@pytest.fixture
def dataset(structures, tmp_path) -> Dataset:
    return made(structures, tmp_path / "label", tmp_path / "d.h5")


def test_products_are_those_of_the_hessian():
    (structure,) = (rattled(copper(), 3).with_(id="x"),)
    teacher = LJ.load()
    (found,) = add_extras(["hessian_vector_products"], teacher, [], [structure], teacher.label([structure]))
    n, h = 3 * len(structure), 1e-4
    hessian = np.zeros((n, n))
    for k in range(n):
        step = np.zeros(n)
        step[k] = h
        sides = [structure.with_(positions=structure.positions + s * step.reshape(-1, 3)) for s in (1, -1)]
        ahead, behind = teacher.label(sides)
        hessian[:, k] = (behind.forces - ahead.forces).ravel() / (2 * h)
    v = found.extra["hessian_directions"]
    np.testing.assert_allclose(found.extra["hessian_products"].ravel(), hessian @ v.ravel(), rtol=2e-3, atol=2e-3)
    assert np.sqrt((v**2).mean()) == pytest.approx(1.0)


def test_directions_follow_from_the_id_alone():
    a, b = water().with_(id="a"), water().with_(id="b")
    assert np.array_equal(direction_of(a), direction_of(rattled(a, 1).with_(id="a")))
    assert not np.allclose(direction_of(a), direction_of(b))


def test_disagreement_is_the_spread_of_the_forces():
    structure = rattled(copper(), 3)
    teachers = [LJ.load(), OTHER.load(), EMT().load()]
    forces = np.stack([t.label([structure])[0].forces for t in teachers])
    answers = teachers[0].label([structure])
    (found,) = add_extras(["force_disagreement"], teachers[0], teachers[1:], [structure], answers)
    expected = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
    np.testing.assert_allclose(found.extra["force_disagreement"], expected)
    (alone,) = add_extras(["force_disagreement"], teachers[0], teachers[:1], [structure], answers)
    assert not alone.extra["force_disagreement"].any()


def test_what_the_committee_refuses_is_refused():
    iron = rattled(copper(), 1).with_(atomic_numbers=[26] * len(copper()))
    teacher = LJ.load()
    (found,) = add_extras(["force_disagreement"], teacher, [EMT().load()], [iron], teacher.label([iron]))
    assert isinstance(found, Refused)
    assert found.reason == "committee_unsupported_element"
    assert "Fe" in found.detail


@pytest.mark.parametrize("name", ["local_energies", "node_embeddings"])
def test_what_the_teacher_does_not_give_is_a_refusal(name):
    teacher = LJ.load()
    (found,) = add_extras([name], teacher, [], [water()], teacher.label([water()]))
    assert found.reason == f"no_{name}"


def test_nothing_is_kept_that_was_not_asked_for():
    labels = Labels(0.0, np.zeros((3, 3)), None, {"local_energies": np.zeros(3), "node_embeddings": np.zeros((3, 8))})
    (kept,) = add_extras(["local_energies"], LJ.load(), [], [water()], [labels])
    (left,) = add_extras([], LJ.load(), [], [water()], [labels])
    assert (list(kept.extra), list(left.extra)) == (["local_energies"], [])


class TestFile:
    def test_columns_with_units_and_checksums(self, dataset):
        names = ["force_disagreement", "hessian_directions", "hessian_products"]
        assert [c.path for c in dataset.extra] == [f"extra/{name}" for name in names]
        assert dataset.verify() == []
        with h5py.File(dataset.path, "r") as file:
            assert file["extra/hessian_products"].attrs["unit"] == "eV/Å^2"
            assert file["extra/hessian_products"].shape == (int(dataset.ptr[-1]), 3)
            assert len(file["blocks/extra/force_disagreement"]) == 1
        assert json.loads(dataset.attributes["teacher"])["name"] == "lennard-jones"

    def test_the_same_from_two_workers(self, dataset, structures, tmp_path):
        again = made(structures, tmp_path / "two", tmp_path / "again.h5", workers=2)
        assert again.attributes["checksums"] == dataset.attributes["checksums"]

    def test_structures_and_records_have_them(self, dataset):
        records = dataset.gather(np.array([4, 0, 7]))
        for place, k in enumerate((4, 0, 7)):
            atoms = slice(*records.ptr[[place, place + 1]])
            for name, rows in dataset[k].labels.extra.items():
                np.testing.assert_array_equal(records.extra[name][atoms], rows.astype(np.float32))
        assert set(records.gather(np.array([1])).extra) == set(records.extra)

    def test_a_changed_byte_is_found(self, dataset):
        with h5py.File(dataset.path, "r+") as file:
            file["extra/hessian_products"][0, 0] += 1
        with pytest.raises(DatasetError, match="extra/hessian_products differs"):
            Dataset(dataset.path)[0]

    def test_parts_with_and_without_are_not_mixed(self, tmp_path, labelled):
        extra = {"local_energies": np.zeros(len(labelled[0]))}
        known = labelled[0].labels
        more = labelled[0].with_(labels=Labels(known.energy, known.forces, known.stress, extra))
        write_part(tmp_path / "a.h5", [more], labelled=True)
        write_part(tmp_path / "b.h5", labelled[1:3], labelled=True)
        write_part(tmp_path / "none.h5", [], labelled=True)
        with pytest.raises(DatasetError, match="extra/local_energies beside the labels, but"):
            merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5", attributes={})
        merge([tmp_path / "none.h5", tmp_path / "a.h5"], tmp_path / "d.h5", attributes={})
        assert list(open_dataset(tmp_path / "d.h5")[0].labels.extra) == ["local_energies"]
        with pytest.raises(ValueError, match="has no local_energies for each of its"):
            write_part(tmp_path / "e.h5", [more, labelled[1]], labelled=True)

    def test_embeddings_are_rows_of_numbers_for_each_atom(self, tmp_path, labelled):
        rng = np.random.default_rng(5)
        rows = [rng.normal(size=(len(s), 16)).astype(np.float32) for s in labelled]
        more = [
            s.with_(labels=Labels(s.labels.energy, s.labels.forces, s.labels.stress, {"node_embeddings": found}))
            for s, found in zip(labelled, rows, strict=True)
        ]
        write_part(tmp_path / "a.h5", more, labelled=True)
        merge([tmp_path / "a.h5"], tmp_path / "b.h5", attributes={})
        with h5py.File(tmp_path / "b.h5", "r") as file:
            column = file["extra/node_embeddings"]
            assert (column.dtype, column.attrs["unit"]) == (np.float32, "1")
            assert np.array_equal(column[:], np.concatenate(rows))
        stored = open_dataset(tmp_path / "b.h5")
        assert stored.verify() == []
        assert np.array_equal(stored[7].labels.extra["node_embeddings"], rows[7])

    def test_a_subset_keeps_them(self, dataset, tmp_path):
        write_subset(dataset, choose(dataset, Choice(first=3)), tmp_path / "s.h5")
        subset = open_dataset(tmp_path / "s.h5")
        assert subset.verify() == []
        for name in ("hessian_products", "force_disagreement"):
            for a, b in zip(subset, dataset, strict=False):
                np.testing.assert_array_equal(a.labels.extra[name], b.labels.extra[name])


@pytest.mark.parametrize("options", [{"extra": ["force_disagreement"]}, {"committee": [{"name": "emt"}]}])
def test_a_committee_and_its_use_belong_together(options):
    generate = {"sources": [{"source": "benchmark", "count": 1}]}
    with pytest.raises(InputError, match="needs the extra 'force_disagreement' and vice versa"):
        parse_config({"generate": generate, "label": options})


def test_no_structure_is_done_twice(dataset):
    assert len(set(dataset.ids)) == len(dataset) == 36
    assert all(b > a for a, b in pairwise(dataset.ptr))
