#include "pair_potstill.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "lammps_versions.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

using namespace LAMMPS_NS;

namespace {
constexpr int EXCHANGED = 128;         // doubles per atom in one exchange; fixed before the student is read
constexpr int LOOK_EVERY = 100;        // number of steps between two checks
constexpr double CLOSER = 0.9, CROWDED = 1.3, SPARSE = 0.8, BONDED = 1.3;  // see potstill/student/domain.py
constexpr double KCAL_PER_MOL = 23.060549;                   // one eV, with LAMMPS's constant
}  // namespace

PairPotstill::PairPotstill(LAMMPS* lmp) : Pair(lmp) {
    single_enable = 0, restartinfo = 0, one_coeff = 1, manybody_flag = 1, no_virial_fdotr_compute = 1, unit_convert_flag = 0;
    centroidstressflag = CENTROID_NOTAVAIL;
    comm_forward = comm_reverse = comm_reverse_off = EXCHANGED;
}

PairPotstill::~PairPotstill() {
    if (copymode || !allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
}

// Raise one error line from all processes. The line is a plain string, so that text in braces is not formatted.
void PairPotstill::stop(const std::string& text) { error->all(FLERR, text); }

void PairPotstill::settings(int narg, char** arg) {
    if (narg > 1) stop("pair_style potstill takes one word at most: single or double");
    const std::string precision = narg ? arg[0] : "single";
    if (precision != "single" && precision != "double")
        stop("pair_style potstill: found '" + precision + "', expected single or double");
    const bool other = exact != (precision == "double");
    exact = precision == "double";
    if (engine && other) make_engine();  // pair_style was given again
}

void PairPotstill::allocate(int n) {
    allocated = 1;
    memory->create(setflag, n + 1, n + 1, "pair:setflag");
    memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
    std::fill(&setflag[0][0], &setflag[0][0] + (n + 1) * (n + 1), 0);
}

void PairPotstill::coeff(int narg, char** arg) {
    const int n = atom->ntypes;
    if (narg < 3 || std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
        stop("pair_style potstill needs: pair_coeff * * student.potstill ELEMENT ... (one element, or NULL, of each type)");
    if (narg - 3 != n)
        stop("pair_coeff * * " + std::string(arg[2]) + " names " + std::to_string(narg - 3) + " elements, there are " +
                              std::to_string(n) + " atom types: name the element of each type, or NULL");
    read_student(arg[2]);
    species_of_type.assign(n + 1, -1);
    for (int type = 1; type <= n; ++type) {
        const std::string element = arg[2 + type];
        if (element == "NULL") continue;
        species_of_type[type] = student.place_of(element);
        if (species_of_type[type] < 0) {
            std::string known;
            for (const auto& each : student.elements) known += (known.empty() ? "" : ", ") + each;
            stop(path + " does not hold " + element + "; it holds " + known +
                                  ": export the student again for the elements you need, if it was trained on them");
        }
    }
    const auto missing = std::find(species_of_type.begin() + 1, species_of_type.end(), -1);
    if (missing != species_of_type.end() && !utils::strmatch(force->pair_style, "^hybrid"))
        stop("pair_coeff * * " + path + ": atom type " + std::to_string(missing - species_of_type.begin()) +
             " is NULL, so no forces would act on it: name its element, or give its forces by pair_style hybrid/overlay");
    if (std::all_of(species_of_type.begin() + 1, species_of_type.end(), [](int s) { return s < 0; }))
        stop("pair_coeff * * potstill " + path + ": every atom type is NULL: name the element of one type at least, or leave this line out");
    if (!allocated) allocate(n);
    for (int i = 1; i <= n; ++i)
        for (int j = 1; j <= n; ++j) setflag[i][j] = species_of_type[i] >= 0 && species_of_type[j] >= 0;
    numbered_list = nullptr;
}

void PairPotstill::read_student(const std::string& file) {
    std::string bytes;
    long long size = -1;
    if (comm->me == 0) {
        std::ifstream stream(file, std::ios::binary);
        if (stream) {
            std::ostringstream all;
            all << stream.rdbuf();
            bytes = all.str(), size = (long long)bytes.size();
        }
    }
    MPI_Bcast(&size, 1, MPI_LONG_LONG, 0, world);
    if (size < 0) stop("there is no file " + file + "; write it with: potstill deploy RUN --to lammps");
    bytes.resize(size);
    const long long piece = 1 << 30;
    for (long long at = 0; at < size; at += piece) MPI_Bcast(&bytes[at], (int)std::min(piece, size - at), MPI_BYTE, 0, world);
    try {
        student = potstill::StudentFile::parse(bytes, file);
    } catch (const std::runtime_error& failure) {
        stop(failure.what());
    }
    path = file;
    make_engine();
}

void PairPotstill::make_engine() {
    try {
        engine = exact ? potstill::double_engine(student) : potstill::single_engine(student);
    } catch (const std::runtime_error& failure) {
        stop(failure.what());
    }
}

void PairPotstill::init_style() {
    const std::string units = update->unit_style;
    if (units != "metal" && units != "real")
        stop("pair_style potstill needs units metal or real, found 'units " + units + "': put 'units metal' at the top of the input");
    scale = units == "real" ? KCAL_PER_MOL : 1.0;
    if (utils::strmatch(update->integrate_style, "^respa"))
        stop("pair_style potstill cannot be split into inner and outer forces: use run_style verlet, found respa");
    if (!atom->tag_enable) stop("pair_style potstill needs atom IDs: remove 'atom_modify id no'");
    if (!potstill::request_full(neighbor, this, instance_me, 0))
        stop("pair_style potstill cannot ask this version of LAMMPS for a full neighbor list: use a newer one");
    numbered_list = nullptr;
    warn_of_masses();
}

// Warn of elements in another order than that of the atom types: a type has the mass of another element in the same line.
void PairPotstill::warn_of_masses() {
    if (comm->me != 0 || !atom->mass || !student.has("masses")) return;
    const std::vector<double>& known = student.tensor("masses");
    for (int type = 1; type <= atom->ntypes; ++type) {
        const int own = species_of_type[type];
        if (own < 0 || !atom->mass_setflag[type]) continue;
        const auto gap = [&](int species) { return std::fabs(atom->mass[type] - known[species]); };
        for (const int other : species_of_type)
            if (other >= 0 && gap(other) < 0.1 && gap(other) < gap(own) && warned.insert("mass " + std::to_string(type)).second)
                error->warning(FLERR, "pair_coeff names " + student.elements[own] + " for atom type " + std::to_string(type) +
                                          ", which has the mass of " + student.elements[other] +
                                          ": give the elements in the order of the atom types");
    }
}

double PairPotstill::init_one(int i, int j) {
    if (setflag[i][j] == 0) stop("pair_style potstill: not every type has an element");
    return student.cutoff;
}

int PairPotstill::thread_count() const {
    const char* asked = std::getenv("OMP_NUM_THREADS");
    return std::max({1, comm->nthreads, asked ? std::atoi(asked) : 1});
}

// Refuse special_bonds that remove bonded atoms of the student from the neighbor list.
void PairPotstill::check_bonds() {
    if (atom->molecular != Atom::MOLECULAR || !atom->nspecial || atom->map_style == Atom::MAP_NONE) return;
    for (int i = 0; i < atom->nlocal; ++i) {
        if (species_of_type[atom->type[i]] < 0) continue;
        for (int order = 1, k = 0; order <= 3; ++order) {
            const bool removed = neighbor->special_flag[order] == 0;
            for (; k < atom->nspecial[i][order - 1]; ++k) {
                const int j = removed ? atom->map(atom->special[i][k]) : -1;
                if (j >= 0 && species_of_type[atom->type[j]] >= 0)
                    error->one(FLERR, std::string("special_bonds removes bonded atoms from the neighbors that pair_style potstill needs: "
                                                  "use 'special_bonds lj/coul 1e-50 1e-50 1e-50' where another style needs zeros, else 'lj/coul 1 1 1'"));
            }
        }
    }
}

// Local atoms are numbered in the order of the list. Ghosts that are images of local atoms share their number. All others follow
// by their index, and only where there are several processes.
void PairPotstill::number_atoms() {
    if (atom->molecular != Atom::ATOMIC) check_bonds();
    if ((neighbor->exclude || neighbor->includegroup) && comm->me == 0 && warned.insert("exclude").second)
        error->warning(FLERR, std::string("neigh_modify exclude or include leaves out pairs of atoms: energies and forces of pair_style potstill "
                                          "are those of atoms without these neighbors; hold atoms by fix setforce or fix rigid"));
    const int n_local = atom->nlocal, n_all = n_local + atom->nghost;
    number_of.assign(n_all, -1);
    atoms.clear();
    for (int k = 0; k < list->inum; ++k) {
        const int i = list->ilist[k];
        if (species_of_type[atom->type[i]] < 0) continue;
        number_of[i] = (int)atoms.size();
        atoms.push_back(i);
    }
    std::vector<std::pair<tagint, int>> owners;
    owners.reserve(atoms.size());
    for (size_t a = 0; a < atoms.size(); ++a) owners.emplace_back(atom->tag[atoms[a]], (int)a);
    std::sort(owners.begin(), owners.end());
    for (int i = n_local; i < n_all; ++i) {
        if (species_of_type[atom->type[i]] < 0) continue;
        const auto found = std::lower_bound(owners.begin(), owners.end(), std::make_pair(atom->tag[i], 0));
        if (found != owners.end() && found->first == atom->tag[i])
            number_of[i] = found->second;
        else if (comm->nprocs > 1)
            number_of[i] = (int)atoms.size() + i - n_local;
    }
    species.assign(atoms.size() + (comm->nprocs > 1 ? atom->nghost : 0), -1);
    for (int i = 0; i < n_all; ++i)
        if (number_of[i] >= 0) species[number_of[i]] = species_of_type[atom->type[i]];
    numbered_atoms = n_local, numbered_ghosts = atom->nghost, numbered_list = list;
}

void PairPotstill::find_edges(int threads) {
    const int n = (int)atoms.size();
    const double reach = student.cutoff * student.cutoff;
    double** x = atom->x;
    auto each_neighbor = [&](int a, auto&& use) {
        const int i = atoms[a], count = list->numneigh[i], *neighbors = list->firstneigh[i];
        for (int k = 0; k < count; ++k) {
            const int j = neighbors[k] & NEIGHMASK;
            const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
            if (dx * dx + dy * dy + dz * dz < reach && number_of[j] >= 0) use(j);
        }
    };
    first_edge.assign(n + 1, 0);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int a = 0; a < n; ++a) each_neighbor(a, [&](int) { ++first_edge[a + 1]; });
    for (int a = 0; a < n; ++a) first_edge[a + 1] += first_edge[a];
    const size_t wanted = first_edge[n];
    if (sender.size() < wanted) {
        std::vector<int64_t>().swap(sender), std::vector<int>().swap(image);
        sender.resize(wanted + std::min<size_t>(wanted / 8, 1 << 18)), image.resize(sender.size());
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int a = 0; a < n; ++a) {
        int64_t e = first_edge[a];
        each_neighbor(a, [&](int j) { sender[e] = number_of[j], image[e++] = j; });
    }
}

void PairPotstill::compute(int eflag, int vflag) {
    ev_init(eflag, vflag);
    if (neighbor->ago == 0 || numbered_list != list || numbered_atoms != atom->nlocal || numbered_ghosts != atom->nghost) number_atoms();
    const int threads = thread_count();
    find_edges(threads);
    if (calls++ % LOOK_EVERY == 0) warn_of_foreign();

    potstill::Step step;
    step.n_atoms = (int64_t)atoms.size(), step.n_ghosts = (int64_t)(species.size() - atoms.size());
    step.atom = atoms.data(), step.species = species.data();
    step.first_edge = first_edge.data(), step.sender = sender.data(), step.image = image.data(), step.x = atom->x;
    step.others = comm->nprocs > 1 ? this : nullptr;
    step.threads = threads, step.virial = vflag_global, step.virial_per_atom = vflag_atom, step.uncertainty = uncertainty_flag;
    const auto guarded = [&](auto&& task) {
        try {
            task();
        } catch (const std::runtime_error& failure) {
            error->one(FLERR, std::string("pair_style potstill: ") + failure.what());
        }
    };
    guarded([&] { engine->compute(step, answer); });
    if (step.others) {
        std::vector<int64_t> plain(atoms.size());
        for (size_t a = 0; a < plain.size(); ++a) plain[a] = (int64_t)a;
        to_owners({answer.forces.data(), 3, false, plain.data()});
        if (vflag_atom) to_owners({answer.virial_per_atom.data(), 6, false, plain.data()});
    }
    if (uncertainty_flag) guarded([&] { engine->expect(step, answer); });
    tally(eflag, vflag);
}

void PairPotstill::tally(int, int) {
    double energy = 0;
    for (size_t a = 0; a < atoms.size(); ++a) {
        const int i = atoms[a];
        energy += answer.energy[a];
        for (int k = 0; k < 3; ++k) atom->f[i][k] += scale * answer.forces[3 * a + k];
        if (eflag_atom) eatom[i] += scale * answer.energy[a];
        if (vflag_atom)
            for (int k = 0; k < 6; ++k) vatom[i][k] += scale * answer.virial_per_atom[6 * a + k];
    }
    if (!std::isfinite(energy)) error->one(FLERR, std::string("pair_style potstill: the energy is no finite number; atoms came too close, or the time step is too long"));
    if (eflag_global) eng_vdwl += scale * energy;
    if (vflag_global)
        for (int k = 0; k < 6; ++k) virial[k] += scale * answer.virial[k];
    if (uncertainty_flag) {
        uncertainty.assign(std::max(atom->nmax, 1), 0.0);
        for (size_t a = 0; a < atoms.size(); ++a) uncertainty[atoms[a]] = scale * answer.uncertainty[a];
    }
}

// Warn of structures far outside the training data, once per pair of elements. All processes call this in the same steps.
void PairPotstill::warn_of_foreign() {
    if (!student.has("closest")) return;
    const int n = student.n_elements();
    const std::vector<double>&known = student.tensor("closest"), &radii = student.tensor("radii");
    std::vector<double> mine(n * n + 2, 1e30), nearest(n * n + 2);
    for (size_t a = 0; a < atoms.size(); ++a) {
        for (int64_t e = first_edge[a]; e < first_edge[a + 1]; ++e) {
            double square = 0;
            for (int k = 0; k < 3; ++k) square += std::pow(atom->x[image[e]][k] - atom->x[atoms[a]][k], 2);
            double& place = mine[species[a] * n + species[sender[e]]];
            place = std::min(place, std::sqrt(square));
        }
        const double count = first_edge[a + 1] - first_edge[a];
        mine[n * n] = std::min(mine[n * n], -count);
        mine[n * n + 1] = std::min(mine[n * n + 1], count);
    }
    MPI_Allreduce(mine.data(), nearest.data(), n * n + 2, MPI_DOUBLE, MPI_MIN, world);
    if (comm->me != 0) return;
    auto warn = [&](const std::string& kind, const std::string& text) {
        if (warned.insert(kind).second) error->warning(FLERR, "far outside the student's training data: " + text);
    };
    auto angstrom = [](double d) {
        char text[32];
        std::snprintf(text, sizeof(text), "%.2f A", d);
        return std::string(text);
    };
    for (int i = 0; i < n; ++i)
        for (int j = i; j < n; ++j) {
            const double d = nearest[i * n + j], least = known[i * n + j];
            const std::string pair = student.elements[i] + "-" + student.elements[j];
            if (least > 0 && d < CLOSER * least)
                warn(pair, pair + " at " + angstrom(d) + ", in the data " + angstrom(least) + " or more");
            else if (least == 0 && d < BONDED * (radii[i] + radii[j]))
                warn(pair, pair + " at " + angstrom(d) + ", a pair that the data does not hold");
        }
    const double most = -nearest[n * n];
    if (student.most_neighbors > 0 && most > CROWDED * student.most_neighbors)
        warn("neighbors", "an atom has " + std::to_string((int)most) + " neighbors within the cutoff, in the data at most " +
                              std::to_string(student.most_neighbors));
    const double fewest = nearest[n * n + 1];
    if (fewest < SPARSE * student.fewest_neighbors)
        warn("few neighbors", "an atom has " + std::to_string((int)fewest) + " neighbors within the cutoff, in the data at least " +
                                  std::to_string(student.fewest_neighbors));
}

void* PairPotstill::extract(const char* name, int& dim) {
    dim = 0;
    if (std::strcmp(name, "uncertainty_flag") != 0) return nullptr;
    if (!student.has("uncertainty.factor"))
        stop(path.empty() ? std::string("pair_coeff must come before fix pair") : path + " predicts no uncertainty: train the student with train.uncertainty true");
    return &uncertainty_flag;
}

void* PairPotstill::extract_peratom(const char* name, int& columns_found) {
    if (std::strcmp(name, "uncertainty") != 0) return nullptr;
    columns_found = 0;
    if ((int)uncertainty.size() < atom->nmax) uncertainty.resize(std::max(atom->nmax, 1), 0.0);
    return uncertainty.data();
}

double PairPotstill::memory_usage() {
    double bytes = Pair::memory_usage() + (engine ? engine->bytes() : 0.0);
    bytes += 8.0 * (first_edge.capacity() + sender.capacity() + species.capacity()) + 4.0 * (image.capacity() + number_of.capacity() + atoms.capacity());
    return bytes + 8.0 * (answer.energy.capacity() + answer.forces.capacity() + answer.virial_per_atom.capacity());
}

// ---------------------------------------------------------------- exchange of rows between processes

int PairPotstill::row_bytes() const { return rows.single ? 4 : 8; }

// Row of an atom or ghost in LAMMPS's arrays; null where there is none. Ghosts have rows of their own, images included.
void* PairPotstill::row_of(int i) const {
    int64_t row;
    if (i < atom->nlocal) {
        if (number_of[i] < 0) return nullptr;
        row = rows.row[number_of[i]];
    } else {
        row = (int64_t)atoms.size() + i - atom->nlocal;
    }
    return (char*)rows.data + ((size_t)row * rows.width + first_column) * row_bytes();
}

template <typename Task>
void PairPotstill::in_parts(const potstill::Rows& given, Task exchange) {
    rows = given;
    const int most = EXCHANGED * 8 / row_bytes();
    for (first_column = 0; first_column < rows.width; first_column += columns) {
        columns = std::min(most, rows.width - first_column);
        comm_forward = comm_reverse = comm_reverse_off = (columns * row_bytes() + 7) / 8;
        exchange();
    }
    comm_forward = comm_reverse = comm_reverse_off = EXCHANGED;
}
void PairPotstill::to_ghosts(const potstill::Rows& given) {
    in_parts(given, [&] { potstill::forward_comm(comm, this, 0); });
}
void PairPotstill::to_owners(const potstill::Rows& given) {
    in_parts(given, [&] { potstill::reverse_comm(comm, this, 0); });
}

int PairPotstill::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
    const int size = comm_forward;
    for (int k = 0; k < n; ++k)
        if (const void* row = row_of(list[k])) std::memcpy(buffer + (size_t)k * size, row, columns * row_bytes());
    return n * size;
}
void PairPotstill::unpack_forward_comm(int n, int first, double* buffer) {
    for (int k = 0; k < n; ++k) std::memcpy(row_of(first + k), buffer + (size_t)k * comm_forward, columns * row_bytes());
}
int PairPotstill::pack_reverse_comm(int n, int first, double* buffer) {
    for (int k = 0; k < n; ++k) std::memcpy(buffer + (size_t)k * comm_reverse, row_of(first + k), columns * row_bytes());
    return n * comm_reverse;
}
void PairPotstill::unpack_reverse_comm(int n, int* list, double* buffer) {
    for (int k = 0; k < n; ++k) {
        void* row = row_of(list[k]);
        if (!row) continue;
        if (rows.single) {
            const float* from = (const float*)(buffer + (size_t)k * comm_reverse);
            for (int c = 0; c < columns; ++c) ((float*)row)[c] += from[c];
        } else {
            for (int c = 0; c < columns; ++c) ((double*)row)[c] += buffer[(size_t)k * comm_reverse + c];
        }
    }
}
