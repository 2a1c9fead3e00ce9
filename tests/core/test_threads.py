"""Forked children compute, though OpenMP's threads do not go with them; idle threads sleep."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import multiprocessing
import numpy as np, torch
from potstill.testing import ethanol, random_student

torch.set_num_threads(2)
student = random_student([1, 6, 8], backend="{backend}", experts=1)
calculator = student.calculator()

def ask(k):
    atoms = ethanol().to_ase()
    atoms.rattle(0.01, seed=k)
    atoms.calc = calculator
    return atoms.get_potential_energy()

if {used}:
    torch.randn(500, 500).exp().sum()  # threads that PyTorch has started
    ask(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(ask, range(4)).get(timeout=60)
assert np.allclose(found, [ask(k) for k in range(4)], rtol=0, atol=1e-4)
"""


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("used", [True, False], ids=["used by the parent", "loaded by the parent"])
def test_a_calculator_works_in_forked_children(backend, used):
    script = textwrap.dedent(SCRIPT).format(backend=backend, used=used)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]


CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def displayed(script: str, **chosen: str) -> str:
    """What the OpenMP library of PyTorch says that it does, in a process with these settings."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **chosen}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the report of GNU's library")
def test_idle_threads_sleep_unless_the_user_says_otherwise():
    script = "import potstill.cli.main, torch"
    assert "GOMP_SPINCOUNT = '0'" in displayed(script)
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in displayed(script, OMP_WAIT_POLICY="ACTIVE")
    assert "GOMP_SPINCOUNT = '1000'" in displayed(script, GOMP_SPINCOUNT="1000")
