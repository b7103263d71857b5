#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "fixed/scalar_loops.hpp"

namespace cipherformer::fixed {

const Loops& portable_loops() {
    static const Loops table{"portable",       scalar::add,         scalar::sub,         scalar::mul,
                             scalar::scale,    scalar::round,       scalar::count,       scalar::add_words,
                             scalar::sub_words, scalar::mul_words,  scalar::scale_words, scalar::round_words,
                             scalar::count_words};
    return table;
}

const Loops& loops(const char* name) {
    const bool fastest = std::strcmp(name, "auto") == 0;
#if defined(__x86_64__)
    const bool vectors = __builtin_cpu_supports("avx2");
    if (vectors && (fastest || std::strcmp(name, "avx2") == 0)) return avx2_loops();
#endif
    if (fastest || std::strcmp(name, "portable") == 0) return portable_loops();
    throw std::invalid_argument("this machine cannot run the chosen loops; use \"auto\"");
}

}  // namespace cipherformer::fixed
