"""The machine and the versions that a run was made with, for ``run.json``."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "h5py", "ase", "lightning", "sevenn", "rdkit", "pyxtal")
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # by their flags in Linux, the widest first


def machine() -> dict[str, Any]:
    """Return platform, processor, cores, and the versions of Python and of the packages that change results."""
    from potstill.execute import available_cores

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": versions,
    }


def git_hash() -> str | None:
    """Return the commit of the source tree that runs, or None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    """Return the name of the processor, with its widest vector instructions where Linux states them."""
    cpuinfo = Path("/proc/cpuinfo")
    found: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    title = found.get("model name") or platform.processor() or platform.machine()
    flags = found.get("flags", "").split()
    widest = next((name for flag, name in VECTORS.items() if flag in flags), None)
    return f"{title} with {widest}" if widest else title
