// What the ring tests share: a check that names the place and counts, and arrays to test on.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "ring/buffer.hpp"
#include "ring/kernels.hpp"
#include "ring/prng.hpp"

namespace cipherformer::test {

inline int failures = 0;

inline void check(bool holds, const std::string& what) {
    if (holds) return;
    if (++failures <= 20) std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

template <typename Function>
void check_throws(const Function& function, const std::string& what) {
    try {
        function();
    } catch (const std::exception&) {
        return;
    }
    check(false, what + " did not throw");
}

inline int report(const char* name) {
    if (failures == 0)
        std::printf("%s: ok\n", name);
    else
        std::fprintf(stderr, "%s: %d checks failed\n", name, failures);
    return failures == 0 ? 0 : 1;
}

inline Seed fixed_seed(unsigned char start) {
    Seed seed;
    for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<unsigned char>(start + i);
    return seed;
}

// Residues of one kind: 0 random, 1 all q - 1, 2 all zero, 3 alternating 0 and q - 1, 4 around q / 2, 5 one q - 1.
inline constexpr int kKinds = 6;
inline void fill(u64* out, std::size_t n, const Modulus& q, int kind, u64 stream) {
    Prng prng(fixed_seed(7), 99, stream, kernels(Path::portable));
    sample_uniform(out, n, q, prng);
    for (std::size_t i = 0; i < n && kind != 0; ++i) {
        if (kind == 1) out[i] = q.value - 1;
        if (kind == 2) out[i] = 0;
        if (kind == 3) out[i] = i % 2 == 0 ? 0 : q.value - 1;
        if (kind == 4) out[i] = q.half + (out[i] & 1U);
        if (kind == 5) out[i] = i == n / 3 ? q.value - 1 : 0;
    }
}

}  // namespace cipherformer::test
