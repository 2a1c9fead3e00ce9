#include "student_file.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace potstill {

namespace {

const char* const AGAIN = "; write it again with: potstill deploy RUN --to lammps";

uint32_t crc32(const char* bytes, size_t count) {
    uint32_t table[256], crc = 0xffffffffu;
    for (uint32_t n = 0; n < 256; ++n) {
        uint32_t c = n;
        for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[n] = c;
    }
    for (size_t k = 0; k < count; ++k) crc = table[(crc ^ (unsigned char)bytes[k]) & 0xff] ^ (crc >> 8);
    return crc ^ 0xffffffffu;
}

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error(what); }

}  // namespace

const std::vector<double>& StudentFile::tensor(const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) refuse("the student lacks the tensor " + name + AGAIN);
    return found->second;
}

int StudentFile::place_of(const std::string& element) const {
    const auto found = std::find(elements.begin(), elements.end(), element);
    return found == elements.end() ? -1 : (int)(found - elements.begin());
}

StudentFile StudentFile::parse(const std::string& bytes, const std::string& path) {
    const std::string magic = "potstill student ";
    const size_t first = bytes.find('\n');
    if (first == std::string::npos || bytes.compare(0, magic.size(), magic) != 0) refuse(path + " is no student of potstill" + AGAIN);
    const std::string version = bytes.substr(magic.size(), first - magic.size());
    bool known = false;
    for (int v = OLDEST_FORMAT; v <= FORMAT_VERSION; ++v) known = known || version == std::to_string(v);
    if (!known)
        refuse(path + " has format " + version + ", this plugin reads " + std::to_string(OLDEST_FORMAT) + " to " + std::to_string(FORMAT_VERSION) +
               "; compile the plugin that comes with it, by: potstill setup lammps");
    const size_t second = bytes.find('\n', first + 1);
    unsigned int sum = 0;
    unsigned long long count = 0;
    if (second == std::string::npos ||
        std::sscanf(bytes.substr(first + 1, second - first - 1).c_str(), "crc32 %x bytes %llu", &sum, &count) != 2)
        refuse(path + " is damaged: it has no checksum" + AGAIN);
    const char* body = bytes.data() + second + 1;
    const size_t held = bytes.size() - second - 1;
    if (held != count) refuse(path + " is cut short or damaged: " + std::to_string(held) + " of " + std::to_string(count) + " bytes" + AGAIN);
    if (crc32(body, held) != sum) refuse(path + " is damaged: its checksum is another" + AGAIN);

    StudentFile found;
    std::vector<std::pair<std::string, size_t>> order;
    size_t at = 0;
    for (;;) {
        const char* end = (const char*)std::memchr(body + at, '\n', held - at);
        if (!end) refuse(path + " is damaged: its header has no end" + AGAIN);
        std::istringstream line(std::string(body + at, end));
        at = end - body + 1;
        std::string word, name;
        line >> word;
        if (word == "end") break;
        if (word == "units") {
            std::string units;
            std::getline(line, units);
            if (units != " eV angstrom") refuse(path + " has units" + units + ", expected eV angstrom" + AGAIN);
        } else if (word == "elements") {
            while (line >> name) found.elements.push_back(name);
        } else if (word == "tensor") {
            size_t size = 0;
            line >> name >> size;
            order.emplace_back(name, size);
        } else if (word == "cutoff") {
            line >> found.cutoff;
        } else if (word == "bond_share") {
            line >> found.bond_share;
        } else {
            const std::pair<const char*, int*> sizes[] = {
                {"layers", &found.layers}, {"features", &found.features}, {"channels", &found.channels},
                {"vectors", &found.vectors}, {"products", &found.products}, {"radial", &found.radial},
                {"hidden", &found.hidden}, {"l_max", &found.l_max}, {"most_neighbors", &found.most_neighbors},
                {"fewest_neighbors", &found.fewest_neighbors}};
            for (const auto& size : sizes)
                if (word == size.first) line >> *size.second;
        }
    }
    for (const auto& each : order) {
        if (each.second > (held - at) / sizeof(double)) refuse(path + " is damaged: it ends within " + each.first + AGAIN);
        std::vector<double> numbers(each.second);
        std::memcpy(numbers.data(), body + at, each.second * sizeof(double));
        at += each.second * sizeof(double);
        found.tensors.emplace(each.first, std::move(numbers));
    }
    return found;
}

}  // namespace potstill
