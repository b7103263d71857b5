#include "ring/kernels.hpp"

#include <algorithm>
#include <stdexcept>

#include "ring/paths.hpp"

namespace cipherformer {

std::vector<Path> available_paths() {
    std::vector<Path> paths{Path::portable};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) paths.push_back(Path::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512ifma"))
        paths.push_back(Path::avx512);
#endif
    return paths;
}

Path best_path() { return available_paths().back(); }

const Kernels& kernels(Path path) {
    const std::vector<Path> paths = available_paths();
    if (std::find(paths.begin(), paths.end(), path) == paths.end())
        throw std::invalid_argument("this machine cannot run the chosen kernels; use \"auto\"");
#if defined(__x86_64__)
    if (path == Path::avx2) return avx2_kernels();
    if (path == Path::avx512) return avx512_kernels();
#endif
    return portable_kernels();
}

Path path_from_name(const std::string& name) {
    if (name == "auto") return best_path();
    if (name == "portable") return Path::portable;
    if (name == "avx2") return Path::avx2;
    if (name == "avx512") return Path::avx512;
    throw std::invalid_argument("kernels \"" + name + "\"; known are auto, portable, avx2 and avx512");
}

}  // namespace cipherformer
