// The inner loops of the ring, one table of functions per instruction set. Every path gives the same bits.
//
// Unless said otherwise a limb is a 64-byte-aligned array of n residues in [0, q), n a power of two, and an output may
// be the same array as an input (but not overlap it in part). Arrays of fewer than 8 residues are allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ring/modulus.hpp"

namespace cipherformer {

struct NttTables;       // ring/ntt.hpp
struct BasisConstants;  // ring/basis.hpp

// Residues are cut into two parts of kMixedBits bits, whose sums with the weights of a row then stay below 2^53.
inline constexpr unsigned kMixedBits = 25;
inline constexpr double kMixed = 0x1p28;

enum class Path { portable, avx2, avx512 };

struct Kernels {
    Path path;
    const char* name;

    // out = a + b, a - b, -a, a * b
    void (*add)(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
    void (*sub)(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
    void (*neg)(u64* out, const u64* a, std::size_t n, const Modulus& q);
    void (*mul)(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);

    // out = a + c, a * c, out + a * c, (a - b) * c for a constant c in [0, q)
    void (*add_scalar)(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
    void (*mul_scalar)(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
    void (*mul_scalar_add)(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
    void (*sub_mul_scalar)(u64* out, const u64* a, const u64* b, u64 c, std::size_t n, const Modulus& q);

    // out = (a - b) * c + d
    void (*sub_mul_scalar_add)(u64* out, const u64* a, const u64* b, u64 c, const u64* d, std::size_t n, const Modulus& q);

    // out0 + out1 X + out2 X^2 = (a0 + a1 X) (b0 + b1 X)
    void (*tensor)(u64* out0, u64* out1, u64* out2, const u64* const* a, const u64* const* b, std::size_t n,
                   const Modulus& q);

    // out = out + a * b
    void (*mul_add)(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);

    // out = sum over d < count of a[d] * b[d], plus out if `accumulate`; reduction is put off over the terms.
    // The pointers may address parts of limbs (aligned to 64 bytes), so a caller can block for the cache.
    void (*dot)(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
                const Modulus& q);
    // out0 = sum over d of a[d] * b0[d], out1 = sum over d of a[d] * b1[d]: a read once, for the two halves of a key, which
    // come from memory.
    void (*dot_pair)(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1,
                     std::size_t count, std::size_t n, const Modulus& q);
    // The same as `dot` where b[d] holds n >> shift values and stands for each of them 2^shift times in a row: plaintexts in
    // a subring, whose transform repeats its values.
    void (*dot_repeated)(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                         bool accumulate, std::size_t n, const Modulus& q);

    // out = a mod `to` for residues a in [0, from); centred: of the representative in [-(from - 1) / 2, (from - 1) /
    // 2].
    void (*reduce)(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to);
    void (*reduce_centred)(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to);

    // out = a mod q for small signed integers |a| < 2^31 (not in place).
    void (*lift)(u64* out, const std::int32_t* a, std::size_t n, const Modulus& q);
    // The same for integers |a| <= 2^51 held as doubles.
    void (*lift_real)(u64* out, const double* a, std::size_t n, const Modulus& q);

    // Fast base conversion; see BaseConverter. `prepare` brings source i into the path's own form of n words, which
    // `convert` reads for destinations first .. first + count: out[0] is number `first`. Both see the same n.
    void (*prepare)(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants);
    void (*convert)(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants,
                    std::size_t first, std::size_t count);

    // out[i] = in[index[i]] for an index that maps aligned groups of 4 and of 8 to such groups, as every Galois
    // automorphism in bit-reversed order does (not in place).
    void (*permute)(u64* out, const u64* in, const std::uint32_t* index, std::size_t n);

    // In place, 2^log_n <= the size of the tables: ring/ntt.hpp states the order. The inverse multiplies by `factor`
    // (which holds 1/n) on the way out.
    void (*ntt_forward)(u64* a, unsigned log_n, const NttTables& tables);
    void (*ntt_inverse)(u64* a, unsigned log_n, u64 factor, const NttTables& tables);

    // `count` consecutive 64-byte ChaCha20 blocks from `counter` on, for a 16-word initial state (RFC 8439).
    void (*chacha_blocks)(std::uint8_t* out, const std::uint32_t* state, std::uint32_t counter, std::size_t count);
    // out[i] = words[i] mod q where words[i] < limit, in order, the others skipped; returns how many were written.
    std::size_t (*uniform_words)(u64* out, const u64* words, u64 limit, std::size_t n, const Modulus& q);
    // Discrete Gaussian samples from uniform words; see sample_gaussian.
    void (*gaussian)(std::int32_t* out, const u64* words, std::size_t n);

    // out[r] = factor * sum over k < count of weights[r count + k] in[k] for r < rows: a matrix of small integers times limbs.
    // Weights are integers held as doubles, at most kMixed in absolute value in the sum over a row. No output may be an
    // input.
    void (*mix)(u64* const* out, const u64* const* in, const double* weights, std::size_t rows, std::size_t count,
                u64 factor, std::size_t n, const Modulus& q);

    // Several of the above in one, with the same bits, where a path gains by it; null where it does not. n = 2^log_n.
    // lift or lift_real, then ntt_forward.
    void (*lift_forward)(u64* out, const std::int32_t* a, unsigned log_n, const NttTables& tables) = nullptr;
    void (*lift_real_forward)(u64* out, const double* a, unsigned log_n, const NttTables& tables) = nullptr;
    // ntt_inverse of `in`, then prepare; out may be `in`.
    void (*ntt_inverse_prepare)(u64* out, const u64* in, unsigned log_n, u64 factor, const NttTables& tables,
                                std::size_t i, const BasisConstants& constants) = nullptr;
};

// What this machine can run, slowest first; always contains Path::portable.
std::vector<Path> available_paths();
Path best_path();

// Throws std::invalid_argument when this machine cannot run the path.
const Kernels& kernels(Path path);

// "portable", "avx2", "avx512"; "auto" is the best one. Throws std::invalid_argument for any other name.
Path path_from_name(const std::string& name);

}  // namespace cipherformer
