"""Trajectories of killed runs: whole frames are read, and the last one is refused wherever it is cut."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from potstill.core.types import Structure
from potstill.dataset.inputs import UnusableError, open_frames

FORMATS = {
    "a.arc": "dmol-arc",
    "a.con": "eon",
    "a.geom": "castep-geom",
    "a.md": "castep-md",
    "a.pdb": "proteindatabank",
    "a.xsf": "xsf",
    "molecule.arc": "dmol-arc",
    "molecule.xsf": "xsf",
    "XDATCAR": "vasp-xdatcar",
}
OF_MOLECULES = ("a.pdb", "molecule.arc", "molecule.xsf")
STEP = 37  # characters


def trajectory(path: Path) -> tuple[str, int]:
    """Return the text of three frames, and where the third begins."""
    images = []
    for seed in range(3):
        atoms = molecule("CH3CH2OH") if path.name in OF_MOLECULES else bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        images.append(atoms)
    ase.io.write(str(path), images[:2], format=FORMATS[path.name])
    two = path.read_text(encoding="utf-8").rstrip()
    ase.io.write(str(path), images, format=FORMATS[path.name])
    return path.read_text(encoding="utf-8"), len(two)


def frames(path: Path) -> tuple[list[Structure], list[UnusableError]]:
    opened = open_frames(path)
    good, refused = [], []
    for k in range(len(opened)):
        try:
            good.append(opened.frame(k).structure)
        except UnusableError as refusal:
            refused.append(refusal)
    return good, refused


@pytest.mark.filterwarnings("ignore")  # of ASE's writers
@pytest.mark.parametrize("name", FORMATS)
def test_whole_frames_are_read_and_the_last_is_refused(tmp_path, name):
    path = tmp_path / name
    text, begins = trajectory(path)
    whole, _ = frames(path)
    assert len(whole) == 3
    last_row = text.rstrip().removesuffix("\nend").removesuffix("\nend").removesuffix("\nENDMDL").rindex("\n")
    for at in range(begins + 70, last_row, STEP):
        path.write_text(text[:at], encoding="utf-8")
        good, refused = frames(path)
        assert [len(structure) for structure in good] == [len(structure) for structure in whole[:2]], text[:at][-60:]
        assert all(np.allclose(a.positions, b.positions) for a, b in zip(good, whole, strict=False))
        assert [refusal.reason in ("wrong_count", "unreadable") for refusal in refused] == [True]


@pytest.mark.parametrize("stated", [2, 7])
@pytest.mark.parametrize("name", ["a.xsf", "molecule.xsf"])
def test_another_number_of_frames_than_an_xsf_states(tmp_path, name, stated):
    path = tmp_path / name
    text, _ = trajectory(path)
    path.write_text(text.replace("ANIMSTEPS 3", f"ANIMSTEPS {stated}"), encoding="utf-8")
    good, refused = frames(path)
    assert len(good) == 3
    assert [refusal.reason for refusal in refused] == ["wrong_count"]
    assert f"states {stated} frames (ANIMSTEPS) and holds 3" in str(refused[0])


@pytest.mark.parametrize("name", ["a.con", "a.md", "a.geom", "XDATCAR", "a.pdb"])
def test_the_last_frame_without_an_empty_line_behind_it(tmp_path, name):
    path = tmp_path / name
    text, _ = trajectory(path)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    good, refused = frames(path)
    assert (len(good), refused) == (3, [])


class TestPdb:
    ROW = "ATOM  {k:5d}  H   MOL A   1    {x:8.3f}   0.000   0.000  1.00  0.00           H  \n"

    def model(self, atoms: int, first: int = 1) -> str:
        return "".join(self.ROW.format(k=first + k, x=float(first + k)) for k in range(atoms))

    def test_a_model_in_the_middle_of_a_run_that_was_started_again(self, tmp_path):
        path = tmp_path / "a.pdb"
        path.write_text(f"MODEL 1\n{self.model(3)}ENDMDL\nMODEL 2\n{self.model(2)}MODEL 3\n{self.model(3)}ENDMDL\n")
        good, refused = frames(path)
        assert [len(structure) for structure in good] == [3, 3]
        assert "2 of the 3 atoms of the model before" in str(refused[0])

    @pytest.mark.parametrize("second", [(2, "END\n"), (4, "")])
    def test_models_of_other_molecules(self, tmp_path, second):
        atoms, end = second
        (tmp_path / "a.pdb").write_text(f"{self.model(3)}END\n{self.model(atoms)}{end}")
        assert [len(structure) for structure in frames(tmp_path / "a.pdb")[0]] == [3, atoms]

    def test_a_smaller_molecule_without_an_end(self, tmp_path):
        (tmp_path / "a.pdb").write_text(f"{self.model(3)}END\n{self.model(2, 5).replace('H   MOL', 'H   WAT')}")
        assert [len(structure) for structure in frames(tmp_path / "a.pdb")[0]] == [3, 2]
