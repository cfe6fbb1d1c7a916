// Matrix products y = W x for a few rows x, with W packed so that it is read once, in order, with full-width loads: the
// processor's own prefetching then does better than any hints (measured: 24 against 20 GB/s for int8).
//
// 16 output rows of W form a block. Along its columns a block is cut into slabs of 64 columns, in which every 64-byte
// line holds, for each of the 16 rows, the codes of neighbouring columns (4 bytes, or 2 bf16 values, a row):
//
//   bf16      32 lines of 2 columns
//   int8      1 line of scales (2 groups x 16 rows, fp16), 16 lines of 4 columns, 128 added to each code
//   int4      2 lines (2 groups x (16 scales, 16 minimums), fp16), 8 lines of 8 columns: low nibbles the first 4
//   int4-g64  1 line (16 scales, 16 minimums, fp16), 8 lines as above
//   nf4       1 line of 16 scales (fp32), 8 lines as above
//
// For the quantised formats x is quantised too, to int8 in the same groups: sums within a group are exact integers,
// sums over groups are taken from left to right. No result depends on the other rows, or on how rows are cut into
// tiles.
#pragma once
#include <algorithm>
#include <cstring>

#include "simd.h"
#include "threads.h"

namespace swarm {

constexpr int kSlab = 64;  // columns
constexpr int kLine = 64;  // bytes
#if defined(__AVX512F__)
constexpr int kTile = 8;  // rows of x that share one pass over a block of W, as registers allow
#else
constexpr int kTile = 4;
#endif

enum Format : int32_t { kBf16, kInt8, kInt4, kInt4Wide, kNf4, kFormats };

struct Matrix {
    const uint8_t* data;  // packed, 64-byte aligned
    const float* bias;    // [out] or null
    int64_t out, in;      // multiples of 16 and of 64
};

// The right-hand sides of a product, as its format wants them.
struct Activations {
    int64_t columns, groups;  // per row
    uint16_t* bf16;           // [rows, columns], for kBf16
    int8_t* codes;            // [rows, columns], else, with
    float* scale;             // [rows, groups]
    int32_t* sum;             // [rows, groups], of the codes
};

constexpr int group_size(int format) { return format == kInt8 || format == kInt4 ? 32 : 64; }
constexpr int lines_per_slab(int format) {
    return format == kBf16 ? 32 : format == kInt8 ? 17 : format == kInt4 ? 10 : 9;
}
inline int64_t block_bytes(int format, int64_t columns) { return columns / kSlab * lines_per_slab(format) * kLine; }

// Rounds one row of x, `columns` floats, to bf16 or to int8 codes with a scale a group.
template <int format>
void quantise_row(const float* x, int64_t row, const Activations& out) {
    if constexpr (format == kBf16) {
        for (int64_t k = 0; k < out.columns; k += kLanes) store(out.bf16 + row * out.columns + k, load(x + k));
    } else {
        constexpr int group = group_size(format);
        for (int64_t g = 0; g < out.groups; g++) {
            const float* values = x + g * group;
            Vec top = zero();
            for (int k = 0; k < group; k += kLanes) top = max(top, abs(load(values + k)));
            float most = largest(top);
            Vec inverse = broadcast(most > 0 ? 127.0f / most : 0.0f);
            IntVec total = broadcast(int32_t(0));
            for (int k = 0; k < group; k += kLanes) {
                IntVec code = to_int(load(values + k) * inverse);
                store_bytes(out.codes + row * out.columns + g * group + k, code);
                total = total + code;
            }
            out.scale[row * out.groups + g] = most / 127.0f;
            out.sum[row * out.groups + g] = sum(total);
        }
    }
}

inline int32_t four_codes(const Activations& x, int64_t row, int64_t column) {
    int32_t quad;
    std::memcpy(&quad, x.codes + row * x.columns + column, 4);
    return quad;
}

inline int32_t two_values(const Activations& x, int64_t row, int64_t column) {
    int32_t pair;
    std::memcpy(&pair, x.bf16 + row * x.columns + column, 4);
    return pair;
}

// 127 * NF4_LEVELS, rounded, with 128 added.
alignas(16) constexpr uint8_t kNf4Codes[16] = {1,   40,  61,  78,  92,  105, 116, 128,
                                               138, 148, 159, 171, 184, 199, 220, 255};

// One slab of one block times `rows` rows of x, added to y.
template <int format, int rows>
inline void multiply_slab(const uint8_t* slab, const Activations& x, int64_t row, int64_t column, Vec (&y)[rows]) {
    constexpr int lines = lines_per_slab(format);
    if constexpr (format == kBf16) {
#pragma GCC unroll 4
        for (int line = 0; line < lines; line++) {
            Bytes weights = load_bytes(slab + line * kLine);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) y[r] = dot_bf16(y[r], weights, two_values(x, row + r, column + 2 * line));
        }
        return;
    } else {
        constexpr int group = group_size(format), groups = kSlab / group;
        constexpr int code_lines = format == kInt8 ? 16 : 8, header = lines - code_lines;
        const uint8_t* codes = slab + header * kLine;
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            const int64_t at = column / group + g;  // group of x
            IntVec dot[rows];
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                dot[r] = format == kInt8 || format == kNf4 ? start_biased(x.sum[(row + r) * x.groups + at])
                                                           : broadcast(int32_t(0));
#pragma GCC unroll 16
            for (int i = 0; i < code_lines / groups; i++) {
                const int line = g * (code_lines / groups) + i;
                Bytes weights = load_bytes(codes + line * kLine);
                if constexpr (format == kInt8) {
#pragma GCC unroll 8
                    for (int r = 0; r < rows; r++)
                        dot[r] = dot_biased(dot[r], weights, four_codes(x, row + r, column + 4 * line));
                } else {
                    Bytes low = low_nibbles(weights), high = high_nibbles(weights);
                    if constexpr (format == kNf4) {
                        const Bytes table = table16(kNf4Codes);
                        low = lookup(table, low), high = lookup(table, high);
                    }
#pragma GCC unroll 8
                    for (int r = 0; r < rows; r++) {
                        const int32_t first = four_codes(x, row + r, column + 8 * line);
                        const int32_t second = four_codes(x, row + r, column + 8 * line + 4);
                        if constexpr (format == kNf4) dot[r] = dot_biased(dot_biased(dot[r], low, first), high, second);
                        else dot[r] = dot_nibbles(dot_nibbles(dot[r], low, first), high, second);
                    }
                }
            }
            Vec scale, minimum;
            if constexpr (format == kInt8) scale = load_half(slab + g * 32);
            else if constexpr (format == kNf4)
                scale = load(reinterpret_cast<const float*>(slab)) * broadcast(1.0f / 127.0f);
            else scale = load_half(slab + g * 64), minimum = load_half(slab + g * 64 + 32);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const Vec activation_scale = broadcast(x.scale[(row + r) * x.groups + at]);
                Vec product = to_float(dot[r]) * scale;
                if constexpr (format == kInt4 || format == kInt4Wide)
                    product = fma(minimum, broadcast(float(x.sum[(row + r) * x.groups + at])), product);
                y[r] = fma(product, activation_scale, y[r]);
            }
        }
    }
}

// Where a product goes.
struct Output {
    float* data;
    int64_t stride;  // floats from one row to the next
    bool add;        // to what is there, instead of replacing it
};

template <int format, int rows>
void multiply_tile(const uint8_t* block, const Activations& x, int64_t row, const float* bias, int64_t at, Output out) {
    Vec y[rows];
    for (int r = 0; r < rows; r++) y[r] = zero();
    for (int64_t column = 0; column < x.columns; column += kSlab, block += lines_per_slab(format) * kLine)
        multiply_slab<format, rows>(block, x, row, column, y);
    for (int r = 0; r < rows; r++) {
        float* to = out.data + (row + r) * out.stride + at;
        if (bias) y[r] = y[r] + load(bias + at);
        store(to, out.add ? load(to) + y[r] : y[r]);
    }
}

// The outputs of blocks first..last - 1 for all rows of x.
template <int format>
void multiply_blocks(const Matrix& w, const Activations& x, int64_t rows, int64_t first, int64_t last, Output out) {
    using Tile = void (*)(const uint8_t*, const Activations&, int64_t, const float*, int64_t, Output);
    constexpr Tile tiles[] = {
        multiply_tile<format, 1>, multiply_tile<format, 2>, multiply_tile<format, 3>, multiply_tile<format, 4>,
#if defined(__AVX512F__)
        multiply_tile<format, 5>, multiply_tile<format, 6>, multiply_tile<format, 7>, multiply_tile<format, 8>,
#endif
    };
    for (int64_t index = first; index < last; index++) {
        const uint8_t* block = w.data + index * block_bytes(format, w.in);
        for (int64_t row = 0; row < rows; row += kTile)
            tiles[std::min<int64_t>(rows - row, kTile) - 1](block, x, row, w.bias, index * kLanes, out);
    }
}

// All of y = W x as one stage.
template <int format>
void multiply(Stages& stages, const Matrix& w, const Activations& x, int64_t rows, Output out) {
    const int blocks = int(w.out / kLanes);
    stages.each(blocks, stages.grain(blocks),
                [&](int first, int last) { multiply_blocks<format>(w, x, rows, first, last, out); });
}

// y = x / rms(x) * weight (Zhang & Sennrich, 2019).
inline void rms_norm(const float* x, const float* weight, float eps, int64_t columns, float* y) {
    Vec squares = zero();
    for (int64_t k = 0; k < columns; k += kLanes) squares = fma(load(x + k), load(x + k), squares);
    const Vec inverse = broadcast(1.0f / __builtin_sqrtf(sum(squares) / float(columns) + eps));
    for (int64_t k = 0; k < columns; k += kLanes) store(y + k, load(x + k) * inverse * load(weight + k));
}

}  // namespace swarm
