"""Section ``train`` of the config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, field_validator, model_validator

from potstill.core.section import ExistingPath, NameOrFolder, Section, refuse_unknown_symbols
from potstill.student.options import Backend
from potstill.teacher.extras import Extra

Loss = Literal["energy", "forces", "stress", "local_energies", "node_embeddings", "hessian"]
Optimizer = Literal["adamw", "muon"]
RATES: dict[Optimizer, tuple[float, float]] = {"adamw": (2e-3, 5e-4), "muon": (4e-3, 1e-3)}  # without and with a start
LABEL_EXTRA: dict[Loss, Extra] = {  # entry of label.extra that stores what a loss needs
    "local_energies": "local_energies",
    "node_embeddings": "node_embeddings",
    "hessian": "hessian_vector_products",
}
NO_LOSS = "train: the weights of all losses are 0, so that nothing would be learned: raise train.forces_weight"


def _rate_or_auto(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"found {value!r}; it is a number above 0, or auto") from None


class ReplayConfig(Section):
    """Section ``train.replay``: structures of earlier data in each epoch of a fine-tuning, so that it keeps what it knew."""

    dataset: Annotated[
        ExistingPath, Field(description="dataset.h5 or run folder whose training structures are drawn anew in each epoch")
    ]
    share: Annotated[
        float, Field(gt=0, le=0.99, description="share of the earlier structures among all structures of an epoch")
    ] = 0.5

    @field_validator("dataset")
    @classmethod
    def _file_in_run_folder(cls, path: Path) -> Path:
        return path / "dataset.h5" if (path / "dataset.h5").is_file() else path

    @property
    def for_each_new(self) -> float:
        """Return the number of earlier structures in an epoch for each new one."""
        return self.share / (1.0 - self.share)


class TrainConfig(Section):
    """Section ``train``: losses, optimizer, early stopping and checkpoints of the training."""

    start: Annotated[
        NameOrFolder,
        Field(
            description="student that the training goes on from (fine-tuning): general, or the folder of a student or run; "
            "random weights where empty"
        ),
    ] = ""
    replay: Annotated[
        ReplayConfig | None,
        Field(description="earlier data that a fine-tuned student shall not forget; null: only the new data are trained on"),
    ] = None
    epochs: Annotated[int, Field(gt=0, description="passes over the training families")] = 100
    batch_structures: Annotated[int, Field(gt=0, description="largest number of structures in one step")] = 16
    batch_atoms: Annotated[
        int | None, Field(gt=0, description="largest number of atoms in one step; a larger structure has a step of its own")
    ] = None
    optimizer: Annotated[
        Optimizer, Field(description="adamw, or muon: AdamW with orthogonal steps for matrices, so that fewer epochs do")
    ] = "adamw"
    learning_rate: Annotated[
        Annotated[float, Field(gt=0)] | Literal["auto"] | None,
        Field(
            description="highest learning rate; auto: found by a range test before the training; null: 0.002, or "
            "0.0005 with a start; twice that with muon"
        ),
        WrapValidator(_rate_or_auto),
    ] = None
    processes: Annotated[
        int,
        Field(
            gt=0,
            description="number of processes on each machine, each with a part of every batch: as many as there "
            "are "
            "GPUs; on a CPU one process with threads is as fast",
        ),
    ] = 1
    nodes: Annotated[int, Field(gt=0, description="number of nodes of a SLURM job; srun starts the processes on each")] = 1
    patience_epochs: Annotated[
        int | None,
        Field(
            gt=0,
            description="early stopping: epochs without a smaller force error on 'valid' after which the training ends and "
            "the best student is kept; null: all epochs, and the last student",
        ),
    ] = None
    warmup_fraction: Annotated[
        float, Field(ge=0, lt=1, description="share of the steps in which the learning rate rises, before the cosine decay")
    ] = 0.03
    weight_decay: Annotated[float, Field(ge=0, description="weight decay, relative to the learning rate")] = 1e-3
    energy_weight: Annotated[float, Field(ge=0, description="weight of the error of the energy per atom in eV")] = 1.0
    forces_weight: Annotated[float, Field(ge=0, description="weight of the length of the force error in eV/Å")] = 10.0
    stress_weight: Annotated[float, Field(ge=0, description="weight of the stress error in eV/Å^3")] = 10.0
    local_energies_weight: Annotated[
        float,
        Field(ge=0, description="weight of the error of each atom's energy in eV, where label.extra has local_energies"),
    ] = 0.0
    node_embeddings_weight: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the error of the teacher's features of each atom, in units of their spread, where "
            "label.extra "
            "has node_embeddings",
        ),
    ] = 0.0
    hessian_weight: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the error of the Hessian-vector products in eV/Å^2, where label.extra has "
            "hessian_vector_products",
        ),
    ] = 0.0
    hessian_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="share of the structures of each step whose Hessian-vector products are compared"),
    ] = 0.25
    huber_ev_per_angstrom: Annotated[
        float,
        Field(ge=0, description="width of Huber's loss of a force error in eV/Å; smaller errors count by their square"),
    ] = 0.0
    force_scale_ev_per_angstrom: Annotated[
        float | None, Field(gt=0, description="force in eV/Å whose error counts half; null: all count the same")
    ] = None
    source_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="weights of all losses by name of the source; 1 for the others"),
    ] = {}
    element_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="weights of the losses of an atom by its chemical symbol; 1 for the others"),
    ] = {}
    late_weights: Annotated[
        dict[Loss, Annotated[float, Field(ge=0)]],
        Field(
            description="weights at the end of the training by loss (energy, forces, stress, local_energies, "
            "node_embeddings, hessian), as in {energy: 20}"
        ),
    ] = {}
    late_from: Annotated[
        float, Field(ge=0, lt=1, description="share of the training after which weights move to late_weights")
    ] = 0.5
    ema_decay: Annotated[
        float, Field(ge=0, lt=1, description="decay of the moving average of the weights, which becomes the student")
    ] = 0.995
    clip_gradient: Annotated[
        float, Field(gt=0, description="largest norm of the gradient; longer ones are scaled to it")
    ] = 40.0
    checkpoint_minutes: Annotated[
        float, Field(ge=0, description="minutes between checkpoints within an epoch; each epoch ends with one")
    ] = 5.0
    uncertainty: Annotated[
        bool, Field(description="fit of the expected errors of the forces at the end of the training")
    ] = True
    tensorboard: Annotated[
        bool, Field(description="event files of TensorBoard in tensorboard/, with the errors of each epoch")
    ] = False
    backend: Annotated[
        Backend, Field(description="fused: the C++ kernel, on a CPU; torch: PyTorch; auto: the first if it can be had")
    ] = "auto"

    @field_validator("element_weights")
    @classmethod
    def _known_elements(cls, weights: dict[str, float]) -> dict[str, float]:
        refuse_unknown_symbols(weights)
        return weights

    @model_validator(mode="after")
    def _replay_with_a_start(self) -> TrainConfig:
        if self.replay is not None and not self.start:
            raise ValueError("train.replay needs train.start, which is empty: set it, or remove train.replay")
        return self

    @property
    def rate(self) -> float | Literal["auto"]:
        """Return the learning rate, with its default where the config states none."""
        if self.learning_rate is not None:
            return self.learning_rate
        return RATES[self.optimizer][bool(self.start)]

    @property
    def learns(self) -> bool:
        """Return whether any loss has a weight."""
        return any(self.wants(loss) for loss in get_args(Loss))

    def wants(self, loss: Loss) -> bool:
        """Return whether a loss has a weight at any time."""
        return max(getattr(self, f"{loss}_weight"), self.late_weights.get(loss, 0.0)) > 0
