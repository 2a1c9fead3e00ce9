"""Origins of labels: those of two calculations, joined by a user, have energies that do not fit each other."""

from __future__ import annotations

from potstill.dataset.inputs.unusable import Frame

PLAIN, REFERENCE = "energy", "REF_energy"
TWO_CALCULATIONS = "labels of two calculations?"


class FirstLabels:
    """Origin of the first labels, to which those of later frames are compared."""

    def __init__(self) -> None:
        self._name = ""

    def know(self, frame: Frame) -> bool:
        """Take the labels of a frame as the first ones where there were none yet, and return whether there are some now."""
        self._name = self._name or frame.labels_of
        return bool(self._name)

    def compared(self, frame: Frame) -> Frame:
        """Return a frame, with a remark where its labels are of another calculator or key than the first ones.

        A file that names no calculator may be of the same one as a file that does.
        """
        name = frame.labels_of
        self.know(frame)
        if not name or name == self._name or (PLAIN in (name, self._name) and REFERENCE not in (name, self._name)):
            return frame
        return frame.with_remarks(
            f"{TWO_CALCULATIONS} '{self._name}' first, then '{name}'; keep one of them, or name its keys"
        )
