"""The example plug-in, installed and used as an outsider would: by its entry points and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """Environment variables under which the installed plug-in is found."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(folder / "source")], check=True)
    found = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found)}


def python(*arguments: object, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_its_own_tests_pass(installed, tmp_path):
    done = python("-m", "pytest", "-q", "-c", os.devnull, EXAMPLE / "tests", environment=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_a_config_takes_both(installed, tmp_path):
    run = tmp_path / "run"
    command = ["-m", "potstill", "run", EXAMPLE / "config.yaml", "--out", run, "--yes", "--last", "label"]
    done = python(*command, environment=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    code = f"import potstill; d = potstill.open_dataset({str(run / 'dataset.h5')!r}); print(set(d.sources.tolist()), len(d))"
    told = python("-c", code, environment=installed, cwd=tmp_path).stdout
    assert told.split() == ["{'polyynes'}", "8"]


def test_a_wrong_option_gets_the_nearest_name(installed, tmp_path):
    config = (EXAMPLE / "config.yaml").read_text(encoding="utf-8").replace("epsilon_ev", "epsilon")
    (tmp_path / "wrong.yaml").write_text(config, encoding="utf-8")
    done = python("-m", "potstill", "check", "wrong.yaml", environment=installed, cwd=tmp_path)
    assert done.returncode == 2
    assert "label.teacher.epsilon: unknown option; did you mean 'epsilon_ev'" in done.stderr


def test_without_it_its_names_are_unknown(tmp_path):
    done = python("-m", "potstill", "check", EXAMPLE / "config.yaml", environment=dict(os.environ), cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown name 'polyynes'" in done.stderr
