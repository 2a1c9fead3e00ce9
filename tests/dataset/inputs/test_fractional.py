"""Pseudo-hydrogens and virtual crystals: atoms that are no element, in every place where a program names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.dataset.inputs import Frame, UnusableError, open_frames
from potstill.dataset.inputs.foreign import facts_of_program
from potstill.dataset.inputs.fractional import refuse_pseudo_hydrogen

VECTORS = "4.0 0 0\n0 4.0 0\n0 0 9.0\n"
POSCAR = f"a slab\n1.0\n{VECTORS}Ga {{name}}\n1 1\nDirect\n0 0 0\n0 0 {{z}}\n"
XDATCAR = POSCAR.replace("Direct", "Direct configuration=     1")
XML_TYPE = "<rc><c>   1</c><c>H </c><c>  1.000</c><c>  {valence}</c><c>  PAW_PBE {name} 08Apr2002      </c></rc>"
OUTCAR = (
    " POTCAR:    PAW_PBE {name} 08Apr2002\n   TITEL  = PAW_PBE {name} 08Apr2002\n"
    "  Ionic Valenz\n   ZVAL   =   3.00  {valence}\n  virtual crystal weights\n   VCA    =   1.00  {weight}\n"
)
ESPRESSO = (
    "&SYSTEM\n ibrav=0, nat=2, ntyp=2\n/\nATOMIC_SPECIES\nGa 69.7 Ga.upf\nH1 1.008 {name}.pbe-psl.1.0.0.UPF\n"
    f"CELL_PARAMETERS angstrom\n{VECTORS}ATOMIC_POSITIONS crystal\nGa 0 0 0\nH1 0 0 0.2\nK_POINTS gamma\n"
)
ESPRESSO_OUT = (
    "     atomic species   valence    mass     pseudopotential\n"
    "        Ga             13.00    69.72300     Ga( 1.00)\n"
    "        H1             {valence}     1.00800     H ( 1.00)\n"
)
CP2K = (
    "&SUBSYS\n&CELL\nA 4 0 0\nB 0 4 0\nC 0 0 9\n&END CELL\n&COORD\nGa 0 0 0\n{name} 0 0 1.6\n&END COORD\n"
    "&KIND {name}\nELEMENT H\nPOTENTIAL GTH-PBE-q{valence}\n&END KIND\n&END SUBSYS\n"
)
PSEUDO = ("H.75", "H1.25", "H.5", "H0.33", "H_1.5")


def read(path: Path, content: str) -> Frame:
    path.write_text(content)
    return open_frames(path).frame(0)


def refusal_of(path: Path, content: str) -> str:
    with pytest.raises(UnusableError) as refusal:
        read(path, content)
    return refusal.value.reason


@pytest.mark.parametrize("name", PSEUDO)
class TestPseudoHydrogen:
    @pytest.mark.parametrize(("file", "content"), [("POSCAR", POSCAR), ("CONTCAR", POSCAR), ("XDATCAR", XDATCAR)])
    def test_of_a_line_of_symbols(self, tmp_path, name, file, content):
        assert refusal_of(tmp_path / file, content.format(name=name, z=0.2)) == "unknown_element"

    def test_of_the_outputs_of_vasp(self, name):
        with pytest.raises(UnusableError, match="pseudo-hydrogen") as refusal:
            facts_of_program(XML_TYPE.format(name=name, valence="1.0"), "vasp-xml")
        assert refusal.value.reason == "unknown_element"
        with pytest.raises(UnusableError, match="pseudo-hydrogen"):
            facts_of_program(OUTCAR.format(name=name, valence="1.00", weight="1.00"), "vasp-out")

    def test_of_an_input_of_espresso(self, tmp_path, name):
        assert refusal_of(tmp_path / "a.pwi", ESPRESSO.format(name=name)) == "unknown_element"

    def test_of_a_kind_of_cp2k(self, tmp_path, name):
        assert refusal_of(tmp_path / "a.restart", CP2K.format(name=name, valence="1")) == "unknown_element"


def test_a_valence_that_no_element_has(tmp_path):
    for text, format_name in (
        (XML_TYPE.format(name="H", valence="0.75"), "vasp-xml"),
        (OUTCAR.format(name="H", valence="1.25", weight="1.00"), "vasp-out"),
        (ESPRESSO_OUT.format(valence=" 0.75"), "espresso-out"),
    ):
        with pytest.raises(UnusableError, match="valence") as refusal:
            facts_of_program(text, format_name)
        assert refusal.value.reason == "unknown_element"
    assert refusal_of(tmp_path / "a.restart", CP2K.format(name="Hs", valence="0.75")) == "unknown_element"


@pytest.mark.parametrize("name", ["H", "H_h", "H_AE", "H_GW", "H_s"])
def test_hydrogen_is_read(tmp_path, name):
    facts_of_program(XML_TYPE.format(name=name, valence="1.0"), "vasp-xml")
    facts_of_program(OUTCAR.format(name=name, valence="1.00", weight="1.00"), "vasp-out")
    facts_of_program(ESPRESSO_OUT.format(valence=" 1.00"), "espresso-out")
    assert read(tmp_path / "POSCAR", POSCAR.format(name=name, z=0.2)).structure.formula == "GaH"
    assert read(tmp_path / "a.pwi", ESPRESSO.format(name=name)).structure.formula == "GaH"
    assert read(tmp_path / "a.restart", CP2K.format(name="H", valence="1")).structure.formula == "GaH"


@pytest.mark.parametrize("name", ["H.pbe-rrkjus_psl.1.0.0.UPF", "H_ONCV_PBE-1.0.oncvpsp.upf", "H.1.0.upf", "He.75", "H1.0"])
def test_versions_of_a_pseudopotential_are_no_valence(name):
    refuse_pseudo_hydrogen([name])


class TestVirtualCrystal:
    def test_two_elements_at_one_place(self, tmp_path):
        assert refusal_of(tmp_path / "POSCAR", POSCAR.format(name="Al", z="0.0")) == "disordered"
        assert refusal_of(tmp_path / "CONTCAR", POSCAR.format(name="Al", z="1.0")) == "disordered"
        assert refusal_of(tmp_path / "a.xyz", "2\n\nGa 0 0 0\nAl 0 0 0\n") == "disordered"
        assert len(read(tmp_path / "b.xyz", "2\n\nGa 0 0 0\nAl 0 0 2\n").structure) == 2

    def test_weights_of_vasp(self):
        with pytest.raises(UnusableError, match=r"VCA is 1\.00 0\.50"):
            facts_of_program(OUTCAR.format(name="H", valence="1.00", weight="0.50"), "vasp-out")
        with pytest.raises(UnusableError, match=r"VCA is 0\.3 0\.7"):
            facts_of_program('<v name="VCA">     0.3     0.7</v>', "vasp-xml")
        facts_of_program('<v name="VCA">     1.0     1.0</v>', "vasp-xml")

    def test_alchemy_of_abinit(self):
        from potstill.dataset.inputs.misread import refuse_misread

        with pytest.raises(UnusableError, match="ntypalch"):
            refuse_misread("ntypat 2\nntypalch 2\n", "abinit-in")
