"""Triton kernels of molecular dynamics: half kicks, drifts and the thermostat of a BAOAB step.

Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34: without friction the step is that of velocity Verlet. Random
numbers are a function of the seed, the number of the step and the coordinate (Philox), so that a repeated step is the same.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def before_forces(
    sizes, clock, positions, velocities, forces, inverse_mass, spread, step, decay, seed, BLOCK: tl.constexpr
):  # fmt: skip
    """Kick half a step, drift half, apply friction and noise, drift half; ``spread`` is sqrt(kT / m) sqrt(1 - decay^2)."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = c < 3 * tl.load(sizes)
    a = c // 3
    now = tl.load(clock).to(tl.int64)
    v = tl.load(velocities + c, valid, 0.0)
    h = tl.load(step)
    v += 0.5 * h * tl.load(inverse_mass + a, valid, 0.0) * tl.load(forces + c, valid, 0.0).to(tl.float64)
    x = tl.load(positions + c, valid, 0.0) + 0.5 * h * v
    width = tl.load(spread + a, valid, 0.0)
    noise = tl.randn(tl.load(seed), (now * 3 * tl.load(sizes) + c).to(tl.int64)).to(tl.float64)
    v = tl.load(decay) * v + width * noise
    tl.store(positions + c, x + 0.5 * h * v, valid)
    tl.store(velocities + c, v, valid)


@triton.jit
def after_forces(sizes, velocities, forces, inverse_mass, kinetic, step, BLOCK: tl.constexpr):
    """Kick for half a step; compute (N,) kinetic energies in eV."""
    a = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = a < tl.load(sizes)
    inverse = tl.load(inverse_mass + a, valid, 1.0)
    h = 0.5 * tl.load(step) * inverse
    square = tl.zeros((BLOCK,), tl.float64)
    for k in tl.static_range(3):
        v = tl.load(velocities + 3 * a + k, valid, 0.0) + h * tl.load(forces + 3 * a + k, valid, 0.0).to(tl.float64)
        tl.store(velocities + 3 * a + k, v, valid)
        square += v * v
    tl.store(kinetic + a, 0.5 * square / inverse, valid)


@triton.jit
def record(sizes, ptr, kinetic, found, trace, clock, length, BLOCK: tl.constexpr):
    """Write potential and kinetic energy of each structure to the row of this step in (length, S, 2)."""
    s, n = tl.program_id(0), tl.load(sizes + 1)
    if s >= n:
        return
    now = tl.load(clock)
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(tl.load(ptr + s), tl.load(ptr + s + 1), BLOCK):
        a = start + tl.arange(0, BLOCK)
        total += tl.load(kinetic + a, a < tl.load(ptr + s + 1), 0.0)
    to = trace + ((now % length) * n + s) * 2
    tl.store(to, tl.load(found + 7 * s))
    tl.store(to + 1, tl.sum(total, 0))
