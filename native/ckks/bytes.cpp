#include "ckks/bytes.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

namespace cipherformer {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic{'C', 'F', 'H', 'E'};

const char* name(std::uint16_t kind) {
    switch (static_cast<Kind>(kind)) {
        case Kind::parameters: return "parameters";
        case Kind::ciphertext: return "a ciphertext";
        case Kind::public_key: return "a public key";
        case Kind::switching_key: return "a switching key";
        case Kind::secret_key: return "a secret key";
    }
    return "an unknown object";
}

}  // namespace

void refuse(std::string_view what, std::string_view why, std::string_view fix) {
    std::string text(what);
    text.append(": ").append(why);
    if (!fix.empty()) text.append("; ").append(fix);
    throw std::invalid_argument(text);
}

void Writer::f64(double x) { u64(std::bit_cast<std::uint64_t>(x)); }

void Writer::packed(std::span<const std::uint64_t> values, unsigned width) {
    const std::size_t start = bytes_.size();
    bytes_.resize(start + packed_bytes(values.size(), width));
    std::uint8_t* out = bytes_.data() + start;
    std::uint64_t pending = 0;  // fewer than 8 bits between values
    unsigned filled = 0;
    for (std::uint64_t value : values) {
        pending |= value << filled;
        for (filled += width; filled >= 8; filled -= 8, pending >>= 8) *out++ = static_cast<std::uint8_t>(pending);
    }
    if (filled != 0) *out = static_cast<std::uint8_t>(pending);
}

std::uint64_t Reader::get(unsigned count) {
    const auto source = raw(count);
    std::uint64_t x = 0;
    for (unsigned i = 0; i < count; ++i) x |= std::uint64_t{source[i]} << (8 * i);
    return x;
}

double Reader::f64() { return std::bit_cast<double>(u64()); }

std::span<const std::uint8_t> Reader::raw(std::size_t count) {
    if (count > left())
        fail("the bytes end early (" + std::to_string(left()) + " left, " + std::to_string(count) + " needed)",
             "the data was truncated: send it again");
    const auto out = bytes_.subspan(at_, count);
    at_ += count;
    return out;
}

void Reader::packed(std::span<std::uint64_t> values, unsigned width, std::uint64_t bound) {
    const auto source = raw(packed_bytes(values.size(), width));
    const std::uint8_t* in = source.data();
    const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
    std::uint64_t pending = 0;
    unsigned filled = 0;
    std::uint64_t largest = 0;
    for (std::uint64_t& value : values) {
        for (; filled < width; filled += 8) pending |= std::uint64_t{*in++} << filled;
        value = pending & mask;
        largest = std::max(largest, value);
        pending >>= width;
        filled -= width;
    }
    if (pending != 0) fail("the filling of a packed block is not zero", "the data is damaged: send it again");
    if (largest >= bound) fail("a residue is not below its modulus", "the data is damaged: send it again");
}

void Reader::expect_left(std::size_t count) const {
    if (left() != count)
        fail("its length is wrong (" + std::to_string(left()) + " bytes left, " + std::to_string(count) + " expected)",
             "the data was truncated or extended: send it again");
}

void write_header(Writer& writer, Kind kind, const Digest& parameters, std::size_t payload_bytes) {
    writer.raw(kMagic);
    writer.u16(kFormatVersion);
    writer.u16(static_cast<std::uint16_t>(kind));
    writer.raw(parameters);
    writer.u64(payload_bytes);
}

Digest read_header(Reader& reader, Kind kind, const Digest* parameters) {
    const auto magic = reader.raw(kMagic.size());
    if (!std::equal(magic.begin(), magic.end(), kMagic.begin()))
        reader.fail("these bytes do not start with CFHE", "they were not written by cipherformer");
    const std::uint16_t version = reader.u16();
    if (version != kFormatVersion)
        reader.fail("format version " + std::to_string(version) + ", this build reads " + std::to_string(kFormatVersion),
                    "use the same version of cipherformer on both sides");
    const std::uint16_t found = reader.u16();
    if (found != static_cast<std::uint16_t>(kind)) reader.fail(std::string("these bytes hold ") + name(found));
    const Digest digest = reader.array<32>();
    if (parameters != nullptr && digest != *parameters)
        reader.fail("made for other parameters (the digests differ)", "use one parameter set on both sides");
    const std::uint64_t payload = reader.u64();
    if (payload != reader.left())
        reader.fail("its length is wrong (" + std::to_string(reader.left()) + " bytes after the header, " +
                        std::to_string(payload) + " announced)",
                    "the data was truncated or extended: send it again");
    return digest;
}

}  // namespace cipherformer
