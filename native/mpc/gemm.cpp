// Blocking and packing, and the portable tile.
#include "mpc/gemm.hpp"

#include <algorithm>
#include <vector>

namespace cipherformer::mpc {
namespace {

Tile tile_of(Path path) {
#if defined(__x86_64__)
    if (path != Path::portable) return tile_avx2;
#endif
    (void)path;
    return tile_portable;
}

void pack_rows(u64* out, const MatrixView& a, std::size_t row, std::size_t rows, std::size_t start, std::size_t depth) {
    for (std::size_t tile = 0; tile < rows; tile += kTileRows) {
        for (std::size_t l = 0; l < depth; ++l) {
            for (std::size_t i = 0; i < kTileRows; ++i) {
                const bool inside = tile + i < rows;
                const u64 value =
                    inside ? a.data[(row + tile + i) * a.row_stride + (start + l) * a.column_stride] : 0;
                *out++ = value;
                *out++ = (value << 32) | (value >> 32);
            }
        }
    }
}

void pack_panel(u64* out, const MatrixView& b, std::size_t column, std::size_t columns, std::size_t start,
                std::size_t depth) {
    if (columns < kColumns) std::fill_n(out, depth * kColumns, u64{0});
    if (b.column_stride == 1) {
        for (std::size_t l = 0; l < depth; ++l)
            std::copy_n(b.data + (start + l) * b.row_stride + column, columns, out + l * kColumns);
        return;
    }
    for (std::size_t j = 0; j < columns; ++j)
        for (std::size_t l = 0; l < depth; ++l)
            out[l * kColumns + j] = b.data[(start + l) * b.row_stride + (column + j) * b.column_stride];
}

}  // namespace

void tile_portable(u64* c, std::size_t stride, std::size_t rows, const u64* a, const u64* b, std::size_t depth) {
    u64 sum[kTileRows][kColumns] = {};
    for (std::size_t l = 0; l < depth; ++l, a += 2 * kTileRows, b += kColumns)
        for (std::size_t i = 0; i < kTileRows; ++i)
            for (std::size_t j = 0; j < kColumns; ++j) sum[i][j] += a[2 * i] * b[j];
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < kColumns; ++j) c[i * stride + j] += sum[i][j];
}

void multiply_add(u64* c, const MatrixView& a, const MatrixView& b, std::size_t m, std::size_t n, std::size_t k,
                  Path path) {
    const Tile tile = tile_of(path);
    const std::size_t row_tiles = (kRows + kTileRows - 1) / kTileRows;
    std::vector<u64> rows(row_tiles * kTileRows * 2 * kDepth), panel(kColumns * kDepth);
    u64 edge[kTileRows * kColumns];
    for (std::size_t start = 0; start < k; start += kDepth) {
        const std::size_t depth = std::min(kDepth, k - start);
        for (std::size_t row = 0; row < m; row += kRows) {
            const std::size_t height = std::min(kRows, m - row);
            pack_rows(rows.data(), a, row, height, start, depth);
            for (std::size_t column = 0; column < n; column += kColumns) {
                const std::size_t columns = std::min(kColumns, n - column);
                pack_panel(panel.data(), b, column, columns, start, depth);
                for (std::size_t i = 0; i < height; i += kTileRows) {
                    const std::size_t count = std::min(kTileRows, height - i);
                    const u64* packed = rows.data() + i * 2 * depth;
                    u64* target = c + (row + i) * n + column;
                    if (columns == kColumns) {
                        tile(target, n, count, packed, panel.data(), depth);
                        continue;
                    }
                    std::fill_n(edge, kTileRows * kColumns, u64{0});
                    tile(edge, kColumns, count, packed, panel.data(), depth);
                    for (std::size_t r = 0; r < count; ++r)
                        for (std::size_t j = 0; j < columns; ++j) target[r * n + j] += edge[r * kColumns + j];
                }
            }
        }
    }
}

}  // namespace cipherformer::mpc
