"""An environment is proved by two structures that its own source makes with it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from potstill.cli import doctor
from potstill.cli.main import main
from potstill.core.errors import PotstillError
from potstill.environments import ENVIRONMENTS, installed
from potstill.generate.mattergen import MatterGen
from potstill.generate.moldiff import MolDiff
from potstill.generate.proof import prove


@pytest.fixture
def source(mattergen_checkout) -> MatterGen:
    checkout = mattergen_checkout
    return MatterGen(count=1, python=sys.executable, repository=checkout.path, model_path=checkout.weights)


def test_two_structures(source, mattergen_checkout):
    assert len(prove(source)) == 2
    (call,) = mattergen_checkout.calls
    assert call["batch_size"] == 2


def test_another_batch_is_asked_where_one_gives_too_few(source, mattergen_checkout):
    mattergen_checkout.fault("fewer")
    assert len(prove(source)) == 2
    assert len(mattergen_checkout.calls) == 2


def test_none(source, mattergen_checkout):
    mattergen_checkout.fault("crash")
    with pytest.raises(PotstillError, match=r"made 0 of 2 structures: program_crashed: (.|\n)*IndexError(.|\n)*/proof"):
        prove(source)
    assert len(mattergen_checkout.calls) == 4


def write(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.usefixtures("home")
def test_the_weights_that_are_there_are_proved():
    place = installed("mattergen")
    assert MatterGen.with_weights_of(place).pretrained_name == "mattergen_base"
    write(place.weights / "dft_band_gap" / "config.yaml")
    assert MatterGen.with_weights_of(place).pretrained_name == "dft_band_gap"
    place = installed("moldiff")
    assert MolDiff.with_weights_of(place).model == "MolDiff_simple"
    write(place.weights / "MolDiff.pt")
    source = MolDiff.with_weights_of(place)
    assert (source.model, source.bond_guidance) == ("MolDiff", 0)
    write(place.weights / "bondpred.pt")
    assert MolDiff.with_weights_of(place).bond_guidance > 0


@pytest.fixture
def potstill(monkeypatch, capsys):
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["potstill", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.mark.skipif(
    "{}.{}".format(*sys.version_info) not in ENVIRONMENTS["mattergen"].pythons,
    reason="no MatterGen on this Python",
)
def test_setup_from_the_command_line(potstill, mattergen_checkout, tmp_path, home):
    (tmp_path / "none.txt").write_text("# the stand-in imports the standard library only\n")
    shutil.move(mattergen_checkout.weights, tmp_path / "mattergen_base")
    arguments = ["setup", "mattergen", "--python", sys.executable, "--requirements", tmp_path / "none.txt"]
    arguments += ["--repository", mattergen_checkout.path, "--weights", tmp_path / "mattergen_base"]
    code, out, _ = potstill(*arguments, "--no-proof")
    assert code == 0
    assert "never tried" in out
    with pytest.raises(PotstillError, match="never tried"):
        doctor._environment("mattergen")

    code, out, err = potstill(*arguments)
    assert (code, err) == (0, "")
    assert "1/5 interpreter: Python" in out
    assert "5/5 proof: " in out
    record = json.loads((home / "environments" / "mattergen" / "environment.json").read_text())
    assert len(record["proof"]["structures"]) == 2
    assert record["weights"]["mattergen_base/checkpoints/last.ckpt"]["bytes"] == 1_100_002
    assert "proved with " in doctor._environment("mattergen")
    source = MatterGen(count=1, batch_size=1)
    assert source.missing() is None
    digest = record["weights"]["mattergen_base/checkpoints/last.ckpt"]["sha256"]
    (crystal,) = source.propose([0], 1, ())
    assert crystal.generator_metadata["weights"] == f"sha256:{digest[:16]}"

    shutil.rmtree(home / "environments" / "mattergen" / "weights")
    with pytest.raises(PotstillError, match=r"last\.ckpt: not as it was taken\n  go on with:  potstill setup mattergen"):
        doctor._environment("mattergen")


def test_setup_of_a_name_that_is_none(potstill):
    code, _, err = potstill("setup", "matergen")
    assert code == 2
    assert "did you mean 'mattergen'" in err
