// Damaged bytes for every native reader of untrusted data. Usage: fuzz_native SECONDS [SEED].
//
// Valid objects of a toy parameter set are damaged, mostly behind the header (its digest would refuse everything) and
// with the stated length mended, and read again. A reader may accept or throw std::invalid_argument; anything else,
// and anything the sanitizers see, ends the program with an error. What is accepted must be written back unchanged.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>

#include "readers.hpp"

namespace {

using namespace cipherformer;
using namespace cipherformer::fuzz;
using Clock = std::chrono::steady_clock;

// One to four edits; behind the header unless `anywhere`.
Bytes damage(Bytes data, std::mt19937_64& random, bool anywhere) {
    const auto pick = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    const std::size_t first = anywhere ? 0 : kHeaderBytes;
    for (std::size_t edits = 1 + pick(4); edits > 0 && data.size() > first; --edits) {
        // Fields stand at the front, so half of the edits go there.
        const std::size_t span = pick(2) == 0 ? std::min<std::size_t>(data.size() - first, 16) : data.size() - first;
        const auto at = data.begin() + static_cast<std::ptrdiff_t>(first + pick(span));
        switch (pick(5)) {
            case 0: *at ^= static_cast<std::uint8_t>(1U << pick(8)); break;
            case 1: *at = pick(2) == 0 ? 0 : 0xFF; break;
            case 2: data.erase(at, pick(2) == 0 ? at + 1 : data.end()); break;
            case 3: data.insert(at, static_cast<std::uint8_t>(random())); break;
            default: std::fill(at, at + std::min<std::ptrdiff_t>(8, data.end() - at), static_cast<std::uint8_t>(random()));
        }
    }
    return data;
}

// Returns how many damaged inputs were accepted.
std::size_t run(const Target& target, double seconds, std::mt19937_64& random, std::size_t& tried) {
    for (const Bytes& seed : target.seeds)
        if (target.read_and_write(seed) != seed) throw std::logic_error("a valid object is not written back unchanged");
    std::size_t accepted = 0;
    for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < seconds; ++tried) {
        Bytes data = damage(target.seeds[random() % target.seeds.size()], random, random() % 8 == 0);
        if (random() % 8 != 0) mend_length(data);
        try {
            const Bytes again = target.read_and_write(data);
            if (again != data) throw std::logic_error("accepted bytes are not written back unchanged");
            ++accepted;
        } catch (const std::invalid_argument&) {
        }
    }
    return accepted;
}

}  // namespace

int main(int count, char** words) {
    const double seconds = count > 1 ? std::atof(words[1]) : 10;
    const std::uint64_t seed = count > 2 ? std::strtoull(words[2], nullptr, 10) : std::random_device{}();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    const auto targets = make_targets(make_toy_context());
    for (const Target& target : targets) {
        std::size_t tried = 0;
        const std::size_t accepted = run(target, seconds / static_cast<double>(targets.size()), random, tried);
        std::printf("%s: %zu inputs, %zu of them accepted\n", target.name, tried, accepted);
        if (tried == 0 || accepted == tried) return 1;
    }
    return 0;
}
