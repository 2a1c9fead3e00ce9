// The program of a LAMMPS that cannot load plugins (it lacks the package PLUGIN), with pair_style potstill in it.
// The command clear removes the style.

#include <mpi.h>

#include "force.h"
#include "input.h"
#include "lammps.h"
#include "pair_potstill.h"

static LAMMPS_NS::Pair* create(LAMMPS_NS::LAMMPS* lmp) { return new LAMMPS_NS::PairPotstill(lmp); }

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    auto* lammps = new LAMMPS_NS::LAMMPS(argc, argv, MPI_COMM_WORLD);
    (*lammps->force->pair_map)["potstill"] = &create;
    lammps->input->file();
    delete lammps;
    MPI_Finalize();
}
