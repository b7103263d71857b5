// Byte forms of ciphertexts and keys. Every length that is read is compared with what the parameters allow before
// memory is taken; every residue must be below its modulus.
#include <cmath>

#include "ckks/ciphertext.hpp"
#include "ckks/keys.hpp"
#include "ckks/sampling.hpp"
#include "ckks/secret_key.hpp"

namespace cipherformer {
namespace {

constexpr std::size_t kSeedBytes = 32;
constexpr std::size_t kCiphertextFields = 1 + 1 + 2 + 8;
constexpr std::size_t kKeyFields = 1 + 1 + 2 + 4 + kSeedBytes;

unsigned width(const Modulus& q) { return q.bits; }

// Bytes of `limbs` packed limbs, numbered as at `level` over QP.
std::size_t limbs_bytes(const Context& context, std::size_t level, std::size_t limbs) {
    std::size_t total = 0;
    for (std::size_t j = 0; j < limbs; ++j)
        total += packed_bytes(context.n(), width(context.modulus(context.index(level, j))));
    return total;
}

void write_limbs(Writer& writer, const Context& context, const Poly& poly, std::size_t level, std::size_t limbs) {
    for (std::size_t j = 0; j < limbs; ++j)
        writer.packed({poly.limb(j), context.n()}, width(context.modulus(context.index(level, j))));
}

Poly read_limbs(Reader& reader, const Context& context, std::size_t level, std::size_t limbs) {
    Poly poly = context.poly(limbs);
    std::vector<std::span<const std::uint8_t>> packed;
    for (std::size_t j = 0; j < limbs; ++j)
        packed.push_back(reader.raw(packed_bytes(context.n(), width(context.modulus(context.index(level, j))))));
    context.parallel(limbs, [&](std::size_t j) {
        const Modulus& q = context.modulus(context.index(level, j));
        reader.unpack({poly.limb(j), context.n()}, packed[j], width(q), q.value);
    });
    return poly;
}

std::size_t read_level(Reader& reader, const Context& context) {
    const std::size_t level = reader.u16();
    if (level > context.parameters().max_level())
        reader.fail("level " + std::to_string(level) + ", the parameters end at " +
                    std::to_string(context.parameters().max_level()));
    return level;
}

PolyPtr expanded(const Context& context, const Seed& seed, Stream stream, std::size_t limbs) {
    auto poly = std::make_shared<Poly>(context.poly(limbs));
    context.parallel(limbs, [&](std::size_t i) { expand_uniform(context, poly->limb(i), seed, stream, 0, i); });
    return poly;
}

}  // namespace

Bytes Ciphertext::to_bytes() const {
    const bool seeded = seed.has_value() && parts.size() == 2;
    const std::size_t written = seeded ? 1 : parts.size();
    const std::size_t payload =
        kCiphertextFields + (seeded ? kSeedBytes : 0) + written * limbs_bytes(*context, level, level + 1);
    Writer writer(kHeaderBytes + payload);
    write_header(writer, Kind::ciphertext, context->parameters().digest(), payload);
    writer.u8(static_cast<std::uint8_t>(parts.size()));
    writer.u8(seeded ? 1 : 0);
    writer.u16(static_cast<std::uint16_t>(level));
    writer.f64(scale);
    if (seeded) writer.raw(*seed);
    for (std::size_t part = 0; part < written; ++part) write_limbs(writer, *context, *parts[part], level, level + 1);
    return writer.take();
}

Ciphertext Ciphertext::from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes) {
    Reader reader(bytes, "ciphertext");
    read_header(reader, Kind::ciphertext, &context->parameters().digest());
    const std::size_t parts = reader.u8();
    const std::uint8_t seeded = reader.u8();
    if (parts < 2 || parts > 3 || seeded > 1 || (seeded == 1 && parts != 2))
        reader.fail("the number of parts or the seed flag is out of range");
    Ciphertext out{context, {}, read_level(reader, *context), reader.f64(), std::nullopt};
    if (!(out.scale > 0 && out.scale < 0x1p1000)) reader.fail("the scale is not a positive number below 2^1000");
    const std::size_t written = seeded == 1 ? 1 : parts;
    const std::size_t limbs = out.level + 1;
    reader.expect_left((seeded == 1 ? kSeedBytes : 0) + written * limbs_bytes(*context, out.level, limbs));
    if (seeded == 1) out.seed = reader.array<kSeedBytes>();
    for (std::size_t part = 0; part < written; ++part)
        out.parts.push_back(std::make_shared<const Poly>(read_limbs(reader, *context, out.level, limbs)));
    if (seeded == 1) out.parts.push_back(expanded(*context, *out.seed, Stream::ciphertext_uniform, limbs));
    return out;
}

Bytes PublicKey::to_bytes() const {
    const std::size_t level = context->parameters().max_level();
    const std::size_t payload = kSeedBytes + limbs_bytes(*context, level, level + 1);
    Writer writer(kHeaderBytes + payload);
    write_header(writer, Kind::public_key, context->parameters().digest(), payload);
    writer.raw(seed);
    write_limbs(writer, *context, *b, level, level + 1);
    return writer.take();
}

PublicKey PublicKey::from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes) {
    Reader reader(bytes, "public key");
    read_header(reader, Kind::public_key, &context->parameters().digest());
    const std::size_t level = context->parameters().max_level();
    reader.expect_left(kSeedBytes + limbs_bytes(*context, level, level + 1));
    const Seed seed = reader.array<kSeedBytes>();
    auto b = std::make_shared<const Poly>(read_limbs(reader, *context, level, level + 1));
    return {context, b, expanded(*context, seed, Stream::public_key_uniform, level + 1), seed};
}

std::size_t SwitchingKey::serialised_bytes() const {
    return kHeaderBytes + kKeyFields + b.size() * limbs_bytes(*context, level, limbs());
}

Bytes SwitchingKey::to_bytes() const {
    const std::size_t total = serialised_bytes();
    Writer writer(total);
    write_header(writer, Kind::switching_key, context->parameters().digest(), total - kHeaderBytes);
    writer.u8(static_cast<std::uint8_t>(kind));
    writer.u8(0);
    writer.u16(static_cast<std::uint16_t>(level));
    writer.u32(static_cast<std::uint32_t>(steps));
    writer.raw(seed);
    for (const Poly& digit : b) write_limbs(writer, *context, digit, level, digit.limbs());
    return writer.take();
}

SwitchingKey SwitchingKey::from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes) {
    Reader reader(bytes, "switching key");
    read_header(reader, Kind::switching_key, &context->parameters().digest());
    SwitchingKey key;
    key.context = context;
    const std::uint8_t kind = reader.u8();
    const std::uint8_t reserved = reader.u8();
    if (kind > static_cast<std::uint8_t>(KeyKind::decapsulate) || reserved != 0) reader.fail("unknown kind of key");
    key.kind = static_cast<KeyKind>(kind);
    key.level = read_level(reader, *context);
    key.steps = reader.u32();
    if (key.steps >= context->parameters().slots() || (key.kind == KeyKind::rotate) != (key.steps != 0))
        reader.fail("a rotation by " + std::to_string(key.steps) + " does not go with these parameters and kind");
    if (key.kind == KeyKind::encapsulate && key.level != 0)
        reader.fail("an encapsulating key above the lowest modulus would not be safe");
    key.seed = reader.array<kSeedBytes>();
    const std::size_t digits = key.digits();
    const std::size_t limbs = key.limbs();
    reader.expect_left(digits * limbs_bytes(*context, key.level, limbs));
    for (std::size_t d = 0; d < digits; ++d) key.b.push_back(read_limbs(reader, *context, key.level, limbs));
    key.set_permutation();
    key.expand();
    return key;
}

Bytes SecretKey::to_bytes() const {
    std::vector<u64> digits(coefficients_.size());
    for (std::size_t i = 0; i < digits.size(); ++i) digits[i] = static_cast<u64>(coefficients_.data()[i] + 1);
    const std::size_t payload = packed_bytes(digits.size(), 2);
    Writer writer(kHeaderBytes + payload);
    write_header(writer, Kind::secret_key, context_->parameters().digest(), payload);
    writer.packed(digits, 2);
    secure_zero(digits.data(), digits.size() * sizeof(u64));
    return writer.take();
}

SecretKey SecretKey::from_bytes(ContextPtr context, std::span<const std::uint8_t> bytes) {
    Reader reader(bytes, "secret key");
    read_header(reader, Kind::secret_key, &context->parameters().digest());
    reader.expect_left(packed_bytes(context->n(), 2));
    std::vector<u64> digits(context->n());
    reader.packed(digits, 2, 3);
    SecretIntegers coefficients(context->n());
    std::size_t weight = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        coefficients.data()[i] = static_cast<std::int32_t>(digits[i]) - 1;
        weight += digits[i] != 1;
    }
    secure_zero(digits.data(), digits.size() * sizeof(u64));
    const unsigned expected = context->parameters().hamming_weight();
    if (expected != 0 && weight != expected) reader.fail("its Hamming weight is not that of the parameters");
    return SecretKey(std::move(context), std::move(coefficients));
}

}  // namespace cipherformer
