// Blocks, the table, and the portable loops.
#include "mpc/waves.hpp"

#include <algorithm>
#include <vector>

#include "mpc/bits.hpp"

namespace cipherformer::mpc {
namespace {

constexpr i64 kHalf = i64{1} << (kTableBits - 2);

const WaveLoops& loops_of(Path path) {
#if defined(__x86_64__)
    if (path != Path::portable) return kAvx2Waves;
#endif
    (void)path;
    return kPortableWaves;
}

void start(WaveState& state, const u64* x, std::size_t count, const WaveTable& table) {
    const u64 size = u64{1} << table.log_size;
    for (std::size_t i = 0; i < kWaveBlock; ++i) {
        const u64 position = i < count ? x[i] & (size - 1) : 0;
        state.first[i] = state.cosine[i] = table.cosines[position];
        state.sine[i] = table.cosines[(position - size / 4) & (size - 1)];
        state.old_cosine[i] = i64{1} << kTableBits;
        state.old_sine[i] = 0;
    }
}

i64 low(i64 word) { return static_cast<std::int32_t>(word); }

i64 factor(i64 wave) { return (low(wave) + (i64{1} << (kTableBits - kFactorBits - 1))) >> (kTableBits - kFactorBits); }

void weigh(u64* total, u64*, const WaveState& state, const u64* cosine_row, const u64* sine_row) {
    for (std::size_t i = 0; i < kWaveBlock; ++i)
        total[i] += static_cast<u64>(factor(state.cosine[i])) * cosine_row[i] +
                    static_cast<u64>(factor(state.sine[i])) * sine_row[i];
}

void finish(u64*, const u64*) {}

void mix(u64* cosine_row, u64* sine_row, const WaveState& state, i64 u, i64 v) {
    constexpr i64 half = i64{1} << (kTableBits - 1);
    for (std::size_t i = 0; i < kWaveBlock; ++i) {
        const i64 cosine = low(state.cosine[i]), sine = low(state.sine[i]);
        cosine_row[i] = static_cast<u64>((u * cosine - v * sine + half) >> kTableBits);
        sine_row[i] = static_cast<u64>((u * sine + v * cosine + half) >> kTableBits);
    }
}

void advance(WaveState& state) {
    for (std::size_t i = 0; i < kWaveBlock; ++i) {
        const i64 cosine = state.cosine[i], sine = state.sine[i];
        state.cosine[i] = ((state.first[i] * cosine + kHalf) >> (kTableBits - 1)) - state.old_cosine[i];
        state.sine[i] = ((state.first[i] * sine + kHalf) >> (kTableBits - 1)) - state.old_sine[i];
        state.old_cosine[i] = cosine;
        state.old_sine[i] = sine;
    }
}

}  // namespace

const WaveLoops kPortableWaves{weigh, finish, mix, advance};

void weighted_waves(u64* out, const u64* x, const PackedRows& secrets, std::size_t n, std::size_t waves,
                    const WaveTable& table, Path path) {
    const WaveLoops& loops = loops_of(path);
    WaveState state;
    alignas(32) u64 total[kWaveBlock], high[kWaveBlock], rows[2][kWaveBlock] = {};
    for (std::size_t at = 0; at < n; at += kWaveBlock) {
        const std::size_t count = std::min(kWaveBlock, n - at);
        start(state, x + at, count, table);
        std::fill_n(total, kWaveBlock, u64{0});
        std::fill_n(high, kWaveBlock, u64{0});
        for (std::size_t k = 0; k < waves; ++k) {
            for (std::size_t i = 0; i < 2; ++i)
                unpack(rows[i], secrets.bytes, secrets.size, (2 * k + i) * n + at, count, secrets.width);
            loops.weigh(total, high, state, rows[0], rows[1]);
            if (k + 1 < waves) loops.advance(state);
        }
        loops.finish(total, high);
        std::copy_n(total, count, out + at);
    }
}

void wave_secrets(u64* out, const u64* r, std::size_t n, const i64* pairs, std::size_t waves, const WaveTable& table,
                  Path path) {
    const WaveLoops& loops = loops_of(path);
    WaveState state;
    alignas(32) u64 spare[2][kWaveBlock];
    for (std::size_t at = 0; at < n; at += kWaveBlock) {
        const std::size_t count = std::min(kWaveBlock, n - at);
        start(state, r + at, count, table);
        for (std::size_t k = 0; k < waves; ++k) {
            u64* row = out + 2 * k * n + at;
            const bool fits = count == kWaveBlock;
            loops.mix(fits ? row : spare[0], fits ? row + n : spare[1], state, pairs[2 * k], pairs[2 * k + 1]);
            if (!fits) {
                std::copy_n(spare[0], count, row);
                std::copy_n(spare[1], count, row + n);
            }
            if (k + 1 < waves) loops.advance(state);
        }
    }
}

void complete_waves(std::uint8_t* shares, unsigned width, const u64* r, std::size_t n, const i64* pairs,
                    std::size_t waves, const WaveTable& table, Path path) {
    if (n % 8) {  // rows that do not begin at a byte
        std::vector<u64> rows(2 * waves * n);
        wave_secrets(rows.data(), r, n, pairs, waves, table, path);
        complete(shares, rows.data(), rows.size(), width, false);
        return;
    }
    const WaveLoops& loops = loops_of(path);
    WaveState state;
    alignas(32) u64 rows[2][kWaveBlock];
    for (std::size_t at = 0; at < n; at += kWaveBlock) {
        const std::size_t count = std::min(kWaveBlock, n - at);
        start(state, r + at, count, table);
        for (std::size_t k = 0; k < waves; ++k) {
            loops.mix(rows[0], rows[1], state, pairs[2 * k], pairs[2 * k + 1]);
            for (std::size_t i = 0; i < 2; ++i)
                complete(shares + ((2 * k + i) * n + at) / 8 * width, rows[i], count, width, false);
            if (k + 1 < waves) loops.advance(state);
        }
    }
}

}  // namespace cipherformer::mpc
