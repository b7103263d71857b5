#include "ckks/sampling.hpp"

namespace cipherformer {

void expand_uniform(const Context& context, u64* out, const Seed& seed, Stream stream, std::size_t which,
                    std::size_t limb) {
    Prng prng(seed, static_cast<std::uint32_t>(stream), u64{which} << 32 | limb, context.kernels());
    sample_uniform(out, context.n(), context.modulus(limb), prng);
}

void transform_integers(const Context& context, u64* out, const SecretIntegers& values, std::size_t index) {
    context.kernels().lift(out, values.data(), context.n(), context.modulus(index));
    context.ntt(index).forward(out);
}

}  // namespace cipherformer
