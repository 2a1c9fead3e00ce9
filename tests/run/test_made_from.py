"""A file of a stage that another process has open is no file that must be made again."""

from __future__ import annotations

import fcntl
import json

import h5py
import pytest

from potstill.audit.options import AuditConfig
from potstill.core.errors import InputError
from potstill.evaluate.options import EvaluateConfig
from potstill.generate.files import Files
from potstill.run.made_from import _dumped, changed, file_checksum, file_fault
from potstill.teacher.ase import AseCalculator
from potstill.train.options import TrainConfig


def test_a_start_that_was_moved_is_the_same_start():
    stored = {"start": "sha256:1", "train": {"start": "/a/student", "epochs": 2}}
    assert changed(stored, {"start": "sha256:1", "train": {"start": "/b/student", "epochs": 2}}) == []
    assert changed(stored, {"start": "sha256:2", "train": {"start": "/b/student", "epochs": 2}}) == ["start", "train.start"]
    assert changed({"train": {"start": ""}}, {"start": "sha256:2", "train": {"start": "/b"}}) == ["train.start"]


def test_a_file_that_another_process_writes_to_is_named_as_such(tmp_path):
    path = tmp_path / "dataset.h5"
    with h5py.File(path, "w") as file:
        file["a"] = 1
    entry = {"files": {"dataset.h5": file_checksum(path)}}
    assert file_fault(tmp_path, entry) == ""
    with h5py.File(path, "a") as file:
        file["b"] = 1
    assert file_fault(tmp_path, entry) == "dataset.h5 is not the file that the stage wrote"
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process writes to it"):
            file_fault(tmp_path, entry)


def test_another_content_is_another_file_and_no_other_option():
    stored = {"generate": {"sources": [{"paths": ["sha256:aa"], "count": 3}]}}
    now = {"generate": {"sources": [{"paths": ["sha256:bb"], "count": 4}]}}
    assert changed(stored, now) == ["file at generate.sources[0].paths[0]", "generate.sources[0].count"]


def test_a_folder_that_an_earlier_version_stored_by_name_is_no_other():
    stored, now = ({"generate": {"sources": [{"paths": [path]}]}} for path in ("/data/frames", "sha256:aa"))
    assert changed(stored, now) == []


def test_a_folder_that_options_name_counts_by_its_content(tmp_path):
    def now() -> dict:
        options = {"path": str(tmp_path / "student")}
        return {"a": _dumped(AseCalculator(calculator="ase.calculators.emt:EMT", folder=str(tmp_path), options=options))}

    by_name = json.loads(json.dumps(now()))  # nothing is there yet
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "weights.bin").write_bytes(b"one")
    before = json.loads(json.dumps(now()))
    assert before["a"]["folder"] == str(tmp_path)  # of the module, whose files the fingerprint has
    assert changed(by_name, now()) == []
    (tmp_path / "student" / "weights.bin").write_bytes(b"two")
    assert changed(before, now()) == ["a.options.path"]


@pytest.mark.parametrize(
    ("section", "name", "one", "other"),
    [
        (TrainConfig, "source_weights", {}, {"slab": 0.0}),
        (TrainConfig, "element_weights", {"Cu": 2.0}, {}),
        (TrainConfig, "late_weights", {}, {"energy": 2.0}),
        (EvaluateConfig, "limits", {}, {"smoothness": 1e-7}),
        (AuditConfig, "max_stress_per_source", {}, {"bulk": 2.5}),
        (AuditConfig, "max_force_per_source", {"bulk": 2.5}, {"slab": 2.5}),
        (
            lambda **o: AseCalculator(calculator="ase.calculators.emt:EMT", **o),
            "options",
            {"rc": 5, "of": {}},
            {"rc": 5, "of": {"Cu": 1}},
        ),
        (lambda **o: Files(paths=("a.xyz",), count=1, **o), "species", {}, {"1": "Si"}),
    ],
)
def test_a_table_of_the_user_counts_with_each_of_its_keys(section, name, one, other):
    before, now = (_dumped(section(**{name: value})) for value in (one, other))
    found = changed(json.loads(json.dumps({"a": before})), {"a": now})
    assert found
    assert all(path.startswith(f"a.{name}.") for path in found)
    assert changed({"a": now}, {"a": now}) == []


def test_an_option_that_another_version_has_does_not_count():
    stored, now = ({"a": _dumped(TrainConfig())} for _ in range(2))
    assert changed({"a": {key: stored["a"][key] for key in list(stored["a"])[2:]}}, now) == []
    assert changed({"a": {**stored["a"], "was": {"once": 1}}}, now) == []
