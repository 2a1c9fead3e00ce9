"""C++ kernels, compiled once on the user's machine and kept in a cache.

Takes the source of a kernel, returns the loaded library. It is compiled again when source, compiler, options or processor
change.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from potstill.core.errors import PotstillError

FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
# Options of the compiler; the first that compiles is taken. Without OpenMP there is one thread.
OPTIONAL_FLAGS = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-fopenmp",),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
COMPILE_SECONDS = 300

log = logging.getLogger(__name__)


class KernelError(PotstillError):
    """Raised where a kernel cannot run here; the message says why."""


class LibraryError(KernelError):
    """Raised where the library of a C++ kernel cannot be compiled or loaded, which a user can fix."""


def compiled(source: Path, headers: Sequence[Path], symbols: Sequence[str]) -> ctypes.CDLL | str:
    """Return a kernel, from the cache or compiled now, or why there is none.

    Parameters
    ----------
    source
        C++ file. Its name without the ending is the name of the kernel in messages and in the cache.
    headers
        Files of this package that it includes.
    symbols
        Functions that the library must have.
    """
    name = source.stem
    try:
        compiler = compiler_command()
        with _folder_of_our_own(name) as folder:
            library = folder / f"{name}-{_key(compiler, [source, *headers])}.so"
            if not _whole(library):
                _compile(compiler, source, library)
            loaded = ctypes.CDLL(str(library))
    except KernelError as error:
        return str(error)
    except OSError as error:
        return f"the {name} kernel cannot be compiled or loaded: {error}"
    lacking = [symbol for symbol in symbols if not hasattr(loaded, symbol)]
    if lacking:
        return f"the library {library} is not the {name} kernel: it has no {lacking[0]}\n  remove it to compile it again"
    return loaded


def demand(found: ctypes.CDLL | str) -> ctypes.CDLL:
    """Return a kernel that :func:`compiled` has found.

    Raises
    ------
    LibraryError
        If it has found none, with the reason.
    """
    if isinstance(found, str):
        raise LibraryError(found)
    return found


@contextmanager
def _folder_of_our_own(name: str) -> Iterator[Path]:
    """Yield the cache folder; where others could write to it, warn and yield a temporary folder."""
    folder = _cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KernelError(
            f"the {name} kernel cannot be stored in {folder}: {error}\n  set XDG_CACHE_HOME to another folder"
        ) from error
    fault = _fault_of(folder)
    if fault is None:
        yield folder
        return
    log.warning(
        "the %s kernel is compiled again in each process: %s\n  %sset XDG_CACHE_HOME to a folder of your own",
        name,
        *fault,
    )
    with tempfile.TemporaryDirectory(prefix="potstill-") as private:  # 0700; the library stays loaded without its file
        yield Path(private)


def _fault_of(folder: Path) -> tuple[str, str] | None:
    """Return why a library in a folder cannot be trusted, and the beginning of the remedy; None where it can be."""
    own = os.geteuid()
    for place in (folder, *folder.parents):
        state = place.stat()
        writable = stat.S_IWOTH if place != folder else stat.S_IWOTH | stat.S_IWGRP
        if state.st_uid not in ({own} if place == folder else {own, 0}):
            return f"{place} belongs to another user (id {state.st_uid})", ""
        if state.st_mode & writable and not (place != folder and state.st_mode & stat.S_ISVTX):
            return f"other users can write to {place}", f"fix it with:  chmod go-w {shlex.quote(str(place))}  or "
    return None


def _whole(library: Path) -> bool:
    """Return whether a complete library of this user exists.

    A damaged library would end the process, and others' code might run from one that they can write.
    """
    seal = library.with_suffix(".sha256")
    try:
        for path in (library, seal):
            state = path.lstat()
            ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()
            if not ours or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return False
        return seal.read_text(encoding="ascii") == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def compiler_command() -> list[str]:
    """Return the command of the compiler, with the options that ``CXX`` may contain."""
    try:
        wanted = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise KernelError(f"the variable CXX is no command: {error}") from error
    for command in [wanted] if wanted else [["c++"], ["g++"], ["clang++"]]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    name = wanted[0] if wanted else "c++, g++ or clang++"
    raise KernelError(f"no C++ compiler {name} was found; install one (for example g++) for the C++ kernels")


def _key(compiler: list[str], files: Sequence[Path]) -> str:
    """Return a key of the sources, the flags, the compiler and the processor."""
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the C++ compiler {shlex.join(compiler)} does not run: {error}") from error
    sources = b"".join(path.read_bytes() for path in files)
    parts = (sources, repr((FLAGS, OPTIONAL_FLAGS, compiler)).encode(), version, processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def processor() -> str:
    """Return a text that differs between processors with different machine code."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = {line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith(wanted)}
        return "\n".join(sorted(lines))
    return f"{sys.platform} {platform.machine()} {platform.processor()}"


def _cache_folder() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:  # the specification does not allow a relative path
        return (given if given.is_absolute() else Path.home() / ".cache") / "potstill"
    except RuntimeError as error:
        raise KernelError(f"no folder for the compiled kernel ({error}); set XDG_CACHE_HOME") from error


def _compile(compiler: list[str], source: Path, library: Path) -> None:
    """Compile under a temporary name, then rename, so that two processes started at once do not disturb each other."""
    log.info("compiling the %s kernel, once for this machine", source.stem)
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            for flags in OPTIONAL_FLAGS:
                command = [*compiler, *FLAGS, *flags, str(source), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS)
                if done.returncode == 0:
                    seal = made.with_suffix(".sha256")
                    made.chmod(0o700)
                    seal.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
                    seal.chmod(0o600)
                    made.replace(library)
                    seal.replace(library.with_suffix(".sha256"))
                    return
        raise KernelError(f"{shlex.join(compiler)} could not compile {source.name}:\n{done.stderr.strip()[-2000:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the {source.stem} kernel cannot be compiled into {library.parent}: {error}") from error
