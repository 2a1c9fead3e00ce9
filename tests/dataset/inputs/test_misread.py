"""Input files of other programs whose reader drops or misreads what they state: refused by name, or stated in a remark."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.dataset.inputs import Frame, UnusableError, open_frames

WATER = ("0.0 0.0 0.225", "0.0 1.442 -0.901", "0.0 -1.442 -0.901")
COORD = "$coord\n" + "".join(f" {place} {symbol}\n" for place, symbol in zip(WATER, "ohh", strict=True)) + "{more}$end\n"
GAUSSIAN = "# B3LYP/6-31G* {route}\n\ntitle\n\n0 1\n" + "".join(
    f"{symbol} {place}\n" for place, symbol in zip(WATER, "OHH", strict=True)
)
CAR = (
    "!BIOSYM archive 3\nPBC=ON\nx\n!DATE\nPBC 4.594 4.594 2.959 90.0 90.0 90.0 ({group})\n"
    "Ti1      0.000000000    0.000000000    0.000000000 XXXX 1      xx      Ti  0.000\nend\nend\n"
)
CFG = (
    "Number of particles = 1\nA = 1 Angstrom\n"
    + "".join(f"H0({i},{j}) = {4.5 * (i == j)} A\n" for i in (1, 2, 3) for j in (1, 2, 3))
    + ".NO_VELOCITY.\nentry_count = 3\n{mass} \nC \n0 0 0 \n"
)
NWCHEM = "start a\ngeometry {units}\n O 0 0 0.225\nH 0 1.442 -0.901\nH 0 -1.442 -0.901\nend\n\ntask dft\n"
CASTEP = (
    "%BLOCK LATTICE_CART\n4.05 0 0\n0 4.05 0\n0 0 4.05\n%ENDBLOCK LATTICE_CART\n"
    "%BLOCK POSITIONS_FRAC\nAl{kind} 0 0 0\nAl 0.5 0.5 0\n%ENDBLOCK POSITIONS_FRAC\nKPOINT_MP_GRID 1 1 1\n{more}"
)
AIMS = (
    "lattice_vector 8 0 0\nlattice_vector 0 8 0\nlattice_vector 0 0 8\n"
    "atom 0 0 0.119 O\natom 0 0.763 -0.477 H\natom 0 -0.763 -0.477 H\n{more}"
)
ABINIT = "acell 3 3 3\nrprim 2 0 0 0 2 0 0 0 2\nntypat 1\nznucl 13\nnatom 2\ntypat 1 1\n{positions}\n{more}\necut 20\n"
ESPRESSO = (
    "&SYSTEM\n ibrav=0, nat=2, ntyp=1\n {more}\n/\nATOMIC_SPECIES\nAl 26.98 Al.upf\n"
    "CELL_PARAMETERS {unit}\n1 0 0\n0 1 0\n0 0 1\n"
    "ATOMIC_POSITIONS crystal\nAl 0 0 0\nAl 0.5 0.5 0\nK_POINTS gamma\n"
)
OCTOPUS = (
    "PeriodicDimensions=3\n%LatticeParameters\n 7|7|7\n%\n%ReducedCoordinates\n 'Al'|0|0|0\n%\nUnits{which} = {units}\n"
)
XDATCAR = "Al\n{scale}\n4.05 0 0\n0 4.05 0\n0 0 4.05\nAl\n2\n{kind} configuration=     1\n0 0 0\n0.5 0.5 0\n"
XSF = "CRYSTAL\nPRIMVEC\n4.05 0 0\n0 4.05 0\n0 0 4.05\nPRIMCOORD\n2 1\n13 0 0 0\n13 2.0 2.0 0\n{more}"
RUNNER = (
    "begin\nlattice 15 0 0\nlattice 0 15 0\nlattice 0 0 15\natom 0 0 0 Al 0 0 0 0 0\nenergy -1.0\ncharge 0.0\n{more}end\n"
)
DFTB = (
    "Geometry = GenFormat {{\n3 C\nO H\n1 1 0 0 0.119\n2 2 0 0.763 -0.477\n3 2 0 -0.763 -0.477\n}}\n"
    "Hamiltonian = DFTB {{ Charge = {charge} {more}}}\n"
)
EXPLICIT = (
    'Geometry = {{\n  TypeNames = {{ "Cu" }}\n  TypesAndCoordinates {unit} = {{\n    1 0 0 0\n    1 1.8 1.8 0\n  }}\n'
    "  {periodic}\n  LatticeVectors {vectors} = {{\n    3.6 0 0\n    0 3.6 0\n    0 0 3.6\n  }}\n}}\n"
)
CON = (
    "0 Random Number Seed\n0.0 TIME\n5.1 5.1 20.0\n{angles}\n0 0\n2 0 0\n1\n2\n63.546\nCu\n"
    "Coordinates of Component 1\n0.0 0.0 5.0 1 0\n2.55 2.55 5.0 0 1\n"
)
ANGSTROM = {"unit": "[Angstrom]", "periodic": "Periodic = Yes", "vectors": "[Angstrom]"}
STRUCT = (
    "title\n{lattice}   LATTICE,NONEQUIV.ATOMS:  1 1_P1\nMODE OF CALC=RELA unit=bohr\n  7.600000  7.600000  7.600000"
    " 90.000000 90.000000 90.000000\n"
    "ATOM  -1: X=0.00000000 Y=0.00000000 Z=0.00000000\n          MULT= 1          ISPLIT= 8\n"
    "Al         NPT=  781  R0=0.00010000 RMT=    1.5000   Z: 13.0\n"
    "LOCAL ROT MATRIX:    1.0 0.0 0.0\n  0 1 0\n  0 0 1\n"
)
VSIM = "a\n 4.0 0.0 4.0\n 0.0 0.0 4.0\n#keyword: reduced, periodic{more}\n 0 0 0 Al\n"
ELK = (
    "scale\n 1.0\n\nmolecule\n {molecule}\n\navec\n 8 0 0\n 0 8 0\n 0 0 8\n\n"
    "atoms\n 1 : nspecies\n'Al.in' : spfname\n 1 : natoms\n 0 0 0 0 0 0\n"
)
CJSON = (
    '{{"chemical json": 0, "atoms": {{"elements": {{"number": [8, 1, 1]}}, '
    '"coords": {{"3d": [0, 0, 0.119, 0, 0.763, -0.477, 0, -0.763, -0.477]}}}}, '
    '"properties": {{"totalCharge": {charge}, "totalSpinMultiplicity": {spin}}}}}'
)


def read(path: Path, content: str) -> Frame:
    path.write_text(content)
    return open_frames(path).frame(0)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "reason"),
    [
        ("coord", COORD.format(more=""), COORD.format(more="$periodic 3\n$lattice\n 9 0 0\n 0 9 0\n 0 0 9\n"), "no_cell"),
        (
            "coord",
            COORD.format(more="$eht charge=0 unpaired=0\n"),
            COORD.format(more="$eht charge=1 unpaired=0\n"),
            "charged",
        ),
        ("coord", COORD.format(more=""), COORD.format(more="$eht charge=0 unpaired=2\n"), "radical"),
        ("a.com", GAUSSIAN.format(route=""), GAUSSIAN.format(route="units=bohr"), "units"),
        ("a.com", GAUSSIAN.format(route="units=ang"), GAUSSIAN.format(route="Units(AU)"), "units"),
        (
            "a.com",
            GAUSSIAN.format(route=""),
            GAUSSIAN.format(route="") + "\n--Link1--\n" + GAUSSIAN.format(route=""),
            "mixed_labels",
        ),
        (
            "a.com",
            GAUSSIAN.format(route=""),
            "# HF\n\nx\n\n0 1\nO\nH 1 R\nH 1 R 2 A\n\nR 1\nA 104\n\n",
            "no_coordinates",
        ),
        ("a.com", GAUSSIAN.format(route=""), GAUSSIAN.format(route="") + "O-Bq 0 0 3.0\n", "unknown_element"),
        ("a.car", CAR.format(group="P1"), CAR.format(group="P42/MNM"), "asymmetric_unit"),
        ("a.cfg", CFG.format(mass="12.0107"), CFG.format(mass="69.723"), "no_elements"),
        ("a.nwi", NWCHEM.format(units=""), NWCHEM.format(units="units au"), "units"),
        ("a.nwi", NWCHEM.format(units="units angstroms"), NWCHEM.format(units="center units nanometers"), "units"),
        ("a.nwi", NWCHEM.format(units=""), NWCHEM.format(units="\n symmetry c2v"), "asymmetric_unit"),
        ("a.cell", CASTEP.format(kind="", more=""), CASTEP.format(kind=":ghost", more=""), "unknown_element"),
        (
            "a.abi",
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="scalecart 1 1 1"),
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="scalecart 2 2 2"),
            "units",
        ),
        (
            "a.abi",
            ABINIT.format(positions="xcart 0 0 0 3 3 0", more=""),
            ABINIT.format(positions="xcart 0 0 0 2 2 0 angstrom", more=""),
            "units",
        ),
        (
            "a.abi",
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="spgroup 1"),
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="spgroup 225"),
            "asymmetric_unit",
        ),
        (
            "a.abi",
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more=""),
            ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="").replace("rprim 2 0 0 0 2 0 0 0 2", "angdeg 60 60 60"),
            "no_cell",
        ),
        ("a.struct", STRUCT.format(lattice="P"), STRUCT.format(lattice="F"), "no_cell"),
        ("a.ascii", VSIM.format(more=", angstroem"), VSIM.format(more=""), "units"),
        ("a.car", CAR.format(group="P1"), CAR.format(group="P1").replace("90.0 90.0 90.0", "90.0 90.0 120.0"), "no_cell"),
        ("a.arc", CAR.format(group="P1"), CAR.format(group="P1").replace("90.0 90.0 90.0", "80 90 90"), "no_cell"),
        ("a.cfg", CFG.format(mass="12.0107"), CFG.format(mass="12.0107").replace("A = 1 Ang", "A = 2.5 Ang"), "units"),
        (
            "a.cjson",
            CJSON.format(charge=0, spin=1),
            CJSON.format(charge=0, spin=1).replace('"atoms"', '"unitCell": {"a": 9, "b": 9, "c": 9}, "atoms"'),
            "no_cell",
        ),
        ("GEOMETRY.OUT", ELK.format(molecule="F"), ELK.format(molecule="T"), "units"),
        ("inp", OCTOPUS.format(which="Output", units="eV_Angstrom"), OCTOPUS.format(which="", units="eV_Angstrom"), "units"),
        ("XDATCAR", XDATCAR.format(scale="1.0", kind="Direct"), XDATCAR.format(scale="-66.4", kind="Direct"), "no_cell"),
        ("XDATCAR", XDATCAR.format(scale="1.0", kind="Direct"), XDATCAR.format(scale="1.0", kind="Cartesian"), "units"),
        ("dftb_in.hsd", DFTB.format(charge="0.0", more=""), DFTB.format(charge="1.0", more=""), "charged"),
        ("dftb_in.hsd", DFTB.format(charge="0", more=""), DFTB.format(charge="0", more="UnpairedElectrons = 2 "), "radical"),
        *(
            ("dftb_in.hsd", EXPLICIT.format(**ANGSTROM), EXPLICIT.format(**{**ANGSTROM, key: word}), reason)
            for key, word, reason in (
                ("unit", "[Bohr]", "units"),
                ("unit", "[relative]", "units"),
                ("unit", "", "units"),
                ("vectors", "[au]", "units"),
                ("vectors", "", "units"),
                ("periodic", "periodic = yes", "no_cell"),
                ("periodic", "Periodic = True", "no_cell"),
            )
        ),
        ("a.con", CON.format(angles="90.0 90.0 90.0"), CON.format(angles="90.0 90.0 120.0"), "no_cell"),
        ("a.con", CON.format(angles="60 70 60"), CON.format(angles="120 90 90"), "no_cell"),
        ("a.cjson", CJSON.format(charge=0, spin=1), CJSON.format(charge=1, spin=1), "charged"),
        ("a.cjson", CJSON.format(charge=0, spin=1), CJSON.format(charge=0, spin=3), "radical"),
    ],
)
def test_what_a_reader_would_misread_is_refused(tmp_path, name, right, wrong, reason):
    assert len(read(tmp_path / name, right).structure)
    (tmp_path / "wrong").mkdir()
    with pytest.raises(UnusableError) as refusal:
        read(tmp_path / "wrong" / name, wrong)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("coord", COORD.format(more="$user-defined bonds\n"), ()),
        ("coord", COORD.format(more="$point_charges\n 1 1 1 3\n"), ("ignored: point_charges",)),
        ("a.cell", CASTEP.format(kind="", more="SYMMETRY_GENERATE\n# a comment\n"), ()),
        ("a.cell", CASTEP.format(kind="", more="EXTERNAL_EFIELD 0 0 0.1\n"), ("ignored: EXTERNAL_EFIELD",)),
        ("geometry.in", AIMS.format(more=""), ()),
        (
            "geometry.in",
            AIMS.format(more="empty 1 1 1 O\nhomogeneous_field 0 0 0.1\n"),
            ("ignored: empty, homogeneous_field",),
        ),
        ("a.xsf", XSF.format(more=""), ()),
        ("a.xsf", XSF.format(more="CONVVEC\n8.1 0 0\n0 4.05 0\n0 0 4.05\nMYBLOCK\n1\n"), ("ignored: MYBLOCK",)),
    ],
)
def test_an_unknown_keyword_is_named(tmp_path, name, content, says):
    remarks = read(tmp_path / name, content).remarks
    assert tuple(remark for remark in remarks if remark.startswith("ignored")) == says


def test_eon_is_periodic(tmp_path):
    (tmp_path / "a.con").write_text(CON.format(angles="90.0 90.0 90.0") * 2)
    opened = open_frames(tmp_path / "a.con")
    assert [opened.frame(k).structure.pbc.tolist() for k in range(len(opened))] == [[True] * 3] * 2


def test_a_charge_in_a_format_whose_charge_is_not_read(tmp_path):
    remarks = read(tmp_path / "geometry.in", AIMS.format(more="net_charge 1\n")).remarks
    assert "the file says 'net_charge 1', which is not read" in remarks
    neutral = read(tmp_path / "geometry.in", AIMS.format(more="net_charge 0\n")).remarks
    assert not any("says" in remark for remark in neutral)


@pytest.mark.parametrize("name", ["a.nw", "a.nwi"])
@pytest.mark.parametrize("symbol", ["O", "o "])
def test_spellings_of_nwchem(tmp_path, name, symbol):
    content = NWCHEM.format(units="").replace(" O 0", f" {symbol}  0").replace("end\n\ntask", "end\ntask")
    assert read(tmp_path / name, content).structure.formula == "H2O"


def test_repeated_numbers_and_fractions_of_abinit(tmp_path):
    plain = read(tmp_path / "a.abi", ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="")).structure
    short = ABINIT.format(positions="xred 3*0 2*1/2 0", more="").replace("3 3 3", "3*3").replace("typat 1 1", "typat 2*1")
    found = read(tmp_path / "b.abi", short).structure
    assert (found.cell == plain.cell).all()
    assert (found.positions == plain.positions).all()
    with pytest.raises(UnusableError, match="xcart is not in Bohr"):
        read(tmp_path / "c.abi", ABINIT.format(positions="xcart 3*0 2*2 0 angstrom", more=""))


def test_a_cell_of_abinit_without_rprim(tmp_path):
    content = ABINIT.format(positions="xred 0 0 0 0.5 0.5 0", more="")
    plain = read(tmp_path / "a.abi", content.replace("rprim 2 0 0 0 2 0 0 0 2", "rprim 1 0 0 0 1 0 0 0 1")).structure
    short = read(tmp_path / "b.abi", content.replace("rprim 2 0 0 0 2 0 0 0 2\n", "")).structure
    assert (short.cell == plain.cell).all()
    assert (short.positions == plain.positions).all()


def test_the_format_that_a_file_without_atoms_is_taken_for(tmp_path):
    with pytest.raises(UnusableError, match="takes the file for 'aims', and finds no structure") as refusal:
        read(tmp_path / "elk.in", "tasks\n  0\n\navec\n 1 0 0\n 0 1 0\n 0 0 1\n\natoms\n  1\n  'Si.in'\n  1\n  0 0 0\n")
    assert refusal.value.reason == "no_atoms"


@pytest.mark.parametrize("row", ["O1 0 0 0.225", "bqO 0 0 0.225", "O 0 0 0.225 charge 6.0"])
def test_a_row_that_the_reader_of_nwchem_drops(tmp_path, row):
    with pytest.raises(UnusableError, match="its reader drops it") as refusal:
        read(tmp_path / "a.nw", NWCHEM.format(units="").replace("O 0 0 0.225", row))
    assert refusal.value.reason == "no_elements"


@pytest.mark.parametrize(("line", "charge"), [("0,1 0,1 0,1", 0), ("-1,1 0,1 -1,1", -1), ("1 1 1 1 0 1", 1)])
def test_charges_of_fragments_of_gaussian(tmp_path, line, charge):
    content = GAUSSIAN.format(route="counterpoise=2").replace("0 1\n", f"{line}\n")
    if not charge:
        assert read(tmp_path / "a.gjf", content).structure.formula == "H2O"
        return
    with pytest.raises(UnusableError, match=f"net charge of {charge}"):
        read(tmp_path / "a.gjf", content)


def test_labels_of_sites_of_shelxl(tmp_path):
    head = "TITL a\nCELL 0.71 4 4 4 90 90 90\nLATT -1\nSFAC C O\nUNIT 1 1\n"
    rows = "{c} 1 0.0 0.5 0.326 11.0\n{o} 2 0.0 0.5 0.595 11.0\nEND\n"
    assert read(tmp_path / "a.res", head + rows.format(c="C", o="O")).structure.formula == "CO"
    with pytest.raises(UnusableError, match="labels of sites") as refusal:
        read(tmp_path / "b.res", head + rows.format(c="C1", o="O1"))
    assert refusal.value.reason == "no_elements"


def test_a_file_without_units_of_a_format_that_has_none_is_refused(tmp_path):
    path = tmp_path / "input.data"
    path.write_text(RUNNER.format(more=""))
    with pytest.raises(UnusableError, match="RuNNer takes Bohr and hartree, n2p2 those of the user") as caught:
        open_frames(path).frame(0)
    assert caught.value.reason == "units"
