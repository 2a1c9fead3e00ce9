// Edges: from vectors to densities around each atom, and from gradients by densities back to vectors and to sent features.
#pragma once

namespace POTSTILL_KERNEL {

// argument of the radial functions and its derivative: the distance over the cutoff, or one relative to the sum of covalent radii
inline real radial_argument(const Model& m, real d, real bond, real& slope) {
    if (m.bond_share == real(0)) {
        slope = real(1) / m.cutoff;
        return d / m.cutoff;
    }
    const real square = d * d, of_bond = m.bond_share * bond * bond, sum = square + of_bond;
    slope = real(2) * d * of_bond / (sum * sum);
    return square / sum;
}

// sine and cosine of the first radial function, and of the step to the next: twice its angle for relative distances
struct Waves {
    real sine, cosine, step_sine, step_cosine, order;
    Waves(const Model& m, real argument) : order(m.bond_share == real(0) ? 1 : 0.5) {
        const real angle = order * real(3.141592653589793) * argument;
        sine = step_sine = std::sin(angle), cosine = step_cosine = std::cos(angle);
        if (m.bond_share == real(0)) return;
        step_sine = real(2) * sine * cosine, step_cosine = cosine * cosine - sine * sine;
    }
    void advance() {
        const real next = sine * step_cosine + cosine * step_sine;
        cosine = cosine * step_cosine - sine * step_sine, sine = next, order += 1;
    }
};

// radial functions, harmonics and repulsion of the edges that the block's atoms receive
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::geometry(const Block& block) {
    const real root2 = 1.4142135623730951;
    for (int64_t a = block.first; a < block.first + block.count; ++a) {
        const int64_t i = order[a];
        double local = 0;
        const double half = in.weight ? 0.5 * in.weight[i] : 0.5;
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            real* g = edges + e * row;
            const real* r = in.vectors + 3 * e;
            const int64_t j = in.sender[e];
            neighbor[e] = (int32_t)(j < (int64_t)N ? place[j] : j);
            const real d = length(r), x = d / m.cutoff;
            real slope, along;
            const real u[3] = {r[0] / d, r[1] / d, r[2] / d};
            const real bond = m.radius[block.species] + m.radius[in.species[j]], at = radial_argument(m, d, bond, along);
            const real envelope_root2 = root2 * envelope(x, slope), inverse = real(1) / (at + real(1e-6));
            Waves wave(m, at);
            for (int n = 0; n < B; ++n, wave.advance()) g[n] = envelope_root2 * wave.sine * inverse;
            harmonics<NL>(u, g + B);
            const double reach = std::min<double>(bond, m.cutoff);
            double push = 0;
            if (d < reach) local += 0.5 * repulsion(m.charge[block.species], m.charge[in.species[j]], reach, d, push);
            g[B + NH] = (real)(half * push);
            for (int n = B + NH + 1; n < row; ++n) g[n] = 0;
        }
        in.local[i] = (real)local;
    }
}

// densities of an atom after the first layer: l = 0 [1, width], l = 1 [3, width], ... at out + (components below l) * n, rows n apart
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::density(int t, int64_t a, const real* table, real* parts, int at, int n) const {
    const int64_t i = order[a];
    for (int c = 0; c < C; c += LANES) {
        vec acc[NH] = {};
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            const real *g = edges + e * row, *y = g + B;
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

template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::vector_density(int t, int64_t a, const real* table, real* parts, int at, int n) const {
    const int64_t i = order[a];
    for (int c = 0; c < V; c += LANES) {
        vec one[3] = {}, zero{}, two[5] = {};
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            const real *g = edges + e * row, *y = g + B + 1, *v = vector_row(t, e) + c;
            vec r[3] = {};
            for (int b = 0; b < B; ++b)
                for (int f = 0; f < 3; ++f) r[f] += g[b] * load(table + (f * B + b) * V + c);
            const vec vx = load(v), vy = load(v + V), vz = load(v + 2 * V);
            const vec xx = y[0] * vx, yy = y[1] * vy, zz = y[2] * vz;
            one[0] += r[0] * vx, one[1] += r[0] * vy, one[2] += r[0] * vz;
            zero += r[1] * (xx + yy + zz);
            two[0] += r[2] * (y[0] * vy + y[1] * vx), two[1] += r[2] * (y[1] * vz + y[2] * vy);
            two[2] += r[2] * (THIRD * (real(2) * zz - xx - yy)), two[3] += r[2] * (y[0] * vz + y[2] * vx);
            two[4] += r[2] * (xx - yy);
        }
        const int wide_row = C + V;
        real* out = parts + C + c + (size_t)at * wide_row;
        store(out, zero);
        for (int k = 0; k < 3; ++k) store(out + (size_t)(1 + k) * n * wide_row, one[k]);
        for (int k = 0; k < 5; ++k) store(out + (size_t)(4 + k) * n * wide_row, two[k]);
    }
}

// derivatives of the energy by the harmonics and radial functions of an edge, through layer t alone, after the first; ``gradient`` is by the
// densities of its receiver, ``own`` are the weights of the receiver's element
template <int NL, int NB, bool TRAINING>
inline void Run<NL, NB, TRAINING>::edge_terms(int t, int64_t e, const real* gradient, const ElementWeights& own, vec* by_harmonic,
                                          vec* by_radial) const {
    const real *da = gradient, *dv = da + NH * C, *table = own.table;
    const real *g = edges + e * row, *y = g + B, *s_row = sent_row(t, e);
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
    if (!m.layer[t].receives) return;
    const real* v_row = vector_row(t, e);
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

// derivative of the energy by the vectors of the edges that the block's atoms receive, through all layers
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::edge_finish(const Block& block, Scratch& s) const {
    const real pi = 3.141592653589793, root2 = 1.4142135623730951;
    for (int64_t a = block.first; a < block.first + block.count; ++a) {
        const int64_t i = order[a];
        by_element_sums(i, by_densities(0, a, block, s), m.layer[0].element[block.species].table, s);
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            vec by_harmonic[NH] = {}, by_radial[16] = {};
            real by_first[16];
            for (int t = m.n_layers - 1; t > 0; --t)
                edge_terms(t, e, by_densities(t, a), m.layer[t].element[block.species], by_harmonic, by_radial);
            first_edge_terms(e, by_harmonic, by_first, s);
            const real* r = in.vectors + 3 * e;
            real by_distance;  // of the argument
            const real d = length(r), bond = m.radius[block.species] + m.radius[in.species[in.sender[e]]];
            const real at = radial_argument(m, d, bond, by_distance);
            Waves waves(m, at);
            const real u[3] = {r[0] / d, r[1] / d, r[2] / d};
            real slope, along = edges[e * row + B + NH], v[NH], turn[3];
            const real env = envelope(d / m.cutoff, slope), inverse = real(1) / (at + real(1e-6));
            for (int n = 0; n < B; ++n, waves.advance()) {
                const real wave = root2 * waves.sine * inverse;
                const real own = (root2 * waves.order * pi * waves.cosine - wave) * inverse * by_distance;
                along += (by_first[n] + total(by_radial[n])) * (own * env + wave * slope / m.cutoff);
            }
            for (int k = 0; k < NH; ++k) v[k] = total(by_harmonic[k]);
            harmonics_gradient<NL>(u, v, turn);
            const real radial = turn[0] * u[0] + turn[1] * u[1] + turn[2] * u[2];
            for (int k = 0; k < 3; ++k) in.gradient[3 * e + k] = along * u[k] + (turn[k] - radial * u[k]) / d;
        }
    }
}

// derivatives by the radial weights of an atom's element
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::table_gradient(int t, int64_t a, const real* gradient, real* table, real* vector_table) const {
    const int64_t i = order[a];
    const real *da = gradient, *dv = da + NH * C;
    for (int l = 0; l < NL; ++l)
        for (int c = 0; c < C; c += LANES) {
            vec acc[16] = {}, d[2 * NL - 1];
            for (int k = 0; k < 2 * l + 1; ++k) d[k] = load(da + (l * l + k) * C + c);
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
                const real *g = edges + e * row, *y = g + B + l * l;
                vec w{};
                for (int k = 0; k < 2 * l + 1; ++k) w += y[k] * d[k];
                w *= load(sent_row(t, e) + c);
                for (int b = 0; b < B; ++b) acc[b] += g[b] * w;
            }
            for (int b = 0; b < B; ++b) {
                real* sum = table + (l * B + b) * C + c;
                store(sum, load(sum) + acc[b]);
            }
        }
    if (!vector_table) return;
    for (int c = 0; c < V; c += LANES) {
        vec acc[3][16] = {};
        for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e) {
            const real *g = edges + e * row, *y = g + B + 1, *v = vector_row(t, e) + c;
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
                real* sum = vector_table + (f * B + b) * V + c;
                store(sum, load(sum) + acc[f][b]);
            }
    }
}

// dv is the gradient by the densities l = 0 [V], l = 1 [3, V], l = 2 [5, V]
template <int NL, int NB, bool TRAINING>
inline void Run<NL, NB, TRAINING>::matrix_times(const real* dv, vec vx, vec vy, vec vz, vec* out) const {
    const vec xy = load(dv + 4 * V), yz = load(dv + 5 * V), z2 = THIRD * load(dv + 6 * V), xz = load(dv + 7 * V), x2y2 = load(dv + 8 * V);
    out[0] = (x2y2 - z2) * vx + xy * vy + xz * vz;
    out[1] = xy * vx - (x2y2 + z2) * vy + yz * vz;
    out[2] = xz * vx + yz * vy + real(2) * z2 * vz;
}

// derivative by the features that one atom sent in layer t: [C] and [3, V]. each_edge(f) calls f(edge, row and species of the other end) for
// the edges that it sent (sign 1), or of their reverses (sign -1): Y_lm(-r) = (-1)^l Y_lm(r)
template <int NL, int NB, bool TRAINING>
template <typename Edges>
inline void Run<NL, NB, TRAINING>::sent_gradient(int t, real sign, const Edges& each_edge, real* out, real* out_vectors) const {
    for (int c = 0; c < C; c += LANES) {
        vec acc{};
        each_edge([&](int64_t e, int64_t receiver, int64_t species) {
            const real *g = edges + e * row, *y = g + B;
            const real *table = m.layer[t].element[species].table + c, *da = by_densities(t, receiver) + c;
            for (int l = 0; l < NL; ++l) {
                vec radial{}, w{};
                for (int b = 0; b < B; ++b) radial += g[b] * load(table + (l * B + b) * C);
                for (int k = l * l; k < (l + 1) * (l + 1); ++k) w += y[k] * load(da + k * C);
                acc += (l % 2 ? sign : real(1)) * radial * w;
            }
        });
        store(out + c, acc);
    }
    if (!m.layer[t].receives) return;
    for (int c = 0; c < V; c += LANES) {
        vec acc[3] = {};
        each_edge([&](int64_t e, int64_t receiver, int64_t species) {
            const real *g = edges + e * row, *y = g + B + 1;
            const real *table = m.layer[t].element[species].vector_table + c, *dv = by_densities(t, receiver) + NH * C + c;
            vec r[3] = {}, turned[3];
            for (int b = 0; b < B; ++b)
                for (int f = 0; f < 3; ++f) r[f] += g[b] * load(table + (f * B + b) * V);
            matrix_times(dv, broadcast(y[0]), broadcast(y[1]), broadcast(y[2]), turned);
            const vec d0 = r[1] * load(dv);
            for (int k = 0; k < 3; ++k) acc[k] += r[0] * load(dv + (1 + k) * V) + sign * (y[k] * d0 + r[2] * turned[k]);
        });
        for (int k = 0; k < 3; ++k) store(out_vectors + k * V + c, acc[k]);
    }
}

// derivative by the features that the block's atoms sent in layer t, through the reverses of the edges they receive. Where an
// edge comes from a ghost, another process receives its reverse and has sent that part
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::sent_backward(int t, const Block& block, real* out, real* out_vectors) const {
    for (int64_t a = block.first; a < block.first + block.count; ++a, out += C, out_vectors += 3 * V) {
        const int64_t j = order[a];
        auto received = [&](auto&& use) {
            for (int64_t e = in.first_edge[j]; e < in.first_edge[j + 1]; ++e)
                if (neighbor[e] < (int64_t)N) use(e, neighbor[e], in.species[in.sender[e]]);
        };
        sent_gradient(t, -1, received, out, out_vectors);
        if (!in.exchange) continue;
        const real *halo = mem.halo.data() + a * C, *halo_vectors = mem.halo_vectors.data() + a * 3 * V;
        for (int c = 0; c < C; c += LANES) store(out + c, load(out + c) + load(halo + c));
        if (m.layer[t].receives)
            for (int c = 0; c < 3 * V; c += LANES) store(out_vectors + c, load(out_vectors + c) + load(halo_vectors + c));
    }
}

// derivatives by the features that the ghosts sent in layer t, into the rows of the halo; the rows of atoms are zero
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::ghosts_backward(int t) const {
    real *halo = mem.halo.data(), *halo_vectors = mem.halo_vectors.data();
#pragma omp for schedule(dynamic, 64)
    for (size_t a = 0; a < N + G; ++a) {
        if (a < N) {
            std::memset(halo + a * C, 0, C * sizeof(real));
            if (m.layer[t].receives) std::memset(halo_vectors + a * 3 * V, 0, 3 * V * sizeof(real));
            continue;
        }
        auto sent = [&](auto&& use) {
            for (int64_t k = mem.ghost_start[a - N]; k < mem.ghost_start[a - N + 1]; ++k)
                use(mem.ghost_edge[k], mem.ghost_receiver[k], in.species[order[mem.ghost_receiver[k]]]);
        };
        sent_gradient(t, 1, sent, halo + a * C, halo_vectors + a * 3 * V);
    }
}

}  // namespace POTSTILL_KERNEL
