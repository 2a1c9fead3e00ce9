"""The student as an ASE calculator."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from potstill.core.errors import InputError
from potstill.core.neighbors import VerletList
from potstill.core.precision import float32_products, own_modes
from potstill.core.stress import to_voigt
from potstill.core.types import Array, Structure
from potstill.deploy.domain_warnings import Watch, differs
from potstill.deploy.student import DeployedStudent

log = logging.getLogger(__name__)
INPUTS = ("positions", "numbers", "cell", "pbc")


class StudentCalculator(Calculator):
    """Drop-in ASE calculator: set ``atoms.calc`` and keep all other code.

    ``stress`` (Voigt order xx, yy, zz, yz, xz, xy in eV/Å^3, + is tension) is available where the cell has a volume. It is
    that of the whole cell, vacuum included. Calls in which atoms move a little share the neighbor search.

    ``results["uncertainty"]`` (n,) is the expected length of each force's error in eV/Å, where the student predicts it. The
    log ``potstill`` warns of structures far outside the training data, once per pair of elements. The first call, every
    hundredth, and those of another structure are checked.

    Parameters
    ----------
    student
        Student of :func:`potstill.load_student`.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ASE's own interface

    def __init__(self, student: DeployedStudent) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lock = threading.RLock()
        self.student = student
        self.neighbors = VerletList(student.cutoff_angstrom)
        self._watch = Watch(student)
        self._stepper = student.gpu.stepper() if student.gpu else None
        self._said = ""
        self._before: Structure | None = None

    def set(self, **options: Any) -> dict[str, Any]:
        """Refuse options, since a student has none; ASE would keep them and nothing would change.

        Raises
        ------
        InputError
            If an option is given.
        """
        if options:
            raise InputError(
                f"the calculator of a student has no option {', '.join(options)}\n"
                "  dtype, device and backend are options of load_student"
            )
        return {}

    @property
    def uncertain(self) -> Array:
        """Return (n,) bool of the last calculation: atoms whose expected error exceeds the student's threshold, if any."""
        if self.student.uncertainty is None:
            return np.zeros(len(self.results["forces"]), dtype=bool)
        return np.asarray(self.results["uncertainty"] > float(self.student.uncertainty.threshold))

    @property
    def error_bounds(self) -> Array:
        """Return (n,) bounds in eV/Å that 90 % of the force errors of the last calculation shall not exceed.

        They hold for atoms like those of the held-out families; NaN where the student knows none.
        """
        if self.student.uncertainty is None:
            return np.full(len(self.results["forces"]), np.nan)
        return self.student.uncertainty.bounds(self.results["uncertainty"])

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """Return one property of the atoms; threads that share the calculator wait for each other."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]

    def calculate_properties(self, atoms: Any, properties: Any) -> Any:
        """Return several properties of the same atoms; threads wait for each other."""
        with self._lock:
            return super().calculate_properties(atoms, properties)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the lock: copies and pickles get one of their own."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state of a copy."""
        self.__dict__.update(state, _lock=threading.RLock())

    def check_state(self, atoms: Any, tol: float = 0.0) -> list[str]:
        """Return the changes since the last calculation that matter to a student, to the last bit whatever ``tol``."""
        if self.atoms is None:
            return list(all_changes)
        return [name for name in INPUTS if not np.array_equal(getattr(atoms, name), getattr(self.atoms, name))]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)) -> None:
        """Compute all properties at once, by one forward and one backward pass."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure = Structure.from_ase(atoms)
        self._say_charge(atoms)
        neighbors = None
        if self._stepper is not None:
            if "numbers" in system_changes:
                self.student.refuse_unknown(structure)
            with float32_products(), own_modes("cuda"):
                labels = self._stepper(structure, self.student.uncertainty)
        else:
            neighbors = self.neighbors(structure.positions, structure.cell, structure.pbc)
            known = self.student.uncertainty is not None
            (labels,) = self.student.label([structure], neighbors=[neighbors], uncertainty=known)
        self._watch(structure, neighbors, labels.extra.get("uncertainty"), new=self._is_new(structure))
        if labels.stress is None and "stress" in properties:
            raise PropertyNotImplementedError("stress needs a cell with a volume: set a length for every axis")
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": labels.forces, **labels.extra}
        if labels.stress is not None:
            self.results["stress"] = to_voigt(labels.stress)

    def _is_new(self, structure: Structure) -> bool:
        """Return whether these are other atoms or axes, or a much changed cell or atom: no next step of the same MD."""
        before, self._before = self._before, structure
        return before is None or differs(before, structure)

    def _say_charge(self, atoms: Any) -> None:
        """Warn of a net charge or unpaired electrons that the atoms state, once for each answer."""
        stated = _stated(atoms) if atoms.info or "initial_charges" in atoms.arrays else ""
        if stated and stated != self._said:
            quantity = "charge" if "charge" in stated else "spin"
            log.warning("the atoms state %s; a student has no %s and predicts as without it", stated, quantity)
        self._said = stated


def _stated(atoms: Any) -> str:
    """Return the net charge or the spin that atoms state; empty where they state neither, or no number."""
    from potstill.dataset.inputs.charge import facts_on_charge, is_charged, is_radical
    from potstill.dataset.inputs.unusable import UnusableError

    try:
        facts = facts_on_charge(atoms.info, atoms.arrays)
    except UnusableError:  # a word
        return ""
    if is_charged(facts):
        return f"a net charge of {facts['charge']:g}"
    return f"a spin of {facts['spin']:g}" if is_radical(facts, atoms.numbers, periodic=bool(atoms.pbc.any())) else ""
