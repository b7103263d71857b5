// The AVX-512 kernels in an emulation of their instructions, so that every machine tests them: the very same sources,
// compiled against native/tests/lanes_emulated.hpp.
#define CIPHERFORMER_EMULATE_AVX512

#include "ring/kernels_avx512.cpp"
#include "ring/ntt_avx512.cpp"
#include "ring/sums_avx512.cpp"
#include "ring_suite.hpp"

int main() {
    cipherformer::test::run_suite({&cipherformer::avx512_kernels()});
    return cipherformer::test::report("test_ring_avx512");
}
