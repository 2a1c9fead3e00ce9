// The engine in the precision that the including file chose.
#pragma once

#include <stdexcept>

#include "engine.h"
#include "weights.h"

namespace POTSTILL_KERNEL {

class KernelEngine : public potstill::Engine {
   public:
    explicit KernelEngine(const potstill::StudentFile& file) : file_(file), weights_(file_) {
        if (file_.has("uncertainty.factor")) factor_ = weights_.padded("uncertainty.factor", {file_.hidden}, {file_.hidden}, true, true);
    }

    void compute(const potstill::Step& step, potstill::Answer& answer) override {
        const int64_t N = step.n_atoms, G = step.n_ghosts, E = step.first_edge[N];
        measure(step, E);
        local_.resize(std::max<int64_t>(N, 1));
        if (step.uncertainty) last_.resize(N * weights_.model.hidden);
        others_ = step.others;
        Exchange exchange{this, forward, backward};
        Atoms atoms{};
        atoms.n_atoms = N, atoms.n_edges = E, atoms.n_ghosts = G;
        atoms.species = step.species, atoms.first_edge = step.first_edge, atoms.sender = step.sender;
        atoms.vectors = atoms.gradient = vectors_.data(), atoms.local = local_.data();
        atoms.last = step.uncertainty ? last_.data() : nullptr;
        atoms.exchange = others_ ? &exchange : nullptr;
        start(atoms, step.threads);
        const std::vector<double>& references = file_.tensor("references");
        answer.energy.resize(N);
        for (int64_t i = 0; i < N; ++i) answer.energy[i] = (double)local_[i] + references[step.species[i]];
        sum_forces(step, answer);
    }

    // as in uncertainty.py
    void expect(const potstill::Step& step, potstill::Answer& answer) const override {
        if (!factor_) throw std::runtime_error("this student predicts no uncertainty: train it with train.uncertainty true");
        const int H = weights_.model.hidden, hidden = file_.hidden;
        const std::vector<double>&noise = file_.tensor("uncertainty.noise"), &range = file_.tensor("uncertainty.noise_range");
        const std::vector<double>&of = file_.tensor("uncertainty.coefficients"), &curve = file_.tensor("uncertainty.curve");
        const std::vector<double> none = {0.0, 1.0}, &force = file_.has("uncertainty.force") ? file_.tensor("uncertainty.force") : none;
        const bool shared = file_.has("uncertainty.neighbors") && file_.scalar("uncertainty.neighbors") > 0;
        const double reach = shared ? file_.scalar("uncertainty.reach") : INFINITY;
        const std::vector<double> squares = squared_distances(step, shared);
        answer.uncertainty.assign(step.n_atoms, 0.0);
#pragma omp parallel for num_threads(step.threads) schedule(static)
        for (int64_t i = 0; i < step.n_atoms; ++i) {
            double known = noise[hidden];
            for (int k = 0; k < hidden; ++k) known += noise[k] * last_[i * H + k];
            known = std::min(std::max(known, range[0]), range[1]);
            const double distance = 0.5 * std::log(shared ? mean(step, squares, i) : squares[i]);
            const double far = std::max(distance - reach, 0.0);
            const double* f = &answer.forces[3 * i];
            const double length = std::sqrt(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]);
            const double score = of[0] * known + of[1] * std::min(distance, reach) + std::max(of[1], 1.0) * far + of[2] +
                                 force[0] * std::log(length + force[1]);
            answer.uncertainty[i] = std::exp(std::min(along(curve, score), 20.0));
        }
    }

    void compute(const potstill::Graph& graph, void* local, void* gradient) override {
        Atoms atoms{};
        atoms.n_atoms = graph.n_atoms, atoms.n_edges = graph.first_edge[graph.n_atoms];
        atoms.species = graph.species, atoms.first_edge = graph.first_edge, atoms.sender = graph.sender;
        atoms.vectors = (const real*)graph.vectors, atoms.weight = (const real*)graph.weight;
        atoms.local = (real*)local, atoms.gradient = (real*)gradient;
        start(atoms, graph.threads);
    }

    double bytes() const override { return (double)memory.bytes() + sizeof(real) * (vectors_.size() + local_.size() + last_.size()); }

   private:
    const potstill::StudentFile file_;
    Weights weights_;
    const real* factor_ = nullptr;
    std::vector<real> vectors_, local_, last_;
    potstill::Communicator* others_ = nullptr;

    void start(const Atoms& atoms, int threads) const {
        const int failed = run<false>(weights_.model, atoms, nullptr, threads);
        if (failed == 1) throw std::runtime_error("the kernel has no code for the sizes of this student");
        if (failed == 2) throw std::runtime_error("memory ran out; use more nodes or fewer atoms a process");
    }
    static double between(const potstill::Step& s, int64_t i, int64_t e, int k) { return s.x[s.image[e]][k] - s.x[s.atom[i]][k]; }

    void measure(const potstill::Step& step, int64_t n_edges) {
        grown(vectors_, 3 * n_edges);
        real* vectors = vectors_.data();
#pragma omp parallel for num_threads(step.threads) schedule(static)
        for (int64_t i = 0; i < step.n_atoms; ++i)
            for (int64_t e = step.first_edge[i]; e < step.first_edge[i + 1]; ++e)
                for (int k = 0; k < 3; ++k) vectors[3 * e + k] = (real)between(step, i, e, k);
    }

    // The force on a receiver is the gradient by its edge's vector, that on the sender the opposite.
    void sum_forces(const potstill::Step& step, potstill::Answer& answer) const {
        const int64_t rows = step.n_atoms + step.n_ghosts;
        answer.forces.assign(3 * rows, 0.0);
        if (step.virial_per_atom) answer.virial_per_atom.assign(6 * rows, 0.0);
        double total[6] = {};
        for (int64_t i = 0; i < step.n_atoms; ++i)
            for (int64_t e = step.first_edge[i]; e < step.first_edge[i + 1]; ++e) {
                const real* gradient = vectors_.data() + 3 * e;
                double *at = &answer.forces[3 * i], *from = &answer.forces[3 * step.sender[e]];
                for (int k = 0; k < 3; ++k) at[k] += gradient[k], from[k] -= gradient[k];
                if (!step.virial && !step.virial_per_atom) continue;
                const double r[3] = {between(step, i, e, 0), between(step, i, e, 1), between(step, i, e, 2)};
                const double g[3] = {gradient[0], gradient[1], gradient[2]};
                const double v[6] = {-r[0] * g[0], -r[1] * g[1], -r[2] * g[2], -0.5 * (r[0] * g[1] + r[1] * g[0]),
                                     -0.5 * (r[0] * g[2] + r[2] * g[0]), -0.5 * (r[1] * g[2] + r[2] * g[1])};
                for (int k = 0; k < 6; ++k) total[k] += v[k];
                if (step.virial_per_atom)
                    for (int k = 0; k < 6; ++k)
                        answer.virial_per_atom[6 * i + k] += 0.5 * v[k], answer.virial_per_atom[6 * step.sender[e] + k] += 0.5 * v[k];
            }
        std::copy(total, total + 6, answer.virial);
    }

    // Squared distances from the training atoms, of atoms and, with others, of the ghosts of their neighbors.
    std::vector<double> squared_distances(const potstill::Step& step, bool with_ghosts) const {
        const int H = weights_.model.hidden, rows = MAX_BLOCK;
        std::vector<double> found(step.n_atoms + step.n_ghosts, 0.0);
#pragma omp parallel num_threads(step.threads)
        {
            std::vector<real> turned(rows * H);
#pragma omp for schedule(dynamic)
            for (int64_t start = 0; start < step.n_atoms; start += rows) {
                const int n = (int)std::min<int64_t>(rows, step.n_atoms - start);
                product(last_.data() + start * H, H, factor_, H, turned.data(), H, n, H, H);
                for (int a = 0; a < n; ++a) {
                    double square = 0;
                    for (int k = 0; k < H; ++k) square += (double)turned[a * H + k] * turned[a * H + k];
                    found[start + a] = std::min(std::max(square, 1e-24), 1e30);
                }
            }
        }
        if (with_ghosts && step.others) {
            std::vector<int64_t> plain(step.n_atoms);
            for (int64_t a = 0; a < step.n_atoms; ++a) plain[a] = a;
            step.others->to_ghosts({found.data(), 1, false, plain.data()});
        }
        return found;
    }

    double mean(const potstill::Step& step, const std::vector<double>& values, int64_t i) const {
        double total = values[i], weights = 1;
        for (int64_t e = step.first_edge[i]; e < step.first_edge[i + 1]; ++e) {
            double square = 0;
            for (int k = 0; k < 3; ++k) square += between(step, i, e, k) * between(step, i, e, k);
            const double weight = 0.5 + 0.5 * std::cos(M_PI * std::min(std::sqrt(square) / file_.cutoff, 1.0));
            weights += weight, total += weight * values[step.sender[e]];
        }
        return total / weights;
    }

    static double along(const std::vector<double>& curve, double score) {  // linear between the points, of slope 1 beyond
        const size_t count = curve.size() / 2;
        if (count < 2) return count ? score + curve[1] - curve[0] : score;
        const double *x = curve.data(), *y = x + count;
        const double within = std::min(std::max(score, x[0]), x[count - 1]);
        const size_t right = std::min<size_t>(std::max<size_t>(std::lower_bound(x, x + count, within) - x, 1), count - 1);
        const double slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1]);
        return y[right - 1] + slope * (within - x[right - 1]) + (score - within);
    }

    static void forward(void* caller, const int64_t* row, real* sent, real* vectors) {
        KernelEngine& self = *(KernelEngine*)caller;
        const Model& m = self.weights_.model;
        self.others_->to_ghosts({sent, m.channels, sizeof(real) == sizeof(float), row});
        if (vectors) self.others_->to_ghosts({vectors, 3 * m.vectors, sizeof(real) == sizeof(float), row});
    }
    static void backward(void* caller, const int64_t* row, real* sent, real* vectors) {
        KernelEngine& self = *(KernelEngine*)caller;
        const Model& m = self.weights_.model;
        self.others_->to_owners({sent, m.channels, sizeof(real) == sizeof(float), row});
        if (vectors) self.others_->to_owners({vectors, 3 * m.vectors, sizeof(real) == sizeof(float), row});
    }
};

}  // namespace POTSTILL_KERNEL
