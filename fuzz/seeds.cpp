// Writes valid bytes of every native reader into a folder, as a corpus for guided_native. Usage: fuzz_seeds FOLDER.
#include <cstdio>
#include <fstream>

#include "readers.hpp"

int main(int count, char** words) {
    using namespace cipherformer::fuzz;
    if (count != 2) {
        std::fputs("usage: fuzz_seeds FOLDER\n", stderr);
        return 2;
    }
    const auto targets = make_targets(make_toy_context());
    for (std::size_t reader = 0; reader < targets.size(); ++reader)
        for (std::size_t i = 0; i < targets[reader].seeds.size(); ++i) {
            const auto& seed = targets[reader].seeds[i];
            std::ofstream file(std::string(words[1]) + "/seed-" + std::to_string(reader) + "-" + std::to_string(i),
                               std::ios::binary);
            file.put(static_cast<char>(reader));
            file.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
            if (!file) {
                std::fputs("cannot write there\n", stderr);
                return 1;
            }
        }
    return 0;
}
