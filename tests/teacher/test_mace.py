"""MACE with random weights, saved and opened as a user's checkpoint is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError
from potstill.core.types import Labels
from potstill.teacher import load_teacher
from potstill.testing import check_teacher, copper, lone_crystal, one_atom, rattled, rocksalt, slab, triclinic, water, wire

pytest.importorskip("mace")
pytestmark = [  # of e3nn and mace
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from e3nn import o3
    from mace.modules import RealAgnosticInteractionBlock, ScaleShiftMACE

    numbers = [1, 8, 11, 12, 17, 18, 29]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ScaleShiftMACE(
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=RealAgnosticInteractionBlock,
            interaction_cls_first=RealAgnosticInteractionBlock,
            num_interactions=2,
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps("8x0e + 8x1o"),
            MLP_irreps=o3.Irreps("4x0e"),
            atomic_energies=-np.arange(1.0, len(numbers) + 1.0),
            avg_num_neighbors=8.0,
            atomic_numbers=numbers,
            correlation=2,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    path = tmp_path_factory.mktemp("weights") / "tiny.model"
    torch.save(model, path)
    return path


@pytest.fixture(scope="module")
def options(checkpoint):
    return {"weights": str(checkpoint), "allow_pickle": True, "device": "cpu"}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_kit(options, precision):
    teacher = load_teacher("mace", **options, precision=precision)
    assert teacher.fingerprint["dtype"] == precision
    assert teacher.elements == {1, 8, 11, 12, 17, 18, 29}
    structures = [rattled(s) for s in (water(), triclinic(), rocksalt(), slab(), copper())]
    check_teacher(teacher, structures)
    assert torch.get_default_dtype() == torch.float32


def test_the_same_as_the_calculator_of_the_package(options):
    from mace.calculators import MACECalculator

    teacher = load_teacher("mace", **options, precision="float64")
    calculator = MACECalculator(models=[teacher._model], device="cpu", default_dtype="float64")
    structures = [rattled(s) for s in (water(), triclinic(), one_atom(), lone_crystal())]
    for structure, labels in zip(structures, teacher.label(structures), strict=True):
        atoms = structure.to_ase()
        atoms.calc = calculator
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-8)
        if labels.stress is not None:
            np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), atol=1e-8)


def test_far_from_the_origin_and_along_one_axis(options):
    teacher = load_teacher("mace", **options)
    molecule = rattled(water())
    chain = rattled(wire()).with_(atomic_numbers=[8, 8])
    near, far, line = teacher.label([molecule, molecule.with_(positions=molecule.positions + 500.0), chain])
    assert all(isinstance(a, Labels) and a.stress is None for a in (near, far, line))
    assert near.energy == pytest.approx(far.energy, abs=1e-3)


def test_a_pickle_is_opened_only_where_that_is_allowed(tmp_path):
    (tmp_path / "evil.model").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(InputError, match=r"(?s)run any code.*SHA-256 [0-9a-f]{64}.*allow_pickle: true"):
        load_teacher("mace", weights=str(tmp_path / "evil.model"))
    assert not (tmp_path / "ran").exists()


def test_other_files_are_loaded_as_safely_as_before(options):
    code = (
        "import os; from potstill.teacher import load_teacher\n"
        f"load_teacher('mace', **{options!r})\n"
        "assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_weights_that_are_not_those(options, tmp_path, checkpoint):
    with pytest.raises(InputError, match=r"(?s)do not come with mace-torch.*mace-foundations"):
        load_teacher("mace")
    with pytest.raises(InputError, match="no weights of the teacher 'mace'"):
        load_teacher("mace", weights=str(tmp_path / "no.model"), allow_pickle=True)
    (tmp_path / "half.model").write_bytes(checkpoint.read_bytes()[:10_000])
    with pytest.raises(InputError, match=r"cannot be read from .*half\.model"):
        load_teacher("mace", weights=str(tmp_path / "half.model"), allow_pickle=True)
    torch.save({"a": torch.zeros(3)}, tmp_path / "dict.model")
    with pytest.raises(InputError, match=r"cannot be read from .*dict\.model"):
        load_teacher("mace", weights=str(tmp_path / "dict.model"), allow_pickle=True)
    with pytest.raises(InputError, match="the model has several heads"):
        load_teacher("mace", **options, head="omol")


def test_embeddings_do_not_change_when_a_structure_is_turned(options):
    teacher = load_teacher("mace", **options)
    structure = rattled(triclinic())
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    turned = structure.with_(positions=structure.positions @ turn, cell=structure.cell @ turn)
    here, there = (a.extra["node_embeddings"] for a in teacher.label([structure, turned]))
    assert here.shape == (len(structure), 16)
    assert here.dtype == np.float32
    np.testing.assert_allclose(here, there, atol=2e-4 * np.abs(here).max())
    assert np.ptp(here, axis=0).max() > 0.01 * np.abs(here).max()
