#if defined(__AVX2__) && defined(__FMA__)

#include "ring/paths.hpp"
#include "ring/transforms_avx2.hpp"

namespace cipherformer {

const Kernels& avx2_kernels() {
    static const Kernels table = [] {
        Kernels t = portable_kernels();
        t.path = Path::avx2;
        t.name = "avx2";
        t.ntt_forward = avx2::ntt_forward;
        t.ntt_inverse = avx2::ntt_inverse;
        return t;
    }();
    return table;
}

}  // namespace cipherformer

#endif
