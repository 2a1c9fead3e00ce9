// Local energies of a student and their gradient, fused: what model.py says in PyTorch, one block of atoms at a time.
//
// In:  species of each atom, its received edges (sorted by receiver; each edge has its reverse), edge vectors.
// Out: local energy of each atom (eV), derivative of their sum by each edge vector (eV/A); or, for training, the derivative of
//      a weighted sum of local energies by all weights.
//
// Atoms of one element are taken together, so that one merged weight matrix serves a whole block; a block passes through a
// layer without leaving the cache, and an edge exists only as B radial and (l_max + 1)^2 angular numbers. Two barriers for
// two layers. Nothing but a C++17 compiler is needed; OpenMP is used where it is there. The caller pads all widths with zeros
// to multiples of the vector length. Letters as in model.py: D features, C channels, V vectors, P products, B radial functions,
// H hidden, K invariants, NL = l_max + 1.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4;
#else
constexpr int LANES = 8, TILE_ROWS = 4, TILE_VECTORS = 3;
#endif
typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));

static inline vec load(const float* p) { return *(const vec*)p; }
static inline void store(float* p, vec v) { *(vec*)p = v; }
static inline vec broadcast(float x) { return x - vec{}; }
static inline float total(vec v) {
    float s = 0;
    for (int k = 0; k < LANES; ++k) s += v[k];
    return s;
}

// exp(x), relative error 1e-7, after Cephes: 2^k times a polynomial
static inline vec exponential(vec x) {
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
}
static inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

// ---------------------------------------------------------------- matrix product: out[rows, n] (+)= x[rows, k] . w[k, n]
// x is stored as [k, rows] where TURNED
template <bool TURNED, int ROWS, int VECTORS>
static inline void tile(const float* x, int ldx, const float* w, int ldw, float* out, int ldo, int depth, bool add) {
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
static void columns(const float* x, int ldx, const float* w, int ldw, float* out, int ldo, int rows, int depth, bool add) {
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
static void product(const float* x, int ldx, const float* w, int ldw, float* out, int ldo, int rows, int depth, int width, bool add = false) {
    int c = 0;
    for (; c + TILE_VECTORS * LANES <= width; c += TILE_VECTORS * LANES)
        columns<TURNED, TILE_VECTORS>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
    for (; c + 2 * LANES <= width; c += 2 * LANES) columns<TURNED, 2>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
    for (; c < width; c += LANES) columns<TURNED, 1>(x, ldx, w + c, ldw, out + c, ldo, rows, depth, add);
}
// out[inputs, outputs] += x[rows, inputs]^T . g[rows, outputs]: the gradient of the matrix that x was multiplied with
static void outer(const float* x, int ldx, const float* g, int ldg, float* out, int rows, int inputs, int outputs) {
    product<true>(x, ldx, g, ldg, out, outputs, inputs, rows, outputs, true);
}
static void add_rows(const float* x, int rows, int width, float* out) {  // out[width] += sum of the rows of x[rows, width]
    for (int k = 0; k < width; k += LANES) {
        vec sum = load(out + k);
        for (int r = 0; r < rows; ++r) sum += load(x + r * width + k);
        store(out + k, sum);
    }
}

// ---------------------------------------------------------------- what the caller hands over
struct ElementWeights {  // of one element in one layer; null where the element is not in the batch
    const float *table, *vector_table;             // [NL, B, C], [3, B, V]
    const float *hidden, *hidden_t, *hidden_bias;  // [K + D, H], [H, K + D], [H]
    const float *out, *out_t, *out_bias;           // [H, D], [D, H], [D]
};
struct LayerWeights {
    const float *send, *send_t;    // [D, C], [C, D]
    const float *mix[4], *mix_t[4];  // per l: [C (+ V), 2 P], [2 P, C (+ V)]
    const float *gain;               // [K]
    const float *vector_mix, *vector_mix_t;  // [C (+ V), V], [V, C (+ V)]
    const float *gate, *gate_t, *gate_bias;  // [H, V], [V, H], [V]
    const ElementWeights *element;
    int32_t receives, makes;  // whether neighbours send vectors, and whether those of the next layer are made here
    float bound;              // of the sum of squares of the invariants times their gains
};
struct ElementReadout {
    const float *hidden, *hidden_t, *bias;  // [D, H], [H, D], [H]
};
struct Model {
    int32_t n_layers, n_elements, features, channels, vectors, products, radial, hidden, l_max;
    float cutoff, scale, last_bias, n_vectors;  // n_vectors: before padding
    const float *embedding;  // [elements, D]
    const LayerWeights *layer;
    const ElementReadout *readout;
    const float *last;           // [H]
    const float *charge, *radius;  // per element, of the repulsion
};
struct Atoms {
    int64_t n_atoms, n_edges;
    const int64_t *species, *first_edge, *sender;  // [N], [N + 1], [E]
    const float *vectors;                          // [E, 3]
    float *local, *gradient;                       // [N], [E, 3]
    float *last;                                   // [N, H] what the last weights are multiplied with, or null
};
// Where training puts derivatives: pointers as in a model, to what is to be added to, and that of each thread ``stride`` floats on.
struct Learned {
    const Model* model;
    const float* weight;  // [N] of each local energy in the sum
    int64_t stride;
};

namespace {

#ifdef _OPENMP
inline int thread_number() { return omp_get_thread_num(); }
#else
inline int thread_number() { return 0; }
#endif

constexpr int MAX_BLOCK = 5 * TILE_ROWS;
constexpr float THIRD = 0.5773502691896258f;  // 1 / sqrt(3)

// ---------------------------------------------------------------- geometry of one edge
template <int NL>
inline void harmonics(const float* u, float* y) {
    const float a = u[0], b = u[1], c = u[2];
    const float s3 = 1.7320508075688772f, s15 = 3.872983346207417f, s5 = 2.23606797749979f;
    y[0] = 1.0f;
    y[1] = s3 * a, y[2] = s3 * b, y[3] = s3 * c;
    y[4] = s15 * a * b, y[5] = s15 * b * c, y[6] = 0.5f * s5 * (3 * c * c - 1), y[7] = s15 * a * c, y[8] = 0.5f * s15 * (a * a - b * b);
    if constexpr (NL > 3) {
        const float p = 2.091650066335189f, q = 10.246950765959598f, r = 1.620185174601965f, s = 1.3228756555322954f, t = 5.123475382979799f;
        y[9] = p * b * (3 * a * a - b * b), y[10] = q * a * b * c, y[11] = r * b * (5 * c * c - 1), y[12] = s * c * (5 * c * c - 3);
        y[13] = r * a * (5 * c * c - 1), y[14] = t * c * (a * a - b * b), y[15] = p * a * (a * a - 3 * b * b);
    }
}
// sum over lm of v[lm] times the gradient of the polynomial Y_lm
template <int NL>
inline void harmonics_gradient(const float* u, const float* v, float* g) {
    const float a = u[0], b = u[1], c = u[2];
    const float s3 = 1.7320508075688772f, s15 = 3.872983346207417f, s5 = 2.23606797749979f;
    g[0] = s3 * v[1] + s15 * (v[4] * b + v[7] * c + v[8] * a);
    g[1] = s3 * v[2] + s15 * (v[4] * a + v[5] * c - v[8] * b);
    g[2] = s3 * v[3] + s15 * (v[5] * b + v[7] * a) + 3 * s5 * v[6] * c;
    if constexpr (NL > 3) {
        const float p = 2.091650066335189f, q = 10.246950765959598f, r = 1.620185174601965f, s = 1.3228756555322954f, t = 5.123475382979799f;
        g[0] += v[9] * p * 6 * a * b + v[10] * q * b * c + v[13] * r * (5 * c * c - 1) + v[14] * t * 2 * a * c + v[15] * p * 3 * (a * a - b * b);
        g[1] += v[9] * p * 3 * (a * a - b * b) + v[10] * q * a * c + v[11] * r * (5 * c * c - 1) - v[14] * t * 2 * b * c - v[15] * p * 6 * a * b;
        g[2] += v[10] * q * a * b + v[11] * r * 10 * b * c + v[12] * s * (15 * c * c - 3) + v[13] * r * 10 * a * c + v[14] * t * (a * a - b * b);
    }
}
// 1 at 0, vanishing with two derivatives at 1; and its derivative
template <typename T>
inline T envelope(T x, T& slope) {
    if (x >= T(1)) return slope = 0, T(0);
    const T x4 = x * x * x * x;
    slope = x4 * (T(-105) + x * (T(210) - T(105) * x));
    return T(1) + x4 * x * (T(-21) + x * (T(35) - T(15) * x));
}
// Ziegler, Biersack and Littmark (zbl.py); energy of the pair and its derivative
inline double repulsion(double zi, double zj, double reach, double d, double& slope) {
    static const double amplitude[] = {0.18175, 0.50986, 0.28022, 0.02817}, decay[] = {3.1998, 0.94229, 0.4029, 0.20162};
    const double length = 0.8854 * 0.529177210903 / (std::pow(zi, 0.23) + std::pow(zj, 0.23));
    double screening = 0, derivative = 0, env_slope;
    for (int k = 0; k < 4; ++k) {
        const double term = amplitude[k] * std::exp(-decay[k] * d / length);
        screening += term, derivative -= decay[k] / length * term;
    }
    const double env = envelope(d / reach, env_slope), factor = 14.399645478425668 * zi * zj / d;
    slope = factor * (env * (derivative - screening / d) + screening * env_slope / reach);
    return factor * screening * env;
}

struct Block {
    int64_t first, count, species;
};

template <typename T>
T* grown(std::vector<T>& memory, size_t size) {
    if (memory.size() < size) memory.resize(size + size / 8);
    return memory.data();
}

// memory of the calling thread, kept from call to call: fresh pages would cost as much as the arithmetic
struct Memory {
    std::vector<int64_t> order, place, start, next;
    std::vector<int32_t> neighbor;
    std::vector<float> edges, edge_gradient, first_sent, sent, sent_vectors, state, state_gradient, vector_gradient, density_gradient;
    std::vector<float> mixed, raw, norm, pre, raw_vectors, vector_norm, gates;
    std::vector<float> densities, before;  // for training
    std::vector<Block> blocks;

    size_t bytes() const {
        const std::vector<float>* floats[] = {&edges, &edge_gradient, &first_sent, &sent, &sent_vectors, &state, &state_gradient,
                                              &vector_gradient, &density_gradient, &mixed, &raw, &norm, &pre, &raw_vectors,
                                              &vector_norm, &gates, &densities, &before};
        size_t sum = 8 * (order.size() + place.size() + start.size() + next.size()) + 4 * neighbor.size();
        for (const auto* each : floats) sum += 4 * each->size();
        return sum + sizeof(Block) * blocks.size();
    }
};
thread_local Memory memory;
// memory of a worker: one block of atoms
struct Scratch {
    std::vector<float> parts, gradients, mixed, x, raw, norm, pre, act, grad, sent, vectors, gate_gradient;
    std::vector<float> densities, inputs, silu;  // for training
    size_t offset = 0;                           // of the thread's own derivatives
};

template <int NL, bool TRAINING>
struct Run {
    static constexpr int NH = NL * NL;
    const Model& m;
    const Atoms& in;
    Memory& mem;
    const Learned* learned;
    const int D, C, V, P, B, H, row;  // row: floats per edge
    const size_t wide, N, E;          // wide: floats of an atom's density gradient
    int64_t *order = nullptr, *place = nullptr;  // sorted by species -> given, and back
    int32_t* neighbor = nullptr;
    float *edges = nullptr, *edge_gradient = nullptr, *density_gradient = nullptr;

    Run(const Model& model, const Atoms& atoms, Memory& memory, const Learned* derivatives)
        : m(model), in(atoms), mem(memory), learned(derivatives), D(m.features), C(m.channels), V(m.vectors), P(m.products), B(m.radial), H(m.hidden),
          row(2 * B + NH + 5), wide((size_t)NH * C + 9 * V), N(atoms.n_atoms), E(atoms.n_edges) {}

    int width(int t, int l) const { return C + (m.layer[t].receives && l < 3 ? V : 0); }  // channels of a density
    int first(int t, int l) const {  // channels of all components below l
        int sum = 0;
        for (int k = 0; k < l; ++k) sum += (2 * k + 1) * width(t, k);
        return sum;
    }
    int invariants(int t) const { return width(t, 0) + (NL + 1) * P; }

    void prepare(int threads) {
        const int M = m.n_layers;
        order = grown(mem.order, N), place = grown(mem.place, N), neighbor = grown(mem.neighbor, E);
        mem.start.assign(m.n_elements + 1, 0);
        for (size_t i = 0; i < N; ++i) ++mem.start[in.species[i] + 1];
        for (int z = 0; z < m.n_elements; ++z) mem.start[z + 1] += mem.start[z];
        mem.next.assign(mem.start.begin(), mem.start.end() - 1);
        for (size_t i = 0; i < N; ++i) order[place[i] = mem.next[in.species[i]]++] = i;
        mem.blocks.clear();
        int64_t wanted = (N + 4 * threads - 1) / (4 * threads);  // four blocks a thread, if that leaves them a tile
        wanted = std::min<int64_t>(std::max<int64_t>((wanted + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, TILE_ROWS), MAX_BLOCK);
        for (int z = 0; z < m.n_elements; ++z)
            for (int64_t a = mem.start[z]; a < mem.start[z + 1]; a += wanted)
                mem.blocks.push_back({a, std::min(wanted, mem.start[z + 1] - a), z});
        edges = grown(mem.edges, E * row), edge_gradient = grown(mem.edge_gradient, E * (NH + B));
        density_gradient = grown(mem.density_gradient, M * N * wide);
        grown(mem.state, N * D), grown(mem.state_gradient, N * D), grown(mem.vector_gradient, N * 3 * V);
        const size_t inner = (M - 1) * N;  // layers whose values are needed after a barrier
        grown(mem.sent, inner * C), grown(mem.sent_vectors, inner * 3 * V), grown(mem.mixed, inner * NH * 2 * P);
        grown(mem.raw, inner * (C + V + (NL + 1) * P)), grown(mem.norm, inner), grown(mem.pre, inner * H);
        grown(mem.raw_vectors, inner * 3 * V), grown(mem.vector_norm, inner), grown(mem.gates, inner * V);
        if (TRAINING) grown(mem.densities, inner * NH * (C + V)), grown(mem.before, M * N * D);
    }

    const LayerWeights& by(int t) const { return learned->model->layer[t]; }  // derivatives of a layer
    static float* mine(const float* derivative, const Scratch& s) { return const_cast<float*>(derivative) + s.offset; }

    // radial functions, harmonics and repulsion of the edges that the block's atoms receive
    void geometry(const Block& block) {
        const float pi = 3.14159265358979f, root2 = 1.4142135623730951f;
        for (int64_t a = block.first; a < block.first + block.count; ++a) {
            const int64_t i = order[a];
            double local = 0;
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                float* g = edges + e * row;
                const float* r = in.vectors + 3 * e;
                const int64_t j = in.sender[e];
                neighbor[e] = (int32_t)place[j];
                const float d = std::sqrt(std::max(r[0] * r[0] + r[1] * r[1] + r[2] * r[2], 1e-12f)), x = d / m.cutoff;
                float *u = g + 2 * B + NH, slope;
                for (int k = 0; k < 3; ++k) u[k] = r[k] / d;
                u[3] = d;
                const float env = envelope(x, slope), inverse = 1.0f / (x + 1e-6f);
                const float s1 = std::sin(pi * x), c1 = std::cos(pi * x);
                float s = s1, c = c1;
                for (int n = 0; n < B; ++n) {
                    const float wave = root2 * s * inverse;
                    g[n] = wave * env;
                    g[B + n] = ((root2 * (n + 1) * pi * c - wave) * inverse * env + wave * slope) / m.cutoff;
                    const float next = s * c1 + c * s1;
                    c = c * c1 - s * s1, s = next;
                }
                harmonics<NL>(u, g + 2 * B);
                const double reach = std::min<double>(m.radius[block.species] + m.radius[in.species[j]], m.cutoff);
                double push = 0;
                if (d < reach) local += 0.5 * repulsion(m.charge[block.species], m.charge[in.species[j]], reach, d, push);
                u[4] = (float)(0.5 * push);
            }
            in.local[i] = (float)local;
        }
    }

    const float* sent_row(int t, int64_t e) const {  // before the first layer, atoms of one element are alike
        return t ? &mem.sent[((t - 1) * N + neighbor[e]) * C] : &mem.first_sent[in.species[in.sender[e]] * C];
    }
    const float* vector_row(int t, int64_t e) const { return &mem.sent_vectors[((t - 1) * N + neighbor[e]) * 3 * V]; }

    // densities of an atom: l = 0 [1, width], l = 1 [3, width], ... at out + (components below l) * n, rows n apart
    void density(int t, int64_t a, const float* table, float* parts, int at, int n) const {
        const int64_t i = order[a];
        for (int c = 0; c < C; c += LANES) {
            vec acc[NH] = {};
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                const float *g = edges + e * row, *y = g + 2 * B;
                const vec s = load(sent_row(t, e) + c);
                vec radial[NL] = {};
                for (int b = 0; b < B; ++b)
                    for (int l = 0; l < NL; ++l) radial[l] += g[b] * load(table + (l * B + b) * C + c);
                for (int l = 0; l < NL; ++l) {
                    radial[l] *= s;
                    for (int k = l * l; k < (l + 1) * (l + 1); ++k) acc[k] += y[k] * radial[l];
                }
            }
            for (int l = 0; l < NL; ++l)
                for (int k = 0; k < 2 * l + 1; ++k)
                    store(parts + (size_t)first(t, l) * n + (k * n + at) * width(t, l) + c, acc[l * l + k]);
        }
    }
    void vector_density(int t, int64_t a, const float* table, float* parts, int at, int n) const {
        const int64_t i = order[a];
        for (int c = 0; c < V; c += LANES) {
            vec one[3] = {}, zero{}, two[5] = {};
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                const float *g = edges + e * row, *y = g + 2 * B + 1, *v = vector_row(t, e) + c;
                vec r[3] = {};
                for (int b = 0; b < B; ++b)
                    for (int f = 0; f < 3; ++f) r[f] += g[b] * load(table + (f * B + b) * V + c);
                const vec vx = load(v), vy = load(v + V), vz = load(v + 2 * V);
                const vec xx = y[0] * vx, yy = y[1] * vy, zz = y[2] * vz;
                one[0] += r[0] * vx, one[1] += r[0] * vy, one[2] += r[0] * vz;
                zero += r[1] * (xx + yy + zz);
                two[0] += r[2] * (y[0] * vy + y[1] * vx), two[1] += r[2] * (y[1] * vz + y[2] * vy);
                two[2] += r[2] * (THIRD * (2.0f * zz - xx - yy)), two[3] += r[2] * (y[0] * vz + y[2] * vx);
                two[4] += r[2] * (xx - yy);
            }
            const int wide_row = C + V;
            float* out = parts + C + c + (size_t)at * wide_row;
            store(out, zero);
            for (int k = 0; k < 3; ++k) store(out + (size_t)(1 + k) * n * wide_row, one[k]);
            for (int k = 0; k < 5; ++k) store(out + (size_t)(4 + k) * n * wide_row, two[k]);
        }
    }

    // derivatives of the energy by the radial functions and harmonics of the edges that an atom receives
    void edge_backward(int t, int64_t a, const ElementWeights& own) const {
        const int64_t i = order[a];
        const float *da = density_gradient + (t * N + a) * wide, *dv = da + NH * C, *table = own.table;
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            const float *g = edges + e * row, *y = g + 2 * B, *s_row = sent_row(t, e);
            vec by_harmonic[NH] = {}, by_radial[16] = {};
            for (int c = 0; c < C; c += LANES) {
                const vec s = load(s_row + c);
                vec radial[NL] = {}, w[NL] = {};
                for (int b = 0; b < B; ++b)
                    for (int l = 0; l < NL; ++l) radial[l] += g[b] * load(table + (l * B + b) * C + c);
                for (int l = 0; l < NL; ++l) {
                    radial[l] *= s;
                    for (int k = l * l; k < (l + 1) * (l + 1); ++k) {
                        const vec d = load(da + k * C + c);
                        by_harmonic[k] += d * radial[l];
                        w[l] += y[k] * d;
                    }
                    w[l] *= s;
                }
                for (int b = 0; b < B; ++b)
                    for (int l = 0; l < NL; ++l) by_radial[b] += w[l] * load(table + (l * B + b) * C + c);
            }
            if (m.layer[t].receives) {
                const float* v_row = vector_row(t, e);
                for (int c = 0; c < V; c += LANES) {
                    const vec vx = load(v_row + c), vy = load(v_row + V + c), vz = load(v_row + 2 * V + c);
                    vec r[3] = {}, w[3];
                    for (int b = 0; b < B; ++b)
                        for (int f = 0; f < 3; ++f) r[f] += g[b] * load(own.vector_table + (f * B + b) * V + c);
                    vec turned[3];  // the l = 2 gradient, as a matrix, times the vector
                    matrix_times(dv + c, vx, vy, vz, turned);
                    const vec d0 = load(dv + c), r0 = r[1] * d0;
                    by_harmonic[1] += r0 * vx + r[2] * turned[0];
                    by_harmonic[2] += r0 * vy + r[2] * turned[1];
                    by_harmonic[3] += r0 * vz + r[2] * turned[2];
                    w[0] = load(dv + V + c) * vx + load(dv + 2 * V + c) * vy + load(dv + 3 * V + c) * vz;
                    w[1] = d0 * (y[1] * vx + y[2] * vy + y[3] * vz);
                    w[2] = y[1] * turned[0] + y[2] * turned[1] + y[3] * turned[2];
                    for (int b = 0; b < B; ++b)
                        for (int f = 0; f < 3; ++f) by_radial[b] += w[f] * load(own.vector_table + (f * B + b) * V + c);
                }
            }
            float* out = edge_gradient + e * (NH + B);
            if (t + 1 == m.n_layers) std::memset(out, 0, (NH + B) * sizeof(float));  // the last layer comes first
            for (int k = 0; k < NH; ++k) out[k] += total(by_harmonic[k]);
            for (int b = 0; b < B; ++b) out[NH + b] += total(by_radial[b]);
        }
    }
    // derivatives by the radial weights of an atom's element
    void table_gradient(int t, int64_t a, float* table, float* vector_table) const {
        const int64_t i = order[a];
        const float *da = density_gradient + (t * N + a) * wide, *dv = da + NH * C;
        for (int l = 0; l < NL; ++l)
            for (int c = 0; c < C; c += LANES) {
                vec acc[16] = {}, d[2 * NL - 1];
                for (int k = 0; k < 2 * l + 1; ++k) d[k] = load(da + (l * l + k) * C + c);
                for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                    const float *g = edges + e * row, *y = g + 2 * B + l * l;
                    vec w{};
                    for (int k = 0; k < 2 * l + 1; ++k) w += y[k] * d[k];
                    w *= load(sent_row(t, e) + c);
                    for (int b = 0; b < B; ++b) acc[b] += g[b] * w;
                }
                for (int b = 0; b < B; ++b) {
                    float* sum = table + (l * B + b) * C + c;
                    store(sum, load(sum) + acc[b]);
                }
            }
        if (!vector_table) return;
        for (int c = 0; c < V; c += LANES) {
            vec acc[3][16] = {};
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                const float *g = edges + e * row, *y = g + 2 * B + 1, *v = vector_row(t, e) + c;
                const vec vx = load(v), vy = load(v + V), vz = load(v + 2 * V);
                vec turned[3];
                matrix_times(dv + c, vx, vy, vz, turned);
                const vec w[3] = {load(dv + V + c) * vx + load(dv + 2 * V + c) * vy + load(dv + 3 * V + c) * vz,
                                  load(dv + c) * (y[0] * vx + y[1] * vy + y[2] * vz),
                                  y[0] * turned[0] + y[1] * turned[1] + y[2] * turned[2]};
                for (int b = 0; b < B; ++b)
                    for (int f = 0; f < 3; ++f) acc[f][b] += g[b] * w[f];
            }
            for (int f = 0; f < 3; ++f)
                for (int b = 0; b < B; ++b) {
                    float* sum = vector_table + (f * B + b) * V + c;
                    store(sum, load(sum) + acc[f][b]);
                }
        }
    }
    // dv holds the gradient by the densities l = 0 [V], l = 1 [3, V], l = 2 [5, V]
    void matrix_times(const float* dv, vec vx, vec vy, vec vz, vec* out) const {
        const vec xy = load(dv + 4 * V), yz = load(dv + 5 * V), z2 = THIRD * load(dv + 6 * V), xz = load(dv + 7 * V), x2y2 = load(dv + 8 * V);
        out[0] = (x2y2 - z2) * vx + xy * vy + xz * vz;
        out[1] = xy * vx - (x2y2 + z2) * vy + yz * vz;
        out[2] = xz * vx + yz * vy + 2.0f * z2 * vz;
    }

    // derivative by what the block's atoms sent in layer t, through the reverses of the edges they receive
    void sent_backward(int t, const Block& block, float* out, float* out_vectors) const {
        for (int64_t a = block.first; a < block.first + block.count; ++a, out += C) {
            const int64_t j = order[a];
            for (int c = 0; c < C; c += LANES) {
                vec acc{};
                for (int64_t e = in.first_edge[j]; e < in.first_edge[j + 1]; ++e) {
                    const float *g = edges + e * row, *y = g + 2 * B;
                    const float* table = m.layer[t].element[in.species[in.sender[e]]].table + c;
                    const float* da = density_gradient + (t * N + neighbor[e]) * wide + c;
                    for (int l = 0; l < NL; ++l) {
                        vec radial{}, w{};
                        for (int b = 0; b < B; ++b) radial += g[b] * load(table + (l * B + b) * C);
                        for (int k = l * l; k < (l + 1) * (l + 1); ++k) w += y[k] * load(da + k * C);
                        acc += (l % 2 ? -1.0f : 1.0f) * radial * w;  // Y_lm(-r) = (-1)^l Y_lm(r)
                    }
                }
                store(out + c, acc);
            }
            if (!m.layer[t].receives) continue;
            for (int c = 0; c < V; c += LANES) {
                vec acc[3] = {};
                for (int64_t e = in.first_edge[j]; e < in.first_edge[j + 1]; ++e) {
                    const float *g = edges + e * row, *y = g + 2 * B + 1;
                    const float* table = m.layer[t].element[in.species[in.sender[e]]].vector_table + c;
                    const float* dv = density_gradient + (t * N + neighbor[e]) * wide + NH * C + c;
                    vec r[3] = {}, turned[3];
                    for (int b = 0; b < B; ++b)
                        for (int f = 0; f < 3; ++f) r[f] += g[b] * load(table + (f * B + b) * V);
                    matrix_times(dv, broadcast(y[0]), broadcast(y[1]), broadcast(y[2]), turned);
                    const vec d0 = r[1] * load(dv);
                    for (int k = 0; k < 3; ++k) acc[k] += r[0] * load(dv + (1 + k) * V) - y[k] * d0 - r[2] * turned[k];
                }
                for (int k = 0; k < 3; ++k) store(out_vectors + ((a - block.first) * 3 + k) * V + c, acc[k]);
            }
        }
    }

    void edge_finish(const Block& block) const {
        for (int64_t a = block.first; a < block.first + block.count; ++a) {
            const int64_t i = order[a];
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                const float *g = edges + e * row, *u = g + 2 * B + NH, *v = edge_gradient + e * (NH + B);
                float along = u[4], turn[3];
                for (int b = 0; b < B; ++b) along += v[NH + b] * g[B + b];
                harmonics_gradient<NL>(u, v, turn);
                const float radial = turn[0] * u[0] + turn[1] * u[1] + turn[2] * u[2];
                for (int k = 0; k < 3; ++k) in.gradient[3 * e + k] = along * u[k] + (turn[k] - radial * u[k]) / u[3];
            }
        }
    }

    // where layer t keeps what its derivative needs: in memory for inner layers, in the scratch for the last
    float* kept(std::vector<float>& memory, std::vector<float>& scratch, int t, int64_t at, size_t size) const {
        return t + 1 < m.n_layers ? &memory[(t * N + at) * size] : scratch.data();
    }

    float* densities(int t, const Block& block, Scratch& s) const {
        return kept(mem.densities, s.densities, t, block.first, NH * (C + V));
    }

    void forward(int t, const Block& block, Scratch& s) {
        const int n = (int)block.count, K = invariants(t), C0 = width(t, 0), Kmax = C + V + (NL + 1) * P;
        const LayerWeights& w = m.layer[t];
        const ElementWeights& own = w.element[block.species];
        float *parts = TRAINING ? densities(t, block, s) : s.parts.data(), *lr = kept(mem.mixed, s.mixed, t, block.first, NH * 2 * P);
        float *raw = kept(mem.raw, s.raw, t, block.first, Kmax), *norm = kept(mem.norm, s.norm, t, block.first, 1);
        float *h = kept(mem.pre, s.pre, t, block.first, H), *state = &mem.state[block.first * D];
        for (int a = 0; a < n; ++a) {
            density(t, block.first + a, own.table, parts, a, n);
            if (w.receives) vector_density(t, block.first + a, own.vector_table, parts, a, n);
        }
        for (int l = 0; l < NL; ++l)
            product(parts + (size_t)first(t, l) * n, width(t, l), w.mix[l], 2 * P, lr + (size_t)l * l * n * 2 * P, 2 * P, (2 * l + 1) * n,
                    width(t, l), 2 * P);
        for (int a = 0; a < n; ++a) {
            float *x = s.x.data() + a * (K + D), *v = raw + a * K;
            std::memcpy(v, parts + a * C0, C0 * sizeof(float));
            auto at = [&](int k, int p) { return load(lr + ((size_t)k * n + a) * 2 * P + p); };
            for (int p = 0; p < P; p += LANES) {
                for (int l = 0; l < NL; ++l) {
                    vec sum{};
                    for (int k = l * l; k < (l + 1) * (l + 1); ++k) sum += at(k, p) * at(k, P + p);
                    store(v + C0 + l * P + p, sum);
                }
                const vec ux = at(1, p), uy = at(2, p), uz = at(3, p), vx = at(1, P + p), vy = at(2, P + p), vz = at(3, P + p);
                const vec xy = at(4, P + p), yz = at(5, P + p), z2 = at(6, P + p), xz = at(7, P + p), x2y2 = at(8, P + p);
                store(v + C0 + NL * P + p, x2y2 * (ux * vx - uy * vy) + THIRD * z2 * (2.0f * uz * vz - ux * vx - uy * vy) +
                                               xy * (ux * vy + uy * vx) + yz * (uy * vz + uz * vy) + xz * (ux * vz + uz * vx));
            }
            vec square{};
            for (int k = 0; k < K; k += LANES) {
                const vec scaled = load(w.gain + k) * load(v + k);
                square += scaled * scaled;
                store(x + k, scaled);
            }
            norm[a] = 1.0f / std::sqrt(1.0f + total(square) / w.bound);
            for (int k = 0; k < K; k += LANES) store(x + k, norm[a] * load(x + k));
            const float* features = t ? state + a * D : m.embedding + block.species * D;
            std::memcpy(x + K, features, D * sizeof(float));
            if (TRAINING) std::memcpy(&mem.before[(t * N + block.first + a) * D], features, D * sizeof(float));
        }
        for (int a = 0; a < n; ++a) std::memcpy(h + a * H, own.hidden_bias, H * sizeof(float));
        product(s.x.data(), K + D, own.hidden, H, h, H, n, K + D, H, true);
        float* act = s.act.data();
        for (int k = 0; k < n * H; k += LANES) store(act + k, load(h + k) * sigmoid(load(h + k)));
        for (int a = 0; a < n; ++a)
            for (int k = 0; k < D; k += LANES) store(state + a * D + k, load(s.x.data() + a * (K + D) + K + k) + load(own.out_bias + k));
        product(act, H, own.out, D, state, D, n, H, D, true);
        if (w.makes) make_vectors(t, block, parts + (size_t)first(t, 1) * n, act);
        if (t + 1 < m.n_layers) product(state, D, m.layer[t + 1].send, C, &mem.sent[(t * N + block.first) * C], C, n, D, C);
    }

    // gate times softly normalised mixtures of the l = 1 densities, added to the vectors of the layer before
    void make_vectors(int t, const Block& block, const float* ones, const float* act) {
        const int n = (int)block.count, C1 = width(t, 1);
        const LayerWeights& w = m.layer[t];
        float *raw = &mem.raw_vectors[(t * N + block.first) * 3 * V], *gates = &mem.gates[(t * N + block.first) * V];
        float *out = &mem.sent_vectors[(t * N + block.first) * 3 * V], *norm = &mem.vector_norm[t * N + block.first];
        for (int k = 0; k < 3; ++k) product(ones + (size_t)k * n * C1, C1, w.vector_mix, V, raw + k * V, 3 * V, n, C1, V);
        for (int a = 0; a < n; ++a) std::memcpy(gates + a * V, w.gate_bias, V * sizeof(float));
        product(act, H, w.gate, V, gates, V, n, H, V, true);
        for (int a = 0; a < n; ++a) {
            const float *x = raw + a * 3 * V, *before = t ? &mem.sent_vectors[((t - 1) * N + block.first + a) * 3 * V] : nullptr;
            vec square{};
            for (int k = 0; k < 3 * V; k += LANES) square += load(x + k) * load(x + k);
            norm[a] = 1.0f / std::sqrt(1.0f + total(square) / m.n_vectors);
            for (int k = 0; k < 3; ++k)
                for (int c = 0; c < V; c += LANES) {
                    const vec made = norm[a] * load(gates + a * V + c) * load(x + k * V + c);
                    store(out + a * 3 * V + k * V + c, before ? made + load(before + k * V + c) : made);
                }
        }
    }

    // from the gradient by the vectors made in layer t: into that by the l = 1 densities (added) and by the activations (added)
    void made_backward(int t, const Block& block, Scratch& s, const float* made_gradient, float* ones, float* by_act) {
        const int n = (int)block.count, C1 = width(t, 1);
        const LayerWeights& w = m.layer[t];
        const float *raw = &mem.raw_vectors[(t * N + block.first) * 3 * V], *gates = &mem.gates[(t * N + block.first) * V];
        const float* norm = &mem.vector_norm[t * N + block.first];
        float *by_raw = s.vectors.data(), *by_gate = s.gate_gradient.data();
        for (int a = 0; a < n; ++a) {
            const float *x = raw + a * 3 * V, *d = made_gradient + a * 3 * V, *g = gates + a * V;
            vec dot{};
            for (int c = 0; c < V; c += LANES) {
                vec sum{};
                for (int k = 0; k < 3; ++k) {
                    const vec both = load(x + k * V + c) * load(d + k * V + c);
                    sum += both, dot += both * load(g + c);
                }
                store(by_gate + a * V + c, norm[a] * sum);
            }
            const float back = total(dot) * norm[a] * norm[a] * norm[a] / m.n_vectors;
            for (int k = 0; k < 3; ++k)
                for (int c = 0; c < V; c += LANES)
                    store(by_raw + (a * 3 + k) * V + c, norm[a] * load(g + c) * load(d + k * V + c) - back * load(x + k * V + c));
        }
        for (int k = 0; k < 3; ++k) product(by_raw + k * V, 3 * V, w.vector_mix_t, C1, ones + (size_t)k * n * C1, C1, n, V, C1, true);
        product(by_gate, V, w.gate_t, H, by_act, H, n, V, H, true);
        if (TRAINING) {
            const float* from = densities(t, block, s) + (size_t)first(t, 1) * n;
            for (int k = 0; k < 3; ++k) outer(from + (size_t)k * n * C1, C1, by_raw + k * V, 3 * V, mine(by(t).vector_mix, s), n, C1, V);
            outer(s.silu.data(), H, by_gate, V, mine(by(t).gate, s), n, H, V);
            add_rows(by_gate, n, V, mine(by(t).gate_bias, s));
        }
    }

    // energy of the block's atoms, and its derivative by their last features into grad [n, D]
    void readout(const Block& block, Scratch& s, float* grad) {
        const int n = (int)block.count;
        const ElementReadout& own = m.readout[block.species];
        float* h = s.act.data();
        for (int a = 0; a < n; ++a) std::memcpy(h + a * H, own.bias, H * sizeof(float));
        product(&mem.state[block.first * D], D, own.hidden, H, h, H, n, D, H, true);
        for (int a = 0; a < n; ++a) {
            const float weight = TRAINING ? m.scale * learned->weight[order[block.first + a]] : m.scale;
            vec sum{};
            for (int k = 0; k < H; k += LANES) {
                const vec x = load(h + a * H + k), g = sigmoid(x), w = load(m.last + k);
                sum += w * x * g;
                if (in.last) store(in.last + (size_t)order[block.first + a] * H + k, x * g);
                store(h + a * H + k, weight * w * g * (1.0f + x * (1.0f - g)));
                if (TRAINING) store(s.silu.data() + a * H + k, weight * x * g);
            }
            in.local[order[block.first + a]] += m.scale * (total(sum) + m.last_bias);
        }
        product(h, H, own.hidden_t, D, grad, D, n, H, D);
        if (TRAINING) {
            const ElementReadout& to = learned->model->readout[block.species];
            add_rows(s.silu.data(), n, H, mine(learned->model->last, s));
            outer(&mem.state[block.first * D], D, h, H, mine(to.hidden, s), n, D, H);
            add_rows(h, n, H, mine(to.bias, s));
        }
    }

    // from grad [n, D], the derivative by the features after layer t, and made [n, 3, V], that by the vectors made in it,
    // to those by its densities, by the edges, and by the features and vectors before it
    void backward(int t, const Block& block, Scratch& s, float* grad, const float* made) {
        const int n = (int)block.count, K = invariants(t), C0 = width(t, 0), Kmax = C + V + (NL + 1) * P;
        const LayerWeights& w = m.layer[t];
        const ElementWeights& own = w.element[block.species];
        const float *lr = kept(mem.mixed, s.mixed, t, block.first, NH * 2 * P), *h = kept(mem.pre, s.pre, t, block.first, H);
        const float *raw = kept(mem.raw, s.raw, t, block.first, Kmax), *norm = kept(mem.norm, s.norm, t, block.first, 1);
        float *act = s.act.data(), *dlr = s.gradients.data(), *dparts = s.parts.data();
        const ElementWeights* to = TRAINING ? &by(t).element[block.species] : nullptr;
        if (TRAINING) {
            float* silu = s.silu.data();
            for (int k = 0; k < n * H; k += LANES) store(silu + k, load(h + k) * sigmoid(load(h + k)));
            outer(silu, H, grad, D, mine(to->out, s), n, H, D);
            add_rows(grad, n, D, mine(to->out_bias, s));
        }
        product(grad, D, own.out_t, H, act, H, n, D, H);
        if (w.makes) {
            std::memset(dparts, 0, (size_t)n * (first(t, NL - 1) + (2 * NL - 1) * width(t, NL - 1)) * sizeof(float));
            made_backward(t, block, s, made, dparts + (size_t)first(t, 1) * n, act);
        }
        for (int k = 0; k < n * H; k += LANES) {
            const vec x = load(h + k), g = sigmoid(x);
            store(act + k, load(act + k) * g * (1.0f + x * (1.0f - g)));
        }
        if (TRAINING) {
            for (int a = 0; a < n; ++a) {
                float* x = s.inputs.data() + a * (K + D);
                for (int k = 0; k < K; k += LANES) store(x + k, norm[a] * load(w.gain + k) * load(raw + a * K + k));
                std::memcpy(x + K, &mem.before[(t * N + block.first + a) * D], D * sizeof(float));
            }
            outer(s.inputs.data(), K + D, act, H, mine(to->hidden, s), n, K + D, H);
            add_rows(act, n, H, mine(to->hidden_bias, s));
        }
        const bool features = t || TRAINING;  // before the first layer they depend on the element alone
        product(act, H, own.hidden_t, K + D, s.x.data(), K + D, n, H, features ? K + D : K);
        for (int a = 0; a < n; ++a) {
            float* x = s.x.data() + a * (K + D);
            const float* v = raw + a * K;
            vec dot{};
            for (int k = 0; k < K; k += LANES) dot += load(x + k) * load(w.gain + k) * load(v + k);
            const float back = total(dot) * norm[a] * norm[a] * norm[a] / w.bound;
            for (int k = 0; k < K; k += LANES) {
                const vec gain = load(w.gain + k), d = norm[a] * load(x + k) - back * gain * load(v + k);
                if (TRAINING) {
                    float* sum = mine(by(t).gain, s) + k;
                    store(sum, load(sum) + d * load(v + k));
                }
                store(x + k, gain * d);
            }
            if (features)
                for (int k = 0; k < D; k += LANES) store(grad + a * D + k, load(grad + a * D + k) + load(x + K + k));
            auto at = [&](int k, int p) { return load(lr + ((size_t)k * n + a) * 2 * P + p); };
            for (int p = 0; p < P; p += LANES) {
                vec left[NH], right[NH];
                for (int l = 0; l < NL; ++l) {
                    const vec d = load(x + C0 + l * P + p);
                    for (int k = l * l; k < (l + 1) * (l + 1); ++k) left[k] = d * at(k, P + p), right[k] = d * at(k, p);
                }
                const vec d = load(x + C0 + NL * P + p), third = d * THIRD;
                const vec ux = at(1, p), uy = at(2, p), uz = at(3, p), vx = at(1, P + p), vy = at(2, P + p), vz = at(3, P + p);
                const vec xy = d * at(4, P + p), yz = d * at(5, P + p), z2 = third * at(6, P + p), xz = d * at(7, P + p), x2y2 = d * at(8, P + p);
                left[1] += (x2y2 - z2) * vx + xy * vy + xz * vz;
                left[2] += xy * vx - (x2y2 + z2) * vy + yz * vz;
                left[3] += xz * vx + yz * vy + 2.0f * z2 * vz;
                right[1] += (x2y2 - z2) * ux + xy * uy + xz * uz;
                right[2] += xy * ux - (x2y2 + z2) * uy + yz * uz;
                right[3] += xz * ux + yz * uy + 2.0f * z2 * uz;
                right[4] += d * (ux * vy + uy * vx), right[5] += d * (uy * vz + uz * vy);
                right[6] += third * (2.0f * uz * vz - ux * vx - uy * vy);
                right[7] += d * (ux * vz + uz * vx), right[8] += d * (ux * vx - uy * vy);
                for (int k = 0; k < NH; ++k) {
                    float* out = dlr + ((size_t)k * n + a) * 2 * P + p;
                    store(out, left[k]), store(out + P, right[k]);
                }
            }
        }
        if (TRAINING)
            for (int l = 0; l < NL; ++l)
                outer(densities(t, block, s) + (size_t)first(t, l) * n, width(t, l), dlr + (size_t)l * l * n * 2 * P, 2 * P,
                      mine(by(t).mix[l], s), (2 * l + 1) * n, width(t, l), 2 * P);
        for (int l = 0; l < NL; ++l)
            product(dlr + (size_t)l * l * n * 2 * P, 2 * P, w.mix_t[l], width(t, l), dparts + (size_t)first(t, l) * n, width(t, l),
                    (2 * l + 1) * n, 2 * P, width(t, l), w.makes);
        for (int a = 0; a < n; ++a) {
            float *da = density_gradient + (t * N + block.first + a) * wide, *dv = da + NH * C;
            const float* x = s.x.data() + a * (K + D);
            for (int l = 0; l < NL; ++l)
                for (int k = 0; k < 2 * l + 1; ++k) {
                    const float* from = dparts + (size_t)first(t, l) * n + (k * n + a) * width(t, l);
                    std::memcpy(da + (l * l + k) * C, from, C * sizeof(float));
                    if (width(t, l) > C) std::memcpy(dv + (l * l + k) * V, from + C, V * sizeof(float));
                }
            for (int c = 0; c < C; c += LANES) store(da + c, load(da + c) + load(x + c));
            for (int c = C; c < C0; c += LANES) store(dv + c - C, load(dv + c - C) + load(x + c));
            if (TRAINING)
                table_gradient(t, block.first + a, mine(to->table, s), w.receives ? mine(to->vector_table, s) : nullptr);
            else
                edge_backward(t, block.first + a, own);
        }
        if (t) {
            std::memcpy(&mem.state_gradient[block.first * D], grad, n * D * sizeof(float));
            if (made) std::memcpy(&mem.vector_gradient[block.first * 3 * V], made, n * 3 * V * sizeof(float));
        }
    }

    void run(int threads) {
        prepare(threads);
        float* first_sent = grown(mem.first_sent, (size_t)m.n_elements * C);
        product(m.embedding, D, m.layer[0].send, C, first_sent, C, m.n_elements, D, C);
        const int last = m.n_layers - 1;
#pragma omp parallel num_threads(threads)
        {
            static thread_local Scratch s;
            const size_t rows = MAX_BLOCK, K = C + V + (NL + 1) * P;
            grown(s.parts, rows * NH * (C + V)), grown(s.gradients, rows * NH * 2 * P), grown(s.mixed, rows * NH * 2 * P);
            grown(s.x, rows * (K + D)), grown(s.raw, rows * K), grown(s.norm, rows), grown(s.pre, rows * H), grown(s.act, rows * H);
            grown(s.grad, rows * D), grown(s.sent, rows * C), grown(s.vectors, rows * 6 * V), grown(s.gate_gradient, rows * V);
            if (TRAINING) {
                grown(s.densities, rows * NH * (C + V)), grown(s.inputs, rows * (K + D)), grown(s.silu, rows * H);
                s.offset = thread_number() * learned->stride;
            }
            float *grad = s.grad.data(), *made = s.vectors.data() + rows * 3 * V;
            for (int t = 0; t <= last; ++t)
                each_block([&](const Block& block) {
                    if (t == 0) geometry(block);
                    forward(t, block, s);
                    if (t == last) {
                        readout(block, s, grad);
                        backward(t, block, s, grad, nullptr);
                        if (t == 0) finish(block, s, grad);
                    }
                });
            for (int t = last - 1; t >= 0; --t)
                each_block([&](const Block& block) {
                    std::memcpy(grad, &mem.state_gradient[block.first * D], block.count * D * sizeof(float));
                    by_sent(t + 1, block, s, grad, made);
                    if (m.layer[t + 1].makes)  // these vectors were passed on by the layer above
                        for (int64_t k = 0; k < block.count * 3 * V; k += LANES)
                            store(made + k, load(made + k) + load(&mem.vector_gradient[block.first * 3 * V + k]));
                    backward(t, block, s, grad, m.layer[t].makes ? made : nullptr);
                    if (t == 0) finish(block, s, grad);
                });
            if (TRAINING)
                each_block([&](const Block& block) {
                    std::memset(grad, 0, block.count * D * sizeof(float));
                    by_sent(0, block, s, grad, made);
                    add_rows(grad, (int)block.count, D, mine(learned->model->embedding, s) + block.species * D);
                });
        }
    }

    // adds to grad [n, D] the derivative by the features that were sent in layer t, and gives that by the vectors sent
    void by_sent(int t, const Block& block, Scratch& s, float* grad, float* made) {
        const int n = (int)block.count;
        sent_backward(t, block, s.sent.data(), made);
        product(s.sent.data(), C, m.layer[t].send_t, D, grad, D, n, C, D, true);
        if (TRAINING) outer(&mem.before[(t * N + block.first) * D], D, s.sent.data(), C, mine(by(t).send, s), n, D, C);
    }

    // after the first layer's derivative: what remains for the edges, or for the features of the element
    void finish(const Block& block, const Scratch& s, const float* grad) const {
        if (TRAINING)
            add_rows(grad, (int)block.count, D, mine(learned->model->embedding, s) + block.species * D);
        else
            edge_finish(block);
    }

    // blocks in turn, shared by the threads; in training by their number, so that sums are the same in every run
    template <typename Task>
    void each_block(Task task) const {
        const size_t n = mem.blocks.size();
        if (TRAINING) {
#pragma omp for schedule(static, 1)
            for (size_t b = 0; b < n; ++b) task(mem.blocks[b]);
        } else {
#pragma omp for schedule(dynamic, 1)
            for (size_t b = 0; b < n; ++b) task(mem.blocks[b]);
        }
    }
};

template <bool TRAINING>
int run(const Model& model, const Atoms& atoms, const Learned* learned, int threads) {
    const int widths[] = {model.features, model.channels, model.vectors, model.products, model.hidden};
    for (int width : widths)
        if (width % LANES) return 1;
    if (model.radial > 16 || (model.l_max != 2 && model.l_max != 3)) return 1;
    try {
        if (model.l_max == 2)
            Run<3, TRAINING>(model, atoms, memory, learned).run(threads);
        else
            Run<4, TRAINING>(model, atoms, memory, learned).run(threads);
    } catch (const std::bad_alloc&) {
        return 2;
    }
    return 0;
}

}  // namespace

extern "C" int student_lanes(void) { return LANES; }

// bytes that the calling thread keeps for its next call
extern "C" int64_t student_memory(void) { return (int64_t)memory.bytes(); }

// 0 if done, 1 if there is no code for the sizes, 2 if memory ran out
extern "C" int student_energy_gradient(const Model* model, const Atoms* atoms, int threads) {
    return run<false>(*model, *atoms, nullptr, threads);
}

// the same; needs no place for the gradient by the edges
extern "C" int student_weight_gradient(const Model* model, const Atoms* atoms, const Learned* learned, int threads) {
    return run<true>(*model, *atoms, learned, threads);
}
