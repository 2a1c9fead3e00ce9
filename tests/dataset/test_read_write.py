"""What is written is what is read, and what is not right is refused."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import h5py
import numpy as np
import pytest

from potstill.core.errors import DatasetError, InputError
from potstill.core.types import Labels, Refused, Structure
from potstill.core.units import UNITS
from potstill.dataset import Dataset, merge, open_dataset, write_part
from potstill.dataset.schema import ALIGNMENT_BYTES, ARRAY_COLUMNS

ODD_METADATA = {
    "smiles": "C[C@@H](N)C(=O)O",
    "empty": "",
    "unicode": "Ångström µ 晶体 \N{SNOWMAN}",
    "backslash": 'a\\b "quoted"\n\ttab',
    "nested": {"list": [1, 2.5, None, True], "deep": {"": []}},
    "large": 2**53,
    "tiny": 1e-300,
}


def labels_for(n: int, rng: np.random.Generator, *, stress: bool) -> Labels:
    tensor = rng.normal(size=(3, 3))
    return Labels(float(rng.normal() * 1e4), rng.normal(size=(n, 3)), (tensor + tensor.T) / 2 if stress else None)


def make(n: int, cell, pbc, *, stress: bool, name: str, **fields) -> Structure:
    rng = np.random.default_rng(n)
    return Structure(
        rng.integers(1, 119, size=n),
        rng.normal(size=(n, 3)) * 20,
        cell,
        pbc,
        id=name,
        labels=labels_for(n, rng, stress=stress),
        **fields,
    )


@pytest.fixture
def zoo() -> list[Structure]:
    cube = np.eye(3) * 7.0
    triclinic = np.array([[5.1, 0, 0], [1.3, 6.2, 0], [-0.7, 1.9, 4.4]])
    every, slab, wire, none = (True, True, True), (True, True, False), (False, False, True), (False, False, False)
    return [
        make(1, cube, every, stress=True, name="one atom", source="s", family="f"),
        make(3, np.zeros((3, 3)), none, stress=False, name="molecule", source="m", family="H2O"),
        make(7, cube, slab, stress=False, name="slab", source="s", family="g"),
        make(2, cube, wire, stress=False, name="wire", source="s", family="g"),
        make(2000, cube * 5, every, stress=True, name="large", source="ü", family="Ω"),
        make(5, triclinic, every, stress=True, name="triclinic", generator_metadata=ODD_METADATA),
        make(4, triclinic[[1, 0, 2]], every, stress=True, name="left-handed"),
        make(6, cube, every, stress=False, name="no stress"),
        make(1, np.zeros((3, 3)), none, stress=False, name="lone"),
    ]


@pytest.fixture
def path(tmp_path: Path, zoo: list[Structure]) -> Path:
    refused = [Refused("too_close", 'atoms "1" und 2, Å', id="x-1", source="ü", stage="generate")]
    write_part(tmp_path / "a.h5", zoo[:4], refused, labelled=True)
    write_part(tmp_path / "b.h5", [], [], labelled=True)
    write_part(tmp_path / "c.h5", zoo[4:], [Refused("force_limit", id="x-2", stage="label")], labelled=True)
    target = tmp_path / "dataset.h5"
    parts = [tmp_path / f"{name}.h5" for name in "abc"]
    splits = np.arange(len(zoo)) % 3
    merge(parts, target, attributes={"teacher": {"name": "t"}, "note": "é"}, splits=splits)
    return target


def assert_same(read: Structure, meant: Structure) -> None:
    np.testing.assert_array_equal(read.atomic_numbers, meant.atomic_numbers)
    np.testing.assert_array_equal(read.positions, meant.positions.astype(np.float32))
    np.testing.assert_array_equal(read.cell, meant.cell)
    np.testing.assert_array_equal(read.pbc, meant.pbc)
    assert (read.id, read.source, read.family) == (meant.id, meant.source, meant.family)
    assert dict(read.generator_metadata) == dict(meant.generator_metadata)
    assert read.labels is not None
    assert meant.labels is not None
    assert read.labels.energy == meant.labels.energy
    np.testing.assert_array_equal(read.labels.forces, meant.labels.forces.astype(np.float32))
    assert (read.labels.stress is None) == (meant.labels.stress is None)
    if meant.labels.stress is not None:
        np.testing.assert_array_equal(read.labels.stress, meant.labels.stress.astype(np.float32))


class TestRoundTrip:
    def test_every_field_of_every_structure(self, path, zoo):
        dataset = open_dataset(path)
        assert len(dataset) == len(zoo)
        for read, meant in zip(dataset, zoo, strict=True):
            assert_same(read, meant)

    def test_random_access_equals_iteration(self, path, zoo):
        dataset = open_dataset(path)
        for k in (8, 0, 4, -1, 5):
            assert_same(dataset[k], zoo[k])
        assert [s.id for s in dataset[2:8:2]] == [s.id for s in zoo[2:8:2]]
        assert [s.id for s in dataset[::-1]] == [s.id for s in zoo[::-1]]
        with pytest.raises(IndexError):
            dataset[len(zoo)]

    def test_position_error_of_float32_is_as_stated(self, path, zoo):
        largest = max(np.abs(a.positions - b.positions).max() for a, b in zip(open_dataset(path), zoo, strict=True))
        assert 0 < largest < 1e-5

    def test_refusals_of_every_part_are_carried(self, path):
        first, second = open_dataset(path).refused
        assert first == Refused("too_close", 'atoms "1" und 2, Å', id="x-1", source="ü", stage="generate")
        assert (second.reason, second.stage) == ("force_limit", "label")

    def test_refusals_of_an_earlier_file_come_first(self, tmp_path, path, zoo):
        write_part(tmp_path / "later.h5", zoo[:1], [Refused("late")], labelled=True)
        merge([tmp_path / "later.h5"], tmp_path / "both.h5", attributes={}, refused_before=path)
        assert [r.reason for r in open_dataset(tmp_path / "both.h5").refused] == ["too_close", "force_limit", "late"]

    def test_attributes_and_splits(self, path, zoo):
        dataset = open_dataset(path)
        assert json.loads(dataset.attributes["teacher"]) == {"name": "t"}
        assert dataset.attributes["note"] == "é"
        parts = [dataset.split(name) for name in ("train", "valid", "test")]
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(zoo)))
        assert parts[1].tolist() == [1, 4, 7]

    def test_one_part_is_as_good_as_three(self, tmp_path, path, zoo):
        write_part(tmp_path / "all.h5", zoo, open_dataset(path).refused, labelled=True)
        merge([tmp_path / "all.h5"], tmp_path / "again.h5", attributes={}, splits=np.arange(len(zoo)) % 3)
        sums = [json.loads(open_dataset(p).attributes["checksums"]) for p in (path, tmp_path / "again.h5")]
        assert sums[0] == sums[1]

    def test_unlabelled(self, tmp_path, zoo):
        write_part(tmp_path / "part.h5", zoo)
        merge([tmp_path / "part.h5"], tmp_path / "all.h5", attributes={})
        dataset = open_dataset(tmp_path / "all.h5")
        assert not dataset.labelled
        assert dataset[2].labels is None
        with pytest.raises(DatasetError, match="has no atoms/forces"):
            dataset.column("atoms/forces")
        with pytest.raises(DatasetError, match="holds no split"):
            dataset.split("train")
        with pytest.raises(InputError, match="no split named 'dev'"):
            dataset.split("dev")

    def test_nothing_at_all(self, tmp_path):
        write_part(tmp_path / "part.h5", [], labelled=True)
        merge([tmp_path / "part.h5"], tmp_path / "all.h5", attributes={}, splits=np.zeros(0))
        dataset = open_dataset(tmp_path / "all.h5")
        assert len(dataset) == 0
        assert list(dataset) == []
        assert dataset.verify() == []
        assert dataset.split("train").tolist() == []


class TestLayout:
    def test_reading_with_plain_h5py(self, path, zoo):
        with h5py.File(path, "r") as file:
            ptr = file["structures/ptr"][:]
            assert ptr.dtype == np.int64
            assert file.attrs["schema_version"] == 1
            assert json.loads(file.attrs["units"]) == UNITS
            expected = {
                "atoms/atomic_numbers": ("uint8", (2029,)),
                "atoms/positions": ("float32", (2029, 3)),
                "atoms/forces": ("float32", (2029, 3)),
                "structures/cell": ("float64", (9, 3, 3)),
                "structures/pbc": ("bool", (9, 3)),
                "structures/energy": ("float64", (9,)),
                "structures/stress": ("float32", (9, 3, 3)),
                "structures/has_stress": ("bool", (9,)),
            }
            assert {name: (str(file[name].dtype), file[name].shape) for name in expected} == expected
            for k, structure in enumerate(zoo):
                rows = file["atoms/positions"][ptr[k] : ptr[k + 1]]
                np.testing.assert_array_equal(rows, structure.positions.astype(np.float32))
                assert file["structures/id"].asstr()[k] == structure.id
            assert json.loads(file["structures/generator_metadata"].asstr()[5]) == ODD_METADATA

    def test_arrays_are_contiguous_and_aligned(self, path):
        with h5py.File(path, "r") as file:
            for name in ("atoms/positions", "atoms/forces", "atoms/atomic_numbers", "structures/cell", "structures/energy"):
                assert file[name].chunks is None
                assert file[name].id.get_offset() % ALIGNMENT_BYTES == 0

    def test_arrays_of_the_reader_are_read_only_maps(self, path):
        forces = open_dataset(path).column("atoms/forces")
        base = forces
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(getattr(base, "obj", base), mmap.mmap)
        with pytest.raises(ValueError, match="read-only"):
            forces[0] = 0.0

    def test_a_changed_structure_does_not_change_the_file(self, path):
        dataset = open_dataset(path)
        dataset[0].positions[:] = 99.0
        dataset[0].labels.forces[:] = 99.0
        assert dataset.verify() == []

    def test_an_unknown_group_is_ignored(self, path, zoo):
        with h5py.File(path, "a") as file:
            file["uncertainty/forces"] = np.zeros(4)
        assert_same(open_dataset(path)[4], zoo[4])

    def test_chunked_by_another_program(self, path, zoo):
        with h5py.File(path, "a") as file:
            data = file["atoms/positions"][:]
            del file["atoms/positions"]
            file.create_dataset("atoms/positions", data=data, chunks=True, compression="gzip")
        assert_same(open_dataset(path)[4], zoo[4])
        assert open_dataset(path).verify() == []


def blocks_of(path: Path) -> list[str]:
    with h5py.File(path, "r") as file:
        return sorted(json.loads(file.attrs["checksums"]))


class TestDamage:
    def test_a_whole_file_has_no_faults(self, path):
        assert open_dataset(path).verify() == []
        assert len(blocks_of(path)) == 32

    def test_a_flipped_bit_is_found_in_every_array(self, path):
        with h5py.File(path, "r") as file:
            sizes = {n: (file[n].id.get_offset(), file[n].nbytes) for n in blocks_of(path) if file[n].dtype.kind != "O"}
        assert len(sizes) == 23
        whole = path.read_bytes()
        rng = np.random.default_rng(3)
        for name, (offset, size) in sizes.items():
            damaged = bytearray(whole)
            damaged[offset + int(rng.integers(size))] ^= 1
            path.write_bytes(damaged)
            try:
                faults = Dataset(path).verify()
            except DatasetError as error:  # offsets that fit no longer are refused at once
                faults = [str(error)]
            assert any(name.removeprefix("blocks/") in fault for fault in faults), name

    @pytest.mark.parametrize("name", [c.path for c in ARRAY_COLUMNS])
    def test_a_flipped_bit_is_found_by_reading_its_block_and_no_other(self, tmp_path, zoo, monkeypatch, name):
        for module in ("blocks", "merging", "read", "write"):
            monkeypatch.setattr(f"potstill.dataset.{module}.BLOCK_STRUCTURES", 2)
        write_part(tmp_path / "p.h5", zoo, labelled=True)
        merge([tmp_path / "p.h5"], tmp_path / "d.h5", attributes={})
        with h5py.File(tmp_path / "d.h5", "r") as file:
            offset, size, rows = file[name].id.get_offset(), file[name].nbytes, len(file[name])
            row = int(file["structures/ptr"][4]) if name.startswith("atoms") else 4
        damaged = bytearray((tmp_path / "d.h5").read_bytes())
        damaged[offset + row * size // rows] ^= 4  # of structure 4
        (tmp_path / "d.h5").write_bytes(damaged)
        dataset = Dataset(tmp_path / "d.h5")
        assert len(dataset.gather(np.array([0, 3, 6]))) == 3
        assert_same(dataset[1], zoo[1])
        for wrong in ([4], [5, 0], [6, 4]):
            with pytest.raises(DatasetError, match=f"{name} differs from its checksum in structures 4 to 5"):
                dataset.gather(np.array(wrong))
        with pytest.raises(DatasetError, match="verify"):
            dataset[5]

    def test_a_changed_text_is_found_by_reading_its_structure(self, path, zoo):
        with h5py.File(path, "a") as file:
            file["structures/family"][3] = "another"
        dataset = Dataset(path)
        dataset.gather(np.array([3]))  # needs no text
        with pytest.raises(DatasetError, match="structures/family differs"):
            dataset[3]

    def test_wrong_offsets_are_refused_at_once(self, path):
        with h5py.File(path, "a") as file:
            file["structures/ptr"][1] += 1
        with pytest.raises(DatasetError, match="structures/ptr differs from its checksum"):
            Dataset(path)

    @pytest.mark.parametrize("name", ["atoms/forces", "structures/ptr", "structures/cell", "structures/id"])
    def test_a_damaged_part_is_not_merged(self, tmp_path, zoo, name):
        write_part(tmp_path / "p.h5", zoo, labelled=True)
        with h5py.File(tmp_path / "p.h5", "a") as file:
            file[name][0] = "z" if name.endswith("id") else file[name][0] + 1
        with pytest.raises(DatasetError, match=r"p\.h5 is damaged(.|\n)*--resume"):
            merge([tmp_path / "p.h5"], tmp_path / "d.h5", attributes={})
        assert not (tmp_path / "d.h5").exists()

    def test_a_changed_letter_is_found_in_every_text(self, path):
        with h5py.File(path, "r") as file:
            texts = [name for name in blocks_of(path) if file[name].dtype.kind == "O"]
        assert len(texts) == 9
        whole = path.read_bytes()
        for name in texts:
            path.write_bytes(whole)
            with h5py.File(path, "a") as file:
                file[name][0] = file[name].asstr()[0] + "x"
            assert Dataset(path).verify() == [f"{name} differs from its checksum"]

    def test_letters_that_moved_over_a_border_are_found(self, tmp_path, zoo):
        write_part(tmp_path / "p.h5", [zoo[0].with_(id="ab"), zoo[1].with_(id="c")], labelled=True)
        merge([tmp_path / "p.h5"], tmp_path / "d.h5", attributes={})
        with h5py.File(tmp_path / "d.h5", "a") as file:
            file["structures/id"][:] = ["a", "bc"]
        assert Dataset(tmp_path / "d.h5").verify() == ["structures/id differs from its checksum"]

    def test_every_byte_of_text_matters(self, path):
        whole = path.read_bytes()
        at = whole.index("Ω".encode())
        damaged = bytearray(whole)
        damaged[at] = 0xFF  # no UTF-8 any more
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"dataset\.h5"):
            list(Dataset(path))

    @pytest.mark.parametrize(
        "name", ["atoms/forces", "structures/energy", "structures/stress", "refused/reason", "splits/part"]
    )
    def test_a_missing_block_is_found(self, path, name):
        with h5py.File(path, "a") as file:
            del file[name]
        try:
            faults = open_dataset(path).verify()
        except DatasetError as error:
            faults = [str(error)]
        assert any(name in fault for fault in faults)

    @pytest.mark.parametrize("name", ["structures/ptr", "structures/id", "atoms/positions", "atoms/atomic_numbers"])
    def test_without_what_it_cannot_do_without_a_file_is_refused(self, path, name):
        with h5py.File(path, "a") as file:
            del file[name]
        with pytest.raises(DatasetError, match=name):
            open_dataset(path)

    def test_a_block_that_was_smuggled_in_is_found(self, path):
        with h5py.File(path, "a") as file:
            file["uncertainty"] = np.zeros(3)
        assert open_dataset(path).verify() == ["uncertainty has no checksum"]

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
    def test_a_truncated_file_is_refused(self, path, share):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises((DatasetError, InputError), match=r"dataset\.h5"):
            open_dataset(path)

    def test_another_schema_version_is_refused(self, path):
        with h5py.File(path, "a") as file:
            file.attrs["schema_version"] = 2
        with pytest.raises(DatasetError, match="schema version 2"):
            open_dataset(path)

    def test_no_schema_version_is_refused(self, path):
        with h5py.File(path, "a") as file:
            del file.attrs["schema_version"]
        with pytest.raises(DatasetError, match="schema version"):
            open_dataset(path)

    @pytest.mark.parametrize("units", [{**UNITS, "energy": "kcal/mol"}, {}, {**UNITS, "stress": "GPa"}])
    def test_other_units_are_refused(self, path, units):
        with h5py.File(path, "a") as file:
            file.attrs["units"] = json.dumps(units)
        with pytest.raises(DatasetError, match="units"):
            open_dataset(path)

    def test_columns_of_other_lengths_are_refused(self, path):
        with h5py.File(path, "a") as file:
            forces = file["atoms/forces"][:-1]
            del file["atoms/forces"]
            file["atoms/forces"] = forces
        with pytest.raises(DatasetError, match="atoms/forces"):
            open_dataset(path)

    @pytest.mark.parametrize("ptr", [[0, 2, 2], [0, 3, 2], [1, 2, 3], [0, 1, 4]])
    def test_offsets_that_do_not_fit_are_refused(self, tmp_path, zoo, ptr):
        write_part(tmp_path / "p.h5", [zoo[0], zoo[3]], labelled=True)
        with h5py.File(tmp_path / "p.h5", "a") as file:
            file["structures/ptr"][:] = ptr
        with pytest.raises(DatasetError, match="ptr"):
            Dataset(tmp_path / "p.h5")

    def test_no_file_and_no_hdf5(self, tmp_path):
        with pytest.raises(InputError, match="no dataset at"):
            open_dataset(tmp_path / "nothing.h5")
        (tmp_path / "text.h5").write_text("energy 1.0")
        with pytest.raises(InputError, match="not an HDF5 file"):
            open_dataset(tmp_path / "text.h5")

    def test_an_hdf5_file_of_something_else_is_refused(self, tmp_path):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["x"] = np.zeros(3)
        with pytest.raises(DatasetError, match=r"other\.h5"):
            open_dataset(tmp_path / "other.h5")


class TestWriting:
    def test_labelled_parts_need_labels(self, tmp_path, zoo):
        with pytest.raises(ValueError, match="has no labels"):
            write_part(tmp_path / "p.h5", [zoo[0].with_(labels=None)], labelled=True)
        assert list(tmp_path.iterdir()) == []

    def test_labelled_and_unlabelled_parts_are_not_mixed(self, tmp_path, zoo):
        write_part(tmp_path / "a.h5", zoo[:2], labelled=True)
        write_part(tmp_path / "b.h5", zoo[2:4])
        with pytest.raises(DatasetError, match="do not mix"):
            merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5", attributes={})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5"]

    def test_the_same_structures_give_the_same_bytes(self, tmp_path, zoo):
        for name in ("a.h5", "b.h5"):
            write_part(tmp_path / name, zoo, labelled=True)
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


class TestGather:
    """Many structures as arrays, in one go."""

    @pytest.mark.parametrize("indices", [[0], [3, 1, 1, 7], list(range(9)), []])
    def test_gathers_what_indexing_gives(self, path, indices):
        dataset = open_dataset(path)
        found = dataset.gather(np.array(indices, dtype=int))
        assert len(found) == len(indices)
        for k, index in enumerate(indices):
            structure, atoms = dataset[index], slice(found.ptr[k], found.ptr[k + 1])
            assert np.array_equal(found.atomic_numbers[atoms], structure.atomic_numbers)
            assert np.array_equal(found.positions[atoms], structure.positions.astype(np.float32))
            assert np.array_equal(found.forces[atoms], structure.labels.forces.astype(np.float32))
            assert np.array_equal(found.cell[k], structure.cell)
            assert found.pbc[k].tolist() == structure.pbc.tolist()
            assert found.energy[k] == structure.labels.energy
            assert found.has_stress[k] == (structure.labels.stress is not None)

    @pytest.mark.parametrize("index", [-1, 10**6])
    def test_an_index_out_of_range_is_an_error(self, path, index):
        with pytest.raises(IndexError, match="from 0 to"):
            open_dataset(path).gather(np.array([0, index]))

    def test_what_is_gathered_is_a_copy(self, path):
        dataset = open_dataset(path)
        dataset.gather(np.array([0])).forces[:] = 7.0
        assert (dataset.column("atoms/forces")[: dataset.ptr[1]] != 7.0).any()


class TestChoosing:
    def test_lists_arrays_and_masks(self, path):
        dataset = open_dataset(path)
        ids = list(dataset.ids)
        assert [s.id for s in dataset[[3, -1, 0]]] == [ids[3], ids[-1], ids[0]]
        assert [s.id for s in dataset[np.array([2, 2])]] == [ids[2], ids[2]]
        mask = dataset.sources == dataset.sources[1]
        assert [s.id for s in dataset[mask]] == [i for i, chosen in zip(ids, mask, strict=True) if chosen]
        assert dataset[[]] == dataset[np.zeros(len(dataset), bool)] == []

    def test_wrong_ones_are_errors(self, path):
        dataset = open_dataset(path)
        with pytest.raises(IndexError, match="mask"):
            dataset[np.ones(len(dataset) + 1, bool)]
        with pytest.raises(IndexError):
            dataset[[len(dataset)]]
        with pytest.raises(TypeError):
            dataset[np.array([0.5])]


def test_words_of_a_plug_in_that_are_no_unicode_are_kept_as_far_as_they_are(tmp_path, zoo):
    write_part(tmp_path / "a.h5", zoo[:1], [Refused("odd", "half a letter \ud800 and\0zero")], labelled=True)
    with h5py.File(tmp_path / "a.h5") as file:
        assert [row.decode() for row in file["refused/detail"][:]] == ["half a letter ? and zero"]
