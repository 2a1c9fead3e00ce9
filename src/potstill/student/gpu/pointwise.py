"""Triton kernels with one program per atom: invariants, vectors, and the sums of each structure."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _turn(at, p, valid, k: tl.constexpr, Q: tl.constexpr, P: tl.constexpr):
    """Return the left and right mixture of component k."""
    return tl.load(at + k * Q + p, valid, 0.0), tl.load(at + k * Q + P + p, valid, 0.0)


@triton.jit
def _invariants(at, p, valid, NL: tl.constexpr, Q: tl.constexpr, P: tl.constexpr):
    """Return products of order 0 to 3, and the quadratic form of two vectors and a traceless tensor."""
    a, b = _turn(at, p, valid, 0, Q, P)
    i0 = a * b
    ux, vx = _turn(at, p, valid, 1, Q, P)
    uy, vy = _turn(at, p, valid, 2, Q, P)
    uz, vz = _turn(at, p, valid, 3, Q, P)
    i1 = ux * vx + uy * vy + uz * vz
    a, b = _turn(at, p, valid, 4, Q, P)
    i2, form = a * b, b * (ux * vy + uy * vx)
    a, b = _turn(at, p, valid, 5, Q, P)
    i2, form = i2 + a * b, form + b * (uy * vz + uz * vy)
    a, b = _turn(at, p, valid, 6, Q, P)
    i2, form = i2 + a * b, form + 0.5773502691896258 * b * (2 * uz * vz - ux * vx - uy * vy)
    a, b = _turn(at, p, valid, 7, Q, P)
    i2, form = i2 + a * b, form + b * (ux * vz + uz * vx)
    a, b = _turn(at, p, valid, 8, Q, P)
    i2, form = i2 + a * b, form + b * (ux * vx - uy * vy)
    i3 = tl.zeros_like(i2)
    if NL > 3:
        for k in tl.static_range(9, 16):
            a, b = _turn(at, p, valid, k, Q, P)
            i3 += a * b
    return i0, i1, i2, i3, form


@triton.jit
def invariants(
    sizes, parts, mixed, gain, features, species, inputs, norm, bound,
    C0: tl.constexpr, PITCH: tl.constexpr, NL: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, D: tl.constexpr,
    D_PITCH: tl.constexpr, FIRST: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Compute inputs of the network per atom: bounded invariants, then the features (one row per element with FIRST)."""
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    row = i.to(tl.int64)
    c, p, d = tl.arange(0, BC), tl.arange(0, BP), tl.arange(0, BD)
    in_c, in_p, in_d = c < C0, p < P, d < D
    x = tl.load(gain + c, in_c, 0.0) * tl.load(parts + row * PITCH + c, in_c, 0.0)
    i0, i1, i2, i3, form = _invariants(mixed + row * (NL * NL * Q), p, in_p, NL, Q, P)
    g = gain + C0 + p
    i0, i1, i2 = i0 * tl.load(g, in_p, 0.0), i1 * tl.load(g + P, in_p, 0.0), i2 * tl.load(g + 2 * P, in_p, 0.0)
    form = form * tl.load(g + NL * P, in_p, 0.0)
    if NL > 3:
        i3 = i3 * tl.load(g + 3 * P, in_p, 0.0)
    square = tl.sum(x * x, 0) + tl.sum(i0 * i0 + i1 * i1 + i2 * i2 + i3 * i3 + form * form, 0)
    scale = 1.0 / tl.sqrt(1.0 + square / bound)
    to = inputs + row * (C0 + (NL + 1) * P + D)
    tl.store(norm + i, scale)
    tl.store(to + c, scale * x, in_c)
    tl.store(to + C0 + p, scale * i0, in_p)
    tl.store(to + C0 + P + p, scale * i1, in_p)
    tl.store(to + C0 + 2 * P + p, scale * i2, in_p)
    if NL > 3:
        tl.store(to + C0 + 3 * P + p, scale * i3, in_p)
    tl.store(to + C0 + NL * P + p, scale * form, in_p)
    if FIRST:
        row = tl.load(species + i).to(tl.int64)
    tl.store(to + C0 + (NL + 1) * P + d, tl.load(features + row * D_PITCH + d, in_d, 0.0), in_d)


@triton.jit
def by_invariants(
    sizes, parts, mixed, gain, norm, by_inputs, by_mixed, bound,
    C0: tl.constexpr, PITCH: tl.constexpr, NL: tl.constexpr, P: tl.constexpr, Q: tl.constexpr,
    BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Compute the derivative by the mixtures; that by the densities of l = 0 stays in the first columns of ``by_inputs``."""
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    row = i.to(tl.int64)
    c, p = tl.arange(0, BC), tl.arange(0, BP)
    in_c, in_p = c < C0, p < P
    at = mixed + row * (NL * NL * Q)
    gc = tl.load(gain + c, in_c, 0.0)
    xc = gc * tl.load(parts + row * PITCH + c, in_c, 0.0)
    i0, i1, i2, i3, form = _invariants(at, p, in_p, NL, Q, P)
    by = by_inputs + row * (C0 + (NL + 1) * P)
    dc = tl.load(by + c, in_c, 0.0)
    g0, g1, g2 = (
        tl.load(gain + C0 + p, in_p, 0.0),
        tl.load(gain + C0 + P + p, in_p, 0.0),
        tl.load(gain + C0 + 2 * P + p, in_p, 0.0),
    )
    d0, d1, d2 = (
        tl.load(by + C0 + p, in_p, 0.0),
        tl.load(by + C0 + P + p, in_p, 0.0),
        tl.load(by + C0 + 2 * P + p, in_p, 0.0),
    )
    gf, df = tl.load(gain + C0 + NL * P + p, in_p, 0.0), tl.load(by + C0 + NL * P + p, in_p, 0.0)
    g3, d3 = tl.zeros_like(g0), tl.zeros_like(g0)
    if NL > 3:
        g3, d3 = tl.load(gain + C0 + 3 * P + p, in_p, 0.0), tl.load(by + C0 + 3 * P + p, in_p, 0.0)
    i0, i1, i2, i3, form = g0 * i0, g1 * i1, g2 * i2, g3 * i3, gf * form
    scale = tl.load(norm + i)
    along = tl.sum(dc * xc, 0) + tl.sum(d0 * i0 + d1 * i1 + d2 * i2 + d3 * i3 + df * form, 0)
    back = along * scale * scale * scale / bound
    tl.store(by + c, gc * (scale * dc - back * xc), in_c)
    d0, d1, d2 = g0 * (scale * d0 - back * i0), g1 * (scale * d1 - back * i1), g2 * (scale * d2 - back * i2)
    d3, df = g3 * (scale * d3 - back * i3), gf * (scale * df - back * form)
    to = by_mixed + row * (NL * NL * Q) + p
    a, b = _turn(at, p, in_p, 0, Q, P)
    tl.store(to, d0 * b, in_p)
    tl.store(to + P, d0 * a, in_p)
    ux, vx = _turn(at, p, in_p, 1, Q, P)
    uy, vy = _turn(at, p, in_p, 2, Q, P)
    uz, vz = _turn(at, p, in_p, 3, Q, P)
    a, xy = _turn(at, p, in_p, 4, Q, P)
    tl.store(to + 4 * Q, d2 * xy, in_p)
    tl.store(to + 4 * Q + P, d2 * a + df * (ux * vy + uy * vx), in_p)
    a, yz = _turn(at, p, in_p, 5, Q, P)
    tl.store(to + 5 * Q, d2 * yz, in_p)
    tl.store(to + 5 * Q + P, d2 * a + df * (uy * vz + uz * vy), in_p)
    a, z2 = _turn(at, p, in_p, 6, Q, P)
    tl.store(to + 6 * Q, d2 * z2, in_p)
    tl.store(to + 6 * Q + P, d2 * a + (0.5773502691896258 * df) * (2 * uz * vz - ux * vx - uy * vy), in_p)
    a, xz = _turn(at, p, in_p, 7, Q, P)
    tl.store(to + 7 * Q, d2 * xz, in_p)
    tl.store(to + 7 * Q + P, d2 * a + df * (ux * vz + uz * vx), in_p)
    a, x2y2 = _turn(at, p, in_p, 8, Q, P)
    tl.store(to + 8 * Q, d2 * x2y2, in_p)
    tl.store(to + 8 * Q + P, d2 * a + df * (ux * vx - uy * vy), in_p)
    xy, yz, z2, xz, x2y2 = df * xy, df * yz, (0.5773502691896258 * df) * z2, df * xz, df * x2y2
    tl.store(to + Q, d1 * vx + (x2y2 - z2) * vx + xy * vy + xz * vz, in_p)
    tl.store(to + 2 * Q, d1 * vy + xy * vx - (x2y2 + z2) * vy + yz * vz, in_p)
    tl.store(to + 3 * Q, d1 * vz + xz * vx + yz * vy + 2 * z2 * vz, in_p)
    tl.store(to + Q + P, d1 * ux + (x2y2 - z2) * ux + xy * uy + xz * uz, in_p)
    tl.store(to + 2 * Q + P, d1 * uy + xy * ux - (x2y2 + z2) * uy + yz * uz, in_p)
    tl.store(to + 3 * Q + P, d1 * uz + xz * ux + yz * uy + 2 * z2 * uz, in_p)
    if NL > 3:
        for k in tl.static_range(9, 16):
            a, b = _turn(at, p, in_p, k, Q, P)
            tl.store(to + k * Q, d3 * b, in_p)
            tl.store(to + k * Q + P, d3 * a, in_p)


@triton.jit
def make_vectors(
    sizes, mixed, gates, before, made, NH: tl.constexpr, Q: tl.constexpr, P2: tl.constexpr, V: tl.constexpr,
    G_PITCH: tl.constexpr, ADDS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Compute (N, 3, V) vectors: a gate times softly normalised l = 1 mixtures, added to earlier ones with ADDS."""
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    row = i.to(tl.int64)
    v = tl.arange(0, BV)
    valid = v < V
    raw = mixed + row * (NH * Q) + P2 + v
    x, y, z = tl.load(raw + Q, valid, 0.0), tl.load(raw + 2 * Q, valid, 0.0), tl.load(raw + 3 * Q, valid, 0.0)
    scale = tl.load(gates + row * G_PITCH + v, valid, 0.0) / tl.sqrt(1.0 + tl.sum(x * x + y * y + z * z, 0) / V)
    x, y, z = scale * x, scale * y, scale * z
    if ADDS:
        was = before + row * (3 * V) + v
        x, y, z = x + tl.load(was, valid, 0.0), y + tl.load(was + V, valid, 0.0), z + tl.load(was + 2 * V, valid, 0.0)
    to = made + row * (3 * V) + v
    tl.store(to, x, valid)
    tl.store(to + V, y, valid)
    tl.store(to + 2 * V, z, valid)


@triton.jit
def by_vectors_made(
    sizes, mixed, gates, by_vectors, by_mixed, by_gates, NH: tl.constexpr, Q: tl.constexpr, P2: tl.constexpr,
    V: tl.constexpr, G_PITCH: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Compute the derivative by the mixtures that become vectors and by the gates, from that by the vectors."""
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    row = i.to(tl.int64)
    v = tl.arange(0, BV)
    valid = v < V
    raw = mixed + row * (NH * Q) + P2 + v
    x, y, z = tl.load(raw + Q, valid, 0.0), tl.load(raw + 2 * Q, valid, 0.0), tl.load(raw + 3 * Q, valid, 0.0)
    by = by_vectors + row * (3 * V) + v
    dx, dy, dz = tl.load(by, valid, 0.0), tl.load(by + V, valid, 0.0), tl.load(by + 2 * V, valid, 0.0)
    gate = tl.load(gates + row * G_PITCH + v, valid, 0.0)
    norm = 1.0 / tl.sqrt(1.0 + tl.sum(x * x + y * y + z * z, 0) / V)
    dot = x * dx + y * dy + z * dz
    tl.store(by_gates + row * G_PITCH + v, norm * dot, valid)
    back = tl.sum(gate * dot, 0) * norm * norm * norm / V
    to = by_mixed + row * (NH * Q) + P2 + v
    tl.store(to + Q, norm * gate * dx - back * x, valid)
    tl.store(to + 2 * Q, norm * gate * dy - back * y, valid)
    tl.store(to + 3 * Q, norm * gate * dz - back * z, valid)


@triton.jit(do_not_specialize=["blocks", "n_rows"])
def finish(
    sizes, order, species, references, partial, local, force, virial, energies, virials, forces, locals_, blocks, n_rows,
    last_bias, BA: tl.constexpr,
):  # fmt: skip
    """Write energies, virials and forces of atoms in the given order."""
    a = tl.program_id(0) * BA + tl.arange(0, BA)
    valid = a < tl.load(sizes)
    to = tl.load(order + a, valid, 0).to(tl.int64)
    energy = tl.load(local + a, valid, 0.0) + last_bias
    column = partial + a
    for _ in range(blocks):
        energy += tl.load(column, valid, 0.0)
        column += n_rows
    tl.store(locals_ + to, energy, valid)
    z = tl.load(species + a, valid, 0)
    tl.store(energies + to, energy.to(tl.float64) + tl.load(references + z, valid, 0.0), valid)
    for k in tl.static_range(3):
        tl.store(forces + 3 * to + k, tl.load(force + 3 * a + k, valid, 0.0), valid)
    for k in tl.static_range(6):
        tl.store(virials + 6 * to + k, tl.load(virial + 6 * a + k, valid, 0.0), valid)


@triton.jit
def sums(sizes, ptr, energies, virials, found, PARTS: tl.constexpr, BA: tl.constexpr):
    """Compute (S, PARTS, 7) partial sums of energy and virial in float64, always in the same order."""
    s, part = tl.program_id(0), tl.program_id(1)
    if s >= tl.load(sizes + 1):
        return
    lo, hi = tl.load(ptr + s), tl.load(ptr + s + 1)
    span = ((hi - lo) + PARTS - 1) // PARTS
    begin = lo + part * span
    end = tl.minimum(begin + span, hi)
    lane = tl.arange(0, BA)
    energy = tl.zeros((BA,), tl.float64)
    xx, yy, zz, yz, xz, xy = energy, energy, energy, energy, energy, energy
    for start in range(begin, end, BA):
        a = start + lane
        valid = a < end
        row = virials + 6 * a.to(tl.int64)
        energy += tl.load(energies + a, valid, 0.0)
        xx += tl.load(row, valid, 0.0).to(tl.float64)
        yy += tl.load(row + 1, valid, 0.0).to(tl.float64)
        zz += tl.load(row + 2, valid, 0.0).to(tl.float64)
        yz += tl.load(row + 3, valid, 0.0).to(tl.float64)
        xz += tl.load(row + 4, valid, 0.0).to(tl.float64)
        xy += tl.load(row + 5, valid, 0.0).to(tl.float64)
    to = found + (s * PARTS + part) * 7
    tl.store(to, tl.sum(energy, 0))
    tl.store(to + 1, tl.sum(xx, 0))
    tl.store(to + 2, tl.sum(yy, 0))
    tl.store(to + 3, tl.sum(zz, 0))
    tl.store(to + 4, tl.sum(yz, 0))
    tl.store(to + 5, tl.sum(xz, 0))
    tl.store(to + 6, tl.sum(xy, 0))
