// A student of the file student.potstill as a class of TorchScript: local energies by the fused kernel, with their derivative.
//
// In:  species of atoms, pairs (receiver, sender) of atoms closer than the cutoff, each with its reverse, and their vectors.
// Out: local energies without reference energies, differentiable once by the vectors.

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine.h"

namespace {

using torch::Tensor;

// Pairs sorted by their receiver, as the kernel wants them.
struct Sorted {
    std::vector<int64_t> first_edge, sender;
    std::vector<int64_t> place;  // of each given pair

    Sorted(const Tensor& pairs, int64_t n_atoms) : first_edge(n_atoms + 1, 0), sender(pairs.size(0)), place(pairs.size(0)) {
        const auto at = pairs.accessor<int32_t, 2>();
        const int64_t n = pairs.size(0);
        for (int64_t e = 0; e < n; ++e) {
            TORCH_CHECK(at[e][0] >= 0 && at[e][0] < n_atoms && at[e][1] >= 0 && at[e][1] < n_atoms,
                        "a pair of the neighbor list names an atom that is not in the system");
            ++first_edge[at[e][0] + 1];
        }
        for (int64_t i = 0; i < n_atoms; ++i) first_edge[i + 1] += first_edge[i];
        std::vector<int64_t> next(first_edge.begin(), first_edge.end() - 1);
        for (int64_t e = 0; e < n; ++e) sender[place[e] = next[at[e][0]]++] = at[e][1];
    }
};

template <typename real>
void move_rows(const Tensor& from, Tensor& to, const std::vector<int64_t>& place, bool back) {
    const real* x = from.data_ptr<real>();
    real* y = to.data_ptr<real>();
    for (size_t e = 0; e < place.size(); ++e)
        for (int k = 0; k < 3; ++k) (back ? y[3 * e + k] : y[3 * place[e] + k]) = back ? x[3 * place[e] + k] : x[3 * e + k];
}

struct Student : torch::CustomClassHolder {
    const Tensor bytes;  // of the file
    const bool exact;    // double precision
    std::unique_ptr<potstill::Engine> engine;
    int n_elements = 0;

    Student(Tensor given, bool double_precision) : bytes(given.to(torch::kCPU, torch::kUInt8).contiguous()), exact(double_precision) {
        const std::string text((const char*)bytes.data_ptr<uint8_t>(), bytes.numel());
        const auto file = potstill::StudentFile::parse(text, "the student in this model");
        n_elements = file.n_elements();
        engine = exact ? potstill::double_engine(file) : potstill::single_engine(file);
    }

    torch::ScalarType type() const { return exact ? torch::kFloat64 : torch::kFloat32; }

    // local energies, and the gradient of their sum with the given weights, of pairs in their given order
    std::tuple<Tensor, Tensor> compute(const Tensor& vectors, const Tensor& pairs, const Tensor& species, const Tensor& weight) {
        const Sorted sorted(pairs, species.size(0));
        const Tensor given = vectors.contiguous();
        Tensor rows = torch::empty_like(given), gradient = torch::empty_like(given);
        Tensor local = torch::empty({species.size(0)}, given.options());
        potstill::Graph graph;
        graph.n_atoms = species.size(0), graph.species = species.data_ptr<int64_t>();
        graph.first_edge = sorted.first_edge.data(), graph.sender = sorted.sender.data();
        graph.vectors = rows.data_ptr(), graph.weight = weight.defined() ? weight.data_ptr() : nullptr;
        graph.threads = at::get_num_threads();
        exact ? move_rows<double>(given, rows, sorted.place, false) : move_rows<float>(given, rows, sorted.place, false);
        engine->compute(graph, local.data_ptr(), rows.data_ptr());
        exact ? move_rows<double>(rows, gradient, sorted.place, true) : move_rows<float>(rows, gradient, sorted.place, true);
        return {local, gradient};
    }
};

struct LocalEnergies : torch::autograd::Function<LocalEnergies> {
    static Tensor forward(torch::autograd::AutogradContext* context, Tensor vectors, Tensor pairs, Tensor species,
                          c10::intrusive_ptr<Student> student) {
        const auto [local, gradient] = student->compute(vectors, pairs, species, Tensor());
        context->save_for_backward({vectors, pairs, species, gradient});
        context->saved_data["student"] = student;
        return local;
    }

    // The gradient at hand is that of the sum of all; another sum, such as that of selected atoms, is computed anew.
    static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context, torch::autograd::tensor_list by) {
        TORCH_CHECK(!at::GradMode::is_enabled(), "the fused kernel has no second derivatives: use student.pt, which is TorchScript alone");
        const auto saved = context->get_saved_variables();
        const Tensor weight = by[0].to(saved[0].scalar_type()).contiguous();
        Tensor found;
        if (weight.numel() == 0 || (weight == weight[0]).all().item<bool>())
            found = weight.numel() ? saved[3] * weight[0] : saved[3];
        else
            found = std::get<1>(context->saved_data["student"].toCustomClass<Student>()->compute(saved[0], saved[1], saved[2], weight));
        return {found, Tensor(), Tensor(), Tensor()};
    }
};

Tensor local_energies(const c10::intrusive_ptr<Student>& student, Tensor vectors, Tensor pairs, Tensor species) {
    TORCH_CHECK(vectors.device().is_cpu() && vectors.scalar_type() == student->type(), "the fused kernel of this model is for ",
                student->type(), " on a CPU, found ", vectors.scalar_type(), " on ", vectors.device());
    TORCH_CHECK(vectors.dim() == 2 && vectors.size(1) == 3 && pairs.dim() == 2 && pairs.size(0) == vectors.size(0),
                "the neighbor list has another shape than its vectors");
    species = species.to(torch::kInt64).contiguous();
    TORCH_CHECK(species.numel() == 0 || (species.min().item<int64_t>() >= 0 && species.max().item<int64_t>() < student->n_elements),
                "the system holds an element that the student does not know");
    return LocalEnergies::apply(vectors, pairs.to(torch::kInt32), species, student);
}

}  // namespace

TORCH_LIBRARY(potstill, library) {
    library.class_<Student>("Student")
        .def(torch::init<Tensor, bool>())
        .def("local_energies", &local_energies)
        .def_pickle([](const c10::intrusive_ptr<Student>& self) { return std::make_tuple(self->bytes, self->exact); },
                    [](std::tuple<Tensor, bool> state) { return c10::make_intrusive<Student>(std::get<0>(state), std::get<1>(state)); });
}
