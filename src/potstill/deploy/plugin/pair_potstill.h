// pair_style potstill: a student of potstill, on any number of processes.
//
//     plugin load potstillplugin.so
//     pair_style potstill            # or: pair_style potstill double
//     pair_coeff * * student.potstill Si O      # NULL for a type of another style, in hybrid styles
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine.h"
#include "pair.h"

namespace LAMMPS_NS {

class PairPotstill : public Pair, private potstill::Communicator {
   public:
    explicit PairPotstill(class LAMMPS* lmp);
    ~PairPotstill() override;
    void settings(int narg, char** arg) override;
    void coeff(int narg, char** arg) override;
    void init_style() override;
    double init_one(int i, int j) override;
    void compute(int eflag, int vflag) override;
    void* extract(const char* name, int& dim) override;
    void* extract_peratom(const char* name, int& columns);
    double memory_usage() override;
    int pack_forward_comm(int n, int* list, double* buffer, int, int*) override;
    void unpack_forward_comm(int n, int first, double* buffer) override;
    int pack_reverse_comm(int n, int first, double* buffer) override;
    void unpack_reverse_comm(int n, int* list, double* buffer) override;

   private:
    potstill::StudentFile student;
    std::string path;
    std::unique_ptr<potstill::Engine> engine;
    potstill::Answer answer;
    bool exact = false;  // double precision
    double scale = 1.0;  // one eV in LAMMPS's unit of energy
    std::vector<int> species_of_type;
    int uncertainty_flag = 0;
    std::vector<double> uncertainty;
    int64_t calls = 0;
    std::set<std::string> warned;

    // Numbering of atoms and ghosts, renewed with the neighbor list; -1 for atoms that the student does not compute.
    std::vector<int> atoms;         // their places in LAMMPS's arrays
    std::vector<int> number_of;     // for all in LAMMPS's arrays; an image of a local atom has that atom's number
    std::vector<int64_t> species;
    int numbered_atoms = -1, numbered_ghosts = -1;
    const void* numbered_list = nullptr;
    // Pairs of this step.
    std::vector<int64_t> first_edge, sender;
    std::vector<int> image;

    // Rows in the current exchange.
    potstill::Rows rows{};
    int first_column = 0, columns = 0;

    [[noreturn]] void stop(const std::string& text);
    void allocate(int n);
    void read_student(const std::string& file);
    void make_engine();
    void check_bonds();
    void number_atoms();
    void find_edges(int threads);
    void warn_of_foreign();
    void warn_of_masses();
    void tally(int eflag, int vflag);
    int thread_count() const;
    void to_ghosts(const potstill::Rows& given) override;
    void to_owners(const potstill::Rows& given) override;
    template <typename Task>
    void in_parts(const potstill::Rows& given, Task exchange);
    void* row_of(int i) const;
    int row_bytes() const;
};

}  // namespace LAMMPS_NS
