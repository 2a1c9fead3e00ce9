"""Triton kernels of the geometry: vectors, radial functions and slopes of edges within the cutoff, and nuclear repulsion.

A second kernel averages values over neighbors.

One program for each atom, whose candidates of the list are adjacent. Letters as in :mod:`potstill.student.gpu.edges`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _near(d, cutoff):
    return (d >= cutoff) == 0  # NaN counts as near, so that it reaches the answer


@triton.jit
def _envelope(x):
    """Return the envelope of :func:`potstill.student.basis.cutoff_envelope` and its slope, without cancellation."""
    rest = 1.0 - x
    value = rest * rest * rest * (1.0 + x * (3.0 + x * (6.0 + x * (10.0 + 15.0 * x))))
    return value, -105.0 * (x * x * rest) * (x * x * rest)


@triton.jit(do_not_specialize=["capacity"])
def geometry(
    sizes, wrapped, first, sender, shift, lattice, structure, species, radius, charge, power,
    edges, near, last, local, force, virial,
    capacity, cutoff, share, RELATIVE: tl.constexpr, B: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Move the candidates within the cutoff to the front of their row, with unit vectors, radial functions and slopes.

    Initialise the local energy, force and virial of each atom with the nuclear repulsion. ``edges`` is (4 + 2 B, capacity).
    """
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    lo, hi = tl.load(first + i), tl.load(first + i + 1)
    s = tl.load(structure + i).to(tl.int64) * 9
    z = tl.load(species + i)
    xi, yi, zi = tl.load(wrapped + 3 * i), tl.load(wrapped + 3 * i + 1), tl.load(wrapped + 3 * i + 2)
    r_i, q_i, p_i = tl.load(radius + z), tl.load(charge + z), tl.load(power + z)
    lane = tl.arange(0, BE)
    pushed = tl.zeros((BE,), tl.float32)
    fx, fy, fz = pushed, pushed, pushed
    wxx, wyy, wzz, wyz, wxz, wxy = pushed, pushed, pushed, pushed, pushed, pushed
    place = lo
    wide = capacity.to(tl.int64)
    for start in range(lo, hi, BE):
        at = start + lane
        there = at < hi
        j = tl.load(sender + at, there, 0)
        packed = tl.load(shift + at, there, 0)
        sx = ((packed & 1023) - 512).to(tl.float64)
        sy = (((packed >> 10) & 1023) - 512).to(tl.float64)
        sz = (((packed >> 20) & 1023) - 512).to(tl.float64)
        row = wrapped + 3 * j.to(tl.int64)
        x = (
            tl.load(row, there, 0.0)
            - xi
            + sx * tl.load(lattice + s)
            + sy * tl.load(lattice + s + 3)
            + sz * tl.load(lattice + s + 6)
        )
        y = (
            tl.load(row + 1, there, 0.0)
            - yi
            + sx * tl.load(lattice + s + 1)
            + sy * tl.load(lattice + s + 4)
            + sz * tl.load(lattice + s + 7)
        )
        w = (
            tl.load(row + 2, there, 0.0)
            - zi
            + sx * tl.load(lattice + s + 2)
            + sy * tl.load(lattice + s + 5)
            + sz * tl.load(lattice + s + 8)
        )
        rx, ry, rz = x.to(tl.float32), y.to(tl.float32), w.to(tl.float32)
        d2 = rx * rx + ry * ry + rz * rz
        d = tl.sqrt(tl.where(d2 < 1e-12, 1e-12, d2))
        keep = there & _near(d, cutoff)
        chosen = keep.to(tl.int32)
        to = place + tl.cumsum(chosen, 0) - 1
        place += tl.sum(chosen, 0)
        inverse_d = 1.0 / d
        ux, uy, uz = rx * inverse_d, ry * inverse_d, rz * inverse_d
        tl.store(near + to, j, keep)
        tl.store(edges + to, ux, keep)
        tl.store(edges + wide + to, uy, keep)
        tl.store(edges + 2 * wide + to, uz, keep)
        tl.store(edges + 3 * wide + to, inverse_d, keep)
        t = d / cutoff
        envelope, slope = _envelope(t)
        z_j = tl.load(species + j, there, 0)
        bond = r_i + tl.load(radius + z_j)
        if RELATIVE:  # as in potstill.student.basis.relative_distance
            of_bond = share * bond * bond
            sum_of_squares = d * d + of_bond
            argument, by_d = d * d / sum_of_squares, 2.0 * d * of_bond / (sum_of_squares * sum_of_squares)
            lowest = 0.5  # order of the first function
        else:
            argument, by_d, lowest = t, 1.0 / cutoff, 1.0
        inverse = 1.0 / (argument + 1e-6)
        sn, cn = tl.sin(lowest * 3.141592653589793 * argument), tl.cos(lowest * 3.141592653589793 * argument)
        s1, c1 = sn, cn
        if RELATIVE:
            s1, c1 = 2.0 * sn * cn, cn * cn - sn * sn
        for b in tl.static_range(B):
            wave = 1.4142135623730951 * sn * inverse
            tl.store(edges + (4 + b) * wide + to, wave * envelope, keep)
            own = (1.4142135623730951 * 3.141592653589793 * (b + lowest) * cn - wave) * inverse * by_d
            tl.store(edges + (4 + B + b) * wide + to, own * envelope + wave * slope / cutoff, keep)
            turned = sn * c1 + cn * s1
            cn = cn * c1 - sn * s1
            sn = turned
        reach = tl.minimum(bond, cutoff)
        scale = (p_i + tl.load(power + z_j)) / 0.46853350253351617
        h = d / reach
        ends = keep & _near(h, 1.0)
        bound, bound_slope = _envelope(h)
        bound = tl.where(ends, bound, 0.0)
        bound_slope = tl.where(ends, bound_slope, 0.0) / reach
        e1 = 0.18175 * tl.exp(-3.1998 * scale * d)
        e2 = 0.50986 * tl.exp(-0.94229 * scale * d)
        e3 = 0.28022 * tl.exp(-0.4029 * scale * d)
        e4 = 0.02817 * tl.exp(-0.20162 * scale * d)
        screening = e1 + e2 + e3 + e4
        falling = -scale * (3.1998 * e1 + 0.94229 * e2 + 0.4029 * e3 + 0.20162 * e4)
        factor = tl.where(keep, 14.399645478425668 * q_i * tl.load(charge + z_j) * inverse_d, 0.0)
        pushed += 0.5 * factor * screening * bound
        push = factor * (bound * (falling - screening * inverse_d) + screening * bound_slope)
        gx, gy, gz = push * ux, push * uy, push * uz
        fx, fy, fz = fx + gx, fy + gy, fz + gz
        hx, hy, hz = 0.5 * rx, 0.5 * ry, 0.5 * rz
        wxx, wyy, wzz = wxx + hx * gx, wyy + hy * gy, wzz + hz * gz
        wyz, wxz, wxy = wyz + hy * gz, wxz + hx * gz, wxy + hx * gy
    odd = (0.0 * (xi + yi + zi)).to(tl.float32)  # NaN where a coordinate is NaN or infinite
    tl.store(last + i, place)
    tl.store(local + i, tl.sum(pushed, 0) + odd)
    tl.store(force + 3 * i, tl.sum(fx, 0) + odd)
    tl.store(force + 3 * i + 1, tl.sum(fy, 0) + odd)
    tl.store(force + 3 * i + 2, tl.sum(fz, 0) + odd)
    tl.store(virial + 6 * i, tl.sum(wxx, 0))
    tl.store(virial + 6 * i + 1, tl.sum(wyy, 0))
    tl.store(virial + 6 * i + 2, tl.sum(wzz, 0))
    tl.store(virial + 6 * i + 3, tl.sum(wyz, 0))
    tl.store(virial + 6 * i + 4, tl.sum(wxz, 0))
    tl.store(virial + 6 * i + 5, tl.sum(wxy, 0))


@triton.jit(do_not_specialize=["capacity", "cutoff"])
def neighbor_means(sizes, first, last, near, edges, values, means, capacity, cutoff, BE: tl.constexpr):
    """Average the values of each atom and its neighbors, as :class:`potstill.student.uncertainty.Neighborhood` does."""
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    lo, hi = tl.load(first + i), tl.load(last + i)
    inverse_d = edges + 3 * capacity.to(tl.int64)
    lane = tl.arange(0, BE)
    weights = tl.zeros((BE,), tl.float32)
    total = weights
    for start in range(lo, hi, BE):
        at = start + lane
        there = at < hi
        d = 1.0 / tl.load(inverse_d + at, there, 1.0)
        weight = tl.where(there, 0.5 + 0.5 * tl.cos(3.141592653589793 * tl.minimum(d / cutoff, 1.0)), 0.0)
        weights += weight
        total += weight * tl.load(values + tl.load(near + at, there, 0), there, 0.0)
    tl.store(means + i, (tl.load(values + i) + tl.sum(total, 0)) / (1.0 + tl.sum(weights, 0)))
