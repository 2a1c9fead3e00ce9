#include "lammps.h"
#include "lammps_versions.h"
#include "pair_potstill.h"

static void* create(void* lmp) { return new LAMMPS_NS::PairPotstill((LAMMPS_NS::LAMMPS*)lmp); }

extern "C" void lammpsplugin_init(void* lmp, void* handle, void* registration) {
    lammpsplugin_t plugin{};
    plugin.version = ((LAMMPS_NS::LAMMPS*)lmp)->version;  // the version compiled for by: potstill setup lammps
    plugin.style = "pair", plugin.name = "potstill";
    plugin.info = "pair style potstill: a student of potstill";
    plugin.author = "the developers of potstill";
    plugin.creator.v1 = (lammpsplugin_factory1*)create;
    plugin.handle = handle;
    ((lammpsplugin_regfunc)registration)(&plugin, lmp);
}
