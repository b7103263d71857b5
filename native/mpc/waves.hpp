// Sums of sines and cosines on integers: the public factors of a masked value, and those of its mask. Both sides must
// have the same bits, so everything is integer arithmetic, and every path gives the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ring/kernels.hpp"

namespace cipherformer::mpc {

using i64 = std::int64_t;
using u64 = std::uint64_t;

// A table of round(2^30 cos(2 pi i / 2^log_size)); entries are at most 2^30 + 8 in size.
inline constexpr unsigned kTableBits = 30;

// cos and sin of k x for k = 1, 2, ... in turn: the first two from the table, the others by
// f_(k+1) = ((f_1 f_k + 2^28) >> 29) - f_(k-1) with the cosine as f_1. A block of values at a time.
inline constexpr std::size_t kWaveBlock = 256;

struct WaveTable {
    const i64* cosines;
    unsigned log_size;
};

// 2 * waves rows of n values in turn, packed.
struct PackedRows {
    const std::uint8_t* bytes;
    std::size_t size;
    unsigned width;
};

// Factors of x rounded to kFactorBits, times the rows of `secrets`, added up modulo 2^64.
inline constexpr unsigned kFactorBits = 15;
void weighted_waves(u64* out, const u64* x, const PackedRows& secrets, std::size_t n, std::size_t waves,
                    const WaveTable& table, Path path);

// Rows of n, in turn for each k: (u_k cos(k r) - v_k sin(k r) + 2^29) >> 30 and (u_k sin(k r) + v_k cos(k r) + 2^29) >> 30.
// `pairs` holds u and v in turn, less than 2^30 in size.
void wave_secrets(u64* out, const u64* r, std::size_t n, const i64* pairs, std::size_t waves, const WaveTable& table,
                  Path path);

// Packed shares of those rows become the packed rest of each: row less share.
void complete_waves(std::uint8_t* shares, unsigned width, const u64* r, std::size_t n, const i64* pairs,
                    std::size_t waves, const WaveTable& table, Path path);

// One block, cosines and sines of wave k and k - 1 (whatever stands in the upper halves of words is ignored).
struct WaveState {
    alignas(32) i64 first[kWaveBlock];
    alignas(32) i64 cosine[kWaveBlock], sine[kWaveBlock];
    alignas(32) i64 old_cosine[kWaveBlock], old_sine[kWaveBlock];
};

// total += factors times the two rows; `high` collects what counts from bit 32 on (vector path only).
struct WaveLoops {
    void (*weigh)(u64* total, u64* high, const WaveState& state, const u64* cosine_row, const u64* sine_row);
    void (*finish)(u64* total, const u64* high);
    void (*mix)(u64* cosine_row, u64* sine_row, const WaveState& state, i64 u, i64 v);
    void (*advance)(WaveState& state);
};

extern const WaveLoops kPortableWaves;
#if defined(__x86_64__)
extern const WaveLoops kAvx2Waves;
#endif

}  // namespace cipherformer::mpc
