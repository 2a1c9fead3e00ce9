"""Triton kernels of the neighbor list: candidates within a radius, and a test whether an old list is complete.

Correct for cells smaller than the cutoff and for every combination of periodic axes. The distance of the lattice planes
gives the number of images along an axis. A row of the list belongs to the receiver. Its candidates are in the order of the
search, which is always the same.
"""

from __future__ import annotations

import triton
import triton.language as tl

STALE, CROWDED = tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _along(x, y, z, matrix, a: tl.constexpr):
    """Return component a of a row vector times a (3, 3) matrix."""
    return x * tl.load(matrix + a) + y * tl.load(matrix + 3 + a) + z * tl.load(matrix + 6 + a)


@triton.jit
def remember(sizes, order, structure, positions, reciprocal, wraps, known, BA: tl.constexpr):
    """Store the positions of the search, and the number of lattice vectors by which each atom is outside its cell."""
    a = tl.program_id(0) * BA + tl.arange(0, BA)
    valid = a < tl.load(sizes)
    i = tl.load(order + a, valid, 0).to(tl.int64)
    x = tl.load(positions + 3 * i, valid, 0.0)
    y, z = tl.load(positions + 3 * i + 1, valid, 0.0), tl.load(positions + 3 * i + 2, valid, 0.0)
    tl.store(known + 3 * a, x, valid)
    tl.store(known + 3 * a + 1, y, valid)
    tl.store(known + 3 * a + 2, z, valid)
    matrix = reciprocal + 9 * tl.load(structure + a, valid, 0)
    for k in tl.static_range(3):
        cells = tl.floor(_along(x, y, z, matrix, k))
        tl.store(wraps + 3 * a + k, tl.where(cells == cells, cells, 0.0).to(tl.int32), valid)  # 0 where it is NaN


@triton.jit(do_not_specialize=["radius", "cutoff"])
def prepare(
    sizes, order, structure, positions, lattice, wraps, known, old_lattice, reciprocal, wrapped, by_given, status,
    radius, cutoff, BA: tl.constexpr,
):  # fmt: skip
    """Write positions inside the cell, by element and as given; set the status STALE where the list may miss a neighbor.

    F maps the lattice of the search to the present one, and u is the displacement of an atom beyond that map. An edge that
    was r is no shorter than s |r| - 2 max |u|. The smallest singular value s of F is at least 1 - |F - 1|.
    """
    a = tl.program_id(0) * BA + tl.arange(0, BA)
    valid = a < tl.load(sizes)
    i = tl.load(order + a, valid, 0).to(tl.int64)
    s = 9 * tl.load(structure + a, valid, 0)
    x = tl.load(positions + 3 * i, valid, 0.0)
    y, z = tl.load(positions + 3 * i + 1, valid, 0.0), tl.load(positions + 3 * i + 2, valid, 0.0)
    w0 = tl.load(wraps + 3 * a, valid, 0).to(tl.float64)
    w1 = tl.load(wraps + 3 * a + 1, valid, 0).to(tl.float64)
    w2 = tl.load(wraps + 3 * a + 2, valid, 0).to(tl.float64)
    here = lattice + s
    inside_x, inside_y, inside_z = (
        x - _along(w0, w1, w2, here, 0),
        y - _along(w0, w1, w2, here, 1),
        z - _along(w0, w1, w2, here, 2),
    )
    tl.store(wrapped + 3 * a, inside_x, valid)
    tl.store(wrapped + 3 * a + 1, inside_y, valid)
    tl.store(wrapped + 3 * a + 2, inside_z, valid)
    tl.store(by_given + 3 * i, inside_x, valid)
    tl.store(by_given + 3 * i + 1, inside_y, valid)
    tl.store(by_given + 3 * i + 2, inside_z, valid)
    ox, oy = tl.load(known + 3 * a, valid, 0.0), tl.load(known + 3 * a + 1, valid, 0.0)
    oz = tl.load(known + 3 * a + 2, valid, 0.0)
    f0, f1, f2 = (
        _along(ox, oy, oz, reciprocal + s, 0),
        _along(ox, oy, oz, reciprocal + s, 1),
        _along(ox, oy, oz, reciprocal + s, 2),
    )
    ux, uy, uz = x - ox, y - oy, z - oz
    strain = tl.zeros_like(ux)
    for b in tl.static_range(3):
        c0 = tl.load(lattice + s + b) - tl.load(old_lattice + s + b)
        c1 = tl.load(lattice + s + 3 + b) - tl.load(old_lattice + s + 3 + b)
        c2 = tl.load(lattice + s + 6 + b) - tl.load(old_lattice + s + 6 + b)
        carried = f0 * c0 + f1 * c1 + f2 * c2
        if b == 0:
            ux -= carried
        if b == 1:
            uy -= carried
        if b == 2:
            uz -= carried
        for k in tl.static_range(3):
            m = tl.load(reciprocal + s + 3 * k) * c0 + tl.load(reciprocal + s + 3 * k + 1) * c1
            m += tl.load(reciprocal + s + 3 * k + 2) * c2
            strain += m * m
    slack = (1.0 - tl.sqrt(strain)) * radius - cutoff
    outside = valid & ((slack < 0) | (4 * (ux * ux + uy * uy + uz * uz) > slack * slack))
    tl.atomic_or(status, STALE, mask=tl.max(outside.to(tl.int32), 0) > 0)


@triton.jit(do_not_specialize=["radius", "capacity"])
def pairs(
    sizes, ptr, order, place, structure, wrapped, by_given, lattice, reciprocal, counts, first, sender, shift, status,
    radius, capacity, FILL: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """Count the candidates of each atom, or write them with FILL: all atoms of the structure, all images in reach."""
    a = tl.program_id(0)
    if a >= tl.load(sizes):
        if not FILL:
            tl.store(counts + a, 0)
        return
    i = tl.load(order + a)
    s = tl.load(structure + a)
    lo, hi = tl.load(ptr + s), tl.load(ptr + s + 1)
    cell, matrix = lattice + 9 * s, reciprocal + 9 * s
    reach2 = radius * radius
    i0 = _images(matrix, radius)
    i1, i2 = _images(matrix + 1, radius), _images(matrix + 2, radius)
    n0, n1, n2 = 2 * i0 + 1, 2 * i1 + 1, 2 * i2 + 1
    if (i0 > 512 - 4) | (i1 > 512 - 4) | (i2 > 512 - 4):
        tl.atomic_or(status, CROWDED)
    x, y, z = tl.load(wrapped + 3 * a), tl.load(wrapped + 3 * a + 1), tl.load(wrapped + 3 * a + 2)
    lane = tl.arange(0, BJ)
    found = 0
    if FILL:
        found = tl.load(first + a)
    images = n0 * n1 * n2
    for start in range(0, (hi - lo) * images, BJ):
        number = start + lane  # index of an atom and an image
        j = lo + number // images
        image = number % images
        valid = j < hi
        row = by_given + 3 * j.to(tl.int64)
        dx, dy, dz = tl.load(row, valid, 0.0) - x, tl.load(row + 1, valid, 0.0) - y, tl.load(row + 2, valid, 0.0) - z
        s0 = (image // (n1 * n2) - i0).to(tl.float64) - tl.floor(_along(dx, dy, dz, matrix, 0) + 0.5)
        s1 = ((image // n2) % n1 - i1).to(tl.float64) - tl.floor(_along(dx, dy, dz, matrix, 1) + 0.5)
        s2 = (image % n2 - i2).to(tl.float64) - tl.floor(_along(dx, dy, dz, matrix, 2) + 0.5)
        rx, ry, rz = dx + _along(s0, s1, s2, cell, 0), dy + _along(s0, s1, s2, cell, 1), dz + _along(s0, s1, s2, cell, 2)
        near_enough = valid & (rx * rx + ry * ry + rz * rz < reach2)
        s0, s1, s2 = tl.where(near_enough, s0, 0.0), tl.where(near_enough, s1, 0.0), tl.where(near_enough, s2, 0.0)
        itself = (j == i) & (s0 == 0) & (s1 == 0) & (s2 == 0)
        near = near_enough & (itself == 0)
        chosen = near.to(tl.int32)
        if FILL:
            to = found + tl.cumsum(chosen, 0) - 1
            fits = near & (to < capacity)
            tl.store(sender + to, tl.load(place + j, fits, 0), fits)
            packed = (s0.to(tl.int32) + 512) | ((s1.to(tl.int32) + 512) << 10) | ((s2.to(tl.int32) + 512) << 20)
            tl.store(shift + to, packed, fits)
        found += tl.sum(chosen, 0)
    if not FILL:
        tl.store(counts + a, found)


@triton.jit(do_not_specialize=["reach2", "capacity"])
def pairs_in_bins(
    sizes, wrapped, lattice, grid, reach, periodic, own, begin, atom, positions, counts, first, sender, shift, status,
    reach2, capacity, FILL: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """Count the candidates of each atom of one structure, or write them with FILL: those in the bins around its own."""
    a = tl.program_id(0)
    if a >= tl.load(sizes):
        if not FILL:
            tl.store(counts + a, 0)
        return
    g0, g1, g2 = tl.load(grid), tl.load(grid + 1), tl.load(grid + 2)
    m0, m1, m2 = tl.load(reach), tl.load(reach + 1), tl.load(reach + 2)
    if (m0 // g0 > 512 - 4) | (m1 // g1 > 512 - 4) | (m2 // g2 > 512 - 4):
        tl.atomic_or(status, CROWDED)
        if not FILL:
            tl.store(counts + a, 0)
        return
    x, y, z = tl.load(wrapped + 3 * a), tl.load(wrapped + 3 * a + 1), tl.load(wrapped + 3 * a + 2)
    o0, o1, o2 = tl.load(own + 3 * a), tl.load(own + 3 * a + 1), tl.load(own + 3 * a + 2)
    lane = tl.arange(0, BJ)
    found = 0
    if FILL:
        found = tl.load(first + a)
    n1, n2 = 2 * m1 + 1, 2 * m2 + 1
    for around in range(0, (2 * m0 + 1) * n1 * n2):
        c0, c1, c2 = o0 + around // (n1 * n2) - m0, o1 + (around // n2) % n1 - m1, o2 + around % n2 - m2
        t0, t1, t2 = _down(c0, g0), _down(c1, g1), _down(c2, g2)
        there = (t0 == 0) | (tl.load(periodic) != 0)
        there &= (t1 == 0) | (tl.load(periodic + 1) != 0)
        there &= (t2 == 0) | (tl.load(periodic + 2) != 0)
        if there:
            cell = begin + ((c0 - t0 * g0) * g1 + c1 - t1 * g1) * g2 + c2 - t2 * g2
            s0, s1, s2 = t0.to(tl.float64), t1.to(tl.float64), t2.to(tl.float64)
            ox = _along(s0, s1, s2, lattice, 0) - x
            oy = _along(s0, s1, s2, lattice, 1) - y
            oz = _along(s0, s1, s2, lattice, 2) - z
            lo, hi = tl.load(cell), tl.load(cell + 1)
            for start in range(lo, hi, BJ):
                k = start + lane
                valid = k < hi
                row = positions + 3 * k.to(tl.int64)
                rx = tl.load(row, valid, 0.0) + ox
                ry = tl.load(row + 1, valid, 0.0) + oy
                rz = tl.load(row + 2, valid, 0.0) + oz
                j = tl.load(atom + k, valid, -1)
                itself = (j == a) & (t0 == 0) & (t1 == 0) & (t2 == 0)
                near = valid & (rx * rx + ry * ry + rz * rz < reach2) & (itself == 0)
                chosen = near.to(tl.int32)
                if FILL:
                    to = found + tl.cumsum(chosen, 0) - 1
                    fits = near & (to < capacity)
                    tl.store(sender + to, j, fits)
                    packed = (t0 + 512) | ((t1 + 512) << 10) | ((t2 + 512) << 20)
                    tl.store(shift + to, lane * 0 + packed, fits)
                found += tl.sum(chosen, 0)
    if not FILL:
        tl.store(counts + a, found)


@triton.jit
def _down(c, g):
    """Return c over g, rounded down."""
    return tl.where(c >= 0, c // g, -((g - 1 - c) // g))


@triton.jit
def _images(column, radius):
    """Return the images on either side along an axis with this reciprocal vector, for atoms within half a cell."""
    x, y, z = tl.load(column), tl.load(column + 3), tl.load(column + 6)
    return tl.floor(radius * tl.sqrt(x * x + y * y + z * z) + 0.5).to(tl.int32)
