"""Write the student for the engines of the metatomic family, as one file that needs no potstill, or with the fused kernel.

``student.pt`` is TorchScript alone: the network is traced with every element's matrices made, and what depends on counts
(neighbors into slots, atoms by element) is scripted. ``fused/student.pt`` calls the fused kernel, several times faster. Its
library ``fused/extensions/potstill_student.so`` was compiled for this kind of machine and this version of PyTorch. Engines
bring positions and neighbor lists and take the derivative of the energy by themselves.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.data
import numpy as np
import torch

from potstill.core.registry import borrow
from potstill.deploy.native import Native, plain_compiler, student_sources
from potstill.deploy.student import DeployedStudent, load_student
from potstill.deploy.student_file import write_student_file

LIBRARY = "potstill_student.so"
EXTENSIONS = "extensions"


def export_model(student: Path, path: Path, dtype: str = "float32") -> Path:
    """Write the student of a folder as a metatomic ``AtomisticModel`` in TorchScript alone.

    Parameters
    ----------
    student
        Folder of the student.
    path
        File to write, ending in ``.pt``.
    dtype
        Precision of the network and of the positions that engines supply: ``"float32"`` or ``"float64"``.

    Raises
    ------
    MissingExtraError
        If metatomic is not installed.
    """
    deployed = _loaded(student, dtype)
    from potstill.deploy.metatomic_model import PlainNetwork, build_model

    with _quiet(), _without_kernel():
        build_model(deployed.model, PlainNetwork(deployed.model), deployed.elements, dtype).save(str(path))
    return path


def export_fused(student: Path, folder: Path, dtype: str = "float32") -> Path:
    """Write the student of a folder as ``student.pt`` with the fused kernel in ``extensions/``.

    Parameters
    ----------
    student
        Its folder.
    folder
        Folder to write both into.
    dtype
        See :func:`export_model`.

    Returns
    -------
    Path
        The model; engines also want the folder of its extensions.

    Raises
    ------
    MissingExtraError
        If metatomic is not installed.
    PotstillError
        If the library cannot be compiled here.
    """
    deployed = _loaded(student, dtype)
    library = kernel_library()
    torch.classes.load_library(str(library))
    from potstill.deploy.metatomic_model import FusedNetwork, build_model

    with TemporaryDirectory() as temporary:
        symbols = [ase.data.chemical_symbols[z] for z in deployed.model.architecture.atomic_numbers]
        file = write_student_file(student, Path(temporary) / "student.potstill", symbols)
        network = FusedNetwork(torch.from_numpy(np.fromfile(file, dtype=np.uint8)), exact=dtype == "float64")
        plain = Path(temporary) / "student.pt"
        with _quiet(), _without_kernel():
            build_model(deployed.model, network, deployed.elements, dtype).save(str(plain))
        (folder / EXTENSIONS).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, folder / EXTENSIONS / LIBRARY)
        return _naming_the_library(plain, folder / "student.pt")


def kernel_library() -> Path:
    """Return the library with the class ``potstill.Student`` of TorchScript, compiled where it is not kept already.

    Raises
    ------
    PotstillError
        If it cannot be compiled.
    """
    torch_folder = Path(torch.__file__).parent
    include = torch_folder / "include"
    return Native(
        name=LIBRARY,
        kind="torch",
        sources=(*student_sources("single", "double"), Path(__file__).with_name("extension") / "torch_student.cpp"),
        compiler=plain_compiler(),
        options=(
            "-std=c++20",  # of PyTorch's headers
            f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
            f"-DTORCH_VERSION_OF_POTSTILL={torch.__version__.split('+')[0].replace('.', '_')}",  # compiled anew for another
            *("-isystem", str(include), "-isystem", str(include / "torch" / "csrc" / "api" / "include")),
        ),
        link=(f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"),
    ).compiled()


def _loaded(student: Path, dtype: str) -> DeployedStudent:
    borrow("metatomic", "engines", "the export to metatomic")
    borrow("metatomic.torch", "engines", "the export to metatomic")
    return load_student(student, dtype=dtype, backend="torch")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in ("`torch.jit", "Converting a tensor", ".*registered as constants"):
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def _without_kernel() -> Iterator[None]:
    """Hide our library from metatomic, which would name each loaded one as needed, by its path on this machine."""
    loaded: set[Any] = torch.ops.loaded_libraries
    ours = {path for path in loaded if Path(path).name == LIBRARY}
    loaded -= ours
    try:
        yield
    finally:
        loaded |= ours


def _naming_the_library(model: Path, path: Path) -> Path:
    """Write a saved model again, with our library among the extensions that engines load before it."""
    kept = dict.fromkeys(
        ("torch-version", "metatomic-version", "extensions", "extensions-deps", "export-metadata", "model-metadata"), ""
    )
    loaded = torch.jit.load(str(model), _extra_files=kept)
    texts = {name: x if isinstance(x, str) else x.decode() for name, x in kept.items()}
    sha256 = hashlib.sha256((path.parent / EXTENSIONS / LIBRARY).read_bytes()).hexdigest()
    ours = {"name": Path(LIBRARY).stem, "path": LIBRARY, "sha256": sha256}
    texts["extensions"] = json.dumps([*json.loads(texts["extensions"]), ours])
    torch.jit.save(loaded, str(path), _extra_files=texts)
    return path
