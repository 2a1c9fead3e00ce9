"""Speed and accuracy of the student on one GPU, side by side with orb-v2 and SevenNet-0, in four minutes.

    python -m benchmarks.student.gpu [--seconds 230] [--only NAME ...] [--no-peers]

Energy, forces and stress; lists inside the timer; warm; medians. The result file is written after every row, so that a run
that is stopped keeps what was measured. Rows that could not be measured say why. On a machine without a card, ``--rehearse``
runs the logic with the student's CPU code on smaller systems and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from benchmarks.lib.common import RESULTS, write_results
from benchmarks.lib.systems import aspirin, crystals, rattled, supercell

from potstill.core.types import Structure
from potstill.dataset import Records
from potstill.deploy.student import DeployedStudent
from potstill.execute.gpus import gpus_in_use
from potstill.student.options import StudentConfig
from potstill.testing import random_student
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

LABELS_AT_ONCE = 128
STARTED = time.perf_counter()
PEER_SYSTEMS = ("aspirin", "Si216", "32 crystals", "Si4096")


class Rows:
    """What was measured, written at once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.found = options, []

    def add(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a row, unless time is over or another was asked for; a failure is a row as well."""
        if self.options.only and not any(word in name for word in self.options.only):
            return
        spent = time.perf_counter() - STARTED
        row: dict[str, Any] = {"row": name}
        if spent > self.options.seconds:
            row["skipped"] = f"{spent:.0f} s are over"
        else:
            try:
                row |= measure()
            except Exception as error:  # noqa: BLE001 - the other rows can be measured
                row["skipped"] = f"{type(error).__name__}: {error}".split("\n")[0][:300]
        row["at_s"] = round(time.perf_counter() - STARTED, 1)
        self.found.append(row)
        print(json.dumps(row), flush=True)
        if not self.options.rehearse:
            write_results("gpu", self.found)


def synchronized(call: Callable[[], Any]) -> float:
    """Seconds of a call until the card is done."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def timed(call: Callable[[], Any], *, budget: float = 1.0, least: int = 5) -> dict[str, Any]:
    """First call, median and least of warm calls in ms."""
    first = synchronized(call)
    times: list[float] = [synchronized(call)]
    times.clear()
    started = time.perf_counter()
    while len(times) < least or (time.perf_counter() - started < budget and len(times) < 200):
        times.append(synchronized(call))
    return {
        "ms": 1e3 * float(np.median(times)),
        "ms_least": 1e3 * min(times),
        "first_ms": 1e3 * first,
        "repeats": len(times),
    }


def labels(student: DeployedStudent, systems: list[Atoms]) -> Callable[[], Any]:
    """Labels of displaced copies: another geometry in every call."""
    copies = [[Structure.from_ase(a) for a in rattled(systems, seed)] for seed in range(4)]
    turn = iter(range(10**9))
    return lambda: student.label(copies[next(turn) % 4])


def accuracy(student: DeployedStudent, systems: list[Atoms]) -> dict[str, Any]:
    """Largest differences from float64 on the CPU."""
    structures = [Structure.from_ase(a) for a in rattled(systems, 9)]
    exact = random_student(range(1, 95), tier="base", backend="torch")
    exact = DeployedStudent(exact.model, exact.config, dtype=torch.float64, backend="torch")
    pairs = list(zip(student.label(structures), exact.label(structures), strict=True))
    sizes = [len(s) for s in structures]
    energy = max(abs(a.energy - b.energy) / n for (a, b), n in zip(pairs, sizes, strict=True))
    forces = max(float(np.abs(a.forces - b.forces).max()) for a, b in pairs)
    stress = max((float(np.abs(a.stress - b.stress).max()) for a, b in pairs if a.stress is not None), default=0.0)
    return {"energy_ev_per_atom": energy, "forces_ev_per_angstrom": forces, "stress_ev_per_cubic_angstrom": stress}


def ase_step(calculator: Any, atoms: Atoms, steps: int) -> dict[str, Any]:
    """A step of ASE's loop, ms."""
    atoms = atoms.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=300.0, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=0.05 * units.fs)  # random weights: short steps, so that atoms stay together
    dynamics.run(5)
    return {"ms": 1e3 * synchronized(lambda: dynamics.run(steps)) / steps, "steps": steps}


def device_step(student: DeployedStudent, systems: list[Atoms], steps: int, timestep_fs: float = 0.05) -> dict[str, Any]:
    """A step on the card, ms; atom-steps and structure-steps a second."""
    from potstill.student.gpu.dynamics import Dynamics

    dynamics = Dynamics(student.gpu, [Structure.from_ase(a) for a in systems], timestep_fs=timestep_fs)
    dynamics.run(min(steps, 64))
    seconds = synchronized(lambda: dynamics.run(steps))
    atoms = sum(map(len, systems))
    return {
        "ms": 1e3 * seconds / steps,
        "steps": steps,
        "searches": dynamics.systems.searches,
        "atom_steps_per_s": atoms * steps / seconds,
        "structure_steps_per_s": len(systems) * steps / seconds,
    }


def stretched(n: int) -> Atoms:
    """About n atoms of silicon."""
    from ase.build import bulk

    return bulk("Si", "diamond", a=5.43, cubic=True).repeat(max(1, round((n / 8) ** (1 / 3))))


def peer(rows: Rows, name: str, systems: dict[str, list[Atoms]]) -> None:
    """A teacher on the card, its graphs inside the timer."""
    evaluate: list[Callable[[list[Atoms]], Any]] = []
    rows.add(f"{name}: loaded", lambda: {"s": synchronized(lambda: evaluate.append(PEERS[name]()))})
    for system in PEER_SYSTEMS if evaluate else ():
        turn = iter(range(10**9))

        def call(system: str = system, turn: Any = turn, ask: Any = evaluate[0]) -> Any:
            return ask(rattled(systems[system], next(turn)))

        rows.add(f"{name}: {system}", lambda call=call: timed(call, budget=0.5, least=3))


def _orb(*, compiled: bool = False) -> Callable[[list[Atoms]], Any]:
    import tempfile

    from orb_models.forcefield import pretrained
    from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs
    from orb_models.forcefield.base import batch_graphs

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        weights = Path(folder) / "random.ckpt"
        torch.save(pretrained.orb_v2_architecture(device="cpu").state_dict(), weights)
        model = pretrained.orb_v2(weights_path=str(weights), device=DEVICE, compile=compiled, precision="float32-highest")

    def ask(systems: list[Atoms]) -> Any:
        graphs = [ase_atoms_to_atom_graphs(a, system_config=model.system_config, device=DEVICE) for a in systems]
        out = model.predict(graphs[0] if len(graphs) == 1 else batch_graphs(graphs))
        return {k: out[k].detach().cpu().numpy() for k in ("energy", "forces", "stress")}

    return ask


def _sevennet() -> Callable[[list[Atoms]], Any]:
    from potstill.teacher import load_teacher

    teacher = load_teacher("sevennet", device=DEVICE, atoms_per_batch=16_384)
    return lambda systems: teacher.label([Structure.from_ase(a) for a in systems])


def labels_by_default(count: int) -> dict[str, Any]:
    """Labels of small crystals by SevenNet-0 with default options, in one process; the stage runs two on a card."""
    from potstill.teacher import load_teacher

    teacher = load_teacher("sevennet", device=DEVICE)
    kinds = crystals()
    made = [Structure.from_ase(rattled([kinds[k % len(kinds)]], seed=k)[0]) for k in range(count)]
    teacher.label(made[: count // 8])
    seconds = synchronized(lambda: teacher.label(made))
    return {"structures_per_hour": 3600 * count / seconds, "structures": count, "atoms": sum(map(len, made))}


PEERS: dict[str, Callable[[], Callable[[list[Atoms]], Any]]] = {
    "SevenNet-0": _sevennet,
    "orb-v2": _orb,
    "orb-v2 compiled": lambda: _orb(compiled=True),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:  # noqa: C901 - one row after the other
    """Measure what the table of the GPU asks for, in the order of what matters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=230.0, help="no row begins later")
    parser.add_argument("--only", nargs="+", default=[], help="rows whose name contains one of these words")
    parser.add_argument("--no-peers", action="store_true", help="leave out orb-v2 and SevenNet-0")
    parser.add_argument("--rehearse", action="store_true", help="the logic, without a card")
    options = parser.parse_args()
    if DEVICE == "cpu" and not options.rehearse:
        sys.exit("there is no CUDA device; --rehearse runs the logic without one")
    warnings.simplefilter("ignore")
    rows = Rows(options)
    rehearse = options.rehearse
    systems = {"aspirin": [aspirin()], "Si216": [supercell("Si", 216)], "32 crystals": crystals()}
    systems |= {} if rehearse else {"Si4096": [supercell("Si", 4096)], "Si32768": [supercell("Si", 32_768)]}
    systems |= {"Si4096": [supercell("Si", 64)]} if rehearse else {}
    backend = "torch" if rehearse else "gpu"
    fresh = random_student(range(1, 95), tier="base", backend="torch")
    made: list[DeployedStudent] = []

    def first() -> dict[str, Any]:
        def start() -> None:
            one = DeployedStudent(fresh.model, fresh.config, DEVICE, backend=backend)
            one.label([Structure.from_ase(aspirin())])
            made.append(one)

        return {"s": synchronized(start), "note": "student to the card, kernels compiled or read from Triton's cache, graph"}

    rows.add("first call", first)
    if not made and options.only:
        made.append(DeployedStudent(fresh.model, fresh.config, DEVICE, backend=backend))
    student = made[0] if made else None  # without kernels, the rows that need none are measured
    if student is not None:
        _student(rows, student, systems)
    teacher = random_student(range(1, 95), tier="base", backend="torch") if student is None else student
    for name, structures, epochs, backend in (
        ("16 structures a step", 16, 6, "auto"),
        ("4,000 atoms a step", 200, 6, "auto"),
        ("16 structures a step, without graphs", 16, 1, "torch"),
    ):
        rows.add(
            f"training: {name}",
            lambda structures=structures, epochs=epochs, backend=backend: training(
                structures, epochs, backend, total=96 if rehearse else 12 * max(structures, 64), teacher=teacher
            ),
        )
    if not options.no_peers:
        peer(rows, "SevenNet-0", systems)
        rows.add("labels: SevenNet-0, default options", lambda: labels_by_default(8 if rehearse else 2048))
        peer(rows, "orb-v2", systems)
    if not rehearse and student is not None:
        for name in ("Si4096", "Si216"):  # late, because a profiler may stay attached and slow down later kernels
            rows.add(f"phases: {name}", lambda name=name: phases(student, systems[name]))
        rows.add("tf32x3", lambda: other_products(fresh, systems))
        for count in (262_144, 1_000_000):
            rows.add(f"largest: {count} atoms", lambda count=count: largest(student, count))
    if not options.no_peers:
        peer(rows, "orb-v2 compiled", systems)  # compiles for minutes
    print(f"{time.perf_counter() - STARTED:.0f} s; {RESULTS / 'gpu.json'}")


def _student(rows: Rows, student: DeployedStudent, systems: dict[str, list[Atoms]]) -> None:
    """Labels, accuracy and dynamics by the student."""
    rehearse = rows.options.rehearse
    rows.add(
        "another number of atoms", lambda: {"s": synchronized(lambda: student.label([Structure.from_ase(stretched(64))]))}
    )
    for name in ("aspirin", "Si216", "32 crystals"):
        rows.add(f"accuracy: {name}", lambda name=name: accuracy(student, systems[name]))
    for name, atoms in systems.items():
        rows.add(f"label: {name}", lambda atoms=atoms: timed(labels(student, atoms)))
    rows.add("MD by ASE: Si216", lambda: ase_step(student.calculator(), systems["Si216"][0], 5 if rehearse else 300))
    if not rehearse:
        for name, atoms in (
            ("Si216", systems["Si216"]),
            ("2,586 atoms", [supercell("Si", 2744)[:2586]]),
            ("64 aspirins", [aspirin()] * 64),
            ("Si32768", systems["Si32768"]),
        ):
            rows.add(f"MD on the card: {name}", lambda atoms=atoms: device_step(student, atoms, 256))


def training(structures: int, epochs: int, backend: str, total: int, teacher: DeployedStudent) -> dict[str, Any]:
    """Training of the tier base on rattled crystals and aspirins: atoms per second in the epochs after the first."""
    kinds = [*crystals(), aspirin()]
    labelled = [rattled([kinds[k % len(kinds)]], seed=k)[0] for k in range(total)]
    made = [Structure.from_ase(atoms) for atoms in labelled]
    parts = [made[k : k + LABELS_AT_ONCE] for k in range(0, total, LABELS_AT_ONCE)]
    made = [s.with_(labels=found) for part in parts for s, found in zip(part, teacher.label(part), strict=True)]
    atoms = sum(len(s) for s in made)
    epoch_s: list[float] = []
    busy: list[float] = []
    with TemporaryDirectory() as folder:
        job = TrainJob(
            training=Records.of(made),
            student=StudentConfig(tier="base"),
            config=TrainConfig(epochs=epochs, batch_structures=structures, backend=backend, uncertainty=False),
            folder=Path(folder),
            seed=1,
        )

        def ended(_: int, __: dict[str, float]) -> None:
            nonlocal begun
            epoch_s.append(time.perf_counter() - begun)
            busy.extend(gpu.busy for gpu in gpus_in_use()[:1] if gpu.busy is not None)
            begun = time.perf_counter()  # without the time of nvidia-smi

        begun = time.perf_counter()
        train_student(job, on_epoch=ended)
    return {
        "atoms_per_s": atoms / float(np.median(epoch_s[1:] or epoch_s)),
        "first_epoch_s": epoch_s[0],
        "atoms": atoms,
        "structures": len(made),
        "busy": max(busy, default=None),
    }


def phases(student: DeployedStudent, systems: list[Atoms]) -> dict[str, Any]:
    """Time on the card of each kernel of an evaluation, by PyTorch's profiler; search and evaluation as graphs, ms."""
    from torch.profiler import ProfilerActivity, profile

    from potstill.student.gpu.systems import Systems

    lived = Systems(student.gpu, [Structure.from_ase(a) for a in systems])
    lived.evaluate()
    found: dict[str, Any] = {
        "evaluate_ms": timed(lived.evaluate)["ms"],
        "search_ms": timed(lambda: lived.slot.run("search"))["ms"],
    }
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        lived.slot.program.evaluate()
        torch.cuda.synchronize()
    found["kernels_us"] = {
        e.key[:60]: [round(e.device_time_total, 1), e.count] for e in profiler.key_averages() if e.device_time_total > 0
    }
    return found


def other_products(fresh: DeployedStudent, systems: dict[str, list[Atoms]]) -> dict[str, Any]:
    """Speed and accuracy with products of three TF32 terms."""
    from potstill.student.gpu.session import GpuStudent

    student = DeployedStudent(fresh.model, fresh.config, DEVICE, backend="gpu")
    student.gpu = GpuStudent(student.model, "tf32x3")
    found: dict[str, Any] = {name: timed(labels(student, systems[name]))["ms"] for name in ("Si216", "Si4096", "Si32768")}
    return {f"label_ms: {k}": v for k, v in found.items()} | accuracy(student, systems["32 crystals"])


def largest(student: DeployedStudent, count: int) -> dict[str, Any]:
    """One evaluation of a large crystal: ms without its search, and the most memory."""
    from potstill.student.gpu.systems import Systems

    student.gpu._slots.clear()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    lived = Systems(student.gpu, [Structure.from_ase(stretched(count))])
    ms = timed(lived.evaluate, budget=0.5, least=2)["ms"]
    return {"ms": ms, "atoms": lived.layout.atoms, "gigabytes": torch.cuda.max_memory_allocated() / 1e9}


if __name__ == "__main__":
    main()
