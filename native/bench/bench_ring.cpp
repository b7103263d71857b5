// Times of the ring kernels on one thread, in processor time (so that other programs disturb less).
// With each: what memory traffic or arithmetic alone would cost, to tell what bounds a kernel.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>

#include "ring/basis.hpp"
#include "ring/buffer.hpp"
#include "ring/ntt.hpp"
#include "ring/prng.hpp"

using namespace cipherformer;

namespace {

double processor_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Microseconds of one call: the median of groups of four over about a quarter of a second.
double microseconds(const std::function<void()>& call) {
    std::vector<double> times;
    const double begin = processor_seconds();
    while (times.size() < 9 || processor_seconds() - begin < 0.25) {
        const double start = processor_seconds();
        for (int i = 0; i < 4; ++i) call();
        times.push_back((processor_seconds() - start) / 4);
    }
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle * 1e6;
}

struct Limbs {
    std::vector<Buffer> buffers;
    std::vector<u64*> rows;
    std::vector<const u64*> const_rows;

    Limbs(std::size_t count, std::size_t n, const std::vector<Modulus>& moduli, BufferPool& pool) {
        Prng prng(random_seed(), 0, 0, kernels(best_path()));
        for (std::size_t i = 0; i < count; ++i) {
            buffers.push_back(pool.take(n));
            rows.push_back(buffers[i].data());
            const_rows.push_back(rows[i]);
            sample_uniform(rows[i], n, moduli[i % moduli.size()], prng);
        }
    }
};

void print(const char* path, unsigned log_n, const std::string& what, double time, const std::string& note) {
    std::printf("%-9s 2^%-3u %-34s %10.2f  %s\n", path, log_n, what.c_str(), time, note.c_str());
}

std::string per_butterfly(double time, std::size_t n, unsigned log_n) {
    char text[64];
    std::snprintf(text, sizeof text, "%.3f ns per butterfly", 1e3 * time / (static_cast<double>(n / 2) * log_n));
    return text;
}

std::string bandwidth(double time, double bytes) {
    char text[64];
    std::snprintf(text, sizeof text, "%.1f GB/s of operands", bytes / time * 1e-3);
    return text;
}

void bench(Path path, unsigned log_n, BufferPool& pool) {
    const Kernels& k = kernels(path);
    const std::size_t n = std::size_t{1} << log_n;
    constexpr std::size_t kSource = 5, kTarget = 20, kTerms = 16;
    std::vector<Modulus> moduli;
    for (u64 prime : generate_primes(log_n, std::vector<unsigned>(kSource + kTarget, 50))) moduli.emplace_back(prime);
    const Modulus& q = moduli[0];
    const std::vector<Modulus> first{q};
    Limbs a(kTerms, n, first, pool), b(kTerms, n, first, pool), out(1, n, first, pool);
    const double bytes = static_cast<double>(n) * sizeof(u64);

    const NttTable table(log_n, q, path);
    double time = microseconds([&] { table.forward(out.rows[0]); });
    print(k.name, log_n, "forward transform, us", time, per_butterfly(time, n, log_n));
    time = microseconds([&] { table.inverse(out.rows[0]); });
    print(k.name, log_n, "inverse transform, us", time, per_butterfly(time, n, log_n));

    const auto pointwise = [&](const std::string& what, double operands, const std::function<void()>& call) {
        const double used = microseconds(call);
        print(k.name, log_n, what + ", us", used, bandwidth(used, operands * bytes));
    };
    pointwise("add", 3, [&] { k.add(out.rows[0], a.rows[0], b.rows[0], n, q); });
    pointwise("mul", 3, [&] { k.mul(out.rows[0], a.rows[0], b.rows[0], n, q); });
    pointwise("mul_add", 4, [&] { k.mul_add(out.rows[0], a.rows[0], b.rows[0], n, q); });
    pointwise("sub_mul_scalar", 3, [&] { k.sub_mul_scalar(out.rows[0], a.rows[0], b.rows[0], q.half, n, q); });
    for (std::size_t count : {std::size_t{2}, std::size_t{4}, kTerms}) {
        time = microseconds([&] { k.dot(out.rows[0], a.const_rows.data(), b.const_rows.data(), count, false, n, q); });
        const auto terms = static_cast<double>(count);
        print(k.name, log_n, "dot of " + std::to_string(count) + ", us per term", time / terms,
              bandwidth(time, 2 * terms * bytes));
    }
    time = microseconds(
        [&] { k.dot_repeated(out.rows[0], a.const_rows.data(), b.const_rows.data(), 5, kTerms, false, n, q); });
    print(k.name, log_n, "dot_repeated (32) of 16, us per term", time / kTerms, bandwidth(time, kTerms * bytes));

    const std::vector<std::uint32_t> index = galois_permutation(log_n, galois_rotation(log_n, 3));
    pointwise("permute", 2.5, [&] { k.permute(out.rows[0], a.rows[0], index.data(), n); });

    const std::vector<Modulus> from(moduli.begin(), moduli.begin() + kSource),
        to(moduli.begin() + kSource, moduli.end());
    const BaseConverter converter(from, to);
    Limbs source(kSource, n, from, pool), target(kTarget, n, to, pool);
    time = microseconds([&] { converter.convert(target.rows.data(), source.const_rows.data(), n, k); });
    print(k.name, log_n, "base conversion 5 to 20, us per limb^2", time / (kSource * kTarget),
          bandwidth(time, (kSource + kTarget) * bytes));

    Prng prng(random_seed(), 0, 0, k);
    time = microseconds([&] { sample_uniform(out.rows[0], n, q, prng); });
    print(k.name, log_n, "uniform residues, us", time, bandwidth(time, bytes));
    std::vector<std::int32_t> small(n);
    time = microseconds([&] { sample_gaussian(small.data(), n, prng); });
    print(k.name, log_n, "Gaussian sample, us", time, bandwidth(time, bytes));
    time = microseconds([&] { prng.fill(out.rows[0], n * sizeof(u64)); });
    print(k.name, log_n, "random bytes, us", time, bandwidth(time, bytes));
}

}  // namespace

int main(int count, char** arguments) {
    const auto pool = BufferPool::create();
    std::vector<unsigned> sizes{13, 14, 15, 16};
    if (count > 1) sizes.assign(1, static_cast<unsigned>(std::stoul(arguments[1])));
    for (Path path : available_paths())
        for (unsigned log_n : sizes) bench(path, log_n, *pool);
    return 0;
}
