"""Environments of programs that cannot be installed beside potstill: their folders, contents and setup.

Each has a folder under ``~/.local/share/potstill/environments`` (``$POTSTILL_HOME/environments`` where that is set):
``venv/``, ``repository/``, ``weights/``, ``setup.log`` and ``environment.json``, which records what was installed.
"""

from potstill.environments.catalog import ENVIRONMENTS, Environment
from potstill.environments.installed import Installed, home, installed
from potstill.environments.setup import Options, setup, versions_in
from potstill.environments.weights import weights_fault

__all__ = [
    "ENVIRONMENTS",
    "Environment",
    "Installed",
    "Options",
    "home",
    "installed",
    "setup",
    "versions_in",
    "weights_fault",
]
