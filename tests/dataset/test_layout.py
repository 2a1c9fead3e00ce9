"""A file that another program wrote or edited: columns that mean something else are refused, unknown ones are named."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from potstill.core.errors import DatasetError
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, layout, merge, open_dataset, write_part
from potstill.dataset.combine import merge_datasets
from potstill.dataset.convert import convert
from potstill.dataset.options import SplitConfig
from potstill.stats import collect


def structure(k: int) -> Structure:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.75 + 0.01 * k]])
    return Structure(
        np.array([1, 1]),
        positions,
        np.eye(3) * 6.0,
        np.ones(3, bool),
        id=f"s-{k}",
        source="mine",
        family=f"f-{k}",
        labels=Labels(-6.0 - k, np.zeros((2, 3)), np.zeros((3, 3))),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout")
    write_part(folder / "part.h5", [structure(k) for k in range(4)], labelled=True)
    attributes = {"teacher": {"name": "given", "weights": "PBE"}, "label_seconds": 1.0, "workers": 1}
    merge([folder / "part.h5"], folder / "whole.h5", attributes=attributes, splits=np.array([0, 0, 1, 2]))
    return folder / "whole.h5"


@pytest.fixture
def edited(whole, tmp_path):
    """``edited(edit)``: a copy without checksums, changed by a function of the open file."""

    def make(edit):
        path = tmp_path / "edited.h5"
        shutil.copyfile(whole, path)
        with h5py.File(path, "r+") as file:
            del file["blocks"], file.attrs["checksums"]
            edit(file)
        return path

    return make


def put(name, change):
    def edit(file):
        rows = change(file[name][:])
        del file[name]
        file[name] = rows

    return edit


def add(name, rows):
    return lambda file: file.__setitem__(name, rows)


def state(name, key, value):
    return lambda file: (file[name] if name else file).attrs.__setitem__(key, value)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            put("structures/stress", lambda x: x.reshape(4, 9)[:, :6]),
            r"has shape \(4, 6\), expected \(4, 3, 3\)",
        ),
        (put("structures/cell", lambda x: x.reshape(4, 9)), r"structures/cell has shape \(4, 9\)"),
        (put("structures/pbc", lambda x: x[:, 0]), r"structures/pbc has shape \(4,\)"),
        (put("structures/pbc", lambda x: x.astype(np.uint8)), "structures/pbc is uint8 .*expected bool"),
        (put("structures/energy", lambda x: x[:, None]), "structures/energy has shape"),
        (put("structures/energy", lambda x: x.astype(int)), "structures/energy is int64 .*expected float64"),
        (put("atoms/positions", np.ravel), "atoms/positions has shape"),
        (put("atoms/atomic_numbers", lambda x: x + 0.5), "atoms/atomic_numbers is float"),
        (put("structures/ptr", lambda x: x.astype(float)), "structures/ptr is float64"),
        (put("splits/part", lambda x: x[:2]), r"splits/part is .*expected uint8 of shape \(4,\)"),
        (put("splits/part", lambda x: x + 2), "splits/part puts 2 structures into no part"),
        (state("structures/energy", "unit", "Hartree"), "states the unit 'Hartree', expected eV"),
        (state("atoms/positions", "Units", "bohr"), "states the unit 'bohr', expected Å"),
        (state("atoms/forces", "units", b"kcal/mol/A"), "states the unit 'kcal/mol/A', expected eV/Å"),
        (state("", "teacher", "PBE"), "attribute 'teacher' is 'PBE', expected a JSON object"),
        (state("", "label_seconds", "6 s"), "attribute 'label_seconds' is '6 s', expected a number"),
        (state("", "units", "eV"), "states units eV, expected"),
        (state("", "schema_version", "1"), "schema version '1', this potstill reads 1"),
        (add("structures/charge", np.array([0, 0, 1, 0])), "structure s-2 is charged by structures/charge"),
        (add("structures/total_charge", np.array([0, 0, 0, -1.0])), "structure s-3 is charged"),
        (add("structures/multiplicity", np.array([1, 3, 1, 1])), "structure s-1 is radical by structures/multiplicity"),
        (add("atoms/charges", np.full(8, 0.5)), "structure s-0 is charged by atoms/charges"),
        (add("extra/partial_charges", np.full(8, 0.5, "f4")), "structure s-0 is charged by extra/partial_charges"),
        (state("", "charge", 1), "structure s-0 is charged by charge"),
    ],
)
def test_what_means_something_else_is_refused_by_name(edited, edit, said):
    with pytest.raises(DatasetError, match=said):
        Dataset(edited(edit))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (add("atoms/magmom", np.ones(8)), "atoms/magmom"),
        (add("structures/weight", np.ones(4)), "structures/weight"),
        (add("structures/charge", np.zeros(4)), "structures/charge"),
        (add("extra/bader", np.ones(8, "f4")), "extra/bader"),
        (add("mine/notes", np.ones(3)), "mine"),
        (add("loose", np.ones(3)), "loose"),
        (state("", "functional", "PBE"), "attribute functional"),
        (state("structures/energy", "scale_factor", 27.2), "structures/energy.scale_factor"),
    ],
)
def test_what_schema_1_does_not_know_is_named_once(edited, caplog, edit, named):
    path = edited(edit)
    for _ in range(2):
        Dataset(path)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: ignored, for schema 1 does not know it: {named}"]


@pytest.mark.parametrize(
    "edit",
    [
        put("atoms/positions", lambda x: x.astype(np.float64)),
        put("atoms/forces", lambda x: x.astype(">f4")),
        put("structures/ptr", lambda x: x.astype(np.int32)),
        put("atoms/atomic_numbers", lambda x: x.astype(np.int64)),
        state("structures/energy", "unit", "eV"),
        state("atoms/forces", "units", "eV/Angstrom"),
        state("structures/energy", "CLASS", "CARRAY"),
        lambda file: None,
    ],
)
def test_other_widths_and_our_units_are_read_without_a_remark(edited, caplog, edit):
    assert len(list(Dataset(edited(edit)))) == 4
    assert caplog.records == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda file: file["atoms/atomic_numbers"].__setitem__(5, 119), "structure s-2 has the atomic number 119"),
        (lambda file: file["atoms/atomic_numbers"].__setitem__(0, 0), "structure s-0 has the atomic number 0"),
        (lambda file: file["structures/cell"].__setitem__(3, 0.0), "structure s-3 is periodic along lattice vectors"),
        (lambda file: file["structures/cell"].__setitem__(1, 1.0), "structure s-1 is periodic along lattice vectors"),
    ],
)
def test_impossible_structures_are_named_by_each_way_of_reading(edited, edit, said):
    path = edited(edit)
    for read in (list, lambda data: data.gather(np.arange(4)), collect):
        with pytest.raises(DatasetError, match=said):
            read(Dataset(path))


def test_metadata_that_are_no_json_name_the_structure(edited):
    path = edited(lambda file: file["structures/generator_metadata"].__setitem__(2, "seed 3"))
    with pytest.raises(DatasetError, match="generator_metadata of structure s-2 are 'seed 3'"):
        Dataset(path)[2]


def test_a_file_without_checksums_says_how_to_write_them(edited):
    path = edited(lambda file: None)
    assert Dataset(path).verify() == [f"it states no checksums; write them:  potstill dataset subset {path} NEW.h5"]


def shards(folder, *, family="f-0", parts=((0, 0), (0, 1)), edit=lambda file: None):
    folder.mkdir()
    for k, split in enumerate(parts):
        some = [structure(2 * k), structure(2 * k + 1).with_(family=family)]
        write_part(folder.parent / "part.h5", some, labelled=True)
        merge([folder.parent / "part.h5"], folder / f"{k}.h5", attributes={}, splits=np.array(split))
        (folder.parent / "part.h5").unlink()
    with h5py.File(folder / "1.h5", "r+") as file:
        edit(file)
    return folder


def test_a_family_in_two_parts_of_two_files_is_refused(tmp_path):
    data = open_dataset(shards(tmp_path / "shards"))
    with pytest.raises(DatasetError, match=r"the family 'f-0' is in train of .*0\.h5 and in valid of .*1\.h5"):
        data.split("train")
    assert len(open_dataset(shards(tmp_path / "good", parts=((0, 0), (0, 0)))).split("train")) == 4


def test_files_with_other_further_columns_are_refused(tmp_path):
    folder = shards(tmp_path / "shards", edit=add("extra/local_energies", np.ones(4, "f4")))
    with pytest.raises(DatasetError, match=r"0\.h5 has nothing and .*1\.h5 has extra/local_energies"):
        open_dataset(folder)


def test_a_remark_names_few_of_many(edited, caplog):
    path = edited(lambda file: [file.attrs.__setitem__(f"a{k:02d}", 1) for k in range(30)])
    Dataset(path)
    assert caplog.text.count("attribute") == layout.NAMED
    assert "and 22 more" in caplog.text


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda file: file.__delitem__("blocks"), "blocks/atoms/atomic_numbers is missing"),
        (lambda file: file.__delitem__("splits"), "splits/part is missing"),
        (lambda file: file["splits/part"].__setitem__(0, 2), "splits/part differs from its checksum"),
    ],
)
def test_what_has_a_checksum_is_neither_removed_nor_moved_to_another_part(whole, tmp_path, edit, said):
    shutil.copyfile(whole, path := tmp_path / "copy.h5")
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(DatasetError, match=f"damaged or was edited: {said}"):
        Dataset(path)


@pytest.mark.parametrize(("method", "told"), [("", True), ("PBE", False)])
def test_a_merge_of_labels_of_unknown_methods_says_so(tmp_path, caplog, method, told):
    teacher = {"name": "given", "version": "", "weights": method, "dtype": "float64"}
    for k in range(2):
        write_part(tmp_path / f"{k}.h5", [structure(k)], labelled=True, attributes={"teacher": teacher})
    merge_datasets([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "both.h5", split=SplitConfig(), seed=0)
    assert ("2 of the files do not state the method of their labels" in caplog.text) is told


def test_a_conversion_names_what_the_other_format_does_not_keep(whole, edited, tmp_path, caplog):
    convert(whole, tmp_path / "plain.extxyz")
    assert caplog.messages == [f"{whole}: not kept in {tmp_path / 'plain.extxyz'}: the split, the teacher"]
    caplog.clear()
    convert(edited(add("extra/local_energies", np.ones(8, "f4"))), tmp_path / "more.extxyz")
    assert caplog.messages[0].endswith("the split, the teacher, extra/local_energies")
    caplog.clear()
    convert(tmp_path / "plain.extxyz", tmp_path / "back.h5")
    assert caplog.messages == []
