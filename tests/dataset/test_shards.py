"""Several files as one dataset."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import DatasetError, InputError
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, Shards, merge, open_dataset, write_part
from potstill.testing import copper, ethanol, rattled, silicon, water


def labelled(structure: Structure, name: str, seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    stress = np.eye(3) * seed if structure.pbc.all() else None
    return rattled(structure, seed).with_(
        id=name, source=f"s{seed % 2}", family=name, labels=Labels(float(seed), rng.normal(size=(len(structure), 3)), stress)
    )


@pytest.fixture
def structures() -> list[Structure]:
    return [labelled(make(), f"x-{k}", k) for k, make in enumerate([water, copper, ethanol, silicon, water, copper, water])]


def sealed_file(path, chosen, teacher="t"):
    write_part(path.with_suffix(".part"), chosen, labelled=True)
    splits = np.arange(len(chosen), dtype=np.uint8) % 3
    merge([path.with_suffix(".part")], path, attributes={"teacher": {"name": teacher}}, splits=splits)
    return path


@pytest.fixture
def shards(structures, tmp_path) -> Shards:
    return Shards([sealed_file(tmp_path / f"{k}.h5", structures[a:b]) for k, (a, b) in enumerate([(0, 3), (3, 4), (4, 7)])])


def test_structures_come_in_order(shards, structures):
    assert len(shards) == len(structures)
    assert [s.id for s in shards] == [s.id for s in structures] == list(shards.ids)
    assert shards[-1].id == "x-6"
    assert [s.id for s in shards[2:5]] == ["x-2", "x-3", "x-4"]
    assert shards.sources.tolist() == [s.source for s in structures]
    with pytest.raises(IndexError):
        shards[7]


@pytest.mark.parametrize("indices", [[6, 0, 3, 0, 5], [3], [], list(range(7))])
def test_gathers_what_one_file_would(shards, structures, tmp_path, indices):
    whole = Dataset(sealed_file(tmp_path / "whole.h5", structures))
    found, expected = (data.gather(np.array(indices, dtype=int)) for data in (shards, whole))
    for name in ("ptr", "atomic_numbers", "positions", "forces", "cell", "pbc", "energy", "stress", "has_stress"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_read_as_one_file_is(shards, structures, tmp_path):
    whole = Dataset(sealed_file(tmp_path / "whole.h5", structures))
    for chosen in ([5, -1, 0], np.array([], int), np.arange(7) % 2 == 0):
        assert [s.id for s in shards[chosen]] == [s.id for s in whole[chosen]]
    for name in ("positions", "edge_index", "cell", "ptr"):
        assert torch.equal(getattr(shards.batch([3, 1]), name), getattr(whole.batch([3, 1]), name))
    assert len(shards.select("train").gather(np.array([2, 0]))) == 2
    with pytest.raises(IndexError, match="a mask of 7"):
        shards[np.ones(6, bool)]


def test_a_folder_is_one_dataset(shards, structures, tmp_path):
    data = open_dataset(tmp_path)
    assert isinstance(data, Shards)
    assert [file.path for file in data.files] == [file.path for file in shards.files]
    assert [s.id for s in data] == [s.id for s in structures]
    sealed_file(tmp_path / "dataset.h5", structures[:2])
    assert len(open_dataset(tmp_path)) == 2  # a run folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no dataset at"):
        open_dataset(tmp_path / "empty")


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_hundreds_of_files_stay_open(tmp_path):
    resource = pytest.importorskip("resource")
    for k in range(40):
        write_part(tmp_path / f"{k:02d}.h5", [labelled(water(), f"w-{k}", k)], labelled=True)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 60, before[1]))
    try:
        assert len(open_dataset(tmp_path).gather(np.arange(40))) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_splits_are_those_of_the_files(shards):
    assert {part: shards.split(part).tolist() for part in ("train", "valid", "test")} == {
        "train": [0, 3, 4],
        "valid": [1, 5],
        "test": [2, 6],
    }


def test_what_does_not_belong_together_is_refused(structures, tmp_path):
    one = sealed_file(tmp_path / "a.h5", structures[:3])
    with pytest.raises(DatasetError, match="x-2 is in these files more than once"):
        Shards([one, sealed_file(tmp_path / "b.h5", structures[2:4])])
    with pytest.raises(DatasetError, match="different teachers"):
        Shards([one, sealed_file(tmp_path / "c.h5", structures[3:], teacher="another")])
    write_part(tmp_path / "d.h5", [s.with_(labels=None) for s in structures[3:]])
    with pytest.raises(DatasetError, match="one has labels"):
        Shards([one, tmp_path / "d.h5"])
    with pytest.raises(InputError, match="no dataset files"):
        Shards([])
    with pytest.raises(IndexError, match="from 0 to 2"):
        Shards([one]).gather(np.array([3]))
