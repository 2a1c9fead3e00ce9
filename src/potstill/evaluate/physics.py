"""The suite of physics checks: the checks of each system, and their results.

Takes two ASE calculators and some held-out structures and returns rows of ``evaluate.json``. A check that fails is a row
that did not run, which is not a pass. :mod:`potstill.evaluate.systems` chooses the systems.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from potstill.core.dynamics import repeat_crystal
from potstill.core.types import Structure
from potstill.deploy import domain_warnings
from potstill.evaluate import liquid, molecules, phonons, sanity, solids, wide_cell
from potstill.evaluate.gates import GATES, asked_of
from potstill.evaluate.measured import Row
from potstill.evaluate.remembered import Remembered
from potstill.evaluate.systems import Choice, choose

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig

log = logging.getLogger(__name__)
Alone = Callable[[Any, Any], list[Row]]
Beside = Callable[[Any, Any, Any], list[Row]]
Run = Callable[[str, tuple[str, ...], Callable[[], list[Row]]], None]  # some checks of a system

ALONE: tuple[tuple[Alone, tuple[str, ...]], ...] = (
    (sanity.force_slope, ("force_slope",)),
    (sanity.closed_loop, ("closed_loop",)),
    (sanity.invariance, ("invariance",)),
    (sanity.extensivity, ("extensivity",)),
    (sanity.locality, ("locality",)),
    (sanity.endurance, ("endurance",)),
)
OF_CRYSTALS: tuple[tuple[Beside, tuple[str, ...]], ...] = (
    (solids.equation_of_state, ("equilibrium_volume", "bulk_modulus")),
    (solids.elastic_constants, ("elastic_constants",)),
    (solids.vacancies, ("vacancies",)),
    (solids.surfaces, ("surfaces",)),
    (solids.relaxed_crystal, ("relaxed_cell", "relaxed_positions")),
    (phonons.phonons, ("phonons",)),
)
OF_MOLECULES: tuple[tuple[Beside, tuple[str, ...]], ...] = (
    (molecules.vibrations, ("vibrations",)),
    (molecules.torsions, ("torsions",)),
    (molecules.relaxed_molecule, ("relaxed_positions",)),
)
OF_REST = (*(check for _, checks in OF_CRYSTALS for check in checks), "npt")  # no liquid has a volume or sites at rest
NO_CRYSTAL = "a liquid or a glass, which has no crystal's minimum to compare"
NO_BULK = "a slab or molecules in a box: its cell contains vacuum, so it has no bulk"


def measure(
    candidate: Any,
    reference: Any,
    structures: Sequence[Structure],
    config: EvaluateConfig,
    *,
    image_angstrom: float = wide_cell.USUAL_ANGSTROM,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
    remembered: Remembered | None = None,
) -> list[Row]:
    """Return the rows of every physics check.

    Parameters
    ----------
    candidate, reference
        ASE calculators; the second is taken for the truth. Where it is None, only checks of the candidate alone are made.
    structures
        Labelled by the reference; systems are chosen among them, by the candidate where there is no reference.
    config
        Section ``evaluate``: number of systems, length of the dynamics.
    image_angstrom
        Distance in Å of an atom to its images in a wide cell: twice the candidate's cutoff.
    seed
        Seed of displacements and velocities.
    on_step
        Function called with a text before each step.
    remembered
        Rows of the same evaluation before it was stopped; None for none.
    """
    rows: list[Row] = []
    remembered = remembered or Remembered()

    def run(system: str, checks: tuple[str, ...], check: Callable[[], list[Row]]) -> None:
        on_step(f"{checks[0].replace('_', ' ')} of {system}")
        found = _attempt(checks, lambda: remembered.rows(system, checks, check))
        rows.extend(replace(row, system=system) for row in found)

    with _no_domain_warnings():
        _of_systems(rows, run, (candidate, reference), structures, config, seed, on_step)
        if "wide_cell" in asked_of("crystals", config) and reference is not None:
            _in_wide_cell(rows, run, (candidate, reference), structures, config, image_angstrom, seed)
    return rows


@contextmanager
def _no_domain_warnings() -> Iterator[None]:
    """Mute the student's warnings about atoms far from its training data: the checks make such atoms on purpose."""
    before = domain_warnings.log.level
    domain_warnings.log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        domain_warnings.log.setLevel(before)


def _of_systems(
    rows: list[Row],
    run: Run,
    models: tuple[Any, Any],
    structures: Sequence[Structure],
    config: EvaluateConfig,
    seed: int,
    on_step: Callable[[str], None],
) -> None:
    """Add the rows of all checks of the chosen systems."""
    candidate, reference = models
    for periodic, wanted in ((True, config.physics_crystals), (False, config.physics_molecules)):
        choice = choose(reference or candidate, structures, wanted, periodic=periodic, on_step=on_step)
        if not wanted or not choice.tried:
            continue
        if reference is not None:
            kind = "crystals" if periodic else "molecules"
            rows.append(Row("systems", choice.missing, system=kind, why=choice.why))
        for name, atoms in [*choice.systems, *choice.others]:
            several = atoms.repeat(2) if len(atoms) == 1 else atoms  # a cell in which atoms can move against each other
            for alone, checks in ALONE:
                run(name, checks, lambda f=alone, a=several: f(candidate, a))  # type: ignore[misc]
            if periodic:
                run(name, ("stress_slope",), lambda a=several: sanity.stress_slope(candidate, a))  # type: ignore[misc]
            for beside, checks in _comparisons(choice, name, periodic=periodic) if reference is not None else ():
                run(name, checks, lambda f=beside, a=atoms: f(candidate, reference, a))  # type: ignore[misc]
            rows += _without_bulk(choice, name, config)
            at_rest = name not in choice.disordered | choice.hollow
            _move(partial(run, name), atoms, (candidate, reference), config, seed, at_rest=at_rest)
    _pairs(run, _common_elements(structures), candidate, reference, config)


def _in_wide_cell(
    rows: list[Row],
    run: Run,
    models: tuple[Any, Any],
    structures: Sequence[Structure],
    config: EvaluateConfig,
    image_angstrom: float,
    seed: int,
) -> None:
    """Add the row of the check in a wide cell; none where there is no crystal."""
    crystal = wide_cell.typical(structures)
    if crystal is None:
        lone = [s.id for s in structures if s.pbc.all()]
        why = "no crystal of several atoms fills its cell"
        rows += [Row(wide_cell.CHECK, None, why=why, system=lone[0], applies=False)] if lone else []
        return
    options: dict[str, Any] = {"temperature_kelvin": config.nve_temperature_kelvin, "seed": seed}
    check = partial(wide_cell.wide_cell, *models, crystal, image_angstrom=image_angstrom, **options)
    run(f"{crystal.id} ({crystal.formula})", (wide_cell.CHECK,), check)


def _comparisons(choice: Choice, name: str, *, periodic: bool) -> tuple[tuple[Beside, tuple[str, ...]], ...]:
    """Return the checks that compare a system at a minimum, or a slab in its cell, with the reference."""
    if name in choice.hollow:
        return ((solids.relaxed_in_cell, ("relaxed_positions",)),)
    if name in choice.names_of_others:
        return ()
    return OF_CRYSTALS if periodic else OF_MOLECULES


def _without_bulk(choice: Choice, name: str, config: EvaluateConfig) -> list[Row]:
    """Return rows of the checks that never apply to a liquid, a glass, a slab, or molecules in a box."""
    if name not in choice.disordered | choice.hollow:
        return []
    why, left_out = (NO_BULK, ("relaxed_positions",)) if name in choice.hollow else (NO_CRYSTAL, ())
    needing = [check for check in OF_REST if check in asked_of("crystals", config) and check not in left_out]
    return [Row(check, None, why=why, system=name, applies=False) for check in needing]


def _move(
    run: Callable[..., None], atoms: Any, models: tuple[Any, Any], config: EvaluateConfig, seed: int, *, at_rest: bool
) -> None:
    """Run the checks by dynamics of one system, at a minimum or not, with candidate and reference (or None)."""
    candidate, reference = models
    large = repeat_crystal(Structure.from_ase(atoms)).to_ase()
    kelvin = config.nve_temperature_kelvin
    if config.physics_ps and reference is not None:
        names = ("rdf", "adf", "vdos", *(("pressure",) if atoms.pbc.all() else ()))
        options: dict[str, Any] = {"length_ps": config.physics_ps, "temperature_kelvin": kelvin, "seed": seed}
        run(names, lambda: liquid.motion(candidate, reference, large, **options))
    if config.stability_ps:
        at_no_pressure = at_rest and bool(atoms.pbc.all())
        names = ("nvt", *(("npt",) if at_no_pressure else ()))
        longer: dict[str, Any] = {"length_ps": config.stability_ps, "temperature_kelvin": kelvin, "seed": seed}
        run(names, lambda: liquid.stability(candidate, large, at_no_pressure=at_no_pressure, **longer))


def _pairs(run: Callable[..., None], elements: list[int], candidate: Any, reference: Any, config: EvaluateConfig) -> None:
    if not (config.physics_pairs and elements):
        return
    common = (elements[0], elements[min(1, len(elements) - 1)])
    run("pairs of atoms", ("smoothness",), lambda: sanity.smoothness(candidate, common))
    if reference is None:
        return
    run("pairs of atoms", ("fused_pairs",), lambda: sanity.fused_pairs(candidate, reference, elements))
    run("pairs of atoms", ("dimers",), lambda: molecules.dimers(candidate, reference, elements, config.physics_pairs))


def _attempt(checks: tuple[str, ...], check: Callable[[], list[Row]]) -> list[Row]:
    """Return the rows of a check; rows that did not run where it raises."""
    try:
        found = check()
    except Exception as error:  # a calculator may raise anything, and the other checks still count
        log.info("the checks %s failed", ", ".join(checks), exc_info=True)
        return [Row(name, None, why=f"it failed: {type(error).__name__}: {error}") for name in checks]
    unknown = {row.check for row in found} - {*GATES}
    if unknown:
        raise KeyError(f"no gate for {', '.join(sorted(unknown))}")
    return found


def _common_elements(structures: Sequence[Structure]) -> list[int]:
    counts: Counter[int] = Counter()
    for structure in structures:
        counts.update(structure.atomic_numbers.tolist())
    return [z for z, _ in counts.most_common()]
