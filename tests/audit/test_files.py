"""Gates for a file of the user's own: one that names a source which the file does not have is refused."""

from __future__ import annotations

import gzip

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from potstill.audit.files import audit_file, refuse_run_folder
from potstill.audit.options import AuditConfig
from potstill.core.errors import InputError
from potstill.core.types import Labels
from potstill.dataset import write_part
from potstill.testing.structures import water


@pytest.mark.parametrize("option", ["max_force_per_source", "max_stress_per_source"])
def test_a_gate_of_an_unknown_source_is_refused(tmp_path, option):
    structure = water().with_(id="w-0", source="molecules", labels=Labels(-1.0, np.zeros((3, 3)), None))
    write_part(tmp_path / "mine.h5", [structure], labelled=True)
    with pytest.raises(InputError, match=rf"audit\.{option}: mine\.h5 has no source 'molecule'; did you mean 'molecules'"):
        audit_file(tmp_path / "mine.h5", tmp_path / "out", "", AuditConfig(**{option: {"molecule": 5.0}}))
    assert not (tmp_path / "out" / "audit.json").exists()


def test_a_teacher_that_cannot_be_opened_is_refused_at_once(tmp_path, monkeypatch):
    def missing(*_args, **_options):
        raise InputError("mace is not installed")

    structure = water().with_(id="w-0", source="molecules", labels=Labels(-1.0, np.zeros((3, 3)), None))
    write_part(tmp_path / "mine.h5", [structure], labelled=True)
    monkeypatch.setattr("potstill.audit.files.open_teacher", missing)
    with pytest.raises(InputError, match="mace is not installed"):
        audit_file(tmp_path / "mine.h5", tmp_path / "out", "emt")
    assert not (tmp_path / "out" / "audit.json").exists()


def test_a_config_of_the_user_beside_the_data_makes_no_run_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    refuse_run_folder(tmp_path, "potstill audit")
    (tmp_path / "log.txt").write_text("generate\n")
    with pytest.raises(InputError, match="is a run folder"):
        refuse_run_folder(tmp_path, "potstill audit")


def test_a_compressed_file_has_the_names_of_the_file_in_it_and_the_audit_names_the_users_file(tmp_path):
    frames = []
    for k in range(3):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=k)
        atoms.calc = SinglePointCalculator(atoms, energy=-14.0, forces=np.zeros((3, 3)))
        frames.append(atoms)
    plain, packed = tmp_path / "mine.extxyz", tmp_path / "mine.extxyz.gz"
    ase.io.write(plain, frames)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    seen = []
    for path in (plain, packed):
        report = audit_file(path, tmp_path / "out", "", on_judged=lambda report, stats, dataset: seen.append(stats))
        assert report["dataset"] == path.name
        (finding,) = [f for f in report["findings"] if f["check"] == "split_leakage"]
        assert finding["why"] == f"{path.name} has no split"
    assert seen[0].ids == seen[1].ids == ["mine-000000", "mine-000001", "mine-000002"]
    assert seen[0].sources == seen[1].sources == ["mine"] * 3
