// What Python calls to compute with an exported student.potstill in double precision, by the code of the pair style.
// Functions that can fail return 1 then, and put one line into ``message``.

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "engine.h"

namespace {

struct Reader {
    potstill::StudentFile file;
    std::unique_ptr<potstill::Engine> engine;
};

template <typename Task>
int guarded(char* message, int size, Task task) {
    try {
        task();
        return 0;
    } catch (const std::exception& failure) {
        std::snprintf(message, size, "%s", failure.what());
        return 1;
    }
}

}  // namespace

extern "C" {

int reader_open(const char* path, Reader** opened, char* message, int size) {
    return guarded(message, size, [&] {
        std::ifstream stream(path, std::ios::binary);
        if (!stream) throw std::runtime_error(std::string("there is no file ") + path + "; write it with: potstill deploy RUN --to lammps");
        std::ostringstream all;
        all << stream.rdbuf();
        auto reader = std::make_unique<Reader>();
        reader->file = potstill::StudentFile::parse(all.str(), path);
        reader->engine = potstill::double_engine(reader->file);
        *opened = reader.release();
    });
}

void reader_close(Reader* reader) { delete reader; }

double reader_cutoff(const Reader* reader) { return reader->file.cutoff; }

// -1 where the student does not know the element
int reader_place(const Reader* reader, const char* element) { return reader->file.place_of(element); }

double reader_reference(const Reader* reader, int place) { return reader->file.tensor("references").at(place); }

// local energies [N] without reference energies, and the gradient [E, 3] of their sum by the edges' vectors
int reader_compute(Reader* reader, int64_t n_atoms, const int64_t* species, const int64_t* first_edge, const int64_t* sender,
                   const double* vectors, double* local, double* gradient, char* message, int size) {
    return guarded(message, size, [&] {
        potstill::Graph graph;
        graph.n_atoms = n_atoms, graph.species = species, graph.first_edge = first_edge, graph.sender = sender, graph.vectors = vectors;
        reader->engine->compute(graph, local, gradient);
    });
}
}
