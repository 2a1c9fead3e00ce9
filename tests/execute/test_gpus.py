"""Use of GPUs as the driver's program states it, with a program of that name that prints what it is told."""

from __future__ import annotations

import signal
import time

from potstill.execute.gpus import GpuUse, gpus_in_use


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


def test_a_card_that_answers_nonsense_hides_no_other(cards):
    cards("[Unknown Error], ERR!, ERR!, ERR!, ERR!\\n1, NVIDIA A100, nan, ERR!, 81920\\n\\nUnable to find it\\n")
    assert gpus_in_use() == [GpuUse(1, "NVIDIA A100", None, None, 81920 * 1024**2)]
    cards("0, NVIDIA \\377, 5, 1, 2\\n")
    assert [gpu.busy for gpu in gpus_in_use()] == [0.05]


def test_a_program_that_does_not_end_is_not_waited_for(cards, monkeypatch):
    """One that waits for a broken driver cannot even be killed."""
    cards("0, NVIDIA A100, 5, 1, 2\\n'; exec /bin/sleep 30; printf '")
    monkeypatch.setattr("potstill.execute.gpus.SECONDS", 0.2)
    killed = []

    def survive(process) -> None:
        killed.append(process)

    monkeypatch.setattr("subprocess.Popen.kill", survive)
    start = time.monotonic()
    assert gpus_in_use() == []
    assert gpus_in_use() == []
    assert time.monotonic() - start < 10
    assert len(killed) == 1  # no second one is started beside it
    killed[0].send_signal(signal.SIGKILL)
    killed[0].wait(10)
    cards("0, NVIDIA A100, 5, 1, 2\\n")
    assert len(gpus_in_use()) == 1
