// Little-endian byte strings: a writer, and a reader that never reads past the end.
//
// Every serialised object starts with the same header: magic "CFHE", format version, kind, digest of the parameters,
// number of bytes that follow. Readers check all of it, and all lengths, before they allocate.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ckks/sha256.hpp"
#include "ring/prng.hpp"

namespace cipherformer {

using Bytes = std::vector<std::uint8_t>;

enum class Kind : std::uint16_t { parameters = 1, ciphertext = 2, public_key = 3, switching_key = 4, secret_key = 5 };

inline constexpr std::uint16_t kFormatVersion = 1;
inline constexpr std::size_t kHeaderBytes = 4 + 2 + 2 + 32 + 8;

// "the object: why; fix", thrown as std::invalid_argument (ValueError in Python).
[[noreturn]] void refuse(std::string_view what, std::string_view why, std::string_view fix = {});

constexpr std::size_t packed_bytes(std::size_t count, unsigned width) { return (count * width + 7) / 8; }

class Writer {
public:
    explicit Writer(std::size_t reserve = 0) { bytes_.reserve(reserve); }

    void u8(std::uint8_t x) { bytes_.push_back(x); }
    void u16(std::uint16_t x) { put(x, 2); }
    void u32(std::uint32_t x) { put(x, 4); }
    void u64(std::uint64_t x) { put(x, 8); }
    void f64(double x);
    void raw(std::span<const std::uint8_t> x) { bytes_.insert(bytes_.end(), x.begin(), x.end()); }
    // Each value in `width` <= 56 bits, least significant bit first; the last byte is filled with zeros.
    void packed(std::span<const std::uint64_t> values, unsigned width);
    Bytes take() { return std::move(bytes_); }

private:
    void put(std::uint64_t x, unsigned count) {
        for (unsigned i = 0; i < count; ++i) bytes_.push_back(static_cast<std::uint8_t>(x >> (8 * i)));
    }
    Bytes bytes_;
};

class Reader {
public:
    // `what` names the object in errors.
    Reader(std::span<const std::uint8_t> bytes, std::string what) : bytes_(bytes), what_(std::move(what)) {}

    std::uint8_t u8() { return static_cast<std::uint8_t>(get(1)); }
    std::uint16_t u16() { return static_cast<std::uint16_t>(get(2)); }
    std::uint32_t u32() { return static_cast<std::uint32_t>(get(4)); }
    std::uint64_t u64() { return get(8); }
    double f64();
    std::span<const std::uint8_t> raw(std::size_t count);
    template <std::size_t size>
    std::array<std::uint8_t, size> array() {
        std::array<std::uint8_t, size> out{};
        const auto source = raw(size);
        std::copy(source.begin(), source.end(), out.begin());
        return out;
    }
    // Inverse of Writer::packed; refuses a value that is not below `bound` and filling that is not zero.
    void packed(std::span<std::uint64_t> values, unsigned width, std::uint64_t bound) {
        unpack(values, raw(packed_bytes(values.size(), width)), width, bound);
    }
    // The same for bytes already taken with raw(); touches no state, so limbs can be unpacked in parallel.
    void unpack(std::span<std::uint64_t> values, std::span<const std::uint8_t> source, unsigned width,
                std::uint64_t bound) const;

    std::size_t left() const { return bytes_.size() - at_; }
    // Refuses unless exactly `count` bytes are left.
    void expect_left(std::size_t count) const;
    void expect_end() const { expect_left(0); }
    [[noreturn]] void fail(std::string_view why, std::string_view fix = {}) const { refuse(what_, why, fix); }

private:
    std::uint64_t get(unsigned count);
    std::span<const std::uint8_t> bytes_;
    std::size_t at_ = 0;
    std::string what_;
};

void write_header(Writer& writer, Kind kind, const Digest& parameters, std::size_t payload_bytes);
// Checks magic, version, kind, digest (unless `parameters` is null) and the length; returns the digest.
Digest read_header(Reader& reader, Kind kind, const Digest* parameters);

}  // namespace cipherformer
