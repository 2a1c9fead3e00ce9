"""What is written for TensorBoard can be read back; without the package the user is told what to install."""

from __future__ import annotations

import importlib.util

import pytest

from potstill.core.errors import MissingExtraError
from potstill.train.tensorboard import TensorBoardWriter

INSTALLED = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(not INSTALLED, reason="needs tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_read_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoardWriter(tmp_path)
    for epoch in (1, 2, 3):
        board.add(epoch, {"loss": 1.0 / epoch, "valid_forces": 0.5})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == pytest.approx([(1, 1.0), (2, 0.5), (3, 1 / 3)])


@pytest.mark.skipif(INSTALLED, reason="tensorboard is here")
def test_missing(tmp_path):
    with pytest.raises(MissingExtraError, match=r"potstill\[tensorboard\]"):
        TensorBoardWriter(tmp_path)
