#include "ckks/parameters.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

namespace cipherformer {
namespace {

struct SecurityRow {
    unsigned log_n;
    unsigned dense;   // uniform ternary
    unsigned sparse;  // Hamming weight 192
};

// 128 bits, classical attacks. log_n 10 and 11: Homomorphic Encryption Standard (2018), table 1.
constexpr std::array<SecurityRow, 8> kSecurity{{{10, 27, 0},
                                                {11, 54, 0},
                                                {12, 109, 0},
                                                {13, 218, 0},
                                                {14, 438, 0},
                                                {15, 881, 768},
                                                {16, 1747, 1546},
                                                {17, 3523, 0}}};
constexpr unsigned kSparseWeight = 192;
constexpr double kDigitTolerance = 0.1;  // bits: primes "of one size" lie on both sides of a power of two

double log2_product(std::span<const u64> factors) {
    double sum = 0;
    for (u64 q : factors) sum += std::log2(static_cast<double>(q));
    return sum;
}

std::string bits_text(double bits) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f", bits);
    return text.data();
}

}  // namespace

unsigned max_log_qp(unsigned log_n, unsigned hamming_weight) {
    const auto row = std::find_if(kSecurity.begin(), kSecurity.end(), [&](const auto& r) { return r.log_n == log_n; });
    if (row == kSecurity.end() || (hamming_weight != 0 && hamming_weight < kSparseWeight)) return 0;
    return hamming_weight == 0 ? row->dense : row->sparse;
}

Parameters::Parameters(ParametersLiteral literal) : literal_(std::move(literal)) {
    const unsigned lowest = literal_.insecure ? kMinInsecureLogN : kMinLogN;
    if (literal_.log_n < lowest || literal_.log_n > kMaxLogN)
        refuse("parameters", "log_n is " + std::to_string(literal_.log_n),
               "choose " + std::to_string(lowest) + " to " + std::to_string(kMaxLogN));
    if (literal_.hamming_weight > n())
        refuse("parameters", "hamming_weight exceeds the ring dimension " + std::to_string(n()),
               "choose 0 (uniform ternary) or 192");
    check_moduli();
    log_q_ = log2_product(literal_.moduli);
    log_p_ = log2_product(literal_.special_moduli);
    check_digits();
    check_security();
    digest_ = sha256(canonical_bytes());
}

void Parameters::check_moduli() const {
    if (literal_.moduli.empty()) refuse("parameters", "there are no moduli", "give at least one");
    if (literal_.special_moduli.empty())
        refuse("parameters", "there are no special moduli", "key switching needs P, of at least a digit's size");
    if (limbs() > kMaxLimbs || special_limbs() > kMaxLimbs || limbs() + special_limbs() > kMaxLimbs)
        refuse("parameters", "more than " + std::to_string(kMaxLimbs) + " moduli", "use fewer, larger primes");
    std::set<u64> seen;
    for (const auto* list : {&literal_.moduli, &literal_.special_moduli})
        for (u64 q : *list) {
            const std::string what = "parameters: modulus " + std::to_string(q);
            if (q >> kMaxModulusBits != 0) refuse(what, "it has more than 50 bits", "take generate_primes(log_n, bits)");
            if (!is_prime(q)) refuse(what, "it is not prime", "take generate_primes(log_n, bits)");
            if (q % (2 * n()) != 1)
                refuse(what, "it is not 1 modulo 2N = " + std::to_string(2 * n()), "take generate_primes(log_n, bits)");
            if (!seen.insert(q).second) refuse(what, "it appears twice", "all moduli must be distinct");
        }
}

void Parameters::check_digits() const {
    if (literal_.digit_size < 1 || literal_.digit_size > limbs())
        refuse("parameters", "digit_size is " + std::to_string(literal_.digit_size),
               "choose 1 to " + std::to_string(limbs()) + ", the number of moduli");
    for (std::size_t start = 0; start < limbs(); start += literal_.digit_size) {
        const std::size_t count = std::min<std::size_t>(literal_.digit_size, limbs() - start);
        const double digit = log2_product(std::span(literal_.moduli).subspan(start, count));
        if (digit > log_p_ + kDigitTolerance)
            refuse("parameters",
                   "P has " + bits_text(log_p_) + " bits, less than the " + bits_text(digit) +
                       " bits of the digit that starts at modulus " + std::to_string(start) +
                       ", so key switching would drown the message in noise",
                   "add a special modulus (2^8 above the digit is best) or lower digit_size");
    }
}

void Parameters::check_security() const {
    if (literal_.insecure) return;
    const unsigned limit = max_log_qp(literal_.log_n, literal_.hamming_weight);
    if (limit == 0)
        refuse("parameters",
               "no 128-bit limit is known for log_n " + std::to_string(literal_.log_n) + " and hamming_weight " +
                   std::to_string(literal_.hamming_weight),
               "use hamming_weight 0, or 192 with log_n 15 or 16; insecure=True allows it for tests");
    if (log_qp() > limit)
        refuse("parameters",
               "log2(QP) is " + bits_text(log_qp()) + ", above the 128-bit limit " + std::to_string(limit) + " for log_n " +
                   std::to_string(literal_.log_n),
               "use fewer or smaller moduli or a larger log_n; insecure=True allows it for tests");
}

unsigned Parameters::security_bits() const {
    const unsigned limit = max_log_qp(literal_.log_n, literal_.hamming_weight);
    if (log_qp() <= limit) return 128;
    return static_cast<unsigned>(128.0 * limit / log_qp());
}

Bytes Parameters::canonical_bytes() const {
    Writer writer;
    writer.u8(static_cast<std::uint8_t>(literal_.log_n));
    writer.u8(literal_.insecure ? 1 : 0);
    writer.u16(static_cast<std::uint16_t>(literal_.digit_size));
    writer.u32(literal_.hamming_weight);
    writer.u16(static_cast<std::uint16_t>(limbs()));
    writer.u16(static_cast<std::uint16_t>(special_limbs()));
    for (u64 q : literal_.moduli) writer.u64(q);
    for (u64 p : literal_.special_moduli) writer.u64(p);
    return writer.take();
}

Bytes Parameters::to_bytes() const {
    const Bytes payload = canonical_bytes();
    Writer writer(kHeaderBytes + payload.size());
    write_header(writer, Kind::parameters, digest_, payload.size());
    writer.raw(payload);
    return writer.take();
}

Parameters Parameters::from_bytes(std::span<const std::uint8_t> bytes) {
    Reader reader(bytes, "parameters");
    const Digest announced = read_header(reader, Kind::parameters, nullptr);
    ParametersLiteral literal;
    literal.log_n = reader.u8();
    const std::uint8_t insecure = reader.u8();
    if (insecure > 1) reader.fail("the insecure flag is neither 0 nor 1");
    literal.insecure = insecure == 1;
    literal.digit_size = reader.u16();
    literal.hamming_weight = reader.u32();
    const std::size_t limbs = reader.u16();
    const std::size_t special = reader.u16();
    if (limbs + special > kMaxLimbs) reader.fail("more than " + std::to_string(kMaxLimbs) + " moduli");
    reader.expect_left(8 * (limbs + special));
    for (std::size_t i = 0; i < limbs; ++i) literal.moduli.push_back(reader.u64());
    for (std::size_t i = 0; i < special; ++i) literal.special_moduli.push_back(reader.u64());
    Parameters parameters(std::move(literal));
    if (parameters.digest() != announced) reader.fail("the digest does not match the content", "the data is damaged");
    return parameters;
}

}  // namespace cipherformer
