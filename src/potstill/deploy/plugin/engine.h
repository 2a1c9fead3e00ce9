// Engine: the kernel in one precision, on atoms of this process and ghosts of others.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "student_file.h"

namespace potstill {

// Rows of values of atoms (at the places ``row``) and of ghosts (after those of all atoms).
struct Rows {
    void* data;
    int width;           // values in a row
    bool single;         // true: float, false: double
    const int64_t* row;  // place of each atom
};

class Communicator {
   public:
    virtual void to_ghosts(const Rows& rows) = 0;  // copy
    virtual void to_owners(const Rows& rows) = 0;  // add

   protected:
    ~Communicator() = default;
};

// One step. Atoms are numbered 0 to N - 1, ghosts N to N + G - 1.
struct Step {
    int64_t n_atoms = 0, n_ghosts = 0;
    const int* atom = nullptr;         // [N] index in x
    const int64_t* species = nullptr;  // [N + G]; -1 for atoms that the student does not compute
    const int64_t* first_edge = nullptr;  // [N + 1]
    const int64_t* sender = nullptr;      // [E] atom or ghost, of pairs closer than the cutoff
    const int* image = nullptr;           // [E] index in x
    const double* const* x = nullptr;
    Communicator* others = nullptr;  // null where every ghost is an image of an atom here
    int threads = 1;
    bool virial = false, virial_per_atom = false, uncertainty = false;
};

struct Answer {
    std::vector<double> energy;           // [N] eV, reference energies included
    std::vector<double> forces;           // [N + G, 3] eV/Å
    std::vector<double> virial_per_atom;  // [N + G, 6] eV: xx, yy, zz, xy, xz, yz, as LAMMPS has it
    std::vector<double> uncertainty;      // [N] eV/Å, by Engine::expect
    double virial[6];                     // eV
};

// Atoms and the vectors of their edges, in the precision of the engine: what Python and TorchScript bring.
struct Graph {
    int64_t n_atoms = 0;
    const int64_t *species = nullptr, *first_edge = nullptr, *sender = nullptr;  // [N], [N + 1], [E]
    const void* vectors = nullptr;  // [E, 3] Å
    const void* weight = nullptr;   // [N] of each local energy in the sum whose gradient is asked for; null for that of all
    int threads = 1;
};

class Engine {
   public:
    virtual ~Engine() = default;
    virtual void compute(const Step& step, Answer& answer) = 0;  // throws std::runtime_error
    // expected errors of the last step, from its features and the whole forces on its atoms; throws std::runtime_error
    virtual void expect(const Step& step, Answer& answer) const = 0;
    // local energies [N] in eV without reference energies, and the gradient [E, 3] in eV/Å; throws std::runtime_error
    virtual void compute(const Graph& graph, void* local, void* gradient) = 0;
    virtual double bytes() const = 0;
};

std::unique_ptr<Engine> single_engine(const StudentFile& file);
std::unique_ptr<Engine> double_engine(const StudentFile& file);

}  // namespace potstill
