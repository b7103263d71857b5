// Integer products and packed bits for protocols on shares.
#include <bit>
#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#include <sys/mman.h>
#endif

#include "bindings/common.hpp"
#include "mpc/bits.hpp"
#include "mpc/gemm.hpp"
#include "mpc/waves.hpp"

namespace cipherformer::bindings {
namespace {

using i64 = std::int64_t;

using Matrix = nb::ndarray<const u64, nb::ndim<2>, nb::device::cpu>;

nb::ndarray<nb::numpy, u64> owned(std::unique_ptr<u64[]> data, std::initializer_list<std::size_t> shape) {
    u64* raw = data.release();
    const nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<u64*>(p); });
    return nb::ndarray<nb::numpy, u64>(raw, shape, owner);
}

mpc::MatrixView view(const Matrix& matrix) {
    if (matrix.stride(0) < 0 || matrix.stride(1) < 0)
        throw std::invalid_argument("a matrix with a negative stride; copy it first");
    return {matrix.data(), static_cast<std::size_t>(matrix.stride(0)), static_cast<std::size_t>(matrix.stride(1))};
}

nb::ndarray<nb::numpy, u64> multiply(const Matrix& a, const Matrix& b, const std::string& kernels_name) {
    const Path path = kernels(path_from_name(kernels_name)).path;
    const std::size_t m = a.shape(0), k = a.shape(1), n = b.shape(1);
    if (b.shape(0) != k)
        throw std::invalid_argument("matrices of " + std::to_string(k) + " columns and " + std::to_string(b.shape(0)) +
                                    " rows do not multiply");
    const mpc::MatrixView left = view(a), right = view(b);
    auto out = std::make_unique<u64[]>(m * n);  // zeros
    {
        const nb::gil_scoped_release released;
        mpc::multiply_add(out.get(), left, right, m, n, k, path);
    }
    return owned(std::move(out), {m, n});
}

void check_width(unsigned width) {
    if (width < 1 || width > 64)
        throw std::invalid_argument("values of " + std::to_string(width) + " bits; 1 to 64 can be packed");
}

mpc::WaveTable checked(const Array<i64, 1>& table) {
    const std::size_t size = table.size();
    if (size < 8 || (size & (size - 1))) throw std::invalid_argument("a table of waves has a power of two entries");
    return {table.data(), static_cast<unsigned>(std::countr_zero(size))};
}

nb::ndarray<nb::numpy, u64> weighted(const Array<u64, 1>& x, nb::handle secrets, unsigned width,
                                     const Array<i64, 1>& table, const std::string& kernels_name) {
    const Path path = kernels(path_from_name(kernels_name)).path;
    const std::size_t n = x.size();
    check_width(width);
    const mpc::WaveTable waves = checked(table);
    auto out = std::make_unique_for_overwrite<u64[]>(n);
    with_bytes(secrets, [&](std::span<const std::uint8_t> bytes) {
        const std::size_t count = n ? bytes.size() * 8 / width / (2 * n) : 0;
        if (bytes.size() != mpc::packed_bytes(2 * count * n, width))
            throw std::invalid_argument("two rows of packed secrets for each wave, as long as the values");
        mpc::weighted_waves(out.get(), x.data(), {bytes.data(), bytes.size(), width}, n, count, waves, path);
    });
    return owned(std::move(out), {n});
}

using PackedShares = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void check_shares(const PackedShares& shares, std::size_t count, unsigned width) {
    check_width(width);
    if (shares.size() != mpc::packed_bytes(count, width))
        throw std::invalid_argument(std::to_string(shares.size()) + " bytes are not " + std::to_string(count) +
                                    " shares of " + std::to_string(width) + " bits");
}

void complete(const PackedShares& shares, const Array<u64, 1>& values, unsigned width, bool exclusive) {
    check_shares(shares, values.size(), width);
    const nb::gil_scoped_release released;
    mpc::complete(shares.data(), values.data(), values.size(), width, exclusive);
}

void complete_waves(const PackedShares& shares, unsigned width, const Array<u64, 1>& mask, const Array<i64, 2>& pairs,
                    const Array<i64, 1>& table, const std::string& kernels_name) {
    const Path path = kernels(path_from_name(kernels_name)).path;
    const std::size_t count = pairs.shape(0);
    if (pairs.shape(1) != 2) throw std::invalid_argument("a pair of coefficients for each wave");
    for (std::size_t k = 0; k < count; ++k)
        if (std::abs(pairs(k, 0)) >= (i64{1} << 30) || std::abs(pairs(k, 1)) >= (i64{1} << 30))
            throw std::invalid_argument("a coefficient of 30 bits or more");
    check_shares(shares, 2 * count * mask.size(), width);
    const mpc::WaveTable waves = checked(table);
    const nb::gil_scoped_release released;
    mpc::complete_waves(shares.data(), width, mask.data(), mask.size(), pairs.data(), count, waves, path);
}

nb::bytes pack(const Array<u64, 1>& values, unsigned width) {
    check_width(width);
    return produce_bytes([&] {
        Bytes out(mpc::packed_bytes(values.size(), width));
        mpc::pack(out.data(), values.data(), values.size(), width);
        return out;
    });
}

nb::ndarray<nb::numpy, u64> unpack(nb::handle data, std::size_t count, unsigned width) {
    check_width(width);
    auto out = with_bytes(data, [&](std::span<const std::uint8_t> bytes) {
        if (count > (std::size_t{1} << 40) || bytes.size() != mpc::packed_bytes(count, width))
            throw std::invalid_argument(std::to_string(bytes.size()) + " bytes are not " + std::to_string(count) +
                                        " values of " + std::to_string(width) + " bits");
        auto values = std::make_unique_for_overwrite<u64[]>(count);
        mpc::unpack(values.get(), bytes.data(), bytes.size(), 0, count, width);
        return values;
    });
    return owned(std::move(out), {count});
}

// The C library otherwise gives large arrays back when they end, and every page of the next one costs a fault. What it
// gets first may have huge pages; it is reserved, not touched.
void keep_memory() {
#if defined(__GLIBC__)
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_ARENA_MAX, 1);
#if defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t kReserved = std::uintptr_t{1} << 30, kPage = std::uintptr_t{1} << 21;
    void* block = std::malloc(kReserved);
    if (!block) return;
    const std::uintptr_t start = (reinterpret_cast<std::uintptr_t>(block) + kPage - 1) / kPage * kPage;
    madvise(reinterpret_cast<void*>(start), kReserved - kPage, MADV_HUGEPAGE);
    std::free(block);
#endif
#endif
}

}  // namespace

void bind_mpc(nb::module_& module) {
    module.def("ring_matmul", &multiply, "a"_a.noconvert(), "b"_a.noconvert(), "kernels"_a = "auto");
    module.def("weighted_waves", &weighted, "values"_a.noconvert(), "secrets"_a, "width"_a,
               "table"_a.noconvert(), "kernels"_a = "auto");
    module.def("complete_waves", &complete_waves, "shares"_a.noconvert(), "width"_a, "mask"_a.noconvert(),
               "pairs"_a.noconvert(), "table"_a.noconvert(), "kernels"_a = "auto");
    module.def("pack_bits", &pack, "values"_a.noconvert(), "width"_a);
    module.def("unpack_bits", &unpack, "data"_a, "count"_a, "width"_a);
    module.def("complete_bits", &complete, "shares"_a.noconvert(), "values"_a.noconvert(), "width"_a, "exclusive"_a);
    module.def("keep_memory", &keep_memory);
}

}  // namespace cipherformer::bindings
