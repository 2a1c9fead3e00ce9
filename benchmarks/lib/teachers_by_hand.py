"""Each teacher's package used without potstill: its own graphs, its own batches, its ASE calculator.

Enters a loaded teacher, whose model is shared so that both sides compute the same; leaves functions on ASE structures. What
they return is compared with potstill's labels before anything is timed. SevenNet's model is loaded again by its package, for
potstill changes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

Batched = Callable[[Sequence[Atoms]], list[float]]  # energies in eV of one call of the model


def sevennet(teacher: Any) -> tuple[Batched, Any]:
    """SevenNet's own graphs and torch-geometric's batch."""
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.calculator import SevenNetCalculator
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.data import Batch

    calculator = SevenNetCalculator("7net-0", device="cpu")
    model = SevenNetCalculator("7net-0", device="cpu").model
    model.set_is_batch_data(True)

    def energies(batch: Sequence[Atoms]) -> list[float]:
        graphs = [
            AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(a, teacher._cutoff, with_shift=False)) for a in batch
        ]
        output = model(Batch.from_data_list(graphs))
        for key in ("inferred_force", "inferred_stress"):
            output[key].detach().cpu().numpy()
        return [float(e) for e in output["inferred_total_energy"].detach().reshape(-1)]

    return energies, calculator


def orb(teacher: Any) -> tuple[Batched, Any]:
    """Orb's own graphs and batches."""
    from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs
    from orb_models.forcefield.base import batch_graphs
    from orb_models.forcefield.calculator import ORBCalculator

    model = teacher._model

    def energies(batch: Sequence[Atoms]) -> list[float]:
        graphs = [ase_atoms_to_atom_graphs(a, system_config=model.system_config, device="cpu") for a in batch]
        output = {name: value.detach().cpu().numpy() for name, value in model.predict(batch_graphs(graphs)).items()}
        return [float(e) for e in output["energy"].reshape(-1)]

    return energies, ORBCalculator(model, device="cpu")


def chgnet(teacher: Any) -> tuple[Batched, Any]:
    """CHGNet's ``predict_structure``."""
    from chgnet.model.dynamics import CHGNetCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    def energies(batch: Sequence[Atoms]) -> list[float]:
        crystals = [AseAtomsAdaptor.get_structure(a) for a in batch]
        answers = teacher._model.predict_structure(crystals, task="efs", batch_size=len(batch))
        answers = [answers] if isinstance(answers, dict) else answers
        return [float(x["e"]) * len(a) for x, a in zip(answers, batch, strict=True)]

    return energies, CHGNetCalculator(teacher._model, use_device="cpu")


def mace(teacher: Any) -> tuple[Batched, Any]:
    """MACE's own graphs and batches."""
    from mace import data
    from mace.calculators import MACECalculator
    from mace.tools import torch_geometric, torch_tools

    def energies(batch: Sequence[Atoms]) -> list[float]:
        with torch_tools.default_dtype(teacher._dtype):
            graphs = [
                data.AtomicData.from_config(data.config_from_atoms(a), z_table=teacher._table, cutoff=teacher._cutoff)
                for a in batch
            ]
            together = next(iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs))))
            output = teacher._model(together.to_dict(), compute_stress=True)
        for key in ("forces", "stress"):
            output[key].detach().cpu().numpy()
        return [float(e) for e in output["energy"].detach()]

    return energies, MACECalculator(models=[teacher._model], device="cpu", default_dtype=teacher._dtype)


def xtb(teacher: Any) -> tuple[Batched, Any]:
    """Tblite takes one molecule at a time."""
    from tblite.ase import TBLite
    from tblite.interface import Calculator

    from potstill.core.units import BOHR_ANGSTROM, HARTREE_EV

    def energies(batch: Sequence[Atoms]) -> list[float]:
        found = []
        for atoms in batch:
            calculator = Calculator(teacher._method, atoms.numbers, atoms.positions / BOHR_ANGSTROM)
            calculator.set("verbosity", 0)
            result = calculator.singlepoint()
            np.asarray(result.get("gradient"))
            found.append(float(result.get("energy")) * HARTREE_EV)
        return found

    return energies, TBLite(method=teacher._method, verbosity=0)


PACKAGES: dict[str, Callable[[Any], tuple[Batched, Any]]] = {
    "sevennet": sevennet,
    "chgnet": chgnet,
    "orb-v2": orb,
    "orb-v3": orb,
    "mace": mace,
    "xtb": xtb,
}


def random_weights(name: str, options: dict[str, Any], path: str) -> None:
    """A checkpoint of Orb or MACE with random weights: as fast as a real one, and good for nothing else."""
    import torch

    torch.manual_seed(0)
    if name == "mace":
        torch.save(_medium_mace(), path)
        return
    from orb_models.forcefield import pretrained

    kind = options.get("model", "orb-v3-conservative-20-omat" if name == "orb-v3" else "orb-v2")
    makers = {
        "orb-v2": pretrained.orb_v2_architecture,
        "orb-v3-c": pretrained.orb_v3_conservative_architecture,
        "orb-v3-d": pretrained.orb_v3_direct_architecture,
    }
    torch.save(makers[kind if name == "orb-v2" else kind[:8]](device="cpu").state_dict(), path)


def _medium_mace() -> Any:
    """MACE in the size of the "medium" foundation models, float32."""
    import torch
    from e3nn import o3
    from mace.modules import RealAgnosticResidualInteractionBlock, ScaleShiftMACE

    return ScaleShiftMACE(
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=RealAgnosticResidualInteractionBlock,
        interaction_cls_first=RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=89,
        hidden_irreps=o3.Irreps("128x0e + 128x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(89),
        avg_num_neighbors=60.0,
        atomic_numbers=list(range(1, 90)),
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    ).float()
