"""Dynamics: averages under a thermostat with either model, and stability of the candidate at heat and pressure.

Takes candidate and reference as ASE calculators and a structure. Returns rows with Wasserstein distances of distributions.
Short runs are noisy. The candidate therefore runs a second time with other random numbers, and the distance between its two
runs is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from potstill.core.dynamics import draw_velocities, timestep_for
from potstill.core.elements import covalent_radii
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Array
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.evaluate.dynamics import TIMESTEP_FS
from potstill.evaluate.measured import Curve, Row, of

FRICTION_PER_FS = 0.02
AT_REST = 2.0  # factor on the temperature: half of the kinetic energy goes into the bonds
SETTLING = 0.25  # share of the run that is left out
RADIUS_ANGSTROM = 6.0  # largest pair distance
SHELL = 1.35  # neighbors for angles are within this times the sum of covalent radii
EVERY = 4  # number of steps between samples
BINS = 120
HOT_KELVIN_AT_LEAST, HOTTER = 600.0, 2.0
FUSED = 0.5  # over the sum of covalent radii
PRESSURE_TIME_FS, TEMPERATURE_TIME_FS = 400.0, 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Samples of a run at T moments: (T, n, 3) positions and velocities, (T,) pressures in GPa and temperatures in K."""

    atoms: Any
    timestep_fs: float
    positions: Array
    velocities: Array
    pressure: Array
    temperature: Array
    volume: Array

    @property
    def settled(self) -> slice:
        """Return the slice of samples without the start."""
        return slice(int(SETTLING * len(self.positions)), None)


def motion(
    candidate: Any, reference: Any, atoms: Any, *, length_ps: float, temperature_kelvin: float, seed: int
) -> list[Row]:
    """Run Langevin dynamics with both models, and compare distances, angles, vibrations and pressures."""
    runs = [
        langevin(of(atoms, c), length_ps=length_ps, temperature_kelvin=temperature_kelvin, seed=seed + k)
        for c, k in ((candidate, 0), (reference, 0), (candidate, 1))
    ]
    if not all(np.isfinite(r.positions[-1]).all() for r in runs):
        return [Row(name, float("inf"), why="the run exploded") for name in ("rdf", "adf", "vdos")]
    looked: dict[str, tuple[str, str, Callable[[Sampled], tuple[Array, Array]]]] = {
        "rdf": ("distance, Å", "pairs of atoms", _distances),
        "adf": ("angle, degrees", "angles between neighbors", _angles),
        "vdos": ("frequency, THz", "vibrational density of states", _spectrum),
    }
    if atoms.pbc.all():
        looked["pressure"] = ("pressure, GPa", "share of the run", _pressures)
    return [_compared(name, *looked[name], runs) for name in looked]


def stability(
    candidate: Any, atoms: Any, *, length_ps: float, temperature_kelvin: float, seed: int, at_no_pressure: bool
) -> list[Row]:
    """Run the candidate alone: hot at constant volume, and where asked for at constant pressure."""
    hot = max(HOT_KELVIN_AT_LEAST, HOTTER * temperature_kelvin)
    run = langevin(of(atoms, candidate), length_ps=length_ps, temperature_kelvin=hot, seed=seed)
    rows = [_held_out(run, hot)]
    if at_no_pressure:
        rows.append(_under_pressure(of(atoms, candidate), length_ps, temperature_kelvin, seed))
    return rows


def langevin(atoms: Any, *, length_ps: float, temperature_kelvin: float, seed: int) -> Sampled:
    """Run from a minimum at a temperature; stop early where numbers are no longer finite."""
    from ase import units
    from ase.constraints import FixCom
    from ase.md.langevin import Langevin

    rng = np.random.default_rng(seed)
    draw_velocities(atoms, AT_REST * temperature_kelvin, rng)
    atoms.set_constraint(FixCom())
    step = timestep_for(atoms.numbers, TIMESTEP_FS)
    friction = FRICTION_PER_FS / units.fs
    dynamics = Langevin(atoms, step * units.fs, temperature_K=temperature_kelvin, friction=friction, fixcm=False, rng=rng)
    return _record(atoms, dynamics, step, round(length_ps * 1e3 / step))


def _record(atoms: Any, dynamics: Any, step: float, steps: int) -> Sampled:
    kept: dict[str, list[Any]] = {name: [] for name in ("positions", "velocities", "pressure", "temperature", "volume")}
    periodic = bool(atoms.pbc.all())
    for _ in range(max(1, steps // EVERY)):
        with np.errstate(all="ignore"):
            dynamics.run(EVERY)
        kept["positions"].append(atoms.get_positions())
        kept["velocities"].append(atoms.get_velocities())
        kept["temperature"].append(atoms.get_temperature())
        kept["volume"].append(atoms.get_volume() if periodic else 0.0)
        kept["pressure"].append(
            -GPA_PER_EV_PER_CUBIC_ANGSTROM * atoms.get_stress(voigt=False).trace() / 3 if periodic else 0.0
        )
        if not np.isfinite(atoms.positions).all():
            break
    return Sampled(atoms, step * EVERY, **{name: np.array(values) for name, values in kept.items()})


def _compared(
    name: str, x_label: str, y_label: str, look: Callable[[Sampled], tuple[Array, Array]], runs: list[Sampled]
) -> Row:
    from scipy.stats import wasserstein_distance

    mine, theirs, again = (look(run) for run in runs)
    if not all(weights.sum() > 0 for _, weights in (mine, theirs, again)):
        return Row(name, None, why="nothing to count in one of the runs")
    between, noise = (float(wasserstein_distance(mine[0], o[0], mine[1], o[1])) for o in (theirs, again))
    means = [float(np.average(values, weights=weights)) for values, weights in (mine, theirs)]
    curves = {} if name == "pressure" else {name: Curve(x_label, y_label, mine[0], mine[1], theirs[1])}
    return Row(
        name,
        max(0.0, between - noise),
        {f"mean {x_label}": means[0]},
        {f"mean {x_label}": means[1]},
        curves,
        f"{between:.3g} between the models less {noise:.3g} between two runs of the candidate",
    )


def _distances(run: Sampled) -> tuple[Array, Array]:
    """Return g(r) of a crystal up to a constant, or the histogram of distances of a molecule."""
    edges = np.linspace(0.0, RADIUS_ANGSTROM, BINS + 1)
    counts = np.zeros(BINS)
    for positions in run.positions[run.settled]:
        found = find_neighbors(positions, np.array(run.atoms.cell), run.atoms.pbc, RADIUS_ANGSTROM).distance
        counts += np.histogram(found, edges)[0]
    middle = (edges[1:] + edges[:-1]) / 2
    return middle, counts / middle**2 if run.atoms.pbc.all() else counts


def _angles(run: Sampled) -> tuple[Array, Array]:
    edges = np.linspace(0.0, 180.0, BINS + 1)
    counts = np.zeros(BINS)
    radii = covalent_radii()[run.atoms.numbers]
    cell, pbc = np.array(run.atoms.cell), run.atoms.pbc
    for positions in run.positions[run.settled]:
        near = find_neighbors(positions, cell, pbc, SHELL * 2 * float(radii.max()))
        i, j = near.edge_index
        bonded = near.distance < SHELL * (radii[i] + radii[j])
        i, vectors = i[bonded], (positions[j] + near.edge_shift @ cell - positions[i])[bonded]
        vectors /= near.distance[bonded, None]
        for atom in np.unique(i):
            mine = vectors[i == atom]
            first, second = np.triu_indices(len(mine), 1)
            cosines = np.clip((mine[first] * mine[second]).sum(axis=1), -1, 1)
            counts += np.histogram(np.degrees(np.arccos(cosines)), edges)[0]
    return (edges[1:] + edges[:-1]) / 2, counts


def _spectrum(run: Sampled) -> tuple[Array, Array]:
    """Return the power of the mass-weighted velocities by frequency in THz, normalised to a sum of one."""
    velocities = run.velocities[run.settled] * np.sqrt(run.atoms.get_masses())[:, None]
    window = np.hanning(len(velocities))[:, None, None]
    power = (np.abs(np.fft.rfft(velocities * window, axis=0)) ** 2).sum(axis=(1, 2))
    frequency = np.fft.rfftfreq(len(velocities), run.timestep_fs * 1e-3)
    return frequency, power / max(power.sum(), 1e-300)


def _pressures(run: Sampled) -> tuple[Array, Array]:
    found = run.pressure[run.settled]
    return found, np.full(len(found), 1 / len(found))


def _held_out(run: Sampled, kelvin: float) -> Row:
    """Judge a hot run: mean temperature off the thermostat's by more than two standard errors, or a pair of atoms fused."""
    if not np.isfinite(run.positions[-1]).all():
        return Row("nvt", float("inf"), why=f"exploded at {kelvin:.0f} K")
    radii = covalent_radii()[run.atoms.numbers]
    closest = np.inf
    for positions in run.positions:
        near = find_neighbors(positions, np.array(run.atoms.cell), run.atoms.pbc, 2 * float(radii.max()))
        if near.distance.size:
            i, j = near.edge_index
            closest = min(closest, float((near.distance / (radii[i] + radii[j])).min()))
    mean = float(run.temperature[run.settled].mean())
    runs = max(
        1.0, len(run.temperature[run.settled]) * run.timestep_fs * FRICTION_PER_FS / 2
    )  # number of independent samples
    noise = np.sqrt(2 / (3 * len(run.atoms)) / runs)
    measured = float("inf") if closest < FUSED else 100 * max(0.0, abs(mean / kelvin - 1) - 2 * noise)
    figures = {"mean temperature, K": mean, "smallest distance over covalent radii": closest}
    return Row("nvt", measured, figures, why=f"Langevin at {kelvin:.0f} K, {len(run.atoms)} atoms")


def _under_pressure(atoms: Any, length_ps: float, kelvin: float, seed: int) -> Row:
    from ase import units
    from ase.md.nose_hoover_chain import IsotropicMTKNPT

    start = atoms.get_volume()
    draw_velocities(atoms, AT_REST * kelvin, np.random.default_rng(seed))
    step = timestep_for(atoms.numbers, TIMESTEP_FS)
    dynamics = IsotropicMTKNPT(
        atoms,
        step * units.fs,
        temperature_K=kelvin,
        pressure_au=0.0,
        tdamp=TEMPERATURE_TIME_FS * units.fs,
        pdamp=PRESSURE_TIME_FS * units.fs,
    )
    try:
        run = _record(atoms, dynamics, step, round(length_ps * 1e3 / step))
    except (ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
        return Row("npt", float("inf"), why=f"the cell diverged: {error}")
    change = run.volume[run.settled].mean() / start - 1
    why = f"constant pressure of 0 GPa at {kelvin:.0f} K, {len(atoms)} atoms"
    return Row("npt", 100 * abs(float(change)), {"mean volume over that at rest": 1 + float(change)}, why=why)
