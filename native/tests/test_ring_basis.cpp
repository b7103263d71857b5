// Base conversion against its definition on every path, with as many source moduli as key switching ever has.
#include "ring/basis.hpp"
#include "ring/ntt.hpp"
#include "ring_check.hpp"

using namespace cipherformer;
using test::check;

namespace {

const auto pool = BufferPool::create();

std::vector<Modulus> moduli(const std::vector<u64>& values, std::size_t begin, std::size_t end) {
    std::vector<Modulus> result;
    for (std::size_t i = begin; i < end; ++i) result.emplace_back(values[i]);
    return result;
}

// sum_i centred(x_i (Q/q_i)^-1) (Q/q_i) mod p, straight from the definition.
u64 definition(const std::vector<Modulus>& from, const std::vector<u64>& x, const Modulus& p) {
    u64 sum = 0;
    for (std::size_t i = 0; i < from.size(); ++i) {
        u64 others = 1, others_p = 1;
        for (std::size_t j = 0; j < from.size(); ++j) {
            if (j == i) continue;
            others = from[i].mul(others, from[i].reduce(from[j].value));
            others_p = p.mul(others_p, p.reduce(from[j].value));
        }
        const u64 y = from[i].mul(x[i], from[i].invert(others));
        sum = p.add(sum, p.mul(p.from_signed(from[i].centred(y)), others_p));
    }
    return sum;
}

void test_conversion(std::size_t k, std::size_t m, std::size_t n, unsigned from_bits, unsigned to_bits, Path path) {
    std::vector<unsigned> sizes(k, from_bits);
    sizes.insert(sizes.end(), m, to_bits);
    const std::vector<u64> primes = generate_primes(10, sizes);
    const std::vector<Modulus> from = moduli(primes, 0, k), to = moduli(primes, k, k + m);
    const BaseConverter plain(from, to), scaled(from, to, true);
    std::vector<Buffer> in, in_scaled, out;
    std::vector<const u64*> in_rows, scaled_rows;
    std::vector<u64*> out_rows;
    for (std::size_t j = 0; j < m; ++j) out.push_back(pool->take(n)), out_rows.push_back(out[j].data());
    for (int kind = 0; kind < test::kKinds; ++kind) {
        in.clear(), in_scaled.clear(), in_rows.clear(), scaled_rows.clear();
        for (std::size_t i = 0; i < k; ++i) {
            in.push_back(pool->take(n)), in_scaled.push_back(pool->take(n));
            test::fill(in[i].data(), n, from[i], kind, i);
            kernels(path).mul_scalar(in_scaled[i].data(), in[i].data(), plain.scale(i), n, from[i]);
            in_rows.push_back(in[i].data()), scaled_rows.push_back(in_scaled[i].data());
        }
        for (bool is_scaled : {false, true}) {
            if (is_scaled) scaled.convert(out_rows.data(), scaled_rows.data(), n, kernels(path));
            else plain.convert(out_rows.data(), in_rows.data(), n, kernels(path));
            for (std::size_t t = 0; t < n; t += n > 64 ? 37 : 1) {
                std::vector<u64> x;
                for (std::size_t i = 0; i < k; ++i) x.push_back(in[i][t]);
                for (std::size_t j = 0; j < m; ++j)
                    check(out[j][t] == definition(from, x, to[j]),
                          std::string("conversion ") + kernels(path).name + " " + std::to_string(k) + " to " + std::to_string(m) +
                              " bits " + std::to_string(from_bits) + " " + std::to_string(to_bits) + " kind " + std::to_string(kind));
            }
        }
    }
}

}  // namespace

int main() {
    for (Path path : available_paths()) {
        for (std::size_t k : {1U, 2U, 5U, 8U, 9U, 17U})
            for (unsigned from_bits : {30U, 45U, 50U})
                for (unsigned to_bits : {30U, 50U}) test_conversion(k, 3, 64, from_bits, to_bits, path);
        for (std::size_t n : {1U, 4U, 16U, 1024U}) test_conversion(3, 2, n, 50, 49, path);
    }
    const std::vector<Modulus> two = moduli(generate_primes(4, {30, 30}), 0, 2);
    test::check_throws([&] { BaseConverter({two[0], two[0]}, {two[1]}); }, "repeated source modulus");
    test::check_throws([&] { BaseConverter({two[0]}, {two[0]}); }, "shared modulus");
    test::check_throws([&] { BaseConverter({}, {two[0]}); }, "no source modulus");
    return test::report("test_ring_basis");
}
