"""Forked children compute; OpenMP's threads do not go with them."""

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
