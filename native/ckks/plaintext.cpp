#include "ckks/plaintext.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>

namespace cipherformer {
namespace {

constexpr double kMagic = 0x1.8p52;  // x + kMagic has ulp 1 for |x| <= 2^51, so it rounds x to an integer
constexpr std::size_t kWorthATask = 2048;  // coefficients; fewer take less time than waking a thread
constexpr double kFastLimit = 0x1p51;
constexpr double kNarrowLimit = 0x1p31;
constexpr double kLargest = 0x1p100;
constexpr double kLargestSlot = 0x1p900;  // sums over all slots stay finite

// Working memory for real numbers, from the pool.
class Reals {
public:
    Reals(BufferPool& pool, std::size_t count)
        : words_(pool.take(count)), values_(new (words_.data()) double[count], count) {}
    double& operator[](std::size_t i) { return values_[i]; }
    double* data() { return values_.data(); }
    std::span<const double> values() const { return values_; }

private:
    Buffer words_;
    std::span<double> values_;
};

void check_length(std::size_t length, const Context& context) {
    if (!std::has_single_bit(length) || length > context.parameters().slots())
        refuse("encode", "the vector has " + std::to_string(length) + " values",
               "its length must be a power of two of at most " + std::to_string(context.parameters().slots()) + " slots");
}

void check_slots(std::span<const double> values) {
    for (double x : values)
        if (!(std::fabs(x) < kLargestSlot))
            refuse("encode", "a value is NaN, infinite or beyond 2^900", "encode finite numbers");
}

double largest_magnitude(std::span<const double> values) {
    std::array<double, 8> lanes{};
    const std::size_t whole = values.size() / lanes.size() * lanes.size();
    for (std::size_t i = 0; i < whole; i += lanes.size())
        for (std::size_t l = 0; l < lanes.size(); ++l)
            lanes[l] = std::fabs(values[i + l]) > lanes[l] ? std::fabs(values[i + l]) : lanes[l];
    double largest = *std::max_element(lanes.begin(), lanes.end());
    for (double x : values.subspan(whole)) largest = std::max(largest, std::fabs(x));
    return largest;
}

void check_size(const Context& context, double largest, std::size_t level, double scale) {
    if (largest < kLargest && std::log2(largest + 1) + 1 < context.log_q(level)) return;
    refuse("encode",
           "a coefficient of 2^" + std::to_string(std::log2(largest)) + " does not fit (scale 2^" +
               std::to_string(std::log2(scale)) + ", modulus 2^" + std::to_string(context.log_q(level)) + ", limit 2^100)",
           "lower the scale or the values, or use a higher level");
}

// To the nearest integers, ties to even.
void round_all(Reals& x, double largest) {
    const std::span<const double> in = x.values();
    if (largest < kFastLimit)
        for (std::size_t i = 0; i < in.size(); ++i) x[i] = (in[i] + kMagic) - kMagic;
    else
        for (std::size_t i = 0; i < in.size(); ++i) x[i] = std::nearbyint(in[i]);
}

// out = the transform modulo number `index` of `count` integers, none above `largest` in magnitude.
void expand(const Context& context, u64* out, const double* in, std::size_t count, double largest, std::size_t index) {
    const Modulus& q = context.modulus(index);
    const auto log_count = static_cast<unsigned>(std::countr_zero(count));
    if (largest < kFastLimit) return context.ntt(index).forward_integers(out, in, log_count);
    for (std::size_t k = 0; k < count; ++k) out[k] = residue_of_integer(in[k], q);
    context.ntt(index).forward_small(out, log_count);
}

std::shared_ptr<const Coefficients> keep_coefficients(BufferPool& pool, std::span<const double> integers, double largest) {
    const bool narrow = largest + 1 < kNarrowLimit;
    const std::size_t bytes = integers.size() * (narrow ? sizeof(std::int32_t) : sizeof(double));
    Coefficients kept{pool.take((bytes + sizeof(u64) - 1) / sizeof(u64)), integers.size(), narrow, largest};
    if (narrow) {
        const std::span out(new (kept.words.data()) std::int32_t[integers.size()], integers.size());
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int32_t>(integers[i]);
    } else {
        std::memcpy(kept.words.data(), integers.data(), bytes);
    }
    return std::make_shared<const Coefficients>(std::move(kept));
}

Plaintext encode_parts(const ContextPtr& context, Reals& re, Reals& im, std::size_t level, double scale, bool extended,
                       Keep keep) {
    check_slots(re.values());
    check_slots(im.values());
    const std::size_t width = 2 * re.values().size();
    Reals coefficients(context->pool(), width);
    const auto log_s = static_cast<unsigned>(std::countr_zero(width)) - 1;
    context->embedding().to_coefficients(coefficients.data(), re.data(), im.data(), log_s, scale);
    const double largest = largest_magnitude(coefficients.values());
    check_size(*context, largest, level, scale);

    round_all(coefficients, largest);

    Plaintext out{context, nullptr, nullptr, level, scale, width / 2, extended};
    if (keep == Keep::coefficients) {
        out.coefficients = keep_coefficients(context->pool(), coefficients.values(), largest);
        return out;
    }
    Poly poly(context->pool(), extended ? context->qp_limbs(level) : level + 1, width);
    const auto fill = [&](std::size_t j) {
        expand(*context, poly.limb(j), coefficients.data(), width, largest, context->index(level, j));
    };
    if (width < kWorthATask)
        for (std::size_t j = 0; j < poly.limbs(); ++j) fill(j);
    else
        context->parallel(poly.limbs(), fill);
    out.poly = std::make_shared<const Poly>(std::move(poly));
    return out;
}

void check_request(const Context& context, std::size_t length, std::size_t level, double scale) {
    check_length(length, context);
    check_scale(scale, "encode");
    if (level > context.parameters().max_level())
        refuse("encode", "level " + std::to_string(level),
               "the highest level of these parameters is " + std::to_string(context.parameters().max_level()));
}

}  // namespace

unsigned Plaintext::shift() const {
    return context->parameters().log_n() - 1 - static_cast<unsigned>(std::countr_zero(period));
}

std::size_t Plaintext::memory_bytes() const {
    return compact() ? coefficients->words.size() * sizeof(u64) : poly->bytes();
}

const u64* Plaintext::values(std::size_t j, std::size_t index, u64* scratch) const {
    if (!compact()) return poly->limb(j);
    if (coefficients->narrow) {
        const auto* integers = std::launder(reinterpret_cast<const std::int32_t*>(coefficients->words.data()));
        context->ntt(index).forward_integers(scratch, integers, static_cast<unsigned>(std::countr_zero(coefficients->count)));
    } else {
        const auto* integers = std::launder(reinterpret_cast<const double*>(coefficients->words.data()));
        expand(*context, scratch, integers, coefficients->count, coefficients->largest, index);
    }
    return scratch;
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
                 bool extended, Keep keep) {
    check_request(*context, values.size(), level, scale);
    Reals re(context->pool(), values.size());
    Reals im(context->pool(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) re[i] = values[i].real(), im[i] = values[i].imag();
    return encode_parts(context, re, im, level, scale, extended, keep);
}

Plaintext encode(const ContextPtr& context, std::span<const double> values, std::size_t level, double scale,
                 bool extended, Keep keep) {
    check_request(*context, values.size(), level, scale);
    Reals re(context->pool(), values.size());
    Reals im(context->pool(), values.size());
    std::copy(values.begin(), values.end(), re.data());
    std::fill_n(im.data(), values.size(), 0.0);
    return encode_parts(context, re, im, level, scale, extended, keep);
}

const u64* expanded_limb(const Plaintext& plaintext, std::size_t limb, u64* scratch) {
    const u64* values = plaintext.values(limb, limb, scratch);
    const unsigned shift = plaintext.shift();
    if (shift == 0) return values;
    for (std::size_t i = plaintext.context->n(); i-- > 0;) scratch[i] = values[i >> shift];  // `values` may be `scratch`
    return scratch;
}

}  // namespace cipherformer
