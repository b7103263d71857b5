// The random streams against RFC 8439, the same bits on every path, and the distributions of the samplers.
#include <cmath>
#include <map>

#include "ring_check.hpp"

using namespace cipherformer;
using test::check;

namespace {

// RFC 8439, 2.3.2: key 00 01 ... 1f, counter 1, nonce 00 00 00 09 00 00 00 4a 00 00 00 00.
void test_vector(const Kernels& k) {
    constexpr std::array<std::uint8_t, 64> expected{
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4,
        0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e,
        0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2,
        0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
    Prng prng(test::fixed_seed(0), 0x09000000, 0x4a000000, k);
    std::array<std::uint8_t, 128> blocks;
    prng.fill(blocks.data(), blocks.size());
    check(std::equal(expected.begin(), expected.end(), blocks.begin() + 64), std::string("RFC 8439 on ") + k.name);
}

// Reading in pieces of any size gives the bytes of one long read, on every path.
void test_pieces(const Kernels& k) {
    std::vector<std::uint8_t> whole(20000), pieces(whole.size());
    Prng(test::fixed_seed(1), 5, 6, kernels(Path::portable)).fill(whole.data(), whole.size());
    Prng prng(test::fixed_seed(1), 5, 6, k);
    for (std::size_t done = 0, step = 1; done < pieces.size(); step = step * 3 % 1009 + 1) {
        const std::size_t part = std::min(step, pieces.size() - done);
        prng.fill(pieces.data() + done, part);
        done += part;
    }
    check(whole == pieces, std::string("stream in pieces on ") + k.name);
}

void test_separation() {
    const Kernels& k = kernels(Path::portable);
    std::map<u64, int> seen;
    for (unsigned char seed : {0, 1})
        for (std::uint32_t label : {0U, 1U, 1U << 31})
            for (u64 index : {u64{0}, u64{1}, u64{1} << 32, u64{1} << 63})
                ++seen[Prng(test::fixed_seed(seed), label, index, k).next()];
    check(seen.size() == 24, "streams of different seed, label or index differ");
    check(random_seed() != random_seed(), "two system seeds differ");
}

// Every sampler draws the same values on every path.
void test_paths(const Kernels& k) {
    constexpr std::size_t n = 5000;
    const Modulus q(generate_primes(12, {50})[0]);
    std::vector<u64> uniform(n), uniform_k(n);
    std::vector<std::int32_t> small(n), small_k(n);
    Prng a(test::fixed_seed(9), 1, 0, kernels(Path::portable)), b(test::fixed_seed(9), 1, 0, k);
    sample_uniform(uniform.data(), n, q, a), sample_uniform(uniform_k.data(), n, q, b);
    check(uniform == uniform_k, std::string("uniform on ") + k.name);
    sample_ternary(small.data(), n, a), sample_ternary(small_k.data(), n, b);
    check(small == small_k, std::string("ternary on ") + k.name);
    sample_sparse_ternary(small.data(), n, 192, a), sample_sparse_ternary(small_k.data(), n, 192, b);
    check(small == small_k, std::string("sparse ternary on ") + k.name);
    sample_gaussian(small.data(), n, a), sample_gaussian(small_k.data(), n, b);
    check(small == small_k, std::string("Gaussian on ") + k.name);
}

// Pearson's statistic against expected probabilities; with `degrees` of freedom it exceeds the bound below with a
// probability of about 1e-9, and the seeds are fixed.
void check_distribution(const std::map<std::int64_t, std::size_t>& counts,
                        const std::map<std::int64_t, double>& expected, std::size_t n, const std::string& what) {
    double statistic = 0;
    double degrees = -1;
    std::size_t seen = 0;
    for (const auto& [value, probability] : expected) {
        const auto found = counts.find(value);
        const double count = found == counts.end() ? 0 : static_cast<double>(found->second);
        seen += static_cast<std::size_t>(count);
        const double mean = probability * static_cast<double>(n);
        if (mean < 5) continue;
        statistic += (count - mean) * (count - mean) / mean;
        degrees += 1;
    }
    check(seen == n, what + ": values outside the support");
    check(statistic < degrees + 6 * std::sqrt(2 * degrees) + 18, what + ": statistic " + std::to_string(statistic));
}

void test_distributions() {
    constexpr std::size_t n = 200000;
    Prng prng(test::fixed_seed(33), 2, 0, kernels(best_path()));
    std::vector<std::int32_t> values(n);
    const auto count = [&] {
        std::map<std::int64_t, std::size_t> counts;
        for (std::int32_t value : values) ++counts[value];
        return counts;
    };
    sample_ternary(values.data(), n, prng);
    check_distribution(count(), {{-1, 1 / 3.0}, {0, 1 / 3.0}, {1, 1 / 3.0}}, n, "ternary");

    sample_gaussian(values.data(), n, prng);
    std::map<std::int64_t, double> gaussian;
    double total = 0;
    for (int x = -29; x <= 29; ++x) total += gaussian[x] = std::exp(-x * x / (2 * 3.2 * 3.2));
    for (auto& [x, probability] : gaussian) probability /= total;
    check_distribution(count(), gaussian, n, "Gaussian");

    const Modulus q(generate_primes(4, {40})[0]);
    std::vector<u64> residues(n);
    sample_uniform(residues.data(), n, q, prng);
    std::map<std::int64_t, std::size_t> bins;
    std::map<std::int64_t, double> flat;
    for (u64 x : residues) {
        check(x < q.value, "uniform below q");
        ++bins[static_cast<std::int64_t>(static_cast<u128>(x) * 64 / q.value)];
    }
    for (int bin = 0; bin < 64; ++bin) flat[bin] = 1 / 64.0;
    check_distribution(bins, flat, n, "uniform");
}

void test_sparse() {
    constexpr std::size_t n = 64, weight = 8, draws = 20000;
    Prng prng(test::fixed_seed(40), 3, 0, kernels(Path::portable));
    std::vector<std::int32_t> values(n);
    std::map<std::int64_t, std::size_t> places, signs;
    for (std::size_t draw = 0; draw < draws; ++draw) {
        sample_sparse_ternary(values.data(), n, weight, prng);
        std::size_t present = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (values[i] != 0) ++present, ++places[static_cast<std::int64_t>(i)], ++signs[values[i]];
        check(present == weight, "sparse ternary has its weight");
    }
    std::map<std::int64_t, double> even;
    for (int i = 0; i < static_cast<int>(n); ++i) even[i] = 1.0 / n;
    check_distribution(places, even, draws * weight, "sparse ternary places");
    check_distribution(signs, {{-1, 0.5}, {1, 0.5}}, draws * weight, "sparse ternary signs");
    sample_sparse_ternary(values.data(), n, n, prng);
    check(std::count(values.begin(), values.end(), 0) == 0, "weight n leaves no zero");
    test::check_throws([&] { sample_sparse_ternary(values.data(), n, n + 1, prng); }, "weight above n");
}

void test_zero() {
    std::vector<std::uint8_t> secret(100, 7);
    secure_zero(secret.data(), secret.size());
    check(secret == std::vector<std::uint8_t>(100, 0), "secure_zero clears");
}

}  // namespace

int main() {
    for (Path path : available_paths()) {
        test_vector(kernels(path));
        test_pieces(kernels(path));
        test_paths(kernels(path));
    }
    test_separation();
    test_distributions();
    test_sparse();
    test_zero();
    return test::report("test_ring_random");
}
