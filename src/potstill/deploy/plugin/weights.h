// The weights of a file as the kernel takes them: padded with zeros to whole vectors, each with its transpose.
#pragma once

#include <list>
#include <numeric>
#include <string>

#include "kernel/kernel.h"
#include "student_file.h"

namespace POTSTILL_KERNEL {

class Weights {
   public:
    Model model{};

    explicit Weights(const potstill::StudentFile& file) : file_(file) {
        const int Z = file.n_elements(), D = file.features, C = file.channels, V = file.vectors, P = file.products, H = file.hidden;
        const int NL = file.l_max + 1;
        layers_.resize(file.layers), elements_.resize(file.layers, std::vector<ElementWeights>(Z)), readouts_.resize(Z);
        for (int k = 0; k < file.layers; ++k) {
            const std::string layer = std::to_string(k) + ".";
            LayerWeights& to = layers_[k];
            to = LayerWeights{};
            to.receives = V > 0 && k > 0, to.makes = V > 0 && k + 1 < file.layers;
            auto density = [&](int l) { return to.receives && l < 3 ? Parts{C, V} : Parts{C}; };
            Parts invariants = density(0);
            for (int n = 0; n < NL + 1; ++n) invariants.push_back(P);
            both(layer + "send", {D}, {C}, to.send, to.send_t);
            for (int l = 0; l < NL; ++l) both(layer + "mix." + std::to_string(l), density(l), {P, P}, to.mix[l], to.mix_t[l]);
            to.gain = padded(layer + "gain", {1}, invariants, false);
            to.bound = (real)(100.0 * file.tensor(layer + "gain").size());
            if (to.makes) {
                both(layer + "vector_mix", density(1), {V}, to.vector_mix, to.vector_mix_t);
                both(layer + "gate", {H}, {V}, to.gate, to.gate_t);
                to.gate_bias = padded(layer + "gate_bias", {1}, {V}, false);
            }
            Parts inputs = invariants;
            inputs.push_back(D);
            const real *hidden_bias = padded(layer + "hidden_bias", {1}, {H}, false), *out_bias = padded(layer + "out_bias", {1}, {D}, false);
            for (int z = 0; z < Z; ++z) {
                ElementWeights& own = elements_[k][z];
                own = ElementWeights{};
                const std::string of = "." + std::to_string(z);
                own.table = padded(layer + "table" + of, Parts(NL * file.radial, 1), {C}, false, false);
                if (to.receives) own.vector_table = padded(layer + "vector_table" + of, Parts(3 * file.radial, 1), {V}, false, false);
                both(layer + "hidden" + of, inputs, {H}, own.hidden, own.hidden_t);
                both(layer + "out" + of, {H}, {D}, own.out, own.out_t);
                own.hidden_bias = hidden_bias, own.out_bias = out_bias;
            }
            to.element = elements_[k].data();
        }
        const real* bias = padded("readout_bias", {1}, {H}, false);
        for (int z = 0; z < Z; ++z) {
            both("readout." + std::to_string(z), {D}, {H}, readouts_[z].hidden, readouts_[z].hidden_t);
            readouts_[z].bias = bias;
        }
        model.n_layers = file.layers, model.n_elements = Z, model.radial = file.radial, model.l_max = file.l_max;
        model.features = up(D), model.channels = up(C), model.vectors = up(V), model.products = up(P), model.hidden = up(H);
        model.cutoff = (real)file.cutoff, model.scale = (real)file.scalar("scale"), model.last_bias = (real)file.scalar("last_bias");
        model.n_vectors = (real)V;
        model.bond_share = (real)file.bond_share;
        model.embedding = padded("embedding", Parts(Z, 1), {D}, false, false);
        model.layer = layers_.data(), model.readout = readouts_.data();
        model.last = padded("last", {1}, {H}, false);
        model.charge = padded("numbers", {1}, {Z}, false), model.radius = padded("radii", {1}, {Z}, false);
    }

    // a tensor [rows, columns] whose parts are padded; rows of size 1 are not padded where ``whole`` is false
    const real* padded(const std::string& name, const std::vector<int>& rows, const std::vector<int>& columns, bool turned,
                       bool whole = false) {
        const std::vector<double>& from = file_.tensor(name);
        const auto height = std::accumulate(rows.begin(), rows.end(), 0), width = std::accumulate(columns.begin(), columns.end(), 0);
        if (from.size() != (size_t)height * width) throw std::runtime_error("the student's tensor " + name + " has another size than it says");
        const std::vector<int> down = places(rows, whole), across = places(columns, true);
        const size_t n_down = total_of(rows, whole), n_across = total_of(columns, true);
        kept_.emplace_back(n_down * n_across);
        real* to = kept_.back().data();
        for (int r = 0; r < height; ++r)
            for (int c = 0; c < width; ++c)
                to[turned ? across[c] * n_down + down[r] : down[r] * n_across + across[c]] = (real)from[(size_t)r * width + c];
        return to;
    }

   private:
    using Parts = std::vector<int>;
    const potstill::StudentFile& file_;
    std::list<std::vector<real>> kept_;
    std::vector<LayerWeights> layers_;
    std::vector<std::vector<ElementWeights>> elements_;
    std::vector<ElementReadout> readouts_;

    static int up(int n) { return (n + LANES - 1) / LANES * LANES; }
    static size_t total_of(const Parts& parts, bool whole) {
        size_t sum = 0;
        for (int n : parts) sum += whole ? up(n) : n;
        return sum;
    }
    static std::vector<int> places(const Parts& parts, bool whole) {
        std::vector<int> found;
        int start = 0;
        for (int n : parts) {
            for (int k = 0; k < n; ++k) found.push_back(start + k);
            start += whole ? up(n) : n;
        }
        return found;
    }
    void both(const std::string& name, const Parts& rows, const Parts& columns, const real*& plain, const real*& turned) {
        plain = padded(name, rows, columns, false, true), turned = padded(name, rows, columns, true, true);
    }
};

}  // namespace POTSTILL_KERNEL
