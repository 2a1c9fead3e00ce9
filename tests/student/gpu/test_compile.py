"""Every kernel compiles for cards that are not here, and fits into their registers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ("geometry", "neighbor_means", "before_forces", "after_forces", "record", "prepare", "finish")


def compiled(architecture, tmp_path, *kernels):
    """The rows of the kernels: name, registers, bytes of the stack, shared memory."""
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(script), str(architecture), "64", *kernels]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.split() for line in done.stdout.splitlines() if len(line.split()) == 4]


def test_what_compiles_quickly_compiles_without_a_card(tmp_path):
    """What the interpreter allows and the compiler refuses, such as a name that changes its type in a loop."""
    assert {row[0] for row in compiled(90, tmp_path, *QUICK)} == set(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_kernels_compile_without_a_card(architecture, tmp_path):
    rows = compiled(architecture, tmp_path)
    assert {row[0] for row in rows} >= {
        "geometry",
        "neighbor_means",
        "density",
        "mixing",
        "network",
        "by_mixing",
        "edge_backward",
        "pairs",
        "pairs_in_bins",
        "before_forces",
        "after_forces",
        "record",
    }
    assert sum(row[0] == "geometry" for row in rows) == 2  # absolute and relative distances
    assert max(int(row[2]) for row in rows if row[2] != "?") < 512  # bytes of stack: few spills
