"""Interface of a teacher: options that a config states, ``load()`` makes the model, ``label`` calls it.

A plug-in's teacher is a subclass of :class:`TeacherOptions` named by an entry point of the group ``potstill.teachers``.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from potstill.core.checksums import with_contents
from potstill.core.errors import InputError
from potstill.core.registry import borrow, nearest
from potstill.core.section import NameOrPath, Section
from potstill.core.stress import from_voigt
from potstill.core.types import PROPERTIES, Labels, Refused, Structure, Teacher
from potstill.teacher.batching import label_each, refuse_foreign
from potstill.teacher.messages import as_number

Device = Annotated[
    str, Field(description="torch device of the teacher; auto: a GPU if there is one", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
]
AtomsPerBatch = Annotated[
    int,
    Field(
        gt=0,
        description="largest number of atoms in one call of the model, halved where memory is too small; the default is for "
        "a CPU and stands for 16384 on a GPU",
    ),
]

# elements of the Materials Project's trajectories, Alexandria and OMat24: no Po, At, Rn, Fr, Ra, and none beyond Pu
MATERIALS_ELEMENTS = frozenset({*range(1, 84), *range(89, 95)})


class TeacherOptions(Section, ABC):
    """Options of a teacher in the config."""

    on_demand: ClassVar[bool] = True
    """Whether it labels any structure on demand; False where the labels come with the user's files."""

    own_environment: ClassVar[str] = ""
    """Environment of :mod:`potstill.environments` that it runs in where :meth:`lives_here` is False."""

    environment: Annotated[
        NameOrPath,
        Field(
            description="environment of the teacher's process: a name of 'potstill setup' or the path of an "
            "interpreter; this environment where empty"
        ),
    ] = ""

    @abstractmethod
    def load(self) -> Teacher:
        """Load the model in this process, ready to label (heavy packages are imported here).

        Raises
        ------
        MissingExtraError
            If its package is not installed.
        InputError
            If its weights are not where the options say.
        """

    def open(self) -> Teacher:
        """Open the teacher as :func:`~potstill.teacher.opening.open_teacher` does.

        Raises
        ------
        MissingExtraError, InputError
            As :meth:`load`, or if its environment is missing.
        PotstillError
            If the process ends while it loads.
        """
        from potstill.teacher.opening import open_teacher

        return open_teacher(self)

    def interpreter(self) -> Path | None:
        """Return the interpreter of the environment in which it runs; None where that is ours.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        from potstill.environments import ENVIRONMENTS, installed

        name = self.environment or ("" if self.lives_here() else self.own_environment)
        if not name:
            return None
        python = installed(name).python if name in ENVIRONMENTS else Path(name).expanduser()
        if python.is_file():
            return python.absolute()
        if name in ENVIRONMENTS:
            raise InputError(f"{self._who()} needs the environment '{name}'\n  make it with:  potstill setup {name}")
        raise InputError(
            f"{self._who()}: no interpreter at {python}, and no environment of that name; {nearest(name, ENVIRONMENTS)}"
        )

    def lives_here(self) -> bool:
        """Return whether the packages of its own environment are installed in this one."""
        return True

    def check(self) -> None:
        """Raise InputError where its package, environment or weights are missing, without loading them."""
        if self.interpreter() is None:
            needed = self.requires()
            if needed is not None:
                borrow(*needed, self._who())
            self.check_weights()

    def _who(self) -> str:
        return f"the teacher '{getattr(self, 'name', type(self).__name__)}'"

    def check_weights(self) -> None:
        """Raise InputError where the weights are missing, without loading them; called where it runs in this process."""
        return

    def requires(self) -> tuple[str, str] | None:
        """Return package and extra that must be installed, or None."""
        return None

    @classmethod
    def example(cls) -> TeacherOptions:
        """Return options that suffice for a trial."""
        return cls()

    @property
    def conservative(self) -> bool:
        """Return whether forces and stress are derivatives of the energy; False where a model predicts them directly."""
        return True

    @property
    def equivariant(self) -> bool:
        """Return whether rotating a structure only rotates its labels, by construction of the model."""
        return True


def file_of_weights(weights: str, teacher: str, hint: str) -> Path:
    """Return the file of weights that an option names.

    Raises
    ------
    InputError
        If there is none, or it is no file of weights; ``hint`` in the message tells where to get one.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise InputError(f"no weights of the teacher '{teacher}' at {path}\n  {hint}")
    if not _holds_tensors(path):
        raise InputError(
            f"the weights of the teacher '{teacher}' cannot be read from {path} ({path.stat().st_size:,} bytes):\n"
            f"  expected a whole file of PyTorch or safetensors; {hint}"
        )
    return path


def _holds_tensors(path: Path) -> bool:
    """Return whether a file begins, and where it is an archive also ends, as files of tensors do; nothing is loaded."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[:2] == b"PK":
        return zipfile.is_zipfile(path)
    return start[:1] == b"\x80" or start[8:9] == b"{"  # pickle, as PyTorch once wrote; safetensors


@contextmanager
def weights_at(path: Path, teacher: str, hint: str) -> Iterator[None]:
    """Turn any exception of a package that reads weights into an InputError with the next action."""
    try:
        yield
    except Exception as error:
        first = str(error).strip().splitlines()[:3]
        raise InputError(
            f"the weights of the teacher '{teacher}' cannot be read from {path} ({path.stat().st_size:,} bytes):\n"
            f"  {type(error).__name__}: {' '.join(line.strip() for line in first)}\n"
            f"  the file is damaged, cut short, or that of another model; {hint}"
        ) from error


def sha256_of_options(options: Mapping[str, Any]) -> str:
    """Return the SHA-256 of options as sorted JSON; a text that names a file or folder counts with the content."""
    told = with_contents(options, folders=True, relative=True)
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()


def label_with_ase(calculator: Any, structure: Structure, *, stress: bool = True) -> Labels:
    """Label by an ASE calculator; stress only where it is wanted and all three axes are periodic."""
    atoms = structure.to_ase()
    atoms.calc = calculator
    tensor = _stress_of(atoms) if stress and structure.pbc.all() else None
    forces = atoms.get_forces()
    if np.ma.is_masked(forces):
        raise ValueError("forces contain masked values, expected a number for each atom and axis")
    return Labels(as_number(atoms.get_potential_energy()), np.array(forces), tensor)


def _stress_of(atoms: Any) -> Any:
    """Return the (3, 3) stress in eV/Å^3 that a calculator computes; a wrong shape is named, which ASE asserts only."""
    found = atoms.calc.get_stress(atoms)
    shape = np.shape(found)
    if shape not in ((6,), (3, 3)):
        raise ValueError(f"stress has shape {shape}, expected (6,) in the order xx, yy, zz, yz, xz, xy, or (3, 3)")
    return np.array(found) if shape == (3, 3) else from_voigt(np.asarray(found))


class AseTeacher:
    """Any ASE calculator as a teacher, one structure after the other.

    Parameters
    ----------
    make
        Function that builds the calculator.
    fingerprint
        Name, version, weights and dtype.
    elements
        Atomic numbers that it supports; None where it does not state them.
    stress
        False for a calculator without stress; True also skips one whose ``implemented_properties`` lack it.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        fingerprint: Mapping[str, str],
        elements: Collection[int] | None = None,
        *,
        stress: bool = True,
    ) -> None:
        self._make = make
        self._calculator = make()
        self._fingerprint = dict(fingerprint)
        self._elements = None if elements is None else frozenset(elements)
        self._stress = stress and _may_give_stress(self._calculator)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Return name, version, weights and dtype."""
        return self._fingerprint

    @property
    def elements(self) -> frozenset[int] | None:
        """Return the atomic numbers that it supports; None where it does not state them."""
        return self._elements

    @property
    def properties(self) -> frozenset[str]:
        """Return the names of the properties that it predicts."""
        return PROPERTIES if self._stress else PROPERTIES - {"stress"}

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Return labels or a refusal for each structure, in order."""
        refused = [refuse_foreign(s, self._elements) for s in structures]
        known = [s for s, foreign in zip(structures, refused, strict=True) if foreign is None]
        answers = iter(label_each(known, self._ask))
        return [next(answers) if foreign is None else foreign for foreign in refused]

    def _ask(self, structure: Structure) -> Labels:
        try:
            return label_with_ase(self._calculator, structure, stress=self._stress)
        except Exception:
            self._calculator = self._make()  # the failed one may hold half of this structure, and use it for the next
            raise


def _may_give_stress(calculator: Any) -> bool:
    """Return whether a calculator states stress among its properties, or states none at all."""
    stated = getattr(calculator, "implemented_properties", None)
    return not stated or "stress" in stated
