"""The convolution kernel against e3nn's code, which it takes the place of."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from potstill.core.cpp import KernelError
from potstill.core.types import Labels, Structure
from potstill.teacher import convolution, load_teacher, sevennet
from potstill.teacher.convolution import Convolution, replace_convolutions

pytest.importorskip("sevenn")
from e3nn.o3 import Irreps
from sevenn import _keys as key
from sevenn.nn.convolution import IrrepsConvolution

SHAPES = {
    "scalars": ("32x0e", "1x0e+1x1e+1x2e", "32x0e+32x1e+32x2e"),
    "7net-0": ("128x0e+64x1e+32x2e", "1x0e+1x1e+1x2e", "128x0e+64x1e+32x2e"),
    "last layer": ("64x0e+32x1e+32x2e", "1x0e+1x1e+1x2e", "64x0e"),
    "parity": ("32x0e+16x0o+16x1o+16x1e", "1x0e+1x1o+1x2e", "32x0e+16x0o+16x1o+16x1e"),
    "l = 3": ("32x0e+16x1e+16x2e+16x3e", "1x0e+1x1e+1x2e+1x3e", "32x0e+16x1e+16x2e+16x3e"),
}


def convolution_of(shape: str) -> IrrepsConvolution:
    """A convolution of SevenNet with random weights."""
    torch.manual_seed(1)
    module = IrrepsConvolution(
        *(Irreps(text) for text in SHAPES[shape]),
        weight_layer_input_to_hidden=[8, 24],
        weight_layer_act=torch.nn.functional.silu,
        denominator=1.7,
        lazy_layer_instantiate=False,
    )
    return module.requires_grad_(requires_grad=False)


def graph(module: IrrepsConvolution, n_atoms: int, n_edges: int) -> dict[str, torch.Tensor]:
    """Random features and edges in no order; the last atom has none."""
    generator = torch.Generator().manual_seed(2)
    product = module.convolution
    data = {
        key.NODE_FEATURE: torch.randn(n_atoms, product.irreps_in1.dim, generator=generator),
        key.EDGE_ATTR: torch.randn(n_edges, product.irreps_in2.dim, generator=generator),
        key.EDGE_EMBEDDING: torch.randn(n_edges, 8, generator=generator),
    }
    edge_index = torch.randint(n_atoms - 1, (2, n_edges), generator=generator)
    return {**{name: rows.requires_grad_() for name, rows in data.items()}, key.EDGE_IDX: edge_index}


def answers(module: torch.nn.Module, data: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Output, and the derivatives of a sum over it by features, harmonics and radial functions."""
    inputs = [rows for rows in data.values() if rows.requires_grad]
    out = module(dict(data))[key.NODE_FEATURE]
    weights = torch.linspace(-1, 2, out.numel()).reshape(out.shape)
    return [out, *torch.autograd.grad((out * weights).sum(), inputs)]


def assert_same(found: list[torch.Tensor], right: list[torch.Tensor]) -> None:
    for one, other in zip(found, right, strict=True):
        largest = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n_atoms", "n_edges"), [(9, 120), (2, 1), (40, 30)])
def test_as_e3nn(shape, n_atoms, n_edges):
    module = convolution_of(shape)
    data = graph(module, n_atoms, n_edges)
    assert_same(answers(Convolution(module), data), answers(module, data))


def test_without_edges():
    module = convolution_of("7net-0")
    data = graph(module, 3, 0)
    out, by_x, *_ = answers(Convolution(module), data)
    assert out.shape == (3, module.convolution.irreps_out.dim)
    assert not out.any()
    assert not by_x.any()


@pytest.mark.parametrize("edges_per_thread", [1, 50, 10_000])
def test_some_atoms_at_once_or_all(edges_per_thread, monkeypatch):
    module = convolution_of("7net-0")
    data = graph(module, 20, 300)
    right = answers(module, data)
    monkeypatch.setattr(convolution, "EDGES_PER_THREAD", edges_per_thread)
    assert_same(answers(Convolution(module), data), right)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    """Of the sums: the weights are made exact, for products of matrices may round otherwise."""
    module = convolution_of("7net-0")
    data = graph(module, 20, 300)
    kernel = Convolution(module)
    kernel._matrix.copy_(torch.eye(24).repeat(1, kernel._matrix.shape[1] // 24))
    monkeypatch.setattr(convolution, "EDGES_PER_THREAD", 100)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(convolution, "threads", lambda count=threads: count)
        found.append(kernel(dict(data))[key.NODE_FEATURE])
    assert torch.equal(*found)


def pickled(module: Convolution) -> Convolution:
    return pickle.loads(pickle.dumps(module))  # noqa: S301 - of this test


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
def test_twins_outlive_the_first(twin):
    module = convolution_of("scalars")
    data = graph(module, 5, 20)
    kernel = Convolution(module)
    other = twin(kernel)
    del kernel
    assert_same(answers(other, data), answers(module, data))


def test_other_precisions_are_refused():
    module = convolution_of("scalars")
    data = graph(module, 5, 20)
    kernel = Convolution(module)
    for change in ({key.NODE_FEATURE: data[key.NODE_FEATURE].double()}, {key.EDGE_IDX: data[key.EDGE_IDX].int()}):
        with pytest.raises(KernelError, match="needs float32 and int64"):
            kernel({**data, **change})


def test_a_view_and_features_without_gradient():
    module = convolution_of("7net-0")
    data = graph(module, 6, 30)
    with torch.no_grad():
        data[key.NODE_FEATURE] = data[key.NODE_FEATURE].T.contiguous().T
        data[key.EDGE_IDX] = data[key.EDGE_IDX].T.contiguous().T
    assert not data[key.NODE_FEATURE].requires_grad
    assert_same(answers(Convolution(module), data), answers(module, data))


class Model(torch.nn.Sequential):
    """A model of one convolution."""


def test_other_channels_are_refused():
    module = IrrepsConvolution(
        Irreps("5x0e"), Irreps("1x0e"), Irreps("5x0e"), [8, 24], torch.nn.functional.silu, lazy_layer_instantiate=False
    )
    model = Model(module)
    with pytest.raises(KernelError, match=r"multiples of (8|16) channels"):
        replace_convolutions(model)
    assert model[0] is module


def test_harmonics_of_higher_order_are_refused():
    module = IrrepsConvolution(
        Irreps("16x0e"), Irreps("1x4e"), Irreps("16x4e"), [8, 24], torch.nn.functional.silu, lazy_layer_instantiate=False
    )
    with pytest.raises(KernelError, match="found 16 channels and l of 4"):
        replace_convolutions(Model(module))


def test_a_model_of_another_version_is_left_alone():
    module = convolution_of("scalars")
    model = Model(module)
    del module.weight_nn
    with pytest.raises(KernelError, match=r"built in another way: .*weight_nn"):
        replace_convolutions(model)
    assert model[0] is module


def test_a_model_without_convolutions_is_refused():
    with pytest.raises(KernelError, match="no convolutions"):
        replace_convolutions(Model(torch.nn.Linear(1, 1)))


def test_a_convolution_that_computes_something_else_is_left_alone():
    class Doubled(IrrepsConvolution):
        """As a later version of SevenNet might be."""

        def forward(self, data):  # type: ignore[no-untyped-def]
            data = super().forward(data)
            data[key.NODE_FEATURE] = 2 * data[key.NODE_FEATURE]
            return data

    module = convolution_of("scalars")
    module.__class__ = Doubled
    model = Model(module)
    with pytest.raises(KernelError, match="does not give the results of e3nn"):
        replace_convolutions(model)
    assert model[0] is module


def structures() -> list[Structure]:
    atoms = [bulk("NaCl", "rocksalt", a=5.5), bulk("SiC", "zincblende", a=4.4, cubic=True), molecule("CH3OH")]
    for one in atoms:
        one.rattle(0.1, seed=3)
    return [*map(Structure.from_ase, atoms), Structure([2], [[0, 0, 0]])]


@pytest.mark.parametrize("weights", ["7net-0", "7net-l3i5"])
def test_labels_with_and_without_a_compiler(weights, monkeypatch, caplog):
    given = structures()
    quick = load_teacher("sevennet", weights=weights, device="cpu").label(given)
    assert "several times slower" not in caplog.text

    monkeypatch.setattr(convolution, "_loaded", lambda: "no C++ compiler was found")
    monkeypatch.setattr(sevennet, "_warned", set())
    slow = load_teacher("sevennet", weights=weights, device="cpu").label(given)
    assert "several times slower than with the kernel: no C++ compiler was found" in caplog.text
    for one, other in zip(quick, slow, strict=True):
        assert isinstance(one, Labels)
        assert isinstance(other, Labels)
        assert one.energy == pytest.approx(other.energy, abs=2e-6 * len(one.forces) + 1e-5)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
        if other.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-6)
        for name, rows in other.extra.items():
            np.testing.assert_allclose(one.extra[name], rows, atol=2e-5)


def test_loading_and_labelling_in_modes_of_the_caller():
    """Inference mode, another default precision and autocast are the caller's, for a model of its own."""
    (salt, *_) = structures()
    (right,) = load_teacher("sevennet", device="cpu").label([salt])
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            (found,) = load_teacher("sevennet", device="cpu").label([salt])
    finally:
        torch.set_default_dtype(before)
    assert isinstance(found, Labels)
    np.testing.assert_allclose(found.forces, right.forces, atol=1e-6)


def test_labels_in_a_forked_process():
    """The threads of the parent do not exist in a child, which would wait for them without end."""
    code = """
import multiprocessing, torch
from ase.build import bulk
from potstill.core.types import Structure
from potstill.teacher import load_teacher
torch.set_num_threads(2)
teacher, salt = load_teacher("sevennet", device="cpu"), Structure.from_ase(bulk("NaCl", "rocksalt", a=5.5, cubic=True))
def energy(structure):
    return teacher.label([structure])[0].energy
before = energy(salt)
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert abs(pool.map_async(energy, [salt]).get(60)[0] - before) < 1e-4
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-800:]
