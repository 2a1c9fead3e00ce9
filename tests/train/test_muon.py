"""Muon: orthogonal steps for matrices, AdamW's for the rest, the same after a stop."""

from __future__ import annotations

import copy

import pytest
import torch

from learning_kit import lively
from potstill.student.options import StudentConfig
from potstill.train.module import ADAM_BETAS, Distillation
from potstill.train.muon import Muon, matrices_of, orthogonalised
from potstill.train.options import TrainConfig
from potstill.train.provenance import described

RATE = 1e-2


def gradients(weights, seed=0):
    rng = torch.Generator().manual_seed(seed)
    for p in weights:
        p.grad = torch.randn(p.shape, generator=rng)


def muon(weights, matrices, decay=0.0):
    return Muon(weights, matrices, lr=RATE, weight_decay=decay, betas=ADAM_BETAS)


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 40, 16), (2, 16, 40), (1, 1, 7)])
def test_singular_values_become_about_one_and_vectors_stay(shape):
    torch.manual_seed(1)
    matrices = torch.randn(shape) * torch.logspace(-2, 2, shape[2])
    found = orthogonalised(matrices)
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    between = left.transpose(1, 2) @ found.double() @ right.transpose(1, 2)
    of_found = torch.diagonal(between, dim1=1, dim2=2)
    large = values > 3e-3 * values[:, :1]
    assert ((of_found > 0.6) & (of_found < 1.35))[large].all()
    assert (between - torch.diag_embed(of_found)).abs().max() < 1e-3


def test_no_gradient_at_all_gives_no_step():
    assert orthogonalised(torch.zeros(2, 3, 4)).abs().max() == 0


def test_matrices_between_features_are_found():
    model = lively(tier="small")
    names = {p: name for name, p in model.named_parameters()}
    found = {names[p] for p in matrices_of(model)}
    ends = (
        ".send.weight",
        ".radial.weight",
        ".vector_radial.weight",
        ".hidden.weight",
        ".out.weight",
        ".vector_mix",
        ".gate.weight",
    )
    assert found == {n for n in names.values() if n.endswith(ends) or ".mix." in n} | {"readout.weight"}
    for p, (count, inputs, outputs) in matrices_of(model).items():
        assert count * inputs * outputs == p.numel()
        assert min(inputs, outputs) > 1


def test_each_expert_is_a_matrix_of_its_own():
    torch.manual_seed(2)
    together = torch.nn.Parameter(torch.randn(3, 20))
    apart = [torch.nn.Parameter(row.clone().view(4, 5)) for row in together.detach()]
    gradients([together])
    for p, of_row in zip(apart, together.grad, strict=True):
        p.grad = of_row.view(4, 5).clone()
    muon([together], {together: (3, 4, 5)}).step()
    muon(apart, dict.fromkeys(apart, (1, 4, 5))).step()
    for p, row in zip(apart, together, strict=True):
        torch.testing.assert_close(p.flatten(), row)


def test_steps_are_as_long_as_those_of_adamw():
    torch.manual_seed(3)
    matrix = torch.nn.Parameter(torch.zeros(300, 100))
    gradients([matrix])
    muon([matrix], {matrix: (1, 300, 100)}).step()
    assert 0.1 * RATE < matrix.detach().square().mean().sqrt() < 0.3 * RATE


def test_the_rest_takes_steps_of_adamw():
    torch.manual_seed(4)
    ours = [torch.nn.Parameter(torch.randn(7)), torch.nn.Parameter(torch.randn(3, 2))]
    theirs = copy.deepcopy(ours)
    mine = muon(ours, {}, decay=0.1)
    other = torch.optim.AdamW(theirs, lr=RATE, weight_decay=0.1, betas=ADAM_BETAS, fused=True)
    for k in range(5):
        gradients(ours, k)
        gradients(theirs, k)
        mine.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_decay_relative_to_the_rate():
    matrix = torch.nn.Parameter(torch.ones(4, 4))
    matrix.grad = torch.zeros(4, 4)
    muon([matrix], {matrix: (1, 4, 4)}, decay=0.5).step()
    torch.testing.assert_close(matrix.detach(), torch.full((4, 4), 1 - 0.5 * RATE))


def test_a_stored_state_goes_on_as_if_nothing_had_happened():
    model = lively(tier="nano")
    module = Distillation(model, TrainConfig(optimizer="muon", learning_rate=RATE), total_steps=10)
    weights, optimizer = module.trainable(), module.optimizer(RATE)
    assert isinstance(optimizer, Muon)
    for k in range(3):
        gradients(weights, k)
        optimizer.step()
    other = copy.deepcopy(model)
    again = Distillation(other, TrainConfig(optimizer="muon", learning_rate=RATE), total_steps=10)
    resumed = again.optimizer(RATE)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for k in range(3, 5):
        gradients(weights, k)
        gradients(again.trainable(), k)
        optimizer.step()
        resumed.step()
    for a, b in zip(weights, again.trainable(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_origin_of_a_student_names_the_optimizer_where_it_is_another():
    def of(**options):
        return described("data", StudentConfig(), TrainConfig(**options), seed=0, start=None)["train"]

    assert "optimizer" not in of()
    assert of(optimizer="muon")["optimizer"] == "muon"
