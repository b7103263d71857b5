// Randomness: seeds from the operating system, streams from ChaCha20, and the distributions of the scheme.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ring/kernels.hpp"
#include "ring/modulus.hpp"

namespace cipherformer {

// Overwrites memory in a way the compiler keeps.
void secure_zero(void* memory, std::size_t bytes) noexcept;

using Seed = std::array<std::uint8_t, 32>;

// 32 bytes of the operating system's generator (getrandom). Throws std::runtime_error when it fails.
Seed random_seed();

// One stream of pseudo-random bytes. Streams that differ in seed, label or index are independent; a triple must not
// serve two purposes. The bytes are the ChaCha20 key stream (RFC 8439) for key = seed and nonce = label | index,
// little-endian, from block 0 on: the same on every path and machine.
class Prng {
public:
    Prng(const Seed& seed, std::uint32_t label, u64 index, const Kernels& kernels);
    ~Prng();
    Prng(const Prng&) = delete;
    Prng& operator=(const Prng&) = delete;

    // The next `bytes` bytes. Throws std::length_error past 2^38, the length of a stream.
    void fill(void* out, std::size_t bytes);
    u64 next();  // the next 8 bytes, little-endian
    // Exactly uniform in [0, bound), bound > 0. Time depends on rejected values only.
    u64 below(u64 bound);
    const Kernels& kernels() const { return *kernels_; }

private:
    void refill();

    static constexpr std::size_t kBufferBytes = 2048;
    const Kernels* kernels_;
    std::array<std::uint32_t, 16> state_;
    u64 block_ = 0;                    // next block of the stream
    std::size_t used_ = kBufferBytes;  // bytes of the buffer already given out
    alignas(64) std::array<std::uint8_t, kBufferBytes> buffer_;
};

// Samplers. Time and memory accesses do not depend on the values that are returned.

// n residues, each exactly uniform modulo q; 8 stream bytes each (one in 2^14 at most is rejected and redrawn).
void sample_uniform(u64* out, std::size_t n, const Modulus& q, Prng& prng);
// Each -1, 0 or 1 with probability 1/3.
void sample_ternary(std::int32_t* out, std::size_t n, Prng& prng);
// Uniform among the vectors over -1, 0, 1 with exactly `weight` non-zero entries. Throws std::invalid_argument when
// weight > n.
void sample_sparse_ternary(std::int32_t* out, std::size_t n, std::size_t weight, Prng& prng);
// Discrete Gaussian of parameter sigma = 3.2 (probability proportional to exp(-x^2 / (2 sigma^2))), |x| <= 29, by a
// cumulative table of 63 bits that is read in full for each sample.
void sample_gaussian(std::int32_t* out, std::size_t n, Prng& prng);

}  // namespace cipherformer
