"""Files as users have them on disk, whose refusal named a wrong reason, and the grid of a cube that was taken for a cell."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from potstill.dataset.inputs import Frame, UnusableError, open_frames

BOHR = 0.529177210903
CUBE = (
    "density\nby a program\n    2 {origin}\n{n} 0.5 0 0\n{n} 0 0.5 0\n{n} 0 0 0.5\n"
    "   13 13.0 0 0 0\n   13 13.0 3.8 3.8 0\n" + "0.0 " * 512 + "\n"
)
IPI = "2\n# CELL(abcABC): 9.0 9.0 9.0 90.0 90.0 90.0 Step: 0 Bead: 0 {quantity} cell{{angstrom}}\nAl 0 0 0\nAl 2.8 0 0\n"
QCHEM = "        Welcome to Q-Chem\n$molecule\n0 1\nO 0.0 0.0 0.119\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477\n$end\n"
MMCIF = (
    "data_1ABC\n_cell.length_a 40.96\nloop_\n_atom_site.group_PDB\n_atom_site.type_symbol\n_atom_site.Cartn_x\n"
    "_atom_site.Cartn_y\n_atom_site.Cartn_z\nATOM N 17.047 14.099 3.625\n"
)


def read(folder: Path, name: str, text: str) -> Frame:
    path = folder / name
    path.write_text(text)
    return open_frames(path).frame(0)


def refusal(folder: Path, name: str, text: str) -> tuple[str, str]:
    with pytest.raises(UnusableError) as refused:
        read(folder, name, text)
    return refused.value.reason, str(refused.value)


def test_a_cube_of_a_periodic_program_is_a_cell_and_says_so(tmp_path):
    frame = read(tmp_path, "density.cube", CUBE.format(origin="0.0 0.0 0.0", n=8))
    np.testing.assert_allclose(frame.structure.cell, 4.0 * BOHR * np.eye(3))
    assert any("grid of the cube is taken for a periodic cell" in remark for remark in frame.remarks)


def test_a_cube_around_a_molecule_has_no_cell(tmp_path):
    reason, why = refusal(tmp_path, "water.cube", CUBE.format(origin="-6.0 -6.0 -6.0", n=8))
    assert reason == "no_cell"
    assert "beside the origin" in why


def test_a_cube_in_angstrom_is_refused(tmp_path):
    assert refusal(tmp_path, "density.cube", CUBE.format(origin="0.0 0.0 0.0", n=-8))[0] == "units"


@pytest.mark.parametrize(
    ("quantity", "reason", "named"),
    [
        ("forces{ev/ang}", "no_coordinates", "i-PI wrote forces into this file"),
        ("velocities{m/s}", "no_coordinates", "i-PI wrote velocities into this file"),
    ],
)
def test_units_of_i_pi_may_contain_a_slash(tmp_path, quantity, reason, named):
    assert refusal(tmp_path, "run.for_0.xyz", IPI.format(quantity=quantity))[0] == reason
    assert named in refusal(tmp_path, "run.for_0.xyz", IPI.format(quantity=quantity))[1]


def test_an_output_of_another_program_is_not_said_to_hold_no_structures(tmp_path):
    reason, why = refusal(tmp_path, "water.out", QCHEM)
    assert reason == "no_atoms"
    assert "takes the file for 'espresso-out'" in why
    assert "write its structures as extended XYZ" in why


def test_mmcif_is_named(tmp_path):
    assert refusal(tmp_path, "1abc.cif", MMCIF) == (
        "unknown_format",
        "mmCIF is not read; write its atoms as PDB, or as extended XYZ",
    )


@pytest.mark.parametrize("name", ["OUTCARs.tar.gz", "OUTCARs.tgz", "OUTCARs.tar", "POSCARs.tar.xz"])
def test_an_archive_is_named_and_not_read_by_its_name(tmp_path, name):
    inside = tmp_path / "OUTCAR"
    inside.write_text("no output\n")
    mode = {"gz": "w:gz", "tgz": "w:gz", "xz": "w:xz"}.get(name.rpartition(".")[2], "w")
    with tarfile.open(tmp_path / name, mode) as archive:
        archive.add(inside, "OUTCAR")
    with pytest.raises(UnusableError, match=r"archive of files; unpack it with  tar -xf"):
        open_frames(tmp_path / name).frame(0)
