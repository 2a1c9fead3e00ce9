"""Compile the C++ of this package on the user's machine, and keep what was made.

Enter sources and a compiler, leave a library or a program under ``$POTSTILL_HOME``. It is compiled again when a source, the
compiler, its options or the processor changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.core.cpp import FLAGS, OPTIONAL_FLAGS, compiler_command, processor
from potstill.core.errors import PotstillError
from potstill.core.files import sealed
from potstill.environments.installed import home
from potstill.student.fused_library import HEADERS

SOURCES = Path(__file__).with_name("plugin")
COMPILE_SECONDS = 600


@dataclass(frozen=True)
class Native:
    """A library or program to compile.

    Parameters
    ----------
    name
        File name of the product.
    kind
        Folder under ``$POTSTILL_HOME`` that keeps it.
    sources
        C++ files.
    compiler
        Command of the compiler and its own options.
    options
        Definitions and folders of headers.
    link
        Libraries.
    depends
        Further headers whose change needs a new compilation.
    program
        Whether to make a program instead of a shared library.
    """

    name: str
    kind: str
    sources: tuple[Path, ...]
    compiler: tuple[str, ...]
    options: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    depends: tuple[Path, ...] = ()
    program: bool = False

    @property
    def place(self) -> Path:
        """Return where the product is kept."""
        headers = [*SOURCES.rglob("*.h"), *HEADERS.glob("*.h"), *self.depends]
        texts = (path.read_text(encoding="utf-8") for path in sorted({*headers, *self.sources}))
        parts = [self.name, *self.compiler, *self.options, *self.link, *FLAGS, processor(), *texts]
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        return home() / self.kind / key / self.name

    def compiled(self) -> Path:
        """Return the product, compiled now where it is not kept already.

        Raises
        ------
        PotstillError
            If the compiler fails; with its last words.
        """
        if self.place.is_file():
            return self.place
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / self.name
            for flags in OPTIONAL_FLAGS:
                done = subprocess.run(
                    self._command(flags, made), capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS
                )
                if done.returncode == 0:
                    with sealed(self.place) as temporary:
                        shutil.copy(made, temporary)
                    return self.place
        raise PotstillError(f"{self.name} could not be compiled:\n{done.stderr.strip()[-2000:]}")

    def _command(self, flags: Sequence[str], made: Path) -> list[str]:
        plain = [flag for flag in FLAGS if not (self.program and flag == "-shared")]
        headers = [f"-I{SOURCES}", f"-I{HEADERS.parent}"]
        sources = [str(path) for path in self.sources]
        return [*self.compiler, *plain, *flags, *headers, *self.options, *sources, "-o", str(made), *self.link]


def student_sources(*precisions: str) -> tuple[Path, ...]:
    """Return the C++ files that read ``student.potstill`` and compute with it in ``"single"`` or ``"double"`` precision."""
    return (*(SOURCES / f"engine_{name}.cpp" for name in precisions), SOURCES / "student_file.cpp")


def plain_compiler() -> tuple[str, ...]:
    """Return the command of the C++ compiler of this machine."""
    return tuple(compiler_command())
