// Differences between the versions of LAMMPS from September 2021 on, and declarations that their installed headers lack.
#pragma once

#include <cstring>
#include <type_traits>
#include <utility>

#include "comm.h"
#include "neighbor.h"
#include "pair.h"
#include "pointers.h"

namespace potstill {

template <typename C>
auto forward_comm(C* comm, LAMMPS_NS::Pair* pair, int) -> decltype(comm->forward_comm(pair), void()) { comm->forward_comm(pair); }
template <typename C>
auto forward_comm(C* comm, LAMMPS_NS::Pair* pair, long) -> decltype(comm->forward_comm_pair(pair), void()) { comm->forward_comm_pair(pair); }
template <typename C>
auto reverse_comm(C* comm, LAMMPS_NS::Pair* pair, int) -> decltype(comm->reverse_comm(pair), void()) { comm->reverse_comm(pair); }
template <typename C>
auto reverse_comm(C* comm, LAMMPS_NS::Pair* pair, long) -> decltype(comm->reverse_comm_pair(pair), void()) { comm->reverse_comm_pair(pair); }

// Request a full neighbor list; return false where this LAMMPS has another interface.
template <typename N>
auto request_full(N* neighbor, LAMMPS_NS::Pair* pair, int, int) -> decltype(neighbor->add_request(pair, 1), bool()) {
    neighbor->add_request(pair, 1);  // NeighConst::REQ_FULL
    return true;
}
// Older versions need flags in an object whose header is not installed. After its base class, it begins with the requestor. The
// flags of a new request are recognised by their values; otherwise the function changes nothing.
struct PointersSize : public LAMMPS_NS::Pointers {
    explicit PointersSize(LAMMPS_NS::LAMMPS* lmp) : Pointers(lmp) {}
};
template <typename N>
bool request_full(N* neighbor, LAMMPS_NS::Pair* pair, int instance, long) {
    const int place = neighbor->request(pair, instance);  // this call may move the array
    char* request = reinterpret_cast<char*>(neighbor->requests[place]);
    const int untouched[] = {1, 0, 0, 0, 0, 1, 0};  // pair, fix, compute, command, neigh, half, full
    void* const self = pair;
    for (size_t at = sizeof(PointersSize); at < sizeof(PointersSize) + 16; at += sizeof(void*))
        if (std::memcmp(request + at, &self, sizeof(self)) == 0) {
            int* flags = reinterpret_cast<int*>(request + at + sizeof(void*)) + 2;  // after instance and id
            if (std::memcmp(flags, untouched, sizeof(untouched)) != 0) return false;
            flags[5] = 0, flags[6] = 1;
            return true;
        }
    return false;
}

}  // namespace potstill

// As command.h has it.
#if __has_include("command.h")
#include "command.h"
#else
namespace LAMMPS_NS {
class Command : protected Pointers {
   public:
    explicit Command(LAMMPS* lmp) : Pointers(lmp) {}
    virtual void command(int, char**) = 0;
};
}  // namespace LAMMPS_NS
#endif

// As lammpsplugin.h of the package PLUGIN has it.
extern "C" {
typedef void*(lammpsplugin_factory1)(void*);
typedef struct {
    const char *version, *style, *name, *info, *author;
    union {
        lammpsplugin_factory1* v1;
        void* v2;
    } creator;
    void* handle;
} lammpsplugin_t;
typedef void (*lammpsplugin_regfunc)(lammpsplugin_t*, void*);
}
