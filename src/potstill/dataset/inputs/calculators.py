"""Calculators that a file names beside its labels: labels of two methods have energies that do not fit each other."""

from __future__ import annotations

from potstill.dataset.inputs.unusable import Frame

NAMELESS = ("", "unknown")


class FirstCalculator:
    """The calculator that the first labelled frame of a file names, to which those of later frames are compared."""

    def __init__(self) -> None:
        self._name = ""

    def compared(self, frame: Frame, name: str | None) -> Frame:
        """Return a frame, with a remark where its labels are of another calculator than those of the first frame."""
        if frame.ours or frame.structure.labels is None or not name or name in NAMELESS:
            return frame
        self._name = self._name or name
        if name == self._name:
            return frame
        remark = f"labels of two calculators in one file: '{self._name}' first, then '{name}'; keep one, or use two files"
        return Frame(frame.structure, (*frame.remarks, remark))
