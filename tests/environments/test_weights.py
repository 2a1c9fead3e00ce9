"""Weights are taken for what they are: by name, and only where they can be weights."""

from __future__ import annotations

from importlib import resources

import pytest

from potstill.core.errors import InputError
from potstill.environments import ENVIRONMENTS
from potstill.environments.weights import mattergen_models, moldiff_models


def write(path, size=1_100_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def test_mattergen(tmp_path):
    for name in ("mattergen_base", "space_group"):
        write(tmp_path / "checkpoints" / name / "checkpoints" / "last.ckpt")
        (tmp_path / "checkpoints" / name / "config.yaml").write_text("a: 1\n")
    files = mattergen_models(tmp_path)
    assert set(files) == {
        f"{n}/{f}" for n in ("mattergen_base", "space_group") for f in ("config.yaml", "checkpoints/last.ckpt")
    }
    one = mattergen_models(tmp_path / "checkpoints" / "space_group")
    assert set(one) == {"space_group/config.yaml", "space_group/checkpoints/last.ckpt"}


def test_mattergen_by_another_name(tmp_path):
    write(tmp_path / "mine" / "last.ckpt")
    (tmp_path / "mine" / "config.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="'model_path' in the config"):
        mattergen_models(tmp_path)


def test_a_pointer_or_a_stump(tmp_path):
    (tmp_path / "mattergen_base").mkdir()
    (tmp_path / "mattergen_base" / "config.yaml").write_text("a: 1\n")
    pointer = tmp_path / "mattergen_base" / "last.ckpt"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        mattergen_models(tmp_path)
    write(pointer, 500)
    with pytest.raises(InputError, match="500 bytes"):
        mattergen_models(tmp_path)
    pointer.unlink()
    with pytest.raises(InputError, match="no MatterGen model"):
        mattergen_models(tmp_path)


def test_moldiff_under_both_names(tmp_path):
    write(tmp_path / "MolDiff.pt")
    predictor = write(tmp_path / "bond_predictor.pt")
    assert moldiff_models(tmp_path)["bondpred.pt"] == predictor
    assert set(moldiff_models(tmp_path)) == {"MolDiff.pt", "bondpred.pt"}
    assert set(moldiff_models(tmp_path / "MolDiff.pt")) == {"MolDiff.pt"}
    with pytest.raises(InputError, match=r"expected one of MolDiff\.pt"):
        moldiff_models(tmp_path / "elsewhere")


def test_every_recipe_has_its_pinned_packages():
    for environment in ENVIRONMENTS.values():
        text = resources.files("potstill.environments").joinpath(environment.requirements).read_text(encoding="utf-8")
        of_build = environment.builds[0].lines if environment.builds else ()
        lines = [line for line in [*of_build, *text.splitlines()] if line and not line.startswith(("#", "--"))]
        assert all("==" in line for line in lines)
        pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
        assert {name.lower().replace("_", "-") for name in environment.packages} <= pinned
