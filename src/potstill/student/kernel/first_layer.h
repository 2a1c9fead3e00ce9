// The edges of the first layer. Before it, atoms of one element are equal, so an atom's densities need only the sum of radial
// functions times harmonics over its neighbors of each element, and an edge's derivative only that by this sum.
#pragma once

namespace POTSTILL_KERNEL {

// number the elements of an atom's neighbors: slot of each element, and the list of them
template <int NL, int NB, bool TRAINING>
inline void Run<NL, NB, TRAINING>::find_elements(int64_t i, Scratch& s) const {
    for (int32_t z : s.present) s.slot[z] = -1;
    s.present.clear();
    for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
        const int64_t z = in.species[in.sender[e]];
        if (s.slot[z] >= 0) continue;
        s.slot[z] = (int32_t)s.present.size();
        s.present.push_back((int32_t)z);
    }
}

// sums over the neighbors of each element, [elements present, NH, BW], of radial functions times harmonics; the first B
// of BW values count
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::element_sums(int64_t i, Scratch& s) const {
    find_elements(i, s);
    real* sums = grown(s.sums, s.present.size() * NH * BW);
    std::memset(sums, 0, s.present.size() * NH * BW * sizeof(real));
    for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
        const real *g = edges + e * row, *y = g + B;
        real* sum = sums + (size_t)s.slot[in.species[in.sender[e]]] * NH * BW;
        for (int b = 0; b < BW; b += LANES) {
            const vec radial = load(g + b);
            for (int k = 0; k < NH; ++k) store(sum + k * BW + b, load(sum + k * BW + b) + y[k] * radial);
        }
    }
}

// density() of the first layer
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::first_density(int64_t a, const real* table, real* parts, int at, int n, Scratch& s) const {
    element_sums(order[a], s);
    for (int l = 0; l < NL; ++l)
        for (int c = 0; c < C; c += LANES) {
            vec weight[16], acc[2 * NL - 1] = {};
            for (int b = 0; b < B; ++b) weight[b] = load(table + (l * B + b) * C + c);
            for (size_t z = 0; z < s.present.size(); ++z) {
                const vec sent = load(mem.first_sent.data() + s.present[z] * C + c);
                for (int k = 0; k < 2 * l + 1; ++k) {
                    const real* sum = s.sums.data() + (z * NH + l * l + k) * BW;
                    vec one{};
                    for (int b = 0; b < B; ++b) one += sum[b] * weight[b];
                    acc[k] += sent * one;
                }
            }
            for (int k = 0; k < 2 * l + 1; ++k) store(parts + (size_t)first(0, l) * n + (k * n + at) * C + c, acc[k]);
        }
}

// derivative of the energy by element_sums(), from that by the densities
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::by_element_sums(int64_t i, const real* gradient, const real* table, Scratch& s) const {
    find_elements(i, s);
    real* by_sums = grown(s.by_sums, s.present.size() * NH * BW);
    for (size_t z = 0; z < s.present.size(); ++z) {
        const real* sent = mem.first_sent.data() + s.present[z] * C;
        for (int l = 0; l < NL; ++l)
            for (int k = l * l; k < (l + 1) * (l + 1); ++k) {
                vec acc[16] = {};
                for (int c = 0; c < C; c += LANES) {
                    const vec d = load(gradient + k * C + c) * load(sent + c);
                    for (int b = 0; b < B; ++b) acc[b] += d * load(table + (l * B + b) * C + c);
                }
                real* out = by_sums + (z * NH + k) * BW;
                for (int b = 0; b < BW; ++b) out[b] = b < B ? total(acc[b]) : real(0);
            }
    }
}

// edge_terms() of the first layer; by_radial is [BW] here
template <int NL, int NB, bool TRAINING>
inline void Run<NL, NB, TRAINING>::first_edge_terms(int64_t e, vec* by_harmonic, real* by_radial, const Scratch& s) const {
    const real *g = edges + e * row, *y = g + B;
    const real* by_sums = s.by_sums.data() + (size_t)s.slot[in.species[in.sender[e]]] * NH * BW;
    for (int b = 0; b < BW; b += LANES) {
        const vec radial = load(g + b);
        vec sum{};
        for (int k = 0; k < NH; ++k) {
            const vec d = load(by_sums + k * BW + b);
            by_harmonic[k] += radial * d;
            sum += y[k] * d;
        }
        store(by_radial + b, sum);
    }
}

// derivatives by the radial weights of an atom's element, and by what each element sends
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::first_gradient(int64_t a, const real* gradient, const real* table, real* by_table, Scratch& s) const {
    element_sums(order[a], s);
    for (int l = 0; l < NL; ++l)
        for (int c = 0; c < C; c += LANES) {
            vec weight[16], acc[16] = {};
            for (int b = 0; b < B; ++b) weight[b] = load(table + (l * B + b) * C + c);
            for (size_t z = 0; z < s.present.size(); ++z) {
                const vec sent = load(mem.first_sent.data() + s.present[z] * C + c);
                real* by_sent = s.by_first.data() + s.present[z] * C + c;
                vec own = load(by_sent);
                for (int k = l * l; k < (l + 1) * (l + 1); ++k) {
                    const real* sum = s.sums.data() + (z * NH + k) * BW;
                    const vec d = load(gradient + k * C + c), along = d * sent;
                    vec one{};
                    for (int b = 0; b < B; ++b) one += sum[b] * weight[b], acc[b] += sum[b] * along;
                    own += d * one;
                }
                store(by_sent, own);
            }
            for (int b = 0; b < B; ++b) {
                real* sum = by_table + (l * B + b) * C + c;
                store(sum, load(sum) + acc[b]);
            }
        }
}

}  // namespace POTSTILL_KERNEL
