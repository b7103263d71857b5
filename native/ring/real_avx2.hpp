// Arithmetic modulo a prime p < 2^50 on four doubles at a time (after FLINT's fft_small; van der Hoeven, Lecerf and
// Quintin 2016, "Modular SIMD arithmetic in Mathemagix"). Included by the *_avx2.cpp files only.
//
// A residue is any integer x with |x| <= B p, held exactly: B p <= 2^53 requires B <= 8. `mul` computes
//   h = RN(x w),  l = x w - h (exact, one FMA),  c = round(x w / p) up to an error,  r = (h - c p) + l.
// h - c p is an integer of magnitude below 2^53, hence exact in one FMA, and so is the sum: r = x w - c p.
// With |w| <= p/2, the quotient before rounding has magnitude at most B p / 2 and a relative error of
//   2 * 2^-53 when it is RN(x * RN(w / p))       -> |r| <= (1/2 + B/8) p      (`mul` by a Twiddle)
//   3 * 2^-53 when it is RN(RN(x w) * RN(1 / p)) -> |r| <= (1/2 + 3B/16) p    (`mul` by a vector)
// because p < 2^50; twice that excess when |w| is only known to be below p. `reduce` is x - round(x / p) p: the
// quotient is off by at most |x / p| 2^-52 before rounding, so |r| < p for every |x| <= 2^53, and for |x| < p < 2^50
// r is the centred residue exactly, since no odd p has |x / p| within 2^-51 of a half.
#pragma once

#include <immintrin.h>

#include "ring/modulus.hpp"

namespace cipherformer::avx2 {
namespace {

using Real = __m256d;
using Word = __m256i;

struct Field {
    Real p;
    Real inverse;
    explicit Field(const Modulus& q) : p(_mm256_set1_pd(q.real)), inverse(_mm256_set1_pd(q.inverse)) {}
};

// A constant factor in [-p/2, p/2] and its quotient by p, in all lanes.
struct Twiddle {
    Real w;
    Real ratio;
    Twiddle(const double* factor, const double* quotient)
        : w(_mm256_broadcast_sd(factor)), ratio(_mm256_broadcast_sd(quotient)) {}
    Twiddle(u64 factor, const Modulus& q) {
        const double centred = static_cast<double>(q.centred(factor));
        w = _mm256_set1_pd(centred);
        ratio = _mm256_set1_pd(centred / q.real);
    }
};

inline Real round_even(Real x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline Real add(Real a, Real b) { return _mm256_add_pd(a, b); }
inline Real sub(Real a, Real b) { return _mm256_sub_pd(a, b); }

inline Real mul(Real x, const Twiddle& t, const Field& f) {
    const Real high = _mm256_mul_pd(x, t.w);
    const Real quotient = round_even(_mm256_mul_pd(x, t.ratio));
    const Real low = _mm256_fmsub_pd(x, t.w, high);
    return add(_mm256_fnmadd_pd(quotient, f.p, high), low);
}

inline Real mul(Real x, Real y, const Field& f) {
    const Real high = _mm256_mul_pd(x, y);
    const Real quotient = round_even(_mm256_mul_pd(high, f.inverse));
    const Real low = _mm256_fmsub_pd(x, y, high);
    return add(_mm256_fnmadd_pd(quotient, f.p, high), low);
}

// x[i] w[i] for several, step by step side by side: written for the scheduler of the processor, whose window is shorter
// than the chain of one product.
template <std::size_t count>
inline void mul_each(Real* x, const Real* w, const Field& f) {
    Real high[count], quotient[count];
    for (std::size_t i = 0; i < count; ++i) high[i] = _mm256_mul_pd(x[i], w[i]);
    for (std::size_t i = 0; i < count; ++i) quotient[i] = _mm256_mul_pd(high[i], f.inverse);
    for (std::size_t i = 0; i < count; ++i) x[i] = _mm256_fmsub_pd(x[i], w[i], high[i]);
    for (std::size_t i = 0; i < count; ++i) quotient[i] = round_even(quotient[i]);
    for (std::size_t i = 0; i < count; ++i) high[i] = _mm256_fnmadd_pd(quotient[i], f.p, high[i]);
    for (std::size_t i = 0; i < count; ++i) x[i] = add(high[i], x[i]);
}

inline Real reduce(Real x, const Field& f) { return _mm256_fnmadd_pd(round_even(_mm256_mul_pd(x, f.inverse)), f.p, x); }

// Integers below 2^52 to doubles: 2^52 plus an integer holds it in the low mantissa bits.
inline Real to_real(Word x) {
    const Real magic = _mm256_set1_pd(0x1p52);
    return sub(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(magic))), magic);
}
inline Word load(const u64* x) { return _mm256_loadu_si256(reinterpret_cast<const Word*>(x)); }
inline void store(u64* x, Word value) { _mm256_storeu_si256(reinterpret_cast<Word*>(x), value); }
inline Real load_real(const u64* x) { return to_real(load(x)); }
// An integer |x| < p, not -0, to [0, p): adds 2^52 + p to negative ones and 2^52 to the others, then takes 2^52 off
// the representation. A `reduce` or `mul` never gives -0 here: an exact zero is a sum of opposite terms, +0.
inline Word from_centred(Real x, const Field& f) {
    const Real magic = _mm256_set1_pd(0x1p52);
    const Real shift = _mm256_blendv_pd(magic, add(magic, f.p), x);
    return _mm256_xor_si256(_mm256_castpd_si256(add(x, shift)), _mm256_castpd_si256(magic));
}
// An integer |x| <= 2^53 to its residue in [0, p).
inline void store_residue(u64* out, Real x, const Field& f) { store(out, from_centred(reduce(x, f), f)); }

}  // namespace
}  // namespace cipherformer::avx2
