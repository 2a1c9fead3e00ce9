"""Builds of PyTorch for an environment, and the choice among them by the GPUs of a machine.

A build of PyTorch has code for some compute capabilities only. One for an older card starts on a newer one and fails in its
first kernel. The input is the recipe's builds and the capabilities of the cards, the output is one build.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlparse

from potstill.core.errors import InputError
from potstill.core.registry import nearest

QUERY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")


@dataclass(frozen=True, slots=True)
class Build:
    """Lines of a list of packages that depend on the hardware.

    Parameters
    ----------
    name
        Name after ``--build``.
    pythons
        Versions of Python that its wheels exist for, the preferred one first.
    capabilities
        Smallest and largest compute capability that it has code for; None for a machine without an NVIDIA GPU.
    lines
        Indexes, and packages with a local version.
    """

    name: str
    pythons: tuple[str, ...]
    capabilities: tuple[float, float] | None
    lines: tuple[str, ...]

    def runs_on(self, capabilities: Sequence[float]) -> bool:
        """Return whether it has code for all of these cards; for none, whether it is the build for CPUs."""
        if self.capabilities is None or not capabilities:
            return self.capabilities is None and not capabilities
        lowest, highest = self.capabilities
        return all(lowest <= c <= highest for c in capabilities)


def capabilities_here() -> list[float]:
    """Return the compute capability of each NVIDIA GPU of this machine, by ``nvidia-smi``; empty where there is none."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True)
        return [float(line) for line in done.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def choose_build(builds: Sequence[Build], wanted: str | None) -> tuple[Build, str]:
    """Return the build of a name, or else the one for this machine, and why.

    Raises
    ------
    InputError
        If there is no build of that name, or none for the cards of this machine.
    """
    names = [build.name for build in builds]
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"--build: no build named '{wanted}'; {nearest(wanted, names)}")
        return builds[names.index(wanted)], "as asked"
    here = capabilities_here()
    cards = f"compute capability {', '.join(f'{c:g}' for c in sorted(set(here)))}" if here else "no NVIDIA GPU here"
    for build in builds:
        if build.runs_on(here):
            return build, cards
    raise InputError(
        f"no build of PyTorch among {', '.join(names)} has code for every GPU of this machine ({cards})\n"
        "  choose one by --build, or give a list of packages of your own by --requirements"
    )


def unreachable(lines: Iterable[str], log: str) -> list[str]:
    """Return the addresses of a list of packages that pip gave up to reach, by its log.

    pip then goes on without them and blames the packages: "No matching distribution", "ResolutionImpossible".
    """
    addresses = [line.split(maxsplit=1)[1] for line in lines if line.startswith(("--extra-index-url", "--find-links"))]
    given_up = [line for line in log.splitlines() if "Retry(total=0" in line]
    return [
        a for a in addresses if urlparse(a).path.rstrip("/") and any(urlparse(a).path.rstrip("/") in g for g in given_up)
    ]
