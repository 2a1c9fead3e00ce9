"""Run folders of earlier formats: one small upgrade function per format, and the config of a folder of any format.

====== ==========================================================================================================
format difference from the one before
====== ==========================================================================================================
1      no ``format`` in ``run.json``
2      ``rounds/`` is ``active_learning/``, and options have the names of :data:`potstill.config.RENAMED`; stages
       store ``made_from`` and ``files``
====== ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from potstill.config import Config, dump_config, load_config, parse_config, with_new_names
from potstill.core.files import sealed
from potstill.core.section import read_yaml
from potstill.run.record import FORMAT

if TYPE_CHECKING:
    from potstill.run.folder import RunFolder


def read_config(run: RunFolder) -> Config:
    """Read the config of a run folder of any format; the folder is not changed.

    Once the structures are made, files that they were made from may be missing.

    Raises
    ------
    InputError
        If the config is missing or wrong.
    """
    past = run.has_structures()
    if not run.config.is_file() or run.format == FORMAT:
        return load_config(run.config, past=past)
    data = read_yaml(run.config)
    return parse_config(with_new_names(data) if isinstance(data, dict) else data, str(run.config), run.path, past=past)


def upgrade(run: RunFolder) -> None:
    """Upgrade a run folder that this process has locked to the present format, step by step."""
    while run.format < FORMAT:
        STEPS[run.format](run)
        run.update(format=run.format + 1)


def _name_active_learning(run: RunFolder) -> None:
    old = run.path / "rounds"
    if old.is_dir() and not run.active_learning.exists():
        old.rename(run.active_learning)
    if run.config.is_file():
        text = dump_config(read_config(run))
        with sealed(run.config) as temporary:
            temporary.write_text(text, encoding="utf-8")


STEPS: dict[int, Callable[[RunFolder], None]] = {1: _name_active_learning}
"""Upgrade function from each format to the next."""
