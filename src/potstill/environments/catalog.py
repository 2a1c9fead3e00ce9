"""Contents of each environment, as data only: a further environment is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from potstill.environments.builds import Build
from potstill.environments.weights import mattergen_models, moldiff_models


@dataclass(frozen=True)
class Environment:
    """Recipe of an isolated environment.

    Parameters
    ----------
    name
        Name after ``potstill setup``.
    pythons
        Versions of Python that it supports, the preferred one first.
    requirements
        File of pinned packages beside this module.
    packages
        Distributions whose versions ``potstill doctor`` checks; all must be installed.
    repository, commit
        Address of its source code, and a commit that is known to work; empty where its packages suffice.
    needed_files
        Files that a checkout must contain: one of each group.
    accept_weights
        Function that finds weights of the user's at a path, as ``{place in weights/: file}``; None where the config names
        them.
    weights_from
        Download to make and its address, in words.
    fetch_weights
        Python code that the environment's interpreter runs to download weights. Its first argument is the target folder, the
        others name the weights. None where a script cannot download them.
    default_weights
        Weights that are downloaded where the user names none.
    builds
        Builds of PyTorch that complete the list: for CPUs first, then for GPUs, older ones before newer ones.
    """

    name: str
    pythons: tuple[str, ...]
    requirements: str
    packages: tuple[str, ...]
    repository: str = ""
    commit: str = ""
    needed_files: tuple[tuple[str, ...], ...] = ()
    accept_weights: Callable[[Path], Mapping[str, Path]] | None = None
    weights_from: str = ""
    fetch_weights: str | None = None
    default_weights: tuple[str, ...] = ()
    builds: tuple[Build, ...] = ()

    def lacking_files(self, checkout: Path) -> list[str]:
        """Return the files that a checkout should contain and does not."""
        return [group[0] for group in self.needed_files if not any((checkout / name).is_file() for name in group)]


FETCH_FROM_HUB = """\
import sys
from huggingface_hub import hf_hub_download
for name in sys.argv[2:]:
    for file in ("config.yaml", "checkpoints/last.ckpt"):
        hf_hub_download("microsoft/mattergen", "checkpoints/%s/%s" % (name, file), local_dir=sys.argv[1])
"""

PYTORCH, GEOMETRIC = "--extra-index-url https://download.pytorch.org/whl", "--find-links https://data.pyg.org/whl"
MATTERGEN_BUILDS = (
    Build(
        "cpu",
        ("3.10", "3.11"),
        None,
        (
            f"{PYTORCH}/cpu",
            f"{GEOMETRIC}/torch-2.2.0+cpu.html",
            *("torch==2.2.1+cpu", "torch_scatter==2.1.2+pt22cpu", "torch_sparse==0.6.18+pt22cpu"),
        ),
    ),
    Build(  # as its authors pin them
        "cuda-11.8",
        ("3.10", "3.11"),
        (3.7, 9.0),
        (
            f"{PYTORCH}/cu118",
            f"{GEOMETRIC}/torch-2.2.0+cu118.html",
            *("torch==2.2.1+cu118", "torch_scatter==2.1.2+pt22cu118", "torch_sparse==0.6.18+pt22cu118"),
        ),
    ),
    Build(
        "cuda-12.8",
        ("3.10", "3.11"),
        (7.5, 12.0),
        (
            f"{PYTORCH}/cu128",
            f"{GEOMETRIC}/torch-2.7.0+cu128.html",
            *("torch==2.7.1+cu128", "torch_scatter==2.1.2+pt27cu128", "torch_sparse==0.6.18+pt27cu128"),
        ),
    ),
)
MOLDIFF_BUILDS = (
    Build(
        "cpu",
        ("3.8", "3.9", "3.10", "3.11"),
        None,
        (
            f"{PYTORCH}/cpu",
            f"{GEOMETRIC}/torch-2.4.0+cpu.html",
            *("torch==2.4.1+cpu", "torch_scatter==2.1.2+pt24cpu", "torch_sparse==0.6.18+pt24cpu", "torch-geometric==2.6.1"),
        ),
    ),
    Build(  # as its authors tested it
        "cuda-11.3",
        ("3.8", "3.9"),
        (3.7, 8.6),
        (
            f"{PYTORCH}/cu113",
            f"{GEOMETRIC}/torch-1.10.0+cu113.html",
            *("torch==1.10.1+cu113", "torch_scatter==2.0.9", "torch_sparse==0.6.13", "torch-geometric==2.0.4"),
        ),
    ),
    Build(  # torch 2.4 is the last for Python 3.8
        "cuda-12.1",
        ("3.8", "3.9", "3.10", "3.11"),
        (5.0, 9.0),
        (
            f"{PYTORCH}/cu121",
            f"{GEOMETRIC}/torch-2.4.0+cu121.html",
            *("torch==2.4.1+cu121", "torch_scatter==2.1.2+pt24cu121", "torch_sparse==0.6.18+pt24cu121"),
            "torch-geometric==2.6.1",
        ),
    ),
    Build(
        "cuda-12.8",
        ("3.9", "3.10", "3.11"),
        (7.5, 12.0),
        (
            f"{PYTORCH}/cu128",
            f"{GEOMETRIC}/torch-2.7.0+cu128.html",
            *("torch==2.7.1+cu128", "torch_scatter==2.1.2+pt27cu128", "torch_sparse==0.6.18+pt27cu128"),
            "torch-geometric==2.6.1",
        ),
    ),
)

_ALL = (
    Environment(
        name="mattergen",
        pythons=("3.10", "3.11"),
        requirements="mattergen.txt",
        builds=MATTERGEN_BUILDS,
        packages=("torch", "torch_geometric", "torch_scatter", "torch_sparse", "pytorch-lightning", "hydra-core", "fire"),
        repository="https://github.com/microsoft/mattergen",
        commit="ac9ddd4",
        needed_files=(
            ("mattergen/scripts/generate.py",),
            ("sampling_conf/default.yaml", "mattergen/sampling_conf/default.yaml"),
            ("mattergen/common/gemnet/gemnet-dT.json",),  # the wheel on PyPI lacks it, as it lacks the YAML files
        ),
        accept_weights=mattergen_models,
        weights_from="the folder of a model, with config.yaml and checkpoints/last.ckpt, "
        "from https://huggingface.co/microsoft/mattergen/tree/main/checkpoints",
        fetch_weights=FETCH_FROM_HUB,
        default_weights=("mattergen_base",),
    ),
    Environment(
        name="moldiff",
        pythons=("3.8", "3.9", "3.10", "3.11"),
        requirements="moldiff.txt",
        builds=MOLDIFF_BUILDS,
        packages=("torch", "torch-geometric", "torch_scatter", "rdkit", "easydict", "tensorboard"),
        repository="https://github.com/pengxingang/MolDiff",
        commit="db62fa1",
        needed_files=(("scripts/sample_drug3d.py",), ("models/model.py",), ("utils/transforms.py",)),
        accept_weights=moldiff_models,
        weights_from="MolDiff.pt and bond_predictor.pt (or MolDiff_simple.pt alone) "
        "from https://drive.google.com/drive/folders/1zTrjVehEGTP7sN3DB5jaaUuMJ6Ah0-ps",
    ),
    Environment(
        name="mace",
        pythons=("3.11", "3.12", "3.13"),
        requirements="mace.txt",
        packages=("torch", "mace-torch", "e3nn", "ase", "pydantic"),
    ),
)

ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType({e.name: e for e in _ALL})
