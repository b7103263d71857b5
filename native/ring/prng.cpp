#include "ring/prng.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#if defined(__linux__)
#include <sys/random.h>
#else
#include <random>
#endif

namespace cipherformer {
namespace {

constexpr std::size_t kBlockBytes = 64;
constexpr u64 kBlocks = u64{1} << 32;  // the counter has 32 bits

u64 load_word(const std::uint8_t* bytes) {
    u64 word;
    std::memcpy(&word, bytes, sizeof word);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    return word;
}

// Wipes what a sampler left on the stack.
template <typename Array>
class Wiped {
public:
    ~Wiped() { secure_zero(&values, sizeof values); }
    Array values;
};

using Words = std::array<u64, 512>;

// The next n <= 512 words of the stream.
void fill_words(u64* words, std::size_t n, Prng& prng) {
    prng.fill(words, n * sizeof(u64));
    if constexpr (std::endian::native == std::endian::big)
        for (std::size_t i = 0; i < n; ++i) words[i] = __builtin_bswap64(words[i]);
}

}  // namespace

void secure_zero(void* memory, std::size_t bytes) noexcept {
    std::memset(memory, 0, bytes);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

Seed random_seed() {
    Seed seed;
#if defined(__linux__)
    std::size_t done = 0;
    while (done < seed.size()) {
        const ssize_t got = getrandom(seed.data() + done, seed.size() - done, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) throw std::runtime_error("the operating system's random generator failed (getrandom)");
        done += static_cast<std::size_t>(got);
    }
#else
    std::random_device device;
    for (std::uint8_t& byte : seed) byte = static_cast<std::uint8_t>(device());
#endif
    return seed;
}

Prng::Prng(const Seed& seed, std::uint32_t label, u64 index, const Kernels& kernels) : kernels_(&kernels) {
    // "expand 32-byte k", key, block counter, nonce
    state_ = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (std::size_t i = 0; i < 8; ++i)
        state_[4 + i] = static_cast<std::uint32_t>(seed[4 * i]) | static_cast<std::uint32_t>(seed[4 * i + 1]) << 8 |
                        static_cast<std::uint32_t>(seed[4 * i + 2]) << 16 |
                        static_cast<std::uint32_t>(seed[4 * i + 3]) << 24;
    state_[12] = 0;
    state_[13] = label;
    state_[14] = static_cast<std::uint32_t>(index);
    state_[15] = static_cast<std::uint32_t>(index >> 32);
}

Prng::~Prng() {
    secure_zero(state_.data(), sizeof state_);
    secure_zero(buffer_.data(), sizeof buffer_);
}

void Prng::fill(void* out, std::size_t bytes) {
    auto* target = static_cast<std::uint8_t*>(out);
    while (bytes != 0) {
        if (used_ == kBufferBytes && bytes >= kBlockBytes) {  // whole blocks go straight to the caller
            const std::size_t blocks = bytes / kBlockBytes;
            if (blocks > kBlocks - block_) throw std::length_error("a random stream ends after 2^38 bytes");
            kernels_->chacha_blocks(target, state_.data(), static_cast<std::uint32_t>(block_), blocks);
            block_ += blocks;
            target += blocks * kBlockBytes;
            bytes -= blocks * kBlockBytes;
            continue;
        }
        if (used_ == kBufferBytes) refill();
        const std::size_t part = std::min(bytes, kBufferBytes - used_);
        std::memcpy(target, buffer_.data() + used_, part);
        used_ += part;
        target += part;
        bytes -= part;
    }
}

void Prng::refill() {
    constexpr std::size_t blocks = kBufferBytes / kBlockBytes;
    if (blocks > kBlocks - block_) throw std::length_error("a random stream ends after 2^38 bytes");
    kernels_->chacha_blocks(buffer_.data(), state_.data(), static_cast<std::uint32_t>(block_), blocks);
    block_ += blocks;
    used_ = 0;
}

u64 Prng::next() {
    std::array<std::uint8_t, 8> bytes;
    fill(bytes.data(), bytes.size());
    return load_word(bytes.data());
}

// Lemire 2019: the high word of word * bound, redrawn when the low word falls in the incomplete last interval.
u64 Prng::below(u64 bound) {
    const u64 threshold = (u64{0} - bound) % bound;
    for (;;) {
        const u128 product = static_cast<u128>(next()) * bound;
        if (static_cast<u64>(product) >= threshold) return static_cast<u64>(product >> 64);
    }
}

void sample_uniform(u64* out, std::size_t n, const Modulus& q, Prng& prng) {
    const u64 limit = q.ratio * q.value;  // the largest multiple of q that 64 bits hold
    Words words;
    for (std::size_t written = 0; written < n;) {
        const std::size_t part = std::min(words.size(), n - written);
        fill_words(words.data(), part, prng);
        written += prng.kernels().uniform_words(out + written, words.data(), limit, part, q);
    }
}

void sample_ternary(std::int32_t* out, std::size_t n, Prng& prng) {
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::int32_t>(prng.below(3)) - 1;
}

// Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S) without branches on the choice.
void sample_sparse_ternary(std::int32_t* out, std::size_t n, std::size_t weight, Prng& prng) {
    if (weight > n) throw std::invalid_argument("a ternary vector cannot have more non-zero entries than entries");
    u64 missing = weight;
    for (std::size_t i = 0; i < n; ++i) {
        const std::int32_t chosen = prng.below(n - i) < missing;
        const std::int32_t sign = 1 - 2 * static_cast<std::int32_t>(prng.next() & 1U);
        out[i] = chosen * sign;
        missing -= static_cast<u64>(chosen);
    }
}

void sample_gaussian(std::int32_t* out, std::size_t n, Prng& prng) {
    Wiped<Words> words;
    for (std::size_t start = 0; start < n; start += words.values.size()) {
        const std::size_t part = std::min(words.values.size(), n - start);
        fill_words(words.values.data(), part, prng);
        prng.kernels().gaussian(out + start, words.values.data(), part);
    }
}

}  // namespace cipherformer
