// The convolution of an equivariant network over the edges of a graph, and its derivative, in single precision:
//
//   out[i, p, u, k] = sum over edges e from j to i, and over a, b:  w[e, p, u] C_p[a, b, k] x[j, p, u, a] y[e, p, b]
//
// A path p takes a block of the features x and a block of the spherical harmonics y to a block of the output, by its coupling
// coefficients C_p. A block is stored as (d, mul): d = 2l + 1 components of mul channels, so that channels fill a vector of
// the processor. Others store (mul, d); convolution_turn goes between the two.
//
// The caller passes some atoms at once, with the weights w of their edges alone, which then stay in the cache. Each edge
// belongs to one atom of a call, so threads never write to the same place, and sums have the same order for any number of
// threads. Needs a C++17 compiler; OpenMP is used where available.
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif
constexpr int LANES = VECTOR_BYTES / sizeof(float), MOST = 7;  // l is 3 at most
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(float)), may_alias));

inline vec load(const float* p) { return *(const vec*)p; }
inline void store(float* p, vec v) { *(vec*)p = v; }
inline float total(vec v) {
    float sum = 0;
    for (int n = 0; n < LANES; ++n) sum += v[n];
    return sum;
}

struct Block {
    int32_t first, mul, d;  // first column, channels, components
};
struct Path {
    int32_t mul, d_x, d_y, d_out;  // channels, and components of the three blocks
    int32_t x, y, out, w;          // first column of each block
    const float* coupling;         // (d_x, d_y, d_out)
};
struct Paths {
    int32_t n_paths, x_width, y_width, out_width, w_width;
    const Path* path;
};
// Edges of atom n are m = first[n] … first[n + 1] - 1: m is their row in w, edge[m] in y, other[m] the atom at the other end.
struct Edges {
    int64_t first_atom, last_atom, first_row;  // atoms of this call, and the m of the first row of w
    const int64_t *first, *edge, *other;
};

// by[a, k] = sum over b of C[a, b, k] y[b]
void contract(const Path& p, const float* y, float* by) {
    for (int a = 0; a < p.d_x; ++a)
        for (int k = 0; k < p.d_out; ++k) {
            float sum = 0;
            for (int b = 0; b < p.d_y; ++b) sum += p.coupling[(a * p.d_y + b) * p.d_out + k] * y[b];
            by[a * p.d_out + k] = sum;
        }
}
// gy[b] += sum over a, k of C[a, b, k] gby[a, k]
void expand(const Path& p, const float* gby, float* gy) {
    for (int b = 0; b < p.d_y; ++b) {
        float sum = 0;
        for (int a = 0; a < p.d_x; ++a)
            for (int k = 0; k < p.d_out; ++k) sum += p.coupling[(a * p.d_y + b) * p.d_out + k] * gby[a * p.d_out + k];
        gy[b] += sum;
    }
}

template <int DX, int DO>
struct Forward {
    static void run(const Path& p, const float* w, const float* x, const float* by, float* out) {
        for (int u = 0; u < p.mul; u += LANES) {
            const vec weight = load(w + u);
            vec wx[DX];
            for (int a = 0; a < DX; ++a) wx[a] = weight * load(x + a * p.mul + u);
            for (int k = 0; k < DO; ++k) {
                vec sum = load(out + k * p.mul + u);
                for (int a = 0; a < DX; ++a) sum += wx[a] * by[a * DO + k];
                store(out + k * p.mul + u, sum);
            }
        }
    }
};
// derivatives by the weights, the features, and the contracted harmonics
template <int DX, int DO>
struct Backward {
    static void run(const Path& p, const float* w, const float* x, const float* by, const float* g, float* gw, float* gx, float* gby) {
        vec sums[DX * DO] = {};
        for (int u = 0; u < p.mul; u += LANES) {
            const vec weight = load(w + u);
            vec given[DO], by_weight = {};
            for (int k = 0; k < DO; ++k) given[k] = load(g + k * p.mul + u);
            for (int a = 0; a < DX; ++a) {
                const vec value = load(x + a * p.mul + u), wx = weight * value;
                vec inner = given[0] * by[a * DO];
                for (int k = 1; k < DO; ++k) inner += given[k] * by[a * DO + k];
                by_weight += value * inner;
                store(gx + a * p.mul + u, load(gx + a * p.mul + u) + weight * inner);
                for (int k = 0; k < DO; ++k) sums[a * DO + k] += wx * given[k];
            }
            store(gw + u, by_weight);
        }
        for (int n = 0; n < DX * DO; ++n) gby[n] = total(sums[n]);
    }
};

template <template <int, int> class Task, int DX, class... Given>
inline void for_output(const Path& p, Given... given) {
    switch (p.d_out) {
        case 1: return Task<DX, 1>::run(p, given...);
        case 3: return Task<DX, 3>::run(p, given...);
        case 5: return Task<DX, 5>::run(p, given...);
        default: return Task<DX, 7>::run(p, given...);
    }
}
// the code for the sizes of a path
template <template <int, int> class Task, class... Given>
inline void for_path(const Path& p, Given... given) {
    switch (p.d_x) {
        case 1: return for_output<Task, 1>(p, given...);
        case 3: return for_output<Task, 3>(p, given...);
        case 5: return for_output<Task, 5>(p, given...);
        default: return for_output<Task, 7>(p, given...);
    }
}

}  // namespace

extern "C" int convolution_lanes(void) { return LANES; }

// rows of width columns, each block from (mul, d) to (d, mul); with mul and d exchanged, back
extern "C" void convolution_turn(const Block* blocks, int n, const float* from, float* to, int64_t rows, int width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; ++row)
        for (int b = 0; b < n; ++b) {
            const auto [first, mul, d] = blocks[b];
            const float* source = from + row * width + first;
            float* target = to + row * width + first;
            for (int a = 0; a < d; ++a)
                for (int u = 0; u < mul; ++u) target[a * mul + u] = source[u * d + a];
        }
}

// Rows of out for the atoms of this call; their edges are those that they receive. All widths are multiples of LANES.
extern "C" void convolution_forward(const Paths* paths, const Edges* edges, const float* x, const float* y, const float* w, float* out, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t n = edges->first_atom; n < edges->last_atom; ++n) {
        float* sum = out + n * paths->out_width;
        std::memset(sum, 0, paths->out_width * sizeof(float));
        for (int64_t m = edges->first[n]; m < edges->first[n + 1]; ++m) {
            const float *sender = x + edges->other[m] * paths->x_width, *angular = y + edges->edge[m] * paths->y_width;
            const float* weight = w + (m - edges->first_row) * paths->w_width;
            for (const Path* p = paths->path; p < paths->path + paths->n_paths; ++p) {
                float by[MOST * MOST];
                contract(*p, angular + p->y, by);
                for_path<Forward>(*p, weight + p->w, sender + p->x, (const float*)by, sum + p->out);
            }
        }
    }
}

// From g, the derivative by out: rows of gx for the atoms of this call, of gy and gw for their edges, which they send.
extern "C" void convolution_backward(const Paths* paths, const Edges* edges, const float* x, const float* y, const float* w, const float* g, float* gx, float* gy, float* gw, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t n = edges->first_atom; n < edges->last_atom; ++n) {
        const float* value = x + n * paths->x_width;
        float* sum = gx + n * paths->x_width;
        std::memset(sum, 0, paths->x_width * sizeof(float));
        for (int64_t m = edges->first[n]; m < edges->first[n + 1]; ++m) {
            const float *given = g + edges->other[m] * paths->out_width, *angular = y + edges->edge[m] * paths->y_width;
            const float* weight = w + (m - edges->first_row) * paths->w_width;
            float *by_weight = gw + (m - edges->first_row) * paths->w_width, *by_angular = gy + edges->edge[m] * paths->y_width;
            std::memset(by_angular, 0, paths->y_width * sizeof(float));
            for (const Path* p = paths->path; p < paths->path + paths->n_paths; ++p) {
                float by[MOST * MOST], gby[MOST * MOST];
                contract(*p, angular + p->y, by);
                for_path<Backward>(*p, weight + p->w, value + p->x, (const float*)by, given + p->out, by_weight + p->w, sum + p->x, gby);
                expand(*p, gby, by_angular + p->y);
            }
        }
    }
}
