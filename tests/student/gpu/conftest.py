"""The kernels in Triton's interpreter, where there is no card."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer calls of NumPy: the interpreter pays for calls, not for numbers; and no second patch inside a patched kernel."""
    import triton

    from potstill.student.gpu import launch

    if not triton.knobs.runtime.interpret:
        return
    from triton.runtime import interpreter

    ask = interpreter.InterpretedFunction.__call__

    def call(self, *args, **kwargs):
        ours = self.fn.__module__.startswith("potstill")
        return self.rewrite()(*args, **kwargs) if ours else ask(self, *args, **kwargs)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
    monkeypatch.setattr(launch, "EDGES_AT_ONCE", 64)
