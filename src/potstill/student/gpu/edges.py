"""Triton kernels over the edges: densities, and the derivative by positions. One program for each atom.

Atoms are in the order of their elements. The edges that an atom receives are adjacent, and each edge has its reverse in the
list. An atom's force needs the edges it receives and the edges it sends. The latter are the reverses of the former, with
``Y_lm(-r) = (-1)^l Y_lm(r)``. Every program therefore writes to the rows of its own atom only. No atomic additions are
needed, and every run gives the same numbers.

Letters as in the C++ kernel: C channels, V vectors, B radial functions, NL = l_max + 1, NH = NL^2.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _radial(edges, wide, at, there, table, c, valid, B: tl.constexpr, WIDTH: tl.constexpr, ROW: tl.constexpr):
    """Return (BE, BC) radial functions of one order, or their slopes: the sum over b of g_b(e) w[b, c]."""
    found = tl.load(edges + ROW * wide + at, there, 0.0)[:, None] * tl.load(table + c, valid, 0.0)[None, :]
    for b in tl.static_range(1, B):
        g = tl.load(edges + (ROW + b) * wide + at, there, 0.0)
        found += g[:, None] * tl.load(table + b * WIDTH + c, valid, 0.0)[None, :]
    return found


@triton.jit(do_not_specialize=["capacity"])
def density(
    sizes, first, last, near, edges, species, sent, vectors, radial, vector_radial, gains, parts, capacity,
    C: tl.constexpr, V: tl.constexpr, B: tl.constexpr, NL: tl.constexpr, FIRST: tl.constexpr,
    BC: tl.constexpr, BV: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Sum the features sent by the neighbors into densities, times the gains of the receiver's element.

    A row of ``parts`` contains nine components of C + V channels, then those of l = 3 with C. Before the first layer atoms
    of one element are equal, so ``sent`` has one row for each element (FIRST). V is 0 where no vectors are received.
    """
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    lo, hi = tl.load(first + i), tl.load(last + i)
    z = tl.load(species + i)
    wide = capacity.to(tl.int64)
    lane = tl.arange(0, BE)
    out = parts + i.to(tl.int64) * (9 * (C + V) + (NL * NL - 9) * C)
    gain = gains + z * NL * (C + V)
    for start_c in tl.static_range(0, C, BC):
        c = start_c + tl.arange(0, BC)
        valid = c < C
        a0 = tl.zeros((BE, BC), tl.float32)
        a1, a2, a3, a4, a5, a6, a7, a8 = a0, a0, a0, a0, a0, a0, a0, a0
        a9, a10, a11, a12, a13, a14, a15 = a0, a0, a0, a0, a0, a0, a0
        for start in range(lo, hi, BE):
            at = start + lane
            there = at < hi
            j = tl.load(near + at, there, 0)
            if FIRST:
                j = tl.load(species + j, there, 0)
            send = tl.load(sent + j.to(tl.int64)[:, None] * C + c[None, :], there[:, None] & valid[None, :], 0.0)
            x = tl.load(edges + at, there, 0.0)[:, None]
            y = tl.load(edges + wide + at, there, 0.0)[:, None]
            w = tl.load(edges + 2 * wide + at, there, 0.0)[:, None]
            a0 += send * _radial(edges, wide, at, there, radial, c, valid, B, C, 4)
            t = (1.7320508075688772 * send) * _radial(edges, wide, at, there, radial + B * C, c, valid, B, C, 4)
            a1 += x * t
            a2 += y * t
            a3 += w * t
            t = (3.872983346207417 * send) * _radial(edges, wide, at, there, radial + 2 * B * C, c, valid, B, C, 4)
            a4 += x * y * t
            a5 += y * w * t
            a6 += ((3 * w * w - 1) * (0.5 * 0.5773502691896258)) * t
            a7 += x * w * t
            a8 += (0.5 * (x * x - y * y)) * t
            if NL > 3:
                t = send * _radial(edges, wide, at, there, radial + 3 * B * C, c, valid, B, C, 4)
                a9 += (2.091650066335189 * y * (3 * x * x - y * y)) * t
                a10 += (10.246950765959598 * x * y * w) * t
                a11 += (1.620185174601965 * y * (5 * w * w - 1)) * t
                a12 += (1.3228756555322954 * w * (5 * w * w - 3)) * t
                a13 += (1.620185174601965 * x * (5 * w * w - 1)) * t
                a14 += (0.5 * 10.246950765959598 * w * (x * x - y * y)) * t
                a15 += (2.091650066335189 * x * (x * x - 3 * y * y)) * t
        g = tl.load(gain + c, valid, 0.0)
        tl.store(out + c, g * tl.sum(a0, 0), valid)
        g = tl.load(gain + (C + V) + c, valid, 0.0)
        tl.store(out + (C + V) + c, g * tl.sum(a1, 0), valid)
        tl.store(out + 2 * (C + V) + c, g * tl.sum(a2, 0), valid)
        tl.store(out + 3 * (C + V) + c, g * tl.sum(a3, 0), valid)
        g = tl.load(gain + 2 * (C + V) + c, valid, 0.0)
        tl.store(out + 4 * (C + V) + c, g * tl.sum(a4, 0), valid)
        tl.store(out + 5 * (C + V) + c, g * tl.sum(a5, 0), valid)
        tl.store(out + 6 * (C + V) + c, g * tl.sum(a6, 0), valid)
        tl.store(out + 7 * (C + V) + c, g * tl.sum(a7, 0), valid)
        tl.store(out + 8 * (C + V) + c, g * tl.sum(a8, 0), valid)
        if NL > 3:
            g = tl.load(gain + 3 * (C + V) + c, valid, 0.0)
            high = out + 9 * (C + V) + c
            tl.store(high, g * tl.sum(a9, 0), valid)
            tl.store(high + C, g * tl.sum(a10, 0), valid)
            tl.store(high + 2 * C, g * tl.sum(a11, 0), valid)
            tl.store(high + 3 * C, g * tl.sum(a12, 0), valid)
            tl.store(high + 4 * C, g * tl.sum(a13, 0), valid)
            tl.store(high + 5 * C, g * tl.sum(a14, 0), valid)
            tl.store(high + 6 * C, g * tl.sum(a15, 0), valid)
    for start_v in tl.static_range(0, V, BV):
        v = start_v + tl.arange(0, BV)
        valid = v < V
        a0 = tl.zeros((BE, BV), tl.float32)
        a1, a2, a3, a4, a5, a6, a7, a8 = a0, a0, a0, a0, a0, a0, a0, a0
        for start in range(lo, hi, BE):
            at = start + lane
            there = at < hi
            both = there[:, None] & valid[None, :]
            row = vectors + tl.load(near + at, there, 0).to(tl.int64)[:, None] * (3 * V) + v[None, :]
            vx, vy, vz = tl.load(row, both, 0.0), tl.load(row + V, both, 0.0), tl.load(row + 2 * V, both, 0.0)
            x = 1.7320508075688772 * tl.load(edges + at, there, 0.0)[:, None]
            y = 1.7320508075688772 * tl.load(edges + wide + at, there, 0.0)[:, None]
            w = 1.7320508075688772 * tl.load(edges + 2 * wide + at, there, 0.0)[:, None]
            t = _radial(edges, wide, at, there, vector_radial, v, valid, B, V, 4)
            a1 += t * vx
            a2 += t * vy
            a3 += t * vz
            a0 += _radial(edges, wide, at, there, vector_radial + B * V, v, valid, B, V, 4) * (x * vx + y * vy + w * vz)
            t = _radial(edges, wide, at, there, vector_radial + 2 * B * V, v, valid, B, V, 4)
            a4 += t * (x * vy + y * vx)
            a5 += t * (y * vz + w * vy)
            a6 += (0.5773502691896258 * t) * (2 * w * vz - x * vx - y * vy)
            a7 += t * (x * vz + w * vx)
            a8 += t * (x * vx - y * vy)
        to = out + C + v
        g = tl.load(gain + C + v, valid, 0.0)
        tl.store(to, g * tl.sum(a0, 0), valid)
        g = tl.load(gain + (C + V) + C + v, valid, 0.0)
        tl.store(to + (C + V), g * tl.sum(a1, 0), valid)
        tl.store(to + 2 * (C + V), g * tl.sum(a2, 0), valid)
        tl.store(to + 3 * (C + V), g * tl.sum(a3, 0), valid)
        g = tl.load(gain + 2 * (C + V) + C + v, valid, 0.0)
        tl.store(to + 4 * (C + V), g * tl.sum(a4, 0), valid)
        tl.store(to + 5 * (C + V), g * tl.sum(a5, 0), valid)
        tl.store(to + 6 * (C + V), g * tl.sum(a6, 0), valid)
        tl.store(to + 7 * (C + V), g * tl.sum(a7, 0), valid)
        tl.store(to + 8 * (C + V), g * tl.sum(a8, 0), valid)


@triton.jit
def _pair(own, other, s_own, s_other, k: tl.constexpr, stride: tl.constexpr, ODD: tl.constexpr, c, mask, valid):
    """Return the factor of Y_k R_l of an edge and its reverse, and the neighbor's part alone."""
    mine = tl.load(own + k * stride + c, valid, 0.0)[None, :]
    theirs = tl.load(other + k * stride + c[None, :], mask, 0.0)
    if ODD:
        theirs = -theirs
    return s_other * mine + s_own * theirs, theirs


@triton.jit(do_not_specialize=["capacity"])
def edge_backward(
    sizes, first, last, near, edges, species, sent, vectors, radial, vector_radial, by_parts,
    force, virial, by_sent, by_vectors, capacity,
    C: tl.constexpr, V: tl.constexpr, B: tl.constexpr, NL: tl.constexpr, FIRST: tl.constexpr, PASSED: tl.constexpr,
    BC: tl.constexpr, BV: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Add the part of one layer to forces and virials, and compute the derivative by the features that each atom sent.

    ``by_parts`` is the derivative by the densities, times the gains, in the layout of ``parts``. With PASSED, ``by_vectors``
    already contains the derivative by the vectors that were passed on to the next layer.
    """
    i = tl.program_id(0)
    if i >= tl.load(sizes):
        return
    lo, hi = tl.load(first + i), tl.load(last + i)
    z = tl.load(species + i)
    wide = capacity.to(tl.int64)
    lane = tl.arange(0, BE)
    pitch = 9 * (C + V) + (NL * NL - 9) * C
    own = by_parts + i.to(tl.int64) * pitch
    sent_row = i.to(tl.int64)
    if FIRST:
        sent_row = z.to(tl.int64)
    fx = tl.zeros((BE,), tl.float32)
    fy, fz, wxx, wyy, wzz, wyz, wxz, wxy = fx, fx, fx, fx, fx, fx, fx, fx
    for start_c in tl.static_range(0, C, BC):
        c = start_c + tl.arange(0, BC)
        valid = c < C
        s_own = tl.load(sent + sent_row * C + c, valid, 0.0)[None, :]
        to_sent = tl.zeros((BE, BC), tl.float32)
        for start in range(lo, hi, BE):
            at = start + lane
            there = at < hi
            both = there[:, None] & valid[None, :]
            j = tl.load(near + at, there, 0)
            other = by_parts + j.to(tl.int64)[:, None] * pitch
            if FIRST:
                j = tl.load(species + j, there, 0)
            s_other = tl.load(sent + j.to(tl.int64)[:, None] * C + c[None, :], both, 0.0)
            ux, uy, uz = (
                tl.load(edges + at, there, 0.0),
                tl.load(edges + wide + at, there, 0.0),
                tl.load(edges + 2 * wide + at, there, 0.0),
            )
            x, y, w = ux[:, None], uy[:, None], uz[:, None]
            q, d = _pair(own, other, s_own, s_other, 0, 0, False, c, both, valid)
            along = q * _radial(edges, wide, at, there, radial, c, valid, B, C, 4 + B)
            if not FIRST:
                to_sent += d * _radial(edges, wide, at, there, radial, c, valid, B, C, 4)
            # vectors: the slope by the unit vector is (gx, gy, gz)
            r = 1.7320508075688772 * _radial(edges, wide, at, there, radial + B * C, c, valid, B, C, 4)
            q1, d1 = _pair(own, other, s_own, s_other, 1, C + V, True, c, both, valid)
            q2, d2 = _pair(own, other, s_own, s_other, 2, C + V, True, c, both, valid)
            q3, d3 = _pair(own, other, s_own, s_other, 3, C + V, True, c, both, valid)
            gx, gy, gz = r * q1, r * q2, r * q3
            slope = _radial(edges, wide, at, there, radial + B * C, c, valid, B, C, 4 + B)
            along += (1.7320508075688772 * slope) * (x * q1 + y * q2 + w * q3)
            if not FIRST:
                to_sent += r * (x * d1 + y * d2 + w * d3)
            r = 3.872983346207417 * _radial(edges, wide, at, there, radial + 2 * B * C, c, valid, B, C, 4)
            slope = 3.872983346207417 * _radial(edges, wide, at, there, radial + 2 * B * C, c, valid, B, C, 4 + B)
            q1, d1 = _pair(own, other, s_own, s_other, 4, C + V, False, c, both, valid)
            q2, d2 = _pair(own, other, s_own, s_other, 5, C + V, False, c, both, valid)
            u, t = x * y * q1 + y * w * q2, x * y * d1 + y * w * d2
            gx += r * (y * q1)
            gy += r * (x * q1 + w * q2)
            gz += r * (y * q2)
            q1, d1 = _pair(own, other, s_own, s_other, 6, C + V, False, c, both, valid)
            q2, d2 = _pair(own, other, s_own, s_other, 7, C + V, False, c, both, valid)
            u += ((3 * w * w - 1) * (0.5 * 0.5773502691896258)) * q1 + x * w * q2
            t += ((3 * w * w - 1) * (0.5 * 0.5773502691896258)) * d1 + x * w * d2
            gx += r * (w * q2)
            gz += r * ((3 * 0.5773502691896258) * w * q1 + x * q2)
            q1, d1 = _pair(own, other, s_own, s_other, 8, C + V, False, c, both, valid)
            u += (0.5 * (x * x - y * y)) * q1
            t += (0.5 * (x * x - y * y)) * d1
            gx += r * (x * q1)
            gy -= r * (y * q1)
            along += slope * u
            if not FIRST:
                to_sent += r * t
            if NL > 3:
                high, far = own + 9 * (C + V), other + 9 * (C + V)
                r = _radial(edges, wide, at, there, radial + 3 * B * C, c, valid, B, C, 4)
                q1, d1 = _pair(high, far, s_own, s_other, 0, C, True, c, both, valid)
                q2, d2 = _pair(high, far, s_own, s_other, 1, C, True, c, both, valid)
                q3, d3 = _pair(high, far, s_own, s_other, 2, C, True, c, both, valid)
                y1, y2, y3 = (
                    2.091650066335189 * y * (3 * x * x - y * y),
                    10.246950765959598 * x * y * w,
                    1.620185174601965 * y * (5 * w * w - 1),
                )
                u, t = y1 * q1 + y2 * q2 + y3 * q3, y1 * d1 + y2 * d2 + y3 * d3
                gx += r * ((6 * 2.091650066335189) * x * y * q1 + 10.246950765959598 * y * w * q2)
                gy += r * (
                    (3 * 2.091650066335189) * (x * x - y * y) * q1
                    + 10.246950765959598 * x * w * q2
                    + 1.620185174601965 * (5 * w * w - 1) * q3
                )
                gz += r * (10.246950765959598 * x * y * q2 + (10 * 1.620185174601965) * y * w * q3)
                q1, d1 = _pair(high, far, s_own, s_other, 3, C, True, c, both, valid)
                q2, d2 = _pair(high, far, s_own, s_other, 4, C, True, c, both, valid)
                y1, y2 = 1.3228756555322954 * w * (5 * w * w - 3), 1.620185174601965 * x * (5 * w * w - 1)
                u += y1 * q1 + y2 * q2
                t += y1 * d1 + y2 * d2
                gx += r * (1.620185174601965 * (5 * w * w - 1) * q2)
                gz += r * (1.3228756555322954 * (15 * w * w - 3) * q1 + (10 * 1.620185174601965) * x * w * q2)
                q1, d1 = _pair(high, far, s_own, s_other, 5, C, True, c, both, valid)
                q2, d2 = _pair(high, far, s_own, s_other, 6, C, True, c, both, valid)
                y1, y2 = (0.5 * 10.246950765959598) * w * (x * x - y * y), 2.091650066335189 * x * (x * x - 3 * y * y)
                u += y1 * q1 + y2 * q2
                t += y1 * d1 + y2 * d2
                gx += r * (10.246950765959598 * x * w * q1 + (3 * 2.091650066335189) * (x * x - y * y) * q2)
                gy -= r * (10.246950765959598 * y * w * q1 + (6 * 2.091650066335189) * x * y * q2)
                gz += r * ((0.5 * 10.246950765959598) * (x * x - y * y) * q1)
                along += u * _radial(edges, wide, at, there, radial + 3 * B * C, c, valid, B, C, 4 + B)
                if not FIRST:
                    to_sent += r * t
            inverse = tl.load(edges + 3 * wide + at, there, 1.0)
            px, py, pz, pa = tl.sum(gx, 1), tl.sum(gy, 1), tl.sum(gz, 1), tl.sum(along, 1)
            radially = pa - (px * ux + py * uy + pz * uz) * inverse
            px, py, pz = px * inverse + radially * ux, py * inverse + radially * uy, pz * inverse + radially * uz
            fx, fy, fz = fx + px, fy + py, fz + pz
            half = 0.5 / inverse
            hx, hy, hz = half * ux, half * uy, half * uz
            wxx, wyy, wzz = wxx + hx * px, wyy + hy * py, wzz + hz * pz
            wyz += 0.5 * (hy * pz + hz * py)
            wxz += 0.5 * (hx * pz + hz * px)
            wxy += 0.5 * (hx * py + hy * px)
        if not FIRST:
            tl.store(by_sent + i.to(tl.int64) * C + c, tl.sum(to_sent, 0), valid)
    for start_v in tl.static_range(0, V, BV):
        v = start_v + tl.arange(0, BV)
        valid = v < V
        here = vectors + i.to(tl.int64) * (3 * V) + v
        ox, oy, oz = (
            tl.load(here, valid, 0.0)[None, :],
            tl.load(here + V, valid, 0.0)[None, :],
            tl.load(here + 2 * V, valid, 0.0)[None, :],
        )
        tx = tl.zeros((BE, BV), tl.float32)
        ty, tz = tx, tx
        mine = own + C + v
        for start in range(lo, hi, BE):
            at = start + lane
            there = at < hi
            both = there[:, None] & valid[None, :]
            j = tl.load(near + at, there, 0).to(tl.int64)[:, None]
            theirs = by_parts + j * pitch + C + v[None, :]
            row = vectors + j * (3 * V) + v[None, :]
            vx, vy, vz = tl.load(row, both, 0.0), tl.load(row + V, both, 0.0), tl.load(row + 2 * V, both, 0.0)
            ux, uy, uz = (
                tl.load(edges + at, there, 0.0),
                tl.load(edges + wide + at, there, 0.0),
                tl.load(edges + 2 * wide + at, there, 0.0),
            )
            x, y, w = 1.7320508075688772 * ux[:, None], 1.7320508075688772 * uy[:, None], 1.7320508075688772 * uz[:, None]
            # filter of l = 0: vectors unchanged
            r = _radial(edges, wide, at, there, vector_radial, v, valid, B, V, 4)
            dx, dy, dz = (
                tl.load(theirs + (C + V), both, 0.0),
                tl.load(theirs + 2 * (C + V), both, 0.0),
                tl.load(theirs + 3 * (C + V), both, 0.0),
            )
            tx, ty, tz = tx + r * dx, ty + r * dy, tz + r * dz
            q = vx * tl.load(mine + (C + V), valid, 0.0)[None, :] + ox * dx
            q += vy * tl.load(mine + 2 * (C + V), valid, 0.0)[None, :] + oy * dy
            q += vz * tl.load(mine + 3 * (C + V), valid, 0.0)[None, :] + oz * dz
            along = q * _radial(edges, wide, at, there, vector_radial, v, valid, B, V, 4 + B)
            # filter of l = 1: vectors along the edge
            r = _radial(edges, wide, at, there, vector_radial + B * V, v, valid, B, V, 4)
            d0, m0 = tl.load(theirs, both, 0.0), tl.load(mine, valid, 0.0)[None, :]
            qx, qy, qz = vx * m0 - ox * d0, vy * m0 - oy * d0, vz * m0 - oz * d0
            tx, ty, tz = tx - r * x * d0, ty - r * y * d0, tz - r * w * d0
            gx, gy, gz = r * qx, r * qy, r * qz
            along += (x * qx + y * qy + w * qz) * _radial(
                edges, wide, at, there, vector_radial + B * V, v, valid, B, V, 4 + B
            )
            # filter of l = 2: the traceless matrix of the derivative times the vector
            r = _radial(edges, wide, at, there, vector_radial + 2 * B * V, v, valid, B, V, 4)
            xy, yz = tl.load(mine + 4 * (C + V), valid, 0.0)[None, :], tl.load(mine + 5 * (C + V), valid, 0.0)[None, :]
            z2, xz = (
                0.5773502691896258 * tl.load(mine + 6 * (C + V), valid, 0.0)[None, :],
                tl.load(mine + 7 * (C + V), valid, 0.0)[None, :],
            )
            x2y2 = tl.load(mine + 8 * (C + V), valid, 0.0)[None, :]
            qx = (x2y2 - z2) * vx + xy * vy + xz * vz
            qy = xy * vx - (x2y2 + z2) * vy + yz * vz
            qz = xz * vx + yz * vy + 2 * z2 * vz
            xy, yz = tl.load(theirs + 4 * (C + V), both, 0.0), tl.load(theirs + 5 * (C + V), both, 0.0)
            z2, xz = 0.5773502691896258 * tl.load(theirs + 6 * (C + V), both, 0.0), tl.load(theirs + 7 * (C + V), both, 0.0)
            x2y2 = tl.load(theirs + 8 * (C + V), both, 0.0)
            qx -= (x2y2 - z2) * ox + xy * oy + xz * oz
            qy -= xy * ox - (x2y2 + z2) * oy + yz * oz
            qz -= xz * ox + yz * oy + 2 * z2 * oz
            tx -= r * ((x2y2 - z2) * x + xy * y + xz * w)
            ty -= r * (xy * x - (x2y2 + z2) * y + yz * w)
            tz -= r * (xz * x + yz * y + 2 * z2 * w)
            gx, gy, gz = gx + r * qx, gy + r * qy, gz + r * qz
            along += (x * qx + y * qy + w * qz) * _radial(
                edges, wide, at, there, vector_radial + 2 * B * V, v, valid, B, V, 4 + B
            )
            inverse = tl.load(edges + 3 * wide + at, there, 1.0)
            px, py, pz, pa = (
                1.7320508075688772 * tl.sum(gx, 1),
                1.7320508075688772 * tl.sum(gy, 1),
                1.7320508075688772 * tl.sum(gz, 1),
                tl.sum(along, 1),
            )
            radially = pa - (px * ux + py * uy + pz * uz) * inverse
            px, py, pz = px * inverse + radially * ux, py * inverse + radially * uy, pz * inverse + radially * uz
            fx, fy, fz = fx + px, fy + py, fz + pz
            half = 0.5 / inverse
            hx, hy, hz = half * ux, half * uy, half * uz
            wxx, wyy, wzz = wxx + hx * px, wyy + hy * py, wzz + hz * pz
            wyz += 0.5 * (hy * pz + hz * py)
            wxz += 0.5 * (hx * pz + hz * px)
            wxy += 0.5 * (hx * py + hy * px)
        to = by_vectors + i.to(tl.int64) * (3 * V) + v
        sx, sy, sz = tl.sum(tx, 0), tl.sum(ty, 0), tl.sum(tz, 0)
        if PASSED:
            sx, sy, sz = sx + tl.load(to, valid, 0.0), sy + tl.load(to + V, valid, 0.0), sz + tl.load(to + 2 * V, valid, 0.0)
        tl.store(to, sx, valid)
        tl.store(to + V, sy, valid)
        tl.store(to + 2 * V, sz, valid)
    to = force + 3 * i
    tl.store(to, tl.load(to) + tl.sum(fx, 0))
    tl.store(to + 1, tl.load(to + 1) + tl.sum(fy, 0))
    tl.store(to + 2, tl.load(to + 2) + tl.sum(fz, 0))
    to = virial + 6 * i
    tl.store(to, tl.load(to) + tl.sum(wxx, 0))
    tl.store(to + 1, tl.load(to + 1) + tl.sum(wyy, 0))
    tl.store(to + 2, tl.load(to + 2) + tl.sum(wzz, 0))
    tl.store(to + 3, tl.load(to + 3) + tl.sum(wyz, 0))
    tl.store(to + 4, tl.load(to + 4) + tl.sum(wxz, 0))
    tl.store(to + 5, tl.load(to + 5) + tl.sum(wxy, 0))
