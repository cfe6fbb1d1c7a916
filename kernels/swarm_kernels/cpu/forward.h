// A call over a range of blocks: its structures (mirrored in library.py), its memory, and the stages of a block.
#pragma once
#include <cstdlib>
#include <memory>

#include "attention.h"

namespace swarm {

enum Element : int32_t { kFloat32, kBfloat16 };
enum Activation : int32_t { kSilu, kGeluTanh, kRelu };

struct Block {
    Matrix qkv, o, gate_up, down;                         // rows of qkv: queries, keys, values; of gate_up: gate, up
    const float *attn_norm, *mlp_norm, *q_norm, *k_norm;  // the last two may be null
    void *keys, *values;                                  // pools of the range's cache type
    int64_t window;                                       // 0: none
};

struct Range {
    int32_t format, cache_type, activation;
    float norm_eps;
    int64_t hidden, heads, kv_heads, head_dim, intermediate, page_tokens;
    const Block* blocks;
};

struct Step {
    int64_t rows;
    int32_t element;  // of input and output
    const void* input;
    void* output;                 // both [rows, hidden]
    const int64_t* positions;     // [rows]
    const int64_t* const* pages;  // [rows], the block table of each row's session
    const float *cos, *sin;       // [positions, head_dim / 2]
};

// Memory that grows and stays, one a calling thread: allocating it anew would fault in its pages at every step.
class Scratch {
public:
    template <class T>
    T* take(int64_t count) {
        const size_t bytes = (count * sizeof(T) + kLine - 1) / kLine * kLine;
        used_ += bytes;
        if (used_ > size_) return nullptr;  // only in the first pass: see layout
        return reinterpret_cast<T*>(memory_.get() + used_ - bytes);
    }
    // Runs `place` twice where needed: once to learn how much it takes, once for real.
    template <class Place>
    void layout(Place place) {
        used_ = 0;
        place();
        if (used_ <= size_) return;
        size_ = used_;
        memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(kLine, size_)));
        if (!memory_) std::abort();
        used_ = 0;
        place();
    }

private:
    struct Free {
        void operator()(uint8_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<uint8_t, Free> memory_;
    size_t size_ = 0, used_ = 0;
};

inline thread_local Scratch scratch;
inline thread_local std::vector<float> row_buffer, score_buffer;  // of one row; of one query's context

inline float* one_row(int64_t columns) {
    if (int64_t(row_buffer.size()) < columns) row_buffer.resize(columns);
    return row_buffer.data();
}

inline Activations take_activations(int format, int64_t rows, int64_t columns) {
    const int64_t groups = columns / group_size(format);
    if (format == kBf16) return {columns, groups, scratch.take<uint16_t>(rows * columns), nullptr, nullptr, nullptr};
    return {columns,
            groups,
            nullptr,
            scratch.take<int8_t>(rows * columns),
            scratch.take<float>(rows * groups),
            scratch.take<int32_t>(rows * groups)};
}

inline Vec sigmoid_times(Vec x, Vec slope) {  // x * sigmoid(slope)
    return x / (broadcast(1.0f) + exponential(zero() - slope));
}

inline Vec activate(Vec x, int32_t kind) {
    if (kind == kRelu) return max(x, zero());
    if (kind == kSilu) return sigmoid_times(x, x);
    // gelu by tanh(u) = 2 sigmoid(2u) - 1, so that x (1 + tanh(u)) / 2 = x sigmoid(2u)
    return sigmoid_times(x, broadcast(1.5957691216f) * fma(broadcast(0.044715f) * x * x, x, x));
}

constexpr int kStagesPerBlock = 10;  // see Forward::block

// The state of one call, shared by its threads.
template <int format, class Cache>
struct Forward {
    const Range& range;
    const Step& step;
    Stages& stages;
    float *hidden, *wide, *attended;   // [rows, hidden], [rows, the widest product], [rows, heads * head_dim]
    Activations narrow, heads, inner;  // of hidden, heads * head_dim and intermediate columns
    int64_t wide_columns;

    void run(int first, int last) {
        each_row([&](int64_t row) { read(row); });
        for (int index = first; index < last; index++) block(range.blocks[index]);
        each_row([&](int64_t row) { write(row); });
    }

    void block(const Block& w) {
        each_row([&](int64_t row) { normalise(row, w.attn_norm); });
        product(w.qkv, narrow, {wide, wide_columns, false});
        each_row([&](int64_t row) { append_row(row, w); });
        // A row's heads together, unless there are fewer rows than threads.
        const int64_t parts = step.rows < stages.threads() ? range.kv_heads : 1, share = range.kv_heads / parts;
        stages.each(int(step.rows * parts), 1, [&](int begin, int end) {
            for (int item = begin; item < end; item++) attend_to(item / parts, item % parts * share, share, w);
        });
        each_row([&](int64_t row) { quantise_row<format>(attended + row * heads.columns, row, heads); });
        product(w.o, heads, {hidden, range.hidden, true});
        each_row([&](int64_t row) { normalise(row, w.mlp_norm); });
        product(w.gate_up, narrow, {wide, wide_columns, false});
        each_row([&](int64_t row) { gate(row); });
        product(w.down, inner, {hidden, range.hidden, true});
    }

    template <class Work>
    void each_row(Work work) {
        stages.each(int(step.rows), 1, [&](int begin, int end) {
            for (int64_t row = begin; row < end; row++) work(row);
        });
    }

    void product(const Matrix& w, const Activations& x, Output out) { multiply<format>(stages, w, x, step.rows, out); }

    void read(int64_t row) {
        float* to = hidden + row * range.hidden;
        for (int64_t k = 0; k < range.hidden; k += kLanes) {
            const int64_t at = row * range.hidden + k;
            store(to + k, step.element == kFloat32 ? load(static_cast<const float*>(step.input) + at)
                                                   : load(static_cast<const uint16_t*>(step.input) + at));
        }
    }

    void write(int64_t row) {
        const float* from = hidden + row * range.hidden;
        for (int64_t k = 0; k < range.hidden; k += kLanes) {
            const int64_t at = row * range.hidden + k;
            if (step.element == kFloat32) store(static_cast<float*>(step.output) + at, load(from + k));
            else store(static_cast<uint16_t*>(step.output) + at, load(from + k));
        }
    }

    void normalise(int64_t row, const float* weight) {
        float* normed = one_row(range.hidden);
        rms_norm(hidden + row * range.hidden, weight, range.norm_eps, range.hidden, normed);
        quantise_row<format>(normed, row, narrow);
    }

    // Where a row's query, key or value head lies in the qkv product.
    float* head(int64_t row, int64_t index) { return wide + row * wide_columns + index * range.head_dim; }

    void turn(float* head, int64_t row, const float* norm) {
        const int64_t half = range.head_dim / 2, at = step.positions[row] * half;
        if (norm) rms_norm(head, norm, range.norm_eps, range.head_dim, head);
        rotate(head, step.cos + at, step.sin + at, range.head_dim);
    }

    Paged<Cache> paged(void* pool, int64_t row) const {
        return {static_cast<Cache*>(pool), step.pages[row], range.page_tokens, range.kv_heads * range.head_dim};
    }

    void append_row(int64_t row, const Block& w) {
        Cache* key_slot = paged(w.keys, row).at(step.positions[row]);
        Cache* value_slot = paged(w.values, row).at(step.positions[row]);
        for (int64_t h = 0; h < range.kv_heads; h++) turn(head(row, range.heads + h), row, w.k_norm);
        const int64_t columns = range.kv_heads * range.head_dim;
        append(head(row, range.heads), key_slot, columns);
        append(head(row, range.heads + range.kv_heads), value_slot, columns);
    }

    void attend_to(int64_t row, int64_t kv_first, int64_t count, const Block& w) {
        const int64_t repeats = range.heads / range.kv_heads;
        for (int64_t q = kv_first * repeats; q < (kv_first + count) * repeats; q++) turn(head(row, q), row, w.q_norm);
        const Heads shape{range.heads, range.kv_heads, range.head_dim, w.window};
        const bool cold = row == 0 || step.pages[row] != step.pages[row - 1];
        attend(shape, head(row, 0), paged(w.keys, row), paged(w.values, row), step.positions[row], kv_first,
               kv_first + count, cold, attended + row * heads.columns, score_buffer);
    }

    void gate(int64_t row) {
        const float *gates = wide + row * wide_columns, *ups = gates + range.intermediate;
        float* gated = one_row(range.intermediate);
        for (int64_t k = 0; k < range.intermediate; k += kLanes)
            store(gated + k, activate(load(gates + k), range.activation) * load(ups + k));
        quantise_row<format>(gated, row, inner);
    }
};

template <int format, class Cache>
void forward(const Range& range, int first, int last, const Step& step, int threads) {
    const int64_t rows = step.rows, query = range.heads * range.head_dim;
    const int64_t wide_columns = std::max(query + 2 * range.kv_heads * range.head_dim, 2 * range.intermediate);
    float *hidden, *wide, *attended;
    Activations narrow, heads, inner;
    scratch.layout([&] {
        hidden = scratch.take<float>(rows * range.hidden);
        wide = scratch.take<float>(rows * wide_columns);
        attended = scratch.take<float>(rows * query);
        narrow = take_activations(format, rows, range.hidden);
        heads = take_activations(format, rows, query);
        inner = take_activations(format, rows, range.intermediate);
    });
    in_parallel(threads, kStagesPerBlock * (last - first) + 2, [&](Stages& stages) {
        Forward<format, Cache>{range, step, stages, hidden, wide, attended, narrow, heads, inner, wide_columns}.run(
            first, last);
    });
}

template <int format>
void linear(const Matrix& w, const float* norm, float eps, const float* x, float* y, int64_t rows, int threads) {
    Activations prepared;
    scratch.layout([&] { prepared = take_activations(format, rows, w.in); });
    in_parallel(threads, 2, [&](Stages& stages) {
        stages.each(int(rows), 1, [&](int begin, int end) {
            for (int64_t row = begin; row < end; row++) {
                float* normed = one_row(w.in);
                if (norm) rms_norm(x + row * w.in, norm, eps, w.in, normed);
                quantise_row<format>(norm ? normed : x + row * w.in, row, prepared);
            }
        });
        multiply<format>(stages, w, prepared, rows, {y, w.out, false});
    });
}

}  // namespace swarm
