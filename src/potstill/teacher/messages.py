"""Messages between potstill and a teacher in a process of its own: JSON with named arrays, over pipes.

A message is two lengths of eight bytes, a header as JSON (its text, and name, type and shape of each array) and the bytes of
the arrays. It contains no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import IO, Any

import numpy as np

from potstill.core.types import Array, Labels, Refused, Structure

LARGEST_BYTES = 1 << 36  # a larger length is text that was printed into the pipe
NUMBERS = "biufc"  # kinds of NumPy types: bool, integers, floats, complex


class BrokenMessageError(Exception):
    """Raised for bytes that are no message: a process printed into the pipe, or ended in the middle of a message."""


def send(stream: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
    """Write a message.

    Raises
    ------
    ValueError
        If an array is not made of numbers.
    """
    contents = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    strange = [name for name, array in contents.items() if array.dtype.kind not in NUMBERS]
    if strange:
        raise ValueError(f"{', '.join(strange)}: not made of numbers")
    table = [(name, array.dtype.str, np.shape((arrays or {})[name])) for name, array in contents.items()]
    header = json.dumps({"message": message, "arrays": table}).encode()
    body = b"".join(array.tobytes() for array in contents.values())
    stream.write(b"".join((len(header).to_bytes(8, "big"), len(body).to_bytes(8, "big"), header, body)))
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a message.

    Raises
    ------
    EOFError
        If the other process has ended.
    BrokenMessageError
        If the bytes are no message.
    """
    sizes = _exactly(stream, 16)
    lengths = [int.from_bytes(part, "big") for part in (sizes[:8], sizes[8:])]
    if max(lengths) > LARGEST_BYTES:
        raise BrokenMessageError(f"found a message of {max(lengths)} bytes, expected at most {LARGEST_BYTES}")
    header, body = (_exactly(stream, length) for length in lengths)
    try:
        content = json.loads(header)
        arrays, at = {}, 0
        for name, kind, shape in content["arrays"]:
            dtype = np.dtype(kind)
            if dtype.kind not in NUMBERS:
                raise BrokenMessageError(f"{name} of type {dtype}")
            count = math.prod(shape)
            arrays[name] = np.frombuffer(body, dtype, count, at).reshape(shape).copy()
            at += count * dtype.itemsize
        return dict(content["message"]), arrays
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenMessageError(f"{type(error).__name__}: {error}") from error


def names_of(structures: Sequence[Structure]) -> list[list[Any]]:
    """Return id, source and metadata of structures."""
    return [[s.id, s.source, s.family, dict(s.generator_metadata)] for s in structures]


def pack_structures(structures: Sequence[Structure]) -> dict[str, Array]:
    """Concatenate the atoms of some structures."""
    return {
        "ptr": np.cumsum([0, *map(len, structures)]),
        "atomic_numbers": np.concatenate([s.atomic_numbers for s in structures]),
        "positions": np.concatenate([s.positions for s in structures]),
        "cell": np.stack([s.cell for s in structures]),
        "pbc": np.stack([s.pbc for s in structures]),
    }


def unpack_structures(names: Sequence[Sequence[Any]], arrays: Mapping[str, Array]) -> list[Structure]:
    """Return the structures of :func:`pack_structures`."""
    found = []
    for k, ((start, stop), name) in enumerate(zip(pairwise(arrays["ptr"]), names, strict=True)):
        atoms = (arrays["atomic_numbers"][start:stop], arrays["positions"][start:stop], arrays["cell"][k], arrays["pbc"][k])
        found.append(Structure(*atoms, *name))
    return found


def pack_answers(answers: Sequence[Any]) -> tuple[list[list[str] | None], dict[str, Array]]:
    """Return refusals as text, and the arrays of labels; any other answer of a teacher becomes a refusal."""
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
        strange = [name for name, array in named.items() if array.dtype.kind not in NUMBERS]
        words.append(["wrong_type", f"{strange[0].split('.', 1)[1]} is not made of numbers"] if strange else None)
        arrays.update({} if strange else named)
    return words, arrays


def unpack_answers(words: Sequence[Sequence[str] | None], arrays: Mapping[str, Array]) -> list[Labels | Refused]:
    """Return the labels and refusals of :func:`pack_answers`; the stage checks shapes and types as for any answer."""
    found: dict[int, dict[str, Array]] = {k: {} for k in range(len(words))}
    for name, array in arrays.items():
        k, _, what = name.partition(".")
        found[int(k)][what] = array
    return [_labels(found[k]) if word is None else Refused(word[0], word[1]) for k, word in enumerate(words)]


def _labels(arrays: dict[str, Array]) -> Labels:
    energy: Any = arrays.pop("energy", np.array(np.nan))  # its shape may be wrong; the stage's check of answers finds that
    return Labels(
        energy=as_number(energy) if energy.shape in ((), (1,)) else energy,
        forces=arrays.pop("forces", np.empty(0)),
        stress=arrays.pop("stress", None),
        extra={name.removeprefix("extra."): array for name, array in arrays.items()},
    )


def as_number(energy: Any) -> Any:
    """Return an energy that some packages give as an array of one value as a number; anything else as it is."""
    array = np.asarray(energy)
    return array.reshape(()).item() if array.shape in ((), (1,)) else energy


def _exactly(stream: IO[bytes], count: int) -> bytes:
    parts = []
    while count > 0:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise EOFError("the other process has ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
