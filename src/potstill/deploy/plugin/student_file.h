// The file student.potstill: a text header, then numbers in double precision, least byte first.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace potstill {

constexpr int OLDEST_FORMAT = 1, FORMAT_VERSION = 4;

struct StudentFile {
    std::vector<std::string> elements;
    int layers = 0, features = 0, channels = 0, vectors = 0, products = 0, radial = 0, hidden = 0, l_max = 0;
    double cutoff = 0;        // Å
    double bond_share = 0;    // of relative distances in the radial functions; 0 for absolute ones
    int most_neighbors = -1;  // largest number in the training data; -1 where the file does not state it
    int fewest_neighbors = 0;  // smallest number; 0 where the file does not state it
    std::map<std::string, std::vector<double>> tensors;

    int n_elements() const { return (int)elements.size(); }
    bool has(const std::string& name) const { return tensors.count(name) > 0; }
    const std::vector<double>& tensor(const std::string& name) const;
    double scalar(const std::string& name) const { return tensor(name).at(0); }
    int place_of(const std::string& element) const;  // -1 for an unsupported element

    // Throw std::runtime_error with one line where the bytes are no such file; ``path`` is used in the message.
    static StudentFile parse(const std::string& bytes, const std::string& path);
};

}  // namespace potstill
