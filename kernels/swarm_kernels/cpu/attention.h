// Rotation, append and attention over paged keys and values, for one row and one KV head at a time.
//
// A pool is [pages, page_tokens, kv_heads, head_dim]. Sums over a context run over its positions from the first to the
// last in groups of 16 that begin at multiples of 16: no result depends on where pages lie or how a prompt was cut.
#pragma once
#include <cmath>
#include <vector>

#include "products.h"

namespace swarm {

struct Heads {
    int64_t heads, kv_heads, head_dim;  // head_dim is a multiple of 16
    int64_t page_tokens;                // a multiple of 16
    int64_t window;                     // how many positions back a query sees, itself included; 0: all
};

// Turns pairs (i, i + head_dim / 2) of one head by the angles of its position: cos, sin [head_dim / 2].
inline void rotate(float* head, const float* cos, const float* sin, int64_t head_dim) {
    const int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        const float first = head[i], second = head[i + half];
        head[i] = first * cos[i] - second * sin[i];
        head[i + half] = second * cos[i] + first * sin[i];
    }
}

template <class Cache>
inline void append(const float* head, Cache* slot, int64_t head_dim) {
    for (int64_t d = 0; d < head_dim; d += kLanes) store(slot + d, load(head + d));
}

// Where a session's positions lie in a pool, for one KV head.
template <class Cache>
struct Paged {
    Cache* pool;
    const int64_t* pages;
    int64_t page_tokens, kv_heads, head_dim, kv_head;

    Cache* at(int64_t position) const {
        const int64_t slot = pages[position / page_tokens] * page_tokens + position % page_tokens;
        return pool + (slot * kv_heads + kv_head) * head_dim;
    }
    int64_t stride() const { return kv_heads * head_dim; }  // to the next position of the same page
};

// Scores of one query for the 16 positions from `keys` on.
template <class Cache>
inline Vec score16(const float* query, const Cache* keys, int64_t stride, int64_t head_dim) {
    Vec partial[kLanes];
    for (int j = 0; j < kLanes; j++) partial[j] = load(query) * load(keys + j * stride);
    for (int64_t d = kLanes; d < head_dim; d += kLanes) {
        const Vec q = load(query + d);
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; j++) partial[j] = fma(q, load(keys + j * stride + d), partial[j]);
    }
    return sums(partial);
}

// out += weights[first..last) times values, for `queries` queries that share them, in columns 0..16 * vectors.
template <int queries, int vectors, class Cache>
inline void weigh(const float* weights, int64_t ld, const Paged<Cache>& values, int64_t column, int64_t base,
                  int64_t first, int64_t last, float* out, int64_t head_dim) {
    Vec sum[queries][vectors];
    for (auto& row : sum)
        for (Vec& x : row) x = zero();
    for (int64_t position = first; position < last;) {
        const int64_t page_end = std::min(last, (position / values.page_tokens + 1) * values.page_tokens);
        const Cache* value = values.at(position) + column;
        for (; position < page_end; position++, value += values.stride()) {
            Vec v[vectors];
#pragma GCC unroll 4
            for (int i = 0; i < vectors; i++) v[i] = load(value + i * kLanes);
#pragma GCC unroll 4
            for (int q = 0; q < queries; q++) {
                const Vec w = broadcast(weights[q * ld + position - base]);
#pragma GCC unroll 4
                for (int i = 0; i < vectors; i++) sum[q][i] = fma(w, v[i], sum[q][i]);
            }
        }
    }
    for (int q = 0; q < queries; q++)
        for (int i = 0; i < vectors; i++) store(out + q * head_dim + column + i * kLanes, sum[q][i]);
}

template <int queries, class Cache>
void weigh_all(const float* weights, int64_t ld, const Paged<Cache>& values, int64_t base, int64_t first, int64_t last,
               float* out, int64_t head_dim) {
    int64_t column = 0;
    for (; column + 4 * kLanes <= head_dim; column += 4 * kLanes)
        weigh<queries, 4>(weights, ld, values, column, base, first, last, out, head_dim);
    for (; column < head_dim; column += kLanes)
        weigh<queries, 1>(weights, ld, values, column, base, first, last, out, head_dim);
}

// Softmax attention of the query heads of one KV head at `position` over everything up to there.
// queries: [heads / kv_heads, head_dim], already rotated; they are scaled in place. out: the same shape.
template <class Cache>
void attend(const Heads& shape, float* queries, const Paged<Cache>& keys, const Paged<Cache>& values, int64_t position,
            float* out, std::vector<float>& scratch) {
    const int64_t repeats = shape.heads / shape.kv_heads, dim = shape.head_dim;
    const int64_t first = shape.window ? std::max<int64_t>(0, position - shape.window + 1) : 0;
    const int64_t base = first / kLanes * kLanes, last = position + 1;  // positions base.. are scored, first..last count
    const int64_t padded = (last - base + kLanes - 1) / kLanes * kLanes;
    if (int64_t(scratch.size()) < repeats * padded) scratch.resize(repeats * padded);
    const float scale = 1.0f / __builtin_sqrtf(float(dim));
    for (int64_t i = 0; i < repeats * dim; i++) queries[i] *= scale;
    const Vec nothing = broadcast(-INFINITY);
    for (int64_t q = 0; q < repeats; q++) {
        float* scores = scratch.data() + q * padded;
        Vec top = nothing;
        for (int64_t at = base; at < last; at += kLanes) {
            Vec score = score16(queries + q * dim, keys.at(at), keys.stride(), dim);
            score = select(score, int(std::max<int64_t>(first - at, 0)), int(std::min<int64_t>(last - at, kLanes)), nothing);
            store(scores + at - base, score);
            top = max(score, top);
        }
        const Vec most = broadcast(largest(top));
        Vec total = zero();
        for (int64_t at = base; at < last; at += kLanes) {
            Vec weight = exponential(load(scores + at - base) - most);
            weight = select(weight, int(std::max<int64_t>(first - at, 0)), int(std::min<int64_t>(last - at, kLanes)), zero());
            store(scores + at - base, weight);
            total = total + weight;
        }
        const Vec inverse = broadcast(1.0f / sum(total));
        for (int64_t k = 0; k < padded; k += kLanes) store(scores + k, load(scores + k) * inverse);
    }
    int64_t q = 0;
    for (; q + 4 <= repeats; q += 4)
        weigh_all<4>(scratch.data() + q * padded, padded, values, base, first, last, out + q * dim, dim);
    switch (repeats - q) {
        case 1: weigh_all<1>(scratch.data() + q * padded, padded, values, base, first, last, out + q * dim, dim); break;
        case 2: weigh_all<2>(scratch.data() + q * padded, padded, values, base, first, last, out + q * dim, dim); break;
        case 3: weigh_all<3>(scratch.data() + q * padded, padded, values, base, first, last, out + q * dim, dim); break;
    }
}

}  // namespace swarm
