"""Use of GPUs as the driver's program states it, with a program of that name that prints what it is told."""

from __future__ import annotations

import pytest

from potstill.execute.gpus import GpuUse, gpus_in_use


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Function that puts an ``nvidia-smi`` with this output on PATH, and nothing else; None: no such program."""

    def put(output: str | None, code: int = 0) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        program = tmp_path / "nvidia-smi"
        program.unlink(missing_ok=True)
        if output is not None:
            program.write_text(f"#!/bin/sh\nprintf '{output}'\nexit {code}\n")
            program.chmod(0o755)

    return put


def test_each_card_is_a_row(cards):
    cards("0, NVIDIA H100 80GB HBM3, 97, 1024, 81559\\n1, NVIDIA RTX A2000, 12GB, 0, 3, 12282\\n")
    first, second = gpus_in_use()
    assert first == GpuUse(0, "NVIDIA H100 80GB HBM3", 0.97, 1024 * 1024**2, 81559 * 1024**2)
    assert (second.index, second.name, second.busy) == (1, "NVIDIA RTX A2000, 12GB", 0.0)


def test_a_figure_that_the_driver_does_not_have_is_none(cards):
    cards("0, GRID V100D, [N/A], [Not Supported], 8192\\n")
    assert gpus_in_use() == [GpuUse(0, "GRID V100D", None, None, 8192 * 1024**2)]


def test_no_driver_is_no_card(cards):
    for output, code in ((None, 0), ("NVIDIA-SMI has failed", 9), ("No devices were found", 0), ("", 0)):
        cards(output, code)
        assert gpus_in_use() == []
