"""Training on a GPU as CUDA graphs: one graph makes a batch, its loss and all derivatives by the weights.

A step in PyTorch launches more than a thousand kernels from Python, which takes far longer than they do. A graph launches
them at once. It repeats the same operations on the same memory, so it serves batches that fit into its shape.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import psutil
import torch

from potstill.core.precision import float32_products
from potstill.student.cuda_graphs import captured, warm_up
from potstill.student.model import Student
from potstill.student.padded import PaddedAtoms, displaced, energy_gradient, predicted, weight_gradients
from potstill.train import distributed
from potstill.train.chosen_losses import columns_of
from potstill.train.data import LabelledStructures
from potstill.train.device_data import Chosen, DeviceStructures, PaddedBatch, Shape, bytes_needed
from potstill.train.distributed import Share
from potstill.train.losses import STEP_ANGSTROM, Comparison, HessianTerm, LossTerm, NodeEmbeddingsTerm, mean_errors
from potstill.train.module import Distillation, or_first
from potstill.train.options import TrainConfig

log = logging.getLogger(__name__)
WASTE = 1.3  # largest cost of a shape, relative to that of the batch, before a shape of its own is captured
SHAPES = 24  # number of graphs from which on a batch takes any shape that it fits into
WARM_UP = 2  # steps before a capture, in which libraries allocate their memory
LOGGED = "train_"  # before the names of errors that are logged
NONE = torch.zeros(0, dtype=torch.int64)  # structures whose Hessian products are compared
MEMORY = 0.5  # largest share of the free memory for the data, on the card and on the host that prepares them
WHOLE = Share({}, 0)  # of a batch that one process has
Shapes = tuple[Shape, Shape | None]  # of a batch, and of its structures whose Hessian products are compared
Part = tuple[PaddedAtoms, list[torch.Tensor]]  # atoms, and their local energies and the derivative by the vectors


def device_structures(
    config: TrainConfig, kinds: Sequence[type[LossTerm]], data: LabelledStructures, student: Student
) -> DeviceStructures | None:
    """Return the data in the memory of this process' GPU, or None where the training needs other code.

    Parameters
    ----------
    config
        Section ``train``.
    kinds
        Terms of the loss.
    data
        Structures on the host.
    student
        Student to train.
    """
    if not torch.cuda.is_available() or config.backend not in {"auto", "gpu"}:
        return None
    torch.cuda.empty_cache()  # what earlier work of this process has freed is free
    needed, free = bytes_needed(data), torch.cuda.mem_get_info()[0]
    host = psutil.virtual_memory().available / min(config.processes, distributed.processes())  # each prepares all data
    for reason, holds in (
        (f"the loss has {NodeEmbeddingsTerm.name}", NodeEmbeddingsTerm in kinds),
        (f"the data take {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB", needed > MEMORY * free),
        (f"the data take {needed / 1e9:.1f} GB, and {host / 1e9:.1f} GB of memory are free", needed > MEMORY * host),
    ):
        if not distributed.all_agree(holds=not holds):
            log.info("training without CUDA graphs, which takes longer: %s", reason)
            return None
    return DeviceStructures(data, student, torch.device("cuda", torch.cuda.current_device()), tuple(columns_of(kinds)))


class StepGraphs:
    """The loss of a batch and its derivative by the weights, one CUDA graph for each shape of batches.

    Parameters
    ----------
    module
        Student, loss and weights of elements.
    data
        Structures on the device of the student; on a CPU the operations run without a graph.

    Attributes
    ----------
    gradients
        Derivative of the last loss by each trainable weight, in memory that each step writes again.
    names
        Names of the values: ``loss``, then the errors that are logged.
    """

    def __init__(self, module: Distillation, data: DeviceStructures) -> None:
        self._module, self._data = module, data
        self.parameters = module.trainable()
        self.gradients = [torch.zeros_like(p) for p in self.parameters]
        self.names = ["loss", *dict.fromkeys([*module.loss.names, "energy", "forces", "stress"])]
        weight = self.parameters[0]
        self._values = weight.new_zeros(len(self.names))
        self._scale = torch.ones_like(self._values)
        self._totals = torch.zeros(len(self.names), dtype=torch.float64, device=weight.device)
        self._structures = 0
        self._term_weights = weight.new_zeros(len(module.loss.names))
        self._given: list[float] = []
        elements = module.element_weights
        self._element_weights = None if elements is None else elements.to(weight.device)
        self._indices: dict[Shapes, list[torch.Tensor]] = {}
        self._graphs: dict[Shapes, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None

    def __call__(
        self, chosen: Chosen, weights: Mapping[str, float], products: Chosen | None = None, share: Share = WHOLE
    ) -> torch.Tensor:
        """Compute a batch, and return its () loss.

        Parameters
        ----------
        chosen
            Structures of the batch.
        weights
            Weight of each term of the loss.
        products
            Structures of the batch whose Hessian products are compared, where the loss has that term.
        share
            Part of the batch that this process has, where several train.
        """
        given = [weight * float(share.of.get(name, 1.0)) for name, weight in weights.items()]
        if given != self._given:
            self._given = given
            self._put(self._term_weights, torch.tensor(given))
        if not len(chosen.indices):  # all processes must take the same steps
            torch._foreach_zero_([*self.gradients, self._values])
            return self._add(share)
        asked = [chosen] if products is None else [chosen, products]
        first, second = self._fitting(chosen.shape, 0), None if products is None else self._fitting(products.shape, 1)
        shapes = (first, second)
        if shapes not in self._indices:
            new = [torch.zeros(len(c.indices), dtype=torch.int64, device=self._data.device) for c in asked]
            self._indices[shapes] = new
        for kept, some in zip(self._indices[shapes], asked, strict=True):
            self._put(kept, some.indices)
        with float32_products():
            self._run(shapes)
        return self._add(share if share.of else Share({}, first.structures))

    def average(self) -> None:
        """Replace the derivatives by those of the whole batch, where several processes train."""
        if distributed.processes() > 1:
            distributed.average(self.gradients)

    def take_means(self) -> dict[str, torch.Tensor]:
        """Return the mean of each value over all structures since the last call."""
        means = distributed.mean(self._totals) / max(self._structures, 1)
        self._totals.zero_()
        self._structures = 0
        return dict(zip(self.names, means.float().unbind(), strict=True))

    def sums(self) -> tuple[dict[str, torch.Tensor], int]:
        """Return the sums since the last call of :meth:`take_means`, and their number of structures."""
        return dict(zip(self.names, distributed.mean(self._totals).clone().unbind(), strict=True)), self._structures

    def go_on_from(self, sums: Mapping[str, torch.Tensor], structures: int) -> None:
        """Take sums of an epoch that was stopped."""
        for k, name in enumerate(self.names):
            if name in sums:
                self._totals[k] = sums[name]
        self._structures = structures

    @property
    def shapes(self) -> list[Shapes]:
        """Return the shapes that were captured."""
        return list(self._indices)

    @property
    def _on_gpu(self) -> bool:
        return self._values.is_cuda

    def _put(self, kept: torch.Tensor, values: torch.Tensor) -> None:
        """Copy values from the host without waiting for the device."""
        kept.copy_(values.pin_memory() if self._on_gpu else values, non_blocking=True)

    def _add(self, share: Share) -> torch.Tensor:
        """Add the values of a step to the sums, and return its loss."""
        if share.of:
            self._put(self._scale, torch.tensor([1.0, *(float(share.of[name]) for name in self.names[1:])]))
            self._values.mul_(self._scale)
        self._totals.add_(self._values, alpha=share.structures)
        self._structures += share.structures
        return self._values[0]

    def _fitting(self, needed: Shape, place: int) -> Shape:
        known = {shape for shapes in self._indices if (shape := shapes[place]) is not None}
        best = min((shape for shape in known if shape.holds(needed)), key=lambda shape: shape.cost, default=None)
        if best is None or (best.cost > WASTE * needed.cost and len(known) < SHAPES):
            return needed.widened()
        return best

    def _run(self, shapes: Shapes) -> None:
        if not self._on_gpu:
            self._step(shapes)
            return
        if shapes not in self._graphs:
            self._capture(shapes)
        self._graphs[shapes].replay()

    def _capture(self, shapes: Shapes) -> None:
        work, device = partial(self._step, shapes), self._data.device
        warm_up(work, device, WARM_UP)
        graph = captured(work, device, self._pool)  # graphs leave nothing in the pool
        self._pool = graph.pool()
        self._graphs[shapes] = graph

    def _step(self, shapes: Shapes) -> None:
        module, student = self._module, self._module.student
        first, *others = self._indices[shapes]
        batch = self._data.batch(first, shapes[0])
        parts = [self._part(batch.atoms)]
        products = self._data.batch(others[0], shapes[1]) if shapes[1] is not None else None
        if products is not None:
            step = STEP_ANGSTROM * products.extra[HessianTerm.columns[0]]
            parts += [self._part(displaced(products.atoms, by)) for by in (step, -step)]
        with torch.enable_grad():
            prediction = predicted(student, parts[0][0], *parts[0][1])
            seen = Comparison(student, prediction, batch, NONE, element_weights=self._element_weights)
            values: dict[str, torch.Tensor] = {
                term.name: self._hessian(products, parts[1:])
                if products is not None and isinstance(term, HessianTerm)
                else term.value(seen)
                for term in module.loss
            }
            loss = (torch.stack(list(values.values())) * self._term_weights).sum()
            leaves = [leaf for _, found in parts for leaf in found]
            by = torch.autograd.grad(loss, leaves, allow_unused=True)
        slopes = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, by, strict=True)]
        for k, (atoms, _) in enumerate(parts):
            found = weight_gradients(student, atoms, self.parameters, slopes[2 * k], slopes[2 * k + 1])
            (torch._foreach_add_ if k else torch._foreach_copy_)(self.gradients, found)
        with torch.no_grad():
            errors: dict[str, torch.Tensor] = {**values, **mean_errors(prediction, batch)}
            self._values.copy_(torch.stack([loss, *(errors[name] for name in self.names[1:])]))

    def _part(self, atoms: PaddedAtoms) -> Part:
        return atoms, [tensor.requires_grad_() for tensor in energy_gradient(self._module.student, atoms)]

    def _hessian(self, batch: PaddedBatch, parts: Sequence[Part]) -> torch.Tensor:
        """Return the value of :class:`~potstill.train.losses.HessianTerm`, from displaced atoms ahead and behind."""
        student = self._module.student
        ahead, behind = (predicted(student, atoms, *found) for atoms, found in parts)
        products = (behind.forces - ahead.forces) / (2.0 * STEP_ANGSTROM)
        seen = Comparison(student, ahead, batch, NONE, element_weights=self._element_weights)
        return seen.mean_over_atoms((products - batch.extra[HessianTerm.columns[1]]).norm(dim=1))


class GraphedDistillation(Distillation):
    """A training whose steps are CUDA graphs; its batches are :class:`Chosen` structures.

    Parameters
    ----------
    data
        Structures on the device of the training.
    student, config, total_steps
        As for :class:`Distillation`.
    """

    def __init__(self, data: DeviceStructures, student: Student, config: TrainConfig, total_steps: int) -> None:
        super().__init__(student, config, total_steps)
        self._data = data
        self._graphs: StepGraphs | None = None

    def on_train_start(self) -> None:
        """Make the graphs' memory, once the student is on its device."""
        self._graphs = StepGraphs(self, self._data)
        sums, structures = self._means.state()
        self._graphs.go_on_from({name.removeprefix(LOGGED): value for name, value in sums.items()}, structures)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the means of the epoch so far."""
        sums, structures = self.graphs.sums()
        checkpoint["means"] = {_logged(name): value for name, value in sums.items()}, structures

    def training_step(self, batch: Chosen, batch_idx: int) -> torch.Tensor:  # type: ignore[override]
        """Return the loss of one batch; with the last batch of an epoch, log the means of the errors."""
        graphs = self.graphs
        products, share = None, WHOLE
        processes = len(batch.parts)
        places = [NONE] * processes
        if self.compares_hessians:
            places = [self.in_turn(sum(map(len, batch.parts)), rank, processes) for rank in range(processes)]
            if len(batch.indices):
                products = self._data.chosen(batch.indices[or_first(places[distributed.rank()])].numpy())
        if processes > 1:
            parts = zip(batch.parts, places, strict=True)
            numbers = [self._data.numbers(part, part[chosen.numpy()]) for part, chosen in parts]
            share = distributed.share_of([self.loss.counts(each) for each in numbers])
        loss = graphs(batch, self.loss.weights_at(self.global_step / max(self.total_steps, 1)), products, share)
        if batch_idx + 1 == self.trainer.num_training_batches:
            for name, mean in graphs.take_means().items():
                several = distributed.processes() > 1
                self.log(_logged(name), mean, batch_size=1, on_step=False, on_epoch=True, sync_dist=several)
        return loss

    @property
    def graphs(self) -> StepGraphs:
        """Return the graphs of the training.

        Raises
        ------
        RuntimeError
            If the training has not started.
        """
        if self._graphs is None:
            raise RuntimeError("the training has not started")
        return self._graphs

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Assign the derivatives that the graph has computed."""
        self.graphs.average()
        for parameter, gradient in zip(self.graphs.parameters, self.graphs.gradients, strict=True):
            parameter.grad = gradient

    def optimizer_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: each graph writes all derivatives anew."""


def _logged(name: str) -> str:
    """Return the name by which the mean of a value is logged."""
    return name if name == "loss" else LOGGED + name
