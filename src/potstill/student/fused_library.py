"""The C++ kernel ``fused.cpp``, compiled once on the user's machine and kept in a cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from potstill.core.errors import PotstillError

SOURCE = Path(__file__).with_name("fused.cpp")
HEADERS = Path(__file__).with_name("kernel")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
# the first that compiles; without OpenMP there is one thread
OPTIONAL_FLAGS = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-fopenmp",),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
COMPILE_SECONDS = 300


class KernelError(PotstillError):
    """The fused kernel cannot be used here; the message says why."""


def load_library() -> ctypes.CDLL:
    """The compiled kernel, from the cache or compiled now.

    Raises
    ------
    KernelError
        If there is no compiler, or it fails.
    """
    found = loaded_library()
    if isinstance(found, str):
        raise KernelError(found)
    return found


@cache
def loaded_library() -> ctypes.CDLL | str:
    """The compiled kernel, or why there is none: what failed once in a process is not tried again."""
    try:
        compiler = compiler_command()
        library = _cache_folder() / f"fused-{_key(compiler)}.so"
        if not _whole(library):
            _compile(compiler, library)
        return ctypes.CDLL(str(library))
    except KernelError as error:
        return str(error)
    except OSError as error:
        return f"the compiled kernel {library} cannot be loaded: {error}"


def _whole(library: Path) -> bool:
    """Whether a library is there as it was compiled: loading a damaged one would end the process."""
    seal = library.with_suffix(".sha256")
    try:
        return seal.read_text(encoding="ascii") == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def compiler_command() -> list[str]:
    """Command of the compiler, with the options that ``CXX`` may hold."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else [["c++"], ["g++"], ["clang++"]]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    name = wanted[0] if wanted else "c++, g++ or clang++"
    raise KernelError(f"no C++ compiler {name} was found; install one (for example g++) for the fused kernel")


def _key(compiler: list[str]) -> str:
    """Changes with the sources, the flags, the compiler and the processor, for which it was compiled."""
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the C++ compiler {shlex.join(compiler)} does not run: {error}") from error
    sources = b"".join(path.read_bytes() for path in [SOURCE, *sorted(HEADERS.glob("*.h"))])
    parts = (sources, repr((FLAGS, OPTIONAL_FLAGS, compiler)).encode(), version, processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def processor() -> str:
    """Description of the processor, which machine code is compiled for."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = {line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith(wanted)}
        return "\n".join(sorted(lines))
    return f"{sys.platform} {platform.machine()} {platform.processor()}"


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill"
    except RuntimeError as error:
        raise KernelError(f"no folder to keep the compiled kernel in ({error}); set XDG_CACHE_HOME") from error


def _compile(compiler: list[str], library: Path) -> None:
    """Compile under a temporary name, then rename: two processes that start together do not disturb each other."""
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            for flags in OPTIONAL_FLAGS:
                command = [*compiler, *FLAGS, *flags, str(SOURCE), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS)
                if done.returncode == 0:
                    seal = made.with_suffix(".sha256")
                    seal.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
                    made.replace(library)
                    seal.replace(library.with_suffix(".sha256"))
                    return
        raise KernelError(f"{shlex.join(compiler)} could not compile {SOURCE.name}:\n{done.stderr.strip()[-2000:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the fused kernel cannot be compiled into {library.parent}: {error}") from error
