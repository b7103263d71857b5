#include "ckks/plaintext.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace cipherformer {
namespace {

constexpr double kMagic = 0x1.8p52;  // x + kMagic has ulp 1 for |x| <= 2^51, so it rounds x to an integer
constexpr double kFastLimit = 0x1p51;
constexpr double kLargest = 0x1p100;
constexpr double kLargestSlot = 0x1p900;  // sums over all slots stay finite

struct Coefficients {
    std::vector<double> values;  // not yet rounded
    double largest = 0;
};

void check_length(std::size_t length, const Context& context) {
    if (!std::has_single_bit(length) || length > context.parameters().slots())
        refuse("encode", "the vector has " + std::to_string(length) + " values",
               "its length must be a power of two of at most " + std::to_string(context.parameters().slots()) + " slots");
}

Coefficients embed(const Context& context, std::vector<double>& re, std::vector<double>& im, double scale) {
    for (const auto* part : {&re, &im})
        for (double x : *part)
            if (!(std::fabs(x) < kLargestSlot))
                refuse("encode", "a value is NaN, infinite or beyond 2^900", "encode finite numbers");
    Coefficients out{std::vector<double>(2 * re.size()), 0};
    const auto log_s = static_cast<unsigned>(std::countr_zero(re.size()));
    context.embedding().to_coefficients(out.values.data(), re.data(), im.data(), log_s, scale);
    double largest = 0;
    for (double x : out.values) largest = std::fabs(x) > largest ? std::fabs(x) : largest;
    out.largest = largest;
    return out;
}

void check_size(const Context& context, double largest, std::size_t level, double scale) {
    if (largest < kLargest && std::log2(largest + 1) + 1 < context.log_q(level)) return;
    refuse("encode",
           "a coefficient of 2^" + std::to_string(std::log2(largest)) + " does not fit (scale 2^" +
               std::to_string(std::log2(scale)) + ", modulus 2^" + std::to_string(context.log_q(level)) + ", limit 2^100)",
           "lower the scale or the values, or use a higher level");
}

// Residues of integers of at most 52 bits, none above `largest`.
void reduce_small(u64* out, const std::int64_t* in, std::size_t count, double largest, const Modulus& q) {
    const auto modulus = static_cast<std::int64_t>(q.value);
    const auto add_if_negative = [modulus](std::int64_t x) { return static_cast<u64>(x + (x >> 63 & modulus)); };
    if (largest + 1 < q.real) {
        for (std::size_t i = 0; i < count; ++i) out[i] = add_if_negative(in[i]);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {  // the quotient is at most one off
        const auto quotient = static_cast<std::int64_t>(static_cast<double>(in[i]) * q.inverse);
        const u64 rest = add_if_negative(in[i] - quotient * modulus);
        out[i] = static_cast<u64>(add_if_negative(static_cast<std::int64_t>(rest) - modulus));
    }
}

Plaintext encode_parts(const ContextPtr& context, std::vector<double>& re, std::vector<double>& im, std::size_t level,
                       double scale, bool extended) {
    const Coefficients coefficients = embed(*context, re, im, scale);
    check_size(*context, coefficients.largest, level, scale);
    const std::size_t width = coefficients.values.size();
    const auto log_width = static_cast<unsigned>(std::countr_zero(width));
    const bool small = coefficients.largest < kFastLimit;
    std::vector<std::int64_t> integers(small ? width : 0);
    if (small)
        for (std::size_t i = 0; i < width; ++i)
            integers[i] =
                std::bit_cast<std::int64_t>(coefficients.values[i] + kMagic) - std::bit_cast<std::int64_t>(kMagic);

    Poly poly(context->pool(), extended ? context->qp_limbs(level) : level + 1, width);
    context->parallel(poly.limbs(), [&](std::size_t j) {
        const std::size_t i = context->index(level, j);
        const Modulus& q = context->modulus(i);
        u64* out = poly.limb(j);
        if (small)
            reduce_small(out, integers.data(), width, coefficients.largest, q);
        else
            for (std::size_t k = 0; k < width; ++k) out[k] = residue_of_integer(std::nearbyint(coefficients.values[k]), q);
        context->ntt(i).forward_small(out, log_width);
    });
    return {context, std::make_shared<const Poly>(std::move(poly)), level, scale, width / 2, extended};
}

void check_request(const Context& context, std::size_t length, std::size_t level, double scale) {
    check_length(length, context);
    check_scale(scale, "encode");
    if (level > context.parameters().max_level())
        refuse("encode", "level " + std::to_string(level),
               "the highest level of these parameters is " + std::to_string(context.parameters().max_level()));
}

// The integers with the given residues (coefficient form, destroyed), centred, as the nearest doubles: x + (Q - 1) / 2 has
// mixed-radix digits (Garner) d_i, and x = sum_i (d_i - (q_i - 1) / 2) q_0 ... q_(i-1), because (Q - 1) / 2 has the digits
// (q_i - 1) / 2. All terms above a small x are 0, so nothing is lost to cancellation.
class Composer {
public:
    Composer(const Context& context, std::size_t limbs) : context_(context), inverse_(limbs) {
        for (std::size_t i = 0; i < limbs; ++i) {
            const Modulus& q = context.modulus(i);
            u64 half = 0;
            u64 radix = 1;
            for (std::size_t j = 0; j < limbs; ++j) {
                const Modulus& other = context.modulus(j);
                half = q.add(half, q.mul(q.reduce(other.half), radix));
                radix = q.mul(radix, q.reduce(other.value));
                if (j < i) inverse_[i].push_back(q.invert(q.reduce(other.value)));
            }
            half_.push_back(half);
        }
    }

    // Coefficients start .. start + count.
    void compose(double* out, Poly& residues, std::size_t start, std::size_t count) const {
        const Kernels& k = context_.kernels();
        Poly scratch(context_.pool(), 1, count);
        u64* reduced = scratch.limb(0);
        for (std::size_t i = 0; i < inverse_.size(); ++i) {
            const Modulus& q = context_.modulus(i);
            u64* digit = residues.limb(i) + start;
            k.add_scalar(digit, digit, half_[i], count, q);
            for (std::size_t j = 0; j < i; ++j) {
                k.reduce(reduced, residues.limb(j) + start, count, context_.modulus(j), q);
                k.sub_mul_scalar(digit, digit, reduced, inverse_[i][j], count, q);
            }
        }
        std::fill_n(out, count, 0.0);
        for (std::size_t i = inverse_.size(); i-- > 0;) {
            const Modulus& q = context_.modulus(i);
            const u64* digit = residues.limb(i) + start;
            for (std::size_t n = 0; n < count; ++n)
                out[n] = out[n] * q.real + static_cast<double>(static_cast<std::int64_t>(digit[n] - q.half));
        }
    }

private:
    const Context& context_;
    std::vector<std::vector<u64>> inverse_;  // [i][j]: q_j^-1 mod q_i
    std::vector<u64> half_;                  // (Q - 1) / 2 mod q_i
};

}  // namespace

unsigned Plaintext::shift() const {
    return context->parameters().log_n() - 1 - static_cast<unsigned>(std::countr_zero(period));
}

void check_scale(double scale, const char* what) {
    if (!(scale > 0 && scale < 0x1p1000))
        refuse(what, "scale " + std::to_string(scale), "a scale is a positive number below 2^1000");
}

u64 residue_of_integer(double x, const Modulus& q) {
    int exponent = 0;
    const double mantissa = std::frexp(x, &exponent);
    if (exponent <= 53) return q.from_signed(static_cast<std::int64_t>(x));
    const auto integer = static_cast<std::int64_t>(std::ldexp(mantissa, 53));
    return q.mul(q.from_signed(integer), q.pow(2, static_cast<u64>(exponent - 53)));
}

Plaintext encode(const ContextPtr& context, std::span<const std::complex<double>> values, std::size_t level, double scale,
                 bool extended) {
    check_request(*context, values.size(), level, scale);
    std::vector<double> re(values.size());
    std::vector<double> im(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) re[i] = values[i].real(), im[i] = values[i].imag();
    return encode_parts(context, re, im, level, scale, extended);
}

Plaintext encode(const ContextPtr& context, std::span<const double> values, std::size_t level, double scale,
                 bool extended) {
    check_request(*context, values.size(), level, scale);
    std::vector<double> re(values.begin(), values.end());
    std::vector<double> im(values.size());
    return encode_parts(context, re, im, level, scale, extended);
}

std::vector<std::complex<double>> decode(const Plaintext& plaintext) {
    const Context& context = *plaintext.context;
    const std::size_t width = 2 * plaintext.period;
    const auto log_s = static_cast<unsigned>(std::countr_zero(plaintext.period));
    const std::size_t limbs = plaintext.level + 1;
    Poly work(context.pool(), limbs, width);
    context.parallel(limbs, [&](std::size_t i) {
        std::memcpy(work.limb(i), plaintext.poly->limb(i), width * sizeof(u64));
        context.ntt(i).inverse_small(work.limb(i), log_s + 1);
    });
    const Composer composer(context, limbs);
    std::vector<double> coefficients(width);
    const std::size_t piece = std::min<std::size_t>(width, 1024);
    context.parallel(width / piece,
                     [&](std::size_t i) { composer.compose(&coefficients[i * piece], work, i * piece, piece); });
    std::vector<double> re(plaintext.period);
    std::vector<double> im(plaintext.period);
    context.embedding().to_slots(re.data(), im.data(), coefficients.data(), log_s);
    std::vector<std::complex<double>> slots(context.parameters().slots());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::size_t source = i & (plaintext.period - 1);
        slots[i] = {re[source] / plaintext.scale, im[source] / plaintext.scale};
    }
    return slots;
}

const u64* expanded_limb(const Plaintext& plaintext, std::size_t limb, u64* scratch) {
    const u64* values = plaintext.poly->limb(limb);
    const unsigned shift = plaintext.shift();
    if (shift == 0) return values;
    const std::size_t n = plaintext.context->n();
    for (std::size_t i = 0; i < n; ++i) scratch[i] = values[i >> shift];
    return scratch;
}

}  // namespace cipherformer
