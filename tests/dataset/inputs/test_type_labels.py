"""Labels in place of numbers of types, as LAMMPS writes them by ``types labels``: each row has its own element."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.dataset.inputs import ReadOptions, UnusableError, open_frames

STYLES = {"atomic": "{k} {kind}", "charge": "{k} {kind} 0.0", "full": "{k} 1 {kind} 0.0", "molecular": "{k} 1 {kind}"}
DATA = (
    "LAMMPS data file via write_data, units = metal\n\n3 atoms\n2 atom types\n1 bonds\n1 bond types\n\n"
    "0 12.0 xlo xhi\n0 12.0 ylo yhi\n0 12.0 zlo zhi\n\nAtom Type Labels\n\n1 {first}\n2 {second}\n\n"
    "Bond Type Labels\n\n1 {first}-{second}\n\nMasses\n\n{masses}\n"
    "Atoms # {style}\n\n{rows}\nBonds\n\n1 {first}-{second} 1 2\n"
)
DUMP = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS pp pp pp\n0 12\n0 12\n0 12\n"
    "ITEM: ATOMS id {columns}x y z mass\n3 {third}3 1 1 12.01\n1 {first}1 1 1 16.0\n2 {second}2 1 1 12.01\n"
)


def data(style: str, kinds: tuple[str, str, str], labels: tuple[str, str], masses: tuple[float, ...] = ()) -> str:
    """Return a file whose rows are in another order than their ids."""
    rows = [STYLES[style].format(k=k + 1, kind=kind) + f" {k + 1}.0 1 1" for k, kind in enumerate(kinds)]
    kinds_of_masses = labels if kinds[0] in labels else ("1", "2")
    stated = "".join(f"{kind} {mass}\n" for kind, mass in zip(kinds_of_masses, masses, strict=False))
    return DATA.format(
        first=labels[0], second=labels[1], masses=stated, style=style, rows="".join(f"{row}\n" for row in reversed(rows))
    ).replace("" if masses else "Masses\n\n\n", "")


def dump(columns: str, numbers: list[str], *labels: str) -> str:
    first, second, third = (f"{number}{label} " for number, label in zip(numbers, labels, strict=True))
    return DUMP.format(columns=f"{columns} ", first=first, second=second, third=third)


def elements(path: Path, content: str, **options) -> list[str]:
    path.write_text(content)
    structure = open_frames(path, ReadOptions(**options)).frame(0).structure
    assert structure.positions[:, 0].tolist() == [1.0, 2.0, 3.0]
    return list(structure.to_ase().symbols)


def why_not(path: Path, content: str, **options) -> str:
    with pytest.raises(UnusableError) as refusal:
        elements(path, content, **options)
    assert refusal.value.reason == "no_elements"
    return str(refusal.value)


@pytest.mark.parametrize("style", STYLES)
class TestDataFile:
    @pytest.mark.parametrize("kinds", [("Si", "O", "O"), ("1", "2", "2")])
    @pytest.mark.parametrize("masses", [(), (28.0855, 15.9994)])
    def test_labels_that_are_symbols(self, tmp_path, style, kinds, masses):
        assert elements(tmp_path / "a.data", data(style, kinds, ("Si", "O"), masses)) == ["Si", "O", "O"]

    def test_masses_of_labels_of_a_force_field(self, tmp_path, style):
        assert elements(tmp_path / "a.data", data(style, ("os", "ca", "ca"), ("os", "ca"), (16.0, 12.01))) == ["O", "C", "C"]

    @pytest.mark.parametrize("species", [(("os", "O"), ("ca", "C")), (("1", "O"), ("2", "C"))])
    def test_labels_that_say_no_element(self, tmp_path, style, species):
        content = data(style, ("os", "ca", "ca"), ("os", "ca"))
        assert "--species os=ELEMENT" in why_not(tmp_path / "a.data", content)
        assert "--species os=ELEMENT" in why_not(tmp_path / "a.data", content, species=(("0", "Si"),))
        assert elements(tmp_path / "a.data", content, species=species) == ["O", "C", "C"]

    def test_a_label_of_another_element_than_its_mass(self, tmp_path, style):
        content = data(style, ("Co", "O", "O"), ("Co", "O"), (12.011, 15.9994))
        assert "the mass of C and the label 'Co'" in why_not(tmp_path / "a.data", content)
        assert elements(tmp_path / "a.data", content, species=(("Co", "C"),)) == ["C", "O", "O"]

    def test_a_label_that_no_section_has(self, tmp_path, style):
        assert "types numeric" in why_not(tmp_path / "a.data", data(style, ("Si", "O", "Ox"), ("Si", "O")))


@pytest.mark.parametrize("column", ["type", "typelabel", "element", "type element"])
class TestDump:
    @pytest.fixture(autouse=True)
    def numbers(self, column):
        """Return the numbers of types beside a column of labels."""
        return ["1 ", "2 ", "2 "] if column == "type element" else ["", "", ""]

    def test_labels_that_are_symbols(self, tmp_path, column, numbers):
        content = dump(column, numbers, "Si", "O", "O")
        assert elements(tmp_path / "a.lammpstrj", content) == ["Si", "O", "O"]

    def test_labels_of_a_force_field(self, tmp_path, column, numbers):
        content = dump(column, numbers, "os", "ca", "ca")
        assert "--species os=ELEMENT" in why_not(tmp_path / "a.lammpstrj", content)
        assert elements(tmp_path / "a.lammpstrj", content, species=(("os", "O"), ("ca", "C"))) == ["O", "C", "C"]


@pytest.mark.parametrize("column", ["type", "typelabel"])
def test_a_column_of_elements_counts(tmp_path, column):
    content = DUMP.format(columns=f"{column} element ", first="os O ", second="ca C ", third="ca C ")
    assert elements(tmp_path / "a.lammpstrj", content) == ["O", "C", "C"]


def test_both_columns(tmp_path):
    content = DUMP.format(columns="type typelabel ", first="1 Si ", second="2 O ", third="2 O ")
    assert elements(tmp_path / "a.lammpstrj", content) == ["Si", "O", "O"]
