"""Weights: the search for a program's weights among the user's files, and checks of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from potstill.core.errors import InputError

SMALLEST_BYTES = 1_000_000
MatterGenModel = Literal[
    "mattergen_base",
    "mp_20_base",
    "chemical_system",
    "space_group",
    "dft_mag_density",
    "dft_band_gap",
    "ml_bulk_modulus",
    "dft_mag_density_hhi_score",
    "chemical_system_energy_above_hull",
]
MATTERGEN_MODELS: tuple[MatterGenModel, ...] = get_args(MatterGenModel)
LFS_POINTER = b"version https://git-lfs"


def weights_fault(path: Path) -> str | None:
    """Return why a file cannot be weights, or None where no fault is found."""
    if not path.is_file():
        return f"no weights at {path}"
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        return f"{path} is a pointer of Git LFS, not the weights\n  download them in that checkout with:  git lfs pull"
    size = path.stat().st_size
    if size < SMALLEST_BYTES:
        return f"{path} has {size} bytes, too few to be weights (at least {SMALLEST_BYTES}): a broken download?"
    return None


def mattergen_models(path: Path) -> dict[str, Path]:
    """Return files of the released models at or below a path, as ``name/file``; the folder's name is the model's.

    Raises
    ------
    InputError
        If there is none, or a file cannot be weights.
    """
    folders = [config.parent for config in sorted(path.resolve().rglob("config.yaml")) if _last_checkpoint(config.parent)]
    files: dict[str, Path] = {}
    for folder in folders:
        if folder.name not in MATTERGEN_MODELS:
            raise InputError(
                f"{folder} is no released model of MatterGen, expected one of {', '.join(MATTERGEN_MODELS)}\n"
                "  rename the folder; for a model of your own, set 'model_path' in the config instead"
            )
        checkpoint = _last_checkpoint(folder)
        assert checkpoint is not None  # noqa: S101 - chosen above
        _must_be_weights(checkpoint)
        files[f"{folder.name}/config.yaml"] = folder / "config.yaml"
        files[f"{folder.name}/checkpoints/last.ckpt"] = checkpoint
    if not files:
        raise InputError(f"no MatterGen model at {path}: expected a folder with config.yaml and checkpoints/last.ckpt")
    return files


def moldiff_models(path: Path) -> dict[str, Path]:
    """Return ``MolDiff.pt``, ``MolDiff_simple.pt`` and ``bondpred.pt`` of a folder, under any name of the last.

    Raises
    ------
    InputError
        If there is no model, or a file cannot be weights.
    """
    names = {
        "MolDiff.pt": "MolDiff.pt",
        "MolDiff_simple.pt": "MolDiff_simple.pt",
        "bondpred.pt": "bondpred.pt",
        "bond_predictor.pt": "bondpred.pt",  # name in MolDiff's README; its config says bondpred.pt
    }
    candidates = [path] if path.is_file() else [path / name for name in names]
    files = {names[p.name]: p for p in candidates if p.name in names and p.is_file()}
    for file in files.values():
        _must_be_weights(file)
    if not files:
        raise InputError(f"no MolDiff weights at {path}: expected one of {', '.join(names)}")
    return files


def _last_checkpoint(folder: Path) -> Path | None:
    return next(iter(sorted(folder.rglob("last.ckpt"))), None)


def _must_be_weights(path: Path) -> None:
    fault = weights_fault(path)
    if fault:
        raise InputError(fault)
