"""Section ``train`` of the config."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from potstill.core.section import Section, refuse_unknown_symbols
from potstill.student.options import Backend
from potstill.teacher.extras import Extra

Loss = Literal["energy", "forces", "stress", "local_energies", "node_embeddings", "hessian"]
LABEL_EXTRA: dict[Loss, Extra] = {  # entry of label.extra that stores what a loss needs
    "local_energies": "local_energies",
    "node_embeddings": "node_embeddings",
    "hessian": "hessian_vector_products",
}


def _rate_or_auto(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"found {value!r}; it is a number above 0, or auto") from None


class TrainConfig(Section):
    """Section ``train``: how the student learns."""

    epochs: Annotated[int, Field(gt=0, description="passes over the training families")] = 100
    batch_structures: Annotated[int, Field(gt=0, description="structures in one step at most")] = 16
    batch_atoms: Annotated[
        int | None, Field(gt=0, description="atoms in one step at most; a structure with more has a step for itself")
    ] = None
    learning_rate: Annotated[
        Annotated[float, Field(gt=0)] | Literal["auto"],
        Field(description="highest learning rate (AdamW); auto: by a range test before the training"),
        WrapValidator(_rate_or_auto),
    ] = 2e-3
    processes: Annotated[
        int,
        Field(
            gt=0,
            description="that train together on a machine, each on its part of every batch: as many as there are GPUs; "
            "on a CPU threads do as well",
        ),
    ] = 1
    nodes: Annotated[
        int, Field(gt=0, description="of a SLURM job that train together, each with so many processes, which srun starts")
    ] = 1
    patience_epochs: Annotated[
        int | None,
        Field(
            gt=0,
            description="epochs without a smaller force error on 'valid' that end the training; the best student is kept. "
            "All epochs are done, and the last student is kept, where null",
        ),
    ] = None
    warmup_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the steps before the cosine decay")] = 0.03
    weight_decay: Annotated[float, Field(ge=0, description="of AdamW")] = 1e-3
    energy_weight: Annotated[float, Field(ge=0, description="of the error of the energy per atom in eV")] = 1.0
    forces_weight: Annotated[float, Field(ge=0, description="of the length of the force error in eV/Å")] = 10.0
    stress_weight: Annotated[float, Field(ge=0, description="of the stress error in eV/Å^3")] = 10.0
    local_energies_weight: Annotated[
        float, Field(ge=0, description="of the error of each atom's energy in eV, where label.extra has local_energies")
    ] = 0.0
    node_embeddings_weight: Annotated[
        float,
        Field(
            ge=0,
            description="of the error of the teacher's features of each atom, in units of their spread, where label.extra "
            "has node_embeddings",
        ),
    ] = 0.0
    hessian_weight: Annotated[
        float,
        Field(
            ge=0,
            description="of the error of the Hessian's products in eV/Å^2, where label.extra has hessian_vector_products",
        ),
    ] = 0.0
    hessian_fraction: Annotated[
        float, Field(gt=0, le=1, description="share of each step's structures whose Hessian is looked at")
    ] = 0.25
    huber_ev_per_angstrom: Annotated[
        float, Field(ge=0, description="width of Huber's loss of a force error: below it, errors count by their square")
    ] = 0.0
    force_scale_ev_per_angstrom: Annotated[
        float | None, Field(gt=0, description="force whose error counts half; all count the same where null")
    ] = None
    source_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]], Field(description="of all losses, by name of the source; 1 for the others")
    ] = {}
    element_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="of what is learnt of each atom, by chemical symbol; 1 for the others"),
    ] = {}
    late_weights: Annotated[
        dict[Loss, Annotated[float, Field(ge=0)]],
        Field(
            description="weights of energy, forces, stress, local_energies, node_embeddings and hessian at the end, "
            "as in {energy: 20}"
        ),
    ] = {}
    late_from: Annotated[
        float, Field(ge=0, lt=1, description="share of the training after which weights move to late_weights")
    ] = 0.5
    ema_decay: Annotated[float, Field(ge=0, lt=1, description="of the averaged weights that become the student")] = 0.995
    clip_gradient: Annotated[float, Field(gt=0, description="largest norm of the gradient")] = 40.0
    checkpoint_minutes: Annotated[float, Field(ge=0, description="time between checkpoints; one is at each epoch's end")] = (
        5.0
    )
    uncertainty: Annotated[
        bool, Field(description="whether the student learns at the end what errors to expect of its own forces")
    ] = True
    tensorboard: Annotated[bool, Field(description="whether the errors of each epoch go to tensorboard/ as well")] = False
    backend: Annotated[
        Backend, Field(description="fused: the C++ kernel, on a CPU; torch: PyTorch; auto: the first if it can be had")
    ] = "auto"

    @field_validator("element_weights")
    @classmethod
    def _known_elements(cls, weights: dict[str, float]) -> dict[str, float]:
        refuse_unknown_symbols(weights)
        return weights

    def wants(self, loss: Loss) -> bool:
        """Whether a loss ever has a weight."""
        return max(getattr(self, f"{loss}_weight"), self.late_weights.get(loss, 0.0)) > 0
