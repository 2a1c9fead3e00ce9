"""Orb with random weights, by the path that real weights take; nothing here says how good a teacher it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused
from potstill.teacher import load_teacher
from potstill.teacher.floor import force_floor
from potstill.testing import check_teacher, ethanol, lone_crystal, one_atom, rattled, slab, triclinic, water, wire

pytest.importorskip("orb_models")
pytestmark = [  # of orb-models itself and of what fetches files for it
    pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
MODELS = {
    "orb-v2": {"name": "orb-v2"},
    "orb-v3-direct-20-omat": {"name": "orb-v3", "model": "orb-v3-direct-20-omat"},
    "orb-v3-conservative-20-omat": {"name": "orb-v3", "model": "orb-v3-conservative-20-omat"},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    from orb_models.forcefield import pretrained

    makers = {
        "orb-v2": pretrained.orb_v2_architecture,
        "orb-v3-direct-20-omat": pretrained.orb_v3_direct_architecture,
        "orb-v3-conservative-20-omat": pretrained.orb_v3_conservative_architecture,
    }
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, make in makers.items():
            torch.save(make(device="cpu").state_dict(), folder / f"{name}.ckpt")
    return {name: folder / f"{name}.ckpt" for name in makers}


@pytest.fixture(scope="module")
def teachers(checkpoints):
    return {name: load_teacher(**MODELS[name], weights=str(path), device="cpu") for name, path in checkpoints.items()}


@pytest.mark.parametrize("model", MODELS)
def test_the_kit(teachers, model):
    structures = [rattled(water()), rattled(triclinic())]
    check_teacher(teachers[model], structures, conservative="conservative" in model, equivariant=False)


def test_forces_and_stress_of_the_conservative_model_are_slopes_in_float64(checkpoints):
    model = "orb-v3-conservative-20-omat"
    teacher = load_teacher(**MODELS[model], weights=str(checkpoints[model]), device="cpu", precision="float64")
    check_teacher(teacher, [rattled(triclinic())], equivariant=False)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("model", MODELS)
def test_the_same_as_the_calculator_of_the_package(teachers, model):
    from orb_models.forcefield.calculator import ORBCalculator

    calculator = ORBCalculator(teachers[model]._model, device="cpu")
    structures = [rattled(s) for s in (ethanol(), triclinic(), one_atom(), lone_crystal())]
    for structure, labels in zip(structures, teachers[model].label(structures), strict=True):
        atoms = structure.to_ase()
        atoms.calc = calculator
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-6)
        np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=2e-6)
        if labels.stress is not None:
            np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), atol=1e-6)


def test_what_is_periodic_along_some_axes_or_none(teachers):
    teacher = teachers["orb-v3-conservative-20-omat"]
    molecule = rattled(water())
    sheet = rattled(slab())
    padded = sheet.with_(cell=sheet.cell * [[1], [1], [3]])
    same = [molecule, molecule.with_(cell=5.0 * np.eye(3)), sheet, padded, rattled(wire())]
    answers = teacher.label(same)
    assert all(isinstance(a, Labels) and a.stress is None for a in answers)
    assert answers[0].energy == pytest.approx(answers[1].energy, abs=1e-5)
    assert answers[2].energy == pytest.approx(answers[3].energy, abs=1e-4)


def test_what_it_says_of_itself(checkpoints, teachers):
    from potstill.teacher.choices import parse_teacher

    said = {model: parse_teacher({**MODELS[model], "weights": str(path)}) for model, path in checkpoints.items()}
    assert [o.conservative for o in said.values()] == [False, False, True]
    assert not any(o.equivariant for o in said.values())
    assert len(teachers["orb-v2"].elements) == 89
    (answer,) = teachers["orb-v2"].label([one_atom().with_(atomic_numbers=[86])])
    assert isinstance(answer, Refused)
    assert "Rn" in answer.detail
    fingerprint = teachers["orb-v2"].fingerprint
    assert (fingerprint["name"], fingerprint["dtype"]) == ("orb-v2", "float32")
    assert fingerprint["weights"].startswith("sha256:")


def test_without_weights_it_says_what_to_fetch(tmp_path):
    with pytest.raises(InputError, match=r"(?s)do not come with orb-models.*curl -LO https://.*orb-v2.*\.ckpt"):
        load_teacher("orb-v2")
    with pytest.raises(InputError, match=r"(?s)no weights .*nowhere\.ckpt.*curl -LO https://.*orb-v3-direct-inf-mpa"):
        load_teacher("orb-v3", model="orb-v3-direct-inf-mpa", weights=str(tmp_path / "nowhere.ckpt"))


@pytest.mark.parametrize("fault", ["truncated", "empty", "text", "other generation", "other kind"])
def test_weights_that_are_not_those(checkpoints, tmp_path, fault):
    whole = checkpoints["orb-v2"].read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"<html>404</html>"}.get(fault)
    path = tmp_path / "weights.ckpt"
    if content is None:
        path = checkpoints["orb-v2" if fault == "other generation" else "orb-v3-conservative-20-omat"]
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read from .*") as caught:
        load_teacher("orb-v3", model="orb-v3-direct-20-omat", weights=str(path), device="cpu")
    assert "curl -LO" in str(caught.value)
    assert "orb-v3-direct-20-omat" in str(caught.value)


def test_direct_forces_have_a_part_of_no_potential_and_conservative_ones_have_none(checkpoints):
    floors = {}
    for model in ("orb-v3-direct-20-omat", "orb-v3-conservative-20-omat"):
        teacher = load_teacher(**MODELS[model], weights=str(checkpoints[model]), device="cpu", precision="float64")
        floors[model] = force_floor(teacher, [rattled(water()), rattled(triclinic())], directions=4)
    direct, conservative = floors.values()
    assert direct.curl > 1e-2 * direct.forces
    assert conservative.curl < 1e-3 * conservative.forces
    assert max(direct.net_force, direct.net_torque) < 1e-6  # which this model takes away by itself
