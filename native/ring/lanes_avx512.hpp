// The AVX-512 instructions that the ring uses, one function each, so that the same kernels can be compiled and tested
// on a machine without them (native/tests/lanes_emulated.hpp). Included by the *_avx512.cpp files only.
#pragma once

#if defined(CIPHERFORMER_EMULATE_AVX512)
#include "tests/lanes_emulated.hpp"
#else

// GCC 12 takes the deliberately undefined operands inside its own header for uninitialised variables (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "ring/modulus.hpp"

namespace cipherformer::avx512 {
namespace {

using Word = __m512i;   // eight 64-bit lanes
using Mask = __mmask8;  // one bit per lane

inline Word load(const u64* x) { return _mm512_loadu_si512(x); }
inline void store(u64* x, Word value) { _mm512_storeu_si512(x, value); }
inline Word broadcast(u64 x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
inline Word lanes(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h) {
    return _mm512_setr_epi64(static_cast<long long>(a), static_cast<long long>(b), static_cast<long long>(c),
                             static_cast<long long>(d), static_cast<long long>(e), static_cast<long long>(f),
                             static_cast<long long>(g), static_cast<long long>(h));
}
// Eight 32-bit integers, signed or not, to 64 bits.
inline Word widen_signed(const std::int32_t* x) {
    return _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}
inline Word widen(const std::uint32_t* x) {
    return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

inline Word add(Word a, Word b) { return _mm512_add_epi64(a, b); }
inline Word sub(Word a, Word b) { return _mm512_sub_epi64(a, b); }
inline Word least(Word a, Word b) { return _mm512_min_epu64(a, b); }
inline Word both(Word a, Word b) { return _mm512_and_si512(a, b); }
inline Word either(Word a, Word b) { return _mm512_or_si512(a, b); }
// Shifts by the same count, 0 to 63, in all lanes.
inline Word left(Word a, unsigned count) { return _mm512_sll_epi64(a, _mm_cvtsi32_si128(static_cast<int>(count))); }
inline Word right(Word a, unsigned count) { return _mm512_srl_epi64(a, _mm_cvtsi32_si128(static_cast<int>(count))); }

// sum + the low or high 52 bits of the 104-bit product of the low 52 bits of a and b.
inline Word multiply_low(Word sum, Word a, Word b) { return _mm512_madd52lo_epu64(sum, a, b); }
inline Word multiply_high(Word sum, Word a, Word b) { return _mm512_madd52hi_epu64(sum, a, b); }

inline Mask above(Word a, Word b) { return _mm512_cmpgt_epu64_mask(a, b); }
inline Word keep(Mask mask, Word a) { return _mm512_maskz_mov_epi64(mask, a); }  // 0 in the other lanes

inline Word permute(Word a, Word index) { return _mm512_permutexvar_epi64(index, a); }  // low 3 bits of index
inline Word permute(Word a, Word b, Word index) { return _mm512_permutex2var_epi64(a, index, b); }  // bit 3: b

}  // namespace
}  // namespace cipherformer::avx512

#endif
