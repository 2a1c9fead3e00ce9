"""A student on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from potstill.core.errors import InputError
from potstill.deploy import DeployedStudent
from potstill.student import files
from potstill.student.files import FORMAT_VERSION, count_parameters, read_student, save_student
from potstill.student.options import StudentArchitecture
from potstill.testing import random_student, rattled, rocksalt, water

AN_ARCHITECTURE = tuple(StudentArchitecture.model_fields)


@pytest.fixture
def saved(tmp_path):
    student = random_student([11, 17])
    save_student(student.model, tmp_path / "student", {"teacher": {"name": "lennard-jones"}})
    return student, tmp_path / "student"


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


def test_round_trip_is_bit_exact(saved):
    student, folder = saved
    model, config = read_student(folder)
    before, after = student.model.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype, name
        assert torch.equal(before[name], after[name]), name
    assert model.architecture == student.model.architecture
    (a,), (b,) = (s.label([rattled(rocksalt())]) for s in (student, type(student)(model, config)))
    assert a.energy == b.energy
    assert np.array_equal(a.forces, b.forces)
    assert np.array_equal(a.stress, b.stress)


def test_loading_does_not_import_the_compiler_of_pytorch(saved):
    """That takes as long as the import of PyTorch itself, and nothing of it is needed."""
    load = "import sys, potstill; potstill.load_student(sys.argv[1])"
    code = f"{load}; sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(saved[1])], check=False).returncode == 0


def test_config_says_what_it_is(saved):
    _, folder = saved
    _, config = read_student(folder)
    assert config["elements"] == ["Na", "Cl"]
    assert config["teacher"] == {"name": "lennard-jones"}
    assert config["units"]["stress"] == "eV/Å^3, + is tension"
    assert config["architecture"]["atomic_numbers"] == [11, 17]


def test_only_the_two_files_are_left(saved):
    _, folder = saved
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "weights.safetensors"]


def test_a_read_student_does_not_train(saved):
    model, _ = read_student(saved[1])
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_missing_file_is_refused_by_name(saved, name):
    (saved[1] / name).unlink()
    with pytest.raises(InputError, match=name):
        read_student(saved[1])


def test_other_format_version_is_refused(saved):
    change(saved[1], format_version=99)
    with pytest.raises(InputError, match="format 99, this potstill reads 2 to 3"):
        read_student(saved[1])


@pytest.mark.parametrize("units", [None, {"energy": "kcal/mol"}])
def test_other_units_are_refused(saved, units):
    change(saved[1], units=units)
    with pytest.raises(InputError, match="units"):
        read_student(saved[1])


def test_damaged_config_is_refused(saved):
    (saved[1] / "config.json").write_text('{"format_version": 1,', encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json"):
        read_student(saved[1])


def test_weights_of_another_architecture_are_refused(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(folder, architecture={**config["architecture"], "hidden": 64})
    with pytest.raises(InputError, match="do not belong together"):
        read_student(folder)


def test_truncated_weights_are_refused(saved):
    path = saved[1] / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(InputError, match="weights"):
        read_student(saved[1])


def resealed(folder, **changes):
    """Change the config and make the checksum fit, as another program might write it."""
    config = {**json.loads((folder / "config.json").read_text(encoding="utf-8")), **changes}
    config["checksum"] = files._checksum(config, (folder / "weights.safetensors").read_bytes())
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


EDITS = {
    "cutoff": lambda c: c["architecture"].update(cutoff_angstrom=3.9),
    "order of the elements": lambda c: c.update(elements=c["elements"][::-1]),
    "order of both": lambda c: (
        c.update(elements=c["elements"][::-1]),
        c["architecture"].update(atomic_numbers=c["architecture"]["atomic_numbers"][::-1]),
    ),
    "other elements": lambda c: (c.update(elements=["K", "Br"]), c["architecture"].update(atomic_numbers=[19, 35])),
    "checksum": lambda c: c.update(checksum="sha256:0"),
    "no checksum": lambda c: c.pop("checksum"),
    "checksum null": lambda c: c.update(checksum=None),
    "checksum of another type": lambda c: c.update(checksum=[1]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_config_is_refused(saved, edit):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    EDITS[edit](config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json|do not belong together"):
        read_student(folder)


def test_weights_of_another_student_are_refused(saved, tmp_path):
    _, folder = saved
    save_student(random_student([11, 17], seed=1).model, tmp_path / "other", {})
    (folder / "weights.safetensors").write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="do not belong together"):
        read_student(folder)


WEIGHTS = {
    "not finite": (lambda w: w["scale"].fill_(torch.nan), "'scale' contain a number that is not finite"),
    "infinite": (lambda w: w["last.bias"].fill_(torch.inf), "'last.bias' contain a number that is not finite"),
    "integers": (lambda w: w.update({"scale": torch.ones((), dtype=torch.int64)}), "'scale' are torch.int64, expected"),
    "half": (lambda w: w.update({"scale": w["scale"].half()}), "'scale' are torch.float16, expected"),
    "rounded references": (
        lambda w: w.update({"reference_energies": w["reference_energies"].float()}),
        "'reference_energies' are torch.float32, expected torch.float64",
    ),
    "one less": (lambda w: w.pop("scale"), "does not contain the weights of the architecture in config.json: scale"),
    "one more": (
        lambda w: w.update(spare=torch.ones(1)),
        "does not contain the weights of the architecture in config.json: spare",
    ),
    "another shape": (lambda w: w.update({"scale": torch.ones(2)}), r"'scale' have shape \(2,\), expected \(\)"),
}


@pytest.mark.parametrize("checked", [True, False], ids=["with its checksum", "of format 2"])
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_none_are_refused_by_name(saved, case, checked):
    _, folder = saved
    edit, message = WEIGHTS[case]
    weights = load_file(folder / "weights.safetensors")
    edit(weights)
    (folder / "weights.safetensors").write_bytes(save(weights))
    if checked:
        resealed(folder)
    else:
        change(folder, format_version=2)
    with pytest.raises(InputError, match=message):
        read_student(folder)


ODD = [None, [], {}, "x", -1, 1e300, 10**9, True, [0], [1, 1], [1000], {"a": 1}, float("nan")]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("place", ["architecture", "elements", "units", "domain", "format_version", *AN_ARCHITECTURE])
def test_odd_values_are_one_line_errors_and_no_traceback(saved, place, odd):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    within = config["architecture"] if place in AN_ARCHITECTURE else config
    if place in within and within[place] == odd:
        pytest.skip("that is its value")
    within[place] = odd
    if (place == "parameters_between" and odd in (None, [1, 1])) or (place == "tier" and odd is None):
        pytest.skip("that is a value")
    resealed(folder, **config)
    with pytest.raises(InputError) as error:
        read_student(folder)
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("content", [b"[1]", b"null", b"\xff\xfe", b"", b'{"format_version": 3}', b"[" * 100_000])
def test_a_config_that_is_none_is_refused(saved, content):
    (saved[1] / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        read_student(saved[1])


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        save_student(random_student([1]).model, tmp_path / "student", {})
    finally:
        os.umask(before)
    assert {oct(p.stat().st_mode & 0o777) for p in (tmp_path / "student").iterdir()} == {"0o644"}


def stored(version: int) -> Path:
    return Path(__file__).parent / "stored" / str(version)


@pytest.mark.parametrize("version", range(2, FORMAT_VERSION + 1))
def test_a_student_of_every_version_predicts_what_it_predicted(version):
    student, config = read_student(stored(version))
    assert config["format_version"] == FORMAT_VERSION
    exact = DeployedStudent(student, config, dtype=torch.float64)
    expected = json.loads((stored(version) / "labels.json").read_text(encoding="utf-8"))
    for found, known in zip(exact.label([water(), rattled(rocksalt())]), expected, strict=True):
        assert found.energy == pytest.approx(known["energy"], abs=1e-10)
        assert np.allclose(found.forces, known["forces"], rtol=0, atol=1e-10)


def layout(value):
    """Names and types of plain data, without the values."""
    return {k: layout(v) for k, v in value.items()} if isinstance(value, dict) else type(value).__name__


def test_the_format_changes_with_its_version_only(tmp_path):
    """Where this fails: raise FORMAT_VERSION, write the upgrade of one step, and store a student of the new version."""
    student, config = read_student(stored(FORMAT_VERSION))
    save_student(student, tmp_path, {"domain": config["domain"]})
    old, new = (
        json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (stored(FORMAT_VERSION), tmp_path)
    )
    assert layout(new) == layout(old)
    assert new == old
    before, after = (load_file(folder / "weights.safetensors") for folder in (stored(FORMAT_VERSION), tmp_path))
    assert {n: (t.shape, t.dtype) for n, t in after.items()} == {n: (t.shape, t.dtype) for n, t in before.items()}


def test_absolute_distances_are_not_stored_and_relative_ones_are(tmp_path):
    for kind in ("absolute", "relative"):
        model = random_student([1, 8], radial_distance=kind).model
        save_student(model, tmp_path / kind, {})
        assert read_student(tmp_path / kind)[0].architecture == model.architecture
    stored_options = [
        json.loads((tmp_path / kind / "config.json").read_text(encoding="utf-8"))["architecture"]
        for kind in ("absolute", "relative")
    ]
    assert [options.get("radial_distance") for options in stored_options] == [None, "relative"]


def test_count_parameters_counts_numbers_not_tensors():
    assert count_parameters(torch.nn.Linear(3, 5)) == 20
