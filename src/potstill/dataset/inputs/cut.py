"""Trajectories of other programs, as text, whose last frame a killed run has cut: the whole frames, and why one is left out.

Their readers fail at that frame with all others, drop it without a word, or return it with the atoms that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from potstill.dataset.inputs.unusable import UnusableError
from potstill.dataset.inputs.xyz import last_number_is_cut

CASTEP_TAG = re.compile(r"<-- ([A-Za-z]+)[ \t]*$", re.MULTILINE)
HEAD_OF_XDATCAR = 7  # lines: title, scale, three vectors, symbols, counts
HEAD_OF_EON = 9  # lines: two titles, lengths, angles, two of EON's own, number of elements, counts, masses
XSF_BLOCK = re.compile(
    r"^[ \t]*((?:PRIMVEC[^\n]*\n(?:[^\n]*\n){3}[ \t]*)?PRIMCOORD|ATOMS)\b[^\n]*\n"
    r"((?:(?![ \t]*(?:PRIM|CONV|ATOMS|BEGIN))[^\n]*\S[^\n]*\n?)*)",
    re.MULTILINE,
)
XSF_NUMBER = re.compile(r"^([ \t]*ANIMSTEPS[ \t]+)(\d+)", re.MULTILINE)
Starts = tuple[int, bool]  # of the last frame, and whether it is whole


def without_cut_frame(text: str, format_name: str) -> tuple[str, UnusableError | None]:
    """Return the text of a trajectory without its last frame where that is cut, and the refusal of that frame.

    Parameters
    ----------
    text
        Text of the file.
    format_name
        Name of its format in ASE, one of :data:`FORMATS`.
    """
    start, whole = FORMATS[format_name](text)
    if whole and not _ends_in_a_number(text):
        return _with_number_of_frames(text.rstrip() + "\n\n")  # CASTEP's frames end with an empty line
    said = "the file ends within its last frame, as of a run that was killed; its frames before are whole"
    kept = text[:start]
    return XSF_NUMBER.sub(rf"\g<1>{len(XSF_BLOCK.findall(kept))}", kept), UnusableError("wrong_count", said)


def _with_number_of_frames(text: str) -> tuple[str, UnusableError | None]:
    """Return text with the number of frames that are there, and a refusal where an XSF states another one."""
    stated, there = XSF_NUMBER.search(text), len(XSF_BLOCK.findall(text))
    if not stated or not there or int(stated[2]) == there:
        return text, None
    said = f"the file states {stated[2]} frames (ANIMSTEPS) and holds {there}"
    said += ", as of a run that was killed" if there < int(stated[2]) else "; all are read"
    return XSF_NUMBER.sub(rf"\g<1>{there}", text), UnusableError("wrong_count", said)


def _ends_in_a_number(text: str) -> bool:
    """Return whether the last line has no end, and its last number fewer decimals than the line before."""
    if text.endswith("\n"):
        return False
    return last_number_is_cut([f"X {' '.join(line.split()[-3:])}" for line in text.splitlines()[-2:]])


def _of_xdatcar(text: str) -> Starts:
    lines = text.rstrip().splitlines(keepends=True)
    at = start = total = 0
    while at < len(lines):
        start = at
        if "configuration=" not in lines[at]:
            counts = lines[at + HEAD_OF_XDATCAR - 1].split() if at + HEAD_OF_XDATCAR <= len(lines) else []
            if not all(map(str.isdigit, counts)):
                return 0, True  # no such head, which its reader says
            total, at = sum(map(int, counts)), at + HEAD_OF_XDATCAR
        at += 1 + total
    return len("".join(lines[:start])), at == len(lines) and len(lines[-1].split()) >= 3


def _of_castep(text: str) -> Starts:
    _, _, body = text.partition("END header")
    frames = list(re.finditer(r"(?:[^\n]*\S[^\n]*\n?)+", body))
    if len(frames) < 2:
        return len(text), True
    before, last = (CASTEP_TAG.findall(frame[0]) for frame in frames[-2:])
    return len(text) - len(body) + frames[-1].start(), len(last) >= len(before)


def _of_xsf(text: str) -> Starts:
    blocks = list(XSF_BLOCK.finditer(text))
    if not XSF_NUMBER.search(text) or not blocks:
        return len(text), True
    behind = text[blocks[-1].end() :].lstrip()
    if behind and not behind.startswith("BEGIN"):  # a cell without atoms
        return blocks[-1].end(), False
    first, last = ([line.split() for line in blocks[k][2].splitlines()] for k in (0, -1))
    return blocks[-1].start(), len(last) >= len(first) and len(last[-1]) >= len(first[-1])


def _of_eon(text: str) -> Starts:
    lines = text.rstrip().splitlines(keepends=True)
    at = start = 0
    while at < len(lines):
        start = at
        counts = lines[at + HEAD_OF_EON - 2].split() if at + HEAD_OF_EON <= len(lines) else []
        if not all(map(str.isdigit, counts)):
            return len(text), True  # no such head, which its reader says
        at += HEAD_OF_EON + sum(map(int, counts)) + 2 * len(counts) if counts else len(lines) + 1
    row_is_whole = len(lines) < 2 or len(lines[-1].split()) >= len(lines[-2].split())
    return len("".join(lines[:start])), at == len(lines) and row_is_whole


def _closed_by_end(head: str) -> Callable[[str], Starts]:
    """Return the cut of a format whose frames begin with a word and end with ``end``."""

    def cut(text: str) -> Starts:
        start = max((found.start() for found in re.finditer(rf"^{head}\b", text, re.MULTILINE)), default=0)
        return (start, bool(re.search(r"^end\b", text[start:], re.MULTILINE))) if start else (len(text), True)

    return cut


FORMATS: dict[str, Callable[[str], Starts]] = {
    "vasp-xdatcar": _of_xdatcar,
    "castep-md": _of_castep,
    "castep-geom": _of_castep,
    "eon": _of_eon,
    "xsf": _of_xsf,
    "dmol-arc": _closed_by_end("!DATE"),
}
