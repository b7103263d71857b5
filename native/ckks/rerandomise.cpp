// What a server does to an answer so that it says no more about the computation than its decryption does.
#include "ckks/keys.hpp"
#include "ckks/sampling.hpp"

namespace cipherformer {
namespace {

// Each uniform in [-2^bits, 2^bits), secret.
void sample_flood(std::int64_t* out, std::size_t n, unsigned bits, Prng& prng) {
    prng.fill(out, n * sizeof(std::int64_t));
    const unsigned shift = 63 - bits;
    for (std::size_t i = 0; i < n; ++i) out[i] >>= shift;  // arithmetic: the sign is the highest bit
}

}  // namespace

// (c0 + b v + e0 + f, c1 + a v + e1): v ternary, e0 and e1 Gaussian, f uniform. Whoever knows s sees c1 + a v + e1,
// which is pseudo-random under Ring-LWE with the secret v, and the decryption, in which f drowns what e v + e1 s + e0
// and the error of the computation would tell.
Ciphertext PublicKey::rerandomise(const Ciphertext& ciphertext, unsigned flood_bits) const {
    check_same_parameters(*context, *ciphertext.context, "ciphertext");
    if (ciphertext.parts.size() != 2) refuse("rerandomise", "the ciphertext has 3 parts", "relinearise it first");
    if (flood_bits > kMaxFloodBits)
        refuse("rerandomise", "flood_bits is " + std::to_string(flood_bits),
               "choose 0 to " + std::to_string(kMaxFloodBits));
    if (flood_bits + 2 > context->log_q(ciphertext.level))
        refuse("rerandomise", "2^" + std::to_string(flood_bits) + " does not fit the modulus",
               "answer at a higher level, or flood with fewer bits");
    const Ciphertext zero = encrypt(encode(context, std::vector<double>{0.0}, ciphertext.level, ciphertext.scale));

    const SecretSeed seed_of_flood;
    Prng prng(seed_of_flood, static_cast<std::uint32_t>(Stream::flooding), 0, context->kernels());
    const std::size_t n = context->n();
    SecretPoly flood(context->pool(), 1, n);
    auto* integers = reinterpret_cast<std::int64_t*>(flood.limb(0));
    sample_flood(integers, n, flood_bits, prng);

    const std::size_t limbs = ciphertext.level + 1;
    auto c0 = std::make_shared<Poly>(context->poly(limbs));
    auto c1 = std::make_shared<Poly>(context->poly(limbs));
    context->parallel(limbs, [&](std::size_t i) {
        const Modulus& q = context->modulus(i);
        const Kernels& k = context->kernels();
        SecretPoly residues(context->pool(), 1, n);
        u64* f = residues.limb(0);
        for (std::size_t j = 0; j < n; ++j) f[j] = q.from_signed(integers[j]);
        context->ntt(i).forward(f);
        k.add(c0->limb(i), ciphertext.parts[0]->limb(i), zero.parts[0]->limb(i), n, q);
        k.add(c0->limb(i), c0->limb(i), f, n, q);
        k.add(c1->limb(i), ciphertext.parts[1]->limb(i), zero.parts[1]->limb(i), n, q);
    });
    return {context, {c0, c1}, ciphertext.level, ciphertext.scale, std::nullopt};
}

}  // namespace cipherformer
