"""Adapters: every model of the speed benchmarks behind one interface, each in the mode its own package documents as fast.

ASE ``Atoms`` go in and NumPy arrays come out, so that neighbour lists, graphs and conversions are inside everybody's time.
A model that needs weights which no package ships gets random ones of the real architecture: its speed does not depend on
them, and nothing else may be concluded from its answers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.utils.data
from ase import Atoms

from potstill.student.files import count_parameters
from potstill.teacher.convolution import replace_convolutions

Answer = tuple[float, np.ndarray, np.ndarray | None]
RANDOM = "random"
CUTOFF_ANGSTROM = 5.0  # of the peers that come without weights


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the benchmark sees it.

    Parameters
    ----------
    name
        Unique in the tables.
    package
        Distribution and version.
    parameters
        Trainable numbers.
    weights
        ``"random"`` or ``"pretrained"``; the architecture is the real one in both cases.
    evaluate
        Energy (eV), forces (n, 3) and stress (None for a molecule) of each structure; several structures are one batch.
    calculator
        Makes the ASE calculator that its package offers for MD.
    megabytes_per_atom
        Memory of a call per atom of bulk silicon, by ``student_scaling.py``: what cannot fit is not tried.
    prepare
        What a structure needs before its calculator takes it.
    """

    name: str
    package: str
    parameters: int
    weights: str
    evaluate: Callable[[Sequence[Atoms]], list[Answer]]
    calculator: Callable[[], Any]
    megabytes_per_atom: float = 0.0
    prepare: Callable[[Atoms], Atoms] = Atoms.copy


def orb(name: str, *, compiled: bool = False) -> Model:
    """An orb model through the path that real weights take; ``compiled`` is its default mode, by ``torch.compile``.

    Its loader sets PyTorch's precision of float32 products to "high" for the whole process, thus for all models.
    """
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs
    from orb_models.forcefield.base import batch_graphs
    from orb_models.forcefield.calculator import ORBCalculator

    architecture, load = {
        "orb-v2": (pretrained.orb_v2_architecture, pretrained.orb_v2),
        "orb-v3-conservative-20": (pretrained.orb_v3_conservative_architecture, pretrained.orb_v3_conservative_20_omat),
        "orb-v3-direct-20": (pretrained.orb_v3_direct_architecture, pretrained.orb_v3_direct_20_omat),
    }[name]
    with tempfile.TemporaryDirectory() as folder, seeded():
        weights = Path(folder) / "random.ckpt"
        torch.save(architecture(device="cpu").state_dict(), weights)
        model = load(weights_path=str(weights), device="cpu", compile=compiled)
    prefix = "grad_" if "conservative" in name else ""

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        graphs = [ase_atoms_to_atom_graphs(a, system_config=model.system_config, device="cpu") for a in structures]
        out = model.predict(graphs[0] if len(graphs) == 1 else batch_graphs(graphs))
        return _split(structures, out["energy"], out[f"{prefix}forces"], out[f"{prefix}stress"])

    return Model(
        name=f"{name}-compiled" if compiled else name,
        package=package("orb-models"),
        parameters=count_parameters(model),
        weights=RANDOM,
        evaluate=evaluate,
        calculator=lambda: ORBCalculator(model, device="cpu"),
        megabytes_per_atom=2.1 if prefix else 0.4,
    )


def chgnet() -> Model:
    """CHGNet 0.3.0; it knows no molecules, so they get a periodic box."""
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        crystals = [AseAtomsAdaptor.get_structure(boxed(a)) for a in structures]
        out = model.predict_structure(crystals, task="efs", batch_size=len(crystals))
        # energy per atom in eV and stress in GPa
        answers = zip(structures, [out] if len(crystals) == 1 else out, strict=True)
        return [(float(x["e"]) * len(a), x["f"], x["s"] / 160.21766 if a.pbc.all() else None) for a, x in answers]

    return Model(
        name="CHGNet 0.3.0",
        package=package("chgnet"),
        parameters=count_parameters(model),
        weights="pretrained",
        evaluate=evaluate,
        calculator=partial(CHGNetCalculator, model, use_device="cpu", on_isolated_atoms="ignore"),
        megabytes_per_atom=5.0,
        prepare=boxed,
    )


def sevennet(*, kernel: bool = False) -> Model:
    """SevenNet-0, with the graphs that its own calculator and its own inference make; or with the kernel of potstill."""
    from sevenn import _keys
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.calculator import SevenNetCalculator
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.data import Batch

    calculator = SevenNetCalculator("7net-0", device="cpu")
    if kernel:
        replace_convolutions(calculator.model)
    single, batched = calculator.model, copy.deepcopy(calculator.model)
    batched.set_is_batch_data(True)

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        graphs = [AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(a, calculator.cutoff)) for a in structures]
        out = single(graphs[0]) if len(graphs) == 1 else batched(Batch.from_data_list(graphs))
        return _split(structures, out[_keys.PRED_TOTAL_ENERGY], out[_keys.PRED_FORCE], -out[_keys.PRED_STRESS])

    return Model(
        name="SevenNet-0, kernel" if kernel else "SevenNet-0",
        package=package("sevenn"),
        parameters=count_parameters(single),
        weights="pretrained",
        evaluate=evaluate,
        calculator=lambda: calculator,
        megabytes_per_atom=4.1,
    )


def schnetpack_painn() -> Model:
    """PaiNN of the paper, 128 features and 3 interactions; a molecule gets the same network without stress."""
    # schnetpack 2.0.4 takes this type variable from a module of PyTorch that has renamed it
    torch.utils.data.dataloader.T_co = TypeVar("T_co", covariant=True)
    import schnetpack as spk
    from schnetpack.interfaces.ase_interface import AtomsConverter, SpkCalculator
    from schnetpack.transform import MatScipyNeighborList, SkinNeighborList

    with seeded():
        painn = spk.representation.PaiNN(
            n_atom_basis=128,
            n_interactions=3,
            radial_basis=spk.nn.GaussianRBF(n_rbf=20, cutoff=CUTOFF_ANGSTROM),
            cutoff_fn=spk.nn.CosineCutoff(CUTOFF_ANGSTROM),
        )
        energy = spk.atomistic.Atomwise(n_in=128, output_key="energy")
    models = {
        stress: spk.model.NeuralNetworkPotential(
            painn,
            [*([spk.atomistic.Strain()] if stress else []), spk.atomistic.PairwiseDistances()],
            [energy, spk.atomistic.Forces(calc_stress=stress)],
        ).eval()
        for stress in (False, True)
    }
    convert = AtomsConverter(MatScipyNeighborList(cutoff=CUTOFF_ANGSTROM))

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        out = models[bool(structures[0].pbc.all())](convert(list(structures)))
        return _split(structures, out["energy"], out["forces"], out.get("stress"))

    class Calculator(SpkCalculator):
        """Takes the module itself: its loader unpickles a file, which PyTorch refuses by default."""

        def _load_model(self, model_file: Any) -> Any:
            return model_file

    def calculator() -> Calculator:
        neighbors = SkinNeighborList(MatScipyNeighborList(cutoff=CUTOFF_ANGSTROM), cutoff_skin=1.0)
        return Calculator(copy.deepcopy(models[False]), neighbors, energy_unit="eV")

    return Model(
        name="schnetpack PaiNN",
        package=package("schnetpack"),
        parameters=count_parameters(models[True]),
        weights=RANDOM,
        evaluate=evaluate,
        calculator=calculator,
        megabytes_per_atom=1.9,
    )


def graph_pes(name: str) -> Model:
    """PaiNN or TensorNet of graph-pes, in the sizes of their papers."""
    from graph_pes import models
    from graph_pes.atomic_graph import AtomicGraph, to_batch
    from graph_pes.utils.calculator import GraphPESCalculator

    sizes = {"PaiNN": {"channels": 128, "layers": 3}, "TensorNet": {"channels": 128, "layers": 2}}[name]
    with seeded():
        model = getattr(models, name)(cutoff=CUTOFF_ANGSTROM, **sizes).eval()

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        graphs = [AtomicGraph.from_ase(a, CUTOFF_ANGSTROM) for a in structures]
        wanted = ["energy", "forces", *(["stress"] if structures[0].pbc.all() else [])]
        out = model.predict(graphs[0] if len(graphs) == 1 else to_batch(graphs), wanted)
        return _split(structures, out["energy"], out["forces"], out.get("stress"))

    return Model(
        name=f"graph-pes {name}",
        package=package("graph-pes"),
        parameters=count_parameters(model),
        weights=RANDOM,
        evaluate=evaluate,
        calculator=partial(GraphPESCalculator, model),
        megabytes_per_atom={"PaiNN": 1.8, "TensorNet": 4.0}[name],
    )


ORB = ("orb-v2", "orb-v3-conservative-20", "orb-v3-direct-20")
PEERS: dict[str, Callable[[], Model]] = {
    **{name: partial(orb, name) for name in ORB},
    **{f"{name}-compiled": partial(orb, name, compiled=True) for name in ORB},
    "CHGNet 0.3.0": chgnet,
    "SevenNet-0": sevennet,
    "SevenNet-0, kernel": partial(sevennet, kernel=True),
    "schnetpack PaiNN": schnetpack_painn,
    "graph-pes PaiNN": partial(graph_pes, "PaiNN"),
    "graph-pes TensorNet": partial(graph_pes, "TensorNet"),
}


def boxed(atoms: Atoms) -> Atoms:
    """Copy of a structure, in a periodic box with 10 Å of vacuum on each side where it is not periodic."""
    copied = atoms.copy()
    if not copied.pbc.all():
        copied.center(vacuum=10.0)
        copied.pbc = True
    return copied


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Random weights that are the same in every run; PyTorch's global random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _split(structures: Sequence[Atoms], energy: Any, forces: Any, stress: Any) -> list[Answer]:
    """Tensors of a batch as one answer per structure."""
    sizes = [len(a) for a in structures]
    energies = energy.detach().numpy().reshape(-1)
    each = np.split(forces.detach().numpy(), np.cumsum(sizes)[:-1])
    stresses = None if stress is None else stress.detach().numpy().reshape(len(sizes), -1)
    return [
        (float(energies[k]), each[k], stresses[k] if stresses is not None and a.pbc.all() else None)
        for k, a in enumerate(structures)
    ]


def package(name: str) -> str:
    """A distribution with its version."""
    return f"{name} {metadata.version(name)}"
