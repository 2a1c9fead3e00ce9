// Vectors of the processor, and products of matrices.
#pragma once

namespace POTSTILL_KERNEL {

#ifdef POTSTILL_DOUBLE
using real = double;
using integer = int64_t;
#else
using real = float;
using integer = int32_t;
#endif

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 6, TILE_VECTORS = 4;
#else
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 4, TILE_VECTORS = 3;
#endif
constexpr int LANES = VECTOR_BYTES / sizeof(real);
typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(real)), may_alias));
typedef integer ivec __attribute__((vector_size(VECTOR_BYTES)));

static inline vec load(const real* p) { return *(const vec*)p; }
static inline void store(real* p, vec v) { *(vec*)p = v; }
static inline vec broadcast(real x) { return x - vec{}; }
// sum of N lanes, halves added to halves: a sum from lane to lane would wait for each addition
template <int N>
struct Lanes {
    typedef real type __attribute__((vector_size(N * sizeof(real))));
};
template <int N>
static inline real sum_of_lanes(typename Lanes<N>::type v) {
    if constexpr (N == 2) return v[0] + v[1];
    else {
        typename Lanes<N / 2>::type half[2];
        std::memcpy(half, &v, sizeof v);
        return sum_of_lanes<N / 2>(half[0] + half[1]);
    }
}
static inline real total(vec v) { return sum_of_lanes<LANES>(v); }

// exp(x): 2^k times a polynomial
static inline vec exponential(vec x) {
#ifdef POTSTILL_DOUBLE  // relative error 1e-15, by Taylor's series
    x = x < -700.0 ? broadcast(-700.0) : (x > 700.0 ? broadcast(700.0) : x);
    const vec scaled = x * 1.4426950408889634;
    const ivec k = __builtin_convertvector(scaled + (scaled < 0.0 ? broadcast(-0.5) : broadcast(0.5)), ivec);
    const vec n = __builtin_convertvector(k, vec);
    const vec r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    vec p = broadcast(1.0 / 6227020800.0);
    double factorial = 6227020800.0;
    for (int m = 13; m > 0; --m) factorial /= m, p = p * r + 1.0 / factorial;
    return p * (vec)((k + 1023) << 52);
#else  // relative error 1e-7, after Cephes
    x = x < -87.0f ? broadcast(-87.0f) : (x > 87.0f ? broadcast(87.0f) : x);
    const vec scaled = x * 1.44269504088896341f;
    const ivec k = __builtin_convertvector(scaled + (scaled < 0.0f ? broadcast(-0.5f) : broadcast(0.5f)), ivec);
    const vec n = __builtin_convertvector(k, vec);
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = broadcast(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)((k + 127) << 23);
#endif
}
static inline vec sigmoid(vec x) { return real(1) / (real(1) + exponential(-x)); }

// ---------------------------------------------------------------- matrix product: out[rows, n] (+)= x[rows, k] . w[k, n]
// x is stored as [k, rows] where TURNED
template <bool TURNED, int ROWS, int VECTORS>
static inline void tile(const real* x, int ldx, const real* w, int ldw, real* out, int ldo, int depth, bool add) {
    vec acc[ROWS][VECTORS];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) acc[r][v] = add ? load(out + r * ldo + v * LANES) : vec{};
    for (int k = 0; k < depth; ++k) {
        vec row[VECTORS];
        for (int v = 0; v < VECTORS; ++v) row[v] = load(w + (size_t)k * ldw + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) acc[r][v] += (TURNED ? x[(size_t)k * ldx + r] : x[r * ldx + k]) * row[v];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) store(out + r * ldo + v * LANES, acc[r][v]);
}
template <bool TURNED, int VECTORS>
static void columns(const real* x, int ldx, const real* w, int ldw, real* out, int ldo, int rows, int depth, bool add) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        tile<TURNED, TILE_ROWS, VECTORS>(x + (TURNED ? r : r * ldx), ldx, w, ldw, out + (size_t)r * ldo, ldo, depth, add);
    x += TURNED ? r : r * ldx, out += (size_t)r * ldo;
    switch (rows - r) {
        case 5: tile<TURNED, 5, VECTORS>(x, ldx, w, ldw, out, ldo, depth, add); break;
        case 4: tile<TURNED, 4, VECTORS>(x, ldx, w, ldw, out, ldo, depth, add); break;
        case 3: tile<TURNED, 3, VECTORS>(x, ldx, w, ldw, out, ldo, depth, add); break;
        case 2: tile<TURNED, 2, VECTORS>(x, ldx, w, ldw, out, ldo, depth, add); break;
        case 1: tile<TURNED, 1, VECTORS>(x, ldx, w, ldw, out, ldo, depth, add); break;
        default: break;
    }
}
template <bool TURNED = false>
static void product(const real* x, int ldx, const real* w, int ldw, real* out, int ldo, int rows, int depth, int width, bool add = false) {
    int c = 0;
    for (; c + TILE_VECTORS * LANES <= width; c += TILE_VECTORS * LANES)
        columns<TURNED, TILE_VECTORS>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
    for (; c + 2 * LANES <= width; c += 2 * LANES) columns<TURNED, 2>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
    for (; c < width; c += LANES) columns<TURNED, 1>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
}
// out[inputs, outputs] += x[rows, inputs]^T . g[rows, outputs]: the gradient of the matrix that x was multiplied with
static void outer(const real* x, int ldx, const real* g, int ldg, real* out, int rows, int inputs, int outputs) {
    product<true>(x, ldx, g, ldg, out, outputs, inputs, rows, outputs, true);
}
static void add_rows(const real* x, int rows, int width, real* out) {  // out[width] += sum of the rows of x[rows, width]
    for (int k = 0; k < width; k += LANES) {
        vec sum = load(out + k);
        for (int r = 0; r < rows; ++r) sum += load(x + r * width + k);
        store(out + k, sum);
    }
}


}  // namespace POTSTILL_KERNEL
