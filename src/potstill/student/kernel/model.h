// A student's weights, a batch of atoms, and the memory of the kernel.
#pragma once

namespace POTSTILL_KERNEL {

struct ElementWeights {  // one element in one layer; null where the element is not in the batch
    const real *table, *vector_table;             // [NL, B, C], [3, B, V]
    const real *hidden, *hidden_t, *hidden_bias;  // [K + D, H], [H, K + D], [H]
    const real *out, *out_t, *out_bias;           // [H, D], [D, H], [D]
};
struct LayerWeights {
    const real *send, *send_t;    // [D, C], [C, D]
    const real *mix[4], *mix_t[4];  // per l: [C (+ V), 2 P], [2 P, C (+ V)]
    const real *gain;               // [K]
    const real *vector_mix, *vector_mix_t;  // [C (+ V), V], [V, C (+ V)]
    const real *gate, *gate_t, *gate_bias;  // [H, V], [V, H], [V]
    const ElementWeights *element;
    int32_t receives, makes;  // whether neighbors send vectors, and whether this layer makes those of the next
    real bound;              // bound of the sum of squares of the invariants times their gains
};
struct ElementReadout {
    const real *hidden, *hidden_t, *bias;  // [D, H], [H, D], [H]
};
struct Model {
    int32_t n_layers, n_elements, features, channels, vectors, products, radial, hidden, l_max;
    real cutoff, scale, last_bias, n_vectors;  // n_vectors: number before padding
    real bond_share;                           // of relative distances (basis.py); 0 for absolute ones
    const real *embedding;  // [elements, D]
    const LayerWeights *layer;
    const ElementReadout *readout;
    const real *last;           // [H]
    const real *charge, *radius;  // parameters of the repulsion per element
};
// Exchange of the features of ghosts with their owners, and of gradients. ``row`` is the place of each atom among the rows;
// those of ghosts follow the rows of the N atoms.
struct Exchange {
    void *caller;
    // fill the rows of ghosts of sent [N + G, C], and of vectors [N + G, 3 V] where it is not null
    void (*forward)(void *caller, const int64_t *row, real *sent, real *vectors);
    // add the rows of ghosts of the gradients, of the same shapes, to the rows of their owners
    void (*backward)(void *caller, const int64_t *row, real *sent, real *vectors);
};
struct Atoms {
    int64_t n_atoms, n_edges;
    const int64_t *species, *first_edge, *sender;  // [N], [N + 1], [E]
    const real *vectors;      // [E, 3]
    real *local, *gradient;   // [N], [E, 3]; the gradient may take the place of the vectors
    real *last;               // [N, H] features that the last weights multiply, or null
    int64_t n_ghosts;         // G: species has N + G entries, senders from N on are ghosts; none in training
    const Exchange *exchange;  // set where other processes own the ghosts, even if this step has none
    const real *weight;        // [N] weight of each local energy in the sum that is differentiated; null for ones
};
// Output of training: pointers as in a model, to the sums of derivatives; those of each next thread are ``stride`` floats further.
struct Learned {
    const Model* model;
    const real* weight;  // [N] weight of each local energy in the sum
    int64_t stride;
};

constexpr int MAX_BLOCK = 5 * TILE_ROWS;

struct Block {
    int64_t first, count, species;
};

constexpr size_t SPARE = 1 << 16;  // largest number of spare values, which are touched too and stay resident

template <typename T>
T* grown(std::vector<T>& memory, size_t size) {
    if (memory.size() < size) {
        std::vector<T>().swap(memory);  // its content is not needed again, and old and new memory would not fit
        memory.resize(size + std::min(size / 8, SPARE));
    }
    return memory.data();
}

// memory of the calling thread, kept between calls: new pages would cost as much as the arithmetic
struct Memory {
    std::vector<int64_t> order, place, start, next;
    std::vector<int32_t> neighbor;
    std::vector<real> edges, first_sent, sent, sent_vectors, state, vector_gradient, density_gradient;
    std::vector<real> mixed, raw, norm, pre, raw_vectors, vector_norm, gates;
    std::vector<real> densities, before;                   // for training
    std::vector<real> halo, halo_vectors;                  // gradients by sent features, where there are ghosts
    std::vector<int64_t> ghost_start, ghost_edge, ghost_receiver;  // edges that end at each ghost, and the rows of their receivers
    std::vector<Block> blocks;

    size_t bytes() const {
        const std::vector<real>* numbers[] = {&edges, &first_sent, &sent, &sent_vectors, &state, &vector_gradient,
                                              &density_gradient, &mixed, &raw, &norm, &pre, &raw_vectors, &vector_norm,
                                              &gates, &densities, &before, &halo, &halo_vectors};
        const std::vector<int64_t>* integers[] = {&order, &place, &start, &next, &ghost_start, &ghost_edge, &ghost_receiver};
        size_t sum = sizeof(int32_t) * neighbor.size() + sizeof(Block) * blocks.size();
        for (const auto* each : numbers) sum += sizeof(real) * each->size();
        for (const auto* each : integers) sum += sizeof(int64_t) * each->size();
        return sum;
    }
};
static thread_local Memory memory;
// memory of a worker: one block of atoms
struct Scratch {
    std::vector<real> parts, gradients, mixed, x, raw, norm, pre, act, grad, sent, vectors, gate_gradient;
    std::vector<real> invariants, first_gradient;  // first_gradient: by the densities of the first layer
    std::vector<real> sums, by_sums;               // over the neighbors of each element, and the derivative by these
    std::vector<int32_t> slot, present;            // place of each element among those of the neighbors, and these elements
    std::vector<real> by_first;                    // for training: by what each element sends in the first layer
    std::vector<real> densities, inputs, silu;  // for training
    size_t offset = 0;                          // offset of the thread's own derivatives
};

}  // namespace POTSTILL_KERNEL
