// Rotation, append and attention over paged keys and values, for one row at a time.
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
inline void append(const float* heads, Cache* slot, int64_t columns) {
    for (int64_t d = 0; d < columns; d += kLanes) store(slot + d, load(heads + d));
}

// Where one session's positions lie in a pool.
template <class Cache>
struct Paged {
    Cache* pool;
    const int64_t* pages;
    int64_t page_tokens;  // a multiple of 16
    int64_t stride;       // from a position to the next one of the same page

    Cache* at(int64_t position) const {
        return pool + (pages[position / page_tokens] * page_tokens + position % page_tokens) * stride;
    }
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

// out += the weighted values of `count` positions, for `queries` heads that share them, in 16 * vectors columns.
template <int queries, int vectors, class Cache>
inline void weigh(const float* weights, int64_t ld, const Cache* value, int64_t stride, int count, float* out,
                  int64_t head_dim) {
    Vec sum[queries][vectors];
    for (int q = 0; q < queries; q++)
        for (int i = 0; i < vectors; i++) sum[q][i] = load(out + q * head_dim + i * kLanes);
    for (int position = 0; position < count; position++, value += stride) {
        Vec v[vectors];
#pragma GCC unroll 4
        for (int i = 0; i < vectors; i++) v[i] = load(value + i * kLanes);
#pragma GCC unroll 4
        for (int q = 0; q < queries; q++) {
            const Vec w = broadcast(weights[q * ld + position]);
#pragma GCC unroll 4
            for (int i = 0; i < vectors; i++) sum[q][i] = fma(w, v[i], sum[q][i]);
        }
    }
    for (int q = 0; q < queries; q++)
        for (int i = 0; i < vectors; i++) store(out + q * head_dim + i * kLanes, sum[q][i]);
}

template <int queries, class Cache>
inline void weigh_head(const float* weights, int64_t ld, const Cache* value, int64_t stride, int count, float* out,
                       int64_t head_dim) {
    int64_t column = 0;
    for (; column + 4 * kLanes <= head_dim; column += 4 * kLanes)
        weigh<queries, 4>(weights, ld, value + column, stride, count, out + column, head_dim);
    for (; column < head_dim; column += kLanes)
        weigh<queries, 1>(weights, ld, value + column, stride, count, out + column, head_dim);
}

template <class Cache>
inline void weigh_heads(const float* weights, int64_t ld, int64_t queries, const Cache* value, int64_t stride,
                        int count, float* out, int64_t head_dim) {
    for (; queries >= 4; queries -= 4, weights += 4 * ld, out += 4 * head_dim)
        weigh_head<4>(weights, ld, value, stride, count, out, head_dim);
    switch (queries) {
        case 1: weigh_head<1>(weights, ld, value, stride, count, out, head_dim); break;
        case 2: weigh_head<2>(weights, ld, value, stride, count, out, head_dim); break;
        case 3: weigh_head<3>(weights, ld, value, stride, count, out, head_dim); break;
    }
}

// The first `last` - `first` of scores become their softmax; those before and after them, up to a multiple of 16, zero.
inline void softmax(float* scores, int first, int last) {
    const Vec nothing = broadcast(-INFINITY);
    Vec top = nothing;
    for (int at = 0; at < last; at += kLanes) top = max(select(load(scores + at), first - at, last - at, nothing), top);
    const Vec most = broadcast(largest(top));
    Vec total = zero();
    for (int at = 0; at < last; at += kLanes) {
        const Vec weight = select(exponential(load(scores + at) - most), first - at, last - at, zero());
        store(scores + at, weight);
        total = total + weight;
    }
    const Vec inverse = broadcast(1.0f / sum(total));
    for (int at = 0; at < last; at += kLanes) store(scores + at, load(scores + at) * inverse);
}

// Asks for the 16 positions after those at `heads`, into the second-level cache. Past the end of a page this guesses
// that the next one follows it in memory.
template <class Cache>
inline void prefetch_next(const Cache* heads, int64_t stride) {
    const char* next = reinterpret_cast<const char*>(heads + kLanes * stride);
    for (int64_t byte = 0; byte < kLanes * stride * int64_t(sizeof(Cache)); byte += kLine)
        _mm_prefetch(next + byte, _MM_HINT_T1);
}

// Softmax attention of one row's query heads at `position` over everything up to there, for the KV heads kv_first to
// kv_last - 1. queries: [heads, head_dim], already rotated; they are scaled in place. out: the same shape.
//
// The heads of a position lie side by side: all of them are done before the next 16 positions, so that the pools are
// read in order. cold: they are not in a cache already, from an earlier row of the same session.
template <class Cache>
void attend(const Heads& shape, float* queries, const Paged<Cache>& keys, const Paged<Cache>& values, int64_t position,
            int64_t kv_first, int64_t kv_last, bool cold, float* out, std::vector<float>& scratch) {
    const int64_t repeats = shape.heads / shape.kv_heads, dim = shape.head_dim;
    const int64_t first = shape.window ? std::max<int64_t>(0, position - shape.window + 1) : 0, last = position + 1;
    const int64_t base = first / kLanes * kLanes;  // positions from here on are scored; first..last count
    const int64_t padded = (last - base + kLanes - 1) / kLanes * kLanes;
    const int64_t head_first = kv_first * repeats, head_last = kv_last * repeats;
    if (int64_t(scratch.size()) < shape.heads * padded) scratch.resize(shape.heads * padded);
    const float scale = 1.0f / __builtin_sqrtf(float(dim));
    for (int64_t i = head_first * dim; i < head_last * dim; i++) queries[i] *= scale;
    for (int64_t at = base; at < last; at += kLanes) {
        const Cache* key = keys.at(at);
        if (cold) prefetch_next(key, keys.stride);
        for (int64_t head = head_first; head < head_last; head++)
            store(scratch.data() + head * padded + at - base,
                  score16(queries + head * dim, key + head / repeats * dim, keys.stride, dim));
    }
    for (int64_t head = head_first; head < head_last; head++)
        softmax(scratch.data() + head * padded, int(first - base), int(last - base));
    std::fill(out + head_first * dim, out + head_last * dim, 0.0f);
    for (int64_t at = base; at < last; at += kLanes) {
        const int64_t from = std::max(at, first);
        const int count = int(std::min(at + kLanes, last) - from);
        const Cache* value = values.at(from);
        if (cold) prefetch_next(value, values.stride);
        for (int64_t kv = kv_first; kv < kv_last; kv++)
            weigh_heads(scratch.data() + kv * repeats * padded + from - base, padded, repeats, value + kv * dim,
                        values.stride, count, out + kv * repeats * dim, dim);
    }
}

}  // namespace swarm
