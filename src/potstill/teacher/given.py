"""Labels that the user has: energies, forces and stress from the user's own files, such as DFT results.

No model stands behind this teacher. The source ``files`` keeps the labels of its frames, and the teacher returns them, so
that all limits and counts of the stage ``label`` hold for them too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from potstill.core.types import PROPERTIES, Labels, Refused, Structure, Teacher
from potstill.teacher.options import TeacherOptions

NAME = "given"


def labels_given(attributes: Mapping[str, str]) -> bool:
    """Return whether the attributes of a dataset say that its labels came with the user's files."""
    try:
        recorded = json.loads(attributes.get("teacher", "{}"))
    except ValueError:
        return False
    return isinstance(recorded, dict) and recorded.get("name") == NAME


def is_given(options: TeacherOptions | None) -> bool:
    """Return whether options of a teacher stand for labels that the user has."""
    return options is not None and not options.on_demand


class Given(TeacherOptions):
    """Labels from the user's own files, in eV, eV/Å and eV/Å^3."""

    on_demand: ClassVar[bool] = False

    name: Literal["given"] = "given"
    method: Annotated[
        str, Field(description="method that gave the labels, as in 'PBE-D3, VASP 6.4, 520 eV'; recorded with the student")
    ] = ""
    direct_forces: Annotated[
        bool, Field(description="true: the forces are no derivative of the energy; false: they are its negative gradient")
    ] = False

    @property
    def conservative(self) -> bool:
        return not self.direct_forces

    def load(self) -> Teacher:
        return GivenLabels(self.method)


class GivenLabels:
    """Return the labels that structures carry already.

    Parameters
    ----------
    method
        Method that gave the labels, in the user's words.
    """

    def __init__(self, method: str) -> None:
        self._fingerprint = {"name": NAME, "version": "", "weights": method, "dtype": "float64"}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Name, and the method in place of weights."""
        return self._fingerprint

    @property
    def elements(self) -> frozenset[int] | None:
        """Return None: the files state the elements."""
        return None

    @property
    def properties(self) -> frozenset[str]:
        """Return energy, forces and stress, where the files have them."""
        return PROPERTIES

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Return the labels of each structure, or a refusal where a structure has none."""
        return [s.labels or Refused("no_labels", f"{s.id}: the file gives no energy and forces") for s in structures]
