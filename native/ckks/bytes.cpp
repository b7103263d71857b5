#include "ckks/bytes.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

namespace cipherformer {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic{'C', 'F', 'H', 'E'};

std::uint64_t load_word(const std::uint8_t* bytes) {
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);  // one load on little-endian machines
    return word;
}

void store_word(std::uint8_t* bytes, std::uint64_t word) {
    for (unsigned i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(word >> (8 * i));
}

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
    std::uint64_t pending = 0;
    unsigned filled = 0;  // bits in `pending`, below 64
    for (std::uint64_t value : values) {
        pending |= value << filled;
        filled += width;
        if (filled < 64) continue;
        store_word(out, pending);
        out += 8;
        filled -= 64;
        pending = value >> (width - filled);
    }
    for (; filled > 0; filled = filled > 8 ? filled - 8 : 0, pending >>= 8) *out++ = static_cast<std::uint8_t>(pending);
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

void Reader::unpack(std::span<std::uint64_t> values, std::span<const std::uint8_t> source, unsigned width,
                    std::uint64_t bound) const {
    const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
    std::uint64_t largest = 0;
    std::size_t bit = 0;
    // A value is within the 8 bytes that start at its first byte; near the end those come from a padded copy.
    const std::size_t whole = source.size() < 8 ? 0 : std::min(values.size(), ((source.size() - 8) * 8 + 7) / width + 1);
    for (std::size_t i = 0; i < whole; ++i, bit += width) {
        values[i] = load_word(source.data() + bit / 8) >> (bit % 8) & mask;
        largest = std::max(largest, values[i]);
    }
    for (std::size_t i = whole; i < values.size(); ++i, bit += width) {
        std::array<std::uint8_t, 8> padded{};
        std::copy(source.begin() + static_cast<std::ptrdiff_t>(bit / 8), source.end(), padded.begin());
        values[i] = load_word(padded.data()) >> (bit % 8) & mask;
        largest = std::max(largest, values[i]);
    }
    const unsigned filling = static_cast<unsigned>(8 * source.size() - bit);
    if (filling != 0 && source.back() >> (8 - filling) != 0)
        fail("the filling of a packed block is not zero", "the data is damaged: send it again");
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
