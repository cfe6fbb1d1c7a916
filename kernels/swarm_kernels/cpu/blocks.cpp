// A range of decoder blocks in one call, and a single product for the head. Plain C interface, mirrored in library.py.
#include <type_traits>

#include "forward.h"

namespace swarm {

// Instance<format>::call for a format that is known only now.
template <template <int> class Instance, class... Arguments>
void dispatch(int32_t format, Arguments&&... arguments) {
    switch (format) {
        case kBf16: Instance<kBf16>::call(arguments...); break;
        case kInt8: Instance<kInt8>::call(arguments...); break;
        case kInt4: Instance<kInt4>::call(arguments...); break;
        case kInt4Wide: Instance<kInt4Wide>::call(arguments...); break;
        case kNf4: Instance<kNf4>::call(arguments...); break;
    }
}

template <int format>
struct ForwardInstance {
    static void call(const Range& range, int first, int last, const Step& step, int threads) {
        if (range.cache_type == kFloat32) forward<format, float>(range, first, last, step, threads);
        else forward<format, uint16_t>(range, first, last, step, threads);
    }
};

template <int format>
struct LinearInstance {
    static void call(const Matrix& w, const float* norm, float eps, const float* x, float* y, int64_t rows,
                     int threads) {
        linear<format>(w, norm, eps, x, y, rows, threads);
    }
};

// One line of codes, of 4 columns with 128 added or of 8 columns in halves of bytes.
void pack_line(uint8_t* line, const uint8_t* codes, int64_t in, int64_t column, int columns) {
    for (int row = 0; row < kLanes; row++)
        for (int k = 0; k < 4; k++) {
            const uint8_t* from = codes + row * in + column + k;
            line[4 * row + k] = columns == 4 ? uint8_t(from[0] + 128) : uint8_t(from[0] | from[4] << 4);
        }
}

// The lines before a slab's codes: scales, and minimums after the scales of their group.
void pack_header(int32_t format, uint8_t* lines, const uint8_t* scale, const uint8_t* minimum, int64_t row0,
                 int64_t groups, int64_t group) {
    for (int g = 0; g < kSlab / group_size(format); g++)
        for (int row = 0; row < kLanes; row++) {
            const int64_t at = (row0 + row) * groups + group + g;
            if (format == kNf4) {
                std::memcpy(lines + 4 * row, scale + 4 * at, 4);
            } else if (format == kInt8) {
                std::memcpy(lines + 32 * g + 2 * row, scale + 2 * at, 2);
            } else {
                std::memcpy(lines + 64 * g + 2 * row, scale + 2 * at, 2);
                std::memcpy(lines + 64 * g + 32 + 2 * row, minimum + 2 * at, 2);
            }
        }
}

}  // namespace swarm

using namespace swarm;

// What library.py has to find when it lays out the same structures.
static_assert(std::is_standard_layout_v<Block> && std::is_standard_layout_v<Range> && std::is_standard_layout_v<Step>);
static_assert(sizeof(void*) == 8 && sizeof(float) == 4);

extern "C" {

// The sizes in bytes of Matrix, Block, Range and Step.
void swarm_sizes(int64_t sizes[4]) {
    const int64_t own[] = {sizeof(Matrix), sizeof(Block), sizeof(Range), sizeof(Step)};
    std::copy(own, own + 4, sizes);
}

// Blocks first..last - 1 of the range on step.input. Appends to the pools.
void swarm_forward(const Range* range, int32_t first, int32_t last, const Step* step, int32_t threads) {
    dispatch<ForwardInstance>(range->format, *range, first, last, *step, threads);
}

// y [rows, out] = W x, or W rms_norm(x) where `norm` is given.
void swarm_linear(int32_t format, const Matrix* w, const float* norm, float eps, const float* x, float* y, int64_t rows,
                  int32_t threads) {
    dispatch<LinearInstance>(format, *w, norm, eps, x, y, rows, threads);
}

int64_t swarm_packed_bytes(int32_t format, int64_t out, int64_t in) { return out / kLanes * block_bytes(format, in); }

// Blocks first..last - 1 of a matrix in the order of products.h. codes [out, in] bytes, for bf16 [out, in] of two
// bytes; scale, minimum [out, groups] fp16, scale of nf4 fp32; those that a format does not have are null.
void swarm_pack(int32_t format, const uint8_t* codes, const uint8_t* scale, const uint8_t* minimum, int64_t in,
                int64_t first, int64_t last, uint8_t* packed) {
    const int64_t groups = in / group_size(format);
    const int code_lines = format == kInt8 ? 16 : 8, columns = kSlab / code_lines;
    for (int64_t block = first; block < last; block++) {
        uint8_t* line = packed + block * block_bytes(format, in);
        const int64_t row0 = block * kLanes;
        for (int64_t column = 0; column < in; column += kSlab) {
            if (format == kBf16) {
                for (int64_t k = column; k < column + kSlab; k += 2, line += kLine)
                    for (int row = 0; row < kLanes; row++)
                        std::memcpy(line + 4 * row, codes + ((row0 + row) * in + k) * 2, 4);
                continue;
            }
            pack_header(format, line, scale, minimum, row0, groups, column / group_size(format));
            line += (lines_per_slab(format) - code_lines) * kLine;
            for (int64_t k = column; k < column + kSlab; k += columns, line += kLine)
                pack_line(line, codes + row0 * in, in, k, columns);
        }
    }
}

}  // extern "C"
