"""Bring DFT labels into a dataset, and judge them before anything is trained.

    python dft_labels.py vasp.extxyz [--energy-key energy --forces-key forces] [--out dft]

Writes ``dft/data.h5`` and ``dft/audit.html``. The exit code is 0 for GO and 3 for NO-GO. The limits in GATES suit data of
one material; leave them out for a broad dataset.
"""

import argparse
import subprocess
import sys
from pathlib import Path

GATES = """\
audit:
  min_element_entropy_bits: 0.0
  min_element_coverage: 1
  min_size_cv: 0.0
"""

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("labels", help="extended XYZ, ASE database or trajectory with energies in eV and forces in eV/Å")
parser.add_argument("--energy-key", help="key of the energy, if it is none of the usual ones")
parser.add_argument("--forces-key", help="key of the forces")
parser.add_argument("--stress-key", help="key of the stress in eV/Å^3, + is tension")
parser.add_argument("--out", type=Path, default=Path("dft"))
options = parser.parse_args()

options.out.mkdir(parents=True, exist_ok=True)
keys = [(f"--{name}-key", getattr(options, f"{name}_key")) for name in ("energy", "forces", "stress")]
chosen = [word for flag, key in keys if key for word in (flag, key)]
potstill = [sys.executable, "-m", "potstill"]
data, gates = options.out / "data.h5", options.out / "gates.yaml"
gates.write_text(GATES, encoding="utf-8")
subprocess.run([*potstill, "convert", options.labels, str(data), *chosen], check=True)
subprocess.run([*potstill, "dataset", "info", str(data)], check=True)
judged = subprocess.run([*potstill, "audit", str(data), "--out", str(options.out), "--gates", str(gates)], check=False)
print(f"look at {options.out / 'audit.html'}")
sys.exit(judged.returncode)
