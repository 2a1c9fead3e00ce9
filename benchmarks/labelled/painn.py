"""PaiNN of schnetpack on the same data, for the same time on the same cores as the general student.

    python -m benchmarks.labelled.painn DATASET --seconds 1500 [--features 128] [--layers 3] [--threads 2]

Needs an environment of its own, with the pinned torch, h5py, matscipy and ``schnetpack`` 2.1.1, without potstill: the
dataset is read by plain h5py. Losses and split are those of ``learning_curve``, whose row of all labels
says the seconds. Neighbour lists are made before the clock starts. AdamW with a cosine over the time, running average of the
weights, batches of 16; learning rate 5e-4, that of schnetpack's own examples. Results in ``results/painn.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import h5py
import numpy as np
import torch
import torch.utils.data.dataloader
from matscipy.neighbours import neighbour_list

if not hasattr(torch.utils.data.dataloader, "T_co"):  # schnetpack 2.1.1 takes this name from an older torch
    torch.utils.data.dataloader.T_co = TypeVar("T_co", covariant=True)
from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
from schnetpack.model import NeuralNetworkPotential
from schnetpack.nn import CosineCutoff, GaussianRBF
from schnetpack.representation import PaiNN

CUTOFF_ANGSTROM = 5.0
BATCH, RATE, WARM_UP, DECAY = 16, 5e-4, 0.03, 0.995
ENERGY_WEIGHT, FORCES_WEIGHT = 5.0, 10.0
TRAIN = 0
Arrays = dict[str, Any]


def read(path: Path) -> Arrays:
    """All structures, the energies without those of their atoms, and each structure's neighbours within the cutoff."""
    with h5py.File(path) as file:
        found: Arrays = {name: file[f"atoms/{name}"][:] for name in ("atomic_numbers", "positions", "forces")}
        found |= {name: file[f"structures/{name}"][:] for name in ("ptr", "cell", "pbc", "energy")}
        found["part"] = file["splits/part"][:]
    ptr, numbers = found["ptr"], found["atomic_numbers"]
    elements, column = np.unique(numbers, return_inverse=True)
    amounts = np.zeros((len(ptr) - 1, len(elements)))
    np.add.at(amounts, (np.repeat(np.arange(len(ptr) - 1), np.diff(ptr)), column), 1.0)
    trained = found["part"] == TRAIN
    of_element = np.linalg.lstsq(amounts[trained], found["energy"][trained], rcond=None)[0]
    found["energy"] = found["energy"] - amounts @ of_element
    found["edges"] = [_edges(found, k) for k in range(len(ptr) - 1)]
    found["seen"] = amounts[trained].sum(axis=0)[column] > 0
    return found


def _edges(data: Arrays, k: int) -> tuple[Any, Any, Any]:
    chosen = slice(data["ptr"][k], data["ptr"][k + 1])
    positions = data["positions"][chosen].astype(float)
    cell = data["cell"][k] + np.diag(np.where(data["pbc"][k], 0.0, 1.0)) * 100.0 * (~data["pbc"][k]).astype(float)
    i, j, shift = neighbour_list("ijS", positions=positions, cell=cell, pbc=data["pbc"][k], cutoff=CUTOFF_ANGSTROM)
    return i, j, shift @ cell


def batch_of(data: Arrays, chosen: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Inputs of schnetpack, energies per structure and forces."""
    ptr = data["ptr"]
    rows = np.concatenate([np.arange(ptr[k], ptr[k + 1]) for k in chosen])
    sizes = np.array([ptr[k + 1] - ptr[k] for k in chosen])
    before = np.concatenate([[0], np.cumsum(sizes)])
    edges = [data["edges"][k] for k in chosen]
    inputs = {
        "_atomic_numbers": torch.from_numpy(data["atomic_numbers"][rows].astype(np.int64)),
        "_positions": torch.from_numpy(data["positions"][rows]),
        "_idx_m": torch.from_numpy(np.repeat(np.arange(len(chosen)), sizes)),
        "_n_atoms": torch.from_numpy(sizes),
        "_idx_i": torch.from_numpy(
            np.concatenate([i + b for (i, _, _), b in zip(edges, before, strict=False)]).astype(np.int64)
        ),
        "_idx_j": torch.from_numpy(
            np.concatenate([j + b for (_, j, _), b in zip(edges, before, strict=False)]).astype(np.int64)
        ),
        "_offsets": torch.from_numpy(np.concatenate([o for _, _, o in edges]).astype(np.float32)),
    }
    energy = torch.from_numpy(data["energy"][chosen].astype(np.float32))
    return inputs, energy, torch.from_numpy(data["forces"][rows])


def make(features: int, layers: int) -> NeuralNetworkPotential:
    """PaiNN with energy and forces."""
    return NeuralNetworkPotential(
        representation=PaiNN(features, layers, GaussianRBF(n_rbf=20, cutoff=CUTOFF_ANGSTROM), CosineCutoff(CUTOFF_ANGSTROM)),
        input_modules=[PairwiseDistances()],
        output_modules=[Atomwise(n_in=features, output_key="energy"), Forces()],
    )


def differences(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(S,) eV/atom and (N,) eV/Å."""
    inputs, energy, forces = batch
    found = model(dict(inputs))
    return (found["energy"] - energy).abs() / inputs["_n_atoms"], (found["forces"] - forces).norm(dim=1)


def train(data: Arrays, model: Any, seconds: float) -> tuple[Any, int]:
    """The averaged model after so many seconds, and the passes over the data."""
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-3)
    rng, training = np.random.default_rng(1), np.flatnonzero(data["part"] == TRAIN)
    started, epochs = perf_counter(), 0
    while True:
        order = rng.permutation(training)
        for start in range(0, len(order), BATCH):
            gone = (perf_counter() - started) / seconds
            if gone >= 1:
                return average.module, epochs
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, gone / WARM_UP) * (0.5 * (1 + math.cos(math.pi * gone)) + 0.01)
            energy, forces = differences(model, batch_of(data, order[start : start + BATCH]))
            loss = ENERGY_WEIGHT * energy.mean() + FORCES_WEIGHT * forces.mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 40.0)
            optimizer.step()
            average.update_parameters(model)
        epochs += 1
        print(f"epoch {epochs}, {gone:.2f} of the time, loss {float(loss):.2f}", file=sys.stderr, flush=True)


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    data = read(options.dataset)
    model = make(options.features, options.layers).train()
    average, epochs = train(data, model, options.seconds)
    average.eval()
    seen = np.minimum.reduceat(data["seen"], data["ptr"][:-1])
    held_out = np.flatnonzero((data["part"] != TRAIN) & seen)
    energy, forces, length = [], [], []
    for start in range(0, len(held_out), BATCH):
        batch = batch_of(data, held_out[start : start + BATCH])
        found = differences(average, batch)
        energy.append(found[0].detach())
        forces.append(found[1].detach())
        length.append(batch[2].norm(dim=1))
    error, size = float(torch.cat(forces).mean()), float(torch.cat(length).mean())
    row = {
        "model": f"schnetpack PaiNN, {options.features} features, {options.layers} layers",
        "parameters": sum(p.numel() for p in model.parameters()),
        "labels": int((data["part"] == TRAIN).sum()),
        "epochs": epochs,
        "train_seconds": options.seconds,
        "threads": options.threads,
        "held_out": len(held_out),
        "forces_ev_per_angstrom": round(error, 4),
        "of_mean_force": round(error / size, 4),
        "energy_mev_per_atom": round(1e3 * float(torch.cat(energy).mean()), 2),
    }
    print(json.dumps(row))
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"platform": platform.platform(), "cores": torch.multiprocessing.cpu_count()},
        "versions": {name: version(name) for name in ("schnetpack", "torch", "numpy", "matscipy")},
        "rows": [row],
    }
    (Path(__file__).parents[1] / "results" / "painn.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
