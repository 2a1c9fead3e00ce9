"""The launchers run where nothing of this package is: on old interpreters, without its modules in the way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from potstill.generate.program import LAUNCHERS

EASYDICT = """\
class EasyDict(dict):
    def __init__(self, content=(), **more):
        for key, value in dict(content, **more).items():
            setattr(self, key, value)

    def __setattr__(self, key, value):
        value = EasyDict(value) if isinstance(value, dict) and not isinstance(value, EasyDict) else value
        super().__setattr__(key, value)
        super().__setitem__(key, value)

    __setitem__ = __setattr__
"""
SCRIPTS = {"mattergen": (3, 10), "moldiff": (3, 8)}


@pytest.mark.parametrize(("name", "version"), SCRIPTS.items())
def test_old_interpreters_can_read_them(name, version):
    tree = ast.parse((LAUNCHERS / f"{name}.py").read_text(), feature_version=version)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= set(sys.stdlib_module_names)


def run(name: str, order: dict, checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, LAUNCHERS / f"{name}.py", json.dumps({"repository": str(checkout), **order}), *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)


def test_a_seed_where_the_program_takes_one(mattergen_checkout):
    script = mattergen_checkout.path / "mattergen" / "scripts" / "generate.py"
    script.write_text("import sys\ndef main(output_path, seed=None): pass\ndef _main(): print(sys.argv)\n")
    done = run("mattergen", {"seed": 5, "atoms": [1, 20]}, mattergen_checkout.path, "out")
    assert done.stdout == "['mattergen-generate', 'out', '--seed=5']\n"
    script.write_text("import random, sys\ndef main(output_path): pass\ndef _main(): print(sys.argv, random.random())\n")
    first, again = (run("mattergen", {"seed": 5, "atoms": [1, 20]}, mattergen_checkout.path, "out") for _ in range(2))
    assert first.stdout == again.stdout
    assert first.stdout.startswith("['mattergen-generate', 'out'] ")


def test_sizes_that_the_program_does_not_make(mattergen_checkout):
    done = run("mattergen", {"seed": 5, "atoms": [30, 40]}, mattergen_checkout.path, "out")
    assert done.returncode != 0
    assert "no crystals of 30 to 40 atoms" in done.stderr


def test_a_checkpoint_with_an_easydict_is_read_as_data(moldiff_checkout):
    folder = moldiff_checkout.path
    (folder / "torch.py").unlink()  # the real one
    (folder / "easydict.py").write_text(EASYDICT)
    (folder / "write.py").write_text(
        "import collections, torch; from easydict import EasyDict\n"
        "config = EasyDict({'chem': {'atomic_numbers': [6, 7]}, 'name': 'diffusion'})\n"
        "torch.save({'config': config, 'model': collections.OrderedDict(w=torch.ones(2))}, 'good.pt')\n"
        "torch.save({'config': config, 'model': print}, 'bad.pt')\n"
    )
    subprocess.run([sys.executable, "write.py"], cwd=folder, check=True, timeout=60)
    (folder / "scripts" / "sample_drug3d.py").write_text(
        "import sys, torch\nprint(__name__, sys.argv)\nfound = torch.load('good.pt', map_location='cpu')\n"
        "print(found['config'].chem.atomic_numbers, type(found['config']).__name__, found['model']['w'].tolist())\n"
        "torch.load('bad.pt', map_location='cpu')\n"
    )
    done = run("moldiff", {"device": "cpu", "heavy_atoms": None}, folder, "--config=x")
    assert done.stdout == (
        "__main__ ['scripts/sample_drug3d.py', '--config=x', '--device', 'cpu']\n[6, 7] EasyDict [1.0, 1.0]\n"
    )
    assert "Weights only load failed" in done.stderr
