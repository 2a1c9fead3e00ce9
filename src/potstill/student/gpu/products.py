"""Triton kernels of matrix products: networks per atom by element, and the mixing of densities by component.

Rows are atoms in the order of their elements. A tile never spans two elements, so it needs one matrix. ``tile_first``,
``tile_count`` and ``tile_species`` state its rows and its element. Tiles without rows end at once, so the number of tiles
can be that of a bucket.
"""

from __future__ import annotations

import triton
import triton.language as tl

HIDDEN, OUT, READOUT, BY_HIDDEN, BY_INPUTS, PLAIN = (tl.constexpr(k) for k in range(6))


@triton.jit
def _product(
    a, a_pitch, rows, valid_rows, w, columns, valid_columns, K, N,
    TURNED: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return (BM, BN) rows of ``a`` times a (K, N) matrix, which is stored as (N, K) where TURNED."""
    acc = tl.zeros((BM, BN), tl.float32)
    line = a + rows.to(tl.int64)[:, None] * a_pitch
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        there = k < K
        x = tl.load(line + k[None, :], valid_rows[:, None] & there[None, :], 0.0)
        both = there[:, None] & valid_columns[None, :]
        if TURNED:
            m = tl.load(w + columns[None, :] * K + k[:, None], both, 0.0)
        else:
            m = tl.load(w + k[:, None] * N + columns[None, :], both, 0.0)
        acc = tl.dot(x, m, acc, input_precision=PRECISION)
    return acc


@triton.jit(do_not_specialize=["K", "N", "w_step", "bias_step", "a_pitch", "out_pitch", "aid_pitch", "split", "n_rows"])
def network(
    tile_first, tile_count, tile_species, a, w, bias, aid, out, second, last, partial, scale,
    K, N, w_step, bias_step, a_pitch, out_pitch, aid_pitch, split, n_rows,
    KIND: tl.constexpr, TURNED: tl.constexpr, ADDS: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Multiply rows of ``a`` by the matrix of their element, then apply the operation of a kind.

    ========== ==========================================================================================================
    HIDDEN     ``out`` = product + bias, ``second`` = its silu
    OUT        ``out`` = product + bias, plus ``aid`` in the first ``split`` columns with ADDS
    READOUT    h = product + bias; ``second`` = silu(h); ``out`` = derivative of the energy by h; ``partial`` = energies
    BY_HIDDEN  ``out`` = product times the slope of silu at ``aid``
    BY_INPUTS  columns below ``split`` to ``out``; the others are added to ``aid``
    PLAIN      ``out`` = product, added to the present values with ADDS
    ========== ==========================================================================================================
    """
    tile = tl.program_id(0)
    count = tl.load(tile_count + tile)
    if count == 0:
        return
    lane = tl.arange(0, BM)
    rows = tl.load(tile_first + tile) + lane
    valid_rows = lane < count
    z = tl.load(tile_species + tile).to(tl.int64)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    valid = columns < N
    acc = _product(a, a_pitch, rows, valid_rows, w + z * w_step, columns, valid, K, N, TURNED, BM, BN, BK, PRECISION)
    both = valid_rows[:, None] & valid[None, :]
    line = rows.to(tl.int64)[:, None]
    to = out + line * out_pitch + columns[None, :]
    if KIND == HIDDEN:
        acc += tl.load(bias + z * bias_step + columns, valid, 0.0)[None, :]
        tl.store(to, acc, both)
        tl.store(second + line * out_pitch + columns[None, :], acc / (1.0 + tl.exp(-acc)), both)
    if KIND == OUT:
        acc += tl.load(bias + z * bias_step + columns, valid, 0.0)[None, :]
        if ADDS:
            before = valid_rows[:, None] & (columns < split)[None, :]
            acc += tl.load(aid + line * aid_pitch + columns[None, :], before, 0.0)
        tl.store(to, acc, both)
    if KIND == READOUT:
        acc += tl.load(bias + z * bias_step + columns, valid, 0.0)[None, :]
        weight = tl.load(last + columns, valid, 0.0)[None, :]
        gate = 1.0 / (1.0 + tl.exp(-acc))
        tl.store(second + line * out_pitch + columns[None, :], acc * gate, both)
        tl.store(to, scale * weight * gate * (1.0 + acc * (1.0 - gate)), both)
        energy = scale * tl.sum(tl.where(both, acc * gate * weight, 0.0), 1)
        tl.store(partial + tl.program_id(1).to(tl.int64) * n_rows + rows, energy, valid_rows)
    if KIND == BY_HIDDEN:
        h = tl.load(aid + line * aid_pitch + columns[None, :], both, 0.0)
        gate = 1.0 / (1.0 + tl.exp(-h))
        tl.store(to, acc * gate * (1.0 + h * (1.0 - gate)), both)
    if KIND == BY_INPUTS:
        tl.store(to, acc, both & (columns < split)[None, :])
        rest = aid + line * aid_pitch + (columns - split)[None, :]
        beyond = both & (columns >= split)[None, :]
        tl.store(rest, acc + tl.load(rest, beyond, 0.0), beyond)
    if KIND == PLAIN:
        if ADDS:
            acc += tl.load(to, both, 0.0)
        tl.store(to, acc, both)


@triton.jit
def _order_of(k):
    """Return the order l of component k."""
    return (k >= 1).to(tl.int32) + (k >= 4).to(tl.int32) + (k >= 9).to(tl.int32)


@triton.jit
def mixing(
    sizes, parts, mix, mixed, C: tl.constexpr, V: tl.constexpr, NL: tl.constexpr, Q: tl.constexpr, P2: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute (N, NH, Q) mixtures of each component of the densities.

    ``mix`` is (NL, C + V, Q). Its columns from P2 on, which make vectors, are used for l = 1 only.
    """
    first_row = tl.program_id(0) * BM
    n = tl.load(sizes)
    if first_row >= n:
        return
    k = tl.program_id(1)
    start = tl.program_id(2) * BN
    order = _order_of(k)
    if (start >= P2) & (order != 1):
        return
    rows = first_row + tl.arange(0, BM)
    valid_rows = rows < n
    columns = start + tl.arange(0, BN)
    valid = columns < Q
    width = tl.where(k < 9, C + V, C)
    at = tl.where(k < 9, k * (C + V), 9 * (C + V) + (k - 9) * C)
    acc = _product(
        parts + at, 9 * (C + V) + (NL * NL - 9) * C, rows, valid_rows, mix + order * (C + V) * Q, columns, valid, width, Q,
        False, BM, BN, BK, PRECISION,
    )  # fmt: skip
    to = mixed + rows.to(tl.int64)[:, None] * (NL * NL * Q) + k * Q + columns[None, :]
    tl.store(to, acc, valid_rows[:, None] & valid[None, :])


@triton.jit
def by_mixing(
    sizes, by_mixed, mix, by_inputs, gains, species, by_parts,
    C: tl.constexpr, V: tl.constexpr, NL: tl.constexpr, Q: tl.constexpr, P2: tl.constexpr, K: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the derivative by the densities times the gains of the atom's element, from that by their mixtures.

    The densities of l = 0 are invariants themselves: ``by_inputs`` (N, K) contains the derivative by them first.
    """
    first_row = tl.program_id(0) * BM
    n = tl.load(sizes)
    if first_row >= n:
        return
    k = tl.program_id(1)
    start = tl.program_id(2) * BN
    width = tl.where(k < 9, C + V, C)
    if start >= width:
        return
    order = _order_of(k)
    rows = first_row + tl.arange(0, BM)
    valid_rows = rows < n
    columns = start + tl.arange(0, BN)
    valid = columns < width
    line = rows.to(tl.int64)[:, None]
    depth = tl.where(order == 1, Q, P2)
    acc = tl.zeros((BM, BN), tl.float32)
    for begin in range(0, depth, BK):
        q = begin + tl.arange(0, BK)
        there = q < depth
        x = tl.load(by_mixed + line * (NL * NL * Q) + k * Q + q[None, :], valid_rows[:, None] & there[None, :], 0.0)
        m = tl.load(mix + (order * (C + V) + columns[None, :]) * Q + q[:, None], there[:, None] & valid[None, :], 0.0)
        acc = tl.dot(x, m, acc, input_precision=PRECISION)
    both = valid_rows[:, None] & valid[None, :]
    if k == 0:
        acc += tl.load(by_inputs + line * K + columns[None, :], both, 0.0)
    z = tl.load(species + rows, valid_rows, 0).to(tl.int64)
    acc *= tl.load(gains + (z[:, None] * NL + order) * (C + V) + columns[None, :], both, 0.0)
    at = tl.where(k < 9, k * (C + V), 9 * (C + V) + (k - 9) * C)
    tl.store(by_parts + line * (9 * (C + V) + (NL * NL - 9) * C) + at + columns[None, :], acc, both)
