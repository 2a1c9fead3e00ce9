"""Merging and choosing keep every byte of what they take, and refuse what does not fit together."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from potstill.core.errors import DatasetError, InputError
from potstill.core.types import Refused
from potstill.dataset import Dataset, merge, open_dataset, write_part
from potstill.dataset.combine import Choice, choose, merge_datasets, write_subset
from potstill.dataset.options import SplitConfig
from potstill.dataset.schema import ARRAY_COLUMNS, TEXT_COLUMNS

SPLIT = {"split": SplitConfig(valid_fraction=0.2, test_fraction=0.2), "seed": 1}


def rows_of(dataset: Dataset, indices) -> list[tuple]:
    """Everything that the file holds of some structures, byte by byte."""
    found = []
    for k in indices:
        atoms = slice(dataset.ptr[k], dataset.ptr[k + 1])
        row = [dataset.column(c.path)[atoms if c.per_atom else k].tobytes() for c in ARRAY_COLUMNS]
        found.append((*row, *(dataset.text(c.path)[k] for c in TEXT_COLUMNS)))
    return found


@pytest.fixture
def halves(build, labelled, tmp_path):
    """Two datasets of one teacher, with a refusal each."""
    paths = []
    for name, part in (("a", labelled[::2]), ("b", labelled[1::2])):
        path = build(part, refused=[Refused("odd", id=f"{name}-x", stage="label")])
        paths.append(path.rename(tmp_path / f"{name}.h5"))
    return paths


class TestMerge:
    def test_every_byte(self, halves, tmp_path, monkeypatch):
        monkeypatch.setattr("potstill.dataset.merging.BLOCK_STRUCTURES", 5)
        monkeypatch.setattr("potstill.dataset.write.BLOCK_STRUCTURES", 7)
        said = merge_datasets(halves, tmp_path / "c.h5", **SPLIT)
        a, b, c = (open_dataset(p) for p in (*halves, tmp_path / "c.h5"))
        assert rows_of(c, range(len(c))) == rows_of(a, range(len(a))) + rows_of(b, range(len(b)))
        assert [r.id for r in c.refused] == ["a-x", "b-x"]
        assert c.verify() == []
        assert c.attributes["teacher"] == a.attributes["teacher"]
        assert float(c.attributes["label_seconds"]) == 2.0
        assert "divided anew" in said

    def test_no_family_straddles(self, halves, tmp_path):
        merge_datasets(halves, tmp_path / "c.h5", **SPLIT)
        merged = open_dataset(tmp_path / "c.h5")
        sides = [set(merged.families[merged.split(part)]) for part in ("train", "valid", "test")]
        assert all(sides)
        assert sum(map(len, sides)) == len(set().union(*sides))

    def test_without_a_split_where_one_has_none(self, halves, labelled, tmp_path):
        other = [s.with_(id=f"other-{s.id}") for s in labelled[:3]]
        write_part(tmp_path / "p.h5", other, labelled=True)
        teacher = open_dataset(halves[0]).attributes["teacher"]
        merge([tmp_path / "p.h5"], tmp_path / "d.h5", attributes={"teacher": teacher})
        said = merge_datasets([halves[0], tmp_path / "d.h5"], tmp_path / "c.h5", **SPLIT)
        assert open_dataset(tmp_path / "c.h5").splits is None
        assert "without a split" in said

    def test_unlabelled(self, parents, tmp_path):
        for name, part in (("a", parents[:4]), ("b", parents[4:])):
            write_part(tmp_path / f"{name}.h5", part)
        merge_datasets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5", **SPLIT)
        assert open_dataset(tmp_path / "c.h5").ids.tolist() == [s.id for s in parents]

    def test_other_teachers(self, halves, build, labelled, tmp_path):
        other = build([s.with_(id=f"o-{s.id}") for s in labelled[:4]], teacher={"name": "another"})
        with pytest.raises(DatasetError, match=r"different teachers(.|\n)*another"):
            merge_datasets([halves[0], other], tmp_path / "c.h5", **SPLIT)
        assert not (tmp_path / "c.h5").exists()

    def test_labels_in_one_only(self, halves, parents, tmp_path):
        write_part(tmp_path / "p.h5", parents[:2])
        for order in ([halves[0], tmp_path / "p.h5"], [tmp_path / "p.h5", halves[0]]):
            with pytest.raises(DatasetError, match=r"a\.h5 has labels and .*p\.h5 has none"):
                merge_datasets(order, tmp_path / "c.h5", **SPLIT)

    def test_ids_that_occur_twice(self, halves, tmp_path):
        with pytest.raises(DatasetError, match="ids occur twice"):
            merge_datasets([halves[0], halves[1], halves[0]], tmp_path / "c.h5", **SPLIT)

    def test_the_remedy_for_ids_that_occur_twice_helps(self, labelled, build, tmp_path):
        """Ids are the name of the source, or its option ``label``, and a number, whatever the seed."""
        first = build(labelled[:4]).rename(tmp_path / "first.h5")
        second = build([s.with_(id=f"again-{s.id}") for s in labelled[:4]]).rename(tmp_path / "second.h5")
        with pytest.raises(DatasetError, match="--rename"):
            merge_datasets([first, first], tmp_path / "c.h5", **SPLIT)
        merge_datasets([first, second], tmp_path / "c.h5", **SPLIT)
        assert len(open_dataset(tmp_path / "c.h5")) == 8

    def test_renamed_files_keep_their_families_and_parents(self, labelled, build, tmp_path):
        child = labelled[1].with_(generator_metadata={"parent": labelled[0].id, "strain": 0.01})
        refused = Refused("too_close", "0.3 Å", id="metals-9", source="metals", stage="generate")
        path = build([labelled[0], child, *labelled[2:4]], refused=[refused])
        merge_datasets([path, path], tmp_path / "c.h5", **SPLIT, rename=True)
        both, one = open_dataset(tmp_path / "c.h5"), open_dataset(path)
        assert both.ids.tolist() == [f"{k}/{name}" for k in (1, 2) for name in one.ids]
        assert both.families.tolist() == 2 * one.families.tolist()
        assert both[5].generator_metadata == {"parent": f"2/{labelled[0].id}", "strain": 0.01}
        assert [r.id for r in both.refused] == ["1/metals-9", "2/metals-9"]
        assert np.array_equal(both[6].labels.forces, one[2].labels.forces)

    def test_other_units_or_schema(self, halves, tmp_path):
        for name, value in (("units", "{}"), ("schema_version", 99)):
            with h5py.File(halves[1], "r+") as file:
                file.attrs[name] = value
            with pytest.raises(DatasetError, match="units" if name == "units" else "schema version 99"):
                merge_datasets(halves, tmp_path / "c.h5", **SPLIT)

    def test_a_target_that_exists(self, halves):
        before = halves[1].read_bytes()
        with pytest.raises(InputError, match="exists already"):
            merge_datasets(halves, halves[1], **SPLIT)
        assert halves[1].read_bytes() == before


class TestSubset:
    @pytest.mark.parametrize(
        ("choice", "belongs"),
        [
            (Choice(), lambda s, side: True),
            (Choice(sources=("metals",)), lambda s, side: s.source == "metals"),
            (Choice(elements=frozenset({1, 6})), lambda s, side: set(s.atomic_numbers.tolist()) <= {1, 6}),
            (Choice(max_atoms=5), lambda s, side: len(s) <= 5),
            (Choice(part="test"), lambda s, side: side == 2),
            (Choice(part="train", max_atoms=4), lambda s, side: side == 0 and len(s) <= 4),
        ],
    )
    def test_conditions_and_every_byte(self, build, labelled, tmp_path, choice, belongs):
        splits = np.arange(len(labelled)) % 3
        whole = open_dataset(build(labelled, splits=splits))
        expected = [k for k, s in enumerate(labelled) if belongs(s, splits[k])]
        indices = choose(whole, choice)
        assert indices.tolist() == expected
        write_subset(whole, indices, tmp_path / "some.h5")
        some = open_dataset(tmp_path / "some.h5")
        assert rows_of(some, range(len(some))) == rows_of(whole, expected)
        assert some.splits.tolist() == splits[expected].tolist()
        assert some.verify() == []
        assert some.attributes["teacher"] == whole.attributes["teacher"]

    def test_first_and_sample(self, build, labelled):
        whole = open_dataset(build(labelled))
        assert choose(whole, Choice(first=3)).tolist() == [0, 1, 2]
        some = choose(whole, Choice(sample=5, seed=1))
        assert some.tolist() == sorted(set(some.tolist()))
        assert len(some) == 5
        assert choose(whole, Choice(sample=5, seed=1)).tolist() == some.tolist()
        assert choose(whole, Choice(sample=5, seed=2)).tolist() != some.tolist()
        assert len(choose(whole, Choice(sample=10**6))) == len(whole)

    def test_more_structures_than_a_block(self, build, labelled, tmp_path, monkeypatch):
        monkeypatch.setattr("potstill.dataset.merging.BLOCK_STRUCTURES", 4)
        whole = open_dataset(build(labelled))
        write_subset(whole, np.arange(1, len(whole)), tmp_path / "some.h5")
        assert rows_of(open_dataset(tmp_path / "some.h5"), range(len(whole) - 1)) == rows_of(whole, range(1, len(whole)))

    def test_unlabelled(self, parents, tmp_path):
        write_part(tmp_path / "p.h5", parents)
        write_subset(open_dataset(tmp_path / "p.h5"), np.array([1, 3]), tmp_path / "some.h5")
        some = open_dataset(tmp_path / "some.h5")
        assert some.ids.tolist() == [parents[1].id, parents[3].id]
        assert (some.labelled, some.splits) == (False, None)

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            (Choice(sources=("nothing",)), "no source nothing; it has metals, organic"),
            (Choice(max_atoms=0), "no structure"),
            (Choice(elements=frozenset({92})), "no structure"),
        ],
    )
    def test_nothing_left(self, build, labelled, choice, message):
        with pytest.raises(InputError, match=message):
            choose(open_dataset(build(labelled)), choice)

    def test_a_target_that_exists(self, build, labelled):
        path = build(labelled)
        with pytest.raises(InputError, match="exists already"):
            write_subset(open_dataset(path), np.array([0]), path)
