// Matrix products of 64-bit integers modulo 2^64: what a share of a linear layer costs. Every path gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ring/kernels.hpp"

namespace cipherformer::mpc {

using u64 = std::uint64_t;

// A matrix read in place: element (i, j) is data[i * row_stride + j * column_stride].
struct MatrixView {
    const u64* data;
    std::size_t row_stride;
    std::size_t column_stride;
};

// c[i * n + j] += sum over l < k of a(i, l) b(l, j), modulo 2^64, for i < m and j < n; one thread.
void multiply_add(u64* c, const MatrixView& a, const MatrixView& b, std::size_t m, std::size_t n, std::size_t k,
                  Path path);

// Blocks in which the product is computed. A panel of b (kDepth x kColumns) stays in the first cache, kRows rows of a
// in the second, a tile's sums with all operands in registers.
inline constexpr std::size_t kDepth = 192;
inline constexpr std::size_t kRows = 128;
inline constexpr std::size_t kColumns = 8;
inline constexpr std::size_t kTileRows = 2;

// One tile: c (rows x kColumns, row stride `stride`) += a b. `a` is packed by tiles: for each depth, kTileRows pairs
// (value, value with its halves swapped); `b`: for each depth, kColumns values. Rows beyond `rows` are not written.
using Tile = void (*)(u64* c, std::size_t stride, std::size_t rows, const u64* a, const u64* b, std::size_t depth);

void tile_portable(u64* c, std::size_t stride, std::size_t rows, const u64* a, const u64* b, std::size_t depth);
void tile_avx2(u64* c, std::size_t stride, std::size_t rows, const u64* a, const u64* b, std::size_t depth);

}  // namespace cipherformer::mpc
