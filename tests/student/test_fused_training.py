"""Training by the kernel gives the derivatives that PyTorch's second derivatives give."""

import copy

import numpy as np
import pytest
import torch

from learning_kit import ELEMENTS, lively
from potstill.core.batch import make_batch
from potstill.core.cpp import KernelError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Batch, Structure
from potstill.student.fused import FusedKernel, FusedTraining, kernel_of
from potstill.student.model import Prediction, Student
from potstill.testing import all_structures, one_atom, rattled, silicon, water
from potstill.testing.models import in_elements
from potstill.train.module import ADAM_BETAS, Distillation
from potstill.train.options import TrainConfig

UNPADDED = {"features": 33, "channels": 17, "vectors": 19, "products": 18, "hidden": 65}
SHAPES = {
    "nano": {"tier": "nano"},
    "base": {"tier": "base"},
    "one layer": {"layers": 1, "tier": "nano"},
    "odd sizes": {"features": 11, "channels": 5, "vectors": 3, "products": 7, "hidden": 21, "experts": 3, "radial": 5},
    "three layers, l = 3": {**UNPADDED, "l_max": 3, "layers": 3, "experts": 4},
    "four layers": {**UNPADDED, "layers": 4, "experts": 1},
    "scalars only": {"vectors": 0, "experts": 2},
    "relative distances": {**UNPADDED, "radial_distance": "relative"},
}


def batch_of(model: Student, structures: list[Structure], dtype: torch.dtype = torch.float32) -> Batch:
    cutoff = model.architecture.cutoff_angstrom
    return make_batch(structures, cutoff, neighbors=[structure_neighbors(s, cutoff) for s in structures], dtype=dtype)


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    return [in_elements(rattled(s), ELEMENTS[k % 5 :] + ELEMENTS) for k, s in enumerate(all_structures())]


def loss_of(found: Prediction, weights: tuple[float, float, float]) -> torch.Tensor:
    """Energies, forces and stress, each pulled to a place of its own."""
    energy, forces, stress = weights
    place = torch.linspace(-1.0, 1.0, found.forces.numel(), dtype=found.forces.dtype).view_as(found.forces)
    return (
        energy * (found.energy - 3.0).abs().mean()
        + forces * (found.forces - place).norm(dim=1).mean()
        + stress * (found.stress - 0.1).square().mean()
    )


def derivatives(
    model: Student, batch: Batch, weights: tuple[float, float, float], *, fused: bool
) -> dict[str, torch.Tensor]:
    found = model.predict(batch, training=True, kernel=FusedTraining(model) if fused else None)
    model.zero_grad()
    loss_of(found, weights).backward()
    return {name: p.grad.double().clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 1.0, 2.0)], ids=str)
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_derivatives_by_all_weights(sizes, weights, structures):
    model = lively(**sizes)
    found = derivatives(model, batch_of(model, structures), weights, fused=True)
    exact = copy.deepcopy(model).double()
    exact.reference_energies = model.reference_energies
    expected = derivatives(exact, batch_of(exact, structures, torch.float64), weights, fused=False)
    largest = max(float(e.abs().max()) for e in expected.values())
    for name, value in expected.items():
        got = found.get(name, torch.zeros_like(value))
        assert (got - value).norm() <= 5e-3 * value.norm() + 1e-5 * largest, name
    one, other = (torch.cat([of.get(n, 0 * e).reshape(-1) for n, e in expected.items()]) for of in (found, expected))
    assert (one - other).norm() < 1e-3 * other.norm()


def test_the_prediction_is_that_of_the_kernel(structures):
    model = lively(tier="nano")
    batch = batch_of(model, structures)
    learning = model.predict(batch, training=True, kernel=FusedTraining(model))
    using = model.predict(batch, kernel=FusedKernel(model))
    for name in ("energy", "forces", "stress"):
        assert getattr(learning, name).requires_grad
        assert (getattr(learning, name) - getattr(using, name)).abs().max() < 1e-4


def test_two_threads_add_up_to_one_and_always_in_the_same_order(structures):
    model = lively(tier="nano")
    batch = batch_of(model, structures)
    alone = derivatives(model, batch, (1.0, 1.0, 1.0), fused=True)
    torch.set_num_threads(2)
    together, again = (derivatives(model, batch, (1.0, 1.0, 1.0), fused=True) for _ in range(2))
    for name, value in alone.items():
        assert torch.equal(together[name], again[name]), name
        assert (together[name] - value).norm() <= 2e-3 * value.norm(), name


def test_atoms_without_neighbours_teach_too():
    model = lively(tier="nano")
    lone = in_elements(one_atom(), ELEMENTS)
    found = derivatives(model, batch_of(model, [lone, water()]), (1.0, 1.0, 0.0), fused=True)
    assert all(torch.isfinite(value).all() for value in found.values())
    alone = derivatives(model, batch_of(model, [lone]), (1.0, 1.0, 1.0), fused=True)
    expected = derivatives(model, batch_of(model, [lone]), (1.0, 1.0, 1.0), fused=False)
    for name, value in expected.items():
        assert (alone[name] - value).abs().max() < 1e-5


def test_a_step_uses_the_weights_of_now():
    model = lively(tier="nano")
    batch = batch_of(model, [water()])
    kernel = FusedTraining(model)
    before = model.predict(batch, training=True, kernel=kernel).energy.detach()
    with torch.no_grad():
        model.embedding.weight.mul_(2.0)
    after = model.predict(batch, training=True, kernel=kernel).energy.detach()
    assert (after - before).abs().max() > 1e-3
    assert (after - model.predict(batch).energy).abs().max() < 1e-4


def test_a_step_of_the_optimizer_is_noticed():
    """A fused step of AdamW leaves the versions of the parameters as they are."""
    model = lively(tier="nano")
    batch, kernel = batch_of(model, [water()]), FusedTraining(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0, betas=ADAM_BETAS, fused=True)
    model.predict(batch, training=True).energy.sum().backward()
    before = model.predict(batch, training=True, kernel=kernel).energy.detach()
    optimizer.step()
    after = model.predict(batch, training=True, kernel=kernel).energy.detach()
    assert (after - before).abs().max() > 1e-3
    assert (after - model.predict(batch).energy).abs().max() < 1e-4


def test_calls_of_one_step_share_matrices_and_add_up(structures):
    """The second call is of fewer elements, or of more; the derivative is the sum of those of both."""
    model, few = lively(tier="nano"), [water()]
    for first, second in ((structures, few), (few, structures)):
        batches = [batch_of(model, some) for some in (first, second)]
        apart = [derivatives(model, batch, (1.0, 1.0, 1.0), fused=True) for batch in batches]
        kernel = FusedTraining(model)
        for _ in range(2):  # the graph of the step before is used up
            model.zero_grad()
            found = [model.predict(batch, training=True, kernel=kernel) for batch in batches]
            sum(loss_of(each, (1.0, 1.0, 1.0)) for each in found).backward()
            for name, parameter in model.named_parameters():
                expected = sum(each[name] for each in apart if name in each)
                assert (parameter.grad.double() - expected).norm() <= 1e-5 * max(expected.norm(), 1.0), name


def test_other_precisions_are_refused_or_run_in_pytorch():
    model = lively(tier="nano").double()
    with pytest.raises(KernelError, match="float32"):
        kernel_of(model, "fused", FusedTraining)
    assert kernel_of(model, "auto", FusedTraining) is None
    assert kernel_of(model.float(), "torch", FusedTraining) is None


def test_an_unknown_element_is_refused():
    model = lively(tier="nano")
    stranger = silicon().with_(atomic_numbers=np.full(len(silicon()), 79))
    with pytest.raises(KernelError, match="does not support"):
        FusedTraining(model)(torch.zeros(0, 3), batch_of(model, [stranger]))


@pytest.mark.parametrize("backend", ["fused", "torch"])
def test_the_training_module_learns_by_what_it_is_asked_for(backend):
    module = Distillation(lively(tier="nano"), TrainConfig(backend=backend), total_steps=10)
    module.on_train_start()
    module.on_validation_epoch_start()
    assert (module.training_kernel is not None) == (module.validation_kernel is not None) == (backend == "fused")
