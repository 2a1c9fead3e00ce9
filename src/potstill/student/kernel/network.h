// The network of an atom: from densities to features, vectors and energy, and back.
#pragma once

namespace POTSTILL_KERNEL {

// the invariants of an atom, [K]: its density of l = 0, products of the two mixtures of each l, and one of l = 1, 1 and 2;
// ``at`` is the atom's row of each component of the mixtures
template <int NL, int NB, bool TRAINING>
inline void Run<NL, NB, TRAINING>::invariants_of(int t, const real* zero, const Mixtures& mixed, int at, real* v) const {
    const int C0 = width(t, 0);
    std::memcpy(v, zero, C0 * sizeof(real));
    auto row_of = [&](int k, int p) { return load(mixed[k] + (size_t)at * 2 * P + p); };
    for (int p = 0; p < P; p += LANES) {
        for (int l = 0; l < NL; ++l) {
            vec sum{};
            for (int k = l * l; k < (l + 1) * (l + 1); ++k) sum += row_of(k, p) * row_of(k, P + p);
            store(v + C0 + l * P + p, sum);
        }
        const vec ux = row_of(1, p), uy = row_of(2, p), uz = row_of(3, p);
        const vec vx = row_of(1, P + p), vy = row_of(2, P + p), vz = row_of(3, P + p);
        const vec xy = row_of(4, P + p), yz = row_of(5, P + p), z2 = row_of(6, P + p), xz = row_of(7, P + p), x2y2 = row_of(8, P + p);
        store(v + C0 + NL * P + p, x2y2 * (ux * vx - uy * vy) + THIRD * z2 * (real(2) * uz * vz - ux * vx - uy * vy) +
                                       xy * (ux * vy + uy * vx) + yz * (uy * vz + uz * vy) + xz * (ux * vz + uz * vx));
    }
}

template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::forward(int t, const Block& block, Scratch& s) {
    const int n = (int)block.count, K = invariants(t), C0 = width(t, 0);
    const LayerWeights& w = m.layer[t];
    const ElementWeights& own = w.element[block.species];
    const Mixtures mixed = mixtures(t, block, s);
    real *parts = TRAINING ? densities(t, block, s) : s.parts.data();
    real *zero = scalars(t, block, s), *norm = kept(mem.norm, s.norm, t, block.first, 1);
    real *h = kept(mem.pre, s.pre, t, block.first, H), *state = mem.state.data() + block.first * D;
    for (int a = 0; a < n; ++a) {
        if (t == 0) first_density(block.first + a, own.table, parts, a, n, s);
        else density(t, block.first + a, own.table, parts, a, n);
        if (w.receives) vector_density(t, block.first + a, own.vector_table, parts, a, n);
    }
    std::memcpy(zero, parts, (size_t)n * C0 * sizeof(real));  // the invariants of l = 0; the others are computed again from the mixtures
    for (int l = 0; l < NL; ++l)
        product(parts + (size_t)first(t, l) * n, width(t, l), w.mix[l], 2 * P, mixed[l * l], 2 * P, (2 * l + 1) * n, width(t, l), 2 * P);
    for (int a = 0; a < n; ++a) {
        real* x = s.x.data() + a * (K + D);
        invariants_of(t, zero + a * C0, mixed, a, x);
        vec square{};
        for (int k = 0; k < K; k += LANES) {
            const vec scaled = load(w.gain + k) * load(x + k);
            square += scaled * scaled;
            store(x + k, scaled);
        }
        norm[a] = real(1) / std::sqrt(real(1) + total(square) / w.bound);
        for (int k = 0; k < K; k += LANES) store(x + k, norm[a] * load(x + k));
        const real* features = t ? state + a * D : m.embedding + block.species * D;
        std::memcpy(x + K, features, D * sizeof(real));
        if (TRAINING) std::memcpy(mem.before.data() + (t * N + block.first + a) * D, features, D * sizeof(real));
    }
    for (int a = 0; a < n; ++a) std::memcpy(h + a * H, own.hidden_bias, H * sizeof(real));
    product(s.x.data(), K + D, own.hidden, H, h, H, n, K + D, H, true);
    real* act = s.act.data();
    for (int k = 0; k < n * H; k += LANES) store(act + k, load(h + k) * sigmoid(load(h + k)));
    for (int a = 0; a < n; ++a)
        for (int k = 0; k < D; k += LANES) store(state + a * D + k, load(s.x.data() + a * (K + D) + K + k) + load(own.out_bias + k));
    product(act, H, own.out, D, state, D, n, H, D, true);
    if (w.makes) make_vectors(t, block, parts + (size_t)first(t, 1) * n, act);
    if (t + 1 < m.n_layers) product(state, D, m.layer[t + 1].send, C, mem.sent.data() + (t * (N + G) + block.first) * C, C, n, D, C);
}

// gate times softly normalised mixtures of the l = 1 densities, added to the vectors of the layer before
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::make_vectors(int t, const Block& block, const real* ones, const real* act) {
    const int n = (int)block.count, C1 = width(t, 1);
    const LayerWeights& w = m.layer[t];
    real *raw = mem.raw_vectors.data() + (t * N + block.first) * 3 * V, *gates = mem.gates.data() + (t * N + block.first) * V;
    real *out = mem.sent_vectors.data() + (t * (N + G) + block.first) * 3 * V, *norm = mem.vector_norm.data() + t * N + block.first;
    for (int k = 0; k < 3; ++k) product(ones + (size_t)k * n * C1, C1, w.vector_mix, V, raw + k * V, 3 * V, n, C1, V);
    for (int a = 0; a < n; ++a) std::memcpy(gates + a * V, w.gate_bias, V * sizeof(real));
    product(act, H, w.gate, V, gates, V, n, H, V, true);
    for (int a = 0; a < n; ++a) {
        const real *x = raw + a * 3 * V, *before = t ? mem.sent_vectors.data() + ((t - 1) * (N + G) + block.first + a) * 3 * V : nullptr;
        vec square{};
        for (int k = 0; k < 3 * V; k += LANES) square += load(x + k) * load(x + k);
        norm[a] = real(1) / std::sqrt(real(1) + total(square) / m.n_vectors);
        for (int k = 0; k < 3; ++k)
            for (int c = 0; c < V; c += LANES) {
                const vec made = norm[a] * load(gates + a * V + c) * load(x + k * V + c);
                store(out + a * 3 * V + k * V + c, before ? made + load(before + k * V + c) : made);
            }
    }
}

// from the gradient by the vectors made in layer t: add those by the l = 1 densities and by the activations
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::made_backward(int t, const Block& block, Scratch& s, const real* made_gradient, real* ones, real* by_act) {
    const int n = (int)block.count, C1 = width(t, 1);
    const LayerWeights& w = m.layer[t];
    const real *raw = mem.raw_vectors.data() + (t * N + block.first) * 3 * V, *gates = mem.gates.data() + (t * N + block.first) * V;
    const real* norm = mem.vector_norm.data() + t * N + block.first;
    real *by_raw = s.vectors.data(), *by_gate = s.gate_gradient.data();
    for (int a = 0; a < n; ++a) {
        const real *x = raw + a * 3 * V, *d = made_gradient + a * 3 * V, *g = gates + a * V;
        vec dot{};
        for (int c = 0; c < V; c += LANES) {
            vec sum{};
            for (int k = 0; k < 3; ++k) {
                const vec both = load(x + k * V + c) * load(d + k * V + c);
                sum += both, dot += both * load(g + c);
            }
            store(by_gate + a * V + c, norm[a] * sum);
        }
        const real back = total(dot) * norm[a] * norm[a] * norm[a] / m.n_vectors;
        for (int k = 0; k < 3; ++k)
            for (int c = 0; c < V; c += LANES)
                store(by_raw + (a * 3 + k) * V + c, norm[a] * load(g + c) * load(d + k * V + c) - back * load(x + k * V + c));
    }
    for (int k = 0; k < 3; ++k) product(by_raw + k * V, 3 * V, w.vector_mix_t, C1, ones + (size_t)k * n * C1, C1, n, V, C1, true);
    product(by_gate, V, w.gate_t, H, by_act, H, n, V, H, true);
    if (TRAINING) {
        const real* from = densities(t, block, s) + (size_t)first(t, 1) * n;
        for (int k = 0; k < 3; ++k) outer(from + (size_t)k * n * C1, C1, by_raw + k * V, 3 * V, mine(by(t).vector_mix, s), n, C1, V);
        outer(s.silu.data(), H, by_gate, V, mine(by(t).gate, s), n, H, V);
        add_rows(by_gate, n, V, mine(by(t).gate_bias, s));
    }
}

// energy of the block's atoms, and its derivative by their last features into grad [n, D]
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::readout(const Block& block, Scratch& s, real* grad) {
    const int n = (int)block.count;
    const ElementReadout& own = m.readout[block.species];
    real* h = s.act.data();
    for (int a = 0; a < n; ++a) std::memcpy(h + a * H, own.bias, H * sizeof(real));
    product(mem.state.data() + block.first * D, D, own.hidden, H, h, H, n, D, H, true);
    for (int a = 0; a < n; ++a) {
        const real* weights = TRAINING ? learned->weight : in.weight;
        const real weight = weights ? m.scale * weights[order[block.first + a]] : m.scale;
        vec sum{};
        for (int k = 0; k < H; k += LANES) {
            const vec x = load(h + a * H + k), g = sigmoid(x), w = load(m.last + k);
            sum += w * x * g;
            if (in.last) store(in.last + (size_t)order[block.first + a] * H + k, x * g);
            store(h + a * H + k, weight * w * g * (real(1) + x * (real(1) - g)));
            if (TRAINING) store(s.silu.data() + a * H + k, weight * x * g);
        }
        in.local[order[block.first + a]] += m.scale * (total(sum) + m.last_bias);
    }
    product(h, H, own.hidden_t, D, grad, D, n, H, D);
    if (TRAINING) {
        const ElementReadout& to = learned->model->readout[block.species];
        add_rows(s.silu.data(), n, H, mine(learned->model->last, s));
        outer(mem.state.data() + block.first * D, D, h, H, mine(to.hidden, s), n, D, H);
        add_rows(h, n, H, mine(to.bias, s));
    }
}

// from grad [n, D], the derivative by the features after layer t, and made [n, 3, V], the derivative by its vectors,
// compute those by its densities, by the edges, and by the features and vectors before it
template <int NL, int NB, bool TRAINING>
void Run<NL, NB, TRAINING>::backward(int t, const Block& block, Scratch& s, real* grad, const real* made) {
    const int n = (int)block.count, K = invariants(t), C0 = width(t, 0);
    const LayerWeights& w = m.layer[t];
    const ElementWeights& own = w.element[block.species];
    const Mixtures mixed = mixtures(t, block, s);
    const real *h = kept(mem.pre, s.pre, t, block.first, H);
    const real *zero = scalars(t, block, s), *norm = kept(mem.norm, s.norm, t, block.first, 1);
    real *act = s.act.data(), *dlr = s.gradients.data(), *dparts = s.parts.data(), *raw = s.invariants.data();
    if (t + 1 < m.n_layers) product(zero, C0, w.mix[0], 2 * P, mixed[0], 2 * P, n, C0, 2 * P);
    for (int a = 0; a < n; ++a) invariants_of(t, zero + a * C0, mixed, a, raw + a * K);
    const ElementWeights* to = TRAINING ? &by(t).element[block.species] : nullptr;
    if (TRAINING) {
        real* silu = s.silu.data();
        for (int k = 0; k < n * H; k += LANES) store(silu + k, load(h + k) * sigmoid(load(h + k)));
        outer(silu, H, grad, D, mine(to->out, s), n, H, D);
        add_rows(grad, n, D, mine(to->out_bias, s));
    }
    product(grad, D, own.out_t, H, act, H, n, D, H);
    if (w.makes) {
        std::memset(dparts, 0, (size_t)n * (first(t, NL - 1) + (2 * NL - 1) * width(t, NL - 1)) * sizeof(real));
        made_backward(t, block, s, made, dparts + (size_t)first(t, 1) * n, act);
    }
    for (int k = 0; k < n * H; k += LANES) {
        const vec x = load(h + k), g = sigmoid(x);
        store(act + k, load(act + k) * g * (real(1) + x * (real(1) - g)));
    }
    if (TRAINING) {
        for (int a = 0; a < n; ++a) {
            real* x = s.inputs.data() + a * (K + D);
            for (int k = 0; k < K; k += LANES) store(x + k, norm[a] * load(w.gain + k) * load(raw + a * K + k));
            std::memcpy(x + K, mem.before.data() + (t * N + block.first + a) * D, D * sizeof(real));
        }
        outer(s.inputs.data(), K + D, act, H, mine(to->hidden, s), n, K + D, H);
        add_rows(act, n, H, mine(to->hidden_bias, s));
    }
    const bool features = t || TRAINING;  // before the first layer, features depend on the element alone
    product(act, H, own.hidden_t, K + D, s.x.data(), K + D, n, H, features ? K + D : K);
    for (int a = 0; a < n; ++a) {
        real* x = s.x.data() + a * (K + D);
        const real* v = raw + a * K;
        vec dot{};
        for (int k = 0; k < K; k += LANES) dot += load(x + k) * load(w.gain + k) * load(v + k);
        const real back = total(dot) * norm[a] * norm[a] * norm[a] / w.bound;
        for (int k = 0; k < K; k += LANES) {
            const vec gain = load(w.gain + k), d = norm[a] * load(x + k) - back * gain * load(v + k);
            if (TRAINING) {
                real* sum = mine(by(t).gain, s) + k;
                store(sum, load(sum) + d * load(v + k));
            }
            store(x + k, gain * d);
        }
        if (features)
            for (int k = 0; k < D; k += LANES) store(grad + a * D + k, load(grad + a * D + k) + load(x + K + k));
        auto at = [&](int k, int p) { return load(mixed[k] + (size_t)a * 2 * P + p); };
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
            left[3] += xz * vx + yz * vy + real(2) * z2 * vz;
            right[1] += (x2y2 - z2) * ux + xy * uy + xz * uz;
            right[2] += xy * ux - (x2y2 + z2) * uy + yz * uz;
            right[3] += xz * ux + yz * uy + real(2) * z2 * uz;
            right[4] += d * (ux * vy + uy * vx), right[5] += d * (uy * vz + uz * vy);
            right[6] += third * (real(2) * uz * vz - ux * vx - uy * vy);
            right[7] += d * (ux * vz + uz * vx), right[8] += d * (ux * vx - uy * vy);
            for (int k = 0; k < NH; ++k) {
                real* out = dlr + ((size_t)k * n + a) * 2 * P + p;
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
        real *da = by_densities(t, block.first + a, block, s), *dv = da + NH * C;
        const real* x = s.x.data() + a * (K + D);
        for (int l = 0; l < NL; ++l)
            for (int k = 0; k < 2 * l + 1; ++k) {
                const real* from = dparts + (size_t)first(t, l) * n + (k * n + a) * width(t, l);
                std::memcpy(da + (l * l + k) * C, from, C * sizeof(real));
                if (width(t, l) > C) std::memcpy(dv + (l * l + k) * V, from + C, V * sizeof(real));
            }
        for (int c = 0; c < C; c += LANES) store(da + c, load(da + c) + load(x + c));
        for (int c = C; c < C0; c += LANES) store(dv + c - C, load(dv + c - C) + load(x + c));
        if (!TRAINING) continue;
        if (t == 0) first_gradient(block.first + a, da, own.table, mine(to->table, s), s);
        else table_gradient(t, block.first + a, da, mine(to->table, s), w.receives ? mine(to->vector_table, s) : nullptr);
    }
    if (t) {
        std::memcpy(mem.state.data() + block.first * D, grad, n * D * sizeof(real));  // the features are not needed again
        if (made) std::memcpy(mem.vector_gradient.data() + block.first * 3 * V, made, n * 3 * V * sizeof(real));
    }
}

}  // namespace POTSTILL_KERNEL
