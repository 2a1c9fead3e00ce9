"""A teacher in a process of its own: started by :mod:`potstill.teacher.isolated` with the interpreter of its environment.

Reads the options of a teacher and then structures from standard input. Writes its fingerprint and its answers to standard
output, as messages (see :mod:`potstill.teacher.messages`). The teacher's package prints to standard error. The process
ends with its parent.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure, Teacher
from potstill.execute.memory import keep_freed_memory
from potstill.execute.worker import stay_with
from potstill.teacher.batching import asking
from potstill.teacher.messages import pack_answers, pack_structures, receive, send, unpack_structures


def main() -> None:
    """Serve calls until standard input ends."""
    stay_with(os.getppid())
    keep_freed_memory()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        options, _ = receive(requests)
        kind = getattr(importlib.import_module(options["module"]), options["kind"])
        teacher = kind.model_validate_json(options["options"]).load()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        send(answers, {"failed": _text(error), "input": isinstance(error, InputError)})
        return
    send(answers, _description(teacher))
    asking.set(lambda count: send(answers, {"asking": count}))
    while True:
        try:
            message, arrays = receive(requests)
        except EOFError:
            return
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(message["threads"]))
        _answer(teacher, unpack_structures(message["structures"], arrays), answers)


def _answer(teacher: Teacher, structures: Sequence[Structure], stream: IO[bytes]) -> None:
    before = _contents(structures)
    started = time.perf_counter()
    try:
        found: list[Any] = list(teacher.label(structures))
        cost = {"seconds": 0.0, "device_bytes": _device_bytes()}  # read first, because it waits for the GPU
        cost["seconds"] = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 - as it would in the parent's own process
        send(stream, {"failed": _text(error), "input": isinstance(error, InputError)})
        return
    if len(found) == len(structures):
        changed = Refused("input_changed", "the teacher changed its input structure")
        pairs = zip(found, before, _contents(structures), strict=True)
        found = [answer if was == now else changed for answer, was, now in pairs]
    words, arrays = pack_answers(found)
    send(stream, {**_description(teacher), **cost, "answers": words}, arrays)


def _device_bytes() -> int:
    """Return the largest memory of a GPU that this process has used, once the GPU is done; 0 without one.

    A worker's GPU need not be the current one, and a question to a GPU that is not used takes memory there.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    used = {k: int(torch.cuda.max_memory_allocated(k)) for k in range(torch.cuda.device_count())}
    for device in [k for k, count in used.items() if count]:
        torch.cuda.synchronize(device)
    return max(used.values(), default=0)


def _contents(structures: Sequence[Structure]) -> list[bytes]:
    return [b"".join(array.tobytes() for array in pack_structures([s]).values()) for s in structures]


def _description(teacher: Teacher) -> dict[str, Any]:
    elements = teacher.elements
    return {
        "fingerprint": dict(teacher.fingerprint),
        "elements": None if elements is None else sorted(elements),
        "properties": sorted(teacher.properties),
    }


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
