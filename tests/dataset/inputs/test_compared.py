"""Formats that ASE's readers give: elements, positions, cell and pbc of a file as its program writes it, in Å.

Numbers are those of one crystal and one molecule, written down in the units of each format. A format without such a file is
refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io.formats import ioformats

from outputs_kit import AIMS, gamess, gaussian, nwchem, orca
from potstill.core.types import Structure
from potstill.dataset.inputs import UnusableError, open_frames
from potstill.dataset.inputs.compared import COMPARED
from potstill.dataset.inputs.frames import _format_of

BOHR = 0.529177210903  # Å
SYMBOLS = ("O", "Zn")
NUMBERS = (8, 30)
CELL = np.array([[4.0, 0.0, 0.0], [0.5, 5.0, 0.0], [0.3, 0.7, 6.0]])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.6, 0.35, 0.85]])
PLACES = FRACTIONS @ CELL
LENGTHS = np.linalg.norm(CELL, axis=1)
ANGLES = [np.degrees(np.arccos(CELL[i] @ CELL[j] / LENGTHS[i] / LENGTHS[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
BOX = np.diag([4.0, 5.0, 6.0])
IN_BOX = FRACTIONS @ BOX
WATER = np.array([[0.0, 0.0, 0.119262], [0.0, 0.763239, -0.477047], [0.0, -0.763239, -0.477047]])


def row(numbers: np.ndarray | list[float], behind: str = "") -> str:
    return "".join(f" {x:19.12f}" for x in numbers) + behind + "\n"


def rows(numbers: np.ndarray, unit: float = 1.0) -> str:
    return "".join(row(line) for line in numbers / unit)


def atoms(places: np.ndarray, names: tuple = SYMBOLS, unit: float = 1.0, behind: str = "") -> str:
    """Return rows of a name and its place."""
    return "".join(f" {name} {row(place, behind)}" for name, place in zip(names, places / unit, strict=True))


def turned(places: np.ndarray, names: tuple[str, ...] = SYMBOLS, unit: float = 1.0) -> str:
    """Return rows of a place and its name."""
    return "".join(row(place, f" {name}") for name, place in zip(names, places / unit, strict=True))


def step_of_castep(unit: float) -> str:
    lines = "".join(row(vector, "  <-- h").replace("\n", "\n") for vector in CELL / unit)
    for tag, numbers in (("R", PLACES / unit), ("F", np.zeros((2, 3)))):
        lines += "".join(f" {symbol} 1{row(line, f'  <-- {tag}')}" for symbol, line in zip(SYMBOLS, numbers, strict=True))
    return f" BEGIN header\n\n END header\n\n          0\n   -1.0 -1.0 0.0  <-- E\n{lines}\n"


def outcar() -> str:
    vectors = "".join(row(np.r_[vector, vector]) for vector in CELL)
    places = "".join(row(np.r_[place, 0.0, 0.0, 0.0]) for place in PLACES)
    head = "".join(f" POTCAR:    PAW_PBE {symbol} 08Apr2002\n" for symbol in 2 * SYMBOLS)
    return (
        f" vasp.6.3.2\n INCAR:\n{head}   ISPIN  =      1    spin polarized calculation?\n"
        f"   ions per type =               1   1\n   NELM   =     60;   NELMIN=  2\n"
        f"--------------------------------------- Iteration      1(   1)  ---\n aborting loop because EDIFF is reached\n"
        f"  in kB       1.0 2.0 3.0 4.0 5.0 6.0\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{vectors}\n"
        f" POSITION                                       TOTAL-FORCE (eV/Angst)\n {'-' * 83}\n{places} {'-' * 83}\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        "  free  energy   TOTEN  =       -10.00000000 eV\n\n"
        "  energy  without entropy=       -10.00000000  energy(sigma->0) =       -10.00000000\n"
    )


def vasprun() -> str:
    vectors, places = ("".join(f"<v>{row(line).strip()}</v>" for line in numbers) for numbers in (CELL, FRACTIONS))
    crystal = f"<crystal><varray name='basis'>{vectors}</varray></crystal><varray name='positions'>{places}</varray>"
    energy = "".join(f"<i name='{name}'>-10.0</i>" for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
    kinds = "".join(f"<rc><c>{symbol}</c><c>{k + 1}</c></rc>" for k, symbol in enumerate(SYMBOLS))
    return (
        "<?xml version='1.0'?><modeling><generator><i name='program' type='string'>vasp</i></generator>"
        "<kpoints><generation param='Gamma'><v type='int' name='divisions'>1 1 1</v></generation>"
        "<varray name='kpointlist'><v>0 0 0</v></varray><varray name='weights'><v>1</v></varray></kpoints>"
        "<parameters><i type='int' name='NELM'>60</i></parameters>"
        f"<atominfo><atoms>2</atoms><types>2</types><array name='atoms'><set>{kinds}</set></array></atominfo>"
        f"<structure name='initialpos'>{crystal}</structure>"
        f"<calculation><scstep><energy>{energy}</energy></scstep><structure>{crystal}</structure>"
        "<varray name='forces'><v>0 0 0</v><v>0 0 0</v></varray>"
        "<varray name='stress'><v>1 0 0</v><v>0 1 0</v><v>0 0 1</v></varray>"
        f"<energy>{energy}</energy></calculation><structure name='finalpos'>{crystal}</structure></modeling>"
    )


def pwo() -> str:
    alat = 4.0 / BOHR
    axes = "".join(f"               a({k + 1}) = ({x:11.6f}{y:11.6f}{z:11.6f} )\n" for k, (x, y, z) in enumerate(CELL / 4.0))
    sites = "".join(
        f"         {k + 1}           {symbol}   tau(   {k + 1}) = ({x:12.7f}{y:12.7f}{z:12.7f}  )\n"
        for k, (symbol, (x, y, z)) in enumerate(zip(SYMBOLS, PLACES / 4.0, strict=True))
    )
    forces = "".join(f"     atom    {k} type  {k}   force =     0.00000000    0.00000000    0.00000000\n" for k in (1, 2))
    return (
        "     Program PWSCF v.6.5 starts on  1Jan2026 at 10: 0: 0 \n\n     bravais-lattice index     =            0\n"
        f"     lattice parameter (alat)  =    {alat:.8f}  a.u.\n     number of atoms/cell      =            2\n"
        f"     number of atomic types    =            2\n     celldm(1)=   {alat:.9f}"
        "  celldm(2)=   0.000000  celldm(3)=   0.000000\n\n"
        f"     crystal axes: (cart. coord. in units of alat)\n{axes}\n   Cartesian axes\n\n"
        f"     site n.     atom                  positions (alat units)\n{sites}\n     number of k points=     1\n"
        "                       cart. coord. in units 2pi/alat\n"
        "        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000\n\n"
        "     Self-consistent Calculation\n\n     End of self-consistent calculation\n\n"
        "          k = 0.0000 0.0000 0.0000 (   100 PWs)   bands (ev):\n\n    -5.0000   1.0000\n\n"
        "     the Fermi energy is     2.0000 ev\n\n"
        "!    total energy              =     -31.60000000 Ry\n\n"
        f"     Forces acting on atoms (cartesian axes, Ry/au):\n\n{forces}\n     JOB DONE.\n"
    )


def castep() -> str:
    return (
        " +-------------------------------------------------+\n | Welcome to Academic Release CASTEP version 23.1 |\n"
        " ************************************ Title ************************************\n\n"
        " **************************** Electronic Parameters ****************************\n\n"
        " net charge of system                           : 0.000\n treating system as non-spin-polarized\n\n"
        " *******************************************************************************\n"
        "                                      Unit Cell\n        Real Lattice(A)              Reciprocal Lattice(1/A)\n"
        + "".join(row(np.r_[vector, 0.0, 0.0, 0.0]) for vector in CELL)
        + "\n                         Cell Contents\n                         Total number of ions in cell =    2\n\n"
        "            x  Element    Atom        Fractional coordinates of atoms  x\n"
        + "".join(f"            x  {s}  1 {row(f).rstrip()}   x\n" for s, f in zip(SYMBOLS, FRACTIONS, strict=True))
        + "\nFinal energy, E             =  -337.8000000000     eV\n"
        " ************************************** Forces **************************************\n"
        + "".join(f" * {symbol}              1      0.00000     0.00000     0.00000         *\n" for symbol in SYMBOLS)
        + "Finalisation time   =      0.18 s\n"
    )


def gpaw() -> str:
    places = "".join(
        f"   {k} {symbol:2} {x:12.6f} {y:12.6f} {z:12.6f}    ( 0.0000,  0.0000,  0.0000)\n"
        for k, (symbol, (x, y, z)) in enumerate(zip(SYMBOLS, PLACES, strict=True))
    )
    axes = "".join(
        f"  {k + 1}. axis:    {'yes' if k < 2 else 'no '} {x:12.6f}{y:12.6f}{z:12.6f}    20     0.2000\n"
        for k, (x, y, z) in enumerate(CELL)
    )
    return (
        "\n  ___ ___ ___ _ _ _  \n |   |   |_  | | | | \n | | | | | . | | | | \n"
        " |__ |  _|___|_____|  24.1.0\n |___|_|             \n\n"
        f"Positions:\n{places}\nUnit cell:\n           periodic     x           y           z      points  spacing\n{axes}\n"
        "Energy contributions relative to reference atoms: (reference = -1.0)\n\nKinetic:         +1.0\n"
        "--------------------------\nFree energy:    -10.123400\nExtrapolated:   -10.123400\n\n"
        "Forces in eV/Ang:\n  0 O     0.00000    0.00000    0.00000\n  1 Zn    0.00000    0.00000    0.00000\n\n"
    )


def struct_of_wien() -> str:
    sites = ""
    for k, (symbol, (x, y, z)) in enumerate(zip(SYMBOLS, FRACTIONS, strict=True)):
        sites += f"ATOM  {-k - 1:2d}: X={x:10.8f} Y={y:10.8f} Z={z:10.8f}\n          MULT= 1          ISPLIT= 8\n"
        sites += f"{symbol:10} NPT=  781  R0=0.00010000 RMT=    1.5000   Z: {NUMBERS[k]:4.1f}\n"
        sites += "LOCAL ROT MATRIX:    1.0000000 0.0000000 0.0000000\n"
        sites += 2 * "                     0.0000000 1.0000000 0.0000000\n"
    cell = "".join(f"{x:10.6f}" for x in [*(LENGTHS / BOHR), *ANGLES])
    head = "title\nP   LATTICE,NONEQUIV.ATOMS:  2 1_P1\nMODE OF CALC=RELA unit=bohr\n"
    return f"{head}{cell}\n{sites}   0      NUMBER OF SYMMETRY OPERATIONS\n"


def fort34() -> str:
    identity = rows(np.vstack([np.eye(3), np.zeros(3)]))
    return f"   3   1   1\n{rows(CELL)}    1\n{identity}    2\n{atoms(PLACES, ('  8', ' 30'))}"


def cfg() -> str:
    cell = "".join(f"H0({i + 1},{j + 1}) = {CELL[i, j]} A\n" for i in range(3) for j in range(3))
    sites = "".join(f"{mass}\n{s}\n{row(f)}" for mass, s, f in zip((15.999, 65.38), SYMBOLS, FRACTIONS, strict=True))
    return f"Number of particles = 2\nA = 1.0 Angstrom (basic length-scale)\n{cell}.NO_VELOCITY.\nentry_count = 3\n{sites}"


def geometry_out() -> str:
    scales = "".join(f"\nscale{k}\n 1.0\n" for k in ("", 1, 2, 3))
    species = "".join(
        f"'{s}.in' : spfname\n  1 : natoms; atpos, bfcmt below\n{row([*f, 0.0, 0.0, 0.0])}"
        for s, f in zip(SYMBOLS, FRACTIONS, strict=True)
    )
    return f"{scales}\navec\n{rows(CELL, BOHR)}\natoms\n  2 : nspecies\n{species}"


def car(frames: int) -> str:
    body = (
        "!DATE Sun Nov 29 14:00:00 2026\nPBC    4.0000    5.0000    6.0000   90.0000   90.0000   90.0000 (P1)\n"
        + "".join(
            f"{s}1   {row(p).rstrip()} XXXX 1      xx      {s:2}  0.000\n" for s, p in zip(SYMBOLS, IN_BOX, strict=True)
        )
        + "end\nend\n"
    )
    return f"!BIOSYM archive 3\nPBC=ON\n{'title' if frames == 1 else ''}\n" + frames * body


ESPRESSO = (
    "&SYSTEM\n ibrav=0, nat=2, ntyp=2\n {more}\n/\nATOMIC_SPECIES\nO 15.999 O.upf\nZn 65.38 Zn.upf\n"
    "CELL_PARAMETERS {cell}\n{vectors}ATOMIC_POSITIONS {kind}\n{atoms}K_POINTS gamma\n"
)
CRYSTAL = {  # name in ASE: name of the file, and its text, each of the crystal
    "abinit-in": [
        (
            "a.abi",
            f"acell 3*1.0\nrprim\n{rows(CELL, BOHR)}ntypat 2\nznucl 8 30\nnatom 2\ntypat 1 2\nxred\n{rows(FRACTIONS)}",
        ),
        (
            "b.abi",
            (
                f"acell 1 1 1 angstrom\nrprim\n{rows(CELL)}ntypat 2\nznucl 30 8\nnatom 2\n"
                f"typat 2 1\nxcart\n{rows(PLACES, BOHR)}"
            ),
        ),
    ],
    "aims": [
        (
            "geometry.in",
            "".join(f"lattice_vector{row(v)}" for v in CELL)
            + "".join(f"atom{row(p, f' {s}')}" for s, p in zip(SYMBOLS, PLACES, strict=True)),
        ),
        (
            "b/geometry.in",
            "".join(f"lattice_vector{row(v)}" for v in CELL)
            + "".join(f"atom_frac{row(f, f' {s}')}" for s, f in zip(SYMBOLS, FRACTIONS, strict=True)),
        ),
    ],
    "castep-castep": [("a.castep", castep())],
    "castep-cell": [
        (
            "a.cell",
            (
                f"%BLOCK LATTICE_CART\n{rows(CELL)}%ENDBLOCK LATTICE_CART\n\n"
                f"%BLOCK POSITIONS_FRAC\n{atoms(FRACTIONS)}%ENDBLOCK POSITIONS_FRAC\n"
            ),
        ),
        (
            "b.cell",
            (
                f"%BLOCK LATTICE_CART\nbohr\n{rows(CELL, BOHR)}%ENDBLOCK LATTICE_CART\n\n"
                f"%BLOCK POSITIONS_ABS\nang\n{atoms(PLACES)}%ENDBLOCK POSITIONS_ABS\n"
            ),
        ),
        (
            "c.cell",
            (
                f"%BLOCK LATTICE_ABC\nang\n{row(LENGTHS)}{row(ANGLES)}%ENDBLOCK LATTICE_ABC\n\n"
                f"%BLOCK POSITIONS_ABS\nbohr\n{atoms(PLACES, unit=BOHR)}%ENDBLOCK POSITIONS_ABS\n"
            ),
        ),
    ],
    "castep-geom": [("a.geom", step_of_castep(BOHR))],
    "castep-md": [("a.md", step_of_castep(BOHR))],
    "cfg": [("a.cfg", cfg())],
    "crystal": [("fort.34", fort34())],
    "cube": [
        (
            "a.cube",
            "density\nOUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z\n    2    0.000000    0.000000    0.000000\n"
            + "".join(f"    2{row(v)}" for v in CELL / 2 / BOHR)
            + "".join(f"   {z}    0.000000{row(p)}" for z, p in zip(NUMBERS, PLACES / BOHR, strict=True))
            + "  1.0 1.0 1.0 1.0 1.0 1.0\n  1.0 1.0\n",
        )
    ],
    "dftb": [
        (
            "dftb_in.hsd",
            (
                'Geometry = {\n  TypeNames = { "O" "Zn" }\n  TypesAndCoordinates [Angstrom] = {\n'
                f"{atoms(PLACES, (1, 2))}  }}\n  Periodic = Yes\n  LatticeVectors [Angstrom] = {{\n{rows(CELL)}  }}\n}}\n"
            ),
        ),
        (
            "b/dftb_in.hsd",
            (
                f"Geometry = GenFormat {{\n2 F\nO Zn\n"
                f"{atoms(FRACTIONS, ('1 1', '2 2'))}{rows(np.zeros((1, 3)))}{rows(CELL)}}}\n"
            ),
        ),
    ],
    "elk": [("GEOMETRY.OUT", geometry_out())],
    "espresso-in": [
        (
            "a.pwi",
            ESPRESSO.format(more="", cell="angstrom", vectors=rows(CELL), kind="crystal", atoms=atoms(FRACTIONS)),
        ),
        ("b.pwi", ESPRESSO.format(more="", cell="bohr", vectors=rows(CELL, BOHR), kind="angstrom", atoms=atoms(PLACES))),
        (
            "c.pwi",
            ESPRESSO.format(
                more="A = 4.0", cell="alat", vectors=rows(CELL, 4.0), kind="bohr", atoms=atoms(PLACES, unit=BOHR)
            ),
        ),
    ],
    "espresso-out": [("a.pwo", pwo())],
    "gaussian-in": [("a.gjf", f"# PBEPBE/6-31G*\n\ntitle\n\n0 1\n{atoms(PLACES)}{atoms(CELL, ('Tv', 'Tv', 'Tv'))}\n")],
    "gen": [
        ("a.gen", f"  2  S\n O Zn\n{atoms(PLACES, ('1 1', '2 2'))}{rows(np.zeros((1, 3)))}{rows(CELL)}"),
        ("b.gen", f"  2  F\n O Zn\n{atoms(FRACTIONS, ('1 1', '2 2'))}{rows(np.zeros((1, 3)))}{rows(CELL)}"),
    ],
    "magres": [
        (
            "a.magres",
            "#$magres-abinitio-v1.0\n[atoms]\nunits lattice Angstrom\n"
            f"lattice {rows(CELL.reshape(1, 9))}units atom Angstrom\n"
            + "".join(f"atom {s} {s} 1{row(p)}" for s, p in zip(SYMBOLS, PLACES, strict=True))
            + "[/atoms]\n",
        )
    ],
    "octopus-in": [
        (
            "inp",
            "PeriodicDimensions = 3\n%LatticeParameters\n 1.0 | 1.0 | 1.0\n%\n%LatticeVectors\n"
            + "".join(f" {' | '.join(f'{x:.12f}' for x in v)}\n" for v in CELL / BOHR)
            + "%\n%ReducedCoordinates\n"
            + "".join(f" '{s}' | {' | '.join(f'{x:.12f}' for x in f)}\n" for s, f in zip(SYMBOLS, FRACTIONS, strict=True))
            + "%\n",
        )
    ],
    "onetep-in": [
        (
            "a.dat",
            (
                "%block species\n O O 8 4 8.0\n Zn Zn 30 9 8.0\n%endblock species\n"
                f"%block lattice_cart\n{rows(CELL, BOHR)}%endblock lattice_cart\n"
                f"%block positions_abs\nang\n{atoms(PLACES)}%endblock positions_abs\n"
            ),
        )
    ],
    "res": [
        (
            "a.res",
            f"TITL a-1 0.0 120.0 -10.0 0 0 2 (P1) n - 1\nCELL 1.54180{row([*LENGTHS, *ANGLES])}LATT -1\nSFAC O Zn\n"
            + "".join(f"{s} {k + 1}{row(f, ' 1.0')}" for k, (s, f) in enumerate(zip(SYMBOLS, FRACTIONS, strict=True)))
            + "END\n",
        )
    ],
    "siesta-xv": [
        (
            "a.XV",
            "".join(row([*v, 0.0, 0.0, 0.0]) for v in CELL / BOHR)
            + "           2\n"
            + "".join(f" {k + 1} {NUMBERS[k]}{row([*p, 0.0, 0.0, 0.0])}" for k, p in enumerate(PLACES / BOHR)),
        )
    ],
    "struct": [("a.struct", struct_of_wien())],
    "struct_out": [
        (
            "a.STRUCT_OUT",
            f"{rows(CELL)}           2\n" + "".join(f" {k + 1} {NUMBERS[k]}{row(f)}" for k, f in enumerate(FRACTIONS)),
        )
    ],
    "v-sim": [
        (
            "a.ascii",
            (
                "a\n"
                f"{row([CELL[0, 0], CELL[1, 0], CELL[1, 1]])}{row(CELL[2])}"
                f"#keyword: reduced, angstroem, periodic\n{turned(FRACTIONS)}"
            ),
        ),
        (
            "b.ascii",
            (
                f"a\n{row(np.array([CELL[0, 0], CELL[1, 0], CELL[1, 1]]) / BOHR)}{row(CELL[2] / BOHR)}"
                f"#keyword: bohr, periodic\n{turned(PLACES, unit=BOHR)}"
            ),
        ),
    ],
    "vasp-out": [("OUTCAR", outcar())],
    "vasp-xdatcar": [
        ("XDATCAR", f"a\n 1.0\n{rows(CELL)} O Zn\n 1 1\nDirect configuration=     1\n{rows(FRACTIONS)}"),
        ("b/XDATCAR", f"a\n 2.0\n{rows(CELL / 2)} O Zn\n 1 1\nDirect configuration=     1\n{rows(FRACTIONS)}"),
    ],
    "vasp-xml": [("vasprun.xml", vasprun())],
    "xsf": [("a.xsf", f"CRYSTAL\nPRIMVEC\n{rows(CELL)}PRIMCOORD\n 2 1\n{atoms(PLACES, NUMBERS)}")],
}
BOXED = {
    "dmol-arc": [("a.arc", car(2))],
    "dmol-car": [("a.car", car(1))],
    "eon": [
        (
            "a.con",
            "0 Random Number Seed\n0.0 TIME\n4.0 5.0 6.0\n90.0 90.0 90.0\n0 0\n2 0 0\n2\n1 1\n15.999 65.38\n"
            + "".join(
                f"{s}\nCoordinates of Component {k + 1}\n{row(p, f' 0 {k}')}"
                for k, (s, p) in enumerate(zip(SYMBOLS, IN_BOX, strict=True))
            ),
        )
    ],
}
H2O = ("O", "H", "H")
MOLECULE = {
    "aims": [("geometry.in", "".join(f"atom{row(p, f' {s}')}" for s, p in zip(H2O, WATER, strict=True)))],
    "aims-output": [("aims.out", AIMS.format(charge=""))],
    "cjson": [
        (
            "a.cjson",
            (
                '{"chemicalJson": 1, "atoms": {"elements": {"number": [8, 1, 1]}, "coords": {"3d": '
                f'{WATER.ravel().tolist()}}}}}, "properties": {{"totalCharge": 0, "totalSpinMultiplicity": 1}}}}'
            ),
        )
    ],
    "gamess-us-out": [("gamess.out", gamess())],
    "gaussian-in": [("a.com", f"%mem=1GB\n# B3LYP/6-31G*\n\ntitle\n\n0 1\n{atoms(WATER, H2O)}\n")],
    "gaussian-out": [("a.log", gaussian())],
    "gen": [("a.gen", f"  3  C\n O H\n{atoms(WATER, ('1 1', '2 2', '3 2'))}")],
    "magres": [
        (
            "a.magres",
            "#$magres-abinitio-v1.0\n[atoms]\nunits atom Angstrom\n"
            + "".join(f"atom {s} {s} {k + 1}{row(p)}" for k, (s, p) in enumerate(zip(H2O, WATER, strict=True)))
            + "[/atoms]\n",
        )
    ],
    "nwchem-in": [("a.nw", f"start a\ngeometry\n{atoms(WATER, H2O)}end\n\ntask dft\n")],
    "nwchem-out": [("a.nwo", nwchem())],
    "orca-output": [("orca.out", orca())],
    "turbomole": [("coord", f"$coord\n{turned(WATER, ('o', 'h', 'h'), BOHR)}$end\n")],
    "xsf": [("a.xsf", f"ATOMS\n{atoms(WATER, (8, 1, 1))}")],
}
SLAB = {"gpaw-out": [("a.txt", gpaw())]}
FILES = [
    pytest.param(format_name, name, text, places, cell, pbc, id=f"{format_name}-{name}")
    for files, places, cell, pbc in (
        (CRYSTAL, PLACES, CELL, True),
        (BOXED, IN_BOX, BOX, True),
        (SLAB, PLACES, CELL, (True, True, False)),
        (MOLECULE, WATER, None, False),
    )
    for format_name, cases in files.items()
    for name, text in cases
]


def read(path: Path, text: str) -> list[Structure]:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    opened = open_frames(path)
    return [opened.frame(k).structure for k in range(len(opened))]


@pytest.mark.filterwarnings("ignore")  # of ASE's readers
@pytest.mark.parametrize(("format_name", "name", "text", "places", "cell", "pbc"), FILES)
def test_what_the_format_means(tmp_path, format_name, name, text, places, cell, pbc):
    found = read(tmp_path / name, text)
    assert (_format_of(tmp_path / name).name, bool(found)) == (format_name, True)
    for structure in found:
        assert structure.atomic_numbers.tolist() == ([8, 1, 1] if cell is None else list(NUMBERS))
        np.testing.assert_allclose(structure.positions - structure.positions[0], places - places[0], atol=2e-5)
        if cell is not None:
            np.testing.assert_allclose(structure.positions, places, atol=2e-5)
            np.testing.assert_allclose(structure.cell, cell, atol=2e-5)
        assert structure.pbc.tolist() == np.broadcast_to(pbc, 3).tolist()


def test_each_format_on_the_list_is_compared():
    assert set(COMPARED) == {case.values[0] for case in FILES}
    assert set(COMPARED) <= ioformats.keys()


def test_others_are_refused(tmp_path):
    path = tmp_path / "my gradient"
    path.mkdir()
    (path / "gradient").write_text("$grad          cartesian gradients\n", encoding="utf-8")
    with pytest.raises(UnusableError, match=r"ase convert -i turbomole-gradient gradient out\.extxyz") as refusal:
        open_frames(path / "gradient")
    assert refusal.value.reason == "unchecked_format"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.out", "<fpmd:simulation xmlns:fpmd='x'>\n"), ("a.abo", "\n.Version 9.6.2 of ABINIT \n echo values\n")],
)
def test_a_reader_that_is_known_to_take_other_units(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UnusableError, match="its reader takes") as refusal:
        open_frames(tmp_path / name)
    assert refusal.value.reason == "units"
