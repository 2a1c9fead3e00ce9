"""Condition of this machine: each source and teacher is called for a structure or a label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from potstill.core.errors import InputError, PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Labels, Structure
from potstill.environments import ENVIRONMENTS, Installed, installed, versions_in

if TYPE_CHECKING:
    from potstill.teacher.options import TeacherOptions

MAX_CANDIDATES = 64
GIVEN = "given"  # the teacher that computes nothing


@dataclass(frozen=True, slots=True)
class Condition:
    """Result of trying one source, teacher, engine or device.

    Parameters
    ----------
    kind, name
        Group and name.
    works
        Whether it gave a structure, a label or its version.
    detail
        What it gave, or why not, with the command that mends it.
    required
        Whether every run needs it.
    lacking
        Whether a package, weights or an environment is not installed, so that nothing is broken.
    """

    kind: str
    name: str
    works: bool
    detail: str
    required: bool = False
    lacking: bool = False


def examine() -> list[Condition]:
    """Try every source, teacher and engine that comes with potstill."""
    from potstill.generate.options import SOURCES
    from potstill.teacher.choices import TEACHERS

    found = [_device(), _try("machine", "fused kernel", _fused_kernel)]
    found += [
        _try("source", name, lambda name=name: _propose(SOURCES[name]))  # type: ignore[misc]
        for name in (
            *("molecules", "crystals", "benchmark", "prototypes", "alloys", "surfaces", "clusters", "melts", "liquids"),
            *("mutants", "chempleter", "torsions", "dimers"),
        )
    ]
    asked = {name: options for name, options in TEACHERS.items() if name != GIVEN}
    found += [_try("teacher", name, lambda options=options: _ask(options)) for name, options in asked.items()]  # type: ignore[misc]
    found += [_try("environment", name, lambda name=name: _environment(name)) for name in ENVIRONMENTS]  # type: ignore[misc]
    found.append(_try("engine", "ase", _ase_version, required=True))
    found += [_try("engine", name, version) for name, version in ENGINES.items()]
    return found


def print_findings(found: Sequence[Condition], console: Console) -> None:
    """Print what works and what is broken as a table, then what is not installed, with the commands that install it."""
    table = Table(title="potstill doctor")
    for heading in ("what", "name", "state", "detail"):
        table.add_column(heading, overflow="fold")
    lacking = [condition for condition in found if condition.lacking]
    for condition in found:
        if not condition.lacking:
            state = "[green]works[/green]" if condition.works else "[red]does not work[/red]"
            table.add_row(condition.kind, condition.name, state, escape(condition.detail))
    console.print(table)
    if lacking:
        console.print("\nnot installed, and optional:")
    for condition in lacking:
        console.print(f"  {condition.kind} {condition.name}: {condition.detail}", markup=False, highlight=False)
    working, broken = sum(c.works for c in found), [c.name for c in found if not c.works and not c.lacking]
    told = f"; does not work: {', '.join(broken)}" if broken else ""
    console.print(f"\n{working} of {len(found)} work, {len(lacking)} are not installed{told}", markup=False)


def _try(kind: str, name: str, attempt: Callable[[], str], *, required: bool = False) -> Condition:
    try:
        return Condition(kind, name, works=True, detail=attempt(), required=required)
    except InputError as error:  # a package, weights or an environment that is not here
        return Condition(kind, name, works=False, detail=str(error), required=required, lacking=not required)
    except PotstillError as error:
        return Condition(kind, name, works=False, detail=str(error), required=required)
    except Exception as error:  # noqa: BLE001 - whatever a package raises is the finding
        return Condition(kind, name, works=False, detail=f"{type(error).__name__}: {error}", required=required)


def _propose(options: type) -> str:
    source = options(count=1, elements=("H", "C", "N", "O", "Na", "Cl", "Si", "Ni", "Cu"))
    reasons: set[str] = set()
    for index in range(MAX_CANDIDATES):
        (answer,) = source.propose([index], 1, ())
        if isinstance(answer, Structure):
            return f"made {answer.formula} with {len(answer)} atoms"
        reasons.add(answer.reason)
    raise PotstillError("; ".join(sorted(reasons)))


def _ask(options: type[TeacherOptions]) -> str:
    from ase.build import bulk, molecule

    from potstill.teacher.opening import open_teacher

    teacher = open_teacher(options.example())
    crystals = "stress" in teacher.properties  # a teacher without stress may support molecules only
    name, atoms = ("copper", bulk("Cu", "fcc", a=3.6)) if crystals else ("water", molecule("H2O"))
    (answer,) = teacher.label([Structure.from_ase(atoms)])
    if not isinstance(answer, Labels):
        raise PotstillError(f"refused {name}: {answer.reason} {answer.detail}")
    print_name = teacher.fingerprint
    energy = answer.energy / len(atoms)
    return f"{name} has {energy:.3f} eV/atom ({print_name['version']}, {print_name['weights'][:18]})"


def _environment(name: str) -> str:
    """Return the content of an environment; its setup has tried it, so nothing is generated here."""
    place = installed(name)
    if not place.python.is_file():
        raise InputError(f"not made\n  make it with:  potstill setup {name}")
    mend = f"go on with:  potstill setup {name}"
    versions = versions_in(place, ENVIRONMENTS[name].packages)
    recorded = place.record.get("packages", {})
    changed = [f"{name} {recorded.get(name)} -> {now}" for name, now in versions.items() if now != recorded.get(name)]
    if changed:
        remove = f"remove {place.folder / 'venv'}, then "
        raise PotstillError(f"its packages changed since it was made: {', '.join(changed)}\n  {remove}{mend}")
    recipe = ENVIRONMENTS[name]
    if recipe.repository and (place.repository is None or recipe.lacking_files(place.repository)):
        raise PotstillError(f"lacks its source code\n  {mend}")
    weights = place.record.get("weights", {})
    paths = {place.weights / file: facts["bytes"] for file, facts in weights.items()}
    lost = [str(path) for path, size in paths.items() if not path.is_file() or path.stat().st_size != size]
    if lost or (recipe.accept_weights is not None and not weights):
        raise PotstillError(f"{', '.join(lost)}: not as it was taken\n  {mend}" if lost else f"lacks weights\n  {mend}")
    if not place.proved:
        raise PotstillError(f"made, but never tried\n  {mend}")
    held = [f"Python {place.record['python']['version']}", f"torch {versions['torch']}"]
    held += [file for file in weights if file.endswith((".ckpt", ".pt"))]
    return f"{', '.join(held)}; proved with {_proof_of(place)}"


def _proof_of(place: Installed) -> str:
    proof = place.record["proof"]
    return f"{', '.join(proof['structures'])} in {proof['seconds']:.0f} s"


def _fused_kernel() -> str:
    """Return what compiles the kernel of the CPU, compiled here where it was not yet."""
    from potstill.core.cpp import compiler_command
    from potstill.student.fused_library import load_library

    try:
        load_library()
    except PotstillError as error:
        raise PotstillError(f"students and SevenNet run in PyTorch, several times slower: {error}") from error
    return f"compiled by {' '.join(compiler_command())}"


def _ase_version() -> str:
    import ase

    return f"ase {ase.__version__}"


def _lammps_version() -> str:
    """Return each LAMMPS here, and whether ``pair_style potstill`` was compiled for it."""
    from potstill.deploy.lammps_setup import NO_LAMMPS, found_lammps

    known = found_lammps()
    if not known:
        raise InputError(NO_LAMMPS)
    if not any(x.place.is_file() for x in known):
        names = ", ".join(x.name for x in known)
        raise InputError(f"{names} found, pair_style potstill not compiled\n  compile it with:  potstill setup lammps")
    return "; ".join(f"{x.name}: {x.place if x.place.is_file() else 'pair_style potstill not compiled'}" for x in known)


def _openmm_version() -> str:
    openmm = borrow("openmm", "engines", "the export to OpenMM")
    if not hasattr(openmm, "PythonForce"):
        raise PotstillError(f"openmm {openmm.__version__} has no PythonForce\n  install a newer one:  pip install -U openmm")
    return f"openmm {openmm.__version__}"


def _borrowed_version(package: str, distribution: str, engine: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        borrow(package, "engines", f"the export to {engine}")
    return f"{distribution} {version(distribution)}"


ENGINES: dict[str, Callable[[], str]] = {
    "lammps": _lammps_version,
    "openmm": _openmm_version,
    "torchsim": lambda: _borrowed_version("torch_sim", "torch-sim-atomistic", "TorchSim"),
    "metatomic": lambda: _borrowed_version("metatomic_ase", "metatomic-torch", "metatomic"),
    "ipi": lambda: _borrowed_version("ipi", "ipi", "i-PI"),
}


def _device() -> Condition:
    import torch

    from potstill.execute import available_cores

    detail = f"torch {torch.__version__}, {available_cores()} cores"
    if torch.cuda.is_available():
        detail += f", {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    else:
        detail += ", no GPU"
    return Condition("machine", "torch", works=True, detail=detail, required=True)
