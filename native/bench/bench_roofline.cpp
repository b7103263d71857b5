// How near each ring kernel comes to what this machine can do, on one thread: one line a kernel, tab-separated:
// name, log2 N, seconds, seconds at the limit, what limits. Two limits are measured here: bytes a second from memory
// (operands larger than the caches, every operand once; a written line is read first) and vector operations a second
// (independent multiply-adds and additions in registers). `benchmarks.roofline` builds, runs and prints this.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ring/basis.hpp"
#include "ring/buffer.hpp"
#include "ring/ntt.hpp"
#include "ring/prng.hpp"

using namespace cipherformer;

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of the fastest call in about `budget` seconds.
double fastest(const std::function<void()>& call, double budget = 0.3) {
    double best = 1e9;
    for (const double end = now() + budget; now() < end;) {
        const double start = now();
        call();
        best = std::min(best, now() - start);
    }
    return best;
}

#if defined(__x86_64__)
// Vector operations a second, multiply-adds and additions, in as many chains as hide their latency: two a cycle of either
// kind, each of which takes up to four cycles.
__attribute__((target("avx2,fma"))) double operation_rate() {
    constexpr int kRounds = 100000, kProducts = 8, kSums = 6;
    volatile double sink = 0;
    const double seconds = fastest([&]() __attribute__((target("avx2,fma"))) {
        __m256d a[kProducts], b[kSums];
        const __m256d half = _mm256_set1_pd(0.5), one = _mm256_set1_pd(1.0);
        for (int i = 0; i < kProducts; ++i) a[i] = _mm256_set1_pd(i);
        for (int i = 0; i < kSums; ++i) b[i] = _mm256_set1_pd(i);
        for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 8
            for (int i = 0; i < kProducts; ++i) {
                a[i] = _mm256_fmadd_pd(a[i], half, one);
                if (i < kSums) b[i] = _mm256_add_pd(b[i], one);
            }
        }
        __m256d total = _mm256_setzero_pd();
        for (const __m256d& x : a) total = _mm256_add_pd(total, x);
        for (const __m256d& x : b) total = _mm256_add_pd(total, x);
        sink = sink + _mm256_cvtsd_f64(total);
    });
    return static_cast<double>(kProducts + kSums) * kRounds / seconds;
}
#endif

struct Limbs {
    std::vector<Buffer> buffers;
    std::vector<u64*> rows;
    std::vector<const u64*> inputs;
    Limbs(std::size_t count, std::size_t n, const std::vector<Modulus>& moduli, BufferPool& pool) {
        Prng prng(random_seed(), 0, 0, kernels(best_path()));
        for (std::size_t i = 0; i < count; ++i) {
            buffers.push_back(pool.take(n));
            rows.push_back(buffers[i].data());
            inputs.push_back(rows[i]);
            sample_uniform(rows[i], n, moduli[i % moduli.size()], prng);
        }
    }
};

void line(const std::string& name, unsigned log_n, double seconds, double limit, const char* what) {
    std::printf("%s\t%u\t%.9f\t%.9f\t%s\n", name.c_str(), log_n, seconds, limit, what);
}

// Vector operations of the AVX2 path, four residues each: ntt_avx2.cpp and sums_avx2.cpp.
constexpr double kLanes = 4;
constexpr double kButterfly = 8.75;          // product 6, sum and difference 2, a reduction of 3 for every fourth operand
constexpr double kProduct = 4, kOutput = 11; // of a sum over sources; reading a residue into a double takes 2

void in_cache(unsigned log_n, double rate, BufferPool& pool) {
    const Kernels& k = kernels(best_path());
    const std::size_t n = std::size_t{1} << log_n;
    constexpr std::size_t kSources = 10, kTargets = 4, kDigits = 3;
    std::vector<Modulus> moduli;
    for (u64 prime : generate_primes(log_n, std::vector<unsigned>(kSources + kTargets, 49))) moduli.emplace_back(prime);
    const std::vector<Modulus> from(moduli.begin(), moduli.begin() + kSources), to(moduli.begin() + kSources, moduli.end());
    const double vectors = static_cast<double>(n) / kLanes;

    Limbs a(1, n, from, pool);
    const NttTable table(log_n, from[0], k.path);
    const double transform = vectors / 2 * log_n * kButterfly / rate;
    line("forward transform", log_n, fastest([&] { table.forward(a.rows[0]); }), transform, "arithmetic");
    line("inverse transform", log_n, fastest([&] { table.inverse(a.rows[0]); }), transform, "arithmetic");

    const BaseConverter converter(from, to, true);
    Limbs source(kSources, n, from, pool), target(kTargets, n, to, pool);
    for (std::size_t i = 0; i < kSources; ++i) converter.prepare(source.rows[i], source.inputs[i], n, i, k);
    double seconds = fastest([&] { converter.convert_prepared(target.rows.data(), source.inputs.data(), n, 0, kTargets, k); });
    line("base conversion, 10 primes to 4", log_n, seconds,
         vectors * kTargets * (kSources * kProduct + kOutput) / rate, "arithmetic");

    const std::vector<Modulus> one{from[0]};
    Limbs x(kDigits, n, one, pool), y(kDigits, n, one, pool), sum(1, n, one, pool);
    seconds = fastest([&] { k.dot(sum.rows[0], x.inputs.data(), y.inputs.data(), kDigits, false, n, from[0]); });
    line("sum of 3 products", log_n, seconds, vectors * (kDigits * (kProduct + 4) + kOutput) / rate, "arithmetic");
}

// Operands of 256 MiB in all: nothing is in a cache when it is wanted.
void from_memory(double bandwidth, BufferPool& pool) {
    const Kernels& k = kernels(best_path());
    const std::size_t n = std::size_t{1} << 23;
    const std::vector<Modulus> moduli{Modulus(generate_primes(16, {49})[0])};
    Limbs limbs(4, n, moduli, pool);
    const double bytes = static_cast<double>(n) * sizeof(u64);
    u64* out = limbs.rows[3];
    const u64 *a = limbs.inputs[0], *b = limbs.inputs[1];
    line("add", 23, fastest([&] { k.add(out, a, b, n, moduli[0]); }), 4 * bytes / bandwidth, "memory");
    line("multiply", 23, fastest([&] { k.mul(out, a, b, n, moduli[0]); }), 4 * bytes / bandwidth, "memory");
    line("multiply and add", 23, fastest([&] { k.mul_add(out, a, b, n, moduli[0]); }), 4 * bytes / bandwidth, "memory");
}

double read_rate(BufferPool& pool) {
    const std::size_t words = std::size_t{1} << 25;
    const Buffer block = pool.take_zero(words);
    volatile u64 sink = 0;
    const double seconds = fastest([&] {
        u64 sums[8] = {};
        for (std::size_t i = 0; i < words; i += 8)
            for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += block[i + lane];
        for (u64 sum : sums) sink = sink + sum;
    });
    return static_cast<double>(words * sizeof(u64)) / seconds;
}

}  // namespace

int main() {
    const auto pool = BufferPool::create();
    const double bandwidth = read_rate(*pool);
    std::printf("bytes a second\t%.4g\n", bandwidth);
#if defined(__x86_64__)
    if (best_path() == Path::avx2) {
        const double rate = operation_rate();
        std::printf("operations a second\t%.4g\n", rate);
        for (unsigned log_n : {13U, 15U, 16U}) in_cache(log_n, rate, *pool);
    }
#endif
    from_memory(bandwidth, *pool);
    return 0;
}
