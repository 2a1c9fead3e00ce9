#include <dlfcn.h>
#include <mpi.h>

#include <algorithm>
#include <string>

#include "error.h"
#include "lammps.h"
#include "lammps_versions.h"
#include "lmptype.h"
#include "pair_potstill.h"

#ifndef POTSTILL_LAMMPS
#define POTSTILL_LAMMPS 0  // date of the LAMMPS compiled for, such as 20250722; 0 where it is unknown
#endif

namespace {

void* create(void* lmp) { return new LAMMPS_NS::PairPotstill((LAMMPS_NS::LAMMPS*)lmp); }

template <typename Function>
Function* of_host(const char* name) { return (Function*)dlsym(RTLD_DEFAULT, name); }

std::string mpi_of_headers() {
#if defined(OPEN_MPI)
    return "Open MPI";
#elif defined(MPICH_VERSION)
    return "MPICH";
#else
    return "";
#endif
}

std::string mpi_of_host() {
#if defined(MPI_MAX_LIBRARY_VERSION_STRING)
    std::string text(1 << 16, '\0');  // another MPI may write more than MPI_MAX_LIBRARY_VERSION_STRING
    int length = 0;
    MPI_Get_library_version(&text[0], &length);
    return text.c_str();
#else
    return "";
#endif
}

// One line where the LAMMPS that loads this plugin is not the one that it was compiled for; otherwise empty. It asks by functions
// of LAMMPS's C interface, since the classes may have another layout.
std::string misfit(void* lmp) {
    const auto version = of_host<int(void*)>("lammps_version");
    if (version && POTSTILL_LAMMPS && version(lmp) != POTSTILL_LAMMPS)
        return "for LAMMPS of " + std::to_string(POTSTILL_LAMMPS) + ", this is LAMMPS of " + std::to_string(version(lmp));
    const auto setting = of_host<int(void*, const char*)>("lammps_extract_setting");
    if (setting && (setting(lmp, "tagint") != (int)sizeof(LAMMPS_NS::tagint) || setting(lmp, "imageint") != (int)sizeof(LAMMPS_NS::imageint) ||
                    setting(lmp, "bigint") != (int)sizeof(LAMMPS_NS::bigint)))
        return "with other sizes of integers than this LAMMPS has (LAMMPS_SIZES)";
    const std::string headers = mpi_of_headers(), host = mpi_of_host();
    if (!headers.empty() && !host.empty() && host.find(headers) == std::string::npos)
        return "with " + headers + ", this LAMMPS runs with " + host.substr(0, std::min(host.find(" Version"), host.find(',')));
    return "";
}

}  // namespace

extern "C" void lammpsplugin_init(void* lmp, void* handle, void* registration) {
    auto* lammps = (LAMMPS_NS::LAMMPS*)lmp;
    const std::string problem = misfit(lmp);
    if (!problem.empty())
        lammps->error->all(FLERR, "potstillplugin.so was compiled " + problem +
                                      ": compile it for this one, by: potstill setup lammps, with --lammps BUILD for a build of your own");
    lammpsplugin_t plugin{};
    plugin.version = lammps->version;
    plugin.style = "pair", plugin.name = "potstill";
    plugin.info = "pair style potstill: a student of potstill";
    plugin.author = "the developers of potstill";
    plugin.creator.v1 = (lammpsplugin_factory1*)create;
    plugin.handle = handle;
    ((lammpsplugin_regfunc)registration)(&plugin, lmp);
}
