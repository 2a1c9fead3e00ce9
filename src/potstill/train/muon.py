"""Muon: steps that change a matrix equally along all its directions, beside AdamW for all other weights.

The momentum of a matrix's gradient has few large singular values, so that plain steps along it, or along the signs of its
entries, leave most directions as they are. Muon replaces them all by about 1 (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon), by an odd polynomial of the matrix alone. Its steps are as long as those of AdamW
(Liu et al., arXiv:2502.16982), so that rates and weight decay of one suit the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.optim.adamw import adamw

from potstill.student.layer import ElementLinear, Layer, RadialWeights
from potstill.student.model import Student

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5: five times in turn, they bring 0.001 to 1 near 1
ITERATIONS = 5
MOMENTUM = 0.95
ADAMW_STEP = 0.2  # usual root mean square of a step of AdamW, over its rate
EPSILON = 1e-8
MATRICES, REST = "matrices", "rest"

Shape = tuple[int, int, int]  # (K, inputs, outputs) of K matrices in one parameter


def matrices_of(student: Student) -> dict[torch.Tensor, Shape]:
    """Return the parameters that are matrices between features, with the number and the sizes of their matrices.

    Expert matrices are K each, and so are radial weights for each order. Embeddings, coefficients of elements, gains, biases
    and the last row are none.
    """
    found: dict[torch.Tensor, Shape] = {}
    for module in student.modules():
        if isinstance(module, ElementLinear):
            found[module.weight] = (len(module.weight), *module.shape)
        elif isinstance(module, RadialWeights):
            orders, radial, channels = module.weight.shape
            found[module.weight] = (orders, radial, channels)
        elif isinstance(module, Layer):
            found.update({p: (1, p.shape[0], p.shape[1]) for p in _plain(module)})
    return found


def _plain(layer: Layer) -> Iterator[torch.Tensor]:
    yield layer.send.weight
    yield from layer.mix
    if layer.makes:
        yield layer.vector_mix
        yield layer.gate.weight


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW for the rest, with one learning rate.

    Parameters
    ----------
    weights
        All parameters to train.
    matrices
        Those of them that are matrices, and their shapes.
    lr, weight_decay
        Learning rate, and weight decay relative to it.
    betas
        Decay of AdamW's averages.
    """

    def __init__(
        self,
        weights: Iterable[torch.Tensor],
        matrices: dict[torch.Tensor, Shape],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        chosen = list(weights)
        groups = {MATRICES: [p for p in chosen if p in matrices], REST: [p for p in chosen if p not in matrices]}
        self._shapes = [matrices[p] for p in groups[MATRICES]]
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "fused": True}  # by which PyTorch loads "step"
        super().__init__([{"params": params, "kind": kind} for kind, params in groups.items() if params], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step by the gradients that are there; ``closure`` computes them before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["kind"] == MATRICES:
                self._step_of_matrices(group)
            else:
                self._step_of_the_rest(group)
        return loss

    def _step_of_matrices(self, group: dict[str, Any]) -> None:
        for p, shape in zip(group["params"], self._shapes, strict=True):
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
            ahead = torch.lerp(p.grad, state["momentum"], MOMENTUM).view(shape)  # Nesterov's
            length = ADAMW_STEP * max(shape[1:]) ** 0.5
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.view(shape).add_(orthogonalised(ahead), alpha=-group["lr"] * length)

    def _step_of_the_rest(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        for p in params:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "mean": torch.zeros_like(p),
                    "square": torch.zeros_like(p),
                }
        if not params:
            return
        states = [self.state[p] for p in params]
        adamw(
            params,
            [p.grad for p in params],
            [s["mean"] for s in states],
            [s["square"] for s in states],
            [],
            [s["step"] for s in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPSILON,
            maximize=False,
        )


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return (K, m, n) matrices with the same singular vectors, and singular values of about 1.

    The error of a singular value is up to a third. Those below a thousandth of the largest stay small.
    """
    a, b, c = COEFFICIENTS
    x = matrices / (torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True) + EPSILON)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.transpose(1, 2)
    for _ in range(ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.transpose(1, 2)
