"""A tiny run of its own structures with a Lennard-Jones teacher, and the command line in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk, molecule


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def potstill(monkeypatch, capsys) -> Callable[..., Outcome]:
    """``potstill("check", path)`` as from a shell: exit code, standard output, standard error."""
    from potstill.cli.main import main

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["potstill", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), out, err)

    return call


def tiny(count: int = 40, **changes: dict) -> dict:
    """A config of copper, aluminium and small molecules that runs in seconds."""
    config = {
        "seed": 3,
        "workers": 1,
        "generate": {
            "sources": [
                {"source": "files", "paths": ["mine.extxyz"], "count": 6},
                {"source": "perturb", "count": count, "rattle_angstrom": [0.02, 0.08], "max_strain": 0.03},
            ]
        },
        "label": {"teacher": {"name": "lennard-jones", "sigma_angstrom": 0.9}, "structures_per_task": 8},
        "dataset": {"valid_fraction": 0.2, "test_fraction": 0.4},
        "audit": {
            "min_element_entropy_bits": 0.5,
            "min_element_coverage": 2,
            "min_size_cv": 0.1,
            "min_structures_per_hour": 1.0,
        },
        "student": {"layers": 1, "features": 8, "channels": 4, "hidden": 8, "cutoff_angstrom": 4.0},
        "train": {"epochs": 2, "batch_structures": 8},
        "evaluate": {
            "nve_ps": 0.01,
            "speed_repeats": 1,
            "physics_crystals": 0,
            "physics_molecules": 0,
            "physics_pairs": 0,
        },
    }
    for section, options in changes.items():
        config[section] = {**config.get(section, {}), **options} if isinstance(options, dict) else options
    return config


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """``write_config(audit={...})``: the tiny config with some options changed, and its structures beside it."""

    def write(**changes) -> Path:
        frames = [bulk(s, a=a, cubic=True) for s, a in (("Cu", 3.6), ("Al", 4.05), ("Ni", 3.52), ("Cu", 3.9))]
        frames[3] *= (2, 1, 1)
        frames += [molecule("CH4"), molecule("CH3OH")]
        rng = np.random.default_rng(0)
        for frame in frames:
            frame.positions += rng.normal(0, 0.03, size=frame.positions.shape)
        ase.io.write(tmp_path / "mine.extxyz", frames)
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(tiny(**changes), sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of a few structures, by one epoch of the smallest student."""
    return _make_run(tmp_path_factory.mktemp("finished"))


def _make_run(folder: Path, seed: int = 3, sigma_angstrom: float = 0.9) -> Path:
    """Make a whole run in ``folder/run`` of the config ``folder/config.yaml``."""
    config = {
        "seed": seed,
        "workers": 1,
        "generate": {
            "elements": ["Cu", "Al", "Ni"],
            "sources": [
                {"source": "prototypes", "count": 6, "max_atoms": 4},
                {"source": "perturb", "count": 12, "rattle_angstrom": [0.02, 0.08], "max_strain": 0.03},
            ],
        },
        "label": {"teacher": {"name": "lennard-jones", "sigma_angstrom": sigma_angstrom}, "structures_per_task": 8},
        "dataset": {"valid_fraction": 0.2, "test_fraction": 0.4},
        "audit": {
            "min_element_entropy_bits": 0.5,
            "min_element_coverage": 2,
            "min_size_cv": 0.01,
            "min_structures_per_hour": 1.0,
            "min_structures_per_element": 1,
            "min_structural_entropy": 0.0,
            "min_share_of_asked": 0.3,
        },
        "student": {"layers": 1, "features": 8, "channels": 4, "hidden": 8, "cutoff_angstrom": 4.0},
        "train": {"epochs": 1, "batch_structures": 8, "uncertainty": False},
        "evaluate": {"nve_ps": 0.0, "speed_repeats": 1, "physics_crystals": 0, "physics_molecules": 0, "physics_pairs": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "potstill", "run", str(folder / "config.yaml"), "--out", str(folder / "run"), "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """``make_run(folder, seed, sigma_angstrom)``: a whole run in ``folder/run``."""
    return _make_run
