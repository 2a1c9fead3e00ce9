"""Molecular dynamics on the GPU: NVE or Langevin, any number of systems at once.

The host enqueues a chunk of steps and checks once whether the candidates sufficed for all of them. If not, the state is
reset to the start of the chunk, candidates are searched, and the chunk is repeated. Random numbers are a function of the
step, so the repeated chunk has the same ones. No step with a missing neighbor is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase.data
import ase.units
import numpy as np
import torch
import triton

from potstill.core.errors import StructureError
from potstill.core.neighbors import SKIN_ANGSTROM
from potstill.core.types import Array, Structure
from potstill.student.cuda_graphs import captured, warm_up
from potstill.student.gpu import motion
from potstill.student.gpu.session import GpuStudent
from potstill.student.gpu.systems import Systems

BLOCK = 128
LONGEST_CHUNK = 32  # number of steps between two checks


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Energies of K steps of S systems, in eV.

    Parameters
    ----------
    potential, kinetic
        Arrays (K, S) in eV.
    """

    potential: Array
    kinetic: Array

    def temperature_kelvin(self, atoms: Array) -> Array:
        """Return (K, S) temperatures in K of systems of ``atoms`` (S,) atoms with all degrees of freedom."""
        return np.asarray(2.0 * self.kinetic / (3.0 * np.asarray(atoms) * ase.units.kB))


class Dynamics:
    """Atoms that move by a student's forces in cells of constant shape.

    Parameters
    ----------
    student
        Student on a GPU.
    structures
        Structures at the start.
    timestep_fs
        Length of a step in fs.
    temperature_kelvin
        Temperature in K of the velocities at the start, and of the thermostat: one for all, or one for each structure.
    friction_per_fs
        Friction in 1/fs; 0 for NVE, Langevin dynamics above.
    seed
        Seed of all random numbers.
    skin_angstrom
        Width of the skin of the candidate search in Å.
    """

    def __init__(
        self,
        student: GpuStudent,
        structures: Sequence[Structure],
        *,
        timestep_fs: float = 1.0,
        temperature_kelvin: float | Sequence[float] = 300.0,
        friction_per_fs: float = 0.0,
        seed: int = 0,
        skin_angstrom: float = SKIN_ANGSTROM,
    ) -> None:
        self.systems = Systems(student, structures, skin_angstrom)
        self.steps, self._chunk, self._too_fast = 0, 4, False
        device, n = student.device, self.systems.layout.atoms
        room = self.systems.slot.program.bucket.atoms
        mass = ase.data.atomic_masses[np.concatenate([s.atomic_numbers for s in structures])]
        kelvin = np.repeat(np.broadcast_to(temperature_kelvin, len(structures)), [len(s) for s in structures])
        spread = np.sqrt(ase.units.kB * kelvin / mass)
        decay = float(np.exp(-friction_per_fs * timestep_fs))
        start = np.random.default_rng(seed).normal(size=(n, 3)) * spread[:, None]

        def kept(values: Array) -> torch.Tensor:
            found = torch.zeros((room, *values.shape[1:]), dtype=torch.float64, device=device)
            found[: len(values)] = torch.from_numpy(values).to(device)
            return found

        self._velocities, self._inverse_mass = kept(start), kept(1.0 / mass)
        self._spread = kept(spread * np.sqrt(max(0.0, 1.0 - decay**2)))
        self._kinetic = torch.zeros(room, dtype=torch.float64, device=device)
        self._step = torch.tensor([timestep_fs * ase.units.fs], dtype=torch.float64, device=device)
        self._decay = torch.tensor([decay], dtype=torch.float64, device=device)
        self._clock = torch.zeros(1, dtype=torch.int64, device=device)
        self._seed = torch.tensor([seed], dtype=torch.int32, device=device)
        self._trace = torch.zeros(LONGEST_CHUNK, self.systems.layout.structures, 2, dtype=torch.float64, device=device)
        self._graph: tuple[object, torch.cuda.CUDAGraph] | None = None

    @property
    def velocities(self) -> torch.Tensor:
        """Return velocities (N, 3) in ASE's unit Å sqrt(amu / eV); a caller may write to them between runs."""
        return self._velocities[: self.systems.layout.atoms]

    def run(self, steps: int) -> Trace:
        """Make steps and return the energies of each."""
        found: list[Array] = []
        while steps:
            chunk = min(steps, self._chunk)
            found.append(self._advance(chunk))
            steps -= len(found[-1])
        rows = np.concatenate(found) if found else np.zeros((0, self.systems.layout.structures, 2))
        return Trace(rows[:, :, 0], rows[:, :, 1])

    def _advance(self, chunk: int) -> Array:
        """Return (chunk, S, 2) energies; repeat the chunk after a search where candidates did not suffice."""
        systems = self.systems
        before = systems.positions.clone(), self._velocities.clone(), systems.forces.clone(), self._clock.clone()
        searched = False
        while True:
            for _ in range(chunk):
                self._one_step()
            if not systems.missed():
                break
            if searched:
                chunk = max(1, chunk // 2)  # the skin is too thin for so many steps
            positions, velocities, forces, clock = before
            systems.put(positions)
            self._velocities.copy_(velocities)
            self._clock.copy_(clock)
            systems.search()
            systems.forces.copy_(forces)  # bit for bit the forces at the start of the step
            if searched and chunk == 1 and self._too_fast:
                raise StructureError("an atom moves by more than half the skin in one step: set a shorter timestep_fs")
            self._too_fast = searched and chunk == 1
            searched = True
        rows = torch.arange(self.steps, self.steps + chunk, device=self._trace.device) % LONGEST_CHUNK
        self.steps += chunk
        self._chunk = min(LONGEST_CHUNK, 2 * chunk)
        return np.asarray(self._trace[rows].cpu().numpy())

    def _one_step(self) -> None:
        slot = self.systems.slot
        if not slot.on_card:
            self._enqueue()
            return
        if self._graph is None or self._graph[0] is not slot:
            self._graph = None  # frees the memory of an earlier slot first
            self._graph = (slot, self._captured())
        self._graph[1].replay()

    def _captured(self) -> torch.cuda.CUDAGraph:
        program, device = self.systems.slot.program, self.systems.student.device
        kept = [program.inputs.memory, program.outputs.memory, self._velocities, self._clock, self._trace]
        before = [tensor.clone() for tensor in kept]
        warm_up(self._enqueue, device)  # compiles the kernels
        for tensor, values in zip(kept, before, strict=True):
            tensor.copy_(values)
        return captured(self._enqueue, device)

    def _enqueue(self) -> None:
        program = self.systems.slot.program
        x, y, n = program.inputs, program.outputs, program.bucket.atoms
        motion.before_forces[(triton.cdiv(3 * n, BLOCK),)](
            *(x.sizes, self._clock, x.positions, self._velocities, y.forces, self._inverse_mass, self._spread),
            *(self._step, self._decay, self._seed),
            BLOCK=BLOCK,
        )
        program.evaluate()
        motion.after_forces[(triton.cdiv(n, BLOCK),)](
            x.sizes, self._velocities, y.forces, self._inverse_mass, self._kinetic, self._step, BLOCK=BLOCK
        )
        motion.record[(program.bucket.structures,)](
            x.sizes, x.ptr, self._kinetic, y.found, self._trace, self._clock, LONGEST_CHUNK, BLOCK=BLOCK
        )
        self._clock.add_(1)
