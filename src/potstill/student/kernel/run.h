// Order of the computation: blocks of atoms through the layers and back.
#pragma once

namespace POTSTILL_KERNEL {

#ifdef _OPENMP
inline int thread_number() { return omp_get_thread_num(); }
#else
inline int thread_number() { return 0; }
#endif

// Number of radial functions: known to the compiler, which then unrolls the loops over them, or known at run time only (0).
template <int NB>
struct Radial {
    static constexpr int B = NB;
    explicit Radial(int) {}
};
template <>
struct Radial<0> {
    const int B;
    explicit Radial(int count) : B(count) {}
};

// Mixtures of the atoms of a block: rows [n, 2 P] of each component of each l.
struct Mixtures {
    real *zero, *others;  // component 0, and the others one after the other
    size_t step;          // values of a component
    real* operator[](int k) const { return k ? others + (k - 1) * step : zero; }
};

template <int NL, int NB, bool TRAINING>
struct Run : Radial<NB> {
    static constexpr int NH = NL * NL;
    using Radial<NB>::B;
    const Model& m;
    const Atoms& in;
    Memory& mem;
    const Learned* learned;
    const int D, C, V, P, H, BW, row;  // BW: B in whole vectors; row: number of values per edge
    const size_t wide, N, E, G;    // wide: number of values of an atom's density gradient
    int64_t *order = nullptr, *place = nullptr;  // sorted by species -> given, and back
    int32_t* neighbor = nullptr;                 // row of each edge's sender
    real *edges = nullptr, *density_gradient = nullptr;

    Run(const Model& model, const Atoms& atoms, Memory& memory, const Learned* derivatives)
        : Radial<NB>(model.radial), m(model), in(atoms), mem(memory), learned(derivatives), D(m.features), C(m.channels),
          V(m.vectors), P(m.products), H(m.hidden), BW((B + LANES - 1) / LANES * LANES), row(std::max(B + NH + 1, BW)), wide((size_t)NH * C + 9 * V), N(atoms.n_atoms), E(atoms.n_edges), G(atoms.n_ghosts) {}

    int width(int t, int l) const { return C + (m.layer[t].receives && l < 3 ? V : 0); }  // channels of a density
    int first(int t, int l) const {  // channels of all components below l
        int sum = 0;
        for (int k = 0; k < l; ++k) sum += (2 * k + 1) * width(t, k);
        return sum;
    }
    int invariants(int t) const { return width(t, 0) + (NL + 1) * P; }
    const LayerWeights& by(int t) const { return learned->model->layer[t]; }  // derivatives of a layer
    static real* mine(const real* derivative, const Scratch& s) { return const_cast<real*>(derivative) + s.offset; }

    // edges.h
    void geometry(const Block& block);
    void density(int t, int64_t a, const real* table, real* parts, int at, int n) const;
    void vector_density(int t, int64_t a, const real* table, real* parts, int at, int n) const;
    void edge_terms(int t, int64_t e, const real* gradient, const ElementWeights& own, vec* by_harmonic, vec* by_radial) const;
    void edge_finish(const Block& block, Scratch& s) const;
    void table_gradient(int t, int64_t a, const real* gradient, real* table, real* vector_table) const;
    void matrix_times(const real* dv, vec vx, vec vy, vec vz, vec* out) const;
    template <typename Edges>
    void sent_gradient(int t, real sign, const Edges& each_edge, real* out, real* out_vectors) const;
    void sent_backward(int t, const Block& block, real* out, real* out_vectors) const;
    void ghosts_backward(int t) const;
    // first_layer.h
    void find_elements(int64_t i, Scratch& s) const;
    void element_sums(int64_t i, Scratch& s) const;
    void first_density(int64_t a, const real* table, real* parts, int at, int n, Scratch& s) const;
    void by_element_sums(int64_t i, const real* gradient, const real* table, Scratch& s) const;
    void first_edge_terms(int64_t e, vec* by_harmonic, real* by_radial, const Scratch& s) const;
    void first_gradient(int64_t a, const real* gradient, const real* table, real* by_table, Scratch& s) const;
    // network.h
    void invariants_of(int t, const real* zero, const Mixtures& mixed, int at, real* v) const;
    void forward(int t, const Block& block, Scratch& s);
    void make_vectors(int t, const Block& block, const real* ones, const real* act);
    void made_backward(int t, const Block& block, Scratch& s, const real* made_gradient, real* ones, real* by_act);
    void readout(const Block& block, Scratch& s, real* grad);
    void backward(int t, const Block& block, Scratch& s, real* grad, const real* made);

    // place of the values that the derivative of layer t needs: the memory for inner layers, the scratch for the last
    real* kept(std::vector<real>& memory, std::vector<real>& scratch, int t, int64_t at, size_t size) const {
        return t + 1 < m.n_layers ? memory.data() + (t * N + at) * size : scratch.data();
    }
    // the same for the densities of l = 0, [n, C] in the first layer and [n, C (+ V)] in the others
    real* scalars(int t, const Block& block, Scratch& s) const {
        return t + 1 < m.n_layers ? mem.raw.data() + (t * (C + V) - (t ? V : 0)) * N + block.first * width(t, 0) : s.raw.data();
    }
    // the same for the mixtures. Those of l = 0 are not kept: backward computes them again from the densities
    Mixtures mixtures(int t, const Block& block, Scratch& s) const {
        const size_t step = block.count * 2 * P;
        real* others = t + 1 < m.n_layers ? mem.mixed.data() + (t * N + block.first) * (NH - 1) * 2 * P : s.mixed.data() + step;
        return {s.mixed.data(), others, step};
    }
    real* densities(int t, const Block& block, Scratch& s) const {
        return kept(mem.densities, s.densities, t, block.first, NH * (C + V));
    }
    // derivative of the energy by an atom's densities; that of the first layer is used at once and not kept
    real* by_densities(int t, int64_t a) const { return density_gradient + ((t - 1) * N + a) * wide; }
    real* by_densities(int t, int64_t a, const Block& block, Scratch& s) const {
        return t ? by_densities(t, a) : s.first_gradient.data() + (a - block.first) * wide;
    }
    // features and vectors that the sender of an edge sent in layer t, after the first
    const real* sent_row(int t, int64_t e) const { return mem.sent.data() + ((t - 1) * (N + G) + neighbor[e]) * C; }
    const real* vector_row(int t, int64_t e) const { return mem.sent_vectors.data() + ((t - 1) * (N + G) + neighbor[e]) * 3 * V; }

    void prepare(int threads) {
        const int M = m.n_layers;
        order = grown(mem.order, N), place = grown(mem.place, N), neighbor = grown(mem.neighbor, E);
        mem.start.assign(m.n_elements + 1, 0);
        for (size_t i = 0; i < N; ++i) ++mem.start[in.species[i] + 1];
        for (int z = 0; z < m.n_elements; ++z) mem.start[z + 1] += mem.start[z];
        mem.next.assign(mem.start.begin(), mem.start.end() - 1);
        for (size_t i = 0; i < N; ++i) order[place[i] = mem.next[in.species[i]]++] = i;
        mem.blocks.clear();
        int64_t wanted = (N + 4 * threads - 1) / (4 * threads);  // four blocks per thread, if each then has a tile
        wanted = std::min<int64_t>(std::max<int64_t>((wanted + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, TILE_ROWS), MAX_BLOCK);
        for (int z = 0; z < m.n_elements; ++z)
            for (int64_t a = mem.start[z]; a < mem.start[z + 1]; a += wanted)
                mem.blocks.push_back({a, std::min(wanted, mem.start[z + 1] - a), z});
        edges = grown(mem.edges, E * row);
        density_gradient = grown(mem.density_gradient, (M - 1) * N * wide);
        grown(mem.state, N * D);
        if (M > 2) grown(mem.vector_gradient, N * 3 * V);
        const size_t inner = (M - 1) * N;  // number of rows of layers whose values are needed after a barrier
        grown(mem.sent, (M - 1) * (N + G) * C), grown(mem.sent_vectors, (M - 1) * (N + G) * 3 * V);
        grown(mem.mixed, inner * (NH - 1) * 2 * P), grown(mem.raw, inner * (C + V) - (M > 1 ? N * V : 0)), grown(mem.norm, inner), grown(mem.pre, inner * H);
        grown(mem.raw_vectors, inner * 3 * V), grown(mem.vector_norm, inner), grown(mem.gates, inner * V);
        if (TRAINING) grown(mem.densities, inner * NH * (C + V)), grown(mem.before, M * N * D);
        if (in.exchange && M > 1) prepare_ghosts();
    }

    // edges sorted by their ghost
    void prepare_ghosts() {
        grown(mem.halo, (N + G) * C), grown(mem.halo_vectors, (N + G) * 3 * V);
        mem.ghost_start.assign(G + 1, 0);
        for (size_t e = 0; e < E; ++e)
            if (in.sender[e] >= (int64_t)N) ++mem.ghost_start[in.sender[e] - N + 1];
        for (size_t g = 0; g < G; ++g) mem.ghost_start[g + 1] += mem.ghost_start[g];
        mem.next.assign(mem.ghost_start.begin(), mem.ghost_start.end() - 1);
        grown(mem.ghost_edge, mem.ghost_start[G]), grown(mem.ghost_receiver, mem.ghost_start[G]);
        for (size_t i = 0; i < N; ++i)
            for (int64_t e = in.first_edge[i]; e < in.first_edge[i + 1]; ++e)
                if (in.sender[e] >= (int64_t)N) {
                    const int64_t at = mem.next[in.sender[e] - N]++;
                    mem.ghost_edge[at] = e, mem.ghost_receiver[at] = place[i];
                }
    }

    void grow_scratch(Scratch& s) const {
        const size_t rows = MAX_BLOCK, K = C + V + (NL + 1) * P;
        grown(s.parts, rows * NH * (C + V)), grown(s.gradients, rows * NH * 2 * P), grown(s.mixed, rows * NH * 2 * P);
        grown(s.x, rows * (K + D)), grown(s.raw, rows * (C + V)), grown(s.invariants, rows * K), grown(s.norm, rows), grown(s.pre, rows * H), grown(s.act, rows * H);
        grown(s.grad, rows * D), grown(s.sent, rows * C), grown(s.vectors, rows * 6 * V), grown(s.gate_gradient, rows * V);
        grown(s.first_gradient, rows * wide);
        s.slot.assign(m.n_elements, -1), s.present.clear();
        if (TRAINING) {
            grown(s.densities, rows * NH * (C + V)), grown(s.inputs, rows * (K + D)), grown(s.silu, rows * H);
            s.offset = thread_number() * learned->stride;
            s.by_first.assign((size_t)m.n_elements * C, 0);
        }
    }

    void run(int threads) {
        prepare(threads);
        real* first_sent = grown(mem.first_sent, (size_t)m.n_elements * C);
        product(m.embedding, D, m.layer[0].send, C, first_sent, C, m.n_elements, D, C);
        const int last = m.n_layers - 1;
#pragma omp parallel num_threads(threads)
        {
            static thread_local Scratch s;
            grow_scratch(s);
            real *grad = s.grad.data(), *made = s.vectors.data() + (size_t)MAX_BLOCK * 3 * V;
            for (int t = 0; t <= last; ++t) {
                each_block([&](const Block& block) {
                    if (t == 0) geometry(block);
                    forward(t, block, s);
                    if (t == last) {
                        readout(block, s, grad);
                        backward(t, block, s, grad, nullptr);
                        if (t == 0) finish(block, s, grad);
                    }
                });
                if (in.exchange && t < last) bring_features(t);
            }
            for (int t = last - 1; t >= 0; --t) {
                if (in.exchange) return_gradients(t + 1);
                each_block([&](const Block& block) {
                    std::memcpy(grad, mem.state.data() + block.first * D, block.count * D * sizeof(real));
                    by_sent(t + 1, block, s, grad, made);
                    if (m.layer[t + 1].makes)  // the next layer passed these vectors on
                        for (int64_t k = 0; k < block.count * 3 * V; k += LANES)
                            store(made + k, load(made + k) + load(mem.vector_gradient.data() + block.first * 3 * V + k));
                    backward(t, block, s, grad, m.layer[t].makes ? made : nullptr);
                    if (t == 0) finish(block, s, grad);
                });
            }
            if (TRAINING) {  // through what each element sends in the first layer
                product(s.by_first.data(), C, m.layer[0].send_t, D, mine(learned->model->embedding, s), D, m.n_elements, C, D, true);
                outer(m.embedding, D, s.by_first.data(), C, mine(by(0).send, s), m.n_elements, D, C);
            }
        }
    }

    // features that ghosts send in layer t + 1; one thread communicates with other processes, the others wait
    void bring_features(int t) {
#pragma omp master
        in.exchange->forward(in.exchange->caller, place, mem.sent.data() + t * (N + G) * C,
                             m.layer[t].makes ? mem.sent_vectors.data() + t * (N + G) * 3 * V : nullptr);
#pragma omp barrier
    }
    // send derivatives by the features of ghosts in layer t to their owners
    void return_gradients(int t) {
        ghosts_backward(t);
#pragma omp master
        in.exchange->backward(in.exchange->caller, place, mem.halo.data(), m.layer[t].receives ? mem.halo_vectors.data() : nullptr);
#pragma omp barrier
    }

    // add to grad [n, D] the derivative by the features that were sent in layer t, and compute that by the vectors sent
    void by_sent(int t, const Block& block, Scratch& s, real* grad, real* made) {
        const int n = (int)block.count;
        sent_backward(t, block, s.sent.data(), made);
        product(s.sent.data(), C, m.layer[t].send_t, D, grad, D, n, C, D, true);
        if (TRAINING) outer(mem.before.data() + (t * N + block.first) * D, D, s.sent.data(), C, mine(by(t).send, s), n, D, C);
    }

    // after the first layer's derivative: the rest for the edges, or for the features of the element
    void finish(const Block& block, Scratch& s, const real* grad) const {
        if (TRAINING)
            add_rows(grad, (int)block.count, D, mine(learned->model->embedding, s) + block.species * D);
        else
            edge_finish(block, s);
    }

    // threads take blocks in turn; in training by their number, so that sums are the same in every run
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

constexpr int USUAL_RADIAL = 8;  // the default of every tier

// return 0 if done, 1 if there is no code for the sizes, 2 if memory ran out
template <bool TRAINING>
int run(const Model& model, const Atoms& atoms, const Learned* learned, int threads) {
    const int widths[] = {model.features, model.channels, model.vectors, model.products, model.hidden};
    for (int width : widths)
        if (width % LANES) return 1;
    if (model.radial > 16 || (model.l_max != 2 && model.l_max != 3)) return 1;
    try {
        if (model.l_max == 2 && model.radial == USUAL_RADIAL)
            Run<3, USUAL_RADIAL, TRAINING>(model, atoms, memory, learned).run(threads);
        else if (model.l_max == 2)
            Run<3, 0, TRAINING>(model, atoms, memory, learned).run(threads);
        else if (model.radial == USUAL_RADIAL)
            Run<4, USUAL_RADIAL, TRAINING>(model, atoms, memory, learned).run(threads);
        else
            Run<4, 0, TRAINING>(model, atoms, memory, learned).run(threads);
    } catch (const std::bad_alloc&) {
        return 2;
    }
    return 0;
}

}  // namespace POTSTILL_KERNEL
