"""Options for reading a file: which elements its types are, under which keys its labels are, what is tolerated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a file of the user.

    Parameters
    ----------
    species
        Pairs of a type or atom name and the chemical symbol that it stands for, for files that name no elements.
    energy_key, forces_key, stress_key
        Keys of the labels. The default keys where empty; see :mod:`potstill.dataset.inputs.labels`.
    ignore_charge
        Take a structure with a net charge or unpaired electrons, and keep both in its ``generator_metadata``.
    labels
        Whether labels are read.
    keep_not_finite
        Whether an energy, force or stress that is not finite is kept for the audit to find, instead of refused.
    """

    species: tuple[tuple[str, str], ...] = ()
    energy_key: str = ""
    forces_key: str = ""
    stress_key: str = ""
    ignore_charge: bool = False
    labels: bool = True
    keep_not_finite: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys of labels that the options name."""
        return tuple(key for key in (self.energy_key, self.forces_key, self.stress_key) if key)


DEFAULT = ReadOptions()
