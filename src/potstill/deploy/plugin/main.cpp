// The program of a LAMMPS that cannot load plugins (it lacks the package PLUGIN), with pair_style potstill in it.
// The command clear removes the style; as with a plugin, ``plugin load`` brings it back.

#include <mpi.h>

#include "comm.h"
#include "force.h"
#include "input.h"
#include "lammps.h"
#include "lammps_versions.h"
#include "pair_potstill.h"
#include "utils.h"

namespace {

LAMMPS_NS::Pair* create(LAMMPS_NS::LAMMPS* lmp) { return new LAMMPS_NS::PairPotstill(lmp); }
void add_style(LAMMPS_NS::LAMMPS* lmp) { (*lmp->force->pair_map)["potstill"] = &create; }

// The command plugin, so that an input with ``plugin load`` runs here as it is.
class Plugin : public LAMMPS_NS::Command {
   public:
    explicit Plugin(LAMMPS_NS::LAMMPS* lmp) : Command(lmp) {}
    void command(int narg, char** arg) override {
        if (narg == 0 || std::strcmp(arg[0], "load") != 0) return;
        add_style(lmp);
        if (comm->me == 0) LAMMPS_NS::utils::logmesg(lmp, std::string("pair_style potstill is part of this program\n"));
    }
};
LAMMPS_NS::Command* create_plugin(LAMMPS_NS::LAMMPS* lmp) { return new Plugin(lmp); }

}  // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    auto* lammps = new LAMMPS_NS::LAMMPS(argc, argv, MPI_COMM_WORLD);
    add_style(lammps);
    (*lammps->input->command_map)["plugin"] = &create_plugin;
    lammps->input->file();
    delete lammps;
    MPI_Finalize();
}
