"""What potstill and a teacher in a process of its own say to each other: frames of named arrays, over pipes.

A frame is its length in eight bytes and an npz archive, in which one entry is a message as JSON. Nothing in it can run code.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import IO, Any

import numpy as np

from potstill.types import Array, Labels, Refused, Structure

MESSAGE = "message"


class BrokenFrameError(Exception):
    """Bytes that are no frame: the other side has printed into the pipe, or ended in the middle of a word."""


def send(stream: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
    """Write a frame; arrays of objects are refused by NumPy."""
    text = np.frombuffer(json.dumps(message).encode(), dtype=np.uint8)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, array in {MESSAGE: text, **(arrays or {})}.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
    content = archive.getvalue()
    stream.write(len(content).to_bytes(8, "big") + content)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a frame.

    Raises
    ------
    EOFError
        If the other side is gone.
    BrokenFrameError
        If what comes is no frame.
    """
    length = _exactly(stream, 8)
    content = _exactly(stream, int.from_bytes(length, "big"))
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return dict(json.loads(arrays.pop(MESSAGE).tobytes())), arrays
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BrokenFrameError(f"{type(error).__name__}: {error}") from error


def names_of(structures: Sequence[Structure]) -> list[list[Any]]:
    """What structures are called and where they come from."""
    return [[s.id, s.source, s.family, dict(s.generator_metadata)] for s in structures]


def pack_structures(structures: Sequence[Structure]) -> dict[str, Array]:
    """The atoms of some structures, side by side."""
    return {
        "ptr": np.cumsum([0, *map(len, structures)]),
        "atomic_numbers": np.concatenate([s.atomic_numbers for s in structures]),
        "positions": np.concatenate([s.positions for s in structures]),
        "cell": np.stack([s.cell for s in structures]),
        "pbc": np.stack([s.pbc for s in structures]),
    }


def unpack_structures(names: Sequence[Sequence[Any]], arrays: Mapping[str, Array]) -> list[Structure]:
    """Structures again."""
    found = []
    for k, ((start, stop), name) in enumerate(zip(pairwise(arrays["ptr"]), names, strict=True)):
        atoms = (arrays["atomic_numbers"][start:stop], arrays["positions"][start:stop], arrays["cell"][k], arrays["pbc"][k])
        found.append(Structure(*atoms, *name))
    return found


def pack_answers(answers: Sequence[Any]) -> tuple[list[list[str] | None], dict[str, Array]]:
    """Refusals as words, and the arrays of labels; whatever else a teacher says is a refusal."""
    words: list[list[str] | None] = []
    arrays: dict[str, Array] = {}
    for k, answer in enumerate(answers):
        if isinstance(answer, Refused):
            words.append([answer.reason, answer.detail])
            continue
        if not isinstance(answer, Labels):
            words.append(["wrong_type", f"expected Labels or Refused, found {type(answer).__name__}"])
            continue
        given = {"energy": answer.energy, "forces": answer.forces}
        given |= {} if answer.stress is None else {"stress": answer.stress}
        given |= {f"extra.{name}": rows for name, rows in dict(answer.extra).items()}
        named = {f"{k}.{name}": np.asarray(value) for name, value in given.items()}
        strange = [name for name, array in named.items() if array.dtype.kind not in "biufc"]
        words.append(["wrong_type", f"{strange[0].split('.', 1)[1]} is not made of numbers"] if strange else None)
        arrays.update({} if strange else named)
    return words, arrays


def unpack_answers(words: Sequence[Sequence[str] | None], arrays: Mapping[str, Array]) -> list[Labels | Refused]:
    """Labels and refusals again; the door of the stage looks at shapes and types as at any other answer."""
    found: dict[int, dict[str, Array]] = {k: {} for k in range(len(words))}
    for name, array in arrays.items():
        k, _, what = name.partition(".")
        found[int(k)][what] = array
    return [_labels(found[k]) if word is None else Refused(word[0], word[1]) for k, word in enumerate(words)]


def _labels(arrays: dict[str, Array]) -> Labels:
    energy: Any = arrays.pop("energy", np.array(np.nan))  # of a wrong shape perhaps, which is for the door to say
    return Labels(
        energy=energy.item() if energy.shape == () else energy,
        forces=arrays.pop("forces", np.empty(0)),
        stress=arrays.pop("stress", None),
        extra={name.removeprefix("extra."): array for name, array in arrays.items()},
    )


def _exactly(stream: IO[bytes], count: int) -> bytes:
    parts = []
    while count > 0:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
