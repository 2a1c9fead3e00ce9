"""The terms of the loss that a config chooses, and whether the records have the labels that these need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from potstill.core.elements import atomic_numbers_of
from potstill.core.errors import InputError
from potstill.core.types import Array
from potstill.dataset.records import RecordSource
from potstill.student.model import N_ATOMIC_NUMBERS
from potstill.train.hints import Hints
from potstill.train.losses import (
    EnergyTerm,
    ForcesTerm,
    HessianTerm,
    LocalEnergiesTerm,
    LossTerm,
    NodeEmbeddingsTerm,
    StressTerm,
    TotalLoss,
)
from potstill.train.options import LABEL_EXTRA, NO_LOSS, TrainConfig

STRUCTURES_AT_ONCE = 4096  # in one look for labels
KINDS: tuple[type[LossTerm], ...] = (
    EnergyTerm,
    ForcesTerm,
    StressTerm,
    LocalEnergiesTerm,
    NodeEmbeddingsTerm,
    HessianTerm,
)


def kinds_of(config: TrainConfig) -> list[type[LossTerm]]:
    """Return the terms of a config: energy, forces and stress always, the others where they ever have a weight."""
    return [kind for kind in KINDS if not kind.columns or config.wants(kind.name)]


def total_loss(config: TrainConfig, hints: Hints | None = None) -> TotalLoss:
    """Return the loss of a config.

    Parameters
    ----------
    config
        Section ``train``.
    hints
        Needed where ``node_embeddings`` have a weight.

    Raises
    ------
    ValueError
        If they are needed and missing.
    """
    total = TotalLoss()
    for kind in kinds_of(config):
        weight: float = getattr(config, f"{kind.name}_weight")
        late_weight, late_from = config.late_weights.get(kind.name), config.late_from
        if kind is ForcesTerm:
            width, scale = config.huber_ev_per_angstrom, config.force_scale_ev_per_angstrom
            total += ForcesTerm(weight, width=width, scale=scale, late_weight=late_weight, late_from=late_from)
        elif kind is NodeEmbeddingsTerm:
            if hints is None:
                raise ValueError("train.node_embeddings_weight is set, but no hints were given")
            total += NodeEmbeddingsTerm(weight, hints, late_weight=late_weight, late_from=late_from)
        else:
            total += kind(weight, late_weight=late_weight, late_from=late_from)
    return total


def columns_of(kinds: Sequence[type[LossTerm]]) -> list[str]:
    """Return the columns of ``/extra`` that terms need."""
    return [column for kind in kinds for column in kind.columns]


def refuse_missing(training: RecordSource, kinds: Sequence[type[LossTerm]], who: str = "the dataset") -> None:
    """Raise InputError where a term has a weight and the records do not have the columns that it needs."""
    stored = training.gather(np.array([0])).extra
    for kind in kinds:
        if any(column not in stored for column in kind.columns):
            raise InputError(
                f"train.{kind.name}_weight is set, but {who} has no {' and '.join(kind.columns)}\n"
                f"  label again with  label.extra: [{LABEL_EXTRA[kind.name]}]  or leave that weight at 0"
            )


def refuse_nothing_to_learn(training: RecordSource, config: TrainConfig, weights: Array | None) -> None:
    """Refuse a loss that is zero for all structures.

    Parameters
    ----------
    training
        Records to train on.
    config
        Section ``train``.
    weights
        (S,) weights of the structures; None where all are 1.

    Raises
    ------
    InputError
        If no loss has a weight, no structure has one, or none has labels that a loss with a weight needs.
    """
    rows = np.arange(len(training)) if weights is None else np.flatnonzero(weights > 0)
    if len(training) and not len(rows):
        raise InputError(f"train.source_weights is 0 for all {len(training)} structures to train on: raise one of them")
    if not config.learns:
        raise InputError(NO_LOSS)
    wanted = {kind.name for kind in KINDS if config.wants(kind.name)}
    if "energy" in wanted:
        return
    unweighted = atomic_numbers_of(symbol for symbol, weight in config.element_weights.items() if not weight)
    for start in range(0, len(rows), STRUCTURES_AT_ONCE):
        records = training.gather(rows[start : start + STRUCTURES_AT_ONCE])
        atoms = wanted != {"stress"} and not np.isin(records.atomic_numbers, unweighted).all()
        if atoms or ("stress" in wanted and records.has_stress.any()):
            return
    raise InputError(
        f"train: nothing to train on counts for the only losses with a weight: {', '.join(sorted(wanted))}\n"
        "  raise train.energy_weight, train.forces_weight or train.element_weights"
    )


def weights_by_atomic_number(by_symbol: Mapping[str, float]) -> torch.Tensor | None:
    """Return (119,) weights by atomic number, 1 where none is given; None where all are 1."""
    from ase.data import atomic_numbers

    if not by_symbol:
        return None
    weights = torch.ones(N_ATOMIC_NUMBERS)
    for symbol, weight in by_symbol.items():
        weights[atomic_numbers[symbol]] = weight
    return weights
