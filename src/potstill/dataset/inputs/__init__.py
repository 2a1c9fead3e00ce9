"""Files of the user in any format that is read, as frames: a structure, its labels, and a remark about each loss.

One conversion serves every format, so that charge, labels, constraints and units mean the same wherever they come from.
"""

from __future__ import annotations

from potstill.dataset.inputs.frames import Frames, open_frames
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.unusable import Frame, UnusableError

__all__ = ["Frame", "Frames", "ReadOptions", "UnusableError", "open_frames"]
