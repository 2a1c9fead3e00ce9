"""Errors of each epoch in, TensorBoard's event files out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from potstill.core.registry import borrow


class TensorBoardWriter:
    """Event files of one run; a resumed run adds another, and TensorBoard shows them as one.

    Parameters
    ----------
    folder
        Folder for ``tensorboard --logdir``.

    Raises
    ------
    MissingExtraError
        If the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        borrow("tensorboard", "tensorboard", "train.tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, epoch: int, errors: Mapping[str, float]) -> None:
        """Write the errors of an epoch, so that readers see them at once."""
        for name, value in errors.items():
            self._writer.add_scalar(f"train/{name}", value, epoch)
        self._writer.flush()
